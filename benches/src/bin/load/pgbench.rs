//! The limit of a database that commits each event by itself.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::{Connection as _, PgConnection};
use testkit::tools::find_or_install;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::database::Database;
use crate::process::{self, Share, Watched};
use crate::progress::Progress;
use crate::recording::Point;
use crate::report::Run;
use crate::request::{self, BODY_BYTES};

/// The minimum of an inbox without batches: one table, one index that decides which keys are new,
/// and one that finds due events.
const TABLE: &str = "
    CREATE TABLE inbox (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      kind text COLLATE \"C\" NOT NULL,
      key text COLLATE \"C\" NOT NULL,
      fingerprint bytea NOT NULL,
      body bytea NOT NULL,
      due_at timestamptz NOT NULL,
      done boolean NOT NULL DEFAULT false,
      UNIQUE (kind, key)
    );
    ALTER TABLE inbox ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE INDEX ON inbox (due_at) WHERE NOT done;";

/// Inserts one event. Keys are random, like those of the HTTP requests.
const SCRIPT: &str = r"\set id random(1, 9000000000000000000)
INSERT INTO inbox (kind, key, fingerprint, body, due_at)
VALUES ('transaction', 'txn_' || to_hex(:id::bigint), decode(md5(:id::text), 'hex'),
        convert_to(:body, 'UTF8'), now() + interval '30 s')
ON CONFLICT (kind, key) DO NOTHING;
";

/// The rows per second, overall and over time.
#[derive(Debug)]
struct Inserted {
    per_second: f64,
    points: Vec<Point>,
}

/// Creates the table that [`insert`] writes to.
pub(crate) async fn prepare(database: &Database) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(&database.url).await?;
    sqlx::raw_sql(TABLE).execute(&mut connection).await?;
    Ok(())
}

/// Inserts single rows over `clients` connections.
pub(crate) async fn measure(
    progress: &Progress,
    watched: &Watched,
    database: &Database,
    name: &str,
    clients: usize,
    seconds: Duration,
) -> anyhow::Result<Run> {
    progress.begin(name, 1);
    let before = watched.usage();
    let children = process::ended_children_seconds();
    let inserted = insert(database, clients, seconds).await?;
    let mut shares = watched.usage().since(&before);
    if let (Some(before), Some(now)) = (children, process::ended_children_seconds()) {
        shares.push(Share {
            who: "pgbench",
            cores: (now - before) / seconds.as_secs_f64(),
        });
    }
    Ok(Run {
        shares,
        points: inserted.points,
        ..Run::counted(name, inserted.per_second, seconds.as_secs_f64())
    })
}

async fn insert(
    database: &Database,
    clients: usize,
    seconds: Duration,
) -> anyhow::Result<Inserted> {
    let script = std::env::temp_dir().join(format!("webhook-load-{}.sql", std::process::id()));
    std::fs::File::create(&script)?.write_all(SCRIPT.as_bytes())?;
    let body = String::from_utf8(request::body(0, BODY_BYTES))?;
    let mut child = tokio::process::Command::new(program().await?)
        .args(["--no-vacuum", "--protocol=prepared", "--progress=1"])
        .arg(format!("--client={clients}"))
        .arg(format!("--jobs={}", clients.min(2)))
        .arg(format!("--time={}", seconds.as_secs().max(1)))
        .arg(format!("--define=body={body}"))
        .arg(format!("--file={}", script.display()))
        .arg(&database.url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start pgbench")?;
    let mut points = Vec::new();
    let mut said = Vec::new();
    let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
    while let Some(line) = lines.next_line().await? {
        match point(&line) {
            Some(point) => points.push(point),
            None => said.push(line),
        }
    }
    let output = child.wait_with_output().await?;
    std::fs::remove_file(&script)?;
    ensure!(
        output.status.success(),
        "pgbench failed: {}",
        said.join("\n")
    );
    let summary = String::from_utf8_lossy(&output.stdout);
    let per_second = rate(&summary).with_context(|| format!("pgbench gave no rate: {summary}"))?;
    Ok(Inserted { per_second, points })
}

/// Finds `tps = 5214.9 (…)`, which is missing if a busy machine was too slow for a single insert.
fn rate(summary: &str) -> Option<f64> {
    summary.lines().find_map(|line| {
        if line == "number of transactions actually processed: 0" {
            return Some(0.0);
        }
        number(line.strip_prefix("tps = ")?)
    })
}

/// `progress: 1.0 s, 5214.9 tps, lat 0.191 ms stddev 0.074`
fn point(line: &str) -> Option<Point> {
    let (at, rest) = line.strip_prefix("progress: ")?.split_once(" s, ")?;
    Some(Point {
        at: at.parse().ok()?,
        per_second: number(rest)?,
        p50: 0.0,
        p99: 0.0,
        max: 0.0,
    })
}

/// Parses the number at the start of a text.
fn number(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

/// The path of pgbench, beside the server's programs.
async fn program() -> anyhow::Result<PathBuf> {
    Ok(find_or_install("postgres").await?.join("pgbench"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        let point = point("progress: 2.0 s, 5214.9 tps, lat 0.191 ms stddev 0.074").unwrap();
        assert!((point.at - 2.0).abs() < 1e-9 && (point.per_second - 5214.9).abs() < 1e-9);
    }

    #[test]
    fn rate_is_read_and_zero_without_an_insert() {
        let some = "number of transactions actually processed: 9\ntps = 8.5 (without …)";
        assert_eq!(rate(some), Some(8.5));
        assert_eq!(
            rate("number of transactions actually processed: 0"),
            Some(0.0)
        );
        assert_eq!(rate("scaling factor: 1"), None);
    }
}
