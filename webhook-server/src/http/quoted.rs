//! Quoted strings in header values (RFC 9110, section 5.6.4).

use std::borrow::Cow;

/// Splits `text` at each `separator` that is not in a quoted string.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        let is_quote = c == '"' && !escaped;
        escaped = quoted && !escaped && c == '\\';
        quoted ^= is_quote;
        c == separator && !quoted
    })
    .collect()
}

/// Decodes the quoted string `text`; text without quotation marks is returned unchanged. `None` if the
/// quotation marks do not enclose the whole text.
pub(super) fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = text.strip_prefix('"') else {
        return (!text.contains('"')).then_some(Cow::Borrowed(text));
    };
    let inner = inner.strip_suffix('"')?;
    if !inner.contains(['"', '\\']) {
        return Some(Cow::Borrowed(inner));
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => plain.push(chars.next()?),
            c => plain.push(c),
        }
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_quoted_strings_do_not_split() {
        for (text, parts) in [
            ("", &[""][..]),
            ("a;b", &["a", "b"]),
            (r#"a="b;c";d"#, &[r#"a="b;c""#, "d"]),
            (r#"a="b\";c";d"#, &[r#"a="b\";c""#, "d"]),
            (r#"a="b\\";d"#, &[r#"a="b\\""#, "d"]),
            (r#"a\";b"#, &[r#"a\";b"#]),
            (r#"a="b;c"#, &[r#"a="b;c"#]),
        ] {
            assert_eq!(split(text, ';'), parts, "{text}");
        }
    }

    #[test]
    fn quoted_strings_are_read() {
        for (text, plain) in [
            ("", Some("")),
            ("a", Some("a")),
            (r"a\b", Some(r"a\b")),
            (r#""""#, Some("")),
            (r#""a b""#, Some("a b")),
            (r#""a\"b\\""#, Some(r#"a"b\"#)),
            (r#""\u\t\f""#, Some("utf")),
            (r#"""#, None),
            (r#""a"#, None),
            (r#"a""#, None),
            (r#"a"b"#, None),
            (r#""a"b""#, None),
            (r#""a\""#, None),
            (r#""a" "#, None),
        ] {
            assert_eq!(unquoted(text).as_deref(), plain, "{text}");
        }
    }
}
