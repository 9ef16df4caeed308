//! The log: to standard error, for people or for machines.

use std::error::Error;
use std::fmt::{self, Debug};
use std::io::{IsTerminal, stderr};

use jiff::Timestamp;
use serde::ser::{SerializeMap, Serializer};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
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
            .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .finish()
            .try_init(),
        LogFormat::Json => lines.event_format(JsonLine).finish().try_init(),
    }
}

/// One object a line: `timestamp`, `level`, `target`, then the event's own fields, `message` among
/// them. Unlike the subscriber's own format it keeps the causes of errors, and has no spans.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = json_line(event).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

fn json_line(event: &Event<'_>) -> Result<String, serde_json::Error> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    let now = Timestamp::now();
    map.serialize_entry("timestamp", &format_args!("{now:.6}"))?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
    map.serialize_entry("target", event.metadata().target())?;
    let mut fields = Fields {
        map,
        result: Ok(()),
    };
    event.record(&mut fields);
    fields.result?;
    fields.map.end()?;
    String::from_utf8(line).map_err(serde::ser::Error::custom)
}

struct Fields<M: SerializeMap> {
    map: M,
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<M> {
    fn entry(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if self.result.is_ok() {
            self.result = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<M> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.entry(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.entry(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.entry(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.entry(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.entry(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.entry(field, &value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.entry(field, &with_causes(value));
    }
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
