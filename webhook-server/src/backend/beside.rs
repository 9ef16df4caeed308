//! Refuses to begin an inbox beside another one that the configuration probably means: without `PARTITIONS`, or with the
//! URLs in another order, all schemas or files have other names, and would be made anew. The events in the former ones
//! would wait, and their keys would be new again.

use std::path::Path;

use webhook_core::transfer::MoveMark;
use webhook_core::{Admin, Partition, PartitionError, refuse_partition};
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
pub(super) async fn check_file_alone(file: &impl Admin, path: &Path) -> Result<(), OpenError> {
    if has_events(file).await {
        return Ok(());
    }
    check_file(&partition_file(path, 0)).await
}

/// Checks what is beside a schema that is an inbox of its own, if it has no events.
pub(super) async fn check_database_alone(
    database: &PgStore,
    url: &DatabaseUrl,
    config: &Config,
) -> Result<(), OpenError> {
    if has_events(database).await {
        return Ok(());
    }
    check_schemas(database, url, config).await
}

async fn check_file(path: &Path) -> Result<(), OpenError> {
    let path = sqlite::from_root(path);
    if !path.exists() {
        return Ok(());
    }
    let Ok(file) = sqlite::existing(&path).await else {
        // No inbox.
        return Ok(());
    };
    let checked = check(&file, || format!("the file {}", path.display())).await;
    file.close().await;
    checked
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
        let checked = check(&database, || {
            let server = format!("the schema {} of", schema.name());
            match super::transfer::name(url) {
                Ok(name) => format!("{server} {name}"),
                Err(_) => format!("{server} the database"),
            }
        });
        let checked = checked.await;
        database.close().await;
        checked?;
    }
    Ok(())
}

/// Refuses a partition, and an inbox with events, unless its events were moved away. What cannot be read is neither: it
/// is older than partitions, or belongs to others.
async fn check(beside: &dyn Partition, place: impl Fn() -> String) -> Result<(), OpenError> {
    if let Some(transfer) = beside.transfer()
        && let Ok(Some(MoveMark::Moved { .. })) = transfer.mark().await
    {
        return Ok(());
    }
    match refuse_partition(beside).await {
        Err(PartitionError::IsPartition { index, count, .. }) => Err(OpenError::PartitionBeside {
            place: place(),
            index,
            count,
        }),
        _ if has_events(beside).await => Err(OpenError::InboxBeside { place: place() }),
        _ => Ok(()),
    }
}

async fn has_events(inbox: &(impl Admin + ?Sized)) -> bool {
    inbox.kinds().await.is_ok_and(|kinds| !kinds.is_empty())
}
