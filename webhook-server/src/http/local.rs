//! Checks that a program on this machine made a request that needs no authentication.
//!
//! A server on a loopback address can still be reached from elsewhere in two ways: through a page in a
//! browser on this machine (by DNS rebinding, or across origins), and through a proxy or a tunnel on
//! this machine.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HOST, HeaderName, HeaderValue, ORIGIN, VIA};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

/// Headers that proxies and tunnels add, in addition to those that begin with [`FORWARDED_PREFIX`].
const PROXY_HEADERS: [HeaderName; 9] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-original-forwarded-for"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("fastly-client-ip"),
];

const FORWARDED_PREFIX: &str = "x-forwarded-";

/// The relation between the server and the page that makes a browser send the request (Fetch Metadata
/// Request Headers, section 2.4).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is not one of a program on this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotLocal {
    Host,
    Origin,
    FetchSite,
    Proxy(HeaderName),
}

impl fmt::Display for NotLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the Host header names another host"),
            Self::Origin => f.write_str("the Origin header names another origin"),
            Self::FetchSite => f.write_str("the Sec-Fetch-Site header names another site"),
            Self::Proxy(name) => write!(f, "the header {name} shows that a proxy forwarded it"),
        }
    }
}

/// Checks the headers for signs that the request is not one of a program on this machine.
pub(super) fn check(head: &Parts) -> Result<(), NotLocal> {
    let headers = &head.headers;
    let host = headers.get(HOST);
    let is_local = |host: &HeaderValue| host.to_str().is_ok_and(is_local_host);
    let names_other = head
        .uri
        .authority()
        .is_some_and(|it| !is_local_host(it.as_str()));
    // Only HTTP/1.0 clients send no Host, and no browser is one.
    if names_other || !host.is_none_or(is_local) {
        return Err(NotLocal::Host);
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    // The dashboard's pages have the policy `no-referrer`, which makes the origin of their forms `null`. That of other
    // opaque origins is `null` as well, but to browsers they are another site.
    let is_own_page = sites.next().is_some_and(|site| site == "same-origin");
    let mut origins = headers.get_all(ORIGIN).iter();
    if !origins.all(|origin| is_origin_of(origin, host) || is_own_page && origin == "null") {
        return Err(NotLocal::Origin);
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if !sites.all(|site| site == "same-origin" || site == "none") {
        return Err(NotLocal::FetchSite);
    }
    proxy_header(headers).map_or(Ok(()), |name| Err(NotLocal::Proxy(name.clone())))
}

fn proxy_header(headers: &HeaderMap) -> Option<&HeaderName> {
    headers
        .keys()
        .find(|name| name.as_str().starts_with(FORWARDED_PREFIX) || PROXY_HEADERS.contains(name))
}

/// Whether `uri-host [ ":" port ]` names this machine: `localhost`, a name below it (RFC 6761, section
/// 6.3), or a loopback address.
fn is_local_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    if let Some(address) = name.strip_prefix('[') {
        let address = address
            .strip_suffix(']')
            .and_then(|it| it.parse::<Ipv6Addr>().ok());
        return address.is_some_and(|it| IpAddr::from(it).to_canonical().is_loopback());
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Whether `origin` (RFC 6454, section 7) is that of this server at `host`.
fn is_origin_of(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.as_bytes();
    let authority = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|it| host.is_some_and(|host| it.eq_ignore_ascii_case(host.as_bytes())))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn checked(lines: &[(&str, &str)]) -> Result<(), NotLocal> {
        let mut request = Request::builder().uri("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_hosts_of_this_machine_are_local() {
        for local in [
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "app.localhost:80",
            "127.0.0.1",
            "127.8.9.10:8000",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:8000",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(checked(&[("host", local)]), Ok(()), "{local}");
        }
        for other in [
            "example.com",
            "localhost.example.com",
            "notlocalhost",
            "localhost..",
            "127.0.0.1.example.com",
            "127.0.0.1.nip.io:8000",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0.0.0.0:8000",
            "[::]:8000",
            "[::2]",
            "192.168.0.1",
            "169.254.169.254",
            "[fe80::1%25lo]",
            "",
        ] {
            assert_eq!(checked(&[("host", other)]), Err(NotLocal::Host), "{other}");
        }
        assert_eq!(checked(&[]), Ok(()));
    }

    #[test]
    fn other_authority_in_the_target_is_rejected() {
        let request = Request::builder().uri("http://example.com/");
        let request = request.header("host", "localhost").body(()).unwrap();
        assert_eq!(check(&request.into_parts().0), Err(NotLocal::Host));
    }

    #[test]
    fn pages_of_other_origins_are_rejected() {
        let host = ("host", "localhost:8000");
        for own in ["http://localhost:8000", "https://LOCALHOST:8000"] {
            assert_eq!(checked(&[host, ("origin", own)]), Ok(()), "{own}");
        }
        for other in [
            "null",
            "",
            "localhost:8000",
            "http://localhost:3000",
            "http://localhost",
            "http://127.0.0.1:8000",
            "http://example.com",
            "file://localhost:8000",
            "http://localhost:8000 http://example.com",
        ] {
            let refused = Err(NotLocal::Origin);
            assert_eq!(checked(&[host, ("origin", other)]), refused, "{other}");
        }
        let own = ("origin", "http://localhost:8000");
        let refused = checked(&[host, own, ("origin", "null")]);
        assert_eq!(refused, Err(NotLocal::Origin));
        for (site, expected) in [
            ("same-origin", Ok(())),
            ("none", Err(NotLocal::Origin)),
            ("cross-site", Err(NotLocal::Origin)),
        ] {
            let lines = [host, ("origin", "null"), ("sec-fetch-site", site)];
            assert_eq!(checked(&lines), expected, "{site}");
        }
        for (site, expected) in [
            ("none", Ok(())),
            ("same-origin", Ok(())),
            ("same-site", Err(NotLocal::FetchSite)),
            ("cross-site", Err(NotLocal::FetchSite)),
            ("", Err(NotLocal::FetchSite)),
        ] {
            assert_eq!(
                checked(&[host, ("sec-fetch-site", site)]),
                expected,
                "{site}"
            );
        }
    }

    #[test]
    fn forwarded_requests_are_rejected() {
        for name in [
            "Forwarded",
            "Via",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "CF-Connecting-IP",
            "True-Client-IP",
        ] {
            let refused = checked(&[("host", "localhost"), (name, "")]);
            let expected = name.to_ascii_lowercase().parse().unwrap();
            assert_eq!(refused, Err(NotLocal::Proxy(expected)), "{name}");
        }
        let harmless = [
            ("host", "localhost"),
            ("x-forward", "1"),
            ("user-agent", "x"),
        ];
        assert_eq!(checked(&harmless), Ok(()));
    }
}
