//! Log lines as JSON.

use std::error::Error;
use std::fmt::{self, Debug};
use std::io;

use jiff::Timestamp;
use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::Formatter;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use webhook_core::with_causes;

use super::escape::is_plain;
use super::value::text_of;
use crate::traces::current;

/// Formats an event as one object per line: `timestamp`, `level`, `target`, then the fields of the event,
/// including `message`, then `trace_id` and `span_id` within a trace. In contrast to the format of
/// tracing-subscriber, it has the causes of errors, and no spans.
pub(super) struct Line;

impl<S, N> FormatEvent<S, N> for Line
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
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, Escaping);
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
    if let Some(context) = current() {
        let (trace_id, span_id) = (context.trace_id(), context.span_id());
        fields
            .map
            .serialize_entry("trace_id", &hex::encode(trace_id))?;
        fields
            .map
            .serialize_entry("span_id", &hex::encode(span_id))?;
    }
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
        self.entry(field, &text_of(value));
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

/// Compact JSON on one line, with control and invisible characters escaped.
pub(crate) struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| !is_plain(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    /// Writes JSON from outside. Its tabs and line breaks are between tokens, where a space means the same.
    /// All other characters to escape are in strings.
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut lines = fragment.split(['\t', '\n', '\r']);
        if let Some(first) = lines.next() {
            self.write_string_fragment(writer, first)?;
        }
        lines.try_for_each(|line| {
            writer.write_all(b" ")?;
            self.write_string_fragment(writer, line)
        })
    }
}
