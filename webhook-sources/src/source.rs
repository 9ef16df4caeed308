//! [`Source`]: from a request to its events and its answer.

mod check;

use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::content::{Content, Document, Found};
use crate::error::InvalidSources;
use crate::handshake::{Handshakes, Met, is_challenge};
use crate::identity::{self, Event};
use crate::keys::{KeyRequest, Keys};
use crate::outcome::{Answer, Flaw, Outcome, Received, ReceivedEvent, Refusal, RefusalReason};
use crate::spec::{Guard, Part, Place, Scheme, SourceSpec};
use crate::verification::{
    Hint, Outgoing, SecretLength, Signed, Unsigned, Unverified, Verification, VerificationOptions,
    Verified,
};
use crate::{CONFIRMATION, MAX_EVENTS, MAX_KEPT_HEADER_BYTES, MAX_KEPT_HEADERS, Request, Secrets};

/// What a [`Source`] needs besides a specification and its secrets.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// The URL that the sender was given, byte for byte and without its query, for senders that sign it. The query
    /// of each request is appended. Default: none.
    pub public_url: Option<String>,
    /// Whether short secrets are refused. Default: yes.
    pub secret_length: SecretLength,
    /// The keys that are fetched, for senders with such keys. Default: none is ever there.
    pub keys: Option<Arc<dyn Keys>>,
}

/// A sender of webhooks, with its secrets: turns a request into events, and signs requests as the sender does.
///
/// ```
/// use std::time::SystemTime;
///
/// use webhook_sources::{Outcome, Request, Secrets, Source, SourceOptions, preset};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let spec = preset::get("github").ok_or("no such preset")?.spec.clone();
/// let secrets = Secrets::of(["the secret of the webhook"]);
/// let github = Source::new(spec, &secrets, SourceOptions::default())?;
///
/// let request = Request {
///     method: "POST",
///     target: "/v1/webhooks/github",
///     headers: &[("x-github-event", b"push"), ("x-hub-signature-256", b"sha256=00")],
///     body: b"{}",
/// };
/// match github.receive(&request, SystemTime::now()) {
///     // Store the events, then answer.
///     Outcome::Received(received) => println!("{:?}", received.events),
///     // Answer.
///     Outcome::Handshake(answer) => println!("{}", answer.status),
///     // Note the reason, and answer.
///     Outcome::Refused(refusal) => assert_eq!(refusal.answer.status, 401),
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Source {
    spec: SourceSpec,
    verification: Verification,
    handshakes: Handshakes,
    kept_headers: Vec<String>,
}

impl Source {
    /// Makes a source ready to receive requests.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the specification, the secrets or the options.
    pub fn new(
        spec: SourceSpec,
        secrets: &Secrets,
        options: SourceOptions,
    ) -> Result<Self, InvalidSources> {
        let mut problems = Vec::new();
        let secret_length = options.secret_length;
        let options = VerificationOptions {
            public_url: options.public_url,
            secret_length,
            settings: spec.settings.clone(),
            keys: options.keys,
        };
        let verification = Verification::new(&spec.scheme, secrets, options)
            .map_err(|found| problems.extend(found))
            .ok();
        let handshakes = Handshakes::new(&spec, secrets, secret_length, &mut problems);
        check::check(&spec, secrets, &mut problems);
        match verification {
            Some(verification) if problems.is_empty() => Ok(Self {
                kept_headers: spec.kept_headers(),
                spec,
                verification,
                handshakes,
            }),
            _ => Err(InvalidSources::new(problems)),
        }
    }

    /// The specification.
    pub const fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// How requests are verified.
    pub const fn verification(&self) -> &Verification {
        &self.verification
    }

    /// What to fetch to have the keys that are the same for every request. Fetch them ahead, so that no sender waits.
    pub fn key_requests(&self) -> Vec<KeyRequest> {
        self.verification.key_requests()
    }

