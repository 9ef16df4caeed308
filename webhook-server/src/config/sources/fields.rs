//! The keys of `webhook.toml`.

use std::time::Duration;

use webhook_sources::spec::{HostPattern, Place, Pointer, Template};

use super::super::values;
use super::secrets::PlaceOfSecret;
use super::shape::{Field, Form, Shape};

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
        "`MAX_ATTEMPTS`",
        "the most attempts at an event before it is FAILED",
    ),
    key(
        "concurrency",
        &Shape::Integer(1, 100_000),
        "`32`",
        "the most events of this source that are processed at the same time",
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

static SCHEME: Shape = Shape::Named(
    "scheme",
    &Shape::Any(&[Shape::Choice(&["none"]), Shape::OneKey(SCHEMES)]),
);

/// The schemes.
pub(super) static SCHEMES: &[Field] = &[
    key(
        "hmac",
        &Shape::Table(HMAC_FIELDS),
        "",
        "an HMAC with a shared secret",
    ),
    key(
        "token",
        &Shape::Table(TOKEN_FIELDS),
        "",
        "a secret text in the request",
    ),
    key(
        "basic",
        &Shape::Table(BASIC_FIELDS),
        "",
        "a user and a password (RFC 7617)",
    ),
    key(
        "public_key",
        &Shape::Table(PUBLIC_KEY_FIELDS),
        "",
        "a signature by a private key of the sender",
    ),
    key(
        "digest",
        &Shape::Table(DIGEST_FIELDS),
        "",
        "a hash of parts of the request and of a secret",
    ),
    key(
        "jwt",
        &Shape::Table(JWT_FIELDS),
        "",
        "a JSON Web Token (RFC 7519) that the sender has signed",
    ),
    key(
        "fetched_certificate",
        &Shape::Table(FETCHED_CERTIFICATE_FIELDS),
        "",
        "a signature by the private key of a certificate, whose URL is in the request",
    ),
    key(
        "any_of",
        &Shape::List(&SCHEME),
        "",
        "one of several schemes; those without secrets are not used",
    ),
    key(
        "all_of",
        &Shape::List(&SCHEME),
        "",
        "every one of several schemes",
    ),
];

pub(super) const HASHES: &[&str] = &["sha1", "sha256", "sha512"];
pub(super) const KEY_FORMS: &[&str] = &["text", "base64", "hex", "sha1_of_text", "html_text"];
pub(super) const TOKEN_FORMS: &[&str] = &["plain", "sha256"];
pub(super) const ALGORITHMS: &[&str] = &[
    "ed25519",
    "ecdsa_p256_sha256",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha1",
];
pub(super) const PUBLIC_KEY_FORMS: &[&str] = &["hex", "base64", "spki"];
pub(super) const ENCODINGS: &[&str] = &["hex", "base64", "base64_url"];
pub(super) const TIME_FORMATS: &[&str] = &["seconds", "milliseconds", "rfc3339"];

const HASH: Field = key(
    "hash",
    &Shape::Choice(HASHES),
    "`\"sha256\"`",
    "the hash function",
);
const KEY_FORM: Field = key(
    "key",
    &Shape::Choice(KEY_FORMS),
    "`\"text\"`",
    "how a secret becomes the key",
);
const KEY_PREFIXES: Field = key(
    "key_prefixes",
    &Shape::List(&ANY_TEXT),
    "none",
    "texts that may stand before the key in a secret, such as `whsec_`",
);
const SIGNED: Field = required(
    "signed",
    &Shape::Text(&TEMPLATE),
    "[what is signed](#templates)",
);
const SIGNATURE: Field = required(
    "signature",
    &Shape::Table(SIGNATURE_FIELDS),
    "where the signature is: `{ at, split, item, prefix, prefix_optional, encoding }`",
);
const TIME: Field = key(
    "time",
    &Shape::Table(TIME_FIELDS),
    "not checked",
    "where the time of the signature is: `{ at, format, tolerance }`",
);
const MESSAGE_ID: Field = key(
    "message_id",
    &Shape::Text(&PLACE),
    "",
    "the place of the id that `{id}` in `signed` stands for",
);
const SECRET_NAME: Field = key(
    "secrets",
    &Shape::Text(&NAME),
    "`\"secret\"`",
    "the name of the secrets, for sources with several schemes",
);

/// Of the scheme `hmac`.
pub(super) static HMAC_FIELDS: &[Field] = &[
    HASH,
    KEY_FORM,
    KEY_PREFIXES,
    SIGNED,
    SIGNATURE,
    TIME,
    MESSAGE_ID,
    SECRET_NAME,
];

/// Of the scheme `token`.
pub(super) static TOKEN_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place"),
    key(
        "prefix",
        &Shape::Text(&TEXT),
        "none",
        "the text before the token, such as `Bearer `, compared without regard to case",
    ),
    key(
        "form",
        &Shape::Choice(TOKEN_FORMS),
        "`\"plain\"`",
        "how the secret is written in the request",
    ),
    SECRET_NAME,
];

