//! Keeps panics in other people's code from ending tasks that must go on.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use crate::error::StoreError;
use crate::scheduler::Reason;

/// Awaits a call to a backend. Where the backend panics, the answer is [`StoreError::Unavailable`], as
/// for every other failure of which nobody knows how far it came.
pub(crate) async fn caught<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => Err(StoreError::unavailable(BackendPanicked(message(&*panic)))),
    }
}

/// Logs. A subscriber that panics loses its line, and changes nothing else.
pub(crate) fn logging(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        forget(panic);
    }
}

/// The text of a panic, as far as it has any.
pub(crate) fn message(panic: &(dyn Any + Send)) -> Reason {
    Reason::new(
        panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no message)"),
    )
}

/// Drops what a panic carried, which may panic once more.
fn forget(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // A third panic would escape, so a few bytes leak instead.
        std::mem::forget(again);
    }
}

/// A backend panicked during a call.
#[derive(Debug, thiserror::Error)]
#[error("backend panicked: {0}")]
struct BackendPanicked(Reason);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_backend_is_an_error() {
        let call = async { panic!("no {}", "luck") };
        let error = caught::<()>(call).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "backend panicked: no luck");
    }

    #[test]
    fn a_panic_whose_payload_panics_is_forgotten() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("once more");
            }
        }

        logging(|| std::panic::panic_any(Bomb));
    }
}
