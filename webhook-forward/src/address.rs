//! Which IP addresses events may be forwarded to.
//!
//! The ranges are those of the IANA registries of special-purpose addresses for [IPv4] and [IPv6] (RFC 6890 and its
//! successors) that are not globally reachable, and the addresses at which clouds offer their metadata.
//!
//! [IPv4]: https://www.iana.org/assignments/iana-ipv4-special-registry/
//! [IPv6]: https://www.iana.org/assignments/iana-ipv6-special-registry/

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// How far destinations may reach beyond addresses of the public internet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Private, loopback and shared addresses (RFC 1918, RFC 4193, RFC 6598) are allowed too. This is for destinations
    /// that an operator wrote into a configuration file: the app is often a neighbour.
    #[default]
    Private,
    /// Only addresses of the public internet are allowed.
    Public,
}

/// Checks whether events may be forwarded to `ip`.
///
/// Addresses that hold an IPv4 address are judged by it: mapped (RFC 4291), compatible (RFC 4291), NAT64 (RFC 6052 and
/// RFC 8215), 6to4 (RFC 3056) and Teredo (RFC 4380).
///
/// # Errors
///
/// Returns what is wrong with the address where events are not forwarded to it.
///
/// # Examples
///
/// ```
/// use webhook_forward::{Reach, check_address};
///
/// assert!(check_address("10.0.0.7".parse()?, Reach::Private).is_ok());
/// assert!(check_address("10.0.0.7".parse()?, Reach::Public).is_err());
/// let blocked = check_address("::ffff:169.254.169.254".parse()?, Reach::Private).unwrap_err();
/// assert_eq!(
///     blocked.to_string(),
///     "::ffff:169.254.169.254 stands for 169.254.169.254, a link-local address (cloud metadata), which events are \
///      never forwarded to"
/// );
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
pub fn check_address(ip: IpAddr, reach: Reach) -> Result<(), BlockedAddress> {
    match ip {
        IpAddr::V4(v4) => check(ip, None, range_of_v4(v4), reach),
        IpAddr::V6(v6) => {
            let held = held_v4(v6);
            for v4 in held.iter().copied() {
                check(ip, Some(v4), range_of_v4(v4), reach)?;
            }
            match held.is_empty() {
                true => check(ip, None, range_of_v6(v6), reach),
                false => Ok(()),
            }
        }
    }
}

/// An address that events are not forwarded to. Its message says why, in a sentence for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedAddress {
    address: IpAddr,
    /// The IPv4 address in `address` by which it is judged.
    held: Option<Ipv4Addr>,
    /// What sort of address it is, with an article.
    sort: &'static str,
    access: Access,
}

impl BlockedAddress {
    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl fmt::Display for BlockedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, sort) = (self.address, self.sort);
        match self.held {
            None => write!(f, "{address} is {sort}, ")?,
            Some(held) => write!(f, "{address} stands for {held}, {sort}, ")?,
        }
        f.write_str(match self.access {
            Access::Never => "which events are never forwarded to",
            Access::Private => "which only destinations of the configuration file may have",
        })
    }
}

impl std::error::Error for BlockedAddress {}

/// Who may use a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Nobody.
    Never,
    /// Destinations with [`Reach::Private`].
    Private,
}

/// A range of addresses that are not on the public internet.
struct Range<N> {
    network: N,
    access: Access,
    /// What an address of the range is, with an article.
    sort: &'static str,
}

fn check<N>(
    address: IpAddr,
    held: Option<Ipv4Addr>,
    range: Option<&Range<N>>,
    reach: Reach,
) -> Result<(), BlockedAddress> {
    match range {
        None => Ok(()),
        Some(range) if range.access == Access::Private && reach == Reach::Private => Ok(()),
        Some(&Range { access, sort, .. }) => Err(BlockedAddress {
            address,
            held,
            sort,
            access,
        }),
    }
}

fn range_of_v4(ip: Ipv4Addr) -> Option<&'static Range<Ipv4Net>> {
    V4.iter().find(|range| range.network.contains(&ip))
}

fn range_of_v6(ip: Ipv6Addr) -> Option<&'static Range<Ipv6Net>> {
    V6.iter()
        .find(|range| range.network.contains(&ip))
        // RFC 4291, section 2.4: what is neither listed above nor in 2000::/3 is assigned to nobody.
        .or_else(|| (!GLOBAL_UNICAST.contains(&ip)).then_some(&UNASSIGNED))
}

const fn v4(
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    length: u8,
    access: Access,
    sort: &'static str,
) -> Range<Ipv4Net> {
    Range {
        network: Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length),
        access,
        sort,
    }
}

const fn v6(segments: [u16; 8], length: u8, access: Access, sort: &'static str) -> Range<Ipv6Net> {
    Range {
        network: net6(segments, length),
        access,
        sort,
    }
}

const fn net6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

const LINK_LOCAL: &str = "a link-local address (cloud metadata)";
const METADATA: &str = "an address of a cloud's own services (metadata)";
const MULTICAST: &str = "a multicast address";
const DOCUMENTATION: &str = "an address for documentation";
const BENCHMARK: &str = "an address for benchmarks";
const PROTOCOLS: &str = "an address for protocols of the IETF";
const UNSPECIFIED: &str = "the unspecified address";
const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";

