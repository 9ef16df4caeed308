//! Signs requests as senders do.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::content::{Attempt, Claim, Form, Piece, Scope, most_signatures};
use super::{Encoding, Node, mac, time};
use crate::content::{Content, select};
use crate::request::Request;
use crate::spec::{Place, Pointer, TimeFormat, TokenForm};

/// A request to sign.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The request: its headers are those that it has besides the signature.
    pub request: Request<'a>,
    /// The id of the message, for schemes that sign one.
    pub message_id: Option<&'a str>,
}

/// A signed request.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signed {
    /// The headers to add, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The path with the query: that of the request, with what the scheme adds to the query.
    pub target: String,
    /// The body: that of the request, with what the scheme adds to it.
    pub body: Vec<u8>,
}

/// Shows no token or password.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Signed")
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The reason why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsigned {
    /// There are only public keys, or no private key that can sign.
    #[error("no key to sign with: all keys are public, or of an algorithm that is only verified")]
    NoKey,
    /// The id is missing or empty, or has a full stop or a character that is not allowed in headers.
    #[error("no valid message id: it must be visible ASCII without a full stop")]
    Id,
    /// The time cannot be written.
    #[error("invalid time: it is before 1970, or too late to be written")]
    Time,
    /// The request has no place for a part of the signature.
    #[error("there is no {0} in the request: its body is not what the sender sends")]
    Place(Place),
}

/// A request, as far as it is signed.
struct Draft<'a> {
    request: Request<'a>,
    signed: Signed,
}

pub(super) fn sign(
    node: &Node,
    outgoing: &Outgoing<'_>,
    at: SystemTime,
    public_url: &str,
) -> Result<Signed, Unsigned> {
    let request = outgoing.request;
    let mut draft = Draft {
        request,
        signed: Signed {
            headers: Vec::new(),
            target: request.target.to_owned(),
            body: request.body.to_vec(),
        },
    };
    let signing = Signing {
        message_id: outgoing.message_id,
        at,
        public_url,
    };
    signing.node(node, &mut draft)?;
    Ok(draft.signed)
}

struct Signing<'a> {
    message_id: Option<&'a str>,
    at: SystemTime,
    public_url: &'a str,
}

