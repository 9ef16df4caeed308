//! [`Mark`]: what a partition keeps about the inbox that it belongs to.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Kind;
use crate::partitioned::error::PartitionError;
use crate::partitioned::place::Place;
use crate::placement::MAX_PARTITIONS;
use crate::text::clean;

/// The version of the format of a mark.
const VERSION: u32 = 1;

/// How many bytes of a mark that is not known an error shows.
const MAX_SHOWN_BYTES: usize = 200;

/// How many bytes of the name of an inbox an error shows.
const MAX_INBOX_BYTES: usize = 40;

/// Which partition of which inbox a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The inbox: a random text.
    pub(super) inbox: String,
    pub(super) place: Place,
    pub(super) whole_kinds: BTreeSet<Kind>,
    /// Whether all partitions have had their marks: one without a mark is another backend since then.
    pub(super) is_complete: bool,
}

/// A mark as JSON.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    inbox: String,
    index: usize,
    count: usize,
    whole_kinds: Vec<String>,
    complete: bool,
}

impl Mark {
    /// The text that a backend keeps.
    pub(super) fn to_text(&self) -> String {
        let stored = Stored {
            version: VERSION,
            inbox: self.inbox.clone(),
            index: self.place.index,
            count: self.place.count,
            whole_kinds: self.whole_kinds.iter().map(Kind::to_string).collect(),
            complete: self.is_complete,
        };
        serde_json::to_string(&stored).expect("numbers and texts are valid JSON")
    }

    /// Reads the text that the backend at `place` has kept.
    pub(super) fn of_text(text: &str, place: Place) -> Result<Self, PartitionError> {
        Self::parsed(text).ok_or_else(|| PartitionError::UnknownMark {
            index: place.index,
            count: place.count,
            mark: clean(text, MAX_SHOWN_BYTES),
        })
    }

    fn parsed(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let kinds = stored.whole_kinds.into_iter();
        let whole_kinds = kinds.map(Kind::new).collect::<Result<_, _>>().ok()?;
        let is_known = stored.version == VERSION
            && stored.index < stored.count
            && stored.count <= MAX_PARTITIONS;
        is_known.then_some(Self {
            inbox: stored.inbox,
            place: Place {
                index: stored.index,
                count: stored.count,
            },
            whole_kinds,
            is_complete: stored.complete,
        })
    }

    /// The mark of another partition of the same inbox.
    pub(super) fn at(&self, place: Place) -> Self {
        Self {
            place,
            ..self.clone()
        }
    }

    /// Checks that this mark, which was found at the place of `expected`, is of the same partition of the same inbox.
    pub(super) fn check(&self, expected: &Self) -> Result<(), PartitionError> {
        let Place { index, count } = expected.place;
        let found = self.place.to_string();
        let (found, problem) = if self.inbox != expected.inbox {
            let inbox = clean(&expected.inbox, MAX_INBOX_BYTES);
            let problem = format!(
                "this inbox is {inbox}: check which databases are named, and in which order"
            );
            (self.to_string(), problem)
        } else if self.place.count != count {
            let problem = format!(
                "the number of partitions of this inbox is {}, and not {count}",
                self.place.count
            );
            (found, problem)
        } else if self.place.index != index {
            (found, "check the order of the partitions".to_owned())
        } else {
            return Ok(());
        };
        Err(PartitionError::WrongMark {
            index,
            count,
            found,
            problem,
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of the inbox {}",
            self.place,
            clean(&self.inbox, MAX_INBOX_BYTES)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            inbox: "4f1c".to_owned(),
            place: Place { index: 2, count: 8 },
            whole_kinds: ["github", "a"].map(Kind::from_static).into(),
            is_complete: true,
        }
    }

    /// Stored marks must be read by all later versions.
    #[test]
    fn marks_survive_a_round_trip_through_text() {
        let text = r#"{"version":1,"inbox":"4f1c","index":2,"count":8,"whole_kinds":["a","github"],"complete":true}"#;
        assert_eq!(mark().to_text(), text);
        assert_eq!(Mark::of_text(text, mark().place).unwrap(), mark());
        assert_eq!(mark().to_string(), "partition 2 of 8 of the inbox 4f1c");
    }

    #[test]
    fn unknown_marks_are_errors() {
        let place = Place { index: 2, count: 8 };
        for text in [
            "",
            "{}",
            r#"{"version":1,"inbox":"4f1c","index":2,"count":8,"whole_kinds":[]}"#,
            "\"mark\"\0",
            r#"{"version":2,"inbox":"4f1c","index":2,"count":8,"whole_kinds":[],"complete":true}"#,
            r#"{"version":1,"inbox":"4f1c","index":8,"count":8,"whole_kinds":[],"complete":true}"#,
            r#"{"version":1,"inbox":"4f1c","index":0,"count":0,"whole_kinds":[],"complete":true}"#,
            r#"{"version":1,"inbox":"4f1c","index":0,"count":1025,"whole_kinds":[],"complete":true}"#,
            r#"{"version":1,"inbox":"4f1c","index":2,"count":8,"whole_kinds":["A"],"complete":true}"#,
            r#"{"version":1,"inbox":"4f1c","index":2,"count":8,"whole_kinds":[],"complete":true,"more":1}"#,
            r#"{"version":1,"inbox":"4f1c","index":-1,"count":8,"whole_kinds":[],"complete":true}"#,
            &"x".repeat(100_000),
        ] {
            let error = Mark::of_text(text, place).unwrap_err().to_string();
            assert!(
                error.starts_with("partition 2 of 8: its mark is not one"),
                "{error}"
            );
            assert!(error.len() < 400, "{error}");
        }
    }

    #[test]
    fn marks_of_other_partitions_and_inboxes_are_wrong() {
        let expected = mark();
        assert!(expected.check(&expected).is_ok());
        let mut whole = mark();
        whole.whole_kinds.clear();
        assert!(whole.check(&expected).is_ok());
        let other = |change: fn(&mut Mark)| {
            let mut other = mark();
            change(&mut other);
            other.check(&expected).unwrap_err().to_string()
        };
        for (error, expected) in [
            (
                other(|it| it.place.index = 1),
                "found partition 1 of 8: check the order of the partitions",
            ),
            (
                other(|it| it.place.count = 9),
                "found partition 2 of 9: the number of partitions of this inbox is 9, and not 8",
            ),
            (
                other(|it| it.inbox = "5".into()),
                "found partition 2 of 8 of the inbox 5: this inbox is 4f1c: check which databases are named, and in \
                 which order",
            ),
        ] {
            assert_eq!(error, format!("partition 2 of 8: {expected}"));
        }
    }
}
