//! A copy of an event, for those who listen to its source.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use webhook_core::EventType;

use super::{Header, as_instant};
use crate::sources::EventCopy;

/// A copy of an event, with its body.
#[derive(Serialize)]
pub(crate) struct CopyView<'a> {
    number: u64,
    source: &'a str,
    id: &'a str,
    event_type: Option<&'a str>,
    #[serde(serialize_with = "as_instant")]
    accepted_at: SystemTime,
    headers: Vec<Header<'a>>,
    body_base64: String,
}

impl<'a> CopyView<'a> {
    pub(crate) fn of(copy: &'a EventCopy) -> Self {
        Self {
            number: copy.number,
            source: copy.kind.as_str(),
            id: copy.key.as_str(),
            event_type: copy.event_type.as_ref().map(EventType::as_str),
            accepted_at: copy.accepted_at,
            headers: copy.headers.iter().map(Header::of).collect(),
            body_base64: STANDARD.encode(&copy.body),
        }
    }
}