/// Of the scheme `basic`.
pub(super) static BASIC_FIELDS: &[Field] = &[SECRET_NAME];

/// Of the scheme `public_key`.
pub(super) static PUBLIC_KEY_FIELDS: &[Field] = &[
    required("algorithm", &Shape::Choice(ALGORITHMS), "the algorithm"),
    required(
        "key",
        &Shape::Choice(PUBLIC_KEY_FORMS),
        "how a public key is written; `spki` is PEM, or its DER in Base64",
    ),
    KEY_PREFIXES,
    SIGNED,
    SIGNATURE,
    TIME,
    MESSAGE_ID,
    key(
        "secrets",
        &Shape::Text(&NAME),
        "`\"public_key\"`",
        "the name of the public keys, for sources with several schemes",
    ),
];

/// Of the scheme `digest`.
pub(super) static DIGEST_FIELDS: &[Field] = &[
    required("hash", &Shape::Choice(HASHES), "the hash function"),
    required(
        "signed",
        &Shape::Text(&TEMPLATE),
        "what is hashed; `{secret}` stands for the secret",
    ),
    SIGNATURE,
    SECRET_NAME,
];

/// Of the scheme `jwt`.
pub(super) static JWT_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place"),
    key(
        "prefix",
        &Shape::Text(&TEXT),
        "none",
        "the text before the token, such as `Bearer `, compared without regard to case",
    ),
    required(
        "algorithms",
        &Shape::List(&Shape::Choice(JWT_ALGORITHMS)),
        "the algorithms that are allowed",
    ),
    required(
        "keys",
        &Shape::OneKey(KEY_SETS),
        "where the public keys are, as JSON Web Keys (RFC 7517)",
    ),
    key(
        "issuers",
        &Shape::List(&Shape::Text(&TEMPLATE)),
        "any",
        "the values that the claim `iss` may have; as in `audience` and `claims`, `{setting:NAME}` stands for \
         a setting",
    ),
    key(
        "audience",
        &Shape::Text(&TEMPLATE),
        "any",
        "the value that the claim `aud` must have, or contain",
    ),
    key(
        "claims",
        &Shape::Map(&CLAIM),
        "none",
        "other claims that the token must have, with their values: `true`, `false`, a text or a list of texts",
    ),
    key(
        "body_hash",
        &ANY_TEXT,
        "the body is not covered",
        "the claim with the SHA-256 of the body, in hexadecimal",
    ),
    key(
        "max_age",
        &Shape::Text(&DURATION),
        "until the claim `exp`",
        "how old a token may be by its claim `iat`",
    ),
    key(
        "tolerance",
        &Shape::Text(&DURATION),
        "`\"1m\"`",
        "how far the clocks of sender and receiver may be apart",
    ),
];

pub(super) const JWT_ALGORITHMS: &[&str] = &["rs256", "es256"];

const CLAIM: Shape = Shape::Any(&[
    Shape::Boolean,
    Shape::Text(&TEMPLATE),
    Shape::List(&Shape::Text(&TEMPLATE)),
]);

/// Where keys are.
pub(super) const KEY_SETS: &[Field] = &[
    key("url", &Shape::Text(&TEMPLATE), "", "a URL with all of them"),
    key(
        "each",
        &Shape::Table(EACH_KEY_FIELDS),
        "",
        "a URL that answers with the one key that is asked for: `{ url, key_id, secrets }`",
    ),
    key(
        "given",
        &Shape::Text(&NAME),
        "",
        "the secrets of this name, each a key or a set of keys",
    ),
];

/// Of a URL with one key.
pub(super) const EACH_KEY_FIELDS: &[Field] = &[
    required(
        "url",
        &Shape::Text(&TEMPLATE),
        "the URL, which gets a `POST` of a JSON object",
    ),
    required(
        "key_id",
        &ANY_TEXT,
        "the member of the object with the id of the key",
    ),
    key(
        "secrets",
        &Shape::Map(&ANY_TEXT),
        "none",
        "the members with secrets, and the names of these secrets",
    ),
];

