//! Catches panics in backends, handlers, limits and log subscribers, so that they do not end the tasks of a worker or
//! inbox.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use crate::error::StoreError;
use crate::scheduler::Reason;

/// Awaits a call of a backend. If the backend panics, the result is [`StoreError::Unavailable`], since it is
/// unknown whether the call took effect.
pub(crate) async fn caught<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => Err(StoreError::unavailable(BackendPanicked(message(&*panic)))),
    }
}

/// Logs. If the subscriber panics, the line is lost, and nothing else happens.
pub(crate) fn logging(log: impl FnOnce()) {
    unless_panics(log);
}

/// Calls `call`, and returns `None` if it panics.
pub(crate) fn unless_panics<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(forget).ok()
}

/// The message of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> Reason {
    Reason::new(
        panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no message)"),
    )
}

/// Drops the payload of a panic, which may itself panic.
fn forget(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // Dropping this payload might panic as well, so it is leaked.
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
    async fn panic_of_a_backend_is_an_error() {
        let call = async { panic!("no {}", "luck") };
        let error = caught::<()>(call).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "backend panicked: no luck");
    }

    #[test]
    fn panic_payload_that_panics_is_dropped() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("once more");
            }
        }

        logging(|| std::panic::panic_any(Bomb));
    }
}
