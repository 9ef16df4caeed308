//! What the API and the dashboard show. Each function checks what the caller may see.

mod body;
mod events;
mod failures;
mod masked;
mod sources;

pub(crate) use body::body_of;
pub(crate) use events::{
    DEFAULT_LIMIT, MAX_LIMIT, audit, event, events, raw_body, record, visible,
};
pub(crate) use failures::failures;
pub(crate) use sources::{
    copies, destinations, destinations_now, nodes, overview, refused, source, sources,
};
