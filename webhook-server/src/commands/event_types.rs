//! [`EventTypes`]: which event types a command is about.

use std::str::FromStr;

use thiserror::Error;
use webhook_core::{EventSummary, EventType, InvalidName, InvalidPattern, Pattern};

/// Help for the option `--type`.
pub(super) const HELP: &str = "Only events of this type, such as payment.captured, or of types that begin so, such as \
    'payment.*'. A type with a * at its end is written in quotation marks: '\"a*\"'";

/// One event type, or those with the same beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventTypes {
    pattern: Pattern,
    /// The only event type, if there is only one.
    only: Option<EventType>,
}

/// Why a text means no event types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum InvalidEventTypes {
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl EventTypes {
    /// The only event type, which a store can be asked for.
    pub(super) fn only(&self) -> Option<&EventType> {
        self.only.as_ref()
    }

    /// Whether an event is of one of them.
    pub(super) fn has(&self, event: &EventSummary) -> bool {
        let event_type = event.event_type.as_ref();
        event_type.is_some_and(|it| self.pattern.matches(it.as_str()))
    }

    /// The text that they were read from.
    pub(super) fn text(&self) -> String {
        self.pattern.to_string()
    }
}

impl FromStr for EventTypes {
    type Err = InvalidEventTypes;

    fn from_str(text: &str) -> Result<Self, InvalidEventTypes> {
        let pattern: Pattern = text.parse()?;
        let only = match &pattern {
            Pattern::Prefix(beginning) if beginning.is_empty() => None,
            Pattern::Prefix(beginning) => {
                EventType::new(beginning.as_str())?;
                None
            }
            Pattern::Exact(whole) => Some(EventType::new(whole.as_str())?),
        };
        Ok(Self { pattern, only })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use webhook_core::{EventId, EventRef, Fingerprint, Key, Kind, State};

    use super::*;

    fn event(event_type: Option<&str>) -> EventSummary {
        let event = EventRef {
            kind: Kind::from_static("a"),
            key: Key::new("1").unwrap(),
        };
        let (id, now) = (EventId::new(1), SystemTime::UNIX_EPOCH);
        let mut event = EventSummary::new(id, event, Fingerprint::of(["a"]), State::Failed, now);
        event.event_type = event_type.map(|it| EventType::new(it).unwrap());
        event
    }

    #[test]
    fn types_are_meant_by_their_beginnings_or_wholly() {
        for (text, matching, others) in [
            ("t.*", &["t.", "t.a", "t.*"][..], &["t", "T.a"][..]),
            ("t.a", &["t.a"], &["t.", "t.a.b"]),
            ("\"t.*\"", &["t.*"], &["t.a", "t."]),
            ("*", &["t"], &[]),
        ] {
            let types: EventTypes = text.parse().unwrap();
            assert_eq!(types.only().is_some(), !text.ends_with('*'), "{text}");
            assert_eq!(types.text(), text);
            assert!(!types.has(&event(None)), "{text}");
            for (event_types, expected) in [(matching, true), (others, false)] {
                for event_type in event_types {
                    let event = event(Some(event_type));
                    assert_eq!(types.has(&event), expected, "{text}: {event_type}");
                }
            }
        }
        let long = "x".repeat(10_000);
        for wrong in ["", "\"t.*", "\"t\"x", "a\nb", "a\n*", &long] {
            assert!(wrong.parse::<EventTypes>().is_err(), "{wrong}");
        }
    }
}
