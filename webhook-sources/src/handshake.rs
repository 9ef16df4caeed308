//! Answers the requests that a sender makes to check the address.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::content::{Content, Found};
use crate::error::InvalidSource;
use crate::outcome::{Answer, RefusalReason};
use crate::spec::{Handshake, HandshakeAnswer, Place, Pointer, SourceSpec};
use crate::verification::{Encoding, MIN_SECRET_BYTES, MacKey, SecretLength, secret_key};
use crate::{MAX_HANDSHAKE_VALUE_BYTES, Secrets};

/// The media types of answers to handshakes: no browser takes them for a page.
const CONTENT_TYPES: [&str; 2] = ["text/plain", "application/json"];

/// The status of the answer to a wrong verify token, which Meta asks for.
const WRONG_TOKEN: u16 = 403;

/// The largest length of a value that is signed for whoever sends it, in bytes.
const MAX_CHALLENGE_BYTES: usize = 128;

/// Whether a text is of the form that is signed for whoever sends it: letters, digits and what else Base64 has. No
/// JSON object and no form is.
///
/// Somebody could else ask for the signature of a delivery: X signs its deliveries with the key of its handshake.
pub(crate) fn is_challenge(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(byte);
    !text.is_empty() && text.len() <= MAX_CHALLENGE_BYTES && text.iter().all(is_plain)
}

/// What a request is to the handshakes of a source.
pub(crate) enum Met {
    /// No handshake.
    Nothing,
    /// A handshake.
    Answer(Answer),
    /// A handshake that is refused, and the status of the answer if it is not that of the source.
    Refused(RefusalReason, Option<u16>),
    /// An event with a URL that is to be visited.
    Confirmation(Option<String>),
}

/// The handshakes of a source, ready to answer.
#[derive(Debug)]
pub(crate) struct Handshakes(Vec<Ready>);

#[derive(Debug)]
enum Ready {
    Query {
        method: String,
        parameter: Place,
        token: Option<Token>,
        answer: Reply,
    },
    Header {
        header: Place,
        answer: Reply,
        is_verified: bool,
    },
    Json {
        pointer: Place,
        equals: String,
        value: Option<Place>,
        answer: Reply,
        is_verified: bool,
    },
    CloudEvents {
        allowed_origins: Vec<String>,
        allowed_rate: String,
        allow: String,
    },
    Probe {
        method: String,
        form_field: Option<String>,
    },
    Confirm {
        pointer: Place,
        equals: String,
        url: Place,
    },
}

/// A parameter of the query that must be one of some secrets.
struct Token {
    parameter: Place,
    secrets: Vec<Zeroizing<String>>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("parameter", &self.parameter)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Compares with each of the secrets in constant time.
    fn is_in(&self, content: &Content<'_>) -> bool {
        let Found::One(given) = content.at(&self.parameter) else {
            return false;
        };
        let mut matches = Choice::from(0);
        for secret in &self.secrets {
            matches |= secret.as_bytes().ct_eq(&given);
        }
        matches.into()
    }
}

impl Handshakes {
    /// Prepares the handshakes of a source. Adds what is wrong to `problems`.
    pub(crate) fn new(
        spec: &SourceSpec,
        secrets: &Secrets,
        length: SecretLength,
        problems: &mut Vec<InvalidSource>,
    ) -> Self {
        let mut ready = Vec::new();
        for (position, handshake) in spec.handshakes.iter().enumerate() {
            let mut builder = Builder {
                position,
                secrets,
                length,
                problems,
            };
            ready.extend(builder.ready(handshake, &spec.methods));
        }
        Self(ready)
    }

    /// The methods of handshakes.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Ready::method)
    }

    /// Whether a request may be a handshake that is answered before it is verified. Only its head counts.
    pub(crate) fn may_be_unverified(&self, head: &Content<'_>) -> bool {
        let mut ready = self.unverified(head.request.method);
        ready.any(|it| it.may_be(head))
    }

    /// Whether a request with this method may be a handshake that has to be verified.
    pub(crate) fn may_be_verified(&self, method: &str) -> bool {
        self.with(method).any(Ready::is_verified)
    }

    /// What a request is to the handshakes that are answered before it is verified.
    pub(crate) fn meet_unverified(&self, content: &Content<'_>) -> Met {
        first(self.unverified(content.request.method), content)
    }

    /// What a verified request is to the other handshakes.
    pub(crate) fn meet_verified(&self, content: &Content<'_>) -> Met {
        let with = self.with(content.request.method);
        first(with.filter(|it| it.is_verified()), content)
    }

    /// Whether a value is signed for whoever sends it.
    pub(crate) fn sign_for_everybody(&self) -> bool {
        let mut replies = self.0.iter().filter_map(Ready::reply);
        replies.any(|reply| reply.is_for_everybody)
    }

    fn unverified<'s>(&'s self, method: &str) -> impl Iterator<Item = &'s Ready> {
        self.with(method).filter(|it| !it.is_verified())
    }

    fn with<'s>(&'s self, method: &str) -> impl Iterator<Item = &'s Ready> {
        self.0.iter().filter(move |it| it.method() == method)
    }
}

