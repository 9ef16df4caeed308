//! Keeps the mark that says which partition of which inbox this schema is.

use async_trait::async_trait;
use sqlx::Row;
use webhook_core::transfer::Transfer;
use webhook_core::{Partition, StoreError};

use crate::error::PgError;
use crate::store::PgStore;

#[async_trait]
impl Partition for PgStore {
    async fn partition_mark(&self) -> Result<Option<String>, StoreError> {
        let mut session = self.session();
        let rows = session.rows(include_str!("partition/mark.sql"), |query| query);
        let rows = rows.await?;
        let mark = rows.first().map(|row| row.try_get("mark")).transpose();
        Ok(mark.map_err(PgError::from)?)
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
