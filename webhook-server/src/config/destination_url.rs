//! [`DestinationUrl`]: a URL that events are forwarded to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use hyper::Uri;
use webhook_forward::{Destination, Reach, Resolve, UrlError, check_address, check_url};

/// What is expected of a URL, for errors.
pub(super) const EXPECTED: &str = "a URL such as http://127.0.0.1:3000/hooks or https://app.example.com/hooks, \
                                   without a user and without a fragment";

/// A URL that events are forwarded to. `Debug` and `Display` show it without its query, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct DestinationUrl(Uri);

impl DestinationUrl {
    /// The URL that `text` is, if events can be forwarded to such a URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let is_whole = Destination::new(url.clone()).check().is_ok() && !text.contains('#');
        is_whole.then_some(Self(url))
    }

    /// The URL, with its query.
    pub(crate) const fn uri(&self) -> &Uri {
        &self.0
    }

    /// The host, with its port if the URL has one.
    pub(crate) fn authority(&self) -> &str {
        self.0.authority().map_or("", |it| it.as_str())
    }

    /// The name or address of the host, without brackets.
    pub(crate) fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The address, if the URL has one instead of a name, in any form that a look-up would take.
    ///
    /// # Errors
    ///
    /// When nothing is forwarded to this address, in the words of the forwarder.
    fn address(&self) -> Result<Option<IpAddr>, UrlError> {
        let checked = check_url(&self.0, Reach::Private, &NoLookups);
        match checked.now_or_never() {
            Some(Ok(addresses)) => Ok(addresses.first().map(SocketAddr::ip)),
            Some(Err(UrlError::Resolve { .. })) | None => Ok(None),
            Some(Err(wrong)) => Err(wrong),
        }
    }

    /// Refuses an address that nothing is forwarded to. Host names are looked up later.
    pub(super) fn check_address(&self) -> Result<(), UrlError> {
        self.address().map(drop)
    }

    /// Whether it certainly leads to this machine, so that requests need no signature.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.address().ok().flatten() {
            Some(address) => address.to_canonical().is_loopback(),
            None => self.host().eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether others could read requests on their way: without TLS, to a host that is not in a private network as far
    /// as its name or address shows.
    pub(super) fn is_exposed(&self) -> bool {
        if self.0.scheme_str() != Some("http") {
            return false;
        }
        match self.address().ok().flatten() {
            // What is not allowed to the public is private.
            Some(address) => check_address(address, Reach::Public).is_ok(),
            None => {
                const PRIVATE: [&str; 5] =
                    [".localhost", ".local", ".internal", ".lan", ".home.arpa"];
                let host = self.host().trim_end_matches('.').to_ascii_lowercase();
                host.contains('.') && !PRIVATE.iter().any(|end| host.ends_with(end))
            }
        }
    }
}

/// Knows no host name, so that only addresses are found.
struct NoLookups;

#[async_trait]
impl Resolve for NoLookups {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("host names are looked up later"))
    }
}

/// For options.
impl FromStr for DestinationUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Self::parse(text.trim()).ok_or_else(|| format!("expected {EXPECTED}"))?;
        url.check_address().map_err(|blocked| blocked.to_string())?;
        Ok(url)
    }
}

impl fmt::Display for DestinationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.authority(), self.0.path())
    }
}

impl fmt::Debug for DestinationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_may_have_a_query_and_neither_user_nor_fragment() {
        for good in [
            "http://127.0.0.1:3000",
            "http://localhost:3000/hooks?a=b",
            "https://app.example.com/",
            "http://[::1]:80/x",
        ] {
            assert!(DestinationUrl::parse(good).is_some(), "{good}");
        }
        for wrong in [
            "",
            "app.example.com",
            "/hooks",
            "ftp://app.example.com/",
            "https://",
            "https://user:password@app.example.com/",
            "https://app.example.com/#part",
            "https://app.example.com:/",
            "https://app.example.com:0/",
            "https://app.example.com:99999/",
            "https://a b/",
        ] {
            assert!(DestinationUrl::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn queries_are_not_shown() {
        let url = DestinationUrl::parse("https://app.example.com:8443/hooks?key=hunter2").unwrap();
        assert_eq!(url.to_string(), "https://app.example.com:8443/hooks");
        assert_eq!(format!("{url:?}"), url.to_string());
    }

    #[test]
    fn blocked_addresses_are_refused_in_the_words_of_the_forwarder() {
        let wrong = "http://169.254.169.254/latest".parse::<DestinationUrl>();
        let words = check_address([169, 254, 169, 254].into(), Reach::Private).unwrap_err();
        assert_eq!(wrong, Err(words.to_string()));
        assert!("http://10.0.0.7:3000/".parse::<DestinationUrl>().is_ok());
        for url in [
            "http://2852039166/",
            "http://0xa9.254.43518/",
            "http://[::ffff:169.254.169.254]/",
        ] {
            assert!(url.parse::<DestinationUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn hosts_are_of_this_machine_private_or_public() {
        for (url, is_loopback, is_exposed) in [
            ("http://127.0.0.1:3000", true, false),
            ("http://localhost", true, false),
            ("http://[::1]/", true, false),
            ("http://0x7f.1/", true, false),
            ("http://[::ffff:127.0.0.1]/", true, false),
            ("http://10.1.2.3/", false, false),
            ("http://app:3000/", false, false),
            ("http://app.default.svc.cluster.local/", false, false),
            ("http://app.example.com/", false, true),
            ("http://8.8.8.8/", false, true),
            ("https://app.example.com/", false, false),
        ] {
            let url = DestinationUrl::parse(url).unwrap();
            assert_eq!(
                (url.is_loopback(), url.is_exposed()),
                (is_loopback, is_exposed),
                "{url}"
            );
        }
    }
}
