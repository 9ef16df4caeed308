//! For implementors of [`Scheduler`](crate::Scheduler): waits for work of several kinds.

mod kinds;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

pub use kinds::{Claiming, Wakeups};

/// Waits until at least one of the futures completes, and returns the indices of all that have completed, for
/// [`Scheduler::wait_for_work`](crate::Scheduler::wait_for_work). Without futures, it never completes.
///
/// # Cancel safety
///
/// May be dropped at any time, if the futures may.
pub async fn any<F: Future<Output = ()>>(waits: impl IntoIterator<Item = F>) -> Vec<usize> {
    let mut waits: Vec<Pin<Box<F>>> = waits.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        // Polls all of them, since a completed future may be a wake-up that does not repeat.
        let over = waits.iter_mut().enumerate().filter_map(|(place, wait)| {
            let is_over = wait.as_mut().poll(context).is_ready();
            is_over.then_some(place)
        });
        let over: Vec<_> = over.collect();
        if over.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(over)
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn any_returns_all_completed_futures() {
        let notifies = [const { Notify::const_new() }; 4];
        let mut waiting = Box::pin(any(notifies.iter().map(Notify::notified)));
        assert_eq!((&mut waiting).now_or_never(), None);
        notifies[1].notify_waiters();
        notifies[3].notify_waiters();
        assert_eq!((&mut waiting).now_or_never(), Some(vec![1, 3]));
        assert_eq!(any([] as [std::future::Ready<()>; 0]).now_or_never(), None);
    }
}
