//! The fields of an event as text: the message, then `name=value` for each field.

use std::error::Error;
use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use webhook_core::with_causes;

use super::escape::{escaped, is_plain};
use super::value::text_of;
use crate::traces::current;

/// Formats fields. Values that contain blanks, `=` or quotation marks are quoted. A line that is logged within
/// a trace ends with `trace_id`.
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            separator: "",
            is_line: false,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result?;
        if visitor.is_line
            && let Some(context) = current()
        {
            let trace_id = hex::encode(context.trace_id());
            write!(visitor.writer, "{}trace_id={trace_id}", visitor.separator)?;
        }
        Ok(())
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    separator: &'static str,
    /// Whether these are the fields of a line, and not of a span: only lines have a message.
    is_line: bool,
    result: fmt::Result,
}

impl Visitor<'_> {
    fn write(&mut self, field: &Field, value: &str) -> fmt::Result {
        let name = field.name();
        // Fields of the crate `log`, which the subscriber writes itself.
        if name.starts_with("log.") {
            return Ok(());
        }
        self.writer.write_str(self.separator)?;
        self.separator = " ";
        if name == "message" {
            self.is_line = true;
            return self.writer.write_str(&escaped(value));
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        if is_word(value) {
            write!(self.writer, "{name}={value}")
        } else {
            write!(self.writer, "{name}={value:?}")
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &text_of(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = self.write(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &with_causes(value));
    }
}

fn is_word(value: &str) -> bool {
    let is_inner = |c: char| is_plain(c) && !c.is_whitespace() && !"\"=".contains(c);
    !value.is_empty() && value.chars().all(is_inner)
}
