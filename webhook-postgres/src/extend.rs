//! Renews leases.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{Extended, Lease};

use crate::accept::index;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

pub(crate) async fn extend(
    session: &mut Session<'_>,
    leases: &[Lease],
    lease: Duration,
) -> Result<Vec<Extended>, PgError> {
    let mut answers = vec![Extended::LeaseLost; leases.len()];
    if leases.is_empty() {
        return Ok(answers);
    }
    let mut order: Vec<usize> = (0..leases.len()).collect();
    order.sort_by_key(|&place| leases[place].event);
    let sorted = || order.iter().map(|&place| &leases[place]);
    let rows = session
        .rows(include_str!("extend.sql"), |query| {
            query
                .bind(sorted().map(|lease| lease.event.0).bind_iter())
                .bind(sorted().map(|lease| lease.fence.0).bind_iter())
                .bind(microseconds::of(lease))
        })
        .await?;
    for row in &rows {
        for place in row.try_get::<Vec<i64>, _>("places")? {
            answers[order[index(place)?]] = Extended::Renewed;
        }
    }
    Ok(answers)
}
