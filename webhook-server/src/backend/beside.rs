//! Refuses to begin an inbox beside another one that the configuration probably means: without `PARTITIONS`, or with the
//! URLs in another order, all schemas or files have other names, and would be made anew. The events in the former ones
//! would wait, and their keys would be new again.

use std::path::Path;

use webhook_core::transfer::MoveMark;
use webhook_core::{FoundInbox, PartitionError};
use webhook_postgres::PgStore;

use super::{OpenError, postgres, sqlite};
use crate::config::{BackendUrl, Config, DatabaseUrl, file_of_partitions, partition_file};

/// Checks what is beside partitions that are all new.
pub(super) async fn check_partitions(
    urls: &[BackendUrl],
    config: &Config,
) -> Result<(), OpenError> {
    let mut databases: Vec<&DatabaseUrl> = Vec::new();
    for url in urls {
        match url {
            BackendUrl::Postgres(url) if !databases.contains(&url) => databases.push(url),
            _ => {}
        }
    }
    for url in databases {
        check_database(url, config).await?;
    }
    match urls.first() {
        Some(BackendUrl::Sqlite(first)) => check_file(&file_of_partitions(first)).await,
        _ => Ok(()),
    }
}

/// Checks what is beside an SQLite file that is an inbox of its own, if it has no events.
pub(super) async fn check_file_alone(found: &FoundInbox, path: &Path) -> Result<(), OpenError> {
    if !found.kinds.is_empty() {
        return Ok(());
    }
    check_file(&partition_file(path, 0)).await
}

/// Checks what is beside a schema that is an inbox of its own, if it has no events.
pub(super) async fn check_database_alone(
    found: &FoundInbox,
    database: &PgStore,
    url: &DatabaseUrl,
    config: &Config,
) -> Result<(), OpenError> {
    if !found.kinds.is_empty() {
        return Ok(());
    }
    check_schemas(database, url, config).await
}

async fn check_file(path: &Path) -> Result<(), OpenError> {
    let path = sqlite::from_root(path);
    match sqlite::look(&path).await {
        Ok(found) => check(&found, || format!("the file {}", path.display())),
        // It is no inbox.
        Err(_) => Ok(()),
    }
}

async fn check_database(url: &DatabaseUrl, config: &Config) -> Result<(), OpenError> {
    let options = postgres::options(url, None, config)?;
    let database = PgStore::connect_with(options).await;
    let database = database.map_err(OpenError::Beside)?;
    let checked = check_schemas(&database, url, config).await;
    database.close().await;
    checked
}

async fn check_schemas(
    database: &PgStore,
    url: &DatabaseUrl,
    config: &Config,
) -> Result<(), OpenError> {
    let options = postgres::options(url, None, config)?;
    let schemas = database.numbered_schemas(&options.schema).await;
    for schema in schemas.map_err(OpenError::Beside)? {
        let mut options = options.clone();
        options.schema = schema.clone();
        let database = PgStore::connect_with(options).await;
        let database = database.map_err(OpenError::Beside)?;
        let found = database.look().await;
        database.close().await;
        let Ok(found) = found else { continue };
        check(&found, || {
            let server = format!("the schema {} of", schema.name());
            match super::transfer::name(url) {
                Ok(name) => format!("{server} {name}"),
                Err(_) => format!("{server} the database"),
            }
        })?;
    }
    Ok(())
}

/// Refuses a partition, and an inbox with events, unless its events were moved away. What cannot be read is neither: it
/// belongs to others.
fn check(beside: &FoundInbox, place: impl Fn() -> String) -> Result<(), OpenError> {
    if let Some(MoveMark::Moved { .. }) = beside.move_mark {
        return Ok(());
    }
    match beside.refuse_partition() {
        Err(PartitionError::IsPartition { index, count, .. }) => Err(OpenError::PartitionBeside {
            place: place(),
            index,
            count,
        }),
        _ if !beside.kinds.is_empty() => Err(OpenError::InboxBeside { place: place() }),
        _ => Ok(()),
    }
}
