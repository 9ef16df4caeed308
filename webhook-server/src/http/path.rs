//! Segments of paths.

use percent_encoding::percent_decode_str;
use webhook_core::Key;

/// Decodes the key in a segment of a path. `None` if it is the key of no event: its percent-encoding
/// is broken, or it is not UTF-8, contains control characters, or is too long.
pub(super) fn key(segment: &str) -> Option<Key> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let broken = |digit: Option<u8>| !digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        if byte == b'%' && (broken(bytes.next()) || broken(bytes.next())) {
            return None;
        }
    }
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    Key::new(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_or_rejected() {
        for (segment, id) in [
            ("tx-1", Some("tx-1")),
            ("a%2Fb", Some("a/b")),
            ("a%2fb%20c", Some("a/b c")),
            ("a+b", Some("a+b")),
            ("caf%C3%A9", Some("café")),
            ("%25zz", Some("%zz")),
            ("%", None),
            ("a%4", None),
            ("a%zz", None),
            ("%%41", None),
            ("%ff", None),
            ("%C3", None),
            ("a%00b", None),
            ("a%0A", None),
            ("%C2%85", None),
        ] {
            let key = key(segment);
            assert_eq!(key.as_ref().map(Key::as_str), id, "{segment}");
        }
        assert!(key(&"x".repeat(512)).is_some());
        assert!(key(&"x".repeat(513)).is_none());
    }
}
