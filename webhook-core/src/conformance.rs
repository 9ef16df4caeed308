//! Proves a backend: one named test per case, for any implementor of the three traits.
//!
//! Implement [`Subject`] for a type of your tests, name it to [`conformance!`](crate::conformance),
//! and every case becomes a test of its own name:
//!
//! ```
//! # mod own { use webhook_core::*; use std::time::Duration; pub struct Own;
//! # impl Own { pub async fn open() -> Self { Self } pub async fn drop_schema(&self) {} }
//! # #[async_trait::async_trait] impl Store for Own {
//! # async fn accept(&self, _: &[NewEvent]) -> Result<Vec<Accepted>, Error> { todo!() }
//! # async fn find(&self, _: &[EventRef]) -> Result<Vec<Option<EventRecord>>, Error> { todo!() }
//! # async fn ping(&self) -> Result<(), Error> { todo!() } }
//! # #[async_trait::async_trait] impl Scheduler for Own {
//! # async fn claim(&self, _: &Claim) -> Result<Claimed, Error> { todo!() }
//! # async fn extend(&self, _: &[Lease], _: Duration) -> Result<Vec<Extended>, Error> { todo!() }
//! # async fn settle(&self, _: &[Settlement]) -> Result<Vec<Settled>, Error> { todo!() }
//! # async fn ready(&self, _: &Kind) {} }
//! # #[async_trait::async_trait] impl Operator for Own {
//! # async fn counts(&self, _: &Kind) -> Result<Counts, Error> { todo!() }
//! # async fn lag(&self, _: &Kind) -> Result<Option<Duration>, Error> { todo!() }
//! # async fn list(&self, _: &Page) -> Result<Vec<EventRecord>, Error> { todo!() }
//! # async fn conflicts(&self, _: &EventRef) -> Result<Vec<ConflictRecord>, Error> { todo!() }
//! # async fn requeue(&self, _: &[EventRef]) -> Result<Vec<Requeued>, Error> { todo!() }
//! # async fn prune(&self, _: &Prune) -> Result<usize, Error> { todo!() } } }
//! # use own::Own;
//! use std::sync::Arc;
//! use webhook_core::conformance::{Backend, Subject};
//!
//! struct OwnBackend(Arc<Own>);
//!
//! impl Subject for OwnBackend {
//!     async fn set_up() -> Self { Self(Arc::new(Own::open().await)) }
//!     fn backend(&self) -> Backend { Backend::new(self.0.clone()) }
//!     async fn clean_up(self) { self.0.drop_schema().await }
//! }
//!
//! webhook_core::conformance!(OwnBackend, flavor = "multi_thread", worker_threads = 2);
//! ```
//!
//! The cases assert nothing that a slow machine could break. On a real clock some of them wait a
//! few hundred milliseconds; a backend on Tokio's clock can run them in paused time
//! (`start_paused = true`), where they wait for nothing.

pub mod accept;
mod steps;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::{Operator, Scheduler, Store};

/// How long a case may take before it counts as hanging.
///
/// Far beyond what a case takes on the slowest machine.
pub const CASE_DEADLINE: Duration = Duration::from_secs(300);

/// Sets a backend up for one case, and takes it down again.
pub trait Subject: Sized {
    /// A backend with no events in it, and which no other case sees: a schema of its own, say.
    fn set_up() -> impl Future<Output = Self>;

    /// The backend.
    fn backend(&self) -> Backend;

    /// Removes what [`set_up`](Subject::set_up) made. Called after a failed case too.
    fn clean_up(self) -> impl Future<Output = ()>;
}

/// A backend under test: its three faces and its clock.
#[derive(Clone)]
pub struct Backend {
    /// What senders and readers see.
    pub store: Arc<dyn Store>,
    /// What workers see.
    pub scheduler: Arc<dyn Scheduler>,
    /// What operators see.
    pub operator: Arc<dyn Operator>,
    /// Lets time pass by the backend's clock.
    pub clock: Clock,
}

/// Lets at least as much time pass by a backend's clock.
pub type Clock = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

impl Backend {
    /// A backend that is all three, whose clock is the real one or Tokio's: sleeping lets its
    /// time pass. For any other clock set the field.
    pub fn new<B: Store + Scheduler + Operator>(backend: Arc<B>) -> Self {
        Self {
            store: backend.clone(),
            scheduler: backend.clone(),
            operator: backend,
            clock: Arc::new(|duration| tokio::time::sleep(duration).boxed()),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// Runs one case against a fresh `S`, and cleans up after it however it ends.
///
/// # Panics
///
/// When the case fails, or takes longer than [`CASE_DEADLINE`].
pub async fn run<S, F>(case: impl FnOnce(Backend) -> F)
where
    S: Subject,
    F: Future<Output = ()>,
{
    let subject = S::set_up().await;
    let case = tokio::time::timeout(CASE_DEADLINE, case(subject.backend()));
    let ended = AssertUnwindSafe(case).catch_unwind().await;
    subject.clean_up().await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(_)) => panic!("the case hangs: no end within {CASE_DEADLINE:?}"),
        Err(failure) => resume_unwind(failure),
    }
}

/// Makes a `#[tokio::test]` of every case for a [`Subject`](crate::conformance::Subject), in the
/// module where it stands.
///
/// Whatever follows the subject goes to `#[tokio::test]`: `flavor = "multi_thread"`, or
/// `start_paused = true` for a backend on Tokio's clock. The crate needs `tokio` with the
/// features `macros` and `rt` among its (dev-)dependencies.
#[macro_export]
macro_rules! conformance {
    ($subject:ty $(, $($option:tt)*)?) => {
        $crate::__conformance_tests! { $subject, ($($($option)*)?),
            accept {
                an_empty_batch_has_no_outcomes
                a_free_key_is_new
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($subject:ty, $options:tt, $($theme:ident { $($case:ident)+ })+) => {
        $($($crate::__conformance_test!($subject, $options, $theme, $case);)+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    ($subject:ty, ($($option:tt)*), $theme:ident, $case:ident) => {
        #[::tokio::test($($option)*)]
        async fn $case() {
            $crate::conformance::run::<$subject, _>($crate::conformance::$theme::$case).await;
        }
    };
}
