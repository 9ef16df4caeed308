//! The keys of `webhook.toml`.

mod forms;
mod forward;
mod handshakes;
mod ids;
mod schemes;

use super::shape::{Field, Shape};
pub(super) use forms::duration;
use forms::{
    AGE, ANY_TEXT, DURATION, HEADER, MAX_BODY_BYTES, METHOD, NAME, POINTER, SECRETS, TEXT,
    TOLERANCE, URL,
};
use forward::FORWARD;
pub(super) use forward::delay;
#[cfg(test)]
pub(super) use forward::{FORWARD_FIELDS, SCHEDULE_FIELDS};
use handshakes::HANDSHAKE;
#[cfg(test)]
pub(super) use handshakes::{HANDSHAKE_ANSWER_FIELDS, HANDSHAKES};
use ids::{COMPARE, ID, PLACES};
use schemes::SCHEME;
#[cfg(test)]
pub(super) use schemes::{
    ALGORITHMS, BASIC_FIELDS, DIGEST_FIELDS, EACH_KEY_FIELDS, ENCODINGS,
    FETCHED_CERTIFICATE_FIELDS, HASHES, HMAC_FIELDS, JWT_ALGORITHMS, JWT_FIELDS, KEY_FORMS,
    KEY_SETS, NAMED_ALGORITHMS_FIELDS, PUBLIC_KEY_FIELDS, PUBLIC_KEY_FORMS, REQUIRED_VALUE_FIELDS,
    SCHEMES, SIGNATURE_FIELDS, TIME_FIELDS, TIME_FORMATS, TOKEN_FIELDS, TOKEN_FORMS,
};

const fn key(
    key: &'static str,
    shape: &'static Shape,
    default: &'static str,
    meaning: &'static str,
) -> Field {
    Field {
        key,
        shape,
        is_required: false,
        default,
        meaning,
    }
}

const fn required(key: &'static str, shape: &'static Shape, meaning: &'static str) -> Field {
    Field {
        key,
        shape,
        is_required: true,
        default: "required",
        meaning,
    }
}

/// The whole file.
pub(super) static FILE: &[Field] = &[
    key(
        "public_url",
        &Shape::Text(&URL),
        "",
        "the URL at which senders reach the server, before `/v1/webhooks/NAME`, such as \
         `https://hooks.example.com`",
    ),
    key(
        "sources",
        &Shape::Map(&SOURCE),
        "",
        "the sources by their names",
    ),
];

/// A source.
pub(super) static SOURCE: Shape = Shape::Named("source", &Shape::Table(SOURCE_FIELDS));

