//! Cleans the text of files and variables.
//!
//! Editors leave byte-order marks, UTF-16 and CRLF. Secret stores leave quotation marks, trailing line
//! breaks, and line breaks written as `\n`. All text from outside is cleaned here, so that files and
//! variables are read in the same way. No error quotes the text.

use zeroize::Zeroizing;

/// Why bytes are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The bytes are neither UTF-8 nor marked UTF-16.
    #[error("it is not UTF-8 text; save it as UTF-8 (and keys and certificates as PEM)")]
    NotUtf8,
    /// The byte-order mark announces UTF-16, and the rest is not UTF-16.
    #[error("it has the byte-order mark of UTF-16 but is not valid UTF-16; save it as UTF-8")]
    DamagedUtf16,
    /// The text contains NUL characters, as UTF-16 without a byte-order mark and UTF-32 do.
    #[error("it contains NUL bytes; save it as UTF-8 text")]
    Nul,
}

/// Decodes UTF-8, or UTF-16 with a byte-order mark. The text has no byte-order mark, and its lines end
/// with `\n`.
pub(super) fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, TextError> {
    let text = match bytes {
        [0xFF, 0xFE, 0, 0, ..] => return Err(TextError::Nul),
        [0xFF, 0xFE, rest @ ..] => from_utf16(rest, u16::from_le_bytes)?,
        [0xFE, 0xFF, rest @ ..] => from_utf16(rest, u16::from_be_bytes)?,
        _ => {
            let text = std::str::from_utf8(bytes).map_err(|_| TextError::NotUtf8)?;
            Zeroizing::new(text.to_owned())
        }
    };
    let text = text.trim_start_matches('\u{feff}').trim_end_matches('\0');
    if text.contains('\0') {
        return Err(TextError::Nul);
    }
    Ok(with_line_feeds(text))
}

fn from_utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Zeroizing<String>, TextError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(TextError::DamagedUtf16);
    }
    // Large enough that the text never grows, which would leave a copy of the secret in memory.
    let mut text = Zeroizing::new(String::with_capacity(pairs.len() * 3));
    for c in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        text.push(c.map_err(|_| TextError::DamagedUtf16)?);
    }
    Ok(text)
}

/// `text` with LF instead of each CRLF and CR.
fn with_line_feeds(text: &str) -> Zeroizing<String> {
    let mut normal = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\r' {
            chars.next_if_eq(&'\n');
            normal.push('\n');
        } else {
            normal.push(c);
        }
    }
    normal
}

/// Whether `c` is white space or invisible.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || is_invisible(c)
}

/// Whether `c` is a control character, or a character without width, which text copied from a web page
/// may contain.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// Whether a secret must not contain `c`, because nobody could see it.
pub(super) fn is_unseen(c: char) -> bool {
    is_invisible(c) || (c.is_whitespace() && c != ' ')
}

/// `text` without white space and invisible characters at both ends, such as byte-order marks and
/// no-break spaces.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// The opening quotation marks, and the closing one of each.
const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’')];

/// The text inside quotation marks that enclose all of `text`. `None` if there are none.
pub(super) fn unquoted(text: &str) -> Option<&str> {
    QUOTES.into_iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        Some(inner)
    })
}

/// Whether `text` begins or ends with a double quotation mark, or begins with a single one, that is not
/// closed.
pub(super) fn has_lone_quote(text: &str) -> bool {
    let at_start = text.starts_with(['"', '\'', '“', '‘']);
    let at_end = text.ends_with(['"', '“', '”']);
    unquoted(text).is_none() && (at_start || at_end)
}

/// The value of a variable with a single value: without the white space, quotation marks and line break
/// that env files and secret stores leave around it.
pub(crate) fn value(text: &str) -> &str {
    let text = without_written_break(trim(text));
    unquoted(text).map_or(text, |inner| without_written_break(trim(inner)))
}

/// `text` without a line break at its end that a secret store wrote as the two characters `\\n`.
fn without_written_break(text: &str) -> &str {
    let text = text.strip_suffix("\\n").unwrap_or(text);
    trim(text.strip_suffix("\\r").unwrap_or(text))
}

