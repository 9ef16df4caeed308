//! Ids, keys and kinds as people see and type them.

use std::borrow::Cow;

use webhook_core::{InvalidName, Key, Kind};

use super::transaction_kind;
use crate::logging::escaped;

/// What a kind must be.
pub(crate) const EXPECTED_KIND: &str = "1 to 64 characters of a-z, 0-9, '.', '_' and '-'";

/// What begins an escaped character.
const ESCAPE: &str = "\\u{";

/// A backslash that stands for itself although `u{` follows it.
const BACKSLASH: &str = "\\u{5c}";

/// An id as it is shown: characters that steer a terminal or cannot be seen are escaped, so that
/// `\u{202e}` stands for U+202E. [`parse_key`] reads it back.
pub(crate) fn escape_key(id: &str) -> String {
    if !id.contains(ESCAPE) {
        return escaped(id).into_owned();
    }
    let parts: Vec<Cow<'_, str>> = id.split(ESCAPE).map(escaped).collect();
    parts.join(&format!("{BACKSLASH}u{{"))
}

/// A kind that was typed.
///
/// # Errors
///
/// What would be right.
pub(crate) fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::new(text.to_owned()).map_err(|_| format!("expected {EXPECTED_KIND}"))
}

/// The key of an event of `kind` that was typed: as it is, or as [`escape_key`] shows it. Around the id of
/// a transaction, which neither begins nor ends with white space, white space is ignored.
///
/// # Errors
///
/// When it is the key of no event, since none can have it.
pub(crate) fn parse_key(kind: &Kind, text: &str) -> Result<Key, InvalidName> {
    let mut id = String::with_capacity(text.len());
    let mut rest = if *kind == transaction_kind() {
        text.trim()
    } else {
        text
    };
    while let Some(at) = rest.find(ESCAPE) {
        id.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = rest.find('}').map(|end| rest.split_at(end + 1));
        let decoded = escape.and_then(|(escape, after)| {
            let digits = &escape[ESCAPE.len()..escape.len() - 1];
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            Some((c, after))
        });
        if let Some((c, after)) = decoded {
            id.push(c);
            rest = after;
        } else {
            id.push_str(ESCAPE);
            rest = &rest[ESCAPE.len()..];
        }
    }
    id.push_str(rest);
    Key::new(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(id: &str) -> Result<Key, InvalidName> {
        parse_key(&transaction_kind(), id)
    }

    #[test]
    fn ids_are_read_back_as_they_are_shown() {
        for id in [
            "tx-1",
            "caf\u{e9} \\ x",
            "\u{202e}abc\u{2066}",
            "\\u{202e}",
            "\\u{5c}u{202e}",
            "\\\\u{41}\u{e0041}",
            "\\u{",
            "\\u{zz}",
            "a\u{3164}b",
        ] {
            let shown = escape_key(id);
            assert_eq!(typed(&shown).unwrap().as_str(), id, "{shown}");
            assert!(!shown.contains('\u{202e}'));
        }
        assert_eq!(escape_key("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(typed(" a\u{202e}b ").unwrap().as_str(), "a\u{202e}b");
        assert!(typed("\\u{0}").is_err());
        assert!(typed("").is_err());
    }

    #[test]
    fn keys_of_other_kinds_keep_their_white_space() {
        let key = parse_key(&Kind::from_static("stripe"), " a\\u{202e} ");
        assert_eq!(key.unwrap().as_str(), " a\u{202e} ");
    }

    #[test]
    fn kinds_are_checked() {
        let longest = "x".repeat(webhook_core::MAX_KIND_BYTES);
        for kind in ["stripe", "github.v2_x-y", "0", &longest] {
            assert_eq!(parse_kind(kind).unwrap().as_str(), kind);
        }
        for wrong in ["", "Stripe", "a b", "caf\u{e9}", &format!("{longest}x")] {
            assert_eq!(parse_kind(wrong), Err(format!("expected {EXPECTED_KIND}")));
        }
        let limit = format!("1 to {} ", webhook_core::MAX_KIND_BYTES);
        assert!(EXPECTED_KIND.starts_with(&limit));
    }
}
