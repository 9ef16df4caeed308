//! What a destination has received.

use std::collections::{BTreeMap, BTreeSet};

use standardwebhooks::Webhook;

use crate::book::{Content, body};
use crate::ledger::now_us;

use super::request::Request;
use super::{Conduct, SIGNING_KEY};

/// How far the time of a signature may be from now, in seconds: a request is received when it is
/// signed.
const CLOCK_SECONDS: i64 = 60;

/// How many violations are listed.
const LISTED: usize = 3;

/// All requests that a destination has received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// By the keys of the events.
    pub(crate) events: BTreeMap<String, Event>,
    /// Requests while it did not do well.
    pub(crate) while_ill: u64,
    /// Connections whose client refused the certificate.
    pub(crate) refused_handshakes: u64,
    /// What is wrong with requests, as far as it is listed, and with how many something is wrong.
    pub(crate) violations: Vec<String>,
    pub(crate) wrong: u64,
}

/// The requests of one event.
#[derive(Debug, Default)]
pub(crate) struct Event {
    /// How often it came.
    pub(crate) requests: u32,
    /// How often the destination took it.
    pub(crate) taken: u32,
    id: String,
    attempts: BTreeSet<String>,
}

impl Received {
    /// Records a request, and compares it with what it must be.
    pub(super) fn note(&mut self, destination: &str, request: &Request, conduct: Conduct) {
        if conduct != Conduct::Well {
            self.while_ill += 1;
        }
        if let Err(violation) = self.compare(destination, request, conduct) {
            self.wrong += 1;
            if self.violations.len() < LISTED {
                self.violations.push(violation);
            }
        }
    }

    fn compare(
        &mut self,
        destination: &str,
        request: &Request,
        conduct: Conduct,
    ) -> Result<(), String> {
        let header = |name: &str| {
            let value = request.header(name);
            value.ok_or_else(|| format!("a request to {destination} has no {name}: {request:?}"))
        };
        let (key, id) = (header("inbox-key")?, header("webhook-id")?);
        let (source, attempt) = (header("inbox-source")?, header("inbox-attempt")?);
        let (timestamp, signatures) = (header("webhook-timestamp")?, header("webhook-signature")?);

        let event = self.events.entry(key.to_owned()).or_default();
        event.requests += 1;
        event.taken += u32::from(conduct.takes());
        if event.id.is_empty() {
            id.clone_into(&mut event.id);
        }
        if event.id != id {
            return Err(format!("OTHER ID: {key} has {} and {id}", event.id));
        }
        if !event.attempts.insert(attempt.to_owned()) {
            return Err(format!("ATTEMPT TWICE: attempt {attempt} at {key}"));
        }
        if source != destination {
            return Err(format!("{destination} got {key} of {source}"));
        }
        if request.body != body(key, Content::Own).as_bytes() {
            let text = String::from_utf8_lossy(&request.body);
            return Err(format!("OTHER BODY: {key}: {text}"));
        }
        let signed_at: i64 = timestamp.parse().map_err(|_| timestamp.to_owned())?;
        let signature = Webhook::new(SIGNING_KEY)
            .and_then(|key| key.sign(id, signed_at, &request.body))
            .map_err(|error| format!("{key} cannot be signed: {error}"))?;
        let is_now = (now_us() / 1_000_000 - signed_at).abs() <= CLOCK_SECONDS;
        if signatures != signature || !is_now {
            return Err(format!(
                "WRONG SIGNATURE: {key}: {signatures} at {timestamp}"
            ));
        }
        Ok(())
    }
}
