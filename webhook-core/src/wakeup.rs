//! Help for whoever writes a [`Scheduler`](crate::Scheduler): waiting for work.

mod kinds;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

pub use kinds::{Claiming, Wakeups};

/// Waits until some of `waits` are over, and answers with the places of all that are, for
/// [`Scheduler::wait_for_work`](crate::Scheduler::wait_for_work). Without any it waits for ever.
///
/// # Cancel safety
///
/// May be dropped at any time, if `waits` may.
pub async fn any<F: Future<Output = ()>>(waits: impl IntoIterator<Item = F>) -> Vec<usize> {
    let mut waits: Vec<Pin<Box<F>>> = waits.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        // All of them: what is over now may be a wake-up that is told only once.
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
    fn all_waits_that_are_over_are_told() {
        let notifies = [const { Notify::const_new() }; 4];
        let mut waiting = Box::pin(any(notifies.iter().map(Notify::notified)));
        assert_eq!((&mut waiting).now_or_never(), None);
        notifies[1].notify_waiters();
        notifies[3].notify_waiters();
        assert_eq!((&mut waiting).now_or_never(), Some(vec![1, 3]));
        assert_eq!(any([] as [std::future::Ready<()>; 0]).now_or_never(), None);
    }
}
