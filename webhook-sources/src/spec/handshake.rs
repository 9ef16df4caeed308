//! Requests that a sender makes to check an address, and that are no events.

use serde::Deserialize;

use super::{HashFunction, KeyForm, Pointer};
use crate::verification::Encoding;

/// A request that the sender makes to check the address, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Handshake {
    /// A request with a parameter in its query. It is answered with the value of the parameter, as text by default.
    Query {
        /// The method. Default: `GET`.
        #[serde(default = "get")]
        method: String,
        /// The name of the parameter.
        parameter: String,
        /// A parameter that must be one of the source's secrets with this name in [`secrets`](Self::Query::secrets).
        #[serde(default)]
        token: Option<String>,
        /// The name of the secrets for [`token`](Self::Query::token). Default: `verify_token`.
        #[serde(default = "verify_token")]
        secrets: String,
        /// The answer. Default: the value as text.
        #[serde(default)]
        answer: HandshakeAnswer,
    },
    /// A `GET` with a header.
    Header {
        /// The name of the header, in lower case.
        header: String,
        /// The answer.
        answer: HandshakeAnswer,
        /// Whether the request must pass the source's scheme first.
        #[serde(default)]
        verified: bool,
    },
    /// A `POST` of a JSON document in which a member has a certain value.
    Json {
        /// The member.
        pointer: Pointer,
        /// Its value: a string, or a number as it is written.
        equals: String,
        /// The member whose value the answer may echo.
        #[serde(default)]
        value: Option<Pointer>,
        /// The answer.
        answer: HandshakeAnswer,
        /// Whether the request must pass the source's scheme first. Default: yes.
        #[serde(default = "yes")]
        verified: bool,
    },
    /// An `OPTIONS` request of the CloudEvents webhook specification, section 4, with `WebHook-Request-Origin`.
    CloudEvents {
        /// The origins that are allowed; `*` for all.
        allowed_origins: Vec<String>,
        /// How many requests the sender may make in a minute. Default: as many as it wants.
        #[serde(default)]
        allowed_rate: Option<u32>,
    },
    /// A request that needs no more than a 200: `HEAD` or `GET` without a query and a body, or a form with one
    /// field.
    Probe {
        /// The method.
        method: String,
        /// The only field of a form in the body, if the request has a body.
        #[serde(default)]
        form_field: Option<String>,
    },
    /// A signed JSON document with a URL that the operator has to visit. It is stored as an event with the type
    /// [`CONFIRMATION`](crate::CONFIRMATION).
    Confirm {
        /// The member.
        pointer: Pointer,
        /// Its value.
        equals: String,
        /// The member with the URL.
        url: Pointer,
    },
}

/// The answer to a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HandshakeAnswer {
    /// The status, from 200 to 299. Default: 200.
    #[serde(default = "ok")]
    pub status: u16,
    /// The media type of the body: `text/plain` or `application/json`, which no browser takes for a page. Default:
    /// `text/plain`.
    #[serde(default = "text")]
    pub content_type: String,
    /// The body. `{value}` stands for the value of the request, `{mac}` for its HMAC with the first secret, and
    /// `{secret:NAME}` for the first secret of that name, which may be no secret that verifies something: a public
    /// key. Other braces are as they are. Within `application/json` values are escaped. Default: `{value}`.
    ///
    /// The HMAC of a value that nobody has verified must not be the signature of a delivery. So the value may then have
    /// at most 128 letters, digits and `+/=_-`, and deliveries are refused of which only such a text is signed.
    #[serde(default = "value")]
    pub body: String,
    /// The name of the secrets of `{mac}`. Default: `secret`.
    #[serde(default = "secret")]
    pub secrets: String,
    /// How the secret becomes the key of `{mac}`. Default: its text.
    #[serde(default)]
    pub key: KeyForm,
    /// The hash function of the HMAC. Default: SHA-256.
    #[serde(default)]
    pub hash: HashFunction,
    /// The encoding of the HMAC. Default: hexadecimal.
    #[serde(default)]
    pub encoding: Encoding,
}

impl Default for HandshakeAnswer {
    fn default() -> Self {
        Self {
            status: ok(),
            content_type: text(),
            body: value(),
            secrets: secret(),
            key: KeyForm::default(),
            hash: HashFunction::default(),
            encoding: Encoding::default(),
        }
    }
}

fn get() -> String {
    "GET".to_owned()
}

fn verify_token() -> String {
    "verify_token".to_owned()
}

const fn yes() -> bool {
    true
}

const fn ok() -> u16 {
    200
}

fn text() -> String {
    "text/plain".to_owned()
}

fn secret() -> String {
    "secret".to_owned()
}

fn value() -> String {
    "{value}".to_owned()
}
