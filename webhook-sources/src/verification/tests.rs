use std::time::UNIX_EPOCH;

use super::*;
use crate::spec::{KeyForm, Place, Scheme};

mod diagnosis;
mod fetched;
mod hostile;
mod signing;
mod standard;
mod vectors;

/// The scheme of a document in TOML.
fn scheme(toml: &str) -> Scheme {
    #[derive(serde::Deserialize)]
    struct Document {
        scheme: Scheme,
    }
    let document: Document = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    document.scheme
}

fn options() -> VerificationOptions {
    VerificationOptions {
        public_url: Some("https://example.com/v1/webhooks/demo".to_owned()),
        secret_length: SecretLength::Unchecked,
        ..VerificationOptions::default()
    }
}

/// A verification by the secrets with the name `secret`.
fn verification(toml: &str, secrets: &[&str]) -> Verification {
    named(toml, &Secrets::of(secrets.iter().copied()))
}

fn named(toml: &str, secrets: &Secrets) -> Verification {
    let made = Verification::new(&scheme(toml), secrets, options());
    made.unwrap_or_else(|problems| panic!("{toml}: {problems:?}"))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A `POST` of `body` with `headers`.
fn post<'a>(headers: &'a [(&'a str, &'a [u8])], body: &'a [u8]) -> Request<'a> {
    Request {
        method: "POST",
        target: "/v1/webhooks/demo",
        headers,
        body,
    }
}

/// Verifies a request. Asserts that the check of the head alone refuses nothing that is genuine, and gives no other
/// reason, unless there are several schemes.
fn verify(
    verification: &Verification,
    request: &Request<'_>,
    now: SystemTime,
) -> Result<Verified, Unverified> {
    let verified = verification.verify(request, now);
    let head = Request {
        body: b"",
        ..*request
    };
    if let Err(refused) = verification.check_head(&head, now) {
        match verification.node {
            Node::AnyOf(_) | Node::AllOf(_) => assert!(verified.is_err(), "{refused}"),
            _ => assert_eq!(verified, Err(refused)),
        }
    }
    verified
}

fn place(text: &str) -> Place {
    text.parse().unwrap()
}
