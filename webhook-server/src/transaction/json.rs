//! Splits the JSON object of a body into its members, whose values stay text.
//!
//! Amounts must never pass through a float, and the errors of all five members are reported together.
//! serde_json skips values without a limit on their nesting, so the nesting is checked here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use webhook_core::InvalidPayload;
use webhook_core::payload::without_byte_order_mark;

/// How deep a body may nest, including its outermost object.
pub const MAX_NESTING: usize = 128;

/// The five members, as written.
#[derive(Default)]
pub(super) struct Members<'a> {
    pub(super) transaction_id: Member<'a>,
    pub(super) source_account: Member<'a>,
    pub(super) destination_account: Member<'a>,
    pub(super) amount: Member<'a>,
    pub(super) currency: Member<'a>,
}

/// A member's value, as the JSON text of it.
#[derive(Clone, Copy, Default)]
pub(super) enum Member<'a> {
    #[default]
    Missing,
    Once(&'a str),
    Repeated,
}

/// Splits `body` into its members.
pub(super) fn members(body: &[u8]) -> Result<Members<'_>, InvalidPayload> {
    let text = without_byte_order_mark(body);
    let skipped_bytes = body.len() - text.len();
    let text = str::from_utf8(text).map_err(|error| {
        malformed(format!(
            "must be UTF-8; byte {} is not",
            skipped_bytes + error.valid_up_to() + 1
        ))
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json
        .deserialize_map(Object)
        .and_then(|members| json.end().map(|()| members))
        .map_err(|error| {
            malformed(if error.is_data() {
                error.to_string()
            } else {
                format!("must be JSON: {error}")
            })
        })?;
    Ok(members)
}

/// Decodes `raw`, a JSON value, if it is a string.
pub(super) fn string(raw: &str) -> Result<Cow<'_, str>, String> {
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        None => Err("must be a string".to_owned()),
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        // The syntax was checked with the body. Only its escapes can still be wrong.
        Some(_) => serde_json::from_str(raw)
            .map(Cow::Owned)
            .map_err(|_| "must not contain a lone surrogate".to_owned()),
    }
}

fn malformed(detail: String) -> InvalidPayload {
    InvalidPayload::Malformed { detail }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        // Names are raw, too: serde_json would reject the whole body for a lone surrogate in the name of
        // a member that is ignored.
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let (name, value) = (name.get(), value.get());
            if value.starts_with(['{', '[']) && nesting(value) >= MAX_NESTING {
                return Err(serde::de::Error::custom(format_args!(
                    "must not nest deeper than {MAX_NESTING}"
                )));
            }
            let member = match string(name).as_deref() {
                Ok("transaction_id") => &mut members.transaction_id,
                Ok("source_account") => &mut members.source_account,
                Ok("destination_account") => &mut members.destination_account,
                Ok("amount") => &mut members.amount,
                Ok("currency") => &mut members.currency,
                _ => continue,
            };
            *member = match member {
                Member::Missing => Member::Once(value),
                Member::Once(_) | Member::Repeated => Member::Repeated,
            };
        }
        Ok(members)
    }
}

/// How deep `value`, which is valid JSON, nests.
fn nesting(value: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth -= 1,
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}
