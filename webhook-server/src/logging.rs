//! The log: to standard error, for people or for machines.
//!
//! What senders can write into it stays what it is: nothing ends a line, steers a terminal, hides
//! what stands beside it, or looks like another field.

mod escape;
mod human;
mod json;

pub(crate) use escape::escaped;
pub(crate) use json::Escaping;

use std::error::Error;
use std::io::{IsTerminal, stderr};

use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFilter, LogFormat};

/// Sends this process's log lines to standard error.
///
/// # Errors
///
/// When the process logs elsewhere already.
pub fn start(filter: &LogFilter, format: LogFormat) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter.to_filter())
        .with_writer(stderr);
    match format {
        LogFormat::Human => lines
            .fmt_fields(human::Fields)
            .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .finish()
            .try_init(),
        LogFormat::Json => lines.event_format(json::Line).finish().try_init(),
    }
}

/// What a terminal shows of an error: [`with_causes`], with every character escaped that would
/// steer the terminal or cannot be seen.
pub fn printable(error: &dyn Error) -> String {
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
