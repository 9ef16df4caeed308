//! From the URL of a destination to the addresses that may be dialed.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use http::Uri;
use http::uri::Authority;
use tokio::sync::Semaphore;

use crate::address::{BlockedAddress, Reach, check_address};

/// Looks up the addresses of host names.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Returns the addresses of `host` with `port`, in the order in which they should be tried. `host` is never an IP
    /// address.
    ///
    /// The addresses are checked afterwards, so that an implementation need not judge them.
    ///
    /// # Errors
    ///
    /// Fails where the name does not resolve.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time: a look-up is given up when connecting takes too long.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// How many look-ups a [`SystemResolver`] makes at once. The system's look-up occupies a thread, for half a minute where
/// the name server is silent, and those threads are shared with the rest of the process.
const MAX_LOOKUPS: usize = 8;

/// The resolver of the system (`getaddrinfo`), which reads `/etc/hosts` and asks the configured name servers.
///
/// Each resolver makes at most 8 look-ups at once, and its clones share them; others wait.
#[derive(Clone)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl SystemResolver {
    /// Creates a resolver.
    pub fn new() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver").finish_non_exhaustive()
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            // The thread holds the permit: it goes on after its caller has given up.
            let _permit = permit;
            (host.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect)
        });
        lookup
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Checks the URL of a destination as it is checked before each connection, and returns the addresses that would be
/// dialed.
///
/// An address that is blocked is left out. IPv4 addresses in all forms that `getaddrinfo` takes (`2130706433`,
/// `0x7f.1`) are understood.
///
/// # Errors
///
/// Fails where the URL does not begin with `http://` or `https://`, where its host does not resolve, and where each of
/// its addresses is blocked.
///
/// # Cancel safety
///
/// The future may be dropped at any time.
pub async fn check_url(
    url: &Uri,
    reach: Reach,
    resolver: &dyn Resolve,
) -> Result<Vec<SocketAddr>, UrlError> {
    Target::new(url)?.addresses(reach, resolver).await
}

/// Why no destination can have a URL, whatever its host resolves to. No message quotes more of the URL than its host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// The URL does not begin with `http://` or `https://`.
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    /// The URL names no host.
    #[error("the URL has no host")]
    NoHost,
    /// The URL has a user name or a password, which would end up in logs.
    #[error(
        "the URL must not contain a user name or a password: give them as the header authorization"
    )]
    Credentials,
    /// The host looks like an IP address, but is not one.
    #[error("the host {host} is not a valid IP address")]
    Host {
        /// The host of the URL.
        host: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
}

/// Why events cannot be forwarded to a URL. No message quotes more of the URL than its host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No destination can have the URL.
    #[error(transparent)]
    Invalid(#[from] InvalidUrl),
    /// The host name does not resolve.
    #[error("the host name {host} does not resolve")]
    Resolve {
        /// The host of the URL.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// The host name resolves to nothing.
    #[error("the host name {host} has no addresses")]
    NoAddresses {
        /// The host of the URL.
        host: String,
    },
    /// The host is an address that events are not forwarded to.
    #[error(transparent)]
    Blocked(#[from] BlockedAddress),
    /// Each address of the host name is one that events are not forwarded to.
    #[error("the host name {host} has only addresses that are not allowed: {blocked}")]
    OnlyBlocked {
        /// The host of the URL.
        host: String,
        /// The first of its addresses.
        blocked: BlockedAddress,
    },
}

/// Where a URL leads: a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Target {
    pub(crate) fn new(url: &Uri) -> Result<Self, InvalidUrl> {
        let (is_tls, default_port) = match url.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(InvalidUrl::Scheme),
        };
        let authority = url.authority().ok_or(InvalidUrl::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(InvalidUrl::Credentials);
        }
        Ok(Self {
            host: host(authority.host())?,
            port: port(authority)?.unwrap_or(default_port),
            is_tls,
        })
    }

    /// Looks up the addresses, once, and checks each of them.
    pub(crate) async fn addresses(
        &self,
        reach: Reach,
        resolver: &dyn Resolve,
    ) -> Result<Vec<SocketAddr>, UrlError> {
        let name = match &self.host {
            Host::Address(address) => {
                check_address(*address, reach)?;
                return Ok(vec![SocketAddr::new(*address, self.port)]);
            }
            Host::Name(name) => name,
        };
        let found = resolver.resolve(name, self.port).await;
        let found = found.map_err(|source| UrlError::Resolve {
            host: name.clone(),
            source,
        })?;
        let mut allowed = Vec::with_capacity(found.len());
        let mut first_blocked = None;
        for address in found {
            match check_address(address.ip(), reach) {
                // Only the IP address counts: the port is that of the URL, whatever a resolver returns.
                Ok(()) => allowed.push(SocketAddr::new(address.ip(), self.port)),
                Err(blocked) => first_blocked = first_blocked.or(Some(blocked)),
            }
        }
        match first_blocked {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(blocked) => Err(UrlError::OnlyBlocked {
                host: name.clone(),
                blocked,
            }),
            None => Err(UrlError::NoAddresses { host: name.clone() }),
        }
    }
}

/// The port of a URL, if it has one. The crate http takes any digits, and drops a number that is too large.
fn port(authority: &Authority) -> Result<Option<u16>, InvalidUrl> {
    let text = authority.as_str();
    match text.strip_prefix(authority.host()).unwrap_or_default() {
        "" => Ok(None),
        _ => match authority.port_u16() {
            None | Some(0) => Err(InvalidUrl::Port),
            port => Ok(port),
        },
    }
}

/// The host of a URL. What ends in a number is an IPv4 address or an error, as the URL standard has it, so that no
/// resolver sees it.
fn host(text: &str) -> Result<Host, InvalidUrl> {
    if text.is_empty() {
        return Err(InvalidUrl::NoHost);
    }
    let invalid = || InvalidUrl::Host {
        host: text.to_owned(),
    };
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(invalid)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| invalid())?;
        return Ok(Host::Address(address.into()));
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    let last = labels.rsplit('.').next().unwrap_or(labels);
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || number(last).is_some() {
        let address = ipv4(labels).ok_or_else(invalid)?;
        return Ok(Host::Address(address.into()));
    }
    Ok(Host::Name(text.to_owned()))
}

/// An IPv4 address in any form that the [URL standard](https://url.spec.whatwg.org/#concept-ipv4-parser) takes: one to
/// four numbers, decimal, octal or hexadecimal, the last of which fills the rest.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (&last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|&number| number > 255) {
        return None;
    }
    let mut bits = 0;
    for number in first {
        bits = bits << 8 | number;
    }
    let rest = 8 * (4 - first.len());
    if u64::from(last) >= 1 << rest {
        return None;
    }
    let high = u64::from(bits) << rest;
    u32::try_from(high | u64::from(last))
        .ok()
        .map(Ipv4Addr::from_bits)
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [] => return None,
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    match digits {
        "" => Some(0),
        // from_str_radix takes a sign.
        _ if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) => None,
        _ => u32::from_str_radix(digits, radix).ok(),
    }
}

#[cfg(test)]
mod tests;