    /// The methods of deliveries and of handshakes, each once. Requests with other methods are refused.
    pub fn methods(&self) -> Vec<&str> {
        let mut methods: Vec<&str> = self.spec.methods.iter().map(String::as_str).collect();
        for method in self.handshakes.methods() {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods
    }

    /// Checks what the head of a request alone shows, before its body is read. The body of `request` is not looked
    /// at.
    ///
    /// `Ok` does not mean that the request is genuine; only [`receive`](Self::receive) finds that out.
    ///
    /// # Errors
    ///
    /// The refusal, if [`receive`](Self::receive) would refuse the request with any body.
    pub fn check_head(&self, request: &Request<'_>, now: SystemTime) -> Result<(), Refusal> {
        if self.handshakes.may_be_unverified(&Content::new(*request)) {
            return Ok(());
        }
        if !self.is_delivery(request) && !self.handshakes.may_be_verified(request.method) {
            return Err(self.refusal(RefusalReason::Method, None));
        }
        let checked = self.verification.check_head(request, now);
        checked.map_err(|reason| self.refusal(reason.into(), None))
    }

    /// Finds out what a request is: a delivery with its events, a handshake, or something to refuse.
    ///
    /// A handshake that needs no verification is answered first. Everything else is verified before it counts. No
    /// request causes a panic, and the time is in proportion to the size of the request.
    pub fn receive(&self, request: &Request<'_>, now: SystemTime) -> Outcome {
        let content = Content::new(*request);
        match self.handshakes.meet_unverified(&content) {
            Met::Answer(answer) => return Outcome::Handshake(answer),
            Met::Refused(reason, status) => return Outcome::Refused(self.refusal(reason, status)),
            Met::Nothing | Met::Confirmation(_) => {}
        }
        if !self.is_delivery(request) && !self.handshakes.may_be_verified(request.method) {
            return Outcome::Refused(self.refusal(RefusalReason::Method, None));
        }
        let verified = match self.verification.verify_content(&content, now) {
            Ok(verified) => verified,
            Err(reason) => return Outcome::Refused(self.refusal(reason.into(), None)),
        };
        if self.handshakes.sign_for_everybody() && may_be_challenge(&self.spec.scheme, &content) {
            return Outcome::Refused(self.refusal(RefusalReason::Challenge, None));
        }
        let events = match self.handshakes.meet_verified(&content) {
            Met::Answer(answer) => return Outcome::Handshake(answer),
            Met::Refused(reason, status) => return Outcome::Refused(self.refusal(reason, status)),
            Met::Nothing if !self.is_delivery(request) => {
                return Outcome::Refused(self.refusal(RefusalReason::Method, None));
            }
            Met::Nothing => self.events(&content, &verified),
            Met::Confirmation(url) => vec![self.confirmation(&content, &verified, url)],
        };
        Outcome::Received(Received {
            events,
            answer: self.answer(),
            verified,
        })
    }

    /// The headers of a request that are kept with its events, with names in lower case: the content type, those that
    /// the id and the type of the event are in, and those that the specification names. Those beyond
    /// [`MAX_KEPT_HEADERS`] and [`MAX_KEPT_HEADER_BYTES`] are left out.
    pub fn kept_headers<'a>(&'a self, request: &Request<'a>) -> Vec<(&'a str, &'a [u8])> {
        let mut kept = Vec::new();
        let mut bytes = 0;
        for name in &self.kept_headers {
            for value in request.header_values(name) {
                bytes += name.len() + value.len();
                if kept.len() == MAX_KEPT_HEADERS || bytes > MAX_KEPT_HEADER_BYTES {
                    return kept;
                }
                kept.push((name.as_str(), value));
            }
        }
        kept
    }

    /// Signs a request as the sender does.
    ///
    /// # Errors
    ///
    /// [`Unsigned`] if there is no key to sign with, or if the request has something that cannot be signed.
    pub fn sign(&self, request: &Outgoing<'_>, at: SystemTime) -> Result<Signed, Unsigned> {
        self.verification.sign(request, at)
    }

    /// Finds out why a request is refused that the sender may have made: for the operator, since it tries more than
    /// [`receive`](Self::receive) does. `former` has the secrets that the source had before.
    pub fn diagnose(
        &self,
        request: &Request<'_>,
        now: SystemTime,
        former: Option<&Self>,
    ) -> Option<Hint> {
        let former = former.map(|source| &source.verification);
        self.verification.diagnose(request, now, former)
    }

    fn is_delivery(&self, request: &Request<'_>) -> bool {
        self.spec.methods.iter().any(|it| it == request.method)
    }

    fn events(&self, content: &Content<'_>, verified: &Verified) -> Vec<ReceivedEvent> {
        let body = content.request.body;
        let Some(pointer) = &self.spec.split else {
            return vec![self.event(content, verified, &content.body, None)];
        };
        let Some(found) = content.body.split(pointer, MAX_EVENTS) else {
            let flaw = not_split(&content.body);
            return vec![self.event(content, verified, &content.body, Some(flaw))];
        };
        let events = found.into_iter().map(|(event, is_element)| {
            let event = Document::from(event);
            match is_element {
                true => self.event(content, verified, &event, None),
                false if event.bytes().len() == body.trim_ascii().len() => {
                    self.event(content, verified, &content.body, Some(Flaw::NotSplit))
                }
                false => self.event(content, verified, &event, Some(Flaw::NotSplit)),
            }
        });
        events.collect()
    }

