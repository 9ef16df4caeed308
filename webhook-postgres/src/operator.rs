//! What only operators need: one operation per file.

mod batches;
mod conflicts;
mod counts;
mod delete_bodies;
mod failed_attempts;
mod kinds;
mod lag;
mod list;
mod make_due;
mod pause;
mod prune;
mod requeue;
mod settled;

pub(crate) use conflicts::conflicts;
pub(crate) use counts::counts;
pub(crate) use delete_bodies::delete_bodies;
pub(crate) use failed_attempts::failed_attempts;
pub(crate) use kinds::kinds;
pub(crate) use lag::lag;
pub(crate) use list::list;
pub(crate) use make_due::make_due;
pub(crate) use pause::{pause, paused, resume};
pub(crate) use prune::prune;
pub(crate) use requeue::requeue;
pub(crate) use settled::settled;

/// A count that PostgreSQL gave.
fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}
