//! Reading a request's body within its limits.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Site;
use super::problem::Problem;

/// A body that nobody asked for is read to its end, so that the connection can live on, only
/// where it is as short as this.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// What a body's declared length may make us set aside before it has come.
const MAX_FIRST_ALLOCATION: usize = 64 * 1024;

/// A body, and its share of the bytes that all bodies may hold.
pub(super) struct Received<'a> {
    pub(super) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

/// Reads all of `body`.
///
/// Every problem with it closes the connection: what is left of the body would have to be read
/// before the next request.
pub(super) async fn receive(site: &Site, body: Incoming) -> Result<Received<'_>, Problem> {
    let limit = site.options.max_body_bytes;
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        return Err(too_long(limit));
    }
    match timeout(
        site.options.body_timeout,
        collect(body, limit, &site.body_room),
    )
    .await
    {
        Ok(received) => received,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "Body not received within {} s",
                site.options.body_timeout.as_secs_f64()
            ),
        )
        .closing()),
    }
}

async fn collect(
    mut body: Incoming,
    limit: usize,
    room: &Semaphore,
) -> Result<Received<'_>, Problem> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    // Copied out of the connection's buffer, which is far larger than most bodies: an event that
    // waits in memory would keep all of it.
    let mut bytes = Vec::new();
    let mut held: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "body broke off");
            Problem::new(StatusCode::BAD_REQUEST, "Body incomplete or badly framed").closing()
        })?;
        // Trailers are read and dropped.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(too_long(limit));
        }
        if bytes.is_empty() {
            bytes.reserve_exact(declared.clamp(data.len(), MAX_FIRST_ALLOCATION.max(data.len())));
        } else {
            hold(room, &mut held, data.len())?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received {
        bytes: bytes.into(),
        _room: held,
    })
}

/// Adds `bytes` to what is `taken` of `room`.
fn hold<'a>(
    room: &'a Semaphore,
    taken: &mut Option<SemaphorePermit<'a>>,
    bytes: usize,
) -> Result<(), Problem> {
    let permits = u32::try_from(bytes)
        .ok()
        .and_then(|bytes| room.try_acquire_many(bytes).ok())
        .ok_or_else(|| Problem::unavailable("Too many bodies under way", 1).closing())?;
    match taken {
        Some(taken) => taken.merge(permits),
        None => *taken = Some(permits),
    }
    Ok(())
}

/// Reads and drops a body that is not wanted; says whether the connection can live on.
pub(super) async fn discard(site: &Site, head: &Parts, mut body: Incoming) -> bool {
    if body.is_end_stream() {
        return true;
    }
    // Whoever expects a 100 sends no body unless it is asked for, and asking is what reading does.
    let declared = head.headers.contains_key(CONTENT_LENGTH);
    let short = body
        .size_hint()
        .upper()
        .is_some_and(|bytes| bytes <= MAX_DISCARDED_BYTES);
    if !declared || !short || head.headers.contains_key(EXPECT) {
        return false;
    }
    let drained = timeout(site.options.body_timeout, async {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    });
    drained.await.unwrap_or(false)
}

fn too_long(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("Body longer than {limit} bytes"),
    )
    .closing()
}
