//! What the API and the dashboard show. Each function checks what the caller may see.

mod body;
mod events;
mod export;
mod failures;
mod masked;
mod sources;
mod status;

pub(crate) use body::body_of;
pub(crate) use events::{
    DEFAULT_LIMIT, LARGEST_PAGE, MAX_LIMIT, audit, event, events, raw_body, record, scan, visible,
};
pub(crate) use export::{Exports, export, send_piece};
pub(crate) use failures::{failures, without_numbers};
pub(crate) use sources::{
    copies, destinations, destinations_now, nodes, overview, refused, source, sources,
    without_names,
};
pub(crate) use status::{LatestCounts, status};
