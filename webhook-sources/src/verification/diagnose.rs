//! Finds out why a signature does not match.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::value::RawValue;

use super::content::{Attempt, Scope};
use super::{Node, Unverified, Verification, mac};
use crate::content::Content;
use crate::request::Request;
use crate::spec::KeyForm;

/// The longest body of which other forms are tried, in bytes: each costs about as much as verifying the request.
pub const MAX_DIAGNOSED_BYTES: usize = 256 * 1_024;

/// The deepest JSON whose members are sorted.
const MAX_SORTED_DEPTH: usize = 32;

/// Why the signature of a request does not match, as far as that can be found out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Hint {
    /// The sender still signs with a former secret.
    #[error("signed with former secret {} with the name {name}: the sender still uses it", position + 1)]
    FormerSecret {
        /// The name of the secret.
        name: String,
        /// Its position among the former secrets of that name, from 0.
        position: usize,
    },
    /// The body was changed on its way.
    #[error("the signature is that of the body {0}: something on the way changes the body")]
    Body(BodyForm),
    /// The secret is right, and its key is another one.
    #[error(
        "the signature matches if secret {} with the name {name} is used as {}",
        position + 1,
        match form {
            KeyForm::Base64 => "Base64: write key = \"base64\"",
            KeyForm::Hex => "hexadecimal: write key = \"hex\"",
            _ => "text: write key = \"text\"",
        }
    )]
    SecretForm {
        /// The name of the secret.
        name: String,
        /// Its position among the secrets of that name, from 0.
        position: usize,
        /// The form with which the signature matches.
        form: KeyForm,
    },
    /// The sender was given another URL.
    #[error(
        "the sender signs the URL {url} {}: set it as the public URL, or change it at the sender",
        if *has_query { "with the query of the request" } else { "without a query" }
    )]
    Url {
        /// The URL that is signed, without its query.
        url: String,
        /// Whether the query of the request follows it.
        has_query: bool,
    },
}

/// A form of a body that has the signature of a request whose body is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyForm {
    /// JSON without white space.
    #[error("as JSON without white space")]
    CompactJson,
    /// JSON with a space behind each comma and colon, as Python writes it.
    #[error("as JSON with a space behind each comma and colon, as Python writes it")]
    SpacedJson,
    /// JSON without white space, with the members of objects sorted by name.
    #[error("as JSON without white space and with sorted members")]
    SortedJson,
    /// JSON with a space behind each comma and colon, with the members of objects sorted by name.
    #[error(
        "as JSON with sorted members and a space behind each comma and colon, as Python writes it"
    )]
    SortedSpacedJson,
    /// Lines that end with LF.
    #[error("with lines that end with LF instead of CR LF")]
    Lf,
    /// Lines that end with CR LF.
    #[error("with lines that end with CR LF instead of LF")]
    CrLf,
    /// One more LF at the end.
    #[error("with an LF at the end")]
    FinalLf,
    /// One more CR LF at the end.
    #[error("with a CR LF at the end")]
    FinalCrLf,
    /// Without the line end at the end.
    #[error("without the line end at its end")]
    NoFinalLineEnd,
}

impl Verification {
    /// Finds out why no signature of a request matches: whether it would with one of the secrets of `former`, with
    /// another form of the body or of a secret, or with another URL. This costs several times as much as
    /// [`verify`](Self::verify): call it only for the refused requests that an operator is shown.
    ///
    /// None if the request is refused for another reason, or is not refused. The hint is for the operator.
    pub fn diagnose(
        &self,
        request: &Request<'_>,
        now: SystemTime,
        former: Option<&Self>,
    ) -> Option<Hint> {
        if self.verify(request, now) != Err(Unverified::NoMatch) {
            return None;
        }
        let by_former = former.and_then(|former| {
            let verified = former.verify(request, now).ok()?;
            let (name, position) = former.secret_name(verified.secret_index)?;
            Some(Hint::FormerSecret {
                name: name.to_owned(),
                position,
            })
        });
        by_former
            .or_else(|| self.other_secret(request, now))
            .or_else(|| self.other_url(request, now))
            .or_else(|| self.other_body(request, now))
    }

    fn other_secret(&self, request: &Request<'_>, now: SystemTime) -> Option<Hint> {
        let content = Content::new(*request);
        let attempt = Attempt::new(&content, now, Scope::Whole, &self.public_url);
        let (index, form) = self.node.other_form(&attempt)?;
        let (name, position) = self.secret_name(index)?;
        Some(Hint::SecretForm {
            name: name.to_owned(),
            position,
            form,
        })
    }

    fn other_url(&self, request: &Request<'_>, now: SystemTime) -> Option<Hint> {
        if !self.signs_url {
            return None;
        }
        let content = Content::new(*request);
        let query = request.query();
        let urls = other_urls(&self.public_url, request);
        let mut hints = urls.flat_map(|url| {
            let without = (!query.is_empty()).then_some(false);
            [true].into_iter().chain(without).map(move |has_query| {
                let url = url.clone();
                Hint::Url { url, has_query }
            })
        });
        hints.find(|hint| {
            let Hint::Url { url, has_query } = hint else {
                return false;
            };
            let whole = match query {
                "" => url.clone(),
                query if *has_query => format!("{url}?{query}"),
                _ => url.clone(),
            };
            let attempt = Attempt::new(&content, now, Scope::Whole, "").with_url(whole);
            self.node.verify(&attempt).is_ok()
        })
    }

