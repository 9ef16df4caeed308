//! Escapes text from outside, so that it cannot control a terminal or hide other text.

use std::borrow::Cow;

/// Characters that the standard library prints although they look like nothing: fillers of Hangul
/// syllables, the empty Braille pattern, and an empty musical note.
const BLANK: [char; 6] = [
    '\u{115f}',
    '\u{1160}',
    '\u{2800}',
    '\u{3164}',
    '\u{ffa0}',
    '\u{1d159}',
];

/// Whether `c` is an ordinary visible character: assigned by Unicode, and no control or format character,
/// line separator or bidirectional override.
pub(crate) fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        !c.is_ascii_control()
    } else {
        // The standard library knows what can be printed.
        c.escape_debug().len() == 1 && !BLANK.contains(&c)
    }
}

/// `text` with all characters that are not plain escaped, as `\n`, `\r`, `\t` or `\u{202e}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One or more of each class of characters that must be escaped.
    const HIDDEN: &str = "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{a0}\u{ad}\u{34f}\u{600}\u{61c}\u{6dd}\
        \u{70f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{2000}\u{200b}\u{200c}\u{200d}\u{200e}\
        \u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{202f}\u{205f}\u{2060}\
        \u{2064}\u{2065}\u{2066}\u{2069}\u{206a}\u{206f}\u{2800}\u{3000}\u{3164}\u{e000}\u{fe00}\
        \u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffb}\u{ffff}\u{110bd}\u{1bca0}\u{1d159}\u{1d173}\
        \u{e0001}\u{e0041}\u{e007f}\u{e0100}\u{f0000}\u{10ffff}";

    #[test]
    fn only_visible_characters_are_plain() {
        for plain in "aZ09 \"\\'=~\u{e9}\u{4e2d}\u{1f600}\u{5d0}\u{628}".chars() {
            assert!(is_plain(plain), "{plain:?}");
        }
        for other in HIDDEN.chars() {
            assert!(!is_plain(other), "{other:?}");
        }
    }

    #[test]
    fn hidden_characters_are_escaped_and_others_stay() {
        assert_eq!(escaped("caf\u{e9} \\ \"x\""), "caf\u{e9} \\ \"x\"");
        assert_eq!(escaped("a\u{202e}b\n"), "a\\u{202e}b\\n");
        let escaped = escaped(HIDDEN);
        assert!(escaped.chars().all(|c| c.is_ascii_graphic()), "{escaped}");
    }
}
