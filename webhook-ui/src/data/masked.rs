//! Masks the values in bodies and headers that may be secrets.

use std::borrow::Cow;

use serde_json::value::to_raw_value;

use crate::json_text::{Token, content, tokens};

/// What a masked value is replaced by.
pub(crate) const MASK: &str = "•••";

/// How deep JSON texts in strings of JSON texts are looked into.
const MAX_TEXTS_IN_TEXTS: usize = 3;

/// Whether values of this name are masked: names such as `authorization`, `cookie`, `client_secret`, `apiToken`,
/// `password` and `card_number`.
pub(crate) fn holds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = [
        "authorization",
        "cookie",
        "secret",
        "token",
        "password",
        "passwd",
        "api_key",
        "apikey",
        "api-key",
        "private_key",
        "privatekey",
    ];
    parts.iter().any(|part| name.contains(part)) || name.starts_with("card") || name == "cvc"
}

/// The text with its values masked whose names say that they are secrets, if there are any: the members of JSON
/// objects, also in JSON texts within strings, and the fields of forms. The text may be the beginning of a longer one.
/// In other texts there are no names.
pub(crate) fn masked(text: &str) -> Option<String> {
    masked_text(text, MAX_TEXTS_IN_TEXTS)
}

fn masked_text(text: &str, depth: usize) -> Option<String> {
    if text.trim_start().starts_with(['{', '[']) {
        return masked_json(text, depth);
    }
    let is_form = text.contains('=') && !text.contains(|c: char| c.is_whitespace() || c == '<');
    is_form.then(|| masked_form(text, depth)).flatten()
}

fn masked_json(text: &str, depth: usize) -> Option<String> {
    let mut output = String::with_capacity(text.len());
    let mut is_masked = false;
    // The string before the next token: the name of a member, if that is a colon.
    let mut last = None;
    let mut tokens = tokens(text).peekable();
    while let Some(token) = tokens.next() {
        let name = match token {
            Token::Colon(_) => last.take(),
            Token::Space(_) => None,
            _ => {
                last = None;
                None
            }
        };
        if let Token::String(string) = token {
            last = Some(string);
            let mut ahead = tokens.clone();
            let next = ahead.find(|token| !matches!(token, Token::Space(_)));
            let is_name = matches!(next, Some(Token::Colon(_)));
            let inner = match depth.checked_sub(1) {
                Some(depth) if !is_name => masked_text(&content(string), depth),
                _ => None,
            };
            if let Some(inner) = inner {
                is_masked = true;
                output.push_str(&quoted(&inner));
                continue;
            }
        }
        output.push_str(token.text());
        if !name.is_some_and(|name| holds_secret(&content(name))) {
            continue;
        }
        while let Some(space) = tokens.next_if(|token| matches!(token, Token::Space(_))) {
            output.push_str(space.text());
        }
        // `null` tells nothing, but that there is no secret.
        if tokens.peek().is_none_or(|it| *it == Token::Plain("null")) {
            continue;
        }
        is_masked = true;
        output.push('"');
        output.push_str(MASK);
        output.push('"');
        let mut open = 0_usize;
        while let Some(token) = tokens.next_if(|token| {
            open > 0 || !matches!(token, Token::Close(_) | Token::Comma(_) | Token::Colon(_))
        }) {
            match token {
                Token::Open(_) => open += 1,
                Token::Close(_) => open = open.saturating_sub(1),
                _ => {}
            }
            let is_whole = open == 0 && !matches!(token, Token::Space(_));
            if is_whole {
                break;
            }
        }
    }
    is_masked.then_some(output)
}

