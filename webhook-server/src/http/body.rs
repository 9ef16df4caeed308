//! Reading a request's body within its limits.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::Site;
use super::connections::Peer;
use super::problem::Problem;

/// A body that nobody asked for is read to its end, so that the connection can live on, only
/// where it is as short as this.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// What a body's declared length may make us set aside before it has come.
const MAX_FIRST_ALLOCATION: usize = 64 * 1024;

/// A body that comes in more pieces than this must come in pieces of [`MIN_PIECE_BYTES`] on
/// average: each costs about as much as a small request.
const MAX_FREE_PIECES: usize = 1_024;

/// See [`MAX_FREE_PIECES`].
const MIN_PIECE_BYTES: usize = 64;

/// How many bytes a second a body must bring, once half of its time-out is over.
const MIN_BYTES_PER_SECOND: u32 = 1_024;

/// Bodies of up to as many bytes may use all of the room.
const MAX_SMALL_BYTES: usize = 64 * 1024;

/// The part of the room that is reserved for small bodies: one in as many.
const RESERVED_FRACTION: usize = 8;

/// A body, and its share of the bytes that all bodies may hold.
pub(super) struct Received<'a> {
    pub(super) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

/// Reads all of `body`.
///
/// Every problem with it closes the connection: what is left of the body would have to be read
/// before the next request.
pub(super) async fn receive<'a>(
    site: &'a Site,
    peer: &Peer,
    body: Incoming,
) -> Result<Received<'a>, Problem> {
    let limit = site.options.max_body_bytes;
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        return Err(too_long(limit));
    }
    match timeout(site.options.body_timeout, collect(site, peer, body)).await {
        Ok(received) => received,
        Err(_) => Err(too_slow(format!(
            "Body not received within {} s",
            site.options.body_timeout.as_secs_f64()
        ))),
    }
}

async fn collect<'a>(
    site: &'a Site,
    peer: &Peer,
    mut body: Incoming,
) -> Result<Received<'a>, Problem> {
    let limit = site.options.max_body_bytes;
    let room = &site.body_room;
    let grace_ends = Instant::now() + site.options.body_timeout / 2;
    let mut pieces = 0_usize;
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    // Copied out of the connection's buffer, which is far larger than most bodies: an event that
    // waits in memory would keep all of it.
    let mut bytes = Vec::new();
    let mut held: Option<SemaphorePermit<'_>> = None;
    loop {
        let received = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let due = grace_ends + Duration::from_secs(received.into()) / MIN_BYTES_PER_SECOND;
        let frame = timeout_at(due, body.frame()).await.map_err(|_| {
            too_slow(format!(
                "Body slower than {MIN_BYTES_PER_SECOND} bytes a second"
            ))
        })?;
        let Some(frame) = frame else {
            break;
        };
        // A body that makes progress is no idle connection.
        peer.waits_for_client();
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
        pieces += 1;
        if pieces > MAX_FREE_PIECES && bytes.len() / pieces < MIN_PIECE_BYTES {
            return Err(Problem::bad_request(format!(
                "Body in more than {MAX_FREE_PIECES} pieces of less than {MIN_PIECE_BYTES} bytes"
            ))
            .closing());
        }
        if bytes.is_empty() {
            bytes.reserve_exact(declared.clamp(data.len(), MAX_FIRST_ALLOCATION.max(data.len())));
        } else {
            let is_small = bytes.len() + data.len() <= MAX_SMALL_BYTES;
            if !is_small
                && room.available_permits() < site.options.max_buffered_bytes / RESERVED_FRACTION
            {
                return Err(no_room());
            }
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
        .ok_or_else(no_room)?;
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

fn no_room() -> Problem {
    Problem::unavailable("Too many bodies under way", 1).closing()
}

fn too_slow(detail: String) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail).closing()
}

fn too_long(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("Body longer than {limit} bytes"),
    )
    .closing()
}
