//! Ids as people see and type them.

use std::borrow::Cow;

use webhook_core::{InvalidName, Key};

use crate::logging::escaped;

/// What begins an escaped character.
const ESCAPE: &str = "\\u{";

/// A backslash that stands for itself although `u{` follows it.
const BACKSLASH: &str = "\\u{5c}";

/// An id as it is shown: characters that steer a terminal or cannot be seen are escaped, so that
/// `\u{202e}` stands for U+202E. [`typed_id`] reads it back.
pub(crate) fn shown_id(id: &str) -> String {
    if !id.contains(ESCAPE) {
        return escaped(id).into_owned();
    }
    let parts: Vec<Cow<'_, str>> = id.split(ESCAPE).map(escaped).collect();
    parts.join(&format!("{BACKSLASH}u{{"))
}

/// The key of an id that was typed: as it is, or as [`shown_id`] shows it.
///
/// # Errors
///
/// When it is the id of no transaction, since none can have it.
pub(crate) fn typed_id(text: &str) -> Result<Key, InvalidName> {
    let mut id = String::with_capacity(text.len());
    let mut rest = text.trim();
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
            let shown = shown_id(id);
            assert_eq!(typed_id(&shown).unwrap().as_str(), id, "{shown}");
            assert!(!shown.contains('\u{202e}'));
        }
        assert_eq!(shown_id("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(typed_id(" a\u{202e}b ").unwrap().as_str(), "a\u{202e}b");
        assert!(typed_id("\\u{0}").is_err());
        assert!(typed_id("").is_err());
    }
}