fn first<'r>(ready: impl Iterator<Item = &'r Ready>, content: &Content<'_>) -> Met {
    let mut met = ready.map(|it| it.meet(content));
    met.find(|met| !matches!(met, Met::Nothing))
        .unwrap_or(Met::Nothing)
}

impl Ready {
    fn method(&self) -> &str {
        match self {
            Self::Query { method, .. } | Self::Probe { method, .. } => method,
            Self::Header { .. } => "GET",
            Self::Json { .. } | Self::Confirm { .. } => "POST",
            Self::CloudEvents { .. } => "OPTIONS",
        }
    }

    const fn is_verified(&self) -> bool {
        match self {
            Self::Header { is_verified, .. } | Self::Json { is_verified, .. } => *is_verified,
            Self::Confirm { .. } => true,
            Self::Query { .. } | Self::CloudEvents { .. } | Self::Probe { .. } => false,
        }
    }

    const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Query { answer, .. }
            | Self::Header { answer, .. }
            | Self::Json { answer, .. } => Some(answer),
            Self::CloudEvents { .. } | Self::Probe { .. } | Self::Confirm { .. } => None,
        }
    }

    /// Whether a request with this head may be this handshake.
    fn may_be(&self, head: &Content<'_>) -> bool {
        match self {
            Self::Query {
                parameter: place, ..
            }
            | Self::Header { header: place, .. } => head.at(place) != Found::Nothing,
            Self::CloudEvents { .. } => head.at(&origin()) != Found::Nothing,
            Self::Probe { form_field, .. } => {
                form_field.is_some() || head.request.query().is_empty()
            }
            Self::Json { .. } | Self::Confirm { .. } => true,
        }
    }

    fn meet(&self, content: &Content<'_>) -> Met {
        match self {
            Self::Query {
                parameter,
                token,
                answer,
                ..
            } => {
                // An event that is sent to an address with this parameter is no handshake.
                if content.at(parameter) == Found::Nothing || content.body.is_json() {
                    return Met::Nothing;
                }
                if token.as_ref().is_some_and(|token| !token.is_in(content)) {
                    return Met::Refused(RefusalReason::VerifyToken, Some(WRONG_TOKEN));
                }
                answer.to(content, Some(parameter))
            }
            Self::Header { header, answer, .. } => match content.at(header) {
                Found::Nothing => Met::Nothing,
                Found::One(_) | Found::Several => answer.to(content, Some(header)),
            },
            Self::Json {
                pointer,
                equals,
                value,
                answer,
                is_verified,
            } => {
                if !is_at(content, pointer, equals) {
                    return Met::Nothing;
                }
                match answer.to(content, value.as_ref()) {
                    // The sender made it, so that it is better stored than refused.
                    Met::Refused(..) if *is_verified => Met::Nothing,
                    met => met,
                }
            }
            Self::CloudEvents {
                allowed_origins,
                allowed_rate,
                allow,
            } => cloud_events(content, allowed_origins, allowed_rate, allow),
            Self::Probe { form_field, .. } => {
                if is_probe(content, form_field.as_deref()) {
                    Met::Answer(Answer {
                        status: 200,
                        headers: Vec::new(),
                        body: Vec::new(),
                    })
                } else {
                    Met::Nothing
                }
            }
            Self::Confirm {
                pointer,
                equals,
                url,
            } => {
                if is_at(content, pointer, equals) {
                    Met::Confirmation(value(content, url).filter(|url| is_https(url)))
                } else {
                    Met::Nothing
                }
            }
        }
    }
}

fn is_at(content: &Content<'_>, place: &Place, expected: &str) -> bool {
    matches!(content.at(place), Found::One(value) if *value == *expected.as_bytes())
}

