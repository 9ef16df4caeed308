//! Renews leases.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{Extended, Lease};

use crate::accept::index;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

/// How many times the statement runs for leases whose events are being settled. If a settlement has ended by
/// the second time, it has ended the lease, or it belonged to another lease.
const MAX_RUNS: usize = 2;

/// Runs one statement, or two if an event is being settled at the moment.
pub(crate) async fn extend(
    session: &mut Session<'_>,
    leases: &[Lease],
    lease: Duration,
) -> Result<Vec<Extended>, PgError> {
    let mut answers = vec![Extended::LeaseLost; leases.len()];
    // In order of ids, so that concurrent calls lock rows in the same order.
    let mut open: Vec<usize> = (0..leases.len()).collect();
    open.sort_by_key(|&place| leases[place].event);
    for _ in 0..MAX_RUNS {
        if open.is_empty() {
            break;
        }
        let rows = session
            .rows(include_str!("extend.sql"), |query| {
                let sorted = || open.iter().map(|&place| &leases[place]);
                query
                    .bind(sorted().map(|lease| lease.event.get()).bind_iter())
                    .bind(sorted().map(|lease| lease.fence.get()).bind_iter())
                    .bind(microseconds::of(lease))
            })
            .await?;
        let mut settling = Vec::new();
        for row in &rows {
            for place in row.try_get::<Vec<i64>, _>("renewed")? {
                answers[open[index(place)?]] = Extended::Renewed;
            }
            for place in row.try_get::<Vec<i64>, _>("settling")? {
                settling.push(open[index(place)?]);
            }
        }
        open = settling;
    }
    // Nobody can claim an event that is being settled: its lease holds until that ends.
    for place in open {
        answers[place] = Extended::Renewed;
    }
    Ok(answers)
}
