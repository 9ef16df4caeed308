mod delivery;
mod handshake;
mod specification;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::verification::{MacKey, SecretLength};
use crate::{InvalidSources, Outcome, Received, Refusal, Request, Secrets, Source, SourceOptions};

const SECRET: &str = "a secret of 20 bytes";

/// A scheme whose signatures are the HMAC of the body, in the header `x-sig`.
const HMAC: &str = r#"
    [scheme.hmac]
    signed = "{body}"
    signature = { at = "header:x-sig" }
"#;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// A source with `settings` in TOML, and with [`HMAC`] unless they have a scheme.
fn try_source(settings: &str, secrets: &Secrets) -> Result<Source, InvalidSources> {
    let scheme = if settings.contains("scheme") {
        ""
    } else {
        HMAC
    };
    // Settings of the source itself stand before its tables.
    let (own, tables) = settings
        .split_once("[[")
        .map_or((settings, String::new()), |(own, rest)| {
            (own, format!("[[{rest}"))
        });
    let spec =
        toml::from_str(&format!("{own}\n{scheme}\n{tables}")).expect("it is a specification");
    let options = SourceOptions {
        public_url: Some("https://example.com/hooks".to_owned()),
        secret_length: SecretLength::Checked,
        ..SourceOptions::default()
    };
    Source::new(spec, secrets, options)
}

fn source(settings: &str) -> Source {
    try_source(settings, &Secrets::of([SECRET])).expect("it is valid")
}

/// A request, and the headers that do not sign it.
#[derive(Clone, Copy)]
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [(&'a str, &'a [u8])],
    body: &'a str,
}

fn post(body: &str) -> Sent<'_> {
    Sent {
        method: "POST",
        target: "/hooks",
        headers: &[],
        body,
    }
}

impl Sent<'_> {
    fn to(self, source: &Source) -> Outcome {
        let request = Request {
            method: self.method,
            target: self.target,
            headers: self.headers,
            body: self.body.as_bytes(),
        };
        let outcome = source.receive(&request, now());
        let head = Request {
            body: b"",
            ..request
        };
        if let Err(refused) = source.check_head(&head, now()) {
            assert_eq!(
                outcome,
                Outcome::Refused(refused),
                "what the head shows must be so"
            );
        }
        outcome
    }

    fn signed_to(self, source: &Source) -> Outcome {
        let key = MacKey::new(Default::default(), SECRET.as_bytes());
        let signature = hex::encode(key.tag([self.body.as_bytes()]).as_bytes());
        let mut headers = self.headers.to_vec();
        headers.push(("x-sig", signature.as_bytes()));
        Sent {
            headers: &headers,
            ..self
        }
        .to(source)
    }
}

/// What a delivery with a valid signature is received as.
fn received(source: &Source, sent: Sent<'_>) -> Received {
    match sent.signed_to(source) {
        Outcome::Received(received) => received,
        other => panic!("not received: {other:?}"),
    }
}

fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
