//! JSON as its sender wrote it: the tokens of a text, with numbers and the order of members as they are.

/// A part of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// `{` or `[`.
    Open(&'a str),
    /// `}` or `]`.
    Close(&'a str),
    /// `:`.
    Colon(&'a str),
    /// `,`.
    Comma(&'a str),
    /// A string with its quotation marks. At the end of a text that was cut, the last one may be missing.
    String(&'a str),
    /// A number, `true`, `false` or `null`; in a text that is not JSON, anything else.
    Plain(&'a str),
    /// White space.
    Space(&'a str),
}

impl<'a> Token<'a> {
    /// The text of the token.
    pub(crate) const fn text(self) -> &'a str {
        match self {
            Self::Open(text)
            | Self::Close(text)
            | Self::Colon(text)
            | Self::Comma(text)
            | Self::String(text)
            | Self::Plain(text)
            | Self::Space(text) => text,
        }
    }
}

/// The tokens of `text`. Their texts together are `text`, whatever it is.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> + Clone {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = *rest.as_bytes().first()?;
        let length = match first {
            b'"' => string_length(rest),
            b'{' | b'[' | b'}' | b']' | b':' | b',' => 1,
            _ if is_space(first) => length_while(rest, is_space),
            _ => length_while(rest, |byte| !is_space(byte) && !b"{}[]:,\"".contains(&byte)),
        };
        // Tokens end before an ASCII character or at the end, so that they are never cut within a character.
        let (token, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(match first {
            b'"' => Token::String(token),
            b'{' | b'[' => Token::Open(token),
            b'}' | b']' => Token::Close(token),
            b':' => Token::Colon(token),
            b',' => Token::Comma(token),
            _ if is_space(first) => Token::Space(token),
            _ => Token::Plain(token),
        })
    })
}

/// The content of a string token.
pub(crate) fn content(token: &str) -> String {
    let inner = token.strip_prefix('"').unwrap_or(token);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    if !inner.contains('\\') {
        return inner.to_owned();
    }
    serde_json::from_str(token).unwrap_or_else(|_| inner.to_owned())
}

fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn length_while(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes()
        .position(|byte| !is_part(byte))
        .unwrap_or(text.len())
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// How deep a [`Value`] may be nested. Bodies that are nested deeper are not shown as JSON.
const MAX_DEPTH: usize = 200;

/// How many values a [`Value`] may have.
const MAX_VALUES: usize = 100_000;

/// A JSON value, with its numbers and strings as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number, `true`, `false` or `null`.
    Plain(&'a str),
    /// A string with its quotation marks.
    String(&'a str),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object: the name of each member with its quotation marks, and its value.
    Object(Vec<(&'a str, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Parses a text that is known to be JSON. `None` if it is not, or if it is too large or nested too deep to be shown
    /// value by value.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parser = Parser {
            tokens: tokens(text).filter(|token| !matches!(token, Token::Space(_))),
            left: MAX_VALUES,
        };
        let first = parser.tokens.next()?;
        let value = parser.value(first, 0)?;
        parser.tokens.next().is_none().then_some(value)
    }
}

struct Parser<I> {
    tokens: I,
    left: usize,
}

impl<'a, I: Iterator<Item = Token<'a>>> Parser<I> {
    fn value(&mut self, first: Token<'a>, depth: usize) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        match first {
            Token::Plain(text) => Some(Value::Plain(text)),
            Token::String(text) => Some(Value::String(text)),
            Token::Open(_) if depth >= MAX_DEPTH => None,
            Token::Open("[") => self.array(depth).map(Value::Array),
            Token::Open(_) => self.object(depth).map(Value::Object),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Value<'a>>> {
        let mut items = Vec::new();
        let mut token = self.tokens.next()?;
        if token == Token::Close("]") {
            return Some(items);
        }
        loop {
            items.push(self.value(token, depth + 1)?);
            match self.tokens.next()? {
                Token::Comma(_) => token = self.tokens.next()?,
                Token::Close("]") => return Some(items),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Vec<(&'a str, Value<'a>)>> {
        let mut members = Vec::new();
        let mut token = self.tokens.next()?;
        if token == Token::Close("}") {
            return Some(members);
        }
        loop {
            let (Token::String(name), Token::Colon(_)) = (token, self.tokens.next()?) else {
                return None;
            };
            let first = self.tokens.next()?;
            members.push((name, self.value(first, depth + 1)?));
            match self.tokens.next()? {
                Token::Comma(_) => token = self.tokens.next()?,
                Token::Close("}") => return Some(members),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        for text in [
            "",
            r#" {"a" : [1.50, -2e+400, "x\"]", {}], "é":null } "#,
            r#"{"a":"cut \"#,
            "caf\u{e9} 🎉{\"",
            "\u{a0}\u{2028}",
            "not json, \"at\" all]",
        ] {
            let joined: String = tokens(text).map(Token::text).collect();
            assert_eq!(joined, text);
        }
    }

    #[test]
    fn values_are_as_written() {
        let text = r#"{"amount": 1500.50, "big":12345678901234567890123, "amount":[ -0.0,"\u00e9", true ]}"#;
        let value = Value::parse(text).unwrap();
        let expected = Value::Object(vec![
            (r#""amount""#, Value::Plain("1500.50")),
            (r#""big""#, Value::Plain("12345678901234567890123")),
            (
                r#""amount""#,
                Value::Array(vec![
                    Value::Plain("-0.0"),
                    Value::String(r#""\u00e9""#),
                    Value::Plain("true"),
                ]),
            ),
        ]);
        assert_eq!(value, expected);
        assert_eq!(Value::parse("[ ]"), Some(Value::Array(Vec::new())));
        assert_eq!(Value::parse("{}"), Some(Value::Object(Vec::new())));
        for text in [
            "", "{", "[1,", "[1,]", "{\"a\"}", "{\"a\":}", "1 2", "]", "[}", "{]",
        ] {
            assert_eq!(Value::parse(text), None, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(Value::parse(&deep), None);
        let wide = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert_eq!(Value::parse(&wide), None);
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(content(r#""caf\u00e9 \"x\"""#), "café \"x\"");
        assert_eq!(content(r#""plain""#), "plain");
        // A lone surrogate, and a string that was cut.
        assert_eq!(content(r#""\ud800""#), r"\ud800");
        assert_eq!(content(r#""cut"#), "cut");
    }
}