/// The value at `place`, if it is short and printable.
fn value(content: &Content<'_>, place: &Place) -> Option<String> {
    let Found::One(value) = content.at(place) else {
        return None;
    };
    let value = str::from_utf8(&value).ok()?;
    let is_printable = !value.is_empty() && !value.contains(char::is_control);
    (is_printable && value.len() <= MAX_HANDSHAKE_VALUE_BYTES).then(|| value.to_owned())
}

fn is_https(url: &str) -> bool {
    let scheme = url.split_once("://");
    scheme.is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case("https") && !rest.is_empty())
}

fn is_probe(content: &Content<'_>, form_field: Option<&str>) -> bool {
    let request = content.request;
    match form_field {
        None => request.query().is_empty() && request.body.is_empty(),
        Some(field) => matches!(
            content.form().as_slice(),
            [(name, value)] if name == field && value.len() <= MAX_HANDSHAKE_VALUE_BYTES
        ),
    }
}

/// The validation handshake of "HTTP 1.1 Web Hooks for Event Delivery", version 1.0.3, section 4.
fn cloud_events(
    content: &Content<'_>,
    allowed_origins: &[String],
    allowed_rate: &str,
    allow: &str,
) -> Met {
    let origin = match content.at(&origin()) {
        Found::Nothing => return Met::Nothing,
        Found::Several => None,
        Found::One(origin) => allowed_origins
            .iter()
            .find(|allowed| *allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(&origin)),
    };
    let Some(origin) = origin else {
        return Met::Refused(RefusalReason::Origin, None);
    };
    Met::Answer(Answer {
        status: 200,
        headers: vec![
            ("allow", allow.to_owned()),
            ("webhook-allowed-origin", origin.clone()),
            ("webhook-allowed-rate", allowed_rate.to_owned()),
        ],
        body: Vec::new(),
    })
}

fn origin() -> Place {
    Place::Header("webhook-request-origin".to_owned())
}

/// An answer that is ready to be completed with the value of a request.
#[derive(Debug)]
struct Reply {
    status: u16,
    content_type: String,
    parts: Vec<ReplyPart>,
    key: Option<MacKey>,
    encoding: Encoding,
    /// Whether a value is signed that nobody has verified.
    is_for_everybody: bool,
}

#[derive(Debug)]
enum ReplyPart {
    Text(String),
    Value,
    Mac,
}

impl Reply {
    /// The answer to a request with its value at `place`.
    fn to(&self, content: &Content<'_>, place: Option<&Place>) -> Met {
        let Some(place) = place else {
            return Met::Answer(self.with(""));
        };
        let value = value(content, place);
        let value = value.filter(|it| !self.is_for_everybody || is_challenge(it.as_bytes()));
        value.map_or_else(
            || Met::Refused(RefusalReason::HandshakeValue(place.clone()), None),
            |value| Met::Answer(self.with(&value)),
        )
    }

    fn with(&self, value: &str) -> Answer {
        let mut body = String::new();
        for part in &self.parts {
            match part {
                ReplyPart::Text(text) => body.push_str(text),
                ReplyPart::Value if self.is_json() => body.push_str(&json_escaped(value)),
                ReplyPart::Value => body.push_str(value),
                ReplyPart::Mac => {
                    let tag = self.key.as_ref().map(|key| key.tag([value.as_bytes()]));
                    let tag = tag.as_ref().map_or(&[][..], |tag| tag.as_bytes());
                    body.push_str(&self.encoding.encode(tag));
                }
            }
        }
        Answer {
            status: self.status,
            headers: vec![
                ("content-type", self.content_type.clone()),
                ("x-content-type-options", "nosniff".to_owned()),
            ],
            body: body.into_bytes(),
        }
    }

    fn is_json(&self) -> bool {
        essence(&self.content_type).eq_ignore_ascii_case("application/json")
    }
}

/// The media type without its parameters.
fn essence(content_type: &str) -> &str {
    let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    essence.trim()
}

/// The text, as it stands between the quotation marks of a JSON string.
fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Prepares a handshake.
struct Builder<'b> {
    position: usize,
    secrets: &'b Secrets,
    length: SecretLength,
    problems: &'b mut Vec<InvalidSource>,
}

