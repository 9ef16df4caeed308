//! What a signature says in a request: its value, its time, its message id, and what it covers.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::time::SystemTime;

use crc::{CRC_32_ISO_HDLC, Crc};

use super::{MAX_PUBLIC_KEY_CHECKS, MAX_SIGNATURES, Unverified, mac, time};
use crate::MAX_NUMBERED_HEADERS;
use crate::content::{Content, Found};
use crate::spec::{
    HashFunction, LineForm, Part, Place, Pointer, SignatureSpec, Template, TimeSpec,
};

/// The CRC-32 of Ethernet, gzip and PNG.
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// How much of a request is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The head: a body is yet to be read.
    Head,
    /// All of it.
    Whole,
}

/// A request that is being verified.
pub(super) struct Attempt<'c, 'a> {
    content: &'c Content<'a>,
    pub(super) now: SystemTime,
    pub(super) scope: Scope,
    public_url: &'c str,
    url: OnceCell<String>,
    public_key_checks: Cell<usize>,
}

impl<'c, 'a> Attempt<'c, 'a> {
    /// `public_url` has no query.
    pub(super) fn new(
        content: &'c Content<'a>,
        now: SystemTime,
        scope: Scope,
        public_url: &'c str,
    ) -> Self {
        Self {
            content,
            now,
            scope,
            public_url,
            url: OnceCell::new(),
            public_key_checks: Cell::new(MAX_PUBLIC_KEY_CHECKS),
        }
    }

    /// With another URL, which has its query.
    pub(super) fn with_url(self, url: String) -> Self {
        Self {
            url: OnceCell::from(url),
            ..self
        }
    }

    pub(super) const fn content(&self) -> &'c Content<'a> {
        self.content
    }

    /// Whether a value at `place` can be read from what is there.
    pub(super) const fn has(&self, place: &Place) -> bool {
        match self.scope {
            Scope::Whole => true,
            Scope::Head => !matches!(place, Place::Json(_) | Place::Form(_)),
        }
    }

    /// Whether one more signature may be tried with a public key.
    pub(super) fn may_check_public_key(&self) -> bool {
        let left = self.public_key_checks.get();
        self.public_key_checks.set(left.saturating_sub(1));
        left > 0
    }

    /// The public URL with the query of the request.
    fn url(&self) -> &str {
        self.url.get_or_init(|| match self.content.request.query() {
            "" => self.public_url.to_owned(),
            query => format!("{}?{query}", self.public_url),
        })
    }

    /// The only value at `place`, if there is one.
    pub(super) fn value(&self, place: &Place) -> Result<Option<Cow<'a, [u8]>>, Unverified> {
        match self.content.at(place) {
            Found::Nothing => Ok(None),
            Found::One(value) => Ok(Some(value)),
            Found::Several => Err(Unverified::Repeated {
                place: place.clone(),
            }),
        }
    }

    /// The only value at `place`, which must be there and be text.
    pub(super) fn text(&self, place: &Place) -> Result<Cow<'a, str>, Unverified> {
        let value = self.value(place)?.ok_or_else(|| Unverified::Missing {
            place: place.clone(),
        })?;
        as_text(value, place)
    }
}

/// `value` as text, which is ASCII in headers.
fn as_text<'a>(value: Cow<'a, [u8]>, place: &Place) -> Result<Cow<'a, str>, Unverified> {
    let is_allowed = |text: &str| text.is_ascii() || !matches!(place, Place::Header(_));
    let text = match value {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    };
    text.filter(|text| is_allowed(text))
        .ok_or_else(|| Unverified::Malformed {
            place: place.clone(),
        })
}

/// How a sender signs, without the key.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) signed: Template,
    pub(super) signature: SignatureSpec,
    pub(super) time: Option<TimeSpec>,
    pub(super) message_id: Option<Place>,
}

/// What a request claims.
pub(super) struct Claim<'a> {
    /// The signatures, decoded. Those that cannot be decoded, or that have another length, are left out; there is
    /// at least one, unless they are in a body that is yet to be read.
    pub(super) signatures: Vec<Vec<u8>>,
    pub(super) time: Option<Cow<'a, str>>,
    pub(super) message_id: Option<Cow<'a, str>>,
}

/// A part of what is signed.
pub(super) enum Piece<'p> {
    Bytes(Cow<'p, [u8]>),
    /// The secret of a digest.
    Secret,
}

