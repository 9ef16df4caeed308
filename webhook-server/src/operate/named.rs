//! Transactions that an operator names by their ids.

use webhook_core::EventRef;

use crate::shown::{kind, typed_id};

/// How many events one call to the database names. Bodies come with what is found, so it is few.
pub(super) const NAMED_AT_ONCE: usize = 16;

/// The events that `ids` name. An id that no transaction can have is left out.
pub(super) fn events(ids: &[String]) -> Vec<EventRef> {
    let keys = ids.iter().filter_map(|id| typed_id(id).ok());
    keys.map(|key| EventRef { kind: kind(), key }).collect()
}
