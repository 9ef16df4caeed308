//! The log: to standard error, for people or for machines.
//!
//! What senders can write into it stays what it is: nothing ends a line, steers a terminal, hides
//! what stands beside it, or looks like another field.

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

use crate::config::{LogFilter, LogFormat};
use queue::{Dropped, MAX_QUEUED_BYTES, Queue};

/// Everything that this process writes to standard error, but for progress bars.
static STANDARD_ERROR: OnceLock<Queue> = OnceLock::new();

/// Sends this process's log lines to standard error, panics among them.
///
/// Nobody who logs waits for the reader of standard error. Lines that it does not take, because it
/// is slow, closed or full, are dropped and counted (see [`dropped_log_lines`]), and the log
/// reports their number once it can be written again. Call [`flush_log`] before the process ends.
///
/// # Errors
///
/// When the process logs elsewhere already, or no thread can be started.
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
    /// The process logs elsewhere already.
    #[error("the process has a log already")]
    Started(#[from] TryInitError),
}

/// Writes `text` to standard error in the same way as the log, for what has to be said before
/// there is a log, and for commands. Ends the line where `text` does not.
pub(crate) fn print_to_stderr(text: &str) {
    // Without a thread there is nobody who could wait for the reader.
    if let Ok(queue) = standard_error(LogFormat::Human) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        queue.push(format!("{text}{end}").as_bytes());
    }
}

/// Waits until everything written to standard error so far has left this process: at most five
/// seconds, and at most half a second where the reader takes nothing.
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
    // Where another thread was quicker, this queue stays empty.
    Ok(STANDARD_ERROR.get_or_init(|| queue))
}

/// The log line that tells of dropped lines.
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

/// What a terminal shows of an error: [`with_causes`], with every character escaped that would
/// steer the terminal or cannot be seen.
pub(crate) fn printable(error: &dyn Error) -> String {
    escaped(&with_causes(error)).into_owned()
}

/// `what failed: why: and why that`, but for causes that their error has told already.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
