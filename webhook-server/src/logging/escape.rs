//! What a log can hold as it is.

/// Whether `c` does nothing but show itself: it is no control character, none that ends lines or
/// turns text around, and not invisible.
pub(super) fn is_plain(c: char) -> bool {
    if c.is_ascii() {
        !c.is_ascii_control()
    } else {
        // The standard library knows what can be printed.
        c.escape_debug().len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_shows_itself_is_plain() {
        for plain in "aZ09 \"\\'=~\u{e9}\u{4e2d}\u{1f600}".chars() {
            assert!(is_plain(plain), "{plain:?}");
        }
        for other in "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{200b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{e0041}".chars() {
            assert!(!is_plain(other), "{other:?}");
        }
    }
}
