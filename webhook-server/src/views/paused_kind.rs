//! The result of pausing or resuming kinds.

use serde::Serialize;
use webhook_core::Kind;

/// A kind after it was paused or resumed.
#[derive(Serialize)]
pub(crate) struct PausedKind<'a> {
    pub(crate) kind: &'a str,
    pub(crate) paused: bool,
    /// Whether this request changed it.
    pub(crate) changed: bool,
    /// The URL that its events are forwarded to, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<String>,
}

impl<'a> PausedKind<'a> {
    /// A kind that is now paused.
    pub(crate) fn paused(kind: &'a Kind, changed: bool) -> Self {
        Self {
            kind: kind.as_str(),
            paused: true,
            changed,
            destination: None,
        }
    }

    /// A kind that is no longer paused.
    pub(crate) fn resumed(kind: &'a Kind, changed: bool) -> Self {
        Self {
            kind: kind.as_str(),
            paused: false,
            changed,
            destination: None,
        }
    }

    /// Names the URL that its events are forwarded to.
    pub(crate) fn with_destination(self, destination: Option<String>) -> Self {
        Self {
            destination,
            ..self
        }
    }
}

/// The kinds of one command.
#[derive(Default, Serialize)]
pub(crate) struct PausedKinds<'a> {
    pub(crate) kinds: Vec<PausedKind<'a>>,
}
