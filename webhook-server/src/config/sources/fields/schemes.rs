//! The schemes: how a request shows who made it.

use super::super::shape::{Field, Shape};
use super::forms::{ANY_TEXT, DURATION, HOST, NAME, PLACE, TEMPLATE, TEXT, TOLERANCE};
use super::{key, required};

pub(super) static SCHEME: Shape = Shape::Named(
    "scheme",
    &Shape::Any(&[Shape::Choice(&["none"]), Shape::OneKey(SCHEMES)]),
);

/// The schemes.
pub(in crate::config::sources) static SCHEMES: &[Field] = &[
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

pub(in crate::config::sources) const HASHES: &[&str] = &["sha1", "sha256", "sha512"];
pub(in crate::config::sources) const KEY_FORMS: &[&str] =
    &["text", "base64", "hex", "sha1_of_text", "html_text"];
pub(in crate::config::sources) const TOKEN_FORMS: &[&str] = &["plain", "sha256"];
pub(in crate::config::sources) const ALGORITHMS: &[&str] = &[
    "ed25519",
    "ecdsa_p256_sha256",
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha1",
];
pub(in crate::config::sources) const PUBLIC_KEY_FORMS: &[&str] = &["hex", "base64", "spki"];
pub(in crate::config::sources) const ENCODINGS: &[&str] = &["hex", "base64", "base64_url"];
pub(in crate::config::sources) const TIME_FORMATS: &[&str] =
    &["seconds", "milliseconds", "rfc3339"];

pub(super) const HASH: Field = key(
    "hash",
    &Shape::Choice(HASHES),
    "`\"sha256\"`",
    "the hash function",
);
pub(super) const KEY_FORM: Field = key(
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
pub(super) const SECRET_NAME: Field = key(
    "secrets",
    &Shape::Text(&NAME),
    "`\"secret\"`",
    "the name of the secrets, for sources with several schemes",
);

/// Of the scheme `hmac`.
pub(in crate::config::sources) static HMAC_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) static TOKEN_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) static BASIC_FIELDS: &[Field] = &[SECRET_NAME];

/// Of the scheme `public_key`.
pub(in crate::config::sources) static PUBLIC_KEY_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) static DIGEST_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) static JWT_FIELDS: &[Field] = &[
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

pub(in crate::config::sources) const JWT_ALGORITHMS: &[&str] = &["rs256", "es256"];

const CLAIM: Shape = Shape::Any(&[
    Shape::Boolean,
    Shape::Text(&TEMPLATE),
    Shape::List(&Shape::Text(&TEMPLATE)),
]);

/// Where keys are.
pub(in crate::config::sources) const KEY_SETS: &[Field] = &[
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
pub(in crate::config::sources) const EACH_KEY_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) static FETCHED_CERTIFICATE_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) const NAMED_ALGORITHMS_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place of the name"),
    required(
        "allowed",
        &Shape::Map(&Shape::Choice(ALGORITHMS)),
        "the names that are allowed, with their algorithms, which are of RSA",
    ),
];

/// Of a value that a request must have.
pub(in crate::config::sources) const REQUIRED_VALUE_FIELDS: &[Field] = &[
    required("at", &Shape::Text(&PLACE), "the place"),
    required(
        "equals",
        &Shape::Text(&TEMPLATE),
        "the value; `{setting:NAME}` stands for a setting",
    ),
];

/// Of a signature's place.
pub(in crate::config::sources) const SIGNATURE_FIELDS: &[Field] = &[
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
pub(in crate::config::sources) const TIME_FIELDS: &[Field] = &[
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