/// Of the scheme `fetched_certificate`.
pub(super) static FETCHED_CERTIFICATE_FIELDS: &[Field] = &[
    required("url", &Shape::Text(&PLACE), "the place of the URL"),
    required(
        "hosts",
        &Shape::List(&Shape::Text(&HOST)),
        "the hosts that the URL may have; `{region}` stands for the name of a region of AWS",
    ),
    key(
        "path_prefix",
        &ANY_TEXT,
        "any",
        "what the path of the URL must begin with",
    ),
    key(
        "path_suffix",
        &ANY_TEXT,
        "any",
        "what the path of the URL must end with, such as `.pem`",
    ),
    required(
        "algorithm",
        &Shape::Table(NAMED_ALGORITHMS_FIELDS),
        "where the request names the algorithm, and which are allowed: `{ at, allowed }`",
    ),
    key(
        "issued_to",
        &Shape::List(&ANY_TEXT),
        "not checked",
        "DNS names of which the certificate must have one; an authority that the system trusts must have issued it",
    ),
    SIGNED,
    SIGNATURE,
    TIME,
    key(
        "required",
        &Shape::List(&Shape::Table(REQUIRED_VALUE_FIELDS)),
        "none",
        "signed values that the request must have, each `{ at, equals }`: for senders who sign for everybody with the \
         same key",
    ),
];

/// Of the names of algorithms.
pub(super) const NAMED_ALGORITHMS_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place of the name"),
    required(
        "allowed",
        &Shape::Map(&Shape::Choice(ALGORITHMS)),
        "the names that are allowed, with their algorithms, which are of RSA",
    ),
];

/// Of a value that a request must have.
pub(super) const REQUIRED_VALUE_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place"),
    required(
        "equals",
        &Shape::Text(&TEMPLATE),
        "the value; `{setting:NAME}` stands for a setting",
    ),
];

/// Of a signature's place.
pub(super) const SIGNATURE_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place"),
    key(
        "split",
        &Shape::Text(&TEXT),
        "one item",
        "what separates the items, if there may be several",
    ),
    key(
        "item",
        &Shape::Text(&TEXT),
        "every item",
        "how an item with a signature begins, such as `v1=`",
    ),
    key(
        "prefix",
        &Shape::Text(&TEXT),
        "none",
        "the text before a signature, such as `sha256=`",
    ),
    key(
        "prefix_optional",
        &Shape::Boolean,
        "`false`",
        "whether the prefix may be missing",
    ),
    key(
        "encoding",
        &Shape::Choice(ENCODINGS),
        "`\"hex\"`",
        "the encoding of a signature",
    ),
];

/// Of a time's place.
pub(super) const TIME_FIELDS: &[Field] = &[
    required(
        "at",
        &Shape::Text(&PLACE),
        "the place; `item:t` is an item `t=…` beside the signatures",
    ),
    key(
        "format",
        &Shape::Choice(TIME_FORMATS),
        "`\"seconds\"`",
        "how the time is written",
    ),
    key(
        "tolerance",
        &Shape::Text(&TOLERANCE),
        "`\"5m\"`",
        "how far the time may differ from now, or `off`",
    ),
];

static ID: Shape = Shape::Named(
    "id",
    &Shape::Any(&[
        Shape::Text(&ID_TEXT),
        Shape::List(&ID),
        Shape::Table(FIRST_OF_FIELDS),
    ]),
);
static FIRST_OF_FIELDS: &[Field] = &[required(
    "first_of",
    &Shape::List(&ID),
    "the first of these that the request has",
)];

const PLACES: Shape = Shape::Any(&[Shape::Text(&PLACE), Shape::List(&Shape::Text(&PLACE))]);

const COMPARE: Shape = Shape::Any(&[
    Shape::Choice(&["bytes", "json", "none"]),
    Shape::OneKey(&[
        key(
            "ignore",
            &Shape::List(&Shape::Text(&POINTER)),
            "",
            "the JSON value without the values at these pointers",
        ),
        key(
            "only",
            &Shape::Text(&POINTER),
            "",
            "only the JSON value at this pointer",
        ),
    ]),
]);

const SECRETS: Shape = Shape::Any(&[
    Shape::Text(&SECRET_PLACE),
    Shape::List(&Shape::Text(&SECRET_PLACE)),
    Shape::Map(&SECRET_PLACES),
]);
const SECRET_PLACES: Shape = Shape::Any(&[
    Shape::Text(&SECRET_PLACE),
    Shape::List(&Shape::Text(&SECRET_PLACE)),
]);

const METHOD: Shape = Shape::Text(&Form {
    expected: "a method in upper case, such as POST",
    pattern: "^[A-Z]+$",
    is_valid: |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()),
});
const HEADER: Shape = Shape::Text(&Form {
    expected: "the name of a header in lower case",
    pattern: "^[a-z0-9!#$%&'*+.^_`|~-]+$",
    is_valid: |text| {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        is_lower && hyper::header::HeaderName::from_bytes(text.as_bytes()).is_ok()
    },
});
const ANY_TEXT: Shape = Shape::Text(&TEXT);
static HANDSHAKE: Shape = Shape::Named("handshake", &Shape::ByRequest(HANDSHAKES));

