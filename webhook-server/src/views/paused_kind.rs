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
}

impl<'a> PausedKind<'a> {
    /// A kind that is now paused.
    pub(crate) fn paused(kind: &'a Kind, changed: bool) -> Self {
        Self {
            kind: kind.as_str(),
            paused: true,
            changed,
        }
    }

    /// A kind that is no longer paused.
    pub(crate) fn resumed(kind: &'a Kind, changed: bool) -> Self {
        Self {
            kind: kind.as_str(),
            paused: false,
            changed,
        }
    }
}

/// The kinds of one command.
#[derive(Default, Serialize)]
pub(crate) struct PausedKinds<'a> {
    pub(crate) kinds: Vec<PausedKind<'a>>,
}
