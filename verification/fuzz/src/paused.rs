//! Runs futures on a paused clock.

use std::cell::RefCell;
use std::future::Future;

use tokio::runtime::{Builder, Runtime};

/// Runs `future` to completion in this thread's runtime, where waiting takes no time.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .expect("a runtime starts"),
        );
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}
