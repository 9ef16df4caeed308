//! A signed delivery, as the sender of a source would make it.

use std::time::SystemTime;

use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request;
use webhook_sources::spec::{IdRule, Place};
use webhook_sources::{Outgoing, Unsigned};

use crate::config::SourceConfig;

/// A signed delivery.
pub(crate) struct Delivery {
    pub(crate) method: String,
    /// The path with the query.
    pub(crate) target: String,
    /// All headers, but the host.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Delivery {
    /// Signs `body` for `source`, with these further headers. `id` is that of the delivery, for senders that have it in
    /// a header or sign it.
    pub(crate) fn sign(
        source: &SourceConfig,
        target: &str,
        id: &str,
        mut headers: Vec<(HeaderName, HeaderValue)>,
        body: &[u8],
    ) -> Result<Self, Unsigned> {
        let method = source.spec().methods.first().map_or("POST", |it| it);
        let has = |headers: &[(HeaderName, HeaderValue)], name: &str| {
            headers.iter().any(|(known, _)| known == name)
        };
        if !has(&headers, CONTENT_TYPE.as_str()) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static(media_type(body))));
        }
        let of_id = id_header(&source.spec().id).filter(|name| !has(&headers, name));
        if let Some(name) = of_id
            && let (Ok(name), Ok(value)) = (name.parse(), id.parse())
        {
            headers.push((name, value));
        }
        let by_name: Vec<(&str, &[u8])> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let outgoing = Outgoing {
            request: webhook_sources::Request {
                method,
                target,
                headers: &by_name,
                body,
            },
            message_id: Some(id),
        };
        let signed = source.source.sign(&outgoing, SystemTime::now())?;
        let is_signed = |name: &str| signed.headers.iter().any(|(known, _)| known == name);
        let unsigned = by_name.iter().filter(|(name, _)| !is_signed(name));
        let unsigned = unsigned.map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        let headers: Vec<_> = unsigned.collect();
        let of_scheme = signed.headers.into_iter();
        let of_scheme = of_scheme.map(|(name, value)| (name, value.into_bytes()));
        Ok(Self {
            method: method.to_owned(),
            target: signed.target,
            headers: headers.into_iter().chain(of_scheme).collect(),
            body: signed.body,
        })
    }

    /// The head of the request, without a host.
    pub(crate) fn head(&self) -> request::Builder {
        let head = Request::builder()
            .method(self.method.as_str())
            .uri(&self.target);
        self.headers.iter().fold(head, |head, (name, value)| {
            head.header(name.as_str(), value.as_slice())
        })
    }

    /// The command that sends it to `base_url` with `curl`, for a POSIX shell. `None` if a header is not text.
    pub(crate) fn curl(&self, base_url: &str) -> Option<String> {
        let mut command = format!(
            "curl --request {} {}",
            self.method,
            quoted(&format!("{base_url}{}", self.target))
        );
        for (name, value) in &self.headers {
            let value = std::str::from_utf8(value).ok()?;
            command.push_str(" \\\n  --header ");
            command.push_str(&quoted(&format!("{name}: {value}")));
        }
        let plain = std::str::from_utf8(&self.body).ok();
        let plain = plain.filter(|body| !body.contains(|c: char| c.is_control() && c != '\n'));
        match plain {
            Some(body) => {
                command.push_str(" \\\n  --data-raw ");
                command.push_str(&quoted(body));
                Some(command)
            }
            // A NUL cannot be an argument, and a terminal changes control characters that are pasted into it.
            None => Some(format!(
                "{} |\n{command} \\\n  --data-binary @-",
                printed(&self.body)
            )),
        }
    }
}

/// The command of a POSIX shell that prints these bytes, in ASCII without control characters.
fn printed(bytes: &[u8]) -> String {
    let mut command = "printf '".to_owned();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'%' => command.push_str("%%"),
            b'\\' => command.push_str(r"\\"),
            // The first one would begin an option.
            b'-' if index == 0 => command.push_str(r"\055"),
            b'\'' | ..0x20 | 0x7f.. => command.push_str(&format!(r"\{byte:03o}")),
            plain => command.push(char::from(*plain)),
        }
    }
    command.push('\'');
    command
}

/// A text in single quotation marks, which a shell takes as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A random id of a delivery.
pub(crate) fn random_id() -> String {
    let id: [u8; 12] = rand::random();
    format!("msg_{}", hex::encode(id))
}

/// The first header that an id may be in.
fn id_header(id: &IdRule) -> Option<&str> {
    match id {
        IdRule::At(Place::Header(name)) => Some(name),
        IdRule::Joined(rules) | IdRule::FirstOf(rules) => rules.iter().find_map(id_header),
        _ => None,
    }
}

/// The media type that `body` looks like.
fn media_type(body: &[u8]) -> &'static str {
    let is_form = || {
        let is_plain = |byte: &u8| byte.is_ascii_graphic();
        body.contains(&b'=') && body.iter().all(is_plain)
    };
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else if is_form() {
        "application/x-www-form-urlencoded"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_for_a_shell() {
        let delivery = Delivery {
            method: "POST".to_owned(),
            target: "/v1/webhooks/a?b='".to_owned(),
            headers: vec![("x-a".to_owned(), b"$HOME".to_vec())],
            body: b"it's `id`".to_vec(),
        };
        assert_eq!(
            delivery.curl("http://localhost:1").unwrap(),
            "curl --request POST 'http://localhost:1/v1/webhooks/a?b='\\''' \\\n  \
             --header 'x-a: $HOME' \\\n  --data-raw 'it'\\''s `id`'"
        );
    }

    #[test]
    fn bodies_that_cannot_be_arguments_are_printed() {
        let delivery = Delivery {
            method: "POST".to_owned(),
            target: "/a".to_owned(),
            headers: Vec::new(),
            body: b"-a\r\n\x00100%\\\xff'".to_vec(),
        };
        assert_eq!(
            delivery.curl("http://localhost:1").unwrap(),
            "printf '\\055a\\015\\012\\000100%%\\\\\\377\\047' |\ncurl --request POST 'http://localhost:1/a' \
             \\\n  --data-binary @-"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_prints_the_same_bytes() {
        let mut body: Vec<u8> = (0..=255).rev().collect();
        body.extend(0..=255_u8);
        for body in [&body[..], b"-n", b"--", b"%s", b"\\0101", b""] {
            let mut shell = std::process::Command::new("sh");
            let output = shell.arg("-c").arg(printed(body)).output().unwrap();
            assert_eq!(output.stdout, body);
        }
    }
}
