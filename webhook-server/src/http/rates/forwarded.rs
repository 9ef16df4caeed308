//! The address of a client behind trusted proxies.
//!
//! Written here, because it must walk the chain of one header from the last proxy on: crates that take
//! the first address, or read both headers, let clients choose their own.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::http::quoted::{split, unquoted};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Which proxies are trusted to forward the address of a client, and in which header.
///
/// Only one header is read: most proxies write one, and pass the other one on as the client sent it.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// The networks of trusted proxies.
    pub proxies: Vec<Network>,
    /// Read `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.
    pub standard: bool,
}

/// A network, such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alone = || text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = text.parse().ok().or_else(alone);
        let network = network.map(|network: IpNet| Self(network.trunc()));
        network.ok_or_else(|| "expected an address, or a network such as 10.0.0.0/8".to_owned())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Forwarding {
    /// Follows the chain of trusted proxies from `peer` on, and returns the first address that is not a
    /// trusted proxy. If a proxy forwards no valid address, returns the address of that proxy.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let name = if self.standard {
            FORWARDED
        } else {
            X_FORWARDED_FOR
        };
        let lines = headers.get_all(name).iter().rev();
        for line in lines {
            let Ok(line) = line.to_str() else {
                return client;
            };
            for element in split(line, ',').into_iter().rev() {
                if !self.trusts(client) {
                    return client;
                }
                let forwarded = if self.standard {
                    node(element)
                } else {
                    address(element.trim())
                };
                match forwarded {
                    Some(address) => client = address,
                    None => return client,
                }
            }
        }
        client
    }

    /// Whether `peer` is a trusted proxy that says that it got the request by HTTPS.
    pub(super) fn is_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        if !self.trusts(peer.to_canonical()) {
            return false;
        }
        let name = if self.standard {
            FORWARDED
        } else {
            X_FORWARDED_PROTO
        };
        // What the peer itself says comes last.
        let last = headers.get_all(name).iter().next_back();
        let last = last.and_then(|line| line.to_str().ok());
        let Some(last) = last.and_then(|line| split(line, ',').pop()) else {
            return false;
        };
        let scheme = if self.standard {
            parameter(last, "proto")
        } else {
            Some(last.trim().into())
        };
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }

    pub(in crate::http) fn trusts(&self, client: IpAddr) -> bool {
        self.proxies
            .iter()
            .any(|Network(network)| network.contains(&client))
    }
}

/// The address in an element of `Forwarded`: `for="[2001:db8::1]:4711";proto=https`.
fn node(element: &str) -> Option<IpAddr> {
    address(&parameter(element, "for")?)
}

/// The value of a parameter in an element of `Forwarded`.
fn parameter<'e>(element: &'e str, name: &str) -> Option<Cow<'e, str>> {
    let mut pairs = split(element, ';')
        .into_iter()
        .filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    unquoted(value.trim())
}

/// An address, with or without a port, an IPv6 one with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address: IpAddr = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(forwarding: &Forwarding, peer: &str, name: &'static str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        forwarding
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    fn trusting(proxies: &[&str], standard: bool) -> Forwarding {
        let proxies = proxies.iter().map(|it| it.parse().unwrap()).collect();
        Forwarding { proxies, standard }
    }

    #[test]
    fn only_trusted_proxies_may_forward_addresses() {
        let forwarding = trusting(&["10.0.0.0/8", "2001:db8:1::/48"], false);
        let client = |peer, lines: &[&str]| client(&forwarding, peer, "x-forwarded-for", lines);
        for (peer, lines, expected) in [
            ("192.0.2.9", &["198.51.100.1"][..], "192.0.2.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // What the client itself wrote stands to the left of what the proxy saw.
            ("10.0.0.1", &["203.0.113.7, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["198.51.100.1", "10.9.9.9,10.8.8.8"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1,"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("2001:db8:1::1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]:80"], "2001:db8::7"),
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(client(peer, lines), expected, "{peer} {lines:?}");
        }
        let forged = &["198.51.100.1"];
        let other = super::tests::client(&forwarding, "10.0.0.1", "forwarded", forged);
        assert_eq!(other, "10.0.0.1", "the other header is not read");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let forwarding = trusting(&["10.0.0.0/8"], true);
        let client = |lines: &[&str]| client(&forwarding, "10.0.0.1", "forwarded", lines);
        for (lines, expected) in [
            (&["for=192.0.2.43"][..], "192.0.2.43"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
            (&["proto=http; for=192.0.2.60"], "192.0.2.60"),
            (&["for=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
            (&["for=192.0.2.43, for=10.1.1.1"], "192.0.2.43"),
            (&["for=\"a,b;for=1.2.3.4\", for=10.1.1.1"], "10.1.1.1"),
            (&["for=unknown"], "10.0.0.1"),
            (&["for=_hidden"], "10.0.0.1"),
            (&["by=192.0.2.1"], "10.0.0.1"),
            (&["for=\"192.0.2.43"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(client(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_that_a_request_came_by_https() {
        for (standard, name, peer, lines, expected) in [
            (false, "x-forwarded-proto", "10.0.0.1", &["https"][..], true),
            (false, "x-forwarded-proto", "10.0.0.1", &["HTTPS "], true),
            (false, "x-forwarded-proto", "10.0.0.1", &["http"], false),
            (false, "x-forwarded-proto", "192.0.2.1", &["https"], false),
            (
                false,
                "x-forwarded-proto",
                "10.0.0.1",
                &["https, http"],
                false,
            ),
            (
                false,
                "x-forwarded-proto",
                "10.0.0.1",
                &["http", "https"],
                true,
            ),
            (false, "x-forwarded-proto", "10.0.0.1", &[], false),
            (false, "forwarded", "10.0.0.1", &["proto=https"], false),
            (
                true,
                "forwarded",
                "10.0.0.1",
                &["for=192.0.2.60;proto=https"],
                true,
            ),
            (true, "forwarded", "10.0.0.1", &["Proto=\"https\""], true),
            (
                true,
                "forwarded",
                "10.0.0.1",
                &["proto=https, for=192.0.2.60"],
                false,
            ),
            (true, "x-forwarded-proto", "10.0.0.1", &["https"], false),
        ] {
            let forwarding = trusting(&["10.0.0.0/8"], standard);
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(name, line.parse().unwrap());
            }
            let is_https = forwarding.is_https(peer.parse().unwrap(), &headers);
            assert_eq!(is_https, expected, "{name} {peer} {lines:?}");
        }
    }

    #[test]
    fn networks_are_read() {
        for (text, shown) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("192.0.2.1", Some("192.0.2.1/32")),
            ("::1", Some("::1/128")),
            ("10.0.0.0/33", None),
            ("10.0.0", None),
            ("", None),
        ] {
            let network = text.parse::<Network>().ok().map(|it| it.to_string());
            assert_eq!(network.as_deref(), shown, "{text}");
        }
    }
}
