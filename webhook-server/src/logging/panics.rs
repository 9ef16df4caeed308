//! Logs panics. The standard hook would write to standard error directly, and wait for a reader that may
//! not read.

use std::panic::{self, PanicHookInfo};
use std::thread;

/// The longest message of a panic that the log shows, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// Logs every panic of this process.
pub(super) fn log() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let message = without_quoted(info.payload_as_str().unwrap_or("(no message)"));
    let location = info.location().map(ToString::to_string);
    let location = location.as_deref().unwrap_or("(unknown)");
    let thread = thread::current();
    let thread = thread.name().unwrap_or("(unnamed)");
    if tracing::dispatcher::has_been_set() {
        tracing::error!(panic = message, location, thread, "a thread panicked");
    } else {
        super::print_to_stderr(&format!("{thread} panicked at {location}: {message}"));
    }
}

/// `message` without text in quotation marks or backticks: the standard library quotes the values that it
/// failed on, and they may be secret.
fn without_quoted(message: &str) -> String {
    let mut shown = String::new();
    let mut chars = message.chars();
    while let Some(c) = chars.next() {
        shown.push(c);
        if matches!(c, '"' | '`') {
            shown.push('…');
            // An escaped quotation mark does not end the text.
            let mut escaped = false;
            let end = chars.find(|&inner| {
                let ends = inner == c && !escaped;
                escaped = inner == '\\' && !escaped;
                ends
            });
            shown.extend(end);
        }
    }
    match shown.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => shown[..at].to_owned() + "…",
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_left_out_of_panic_messages() {
        for (message, shown) in [
            ("no such thing", "no such thing"),
            ("index 3 of 2", "index 3 of 2"),
            (
                "called `unwrap()` on Err: Parse(\"a \\\" secret\")",
                "called `…` on Err: Parse(\"…\")",
            ),
            ("byte index 2 of `s€cret", "byte index 2 of `…"),
        ] {
            assert_eq!(without_quoted(message), shown);
        }
        let long = without_quoted(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