/// The lines of `text` with their numbers, from 1: trimmed, and without empty lines and comments, which
/// begin with `#` and a space.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .split(['\n', '\r'])
        .map(trim)
        .map(without_written_break);
    lines
        .zip(1..)
        .map(|(line, number)| (number, line))
        .filter(|(_, line)| !line.is_empty() && *line != "#" && !line.starts_with("# "))
}

/// The value in `line`, if it assigns to `name` in the syntax of env files.
pub(super) fn assigned<'a>(name: &str, line: &'a str) -> Option<&'a str> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?;
    Some(trim(value))
}

/// Whether `line` assigns to some variable in the syntax of env files.
pub(super) fn is_assignment(line: &str) -> bool {
    let is_exported = line.starts_with("export ");
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let Some((name, value)) = line.split_once('=') else {
        return false;
    };
    let is_name = name
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && name.starts_with(|c: char| c.is_ascii_uppercase());
    is_name && !value.is_empty() && (is_exported || name.trim_matches('_').contains('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<String, TextError> {
        decode(bytes).map(|text| text.to_string())
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        let units = ['\u{feff}'].into_iter().chain(text.chars());
        let text: String = units.collect();
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn every_encoding_that_editors_write_is_decoded() {
        for text in ["", "secret", "zwei\nZeilen – ✓", "𝄞"] {
            let marked = format!("\u{feff}{text}");
            let crlf = text.replace('\n', "\r\n");
            let cr = text.replace('\n', "\r");
            for bytes in [
                text.as_bytes().to_vec(),
                marked.into_bytes(),
                crlf.into_bytes(),
                cr.into_bytes(),
                format!("{text}\0").into_bytes(),
                utf16(text, u16::to_le_bytes),
                utf16(text, u16::to_be_bytes),
            ] {
                assert_eq!(decoded(&bytes).as_deref(), Ok(text), "{bytes:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        for (bytes, error) in [
            (&b"caf\xe9"[..], TextError::NotUtf8),
            (b"\x30\x82\x04\xbd", TextError::NotUtf8),
            (b"s\0e\0c\0r\0e\0t\0", TextError::Nul),
            (b"\xff\xfe\0\0s\0\0\0", TextError::Nul),
            (b"\xff\xfes\0e", TextError::DamagedUtf16),
            (b"\xff\xfe\0\xd8", TextError::DamagedUtf16),
        ] {
            assert_eq!(decoded(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn values_lose_what_was_left_around_them() {
        for text in [
            "info",
            " info\n",
            "info\r",
            "\"info\"",
            "'info'\n",
            "\u{feff}info",
            "\u{a0}info\u{200b}",
            "“info”",
            "\" info \"",
        ] {
            assert_eq!(value(text), "info", "{text:?}");
        }
        assert_eq!(value("It's"), "It's");
        assert_eq!(value("\"a"), "\"a");
        assert_eq!(value(" \n\u{feff}"), "");
        assert_eq!(value("\""), "\"");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let text = "# comment\n\n one \r\n#\n#two\n\u{a0}\nthree";
        let found: Vec<_> = lines(text).collect();
        // The CR and the LF are two breaks here, since `decode` has not seen the text.
        assert_eq!(found, [(3, "one"), (6, "#two"), (8, "three")]);
    }

    #[test]
    fn assignments_are_distinguished_from_secrets() {
        assert_eq!(assigned("A_B", "A_B=x"), Some("x"));
        assert_eq!(assigned("A_B", "export A_B = x"), Some("x"));
        assert_eq!(assigned("A_B", "A_BC=x"), None);
        for line in ["A_B=x", "export A=x", "STRIPE_SECRET=whsec_x"] {
            assert!(is_assignment(line), "{line}");
        }
        for line in [
            "abc=",
            "QUJD=",
            "A_B=",
            "A=B",
            "a_b=c",
            "It's = a secret",
            "=x",
        ] {
            assert!(!is_assignment(line), "{line}");
        }
    }
}