const STATUS: Shape = Shape::Integer(200, 299);
/// Of the answer to a handshake.
pub(super) const HANDSHAKE_ANSWER_FIELDS: &[Field] = &[
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
pub(super) static HANDSHAKES: &[(&str, &[Field])] = &[
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

/// The longest body that a source may allow.
const MAX_BODY_BYTES: u64 = 1 << 30;

const TEXT: Form = Form {
    expected: "a text",
    pattern: "",
    is_valid: |_| true,
};
const NAME: Form = Form {
    expected: "a name of a-z, 0-9, '.', '_' and '-'",
    pattern: "^[a-z0-9._-]+$",
    is_valid: |text| {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        !text.is_empty() && text.bytes().all(is_allowed)
    },
};
const URL: Form = Form {
    expected: "a URL such as https://hooks.example.com/path, without a query and without a user",
    pattern: "^https?://[^?#@\\s]+$",
    is_valid: is_url,
};
const DURATION: Form = Form {
    expected: "a duration such as 30s, 5m or 1h",
    pattern: "^[0-9]",
    is_valid: |text| duration(text).is_some(),
};
const AGE: Form = Form {
    expected: "a duration such as 30s, 5m, 12h or 30d",
    pattern: "^[0-9]",
    is_valid: |text| values::age(text).is_ok(),
};
const TOLERANCE: Form = Form {
    expected: "a duration such as 30s, 5m or 1h, or off",
    pattern: "^([0-9].*|off)$",
    is_valid: |text| text == "off" || duration(text).is_some(),
};
const PLACE: Form = Form {
    expected: "a place: header:NAME, json:/POINTER, form:FIELD, query:NAME or item:NAME",
    pattern: "^(header|json|form|query|item):",
    is_valid: |text| text.parse::<Place>().is_ok(),
};
const POINTER: Form = Form {
    expected: "a JSON pointer: /member/member, with ~1 for / and ~0 for ~",
    pattern: "^(/.*)?$",
    is_valid: |text| text.parse::<Pointer>().is_ok(),
};
const ID_TEXT: Form = Form {
    expected: "a place (header:NAME, json:/POINTER, form:FIELD, query:NAME), signed, sha256 or \
               generated",
    pattern: "^(signed|sha256|generated|(header|json|form|query|item):.*)$",
    is_valid: |text| {
        matches!(text, "signed" | "sha256" | "generated") || text.parse::<Place>().is_ok()
    },
};
const TEMPLATE: Form = Form {
    expected: "a text with {body}, {timestamp}, {id}, {url}, {method}, {secret}, {header:NAME}, \
               {json:/POINTER}, {form:FIELD}, {form+}, {line:/POINTER}, {line?:/POINTER}, \
               {lines:/POINTER}, {crc32} or {setting:NAME}; {{ and }} for the braces themselves",
    pattern: "",
    is_valid: |text| text.parse::<Template>().is_ok(),
};
const HOST: Form = Form {
    expected: "a host in lower case such as api.example.com, in which {region} may stand for the name of a region",
    pattern: "^[a-z0-9{]",
    is_valid: |text| text.parse::<HostPattern>().is_ok(),
};
const SECRET_PLACE: Form = Form {
    expected: "env:NAME or file:PATH, which say where the secret is; never the secret itself",
    pattern: "^(env|file):.+$",
    is_valid: |text| PlaceOfSecret::parse(text).is_some(),
};

/// A duration as `webhook_sources` reads it: up to hours.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let duration: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(duration).ok()
}

/// Whether `text` is an absolute URL without user, query and fragment.
fn is_url(text: &str) -> bool {
    let Ok(url) = text.parse::<hyper::Uri>() else {
        return false;
    };
    let has_user = url.authority().is_some_and(|it| it.as_str().contains('@'));
    matches!(url.scheme_str(), Some("http" | "https"))
        && url.host().is_some_and(|host| !host.is_empty())
        && !has_user
        && !text.contains(['?', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_neither_user_nor_query() {
        for good in [
            "https://hooks.example.com",
            "http://127.0.0.1:8000/v1/webhooks/a",
            "https://[::1]/",
        ] {
            assert!(is_url(good), "{good}");
        }
        for wrong in [
            "",
            "hooks.example.com",
            "/v1",
            "ftp://a",
            "https://",
            "https://u:p@a/",
            "https://a/?b",
            "https://a/#b",
            "https://a b/",
        ] {
            assert!(!is_url(wrong), "{wrong}");
        }
    }

    #[test]
    fn keys_of_the_sender_begin_with_the_scheme() {
        assert!(describes_sender("scheme") && describes_sender("timeout"));
        assert!(!describes_sender("secrets") && !describes_sender("keep_refused_bodies"));
        assert!(!describes_sender("unknown"));
    }
}
