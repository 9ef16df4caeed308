//! Keeps the panics of cases out of the log: a case fails by panicking, and some cases make handlers panic.

use std::cell::RefCell;
use std::panic;

thread_local! {
    /// Where the latest panic of this thread was.
    static LATEST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on, panics of this process are not logged.
pub(super) fn keep_quiet() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string);
        LATEST.with_borrow_mut(|latest| *latest = location);
    }));
}

/// Where the panic was that this thread caught last.
pub(super) fn take_location() -> Option<String> {
    LATEST.take()
}
