//! What became of a request to pause or to resume.

use serde::Serialize;
use webhook_core::Kind;

/// A kind after a request to pause or to resume it.
#[derive(Serialize)]
pub(crate) struct PausedKind<'a> {
    pub(crate) kind: &'a str,
    pub(crate) paused: bool,
    /// Whether this request made it so.
    pub(crate) changed: bool,
}

impl<'a> PausedKind<'a> {
    /// A kind that is paused now.
    pub(crate) fn paused(kind: &'a Kind, changed: bool) -> Self {
        Self {
            kind: kind.as_str(),
            paused: true,
            changed,
        }
    }

    /// A kind that is not paused any more.
    pub(crate) fn resumed(kind: &'a Kind, changed: bool) -> Self {
        Self {
            kind: kind.as_str(),
            paused: false,
            changed,
        }
    }
}

/// The kinds of one request.
#[derive(Default, Serialize)]
pub(crate) struct PausedKinds<'a> {
    pub(crate) kinds: Vec<PausedKind<'a>>,
}