impl Form {
    /// As [`claim`](Self::claim), where signatures are as long as what `hash` makes.
    pub(super) fn claim_tags<'a>(
        &self,
        attempt: &Attempt<'_, 'a>,
        hash: HashFunction,
    ) -> Result<Claim<'a>, Unverified> {
        self.claim(attempt, |length| length == mac::tag_bytes(hash))
    }

    /// Reads what the request claims, as far as it is there. `is_length` says which lengths signatures have.
    pub(super) fn claim<'a>(
        &self,
        attempt: &Attempt<'_, 'a>,
        is_length: impl Fn(usize) -> bool,
    ) -> Result<Claim<'a>, Unverified> {
        let mut claim = Claim {
            signatures: Vec::new(),
            time: None,
            message_id: None,
        };
        let spec = &self.signature;
        if attempt.has(&spec.at) {
            let values = signature_values(attempt, &spec.at)?;
            claim.signatures = self.signatures(&values, is_length)?;
            if let Some(time) = &self.time
                && let Place::Item(name) = &time.at
            {
                claim.time = Some(self.item(&values, name)?);
            }
        }
        if let Some(time) = &self.time
            && attempt.has(&time.at)
        {
            if !matches!(time.at, Place::Item(_)) {
                claim.time = Some(attempt.text(&time.at)?);
            }
            if let Some(text) = &claim.time {
                time::check(text, time, attempt.now)?;
            }
        }
        if let Some(place) = &self.message_id
            && attempt.has(place)
        {
            let id = attempt.text(place)?;
            if id.is_empty() || id.contains('.') {
                return Err(Unverified::Malformed {
                    place: place.clone(),
                });
            }
            claim.message_id = Some(id);
        }
        Ok(claim)
    }

    /// The items of `values`, without white space around them.
    fn items<'v>(&self, values: &'v [Cow<'_, str>]) -> impl Iterator<Item = &'v str> {
        let split = self.signature.split.as_deref();
        values.iter().flat_map(move |value| {
            let (items, whole) = match split {
                Some(separator) => (Some(value.split(separator)), None),
                None => (None, Some(&**value)),
            };
            items
                .into_iter()
                .flatten()
                .chain(whole)
                .map(str::trim_ascii)
        })
    }

    /// The signatures in `values`, decoded.
    fn signatures(
        &self,
        values: &[Cow<'_, str>],
        is_length: impl Fn(usize) -> bool,
    ) -> Result<Vec<Vec<u8>>, Unverified> {
        let spec = &self.signature;
        let written = self.items(values).filter_map(|item| {
            let signature = match spec.item.as_deref() {
                None => item,
                Some(begin) => after_begin(item, begin)?,
            };
            match signature.trim_ascii_start().strip_prefix(&*spec.prefix) {
                Some(signature) => Some(signature),
                None if spec.prefix_optional => Some(signature),
                None => None,
            }
        });
        let most = most_signatures(&spec.at);
        let mut decoded = Vec::new();
        for (number, written) in written.enumerate() {
            if number == most {
                return Err(Unverified::TooManySignatures {
                    place: spec.at.clone(),
                });
            }
            decoded.extend(
                spec.encoding
                    .decode(written)
                    .filter(|it| is_length(it.len())),
            );
        }
        if decoded.is_empty() {
            return Err(Unverified::Malformed {
                place: spec.at.clone(),
            });
        }
        Ok(decoded)
    }

    /// The value of the only item `NAME=…` in `values`.
    fn item<'a>(&self, values: &[Cow<'a, str>], name: &str) -> Result<Cow<'a, str>, Unverified> {
        let place = || Place::Item(name.to_owned());
        let mut named = self.items(values).filter_map(|item| {
            let (known, value) = item.split_once('=')?;
            (known == name).then_some(value)
        });
        match (named.next(), named.next()) {
            (None, _) => Err(Unverified::Missing { place: place() }),
            (Some(value), None) => Ok(Cow::Owned(value.to_owned())),
            (Some(_), Some(_)) => Err(Unverified::Repeated { place: place() }),
        }
    }

    /// What is signed.
    pub(super) fn pieces<'p>(
        &'p self,
        attempt: &'p Attempt<'_, '_>,
        claim: &'p Claim<'_>,
    ) -> Result<Vec<Piece<'p>>, Unverified> {
        let mut pieces = Vec::with_capacity(self.signed.parts().len());
        for part in self.signed.parts() {
            let request = &attempt.content.request;
            pieces.push(Piece::Bytes(match part {
                Part::Text(text) => Cow::Borrowed(text.as_bytes()),
                Part::Body => Cow::Borrowed(request.body),
                Part::Timestamp => Cow::Borrowed(bytes(&claim.time)),
                Part::Id => Cow::Borrowed(bytes(&claim.message_id)),
                Part::Url => Cow::Borrowed(attempt.url().as_bytes()),
                Part::Method => Cow::Borrowed(request.method.as_bytes()),
                Part::At(Place::Form(_)) if attempt.content.has_too_many_fields() => {
                    return Err(Unverified::NotForm);
                }
                Part::At(place) => match (attempt.value(place)?, place) {
                    (Some(value), _) => value,
                    (None, Place::Header(_)) => {
                        return Err(Unverified::Missing {
                            place: place.clone(),
                        });
                    }
                    (None, _) => Cow::Borrowed(&[][..]),
                },
                Part::WholeForm => {
                    let joined = whole_form(attempt.content);
                    // A signature of what stands beside it must not be one of a body without fields.
                    if joined.is_empty() {
                        return Err(Unverified::NotForm);
                    }
                    Cow::Owned(joined)
                }
                Part::Line(pointer, form) => Cow::Owned(lines(attempt, pointer, *form)?),
                Part::Crc32 => Cow::Owned(CRC32.checksum(request.body).to_string().into_bytes()),
                // Prepared schemes have the text in its place.
                Part::Setting(_) => Cow::Borrowed(&[]),
                Part::Secret => {
                    pieces.push(Piece::Secret);
                    continue;
                }
            }));
        }
        Ok(pieces)
    }
}

