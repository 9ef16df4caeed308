//! Counts and logs the requests that are rejected for their signature, their token, a rate limit or
//! their origin.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// How many rejections have a line of their own between two summaries. Clients that are rejected
/// must not be able to flood the log.
const MAX_LINES: u64 = 10;

/// How many addresses are counted at once. Another address replaces the one with the fewest
/// rejections and takes over its count, so that the addresses with the most rejections stay.
const MAX_ADDRESSES: usize = 256;

/// How many addresses a summary names.
const MAX_NAMED: usize = 10;

/// What a request is rejected for.
#[derive(Clone, Copy, Debug)]
pub(super) enum RejectionKind {
    Signature,
    ReadToken,
    OperateToken,
    Rate,
    NotLocal,
}

impl RejectionKind {
    const ALL: [Self; 5] = [
        Self::Signature,
        Self::ReadToken,
        Self::OperateToken,
        Self::Rate,
        Self::NotLocal,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::ReadToken => "read token",
            Self::OperateToken => "operate token",
            Self::Rate => "rate limit",
            Self::NotLocal => "not from this machine",
        }
    }
}

/// Counts rejections between two summaries.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    recent: Mutex<Recent>,
}

/// The rejections since the last summary.
#[derive(Debug, Default)]
struct Recent {
    by_kind: [u64; RejectionKind::ALL.len()],
    by_address: HashMap<IpAddr, u64>,
}

impl Recent {
    fn count(&self) -> u64 {
        self.by_kind.iter().sum()
    }

    fn add(&mut self, kind: RejectionKind, client: Option<IpAddr>) {
        self.by_kind[kind as usize] += 1;
        let Some(client) = client else {
            return;
        };
        let mut count = 0;
        if self.by_address.len() == MAX_ADDRESSES && !self.by_address.contains_key(&client) {
            let fewest = self.by_address.iter().min_by_key(|(_, count)| **count);
            if let Some((&addr, &fewest)) = fewest {
                self.by_address.remove(&addr);
                count = fewest;
            }
        }
        *self.by_address.entry(client).or_insert(count) += 1;
    }

    /// Each kind and its count.
    fn kinds(&self) -> String {
        let kinds = RejectionKind::ALL.into_iter().zip(self.by_kind);
        let kinds = kinds.filter(|(_, count)| *count > 0);
        let kinds = kinds.map(|(kind, count)| format!("{}: {count}", kind.as_str()));
        kinds.collect::<Vec<_>>().join(", ")
    }

    /// The addresses with the most rejections, and their counts.
    fn addresses(&self) -> String {
        let mut addresses: Vec<_> = self.by_address.iter().collect();
        addresses.sort_by_key(|&(addr, count)| (std::cmp::Reverse(*count), *addr));
        let named = addresses.into_iter().take(MAX_NAMED);
        let named = named.map(|(addr, count)| format!("{addr}: {count}"));
        named.collect::<Vec<_>>().join(", ")
    }
}

impl Rejections {
    /// Counts a rejection, and logs it: the first ones since the last summary as warnings, the others
    /// for debugging.
    pub(super) fn log(&self, kind: RejectionKind, client: Option<IpAddr>, reason: &dyn Display) {
        let recent = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.add(kind, client);
            recent.count()
        };
        let kind = kind.as_str();
        let addr = client.map(tracing::field::display);
        if recent <= MAX_LINES {
            tracing::warn!(kind, addr, %reason, "request rejected");
        } else {
            tracing::debug!(kind, addr, %reason, "request rejected");
        }
    }

    /// Logs how many requests were rejected since the last summary, if any were.
    pub(super) fn log_summary(&self, verified_by_secret: &[u64]) {
        let recent = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *recent)
        };
        if recent.count() > 0 {
            tracing::warn!(
                rejected = recent.count(),
                kinds = recent.kinds(),
                addresses = recent.addresses(),
                ?verified_by_secret,
                "requests rejected since the last summary"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn many_addresses_keep_memory_bounded_and_the_busiest_is_named() {
        let mut recent = Recent::default();
        let busy = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        for i in 0..10_000_u32 {
            recent.add(RejectionKind::Signature, busy);
            recent.add(RejectionKind::Rate, Some(Ipv4Addr::from(i).into()));
        }
        recent.add(RejectionKind::ReadToken, None);
        assert_eq!(recent.by_address.len(), MAX_ADDRESSES);
        assert_eq!(recent.count(), 20_001);
        assert_eq!(
            recent.kinds(),
            "signature: 10000, read token: 1, rate limit: 10000"
        );
        let addresses = recent.addresses();
        assert!(addresses.starts_with("192.0.2.1: 10000, "), "{addresses}");
        assert_eq!(addresses.split(", ").count(), MAX_NAMED);
    }
}
