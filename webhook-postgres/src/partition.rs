//! Keeps the mark that says which partition of which inbox this schema is.

mod lock;

use async_trait::async_trait;
use sqlx::Row;
use webhook_core::transfer::Transfer;
use webhook_core::{Partition, StoreError};

use crate::error::PgError;
use crate::session::Session;
use crate::store::PgStore;

pub use lock::CreationLock;

#[async_trait]
impl Partition for PgStore {
    async fn partition_mark(&self) -> Result<Option<String>, StoreError> {
        Ok(mark(&mut self.session()).await?)
    }

    async fn replace_partition_mark(
        &self,
        expected: Option<&str>,
        mark: &str,
    ) -> Result<bool, StoreError> {
        let mut session = self.session();
        let rows = match expected {
            None => {
                session
                    .rows(include_str!("partition/set_mark.sql"), |query| {
                        query.bind(mark.to_owned())
                    })
                    .await?
            }
            Some(expected) => {
                session
                    .rows(include_str!("partition/replace_mark.sql"), |query| {
                        query.bind(expected.to_owned()).bind(mark.to_owned())
                    })
                    .await?
            }
        };
        Ok(!rows.is_empty())
    }

    fn transfer(&self) -> Option<&dyn Transfer> {
        Some(self)
    }
}

pub(crate) async fn mark(session: &mut Session<'_>) -> Result<Option<String>, PgError> {
    let rows = session.rows(include_str!("partition/mark.sql"), |query| query);
    let rows = rows.await?;
    Ok(rows.first().map(|row| row.try_get("mark")).transpose()?)
}