fn masked_form(text: &str, depth: usize) -> Option<String> {
    let mut is_masked = false;
    let fields: Vec<Cow<'_, str>> = text
        .split('&')
        .map(|field| {
            let Some((name, value)) = field.split_once('=') else {
                return field.into();
            };
            let decoded = form_urlencoded::parse(field.as_bytes()).next();
            let (name_text, value_text) = decoded.unwrap_or((name.into(), value.into()));
            let shown = if value.is_empty() {
                None
            } else if holds_secret(&name_text) {
                Some(MASK.to_owned())
            } else {
                let depth = depth.checked_sub(1);
                depth
                    .filter(|_| value_text.starts_with(['{', '[']))
                    .and_then(|depth| masked_json(&value_text, depth))
                    .map(|json| form_urlencoded::byte_serialize(json.as_bytes()).collect())
            };
            shown.map_or(field.into(), |shown| {
                is_masked = true;
                format!("{name}={shown}").into()
            })
        })
        .collect();
    is_masked.then(|| fields.join("&"))
}

fn quoted(text: &str) -> String {
    // A string can always be written as JSON.
    to_raw_value(text).map_or_else(|_| format!("\"{MASK}\""), |raw| raw.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_masked_and_the_rest_is_as_written() {
        for (text, shown) in [
            (
                r#"{"id": 1.50, "client_secret" : "hunter2" , "n":[{"apiToken":"x","b":1}]}"#,
                r#"{"id": 1.50, "client_secret" : "•••" , "n":[{"apiToken":"•••","b":1}]}"#,
            ),
            (
                r#"{"card":{"number":"4242","exp":[1,{"a":2}]},"amount":1500.50}"#,
                r#"{"card":"•••","amount":1500.50}"#,
            ),
            (r#"{"PASSWORD":12345}"#, r#"{"PASSWORD":"•••"}"#),
            (r#"{"pass\u0077ord":"x"}"#, r#"{"pass\u0077ord":"•••"}"#),
            (
                r#"{"token":null,"tokens":[]}"#,
                r#"{"token":null,"tokens":"•••"}"#,
            ),
            // A text that was cut.
            (r#"{"a":1,"password":"hun"#, r#"{"a":1,"password":"•••""#),
            (r#"{"a":1,"secret":{"b":["#, r#"{"a":1,"secret":"•••""#),
            // Not JSON, but alike.
            (
                r#"{"secret":hun ter2,"a":1}"#,
                r#"{"secret":"•••" ter2,"a":1}"#,
            ),
            // JSON in a string.
            (
                r#"{"Message" : "{\"password\":\"x\",\"n\":1.0}" }"#,
                r#"{"Message" : "{\"password\":\"•••\",\"n\":1.0}" }"#,
            ),
            ("a=1&access_token=abc&b=", "a=1&access_token=•••&b="),
            (
                "payload=%7B%22token%22%3A%22abc%22%7D",
                "payload=%7B%22token%22%3A%22%E2%80%A2%E2%80%A2%E2%80%A2%22%7D",
            ),
        ] {
            assert_eq!(masked(text).as_deref(), Some(shown), "{text}");
        }
        for text in [
            "",
            "{",
            r#"{"a":"password"}"#,
            r#"["secret", "token"]"#,
            r#"{"token":null}"#,
            r#"{"cookie":"#,
            "the token = x",
            "a&b",
            "token=",
        ] {
            assert_eq!(masked(text), None, "{text}");
        }
    }

    #[test]
    fn masked_json_is_json() {
        for text in [
            r#"{"a":[{"secret":[1,[2]],"b":{}}],"token":{"x":{}},"c":"token"}"#,
            r#"[{"password":"a\"b,}"},{"password":true}]"#,
        ] {
            let masked = masked(text).unwrap();
            assert!(
                serde_json::from_str::<serde_json::Value>(&masked).is_ok(),
                "{masked}"
            );
        }
    }

    #[test]
    fn names_of_secrets() {
        for name in [
            "Authorization",
            "set-cookie",
            "clientSecret",
            "id_token",
            "PASSWORD_hash",
            "card_number",
            "X-Api-Key",
        ] {
            assert!(holds_secret(name), "{name}");
        }
        for name in ["id", "discard", "key", "author"] {
            assert!(!holds_secret(name), "{name}");
        }
    }
}
