//! The handshakes: requests by which a sender checks the address.

use super::super::shape::{Field, Shape};
use super::forms::{ANY_TEXT, HEADER, METHOD, NAME, POINTER};
use super::schemes::{ENCODINGS, HASH, KEY_FORM, SECRET_NAME};
use super::{key, required};

pub(super) static HANDSHAKE: Shape = Shape::Named("handshake", &Shape::ByRequest(HANDSHAKES));

const STATUS: Shape = Shape::Integer(200, 299);
/// Of the answer to a handshake.
pub(in crate::config::sources) const HANDSHAKE_ANSWER_FIELDS: &[Field] = &[
    key("status", &STATUS, "`200`", "the status"),
    key(
        "content_type",
        &ANY_TEXT,
        "`\"text/plain\"`",
        "the media type of the body",
    ),
    key(
        "body",
        &ANY_TEXT,
        "`\"{value}\"`",
        "the body; `{value}` stands for the value of the request, `{mac}` for its HMAC with the \
         first secret, and `{secret:NAME}` for a public key",
    ),
    SECRET_NAME,
    KEY_FORM,
    HASH,
    key(
        "encoding",
        &Shape::Choice(ENCODINGS),
        "`\"hex\"`",
        "the encoding of the HMAC",
    ),
];
const HANDSHAKE_ANSWER: Shape = Shape::Table(HANDSHAKE_ANSWER_FIELDS);
const MEMBER: Field = required(
    "pointer",
    &Shape::Text(&POINTER),
    "a member of the JSON body",
);
const EQUALS: Field = required("equals", &ANY_TEXT, "its value in a handshake");

/// The handshakes, by their `request`.
pub(in crate::config::sources) static HANDSHAKES: &[(&str, &[Field])] = &[
    (
        "query",
        &[
            key("method", &METHOD, "`\"GET\"`", "the method"),
            required(
                "parameter",
                &ANY_TEXT,
                "the parameter of the query that is sent back",
            ),
            key(
                "token",
                &ANY_TEXT,
                "",
                "a parameter of the query that must be one of the secrets",
            ),
            key(
                "secrets",
                &Shape::Text(&NAME),
                "`\"verify_token\"`",
                "the name of the secrets for `token`",
            ),
            key(
                "answer",
                &HANDSHAKE_ANSWER,
                "the value as text",
                "the answer",
            ),
        ],
    ),
    (
        "header",
        &[
            required("header", &HEADER, "the header of a `GET` that is sent back"),
            required("answer", &HANDSHAKE_ANSWER, "the answer"),
            key(
                "verified",
                &Shape::Boolean,
                "`false`",
                "whether the request must pass the scheme first",
            ),
        ],
    ),
    (
        "json",
        &[
            MEMBER,
            EQUALS,
            key(
                "value",
                &Shape::Text(&POINTER),
                "",
                "the member that is sent back",
            ),
            required("answer", &HANDSHAKE_ANSWER, "the answer"),
            key(
                "verified",
                &Shape::Boolean,
                "`true`",
                "whether the request must pass the scheme first",
            ),
        ],
    ),
    (
        "cloud_events",
        &[
            required(
                "allowed_origins",
                &Shape::List(&ANY_TEXT),
                "the origins that may deliver; `*` for all",
            ),
            key(
                "allowed_rate",
                &Shape::Integer(1, u32::MAX as u64),
                "no limit",
                "how many requests the sender may make in a minute",
            ),
        ],
    ),
    (
        "probe",
        &[
            required("method", &METHOD, "the method"),
            key(
                "form_field",
                &ANY_TEXT,
                "no body",
                "the only field of the form in the body",
            ),
        ],
    ),
    (
        "confirm",
        &[
            MEMBER,
            EQUALS,
            required(
                "url",
                &Shape::Text(&POINTER),
                "the member with the URL that you have to visit",
            ),
        ],
    ),
];
