use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use Expected::{Allowed, Never, Private};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Allowed,
    /// Only with [`Reach::Private`].
    Private,
    Never,
}

/// The registries of IANA (Internet Protocol version 4 and version 6 special-purpose address spaces, and multicast), and
/// the addresses of clouds. The longest prefix decides. What stands for an IPv4 address is below.
const REGISTRY: &[(&str, Expected)] = &[
    ("0.0.0.0/0", Allowed),
    ("0.0.0.0/8", Never),
    ("0.0.0.0/32", Never),
    ("10.0.0.0/8", Private),
    ("100.64.0.0/10", Private),
    ("100.100.100.200/32", Never),
    ("127.0.0.0/8", Private),
    ("168.63.129.16/32", Never),
    ("169.254.0.0/16", Never),
    ("172.16.0.0/12", Private),
    ("192.0.0.0/24", Never),
    ("192.0.0.0/29", Never),
    ("192.0.0.8/32", Never),
    ("192.0.0.9/32", Never),
    ("192.0.0.10/32", Never),
    ("192.0.0.170/31", Never),
    ("192.0.2.0/24", Never),
    // Globally reachable, by the registry.
    ("192.31.196.0/24", Allowed),
    ("192.52.193.0/24", Allowed),
    ("192.88.99.0/24", Never),
    ("192.168.0.0/16", Private),
    ("192.175.48.0/24", Allowed),
    ("198.18.0.0/15", Never),
    ("198.51.100.0/24", Never),
    ("203.0.113.0/24", Never),
    ("224.0.0.0/4", Never),
    ("240.0.0.0/4", Never),
    ("255.255.255.255/32", Never),
    ("::/0", Never),
    ("2000::/3", Allowed),
    ("::/128", Never),
    ("::1/128", Private),
    ("100::/64", Never),
    ("100:0:0:1::/64", Never),
    ("2001::/23", Never),
    ("2001:1::1/128", Never),
    ("2001:1::2/128", Never),
    ("2001:1::3/128", Never),
    ("2001:2::/48", Never),
    ("2001:3::/32", Never),
    ("2001:4:112::/48", Never),
    ("2001:10::/28", Never),
    ("2001:20::/28", Never),
    ("2001:30::/28", Never),
    ("2001:db8::/32", Never),
    ("2620:4f:8000::/48", Allowed),
    ("3fff::/20", Never),
    ("5f00::/16", Never),
    ("fc00::/7", Private),
    ("fd00:ec2::/32", Never),
    ("fd00:ec2::254/128", Never),
    ("fd20:ce::254/128", Never),
    ("fd00:c1::a9fe:a9fe/128", Never),
    ("fd00:42::42/128", Never),
    ("fd00:a9fe:a9fe::1/128", Never),
    ("fd00:100::100:200/128", Never),
    ("fe80::/10", Never),
    ("fec0::/10", Never),
    ("ff00::/8", Never),
];

fn registry() -> impl Iterator<Item = (IpNet, Expected)> {
    REGISTRY
        .iter()
        .map(|&(network, expected)| (network.parse().unwrap(), expected))
}

/// What the registry says.
fn expected(ip: IpAddr) -> Expected {
    registry()
        .filter(|(network, _)| network.contains(&ip))
        .max_by_key(|(network, _)| network.prefix_len())
        .unwrap()
        .1
}

fn verdict(ip: IpAddr) -> Expected {
    let by = |reach| check_address(ip, reach).is_ok();
    match (by(Reach::Private), by(Reach::Public)) {
        (true, true) => Allowed,
        (true, false) => Private,
        (false, false) => Never,
        (false, true) => panic!("{ip} is allowed only to those with less reach"),
    }
}

/// The addresses before, at and after both ends of a range.
fn around(network: IpNet) -> Vec<IpAddr> {
    match network {
        IpNet::V4(network) => {
            let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
            [
                first.checked_sub(1),
                Some(first),
                Some(last),
                last.checked_add(1),
            ]
            .into_iter()
            .flatten()
            .map(|bits| Ipv4Addr::from_bits(bits).into())
            .collect()
        }
        IpNet::V6(network) => {
            let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
            [
                first.checked_sub(1),
                Some(first),
                Some(last),
                last.checked_add(1),
            ]
            .into_iter()
            .flatten()
            .map(|bits| Ipv6Addr::from_bits(bits).into())
            .collect()
        }
    }
}

#[test]
fn each_range_of_the_registries_is_judged_up_to_both_of_its_ends() {
    for (network, _) in registry() {
        for ip in around(network) {
            let holds_v4 = matches!(ip, IpAddr::V6(v6) if !held_v4(v6).is_empty());
            if !holds_v4 {
                assert_eq!(verdict(ip), expected(ip), "{ip}, beside or in {network}");
            }
        }
    }
}