/// The lines with the name and the value of a member.
fn lines(
    attempt: &Attempt<'_, '_>,
    pointer: &Pointer,
    form: LineForm,
) -> Result<Vec<u8>, Unverified> {
    let place = Place::Json(pointer.clone());
    let value = match (attempt.value(&place)?, form) {
        (Some(value), _) => value,
        (None, LineForm::Optional) => return Ok(Vec::new()),
        (None, LineForm::One | LineForm::Several) => return Err(Unverified::Missing { place }),
    };
    // Otherwise the lines of one member could be taken for those of another.
    if form != LineForm::Several && value.contains(&b'\n') {
        return Err(Unverified::Malformed { place });
    }
    let name = pointer.tokens().last().unwrap_or_default();
    Ok([name.as_bytes(), b"\n", &value, b"\n"].concat())
}

fn bytes<'p>(text: &'p Option<Cow<'_, str>>) -> &'p [u8] {
    text.as_deref().unwrap_or_default().as_bytes()
}

/// What follows `begin` in `item`; `*` before the last character of `begin` stands for any text.
fn after_begin<'i>(item: &'i str, begin: &str) -> Option<&'i str> {
    match begin.strip_prefix('*') {
        Some(separator) if !separator.is_empty() => {
            item.split_once(separator).map(|(_, after)| after)
        }
        _ => item.strip_prefix(begin),
    }
}

/// The largest number of signatures that are read.
pub(super) fn most_signatures(at: &Place) -> usize {
    match at {
        Place::Header(name) if name.contains("{n}") => MAX_NUMBERED_HEADERS,
        _ => MAX_SIGNATURES,
    }
}

/// The values of the place of a signature: at least one. Those of headers may be several.
fn signature_values<'a>(
    attempt: &Attempt<'_, 'a>,
    at: &Place,
) -> Result<Vec<Cow<'a, str>>, Unverified> {
    let Place::Header(name) = at else {
        return Ok(vec![attempt.text(at)?]);
    };
    let request = &attempt.content.request;
    let family = name.split_once("{n}");
    let headers = request.headers.iter().filter(|(known, _)| match family {
        None => known.eq_ignore_ascii_case(name),
        Some((before, after)) => is_numbered(known, before, after),
    });
    let values = headers
        .map(|(_, value)| as_text(Cow::Borrowed(value.trim_ascii()), at))
        .collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() {
        return Err(Unverified::Missing { place: at.clone() });
    }
    Ok(values)
}

/// Whether `header` is `before`, a number from 1 to [`MAX_NUMBERED_HEADERS`] without leading zeroes, and `after`.
fn is_numbered(header: &str, before: &str, after: &str) -> bool {
    let Some(number_length) = header.len().checked_sub(before.len() + after.len()) else {
        return false;
    };
    let (Some((begin, rest)), true) = (header.split_at_checked(before.len()), number_length > 0)
    else {
        return false;
    };
    let Some((number, end)) = rest.split_at_checked(number_length) else {
        return false;
    };
    let is_number = !number.starts_with('0')
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && number
            .parse()
            .is_ok_and(|number: usize| number <= MAX_NUMBERED_HEADERS);
    is_number && begin.eq_ignore_ascii_case(before) && end.eq_ignore_ascii_case(after)
}

/// All fields of a form, sorted by name and value: names and values joined, each pair once.
fn whole_form(content: &Content<'_>) -> Vec<u8> {
    let mut fields: Vec<(&str, &str)> = content
        .form()
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    fields.sort_unstable();
    fields.dedup();
    let joined: String = fields
        .into_iter()
        .flat_map(|(name, value)| [name, value])
        .collect();
    joined.into_bytes()
}