/// The first range that holds an address decides.
#[rustfmt::skip]
static V4: &[Range<Ipv4Net>] = &[
    v4(0, 0, 0, 0, 32, Access::Never, UNSPECIFIED),
    v4(0, 0, 0, 0, 8, Access::Never, "an address of \"this network\""),
    v4(10, 0, 0, 0, 8, Access::Private, PRIVATE),
    // Alibaba Cloud.
    v4(100, 100, 100, 200, 32, Access::Never, METADATA),
    v4(100, 64, 0, 0, 10, Access::Private, "a shared address (carrier-grade NAT)"),
    v4(127, 0, 0, 0, 8, Access::Private, LOOPBACK),
    // Azure's WireServer.
    v4(168, 63, 129, 16, 32, Access::Never, METADATA),
    v4(169, 254, 0, 0, 16, Access::Never, LINK_LOCAL),
    v4(172, 16, 0, 0, 12, Access::Private, PRIVATE),
    v4(192, 0, 0, 0, 24, Access::Never, PROTOCOLS),
    v4(192, 0, 2, 0, 24, Access::Never, DOCUMENTATION),
    v4(192, 88, 99, 0, 24, Access::Never, "a former address of 6to4 relays"),
    v4(192, 168, 0, 0, 16, Access::Private, PRIVATE),
    v4(198, 18, 0, 0, 15, Access::Never, BENCHMARK),
    v4(198, 51, 100, 0, 24, Access::Never, DOCUMENTATION),
    v4(203, 0, 113, 0, 24, Access::Never, DOCUMENTATION),
    v4(224, 0, 0, 0, 4, Access::Never, MULTICAST),
    v4(255, 255, 255, 255, 32, Access::Never, "the broadcast address"),
    v4(240, 0, 0, 0, 4, Access::Never, "a reserved address"),
];

/// The first range that holds an address decides.
#[rustfmt::skip]
static V6: &[Range<Ipv6Net>] = &[
    v6([0; 8], 128, Access::Never, UNSPECIFIED),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Access::Private, LOOPBACK),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Access::Never, "an address that discards what it gets"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, Access::Never, "a dummy address"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Access::Never, BENCHMARK),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Access::Never, PROTOCOLS),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Access::Never, DOCUMENTATION),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Access::Never, DOCUMENTATION),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Access::Never, "a segment identifier (SRv6)"),
    // AWS: metadata, credentials of containers, DNS, time.
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, Access::Never, METADATA),
    // Google Cloud.
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Access::Never, METADATA),
    // Oracle Cloud.
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, Access::Never, METADATA),
    // Scaleway.
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, Access::Never, METADATA),
    // Linode.
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128, Access::Never, METADATA),
    // Alibaba Cloud.
    v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128, Access::Never, METADATA),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Access::Private, "a private address (unique local)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Access::Never, LINK_LOCAL),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Access::Never, "a site-local address"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Access::Never, MULTICAST),
];

const GLOBAL_UNICAST: Ipv6Net = net6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
static UNASSIGNED: Range<Ipv6Net> = v6([0; 8], 0, Access::Never, "an unassigned address");

const MAPPED: Ipv6Net = net6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
const COMPATIBLE: Ipv6Net = net6([0; 8], 96);
const NAT64: Ipv6Net = net6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const LOCAL_NAT64: Ipv6Net = net6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const TEREDO: Ipv6Net = net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);
const SIX_TO_FOUR: Ipv6Net = net6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// The IPv4 addresses that `ip` may stand for; none where it is an address of IPv6 alone.
fn held_v4(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bits = ip.to_bits();
    if COMPATIBLE.contains(&ip) {
        // :: and ::1 are no IPv4 addresses.
        return if bits > 1 {
            vec![v4_at(bits, 96)]
        } else {
            Vec::new()
        };
    }
    if MAPPED.contains(&ip) || NAT64.contains(&ip) {
        vec![v4_at(bits, 96)]
    } else if LOCAL_NAT64.contains(&ip) {
        local_nat64(bits)
    } else if SIX_TO_FOUR.contains(&ip) {
        vec![v4_at(bits, 16)]
    } else if TEREDO.contains(&ip) {
        // RFC 4380, section 4: the address of the client is inverted.
        vec![v4_at(!bits, 96)]
    } else {
        Vec::new()
    }
}

/// The 32 bits of `bits` from bit `at`, counted from the most significant one.
fn v4_at(bits: u128, at: u32) -> Ipv4Addr {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the bits above are not meant"
    )]
    let low = (bits >> (96 - at)) as u32;
    Ipv4Addr::from_bits(low)
}

/// What an address of 64:ff9b:1::/48 may stand for. RFC 8215 lets an operator choose the length of the prefix, which
/// nobody else can know, so each length that fits (RFC 6052, section 2.2) counts.
fn local_nat64(bits: u128) -> Vec<Ipv4Addr> {
    /// Bits 64 to 71, which are zero in all but a prefix of 96 bits.
    const U: u128 = 0xff << 56;
    let mut held = vec![v4_at(bits, 96)];
    if bits & U == 0 {
        // Without the octet of zeros, the IPv4 address is in one piece.
        let high = bits >> 64 << 64;
        let joined = high | (bits << 8 & u128::from(u64::MAX));
        for length in [48, 56, 64] {
            // The rest of the address is zero where the prefix has this length.
            let rest = joined << (length + 32);
            if rest == 0 {
                held.push(v4_at(joined, length));
            }
        }
    }
    // What is read at the wrong place often begins with zeros: an address of 0.0.0.0/8, which nothing translates. It
    // counts only where there is nothing else.
    let is_address = |ip: &Ipv4Addr| ip.octets()[0] != 0;
    if held.iter().any(is_address) {
        held.retain(is_address);
    }
    held
}

#[cfg(test)]
mod tests;
