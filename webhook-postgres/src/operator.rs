//! What only operators need: one operation per file.

mod conflicts;
mod counts;
mod lag;
mod list;
mod prune;
mod requeue;

pub(crate) use conflicts::conflicts;
pub(crate) use counts::counts;
pub(crate) use lag::lag;
pub(crate) use list::list;
pub(crate) use prune::prune;
pub(crate) use requeue::requeue;
