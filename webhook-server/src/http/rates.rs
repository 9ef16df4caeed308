//! Rate limits.

mod buckets;
mod forwarded;

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use hyper::HeaderMap;

use self::buckets::Buckets;
pub(super) use self::buckets::network_bits;
pub use self::forwarded::{Forwarding, Network};
use super::problem::Problem;

/// Rate limits, in requests a second. Bursts up to the same number are allowed. `/` and `/readyz` are
/// not counted.
#[derive(Clone, Debug, Default)]
pub struct RateOptions {
    /// The limit of all requests together that have a valid signature or token. Default: no limit.
    pub all: Option<NonZeroU32>,
    /// The limit of one address, or of one IPv6 /64 network. Default: no limit.
    ///
    /// Addresses are hashed into 65,536 buckets, so that memory is bounded. Addresses in the same bucket
    /// share its limit.
    pub each: Option<NonZeroU32>,
    /// Which proxies' forwarding header is trusted.
    pub forwarding: Forwarding,
}

/// The rate limiters.
#[derive(Debug)]
pub(super) struct Rates {
    clock: DefaultClock,
    all: Option<RateLimiter<NotKeyed, InMemoryState, DefaultClock, NoOpMiddleware>>,
    each: Option<RateLimiter<IpAddr, Buckets, DefaultClock, NoOpMiddleware>>,
    forwarding: Forwarding,
}

impl Rates {
    pub(super) fn new(options: RateOptions) -> Self {
        let clock = DefaultClock::default();
        let each = options.each.map(|each| {
            RateLimiter::new(Quota::per_second(each), Buckets::default(), clock.clone())
        });
        Self {
            all: options
                .all
                .map(|all| RateLimiter::direct(Quota::per_second(all))),
            each,
            clock,
            forwarding: options.forwarding,
        }
    }

    /// Rejects a request over the limit of `client`. All requests without an address count as one client.
    pub(super) fn check_sender(&self, client: Option<IpAddr>) -> Result<(), Problem> {
        if let Some(each) = &self.each {
            let client = client.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
            let checked = each.check_key(&client);
            checked.map_err(|until| self.reject(&until))?;
        }
        Ok(())
    }

    /// Rejects an authenticated request over the limit of all clients together.
    pub(super) fn check_all(&self) -> Result<(), Problem> {
        if let Some(all) = &self.all {
            let checked = all.check();
            checked.map_err(|until| self.reject(&until))?;
        }
        Ok(())
    }

    /// The client whose request `peer` sent: `peer` itself, or the client of a trusted proxy.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.forwarding.client(peer, headers)
    }

    fn reject(&self, until: &NotUntil<<DefaultClock as Clock>::Instant>) -> Problem {
        let wait = until.wait_time_from(self.clock.now());
        let seconds = u16::try_from(wait.as_secs().saturating_add(1)).unwrap_or(u16::MAX);
        Problem::too_many_requests(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_a_limit_and_all_have_one() {
        let limit = |limit| NonZeroU32::new(limit);
        let rates = Rates::new(RateOptions {
            all: limit(1_000_000),
            each: limit(2),
            ..RateOptions::default()
        });
        let passed = |address| {
            (0..50)
                .filter(|_| rates.check_sender(Some(ip(address))).is_ok())
                .count()
        };
        // A second may pass meanwhile on a busy machine, not ten.
        assert!((2..20).contains(&passed("192.0.2.1")));
        assert!((2..20).contains(&passed("192.0.2.2")));
        let rates = Rates::new(RateOptions {
            all: limit(2),
            ..RateOptions::default()
        });
        let passed = (0..50_u8).filter(|_| rates.check_all().is_ok());
        assert!((2..20).contains(&passed.count()));
    }

    #[test]
    fn without_limits_all_requests_pass() {
        let rates = Rates::new(RateOptions::default());
        assert!(
            (0..1000).all(|_| { rates.check_sender(None).is_ok() && rates.check_all().is_ok() })
        );
    }
}
