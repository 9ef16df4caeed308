//! Rate limits.

mod buckets;
mod forwarded;

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::Clock;
#[cfg(not(test))]
use governor::clock::DefaultClock as RateClock;
#[cfg(test)]
use governor::clock::FakeRelativeClock as RateClock;
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
    clock: RateClock,
    all: Option<
        RateLimiter<
            NotKeyed,
            InMemoryState,
            RateClock,
            NoOpMiddleware<<RateClock as Clock>::Instant>,
        >,
    >,
    each: Option<
        RateLimiter<IpAddr, Buckets, RateClock, NoOpMiddleware<<RateClock as Clock>::Instant>>,
    >,
    forwarding: Forwarding,
}

impl Rates {
    pub(super) fn new(options: RateOptions) -> Self {
        let clock = RateClock::default();
        let each = options.each.map(|each| {
            RateLimiter::new(Quota::per_second(each), Buckets::default(), clock.clone())
        });
        Self {
            all: options
                .all
                .map(|all| RateLimiter::direct_with_clock(Quota::per_second(all), clock.clone())),
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

    /// Whether `peer` is a trusted proxy that got the request by HTTPS.
    pub(super) fn is_https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        self.forwarding.is_https(peer, headers)
    }

    fn reject(&self, until: &NotUntil<<RateClock as Clock>::Instant>) -> Problem {
        let wait = until.wait_time_from(self.clock.now());
        let seconds = u16::try_from(wait.as_secs().saturating_add(1)).unwrap_or(u16::MAX);
        Problem::too_many_requests(seconds)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_a_limit_and_all_have_one() {
        let limit = |limit| NonZeroU32::new(limit);
        let rates = Rates::new(RateOptions {
            all: limit(3),
            each: limit(2),
            ..RateOptions::default()
        });
        let of_address = |address| {
            let requests = (0..50).map(|_| rates.check_sender(Some(ip(address))));
            requests.filter(Result::is_ok).count()
        };
        let of_all = || (0..50).filter(|_| rates.check_all().is_ok()).count();
        assert_eq!((of_address("192.0.2.1"), of_address("192.0.2.2")), (2, 2));
        assert_eq!(of_all(), 3);
        rates.clock.advance(Duration::from_millis(500));
        assert_eq!((of_address("192.0.2.1"), of_all()), (1, 1));
        rates.clock.advance(Duration::from_secs(60));
        assert_eq!((of_address("192.0.2.1"), of_all()), (2, 3));
    }

    #[test]
    fn without_limits_all_requests_pass() {
        let rates = Rates::new(RateOptions::default());
        assert!(
            (0..1000).all(|_| { rates.check_sender(None).is_ok() && rates.check_all().is_ok() })
        );
    }
}