impl Builder<'_> {
    fn ready(&mut self, spec: &Handshake, methods: &[String]) -> Option<Ready> {
        let json = |pointer: &Pointer| Place::Json(pointer.clone());
        Some(match spec {
            Handshake::Query {
                method,
                parameter,
                token,
                secrets,
                answer,
            } => {
                let token = match token {
                    None => None,
                    Some(parameter) => Some(self.token(parameter, secrets)?),
                };
                Ready::Query {
                    method: self.method(method)?,
                    parameter: Place::Query(parameter.clone()),
                    token,
                    answer: self.reply(answer, true, false)?,
                }
            }
            Handshake::Header {
                header,
                answer,
                verified,
            } => Ready::Header {
                header: self.header(header)?,
                answer: self.reply(answer, true, *verified)?,
                is_verified: *verified,
            },
            Handshake::Json {
                pointer,
                equals,
                value,
                answer,
                verified,
            } => Ready::Json {
                pointer: json(pointer),
                equals: equals.clone(),
                value: value.as_ref().map(json),
                answer: self.reply(answer, value.is_some(), *verified)?,
                is_verified: *verified,
            },
            Handshake::CloudEvents {
                allowed_origins,
                allowed_rate,
            } => {
                let is_origin =
                    |it: &String| !it.is_empty() && it.bytes().all(|it| it.is_ascii_graphic());
                if allowed_origins.is_empty() || !allowed_origins.iter().all(is_origin) {
                    self.wrong(
                        "allowed_origins",
                        &allowed_origins.join(" "),
                        "host names of senders, or * for all",
                    );
                    return None;
                }
                Ready::CloudEvents {
                    allowed_origins: allowed_origins.clone(),
                    allowed_rate: allowed_rate.map_or_else(|| "*".to_owned(), |it| it.to_string()),
                    allow: methods.join(", "),
                }
            }
            Handshake::Probe { method, form_field } => {
                let method = self.method(method)?;
                if form_field.is_none() && methods.contains(&method) {
                    self.wrong(
                        "method",
                        &method,
                        "a method that deliveries do not have, or form_field",
                    );
                    return None;
                }
                Ready::Probe {
                    method,
                    form_field: form_field.clone(),
                }
            }
            Handshake::Confirm {
                pointer,
                equals,
                url,
            } => Ready::Confirm {
                pointer: json(pointer),
                equals: equals.clone(),
                url: json(url),
            },
        })
    }

    /// Notes that a setting of the handshake is wrong.
    fn wrong(&mut self, name: &str, value: &str, expected: &'static str) {
        self.problem(InvalidSource::Setting {
            setting: format!("handshakes[{}].{name}", self.position),
            value: value.to_owned(),
            expected,
        });
    }

    fn no_secret(&mut self, name: &str) {
        let names = vec![name.to_owned()];
        self.problem(InvalidSource::NoSecret { names });
    }

    fn problem(&mut self, problem: InvalidSource) {
        // The scheme and the handshakes share secrets, and so what is wrong with them.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn method(&mut self, method: &str) -> Option<String> {
        if is_method(method) {
            return Some(method.to_owned());
        }
        self.wrong("method", method, "a method in upper case");
        None
    }

    fn header(&mut self, name: &str) -> Option<Place> {
        match format!("header:{name}").parse() {
            Ok(place) => Some(place),
            Err(_) => {
                self.wrong("header", name, "the name of a header");
                None
            }
        }
    }

    fn token(&mut self, parameter: &str, name: &str) -> Option<Token> {
        let secrets: Vec<_> = self.secrets.named(name).collect();
        if secrets.is_empty() {
            self.no_secret(name);
            return None;
        }
        for (position, secret) in secrets.iter().enumerate() {
            if let Err(problem) = self.length.check(secret.as_bytes(), MIN_SECRET_BYTES) {
                self.problem(InvalidSource::Secret {
                    name: name.to_owned(),
                    position,
                    problem,
                });
            }
        }
        let owned = |secret: &str| Zeroizing::new(secret.to_owned());
        Some(Token {
            parameter: Place::Query(parameter.to_owned()),
            secrets: secrets.into_iter().map(owned).collect(),
        })
    }

    fn reply(
        &mut self,
        spec: &HandshakeAnswer,
        has_value: bool,
        is_verified: bool,
    ) -> Option<Reply> {
        let before = self.problems.len();
        if !(200..300).contains(&spec.status) {
            self.wrong("answer.status", &spec.status.to_string(), "200 to 299");
        }
        let is_allowed = CONTENT_TYPES
            .iter()
            .any(|it| essence(&spec.content_type).eq_ignore_ascii_case(it));
        if !is_allowed || !is_header_value(&spec.content_type) {
            self.wrong(
                "answer.content_type",
                &spec.content_type,
                "text/plain or application/json",
            );
        }
        let mut reply = Reply {
            status: spec.status,
            content_type: spec.content_type.clone(),
            parts: Vec::new(),
            key: None,
            encoding: spec.encoding,
            is_for_everybody: false,
        };
        reply.parts = self.parts(spec, reply.is_json());
        let has = |sort: fn(&ReplyPart) -> bool| reply.parts.iter().any(sort);
        let is_mac = has(|it| matches!(it, ReplyPart::Mac));
        if !has_value && (is_mac || has(|it| matches!(it, ReplyPart::Value))) {
            self.wrong(
                "answer.body",
                &spec.body,
                "the pointer of a value beside it",
            );
        }
        if is_mac {
            reply.key = self.key(spec);
            reply.is_for_everybody = !is_verified;
        }
        if reply.is_json()
            && !spec.body.is_empty()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&reply.with("\"").body).is_err()
        {
            self.wrong(
                "answer.body",
                &spec.body,
                "JSON, with placeholders between quotation marks",
            );
        }
        (self.problems.len() == before).then_some(reply)
    }

    /// The key of `{mac}`.
    fn key(&mut self, spec: &HandshakeAnswer) -> Option<MacKey> {
        let Some(secret) = self.secrets.named(&spec.secrets).next() else {
            self.no_secret(&spec.secrets);
            return None;
        };
        match secret_key(secret, spec.key, &[], self.length) {
            Ok(key) => Some(MacKey::new(spec.hash, &key)),
            Err(problem) => {
                self.problem(InvalidSource::Secret {
                    name: spec.secrets.clone(),
                    position: 0,
                    problem,
                });
                None
            }
        }
    }

    /// The texts and the placeholders of the body. Other braces are texts.
    fn parts(&mut self, spec: &HandshakeAnswer, is_json: bool) -> Vec<ReplyPart> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = spec.body.as_str();
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            let (placeholder, after) = rest.split_once('}').unwrap_or((rest, ""));
            let part = match placeholder {
                "{value" => Some(ReplyPart::Value),
                "{mac" => Some(ReplyPart::Mac),
                other => other
                    .strip_prefix("{secret:")
                    .map(|name| ReplyPart::Text(self.shown(name, is_json))),
            };
            match part {
                Some(part) => {
                    parts.push(ReplyPart::Text(std::mem::take(&mut text)));
                    parts.push(part);
                    rest = after;
                }
                None => {
                    text.push('{');
                    rest = &rest[1..];
                }
            }
        }
        text.push_str(rest);
        parts.push(ReplyPart::Text(text));
        parts
    }

    /// A secret that the answer shows, such as a public key.
    fn shown(&mut self, name: &str, is_json: bool) -> String {
        match self.secrets.named(name).next() {
            Some(secret) if is_json => json_escaped(secret),
            Some(secret) => secret.to_owned(),
            None => {
                self.no_secret(name);
                String::new()
            }
        }
    }
}

