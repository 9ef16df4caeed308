//! Keys of senders that have to be fetched.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use zeroize::Zeroizing;

/// The keys of senders that publish them at a URL, as far as they are there.
///
/// This crate does no I/O. Whoever implements this fetches keys ahead, keeps them, and says what there is. A request
/// whose key is not there is refused with [`Unverified::KeyNotFetched`](crate::Unverified::KeyNotFetched), which names
/// what to fetch; the request can be verified again as soon as it is there.
pub trait Keys: fmt::Debug + Send + Sync {
    /// The document that `request` was answered with, if there is one that is still valid: JSON, or certificates in PEM.
    /// This is called for every request, also for forged ones: it must neither wait nor cost much.
    fn find(&self, request: &KeyRequest) -> Option<Arc<[u8]>>;

    /// The certificates, in DER, of the authorities that certificates may be issued by. They are asked for once, when a
    /// [`Verification`](crate::Verification) is made.
    fn authorities(&self) -> Vec<Vec<u8>>;
}

/// What to fetch to have a key. Only this crate makes it, and only for URLs that the scheme allows: `https`, no user.
///
/// Do not follow redirects, which may lead elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRequest {
    url: String,
    body: Option<Arc<Zeroizing<String>>>,
}

impl KeyRequest {
    pub(crate) fn get(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            body: None,
        }
    }

    pub(crate) fn post(url: &str, body: Zeroizing<String>) -> Self {
        Self {
            url: url.to_owned(),
            body: Some(Arc::new(body)),
        }
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The host of the URL, with a port if the URL has one.
    pub fn host(&self) -> &str {
        split_url(&self.url).map_or("", |(host, _)| host)
    }

    /// The JSON document to `POST`, which may hold secrets; none for a `GET`.
    pub fn body(&self) -> Option<&str> {
        self.body.as_deref().map(|body| body.as_str())
    }
}

impl Hash for KeyRequest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.url.hash(state);
        self.body().hash(state);
    }
}

/// Shows no secrets.
impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest")
            .field("url", &self.url)
            .field("has_body", &self.body.is_some())
            .finish()
    }
}

/// The longest URL, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// The host, with its port if it has one, and the path of a URL that begins with `https://`; none if the URL has
/// anything else, such as a user or a query, or anything that programs read in different ways.
pub(crate) fn split_url(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_at(rest.find('/')?);
    let is_in_host = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-.".contains(&it);
    let is_in_path = |it: u8| it.is_ascii_alphanumeric() || b"/-._~".contains(&it);
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    let is_clean = url.len() <= MAX_URL_BYTES
        && name.bytes().all(is_in_host)
        && !name.split('.').any(str::is_empty)
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && port.bytes().all(|it| it.is_ascii_digit())
        && path.bytes().all(is_in_path)
        && !path.contains("//")
        && !path
            .split('/')
            .any(|segment| [".", ".."].contains(&segment));
    is_clean.then_some((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_urls_are_split() {
        for (url, expected) in [
            ("https://a.example/", Some(("a.example", "/"))),
            (
                "https://a.example:8443/b/c.pem",
                Some(("a.example:8443", "/b/c.pem")),
            ),
            ("https://a.example/v2.0/%2e", None),
            ("https://a.example", None),
            ("http://a.example/b", None),
            ("HTTPS://a.example/b", None),
            ("//a.example/b", None),
            ("file:///etc/passwd", None),
            ("https:///b", None),
            ("https://user@a.example/b", None),
            ("https://a.example:443@evil.example/b", None),
            ("https://a.example:/b", None),
            ("https://a.example:0/b", None),
            ("https://a.example:+1/b", None),
            ("https://a.example:99999/b", None),
            ("https://a.example\\@evil.example/b", None),
            ("https://a.example#@evil.example/b", None),
            ("https://a.example?x=/b", None),
            ("https://a.example/b?x", None),
            ("https://a.example/b#x", None),
            ("https://a.example/b/../c", None),
            ("https://a.example/./c", None),
            ("https://a.example//c", None),
            ("https://a..example/c", None),
            ("https://a.example./c", None),
            ("https://a.example/b c", None),
            ("https://a.example/\n", None),
            ("https://[::1]/b", None),
            ("https://ａ.example/b", None),
            ("", None),
        ] {
            assert_eq!(split_url(url), expected, "{url}");
        }
        assert_eq!(
            split_url(&format!("https://a.example/{}", "b".repeat(MAX_URL_BYTES))),
            None
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let body = Zeroizing::new("the secret".to_owned());
        let request = KeyRequest::post("https://a.example/b", body);
        assert!(!format!("{request:?}").contains("the secret"));
    }
}
