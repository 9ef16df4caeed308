//! `backup`: copies the SQLite file of a running server.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::interval;
use webhook_sqlite::{ExistingBackup, SqliteError, SqliteStore};

use super::output::LongWork;
use super::{CommandError, Output};
use crate::audit::Audit;
use crate::backend::{CommandBackend, OpenError, backend_url};
use crate::config::{BackendUrl, Config, partition_file};

/// How often the size of the copy is shown.
const INTERVAL: Duration = Duration::from_millis(250);

/// The options of `backup`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    after_help = "Example:\n\n  DATABASE_URL=sqlite:/var/lib/webhook/webhook.db webhook-server backup \
        /backups/webhook.db --overwrite"
)]
pub struct Backup {
    /// File to write; it is complete as soon as it has this name. With PARTITIONS, one file for each partition is
    /// written: NAME-0.db, NAME-1.db and so on for NAME.db
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    file: String,
    bytes: u64,
}

fn copy_error(error: SqliteError) -> CommandError {
    match error {
        SqliteError::Backup { path, source } if source.kind() == io::ErrorKind::AlreadyExists => {
            CommandError::BackupExists { path }
        }
        error => CommandError::Backup(error),
    }
}

impl Backup {
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        // Not opened: PostgreSQL need not be reachable to be told so.
        let url = backend_url(config).await.map_err(CommandError::Open)?;
        let first = match &url {
            BackendUrl::Partitions(partitions) => partitions.first(),
            url => Some(url),
        };
        if let Some(BackendUrl::Postgres(_)) = first {
            return Err(CommandError::Open(OpenError::Unsuitable(NOT_COPIED)));
        }
        let backend = CommandBackend::open(config)
            .await
            .map_err(CommandError::Open)?;
        let copied = self.copy_all(&backend).await;
        backend.close().await;
        copied
    }

    async fn copy_all(&self, backend: &CommandBackend) -> Result<(), CommandError> {
        let files = backend.sqlite().into_iter().enumerate();
        let files = files.map(|(index, database)| match backend.partitions {
            None => (database, self.file.clone()),
            Some(_) => (database, partition_file(&self.file, index)),
        });
        let files: Vec<_> = files.collect();
        // All of them, before the first one is written.
        for (database, file) in &files {
            let checked = database.check_back_up(file, self.existing()).await;
            checked.map_err(copy_error)?;
        }
        for (database, file) in &files {
            self.copy(database, file).await?;
        }
        Ok(())
    }

    const fn existing(&self) -> ExistingBackup {
        match self.overwrite {
            true => ExistingBackup::Replace,
            false => ExistingBackup::Keep,
        }
    }

    async fn copy(&self, database: &SqliteStore, file: &Path) -> Result<(), CommandError> {
        let audit = Audit::begin(
            "backup",
            [
                ("file", json!(file.to_string_lossy())),
                ("overwrite", json!(self.overwrite)),
            ],
        );
        let mut partial = OsString::from(file);
        partial.push(".partial");
        // Free pages are not copied, and the latest commits are in another file: the copy may be a bit smaller
        // or larger.
        let mut progress = LongWork::begin("copying", "bytes", bytes(database.path()));
        let mut copying = pin!(database.back_up(file, self.existing()));
        let mut ticks = interval(INTERVAL);
        loop {
            tokio::select! {
                copied = &mut copying => break copied.map_err(copy_error)?,
                _ = ticks.tick() => progress.set(bytes(partial.as_ref())),
            }
        }
        progress.end();
        let report = Report {
            file: file.display().to_string(),
            bytes: bytes(file),
        };
        audit.end(&report);
        Output::new(self.json).write(&report, |out| {
            writeln!(out, "wrote {} bytes to {}", report.bytes, report.file)
        })?;
        Ok(())
    }
}

/// Why `backup` refuses PostgreSQL.
const NOT_COPIED: &str = "backup copies SQLite files, and DATABASE_URL (--database-url) names PostgreSQL: use its \
    own tools, such as pg_dump or continuous archiving";

/// The size of a file; 0 if it is not there.
fn bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.len())
}
