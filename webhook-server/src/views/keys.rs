//! Ids, keys and kinds as commands print and parse them.

use std::borrow::Cow;

use webhook_core::{InvalidName, Key, Kind};

use super::transaction_kind;
use crate::logging::escaped;

/// The form of a kind, for error messages.
pub(crate) const EXPECTED_KIND: &str = "1 to 64 characters of a-z, 0-9, '.', '_' and '-'";

/// The beginning of an escaped character.
const ESCAPE: &str = "\\u{";

/// A backslash before `u{` that does not begin an escaped character.
const BACKSLASH: &str = "\\u{5c}";

/// Escapes control and invisible characters in a key, U+202E as `\u{202e}` for example. [`parse_key`]
/// reverses it.
pub(crate) fn escape_key(id: &str) -> String {
    if !id.contains(ESCAPE) {
        return escaped(id).into_owned();
    }
    let parts: Vec<Cow<'_, str>> = id.split(ESCAPE).map(escaped).collect();
    parts.join(&format!("{BACKSLASH}u{{"))
}

/// Parses a kind.
///
/// # Errors
///
/// The form that is expected.
pub(crate) fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::new(text.to_owned()).map_err(|_| format!("expected {EXPECTED_KIND}"))
}

/// Parses the key of an event of `kind`, as it is or as [`escape_key`] prints it. White space around the id
/// of a transaction is ignored.
///
/// # Errors
///
/// When the text cannot be a key.
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
    fn printed_ids_are_parsed_back() {
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