/// The keys of a source. Those from `scheme` on describe the sender, and are those of a preset as well.
pub(super) static SOURCE_FIELDS: &[Field] = &[
    key(
        "preset",
        &Shape::Text(&NAME),
        "",
        "the [sender](#presets), such as `stripe`. Every key of the preset can be set beside it",
    ),
    key(
        "secrets",
        &SECRETS,
        "",
        "where the [secrets](#secrets) are: `[\"env:NAME\", \"file:PATH\"]` for those named `secret`, \
         or a table of such lists by name. Never the secrets themselves",
    ),
    key(
        "public_url",
        &Shape::Text(&URL),
        "`public_url` of the file and the path",
        "the URL as the sender was given it, without a query. Needed where the sender signs the URL",
    ),
    key(
        "tolerance",
        &Shape::Text(&TOLERANCE),
        "that of the scheme",
        "how far the time of a signature may differ from now, or `off`",
    ),
    key(
        "enabled",
        &Shape::Boolean,
        "`true`",
        "`false`: deliveries get 503, so that the sender tries again later",
    ),
    key(
        "retired",
        &Shape::Boolean,
        "`false`",
        "`true`: deliveries get 410, which makes some senders stop for good",
    ),
    key(
        "delay",
        &Shape::Text(&AGE),
        "`0s`",
        "how long after its acceptance an event is processed",
    ),
    key(
        "max_attempts",
        &Shape::Integer(1, u32::MAX as u64),
        "`MAX_ATTEMPTS`; with `forward`, as many as its `schedule` has",
        "the most attempts at an event before it is FAILED",
    ),
    key(
        "concurrency",
        &Shape::Integer(1, 100_000),
        "`32`",
        "the most events of this source that are processed or forwarded at the same time",
    ),
    key(
        "max_body_bytes",
        &Shape::Bytes(MAX_BODY_BYTES),
        "`MAX_BODY_BYTES`",
        "the longest body; longer ones get 413",
    ),
    key(
        "requests_per_second",
        &Shape::Integer(1, 1_000_000),
        "no limit",
        "the most requests a second on average; further ones get 503",
    ),
    key(
        "max_queued",
        &Shape::Integer(1, 10_000_000),
        "`1024`",
        "the most deliveries that wait for the store; further ones get 503",
    ),
    key(
        "max_queued_bytes",
        &Shape::Bytes(1 << 40),
        "`16MiB`, or `max_body_bytes` if that is more",
        "the most bytes of bodies that wait for the store; further ones get 503",
    ),
    key(
        "max_stored",
        &Shape::Integer(1, i64::MAX as u64),
        "no limit",
        "the most events that are not PROCESSED or FAILED yet; further ones get 503",
    ),
    key(
        "keep",
        &Shape::Text(&AGE),
        "`RETENTION_DAYS`",
        "how long PROCESSED and FAILED events are kept",
    ),
    key(
        "keep_keys",
        &Shape::Text(&AGE),
        "`KEY_RETENTION_DAYS`, `keep` or `30d`, whichever is longest",
        "how long keys are kept, so that redeliveries are recognised",
    ),
    key(
        "reads_need_token",
        &Shape::Boolean,
        "`true`",
        "`false`: everybody who reaches the server may read the state of the events",
    ),
    key(
        "expect_every",
        &Shape::Text(&AGE),
        "",
        "the log tells of a source that receives nothing for [so long](operating.md#silent-sources)",
    ),
    key(
        "keep_refused_bodies",
        &Shape::Boolean,
        "`false`",
        "`true`: the first 2 KiB of the body are kept of the latest refused requests",
    ),
    key(
        "forward",
        &FORWARD,
        "",
        "the URL that gets each event when it is due, or a table with that `url` and [more](#forward). Without it, the \
         log has a line for each event",
    ),
    required(
        "scheme",
        &SCHEME,
        "how a request shows [who made it](#schemes), or `\"none\"` to receive from everybody",
    ),
    key(
        "settings",
        &Shape::Map(&ANY_TEXT),
        "none",
        "what you know of your account at the sender, by name: `{setting:NAME}` in the scheme stands for it",
    ),
    key(
        "id",
        &ID,
        "`\"sha256\"`",
        "where the [id](#ids) of an event is",
    ),
    key(
        "split",
        &Shape::Text(&POINTER),
        "",
        "where the events of a request are, if it may carry several: a JSON pointer with `*`, such as \
         `/events/*`. The other pointers of the source then begin at an event",
    ),
    key(
        "event_type",
        &PLACES,
        "",
        "the [place](#places) of the name of the event's type, or a list of places, of which the first \
         that there is counts",
    ),
    key(
        "compare",
        &COMPARE,
        "`\"bytes\"`",
        "what decides whether an id that comes again is a duplicate or a conflict: `\"bytes\"`, \
         `\"json\"`, `\"none\"`, `{ ignore = [POINTERS] }` or `{ only = POINTER }`",
    ),
    key(
        "guard",
        &Shape::Choice(&["none", "body", "body_and_type"]),
        "`\"none\"`",
        "for ids that are not signed: an event with a new id is a duplicate if its body is known \
         (`\"body\"`), or its body with its type (`\"body_and_type\"`)",
    ),
    key(
        "handshakes",
        &Shape::List(&HANDSHAKE),
        "none",
        "the [requests](#handshakes) by which the sender checks the address",
    ),
    key(
        "answer",
        &Shape::Table(ANSWER_FIELDS),
        "200, empty",
        "the answer to a delivery that is stored: `{ status, content_type, body }`",
    ),
    key(
        "refused_status",
        &Shape::Integer(400, 599),
        "`401`",
        "the status of the answer to a request without a valid signature",
    ),
    key(
        "methods",
        &Shape::List(&METHOD),
        "`[\"POST\"]`",
        "the methods of deliveries",
    ),
    key(
        "keep_headers",
        &Shape::List(&HEADER),
        "none",
        "headers that are kept with an event, beside `content-type` and those that `id` and \
         `event_type` name",
    ),
    key(
        "timeout",
        &Shape::Text(&DURATION),
        "",
        "how long the sender waits for the answer",
    ),
];

/// The keys that a preset has as well.
pub(super) fn describes_sender(key: &str) -> bool {
    let mut fields = SOURCE_FIELDS.iter();
    let is_first = |field: &Field| field.key == "scheme";
    fields.any(is_first) && (key == "scheme" || fields.any(|field| field.key == key))
}

/// Of the answer to a delivery.
pub(super) static ANSWER_FIELDS: &[Field] = &[
    key("status", &Shape::Integer(200, 299), "`200`", "the status"),
    key(
        "content_type",
        &Shape::Text(&TEXT),
        "",
        "the media type of the body",
    ),
    key("body", &Shape::Text(&TEXT), "empty", "the body"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_sender_begin_with_the_scheme() {
        assert!(describes_sender("scheme") && describes_sender("timeout"));
        assert!(!describes_sender("secrets") && !describes_sender("keep_refused_bodies"));
        assert!(!describes_sender("unknown"));
    }
}
