//! [`ClaimLimit`]: how a handler limits the claims of its kind.

use async_trait::async_trait;

/// Limits how many events of a kind a worker claims, for a handler that knows that it cannot process more events
/// now: the service that it calls is down, throttles it, or takes few requests at a time.
///
/// [`Handler::claim_limit`](crate::Handler::claim_limit) returns it. Without an allowance, the worker does not
/// claim the kind: its events stay due, spend no attempts, and cost the store nothing. Other kinds go on.
///
/// The allowance is looked at before each claim. While it is zero, the worker looks again when
/// [`changed`](Self::changed) completes, when an attempt of the kind ends, and after the
/// [`poll_interval`](crate::WorkerOptions::poll_interval) at the latest. A lost notification therefore costs only
/// delay. After a panic in [`allowance`](Self::allowance), the worker looks again after the poll interval.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// use webhook_core::{ClaimLimit, Event, Handled, Handler, HandlerError, RawEvent, async_trait};
///
/// /// Lets events wait in the store while the shop is closed.
/// #[derive(Default)]
/// struct OpeningHours {
///     is_open: AtomicBool,
///     opened: tokio::sync::Notify,
/// }
///
/// impl OpeningHours {
///     fn open(&self) {
///         self.is_open.store(true, Ordering::Relaxed);
///         self.opened.notify_waiters();
///     }
/// }
///
/// #[async_trait]
/// impl ClaimLimit for OpeningHours {
///     fn allowance(&self, running: usize) -> usize {
///         match self.is_open.load(Ordering::Relaxed) {
///             // The shop has two counters.
///             true => 2_usize.saturating_sub(running),
///             false => 0,
///         }
///     }
///
///     fn claimed(&self, _events: usize) {}
///
///     async fn changed(&self) {
///         self.opened.notified().await;
///     }
/// }
///
/// struct Shop(Arc<OpeningHours>);
///
/// impl Handler<()> for Shop {
///     async fn handle(&self, event: RawEvent) -> Result<Handled, HandlerError> {
///         println!("serving {}", event.key);
///         Ok(Handled::Done)
///     }
///
///     fn claim_limit(&self) -> Option<Arc<dyn ClaimLimit>> {
///         Some(self.0.clone())
///     }
/// }
///
/// let hours = Arc::new(OpeningHours::default());
/// let shop = Shop(Arc::clone(&hours));
/// let limit = shop.claim_limit().expect("a shop has opening hours");
/// assert_eq!(limit.allowance(0), 0);
/// hours.open();
/// assert_eq!((limit.allowance(0), limit.allowance(2)), (2, 0));
/// ```
#[async_trait]
pub trait ClaimLimit: Send + Sync + 'static {
    /// Returns how many more events may be claimed now, while `running` attempts hold slots of the worker. Zero:
    /// none.
    ///
    /// The worker may call it several times before a claim, and may claim fewer events. The call must be quick,
    /// must not block, and must not change the allowance.
    fn allowance(&self, running: usize) -> usize;

    /// Called after a claim that leased events, with their number, before their handlers start. If the worker is
    /// stopping, it releases the events instead.
    fn claimed(&self, events: usize);

    /// Completes when the allowance may have grown. The worker calls it after an allowance of zero.
    ///
    /// It may complete for no reason. It need not complete when an attempt ends: the worker looks again then.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time. A change between two calls may be missed.
    async fn changed(&self);
}