impl Signing<'_> {
    fn node(&self, node: &Node, draft: &mut Draft<'_>) -> Result<(), Unsigned> {
        match node {
            Node::None => Ok(()),
            Node::Hmac(hmac) => self.form(&hmac.form, draft, |pieces| {
                let keys = hmac.keys.iter();
                let tags = keys.map(|(_, key)| key.tag(mac::parts(pieces, b"")));
                Ok(tags.map(|tag| tag.as_bytes().to_vec()).collect())
            }),
            Node::Digest(digest) => self.form(&digest.form, draft, |pieces| {
                let none = Zeroizing::new(Vec::new());
                let secrets = digest.secrets.iter().map(|(_, secret)| secret);
                let secrets = secrets.chain((!digest.signs_secret).then_some(&none));
                let hashes =
                    secrets.map(|secret| mac::hash(digest.hash, mac::parts(pieces, secret)));
                Ok(hashes.map(|hash| hash.as_bytes().to_vec()).collect())
            }),
            Node::PublicKey(keys) => self.form(&keys.form, draft, |pieces| keys.sign(pieces)),
            // Only the sender has the private key.
            Node::Jwt(_) | Node::Certificate(_) => Err(Unsigned::NoKey),
            Node::Token(token) => {
                let (_, secret) = token.secrets.first().ok_or(Unsigned::NoKey)?;
                let written = match token.form {
                    TokenForm::Plain => String::from_utf8_lossy(secret),
                    TokenForm::Sha256 => Cow::Owned(Encoding::Hex.encode(secret)),
                };
                draft.put_text(&token.at, &format!("{}{written}", token.prefix))
            }
            Node::Basic(basic) => {
                let (_, secret) = basic.secrets.first().ok_or(Unsigned::NoKey)?;
                let credentials = Encoding::Base64.encode(secret);
                let place = Place::Header("authorization".to_owned());
                draft.put_text(&place, &format!("Basic {credentials}"))
            }
            Node::AnyOf(nodes) => {
                let able = nodes.iter().find(|node| node.can_sign());
                self.node(able.ok_or(Unsigned::NoKey)?, draft)
            }
            Node::AllOf(nodes) => {
                // What is in the query or in the body may be signed by the others.
                let (first, last): (Vec<_>, Vec<_>) =
                    nodes.iter().partition(|node| node.changes_content());
                let mut ordered = first.into_iter().chain(last);
                ordered.try_for_each(|node| self.node(node, draft))
            }
        }
    }

    /// Puts the time, the id and the signatures that `make` makes into the request.
    fn form(
        &self,
        form: &Form,
        draft: &mut Draft<'_>,
        make: impl FnOnce(&[Piece<'_>]) -> Result<Vec<Vec<u8>>, Unsigned>,
    ) -> Result<(), Unsigned> {
        let mut claim = Claim {
            signatures: Vec::new(),
            time: None,
            message_id: None,
        };
        let mut items = Vec::new();
        if let Some(spec) = &form.time {
            let written = time::write(self.at, spec.format).ok_or(Unsigned::Time)?;
            match (&spec.at, spec.format) {
                (Place::Item(name), _) => items.push(format!("{name}={written}")),
                (Place::Json(_), TimeFormat::Rfc3339) => draft.put_text(&spec.at, &written)?,
                (Place::Json(pointer), _) => draft.put_json(pointer, &written)?,
                (place, _) => draft.put_text(place, &written)?,
            }
            claim.time = Some(written.into());
        }
        if let Some(place) = &form.message_id {
            let is_valid = |id: &str| {
                id.bytes().all(|it| it.is_ascii_graphic() && it != b'.') && !id.is_empty()
            };
            let id = self.message_id.filter(|id| is_valid(id));
            let id = id.ok_or(Unsigned::Id)?;
            draft.put_text(place, id)?;
            claim.message_id = Some(id.into());
        }
        let made = draft.with_attempt(self, |attempt| {
            let pieces = form.pieces(attempt, &claim);
            make(&pieces.map_err(|_| Unsigned::Place(form.signature.at.clone()))?)
        })?;
        let spec = &form.signature;
        // `*` stands for any text.
        let begin = spec
            .item
            .as_deref()
            .unwrap_or_default()
            .replacen('*', "key", 1);
        let written = made.iter().map(|signature| {
            let encoded = spec.encoding.encode(signature);
            format!("{begin}{}{encoded}", spec.prefix)
        });
        let written = written.take(most_signatures(&spec.at));
        match (&spec.at, &spec.split) {
            (Place::Header(name), _) if name.contains("{n}") => {
                for (number, signature) in written.enumerate() {
                    let name = name.replacen("{n}", &(number + 1).to_string(), 1);
                    draft.put_text(&Place::Header(name), &signature)?;
                }
                Ok(())
            }
            (place, Some(split)) => {
                items.extend(written);
                draft.put_text(place, &items.join(split))
            }
            (place, None) => {
                let first = written.take(1).next().ok_or(Unsigned::NoKey)?;
                draft.put_text(place, &first)
            }
        }
    }
}

impl Draft<'_> {
    /// What `make` makes of the request as it is now.
    fn with_attempt<T>(
        &self,
        signing: &Signing<'_>,
        make: impl FnOnce(&Attempt<'_, '_>) -> T,
    ) -> T {
        let added = self.signed.headers.iter();
        let added = added.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers: Vec<_> = self.request.headers.iter().copied().chain(added).collect();
        let content = Content::new(Request {
            method: self.request.method,
            target: &self.signed.target,
            headers: &headers,
            body: &self.signed.body,
        });
        make(&Attempt::new(
            &content,
            signing.at,
            Scope::Whole,
            signing.public_url,
        ))
    }

    /// Sets the text at `place`.
    fn put_text(&mut self, place: &Place, text: &str) -> Result<(), Unsigned> {
        match place {
            Place::Header(name) => self.signed.headers.push((name.clone(), text.to_owned())),
            Place::Form(name) => {
                let body = str::from_utf8(&self.signed.body);
                let body = body.map_err(|_| Unsigned::Place(place.clone()))?;
                self.signed.body = with_field(body, name, text).into_bytes();
            }
            Place::Query(name) => {
                let (path, query) = match self.signed.target.split_once('?') {
                    Some((path, query)) => (path, query),
                    None => (self.signed.target.as_str(), ""),
                };
                self.signed.target = format!("{path}?{}", with_field(query, name, text));
            }
            Place::Json(pointer) => {
                let text = serde_json::Value::from(text).to_string();
                self.put_json(pointer, &text)?;
            }
            Place::Item(_) => return Err(Unsigned::Place(place.clone())),
        }
        Ok(())
    }

    /// Sets the value that `pointer` points to, and changes nothing else of the body.
    fn put_json(&mut self, pointer: &Pointer, value: &str) -> Result<(), Unsigned> {
        self.signed.body = with_value(&self.signed.body, pointer, value)
            .ok_or_else(|| Unsigned::Place(Place::Json(pointer.clone())))?;
        Ok(())
    }
}

