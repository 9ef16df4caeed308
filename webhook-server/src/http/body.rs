//! Reads the bodies of requests, within limits of size, time and memory.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use tokio::time::{Instant, timeout, timeout_at};

use super::App;
use super::body_room::{FREE_BYTES, Share};
use super::connections::Peer;
use super::problem::Problem;
use crate::metrics::Refused;

/// A body that no route needs is read to its end, so that the connection stays open, if it has at
/// most this many bytes.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;

/// A body in more pieces than this must have pieces of at least [`MIN_PIECE_BYTES`] on average: each
/// piece costs about as much as a small request.
const MAX_FREE_PIECES: usize = 1_024;

/// See [`MAX_FREE_PIECES`].
const MIN_PIECE_BYTES: usize = 64;

/// How many bytes a second must arrive of a body, once half of its time-out has passed.
const MIN_BYTES_PER_SECOND: u32 = 1_024;

/// A body, and its share of the bytes that all bodies may hold.
pub(super) struct Received<'a> {
    pub(super) bytes: Bytes,
    _share: Share<'a>,
}

/// Reads all of `body`, if it is no longer than the limit of all bodies.
pub(super) async fn receive<'a>(
    app: &'a App,
    peer: &Peer,
    client: Option<IpAddr>,
    body: Incoming,
) -> Result<Received<'a>, Problem> {
    receive_up_to(app.options.max_body_bytes, app, peer, client, body).await
}

/// Reads all of `body`, if it has at most `limit` bytes.
///
/// Every problem closes the connection: the rest of the body would have to be read before the next
/// request.
pub(super) async fn receive_up_to<'a>(
    limit: usize,
    app: &'a App,
    peer: &Peer,
    client: Option<IpAddr>,
    body: Incoming,
) -> Result<Received<'a>, Problem> {
    let declared = body.size_hint().lower();
    if declared > limit as u64 {
        return Err(too_long(limit));
    }
    let share = app.body_room.share(client);
    let collecting = collect(limit, app, peer, share, body);
    match timeout(app.options.body_timeout, collecting).await {
        Ok(received) => received,
        Err(_) => Err(too_slow(format!(
            "Body not received within {} s",
            app.options.body_timeout.as_secs_f64()
        ))),
    }
}

async fn collect<'a>(
    limit: usize,
    app: &'a App,
    peer: &Peer,
    mut share: Share<'a>,
    mut body: Incoming,
) -> Result<Received<'a>, Problem> {
    let grace_ends = Instant::now() + app.options.body_timeout / 2;
    let mut pieces = 0_usize;
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    // The body is copied out of the connection's buffer, which is far larger than most bodies: an event
    // in memory would keep all of it.
    let mut bytes = Vec::new();
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
        // A connection whose body makes progress is not idle.
        peer.waits_for_client();
        let frame = frame.map_err(|error| {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "failed to receive a body"
            );
            Problem::new(StatusCode::BAD_REQUEST, "Body incomplete or badly framed").closing()
        })?;
        // Trailers are ignored.
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
        if !share.grow_to(bytes.len() + data.len()) {
            return Err(no_room());
        }
        if bytes.is_empty() {
            // The declared length may reserve no more than the bytes that are not counted.
            bytes.reserve_exact(declared.min(FREE_BYTES).max(data.len()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received {
        bytes: bytes.into(),
        _share: share,
    })
}

/// Reads and drops a body that no route needs. Returns whether it was read to its end, so that the
/// connection can stay open.
pub(super) async fn discard(app: &App, head: &Parts, mut body: Incoming) -> bool {
    if body.is_end_stream() {
        return true;
    }
    // A client that expects 100 Continue sends its body only if it is read.
    let declared = head.headers.contains_key(CONTENT_LENGTH);
    let short = body
        .size_hint()
        .upper()
        .is_some_and(|bytes| bytes <= MAX_DISCARDED_BYTES);
    if !declared || !short || head.headers.contains_key(EXPECT) {
        return false;
    }
    let drained = timeout(app.options.body_timeout, async {
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
    let problem = Problem::unavailable("Too many bodies under way", 1).closing();
    problem.counted(Refused::Overloaded)
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