    /// The event that is `document`, a part of the body.
    fn event<'a>(
        &self,
        content: &Content<'a>,
        verified: &Verified,
        document: &Document<'a>,
        flaw: Option<Flaw>,
    ) -> ReceivedEvent {
        let bytes = document.bytes();
        let start = bytes.as_ptr().addr() - content.request.body.as_ptr().addr();
        let message_id = verified.message_id.as_deref();
        let event = Event::new(content, document, message_id, &self.spec.compare);
        let compared = event.compared();
        let (id, id_flaw) = event.id(&self.spec.id);
        let mut places = self.spec.event_type.iter();
        let event_type = places.find_map(|place| event.event_type(place));
        let not_json = compared.is_fallback.then_some(Flaw::NotJson);
        ReceivedEvent {
            id,
            body: start..start + bytes.len(),
            content: compared.digest,
            guard: match self.spec.guard {
                Guard::None => None,
                Guard::Body => Some(guard(None, bytes)),
                Guard::BodyAndType => Some(guard(event_type.as_deref(), bytes)),
            },
            event_type,
            confirm_url: None,
            flaw: flaw.or(not_json).or(id_flaw),
        }
    }

    fn confirmation(
        &self,
        content: &Content<'_>,
        verified: &Verified,
        url: Option<String>,
    ) -> ReceivedEvent {
        let mut event = self.event(content, verified, &content.body, None);
        event.event_type = Some(CONFIRMATION.to_owned());
        event.confirm_url = url;
        event
    }

    fn answer(&self) -> Answer {
        let spec = &self.spec.answer;
        let content_type = spec.content_type.clone();
        Answer {
            status: spec.status,
            headers: content_type
                .map(|it| ("content-type", it))
                .into_iter()
                .collect(),
            body: spec.body.clone().into_bytes(),
        }
    }

    fn refusal(&self, reason: RefusalReason, status: Option<u16>) -> Refusal {
        let is_early = matches!(
            reason,
            RefusalReason::Unverified(Unverified::KeyNotFetched { .. })
        );
        let status = status.unwrap_or(self.spec.refused_status);
        let challenge = self.verification.challenge().filter(|_| status == 401);
        let challenge = challenge.map(|it| ("www-authenticate", it.to_owned()));
        let refusal = Refusal {
            reason,
            answer: Answer {
                status,
                headers: challenge.into_iter().collect(),
                body: Vec::new(),
            },
        };
        if is_early {
            refusal.postponed()
        } else {
            refusal
        }
    }
}

/// What is wrong with a body that cannot be split.
fn not_split(body: &Document<'_>) -> Flaw {
    if body.is_json() {
        Flaw::NotSplit
    } else {
        Flaw::NotJson
    }
}

/// The SHA-256 of an event's body, and of its type if that counts.
fn guard(event_type: Option<&str>, body: &[u8]) -> [u8; 32] {
    let event_type = event_type.unwrap_or_default();
    let hash = Sha256::new()
        .chain_update("webhook-sources guard\0")
        .chain_update((event_type.len() as u64).to_be_bytes())
        .chain_update(event_type);
    hash.chain_update(body).finalize().into()
}

/// Whether what a scheme signs of a request may be a text that a handshake signs for everybody. What is signed besides
/// the body, its values and fixed text counts as nothing, since it may consist of letters and digits.
fn may_be_challenge(scheme: &Scheme, content: &Content<'_>) -> bool {
    let hmac = match scheme {
        Scheme::Hmac(hmac) => hmac,
        Scheme::AnyOf(schemes) | Scheme::AllOf(schemes) => {
            return schemes.iter().any(|it| may_be_challenge(it, content));
        }
        _ => return false,
    };
    let mut signed = Vec::new();
    for part in hmac.signed.parts() {
        match part {
            Part::Text(text) => signed.extend_from_slice(text.as_bytes()),
            Part::Body => signed.extend_from_slice(content.request.body),
            Part::At(place) => {
                if let Found::One(value) = content.at(place) {
                    signed.extend_from_slice(&value);
                }
            }
            Part::Url => return false,
            _ => {}
        }
    }
    signed.is_empty() || is_challenge(&signed)
}

impl SourceSpec {
    /// The names of the headers that are kept with an event, in lower case and each once: `content-type`, those that
    /// [`id`](field@Self::id) and [`event_type`](field@Self::event_type) name, and
    /// [`keep_headers`](field@Self::keep_headers).
    pub fn kept_headers(&self) -> Vec<String> {
        let mut names = vec!["content-type".to_owned()];
        let places = identity::places(&self.id).into_iter();
        let named = places
            .chain(&self.event_type)
            .filter_map(|place| match place {
                Place::Header(name) => Some(name.clone()),
                _ => None,
            });
        let listed = self.keep_headers.iter().map(|it| it.to_ascii_lowercase());
        for name in named.chain(listed) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests;