    fn other_body(&self, request: &Request<'_>, now: SystemTime) -> Option<Hint> {
        if request.body.len() > MAX_DIAGNOSED_BYTES {
            return None;
        }
        let forms = [
            BodyForm::CompactJson,
            BodyForm::SpacedJson,
            BodyForm::SortedJson,
            BodyForm::SortedSpacedJson,
            BodyForm::Lf,
            BodyForm::CrLf,
            BodyForm::FinalLf,
            BodyForm::FinalCrLf,
            BodyForm::NoFinalLineEnd,
        ];
        let found = forms.into_iter().find(|form| {
            other_body(request.body, *form).is_some_and(|body| {
                let other = Request {
                    body: &body,
                    ..*request
                };
                body != request.body && self.verify(&other, now).is_ok()
            })
        });
        found.map(Hint::Body)
    }
}

impl Node {
    /// The secret that matches with another form of its key.
    fn other_form(&self, attempt: &Attempt<'_, '_>) -> Option<(usize, KeyForm)> {
        match self {
            Self::AnyOf(nodes) | Self::AllOf(nodes) => {
                nodes.iter().find_map(|node| node.other_form(attempt))
            }
            Self::Hmac(hmac) => {
                let claim = hmac.form.claim_tags(attempt, hmac.hash).ok()?;
                let pieces = hmac.form.pieces(attempt, &claim).ok()?;
                let others = hmac.other_keys.iter().enumerate();
                let made =
                    others.map(|(place, other)| (place, other.key.tag(mac::parts(&pieces, b""))));
                let other = hmac
                    .other_keys
                    .get(mac::find_match(made, &claim.signatures)?)?;
                Some((other.secret_index, other.form))
            }
            _ => None,
        }
    }
}

/// URLs that the sender may have been given instead of `public_url`, without queries: with another scheme, with or
/// without the usual port, with or without a slash at the end, and with the host and the path of the request.
fn other_urls(public_url: &str, request: &Request<'_>) -> impl Iterator<Item = String> {
    let path = request.target.split('?').next().unwrap_or_default();
    let host = ["host", "x-forwarded-host"].into_iter().find_map(|name| {
        let value = request.header_values(name).next()?;
        str::from_utf8(value).ok()
    });
    let asked = host.map(|host| format!("https://{host}{path}"));
    let bases = [Some(public_url.to_owned()), asked];
    let schemes = [("https://", ":443"), ("http://", ":80")];
    bases.into_iter().flatten().flat_map(move |base| {
        let (_, rest) = base.split_once("://").unwrap_or(("", &base));
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = schemes
            .iter()
            .find_map(|(_, port)| authority.strip_suffix(port))
            .unwrap_or(authority)
            .to_owned();
        let bare_path = path.trim_end_matches('/');
        let paths = [bare_path.to_owned(), format!("{bare_path}/")];
        schemes.into_iter().flat_map(move |(scheme, port)| {
            let (host, paths) = (host.clone(), paths.clone());
            ["", port].into_iter().flat_map(move |port| {
                let host = host.clone();
                paths
                    .clone()
                    .into_iter()
                    .map(move |path| format!("{scheme}{host}{port}{path}"))
            })
        })
    })
}

/// The body in another form; none if it has none.
fn other_body(body: &[u8], form: BodyForm) -> Option<Cow<'_, [u8]>> {
    let json = || serde_json::from_slice::<&RawValue>(body).ok();
    let owned = |text: String| Some(Cow::Owned(text.into_bytes()));
    match form {
        BodyForm::CompactJson => owned(spaced(json()?.get(), "")),
        BodyForm::SpacedJson => owned(spaced(json()?.get(), " ")),
        BodyForm::SortedJson => owned(spaced(&sorted(json()?, MAX_SORTED_DEPTH)?, "")),
        BodyForm::SortedSpacedJson => owned(spaced(&sorted(json()?, MAX_SORTED_DEPTH)?, " ")),
        BodyForm::Lf => Some(Cow::Owned(with_line_ends(body, b"\n"))),
        BodyForm::CrLf => Some(Cow::Owned(with_line_ends(body, b"\r\n"))),
        BodyForm::FinalLf => Some(Cow::Owned([body, b"\n"].concat())),
        BodyForm::FinalCrLf => Some(Cow::Owned([body, b"\r\n"].concat())),
        BodyForm::NoFinalLineEnd => {
            let line = body.strip_suffix(b"\n")?;
            Some(Cow::Borrowed(line.strip_suffix(b"\r").unwrap_or(line)))
        }
    }
}

/// `body` with lines that end with `line_end`, instead of LF or CR LF.
fn with_line_ends(body: &[u8], line_end: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    let mut changed = Vec::with_capacity(body.len());
    for line in lines {
        changed.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        changed.extend_from_slice(line_end);
    }
    changed.extend_from_slice(last);
    changed
}

/// `json` without white space but `space` behind each comma and colon.
fn spaced(json: &str, space: &str) -> String {
    let mut changed = String::with_capacity(json.len());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for character in json.chars() {
        if is_in_string {
            changed.push(character);
            is_in_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
        } else if !character.is_ascii_whitespace() {
            changed.push(character);
            is_in_string = character == '"';
            if [',', ':'].contains(&character) {
                changed.push_str(space);
            }
        }
    }
    changed
}

/// `json` with the members of its objects sorted by name; numbers and strings stay as they are written. None if it
/// is deeper than `depth`.
fn sorted(json: &RawValue, depth: usize) -> Option<String> {
    let inner = |json| sorted(json, depth.checked_sub(1)?);
    let text = json.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let members = members.into_iter().map(|(name, value)| {
                let name = serde_json::Value::from(name);
                Some(format!("{name}:{}", inner(value)?))
            });
            let members: Vec<String> = members.collect::<Option<_>>()?;
            Some(format!("{{{}}}", members.join(",")))
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let elements: Vec<String> = elements.into_iter().map(inner).collect::<Option<_>>()?;
            Some(format!("[{}]", elements.join(",")))
        }
        _ => Some(text.to_owned()),
    }
}