#[test]
fn registry_of_the_tests_has_each_range() {
    let listed: Vec<IpNet> = registry().map(|(network, _)| network).collect();
    let v4 = V4.iter().map(|range| IpNet::V4(range.network));
    let v6 = V6.iter().map(|range| IpNet::V6(range.network));
    for network in v4.chain(v6) {
        assert!(listed.contains(&network), "{network}");
    }
}

type Holder = fn(Ipv4Addr) -> Ipv6Addr;

/// How IPv4 addresses are put into IPv6 addresses.
const HOLDERS: &[(&str, Holder)] = &[
    ("mapped", |ip| ip.to_ipv6_mapped()),
    ("compatible", |ip| Ipv6Addr::from_bits(ip.to_bits().into())),
    ("NAT64", |ip| at(ip, 0x64_ff9b << 96, 96)),
    ("6to4", |ip| at(ip, 0x2002 << 112 | 0x1_2345, 16)),
    ("Teredo", |ip| {
        let server = 0x4136_e378_u128 << 64;
        at(
            Ipv4Addr::from_bits(!ip.to_bits()),
            0x2001 << 112 | server,
            96,
        )
    }),
];

fn at(ip: Ipv4Addr, others: u128, bit: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(ip.to_bits()) << (96 - bit) | others)
}

#[test]
fn held_address_at_both_ends_of_each_range_decides() {
    for (network, _) in registry() {
        for ip in around(network) {
            let IpAddr::V4(v4) = ip else { continue };
            for (name, hold) in HOLDERS {
                // 0.0.0.0 and 0.0.0.1 in ::/96 are :: and ::1.
                if *name == "compatible" && v4.to_bits() <= 1 {
                    continue;
                }
                let holder = hold(v4);
                assert_eq!(
                    verdict(holder.into()),
                    expected(ip),
                    "{name} {v4}: {holder}"
                );
            }
        }
    }
}

/// 64:ff9b:1::/48 with an IPv4 address after a prefix of 48, 56, 64 and 96 bits (RFC 6052, section 2.2).
#[test]
fn local_nat64_address_is_judged_by_what_it_holds_whatever_its_prefix() {
    for (ip, expected) in [
        ("64:ff9b:1:808:8:800::", Allowed),
        ("64:ff9b:1:8:8:808::", Allowed),
        ("64:ff9b:1:0:8:808:800:0", Allowed),
        ("64:ff9b:1::808:808", Allowed),
        ("64:ff9b:1:ffff:7f:1:808:808", Allowed),
        ("64:ff9b:1:a00:0:700::", Private),
        ("64:ff9b:1::a00:7", Private),
        ("64:ff9b:1:a9fe:a9:fe00::", Never),
        ("64:ff9b:1:a9:fe:a9fe::", Never),
        ("64:ff9b:1:0:a9:fea9:fe00:0", Never),
        ("64:ff9b:1::a9fe:a9fe", Never),
        ("64:ff9b:1:abcd:ab:cdef:a9fe:a9fe", Never),
        ("64:ff9b:1::", Never),
        ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Never),
        // Neither of the prefixes.
        ("64:ff9b:2::808:808", Never),
        ("64:ff9b:0:1::808:808", Never),
    ] {
        assert_eq!(verdict(ip.parse().unwrap()), expected, "{ip}");
    }
}

#[test]
fn message_names_the_address_and_says_what_it_is() {
    for (ip, message) in [
        (
            "169.254.169.254",
            "169.254.169.254 is a link-local address (cloud metadata), which events are never forwarded to",
        ),
        (
            "2002:a9fe:a9fe::1",
            "2002:a9fe:a9fe::1 stands for 169.254.169.254, a link-local address (cloud metadata), which events are \
             never forwarded to",
        ),
        (
            "::ffff:10.0.0.7",
            "::ffff:10.0.0.7 stands for 10.0.0.7, a private address, which only destinations of the configuration \
             file may have",
        ),
        (
            "::",
            ":: is the unspecified address, which events are never forwarded to",
        ),
    ] {
        let blocked = check_address(ip.parse().unwrap(), Reach::Public).unwrap_err();
        assert_eq!(blocked.to_string(), message);
        assert_eq!(blocked.address().to_string(), ip);
    }
}

/// Addresses near the ends of ranges as often as others.
fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
    let ends: Vec<Ipv4Addr> = registry()
        .flat_map(|(network, _)| around(network))
        .filter_map(|ip| match ip {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .collect();
    prop_oneof![any::<Ipv4Addr>(), proptest::sample::select(ends)]
}

proptest! {
    #[test]
    fn holder_has_the_verdict_of_the_held_address(ip in any_v4()) {
        prop_assume!(ip.to_bits() > 1);
        prop_assert_eq!(verdict(ip.into()), expected(ip.into()));
        for (name, hold) in HOLDERS {
            prop_assert_eq!(verdict(hold(ip).into()), verdict(ip.into()), "{}", name);
        }
    }

    #[test]
    fn public_reach_is_never_wider(bits in any::<u128>()) {
        verdict(Ipv6Addr::from_bits(bits).into());
    }
}
