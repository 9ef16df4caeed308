//! The log on standard error, as text or JSON.
//!
//! Text from senders cannot forge it: it cannot end a line, control a terminal, hide other text, or look
//! like another field. tracing-subscriber escapes only ANSI control characters (RUSTSEC-2025-0055).

mod escape;
mod human;
mod json;
mod panics;
mod queue;
mod sink;
mod value;

pub(crate) use escape::escaped;
pub(crate) use json::Escaping;

use std::error::Error;
use std::io::{self, IsTerminal, stderr};
use std::sync::OnceLock;

use jiff::Timestamp;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use webhook_core::with_causes;

use crate::config::{LogFilter, LogFormat};
use queue::{Dropped, MAX_QUEUED_BYTES, Queue};

/// Everything that this process writes to standard error, except progress bars.
static STANDARD_ERROR: OnceLock<Queue> = OnceLock::new();

/// Starts to log to standard error. Panics are logged, too.
///
/// Logging never waits for the reader of standard error. Lines are dropped if it is slow, closed or full,
/// and counted (see [`dropped_log_lines`]); the log reports their number once it can be written again.
/// Call [`flush_log`] before the process ends.
///
/// # Errors
///
/// When the process has a log already, or no thread can be started.
pub fn start(filter: &LogFilter, format: LogFormat) -> Result<(), LogError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter.to_filter())
        .log_internal_errors(false)
        .with_writer(standard_error(format)?.clone());
    match format {
        LogFormat::Human => lines
            .fmt_fields(human::Fields)
            .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .finish()
            .try_init(),
        LogFormat::Json => lines.event_format(json::Line).finish().try_init(),
    }?;
    panics::log();
    Ok(())
}

/// Why the log cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The thread that writes the log cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[from] io::Error),
    /// The process has a log already.
    #[error("the process has a log already")]
    Started(#[from] TryInitError),
}

/// Writes `text` to standard error in the same way as the log, for commands and before the log starts. Adds
/// a line break if `text` has none at its end.
pub(crate) fn print_to_stderr(text: &str) {
    // If no thread can be started, the text is lost: this function must not wait for the reader.
    if let Ok(queue) = standard_error(LogFormat::Human) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        queue.push(format!("{text}{end}").as_bytes());
    }
}

/// Waits until everything written to standard error so far has left this process, for five seconds at
/// most, and half a second at most if the reader reads nothing.
pub fn flush_log() {
    if let Some(queue) = STANDARD_ERROR.get() {
        queue.flush();
    }
}

/// The number of log lines that could not be written since the start of the process.
pub fn dropped_log_lines() -> u64 {
    STANDARD_ERROR.get().map_or(0, Queue::dropped)
}

fn standard_error(format: LogFormat) -> io::Result<&'static Queue> {
    if let Some(queue) = STANDARD_ERROR.get() {
        return Ok(queue);
    }
    let queue = Queue::start(stderr(), MAX_QUEUED_BYTES, move |dropped| {
        report(format, dropped)
    })?;
    // If another thread was faster, this queue stays empty.
    Ok(STANDARD_ERROR.get_or_init(|| queue))
}

/// The log line that reports dropped lines.
fn report(format: LogFormat, Dropped { lines, since }: Dropped) -> String {
    const MESSAGE: &str = "log lines were dropped: standard error did not take them";
    let now = Timestamp::now();
    match format {
        LogFormat::Human => format!(
            "{now:.6}  WARN {}: {MESSAGE} lines={lines} since={since:.6}\n",
            module_path!()
        ),
        LogFormat::Json => {
            let line = serde_json::json!({
                "timestamp": format!("{now:.6}"),
                "level": "WARN",
                "target": module_path!(),
                "message": MESSAGE,
                "lines": lines,
                "since": format!("{since:.6}"),
            });
            format!("{line}\n")
        }
    }
}

/// [`with_causes`], with control and invisible characters escaped for a terminal.
pub(crate) fn printable(error: &dyn Error) -> String {
    escaped(&with_causes(error)).into_owned()
}
