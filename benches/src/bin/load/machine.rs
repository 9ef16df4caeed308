//! The machine and the settings that the figures belong to.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use sqlx::{PgConnection, query_scalar};

use crate::backend::Backend;
use crate::database::{Cluster, sqlite};
use crate::process::build_folder;

/// The machine, the database and the build that were measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) system: String,
    pub(crate) postgres: Option<Postgres>,
    pub(crate) sqlite: Option<Sqlite>,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) build: &'static str,
}

/// The PostgreSQL server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Postgres {
    version: String,
    /// Settings that differ from the defaults or that durability depends on.
    settings: Vec<(String, String)>,
    /// The type of the file system that its files are on.
    file_system: Option<String>,
}

/// The library, and where its files are.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sqlite {
    version: String,
    file_system: Option<String>,
}

impl Postgres {
    async fn look_up(database: &mut PgConnection) -> sqlx::Result<Self> {
        let settings: Vec<(String, String)> = sqlx::query_as(
            "SELECT name, current_setting(name) FROM pg_settings
             WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method',
                            'shared_buffers', 'max_wal_size', 'checkpoint_timeout')
                OR (source = 'configuration file' AND setting <> boot_val
                    AND name !~ '^(ssl|listen|unix|log_timezone|TimeZone|Date|lc_|default_text)')
             ORDER BY name",
        )
        .fetch_all(&mut *database)
        .await?;
        let directory: String = query_scalar("SHOW data_directory")
            .fetch_one(&mut *database)
            .await?;
        Ok(Self {
            version: query_scalar("SHOW server_version")
                .fetch_one(database)
                .await?,
            settings,
            file_system: file_system(Path::new(&directory)),
        })
    }

    fn line(&self) -> String {
        let settings: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        format!(
            "{} on {}; {}",
            self.version,
            self.file_system.as_deref().unwrap_or(UNKNOWN_DISK),
            settings.join(", ")
        )
    }
}

impl Machine {
    pub(crate) async fn look_up(
        cluster: Option<&Cluster>,
        backends: &[Backend],
    ) -> anyhow::Result<Self> {
        let postgres = match cluster {
            Some(cluster) => Some(Postgres::look_up(&mut cluster.connect().await?).await?),
            None => None,
        };
        let sqlite = match backends.contains(&Backend::Sqlite) {
            true => Some(Sqlite {
                version: sqlite::version().await?,
                file_system: file_system(&build_folder()?),
            }),
            false => None,
        };
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor(),
            memory_bytes: memory_bytes(),
            system: output("uname", &["-srm"]),
            postgres,
            sqlite,
            commit: commit(),
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            build: BUILD,
        })
    }

    /// One fact per line.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let memory = self
            .memory_bytes
            .map_or_else(String::new, |bytes| format!(", {} GiB", bytes >> 30));
        let mut lines = vec![
            (
                "machine",
                format!("{} cores of {}{memory}", self.cores, self.processor),
            ),
            ("system", self.system.clone()),
        ];
        if let Some(postgres) = &self.postgres {
            lines.push(("PostgreSQL", postgres.line()));
        }
        if let Some(sqlite) = &self.sqlite {
            let file_system = sqlite.file_system.as_deref().unwrap_or(UNKNOWN_DISK);
            lines.push(("SQLite", format!("{} on {file_system}", sqlite.version)));
        }
        lines.extend([
            ("commit", format!("{}, {} build", self.commit, self.build)),
            ("command", format!("load {}", self.command)),
        ]);
        lines
    }
}

/// The profile with which this program and the server were built.
pub(crate) const BUILD: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

fn processor() -> String {
    let from_proc = fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    from_proc.unwrap_or_else(|| output("sysctl", &["-n", "machdep.cpu.brand_string"]))
}

fn memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = info.lines().next()?.split_whitespace().nth(1)?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}

/// A database in memory would make durable commits look free.
fn file_system(directory: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, kind)| kind.to_owned())
}

fn commit() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let commit = output("git", &["-C", root, "rev-parse", "--short=12", "HEAD"]);
    let changes = output(
        "git",
        &["-C", root, "status", "--porcelain", "--untracked-files=no"],
    );
    if changes.is_empty() || changes == UNKNOWN {
        commit
    } else {
        format!("{commit} with changes")
    }
}

const UNKNOWN: &str = "unknown";

const UNKNOWN_DISK: &str = "an unknown file system";

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || UNKNOWN.to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
}