/// Whether this is a method of RFC 9110, section 9.1, in upper case.
pub(crate) fn is_method(method: &str) -> bool {
    let is_upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    !method.is_empty() && method.bytes().all(is_upper)
}

/// Whether a header may have this value.
pub(crate) fn is_header_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The names of the secrets that `handshake` shows in its answer.
pub(crate) fn shown_secrets(handshake: &Handshake) -> Vec<&str> {
    let Some(answer) = answer(handshake) else {
        return Vec::new();
    };
    let after = answer.body.split("{secret:").skip(1);
    after.filter_map(|it| Some(it.split_once('}')?.0)).collect()
}

/// The names of the secrets that `handshake` takes and does not show.
pub(crate) fn hidden_secrets(handshake: &Handshake) -> Vec<&str> {
    let mut names = Vec::new();
    if let Handshake::Query {
        token: Some(_),
        secrets,
        ..
    } = handshake
    {
        names.push(secrets.as_str());
    }
    if let Some(answer) = answer(handshake)
        && answer.body.contains("{mac}")
    {
        names.push(&answer.secrets);
    }
    names
}

const fn answer(handshake: &Handshake) -> Option<&HandshakeAnswer> {
    match handshake {
        Handshake::Query { answer, .. }
        | Handshake::Header { answer, .. }
        | Handshake::Json { answer, .. } => Some(answer),
        Handshake::CloudEvents { .. } | Handshake::Probe { .. } | Handshake::Confirm { .. } => None,
    }
}