impl Node {
    fn can_sign(&self) -> bool {
        match self {
            Self::PublicKey(keys) => keys.can_sign(),
            Self::Jwt(_) | Self::Certificate(_) => false,
            Self::AnyOf(nodes) => nodes.iter().any(Self::can_sign),
            Self::AllOf(nodes) => nodes.iter().all(Self::can_sign),
            Self::None | Self::Hmac(_) | Self::Token(_) | Self::Basic(_) | Self::Digest(_) => true,
        }
    }

    /// Whether a signature is outside of the headers.
    fn changes_content(&self) -> bool {
        self.any(&|node| {
            let at = match node {
                Self::Token(token) => Some(&token.at),
                other => other.form().map(|form| &form.signature.at),
            };
            at.is_some_and(|at| !matches!(at, Place::Header(_)))
        })
    }
}

/// The fields with the only one named `name` set to `value`.
fn with_field(encoded: &str, name: &str, value: &str) -> String {
    let others = encoded.split('&').filter(|field| {
        let named = form_urlencoded::parse(field.as_bytes()).next();
        named.is_some_and(|(known, _)| known != name)
    });
    let [name, value] =
        [name, value].map(|text| byte_serialize(text.as_bytes()).collect::<String>());
    let field = format!("{name}={value}");
    let fields: Vec<&str> = others.chain([field.as_str()]).collect();
    fields.join("&")
}

/// The JSON document with `value` at `pointer`, in each element that a `*` stands for. Objects on the way that are
/// missing are added; none if something else is missing.
fn with_value(body: &[u8], pointer: &Pointer, value: &str) -> Option<Vec<u8>> {
    let tokens: Vec<&str> = pointer.tokens().collect();
    if let Some(any) = tokens.iter().position(|token| *token == "*") {
        let elements = select(body, &pointer.first(any + 1)).len();
        return (0..elements)
            .try_fold(body.to_vec(), |body, element| {
                with_value(&body, &pointer.with_index(any, element), value)
            })
            .filter(|_| elements > 0);
    }
    let (depth, parent) = (0..=tokens.len()).rev().find_map(|depth| {
        let found = select(body, &pointer.first(depth));
        found.first().map(|parent| (depth, *parent))
    })?;
    let text = parent.get();
    let start = text.as_ptr().addr() - body.as_ptr().addr();
    let end = start + text.len();
    let (before, after) = (&body[..start], &body[end..]);
    let Some((first, rest)) = tokens[depth..].split_first() else {
        return Some([before, value.as_bytes(), after].concat());
    };
    let member = |token: &str, value: &str| {
        let name = serde_json::Value::from(token);
        format!("{name}:{value}")
    };
    let added = rest.iter().rev().fold(value.to_owned(), |value, token| {
        format!("{{{}}}", member(token, &value))
    });
    let inside = text.strip_prefix('{')?.strip_suffix('}')?;
    let comma = if inside.trim().is_empty() { "" } else { "," };
    let object = format!("{{{inside}{comma}{}}}", member(first, &added));
    Some([before, object.as_bytes(), after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_set_in_json() {
        for (body, pointer, expected) in [
            ("{}", "/a", r#"{"a":1}"#),
            (r#"{"b": 1.50 }"#, "/a", r#"{"b": 1.50 ,"a":1}"#),
            (r#"{"a": [2], "b":3}"#, "/a", r#"{"a": 1, "b":3}"#),
            ("{ }", "/a/b/c~1d", r#"{ "a":{"b":{"c/d":1}}}"#),
            (r#"[{"a":2},{}]"#, "/1/a", r#"[{"a":2},{"a":1}]"#),
            (
                r#"[{"a":2},{"b":3}]"#,
                "/*/c",
                r#"[{"a":2,"c":1},{"b":3,"c":1}]"#,
            ),
            (r#"[{"a":2},{"a":3}]"#, "/*/a", r#"[{"a":1},{"a":1}]"#),
        ] {
            let changed = with_value(body.as_bytes(), &pointer.parse().unwrap(), "1").unwrap();
            assert_eq!(String::from_utf8(changed).unwrap(), expected);
        }
        for (body, pointer) in [
            ("", "/a"),
            ("[]", "/a"),
            ("[]", "/*/a"),
            ("{}", "/a/*/b"),
            ("1", "/a"),
        ] {
            assert_eq!(
                with_value(body.as_bytes(), &pointer.parse().unwrap(), "1"),
                None
            );
        }
    }

    #[test]
    fn fields_are_set_in_forms() {
        assert_eq!(with_field("", "a", "1 2"), "a=1+2");
        assert_eq!(with_field("b=%20&c", "a", "é"), "b=%20&c&a=%C3%A9");
        assert_eq!(with_field("a=1&b=2&%61=3", "a", "4"), "b=2&a=4");
    }
}
