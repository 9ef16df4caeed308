//! What of a refused request may be kept: no secret, and of a signature only its beginning.

use std::borrow::Cow;
use std::fmt::Write as _;

use hyper::HeaderMap;
use webhook_sources::spec::{Place, Scheme, SourceSpec};

/// The most characters of a value that is shown.
const MAX_VALUE_CHARS: usize = 200;

/// How much of a signature is shown: enough to see its form, and the time at its beginning.
const SIGNATURE_CHARS: usize = 12;

/// A shorter signature is not shown at all.
const MIN_SIGNATURE_CHARS: usize = 24;

/// The most bytes of all headers of a request that are kept.
const MAX_HEADERS_BYTES: usize = 4 * 1024;

/// Headers whose names contain one of these may hold a secret.
const SECRET_PARTS: [&str; 9] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "key",
    "pass",
    "session",
    "credential",
    "assertion",
];

/// Headers whose names contain one of these hold a signature.
const SIGNATURE_PARTS: [&str; 4] = ["signature", "hmac", "sign", "digest"];

/// Masks what the requests of one source contain.
#[derive(Debug, Default)]
pub(crate) struct Masking {
    /// The headers that hold tokens, in lower case.
    tokens: Vec<String>,
    /// The headers that hold signatures.
    signatures: Vec<String>,
}

impl Masking {
    pub(super) fn of(spec: &SourceSpec) -> Self {
        let mut masking = Self::default();
        masking.add(&spec.scheme);
        masking
    }

    fn add(&mut self, scheme: &Scheme) {
        let header = |place: &Place| match place {
            Place::Header(name) => Some(name.clone()),
            _ => None,
        };
        match scheme {
            Scheme::Token(token) => self.tokens.extend(header(&token.at)),
            Scheme::Jwt(jwt) => self.tokens.extend(header(&jwt.at)),
            Scheme::Hmac(hmac) => self.signatures.extend(header(&hmac.signature.at)),
            Scheme::PublicKey(key) => self.signatures.extend(header(&key.signature.at)),
            Scheme::Digest(digest) => self.signatures.extend(header(&digest.signature.at)),
            Scheme::FetchedCertificate(certificate) => {
                self.signatures.extend(header(&certificate.signature.at));
            }
            Scheme::AnyOf(schemes) | Scheme::AllOf(schemes) => {
                schemes.iter().for_each(|scheme| self.add(scheme));
            }
            _ => {}
        }
    }

    /// The headers, one `name: value` a line, as far as they may be kept.
    pub(super) fn headers(&self, headers: &HeaderMap) -> String {
        let mut lines = String::new();
        for (name, value) in headers {
            let value = self.value(name.as_str(), value.as_bytes());
            if lines.len() + name.as_str().len() + value.len() > MAX_HEADERS_BYTES {
                break;
            }
            // Writing to a string never fails.
            let _ = writeln!(lines, "{name}: {value}");
        }
        lines
    }

    fn value(&self, name: &str, value: &[u8]) -> String {
        let is_one = |names: &[String]| names.iter().any(|known| known == name);
        let has_part = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
        let text = String::from_utf8_lossy(value);
        if is_one(&self.tokens) {
            return length(value);
        }
        if is_one(&self.signatures) || has_part(&SIGNATURE_PARTS) {
            if text.chars().nth(MIN_SIGNATURE_CHARS).is_none() {
                return length(value);
            }
            return format!("{} {}", cut(&text, SIGNATURE_CHARS), length(value));
        }
        if has_part(&SECRET_PARTS) {
            return length(value);
        }
        cut(&text, MAX_VALUE_CHARS).into_owned()
    }

    /// The names of the parameters of a query, with the lengths of their values, which may be secrets.
    pub(super) fn query(&self, query: &str) -> String {
        let mut shown = String::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let separator = if shown.is_empty() { "" } else { "&" };
            let (name, value) = (cut(&name, MAX_VALUE_CHARS), length(value.as_bytes()));
            if shown.len() + name.len() > MAX_HEADERS_BYTES / 4 {
                break;
            }
            let _ = write!(shown, "{separator}{name}={value}");
        }
        shown
    }
}

fn length(value: &[u8]) -> String {
    format!("({} bytes)", value.len())
}

/// At most `chars` characters of `text`, without characters that could begin another line.
fn cut(text: &str, chars: usize) -> Cow<'_, str> {
    let text = match text.char_indices().nth(chars) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    };
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_kept_and_signatures_are_shortened() {
        let spec: SourceSpec = toml::from_str(
            r#"
            [[scheme.any_of]]
            token = { at = "header:x-mine" }
            [[scheme.any_of]]
            hmac = { signed = "{body}", signature = { at = "header:x-seal" } }
            [[scheme.any_of]]
            jwt = { at = "header:x-verification", algorithms = ["es256"], keys = { given = "public_key" } }
            "#,
        )
        .unwrap();
        let masking = Masking::of(&spec);
        let long = "0123456789".repeat(5);
        for (name, value, shown) in [
            ("x-mine", "hunter2-hunter2", "(15 bytes)"),
            ("x-verification", "e30.e30.e30", "(11 bytes)"),
            ("authorization", "Bearer abc", "(10 bytes)"),
            ("cookie", "a=b", "(3 bytes)"),
            ("x-gitlab-token", "abc", "(3 bytes)"),
            ("x-api-key", "abc", "(3 bytes)"),
            ("x-seal", long.as_str(), "012345678901… (50 bytes)"),
            (
                "stripe-signature",
                long.as_str(),
                "012345678901… (50 bytes)",
            ),
            ("x-signature", "hunter2", "(7 bytes)"),
            ("x-github-event", "push", "push"),
        ] {
            assert_eq!(masking.value(name, value.as_bytes()), shown, "{name}");
        }
        let query = masking.query("hub.mode=subscribe&hub.verify_token=hunter2");
        assert_eq!(query, "hub.mode=(9 bytes)&hub.verify_token=(7 bytes)");
    }

    #[test]
    fn long_and_strange_headers_are_bounded() {
        let masking = Masking::default();
        let mut headers = HeaderMap::new();
        for number in 0..90 {
            let name = hyper::header::HeaderName::try_from(format!("x-{number}")).unwrap();
            headers.insert(name, "\u{e9}".repeat(1_000).parse().unwrap());
        }
        let lines = masking.headers(&headers);
        assert!(lines.len() <= MAX_HEADERS_BYTES + 100 && lines.len() > 1_000);
        assert!(lines.lines().all(|line| line.ends_with('…')));
        assert_eq!(masking.value("x-a", b"a\tb\xff"), "a\u{fffd}b\u{fffd}");
        assert!(masking.query(&"a=b&".repeat(5_000)).len() < 2 * MAX_HEADERS_BYTES);
    }
}
