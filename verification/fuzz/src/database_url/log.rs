//! Captures log output.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;

use tracing::Level;
use tracing::dispatcher::{Dispatch, with_default};

/// Calls `what`; returns its result and everything that it logged.
pub(super) fn of<T>(what: impl FnOnce() -> T) -> (T, String) {
    static DISPATCH: LazyLock<Dispatch> = LazyLock::new(|| {
        Dispatch::new(
            tracing_subscriber::fmt()
                .with_max_level(Level::TRACE)
                .without_time()
                .with_writer(|| Lines)
                .finish(),
        )
    });
    LINES.take();
    let result = with_default(&DISPATCH, what);
    (result, String::from_utf8_lossy(&LINES.take()).into_owned())
}

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
