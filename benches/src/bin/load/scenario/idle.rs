//! The processor time and the queries of the whole stack while it has nothing to do.

use std::time::Duration;

use crate::backend::Backend;
use crate::bench::Bench;
use crate::database::{Database, float, grown};
use crate::process;
use crate::report::Section;
use crate::server::{Settings, Variant};

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let modes: &[&str] = match bench.backend {
        Backend::Postgres => &["direct", "pooler"],
        Backend::Sqlite | Backend::Memory => &["direct"],
    };
    let stack_of_backend: &[&str] = match bench.backend {
        Backend::Postgres => &["server", "postgres", "pooler"],
        Backend::Sqlite | Backend::Memory => &["server"],
    };
    for &mode in modes {
        let bed = bench.bed("idle").await?;
        let url = match mode {
            "direct" => Some(bed.database.url.clone()),
            _ => bed.database.pooler_url.clone(),
        };
        let Some(url) = url else {
            section.failures.push("there is no pooler".to_owned());
            continue;
        };
        let settings = Settings {
            role: "all",
            delay: Duration::from_secs(30),
            backend: bench.backend,
            database_url: &url,
            variant: &Variant::default(),
        };
        let server = bench.programs.serve(&settings).await?;
        // Let the work of starting up finish first.
        bench.checkpoint().await?;
        let length = bench.scale.idle;
        tokio::time::sleep(length / 6).await;

        bench.progress.begin(&format!("idle, {mode}"), 1);
        let watched = bench.watched(&[&server]);
        let before_transactions = transactions(&bed.database).await?;
        let written = process::written_bytes(server.pid);
        let before = watched.usage();
        tokio::time::sleep(length).await;
        let shares = watched.usage().since(&before);
        let transactions = grown(before_transactions, transactions(&bed.database).await?);
        let written = grown(written, process::written_bytes(server.pid));

        let mut stack = 0.0;
        for share in &shares {
            if stack_of_backend.contains(&share.who) {
                stack += share.cores * 100.0;
                let name = format!("idle, {mode}: {}", share.who);
                section.figure(name, share.cores * 100.0, "% of a core");
            }
        }
        section.figure(format!("idle, {mode}: processor"), stack, "% of a core");
        let mut line = format!("  idle, {mode}: {stack:.2} % of a core");
        if let Some(transactions) = transactions {
            let per_second = float(transactions) / length.as_secs_f64();
            section.figure(format!("idle, {mode}: queries"), per_second, "/s");
            line.push_str(&format!(", {per_second:.2} queries/s"));
        }
        // The server's own writes. PostgreSQL's are not seen here.
        if let Some(written) = written.filter(|_| bench.backend != Backend::Postgres) {
            section.figure(format!("idle, {mode}: written"), float(written), "B");
            line.push_str(&format!(", {written} B written"));
        }
        bench.progress.say(&line);
        server.stop().await?;
        bench.close(bed, section).await?;
    }
    Ok(())
}

/// How many transactions ended so far, where that is counted.
async fn transactions(database: &Database) -> anyhow::Result<Option<i64>> {
    match database.backend {
        Backend::Postgres => database.tables()?.transactions().await,
        Backend::Sqlite | Backend::Memory => Ok(None),
    }
}
