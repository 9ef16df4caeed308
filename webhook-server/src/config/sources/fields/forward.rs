//! Where the events of a source go.

use std::time::Duration;

use hyper::StatusCode;
use webhook_forward::{MAX_DELAY, Rate, StatusSet};

use super::super::super::{DestinationUrl, destination_url, values};
use super::super::shape::{Field, Form, Shape};
use super::forms::{AGE, DURATION, HEADER, SECRET_PLACE, SECRET_PLACES};
use super::{key, required};

/// `forward`: a URL, or a table with more.
pub(super) const FORWARD: Shape =
    Shape::Any(&[Shape::Text(&DESTINATION), Shape::Table(FORWARD_FIELDS)]);

/// Of `forward`.
pub(in crate::config::sources) static FORWARD_FIELDS: &[Field] = &[
    required(
        "url",
        &Shape::Text(&DESTINATION),
        "the URL that gets each event, as a `POST`. It may have a query, and neither a user nor a fragment",
    ),
    key(
        "sign_with",
        &SECRET_PLACES,
        "`FORWARD_SECRETS`",
        "where the keys are that requests are signed with, as [places](#secrets): `whsec_…` for HMAC-SHA256, \
         `whsk_…` for Ed25519. Each key makes a signature of its own",
    ),
    key(
        "timeout",
        &Shape::Text(&DURATION),
        "`15s`",
        "how long the destination may take from the start of a request to the head of its answer: from `1s` to `5m`",
    ),
    key(
        "connect_timeout",
        &Shape::Text(&DURATION),
        "`5s`, or `timeout` if that is less",
        "how much of `timeout` finding the address, connecting and TLS may take",
    ),
    key(
        "rate",
        &Shape::Text(&RATE),
        "no limit",
        "the most requests in a second, minute or hour: `100/s`, `5/min`, `1000/h`. Each process counts its own",
    ),
    key(
        "burst",
        &Shape::Integer(1, 1_000_000),
        "the requests of one second, rounded up",
        "how many requests may follow each other at once after a quiet time, with `rate`",
    ),
    key(
        "schedule",
        &SCHEDULE,
        "13 attempts over 76 h",
        "the delays between attempts: a list such as `[\"5s\", \"1m\", \"1h\"]`, or \
         `{ first, factor, max, attempts }`. Each delay varies by 20 %",
    ),
    key(
        "give_up_after",
        &Shape::Text(&AGE),
        "",
        "an event that would be older than this at its next attempt is FAILED instead",
    ),
    key(
        "fail_on",
        &Shape::List(&Shape::Text(&STATUSES)),
        "none",
        "statuses after which an event is FAILED at once, such as `[\"400\", \"411-422\"]`; every other status that is \
         not 2xx means another attempt",
    ),
    key(
        "pass_headers",
        &Shape::List(&HEADER),
        "none",
        "headers of the sender that are passed on, beside `content-type`. The source must keep them: `keep_headers`",
    ),
    key(
        "headers",
        &Shape::Map(&Shape::Text(&SECRET_PLACE)),
        "none",
        "headers that every request has, by their names, with the [places](#secrets) of their values",
    ),
    key(
        "bearer",
        &Shape::Text(&SECRET_PLACE),
        "none",
        "the [place](#secrets) of a token that every request has as `Authorization: Bearer`",
    ),
    key(
        "basic",
        &Shape::Text(&SECRET_PLACE),
        "none",
        "the [place](#secrets) of `USER:PASSWORD`, for `Authorization: Basic`",
    ),
    key(
        "ca",
        &Shape::Text(&FILE_PATH),
        "those that the system trusts",
        "a PEM file with the certificates of the authorities that the destination's certificate is checked by",
    ),
    key(
        "client_certificate",
        &Shape::Text(&FILE_PATH),
        "none",
        "a PEM file with the certificate that the server shows, and its intermediates. Needs `client_key`",
    ),
    key(
        "client_key",
        &Shape::Text(&FILE_PATH),
        "none",
        "a PEM file with the private key of `client_certificate`",
    ),
];

const SCHEDULE: Shape = Shape::Any(&[
    Shape::List(&Shape::Text(&DELAY)),
    Shape::Table(SCHEDULE_FIELDS),
]);

/// Of `schedule`, for delays that grow.
pub(in crate::config::sources) static SCHEDULE_FIELDS: &[Field] = &[
    required("first", &Shape::Text(&DELAY), "the first delay"),
    key(
        "factor",
        &Shape::Number(1, 100),
        "`2`",
        "what each delay is multiplied by for the next one",
    ),
    key("max", &Shape::Text(&DELAY), "`24h`", "the longest delay"),
    required(
        "attempts",
        &Shape::Integer(1, 1_000),
        "how many attempts there are, the first one included",
    ),
];

/// A delay between two attempts.
pub(in crate::config::sources) fn delay(text: &str) -> Option<Duration> {
    let delay = values::age(text).ok()?;
    (!delay.is_zero() && delay <= MAX_DELAY).then_some(delay)
}

const DESTINATION: Form = Form {
    expected: destination_url::EXPECTED,
    pattern: "^https?://[^#\\s]+$",
    is_valid: |text| DestinationUrl::parse(text).is_some(),
};
const RATE: Form = Form {
    expected: "a rate such as 100/s, 5/min or 1000/h",
    pattern: "^[0-9]+/(s|min|h)$",
    is_valid: |text| text.parse::<Rate>().is_ok(),
};
const DELAY: Form = Form {
    expected: "a delay of more than 0 and at most 30d, such as 5s, 10m, 2h or 1d",
    pattern: "^[0-9]",
    is_valid: |text| delay(text).is_some(),
};
const STATUSES: Form = Form {
    expected: "a status from 300 to 599 such as \"400\", or a range such as \"411-422\", without 410, which pauses the \
               destination",
    pattern: "^[345][0-9][0-9](-[345][0-9][0-9])?$",
    is_valid: |text| {
        let is_one = !text.contains(',');
        let statuses = text.parse::<StatusSet>().ok().filter(|_| is_one);
        statuses.is_some_and(|statuses| !statuses.contains(StatusCode::GONE))
    },
};
const FILE_PATH: Form = Form {
    expected: "the path of a PEM file, which begins at the folder of this file if it is relative",
    pattern: ".",
    is_valid: |text| !text.is_empty() && !text.contains('\0'),
};
