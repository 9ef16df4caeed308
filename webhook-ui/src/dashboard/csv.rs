//! Comma-separated values (RFC 4180), which spreadsheets may open.

/// Adds a line with these fields.
///
/// A field that a spreadsheet would take for a formula gets an apostrophe before it, which makes it a text.
pub(super) fn write_line<'a>(output: &mut String, fields: impl IntoIterator<Item = &'a str>) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            output.push(',');
        }
        output.push('"');
        if field.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
            output.push('\'');
        }
        for c in field.chars() {
            match c {
                '"' => output.push_str("\"\""),
                // Some programs end at it.
                '\0' => output.push('\u{fffd}'),
                c => output.push(c),
            }
        }
        output.push('"');
    }
    output.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_no_formulas() {
        for (field, written) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("a,b\r\nc", "\"a,b\r\nc\""),
            (r#"say "no""#, r#""say ""no""""#),
            ("=1+1", r#""'=1+1""#),
            ("@SUM(A1)", r#""'@SUM(A1)""#),
            ("+1", r#""'+1""#),
            ("-1", r#""'-1""#),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("a=1", r#""a=1""#),
        ] {
            let mut output = String::new();
            write_line(&mut output, [field, "x"]);
            assert_eq!(output, format!("{written},\"x\"\r\n"));
        }
    }
}
