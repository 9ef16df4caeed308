//! Renews leases.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgBindIterExt;
use webhook_core::{Extended, Lease};

use crate::accept::index;
use crate::error::PgError;
use crate::microseconds;
use crate::session::Session;

/// How often leases are looked at whose rows are being settled: a settlement that is over by the
/// second time has ended the lease, or was of another one.
const LOOKS: usize = 2;

/// One statement, where no row is being settled at this moment.
pub(crate) async fn extend(
    session: &mut Session<'_>,
    leases: &[Lease],
    lease: Duration,
) -> Result<Vec<Extended>, PgError> {
    let mut answers = vec![Extended::LeaseLost; leases.len()];
    // In order of ids, so that concurrent calls lock rows in one order.
    let mut open: Vec<usize> = (0..leases.len()).collect();
    open.sort_by_key(|&place| leases[place].event);
    for _ in 0..LOOKS {
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
    // Nobody can claim what is being settled: the lease runs on until that is decided.
    for place in open {
        answers[place] = Extended::Renewed;
    }
    Ok(answers)
}
