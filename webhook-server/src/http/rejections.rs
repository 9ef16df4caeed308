//! Counts and logs the requests that are rejected for their signature, their token, a rate limit or
//! their origin. Each source has lines and counts of its own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// How many rejections of one source, and of everything else together, have a line of their own between
/// two summaries. Clients that are rejected must not be able to flood the log, nor to hide the rejections of
/// other sources in it.
const MAX_LINES: u64 = 10;

/// How many rejections of all sources together have a line of their own between two summaries.
const MAX_LINES_OF_ALL: u64 = 200;

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
    MetricsToken,
    Rate,
    NotLocal,
    SourceLimit,
}

impl RejectionKind {
    const ALL: [Self; 7] = [
        Self::Signature,
        Self::ReadToken,
        Self::OperateToken,
        Self::MetricsToken,
        Self::Rate,
        Self::NotLocal,
        Self::SourceLimit,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::ReadToken => "read token",
            Self::OperateToken => "operate token",
            Self::MetricsToken => "metrics token",
            Self::Rate => "rate limit",
            Self::NotLocal => "not from this machine",
            Self::SourceLimit => "limit of a source",
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
    /// By the name of the source; there are no more names than sources.
    by_source: BTreeMap<String, u64>,
    without_source: u64,
    /// How many had a line of their own.
    lines: u64,
}

impl Recent {
    fn count(&self) -> u64 {
        self.by_kind.iter().sum()
    }

    /// Counts a rejection, and returns whether it has a line of its own.
    fn add(&mut self, kind: RejectionKind, source: Option<&str>, client: Option<IpAddr>) -> bool {
        self.by_kind[kind as usize] += 1;
        self.count_address(client);
        let of_source = match source {
            None => &mut self.without_source,
            Some(name) => match self.by_source.get_mut(name) {
                Some(count) => count,
                None => self.by_source.entry(name.to_owned()).or_default(),
            },
        };
        *of_source += 1;
        let has_line = *of_source <= MAX_LINES && self.lines < MAX_LINES_OF_ALL;
        self.lines += u64::from(has_line);
        has_line
    }

    fn count_address(&mut self, client: Option<IpAddr>) {
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
        most(self.by_address.iter())
    }

    /// The sources with the most rejections, and their counts; none if there were none.
    fn sources(&self) -> Option<String> {
        let named = (!self.by_source.is_empty()).then_some(&self.by_source);
        named.map(|sources| most(sources.iter()))
    }
}

/// Those with the largest counts, and the counts.
fn most<'a, T: Display + Ord + 'a>(counts: impl Iterator<Item = (&'a T, &'a u64)>) -> String {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|&(what, count)| (std::cmp::Reverse(*count), what));
    let named = counts.into_iter().take(MAX_NAMED);
    let named = named.map(|(what, count)| format!("{what}: {count}"));
    named.collect::<Vec<_>>().join(", ")
}

impl Rejections {
    /// Counts a rejection, and logs it: the first ones since the last summary as warnings, the others
    /// for debugging.
    /// The request was to `source`, if that is one of the configured ones.
    pub(super) fn log(
        &self,
        kind: RejectionKind,
        source: Option<&str>,
        client: Option<IpAddr>,
        reason: &dyn Display,
    ) {
        let has_line = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.add(kind, source, client)
        };
        let kind = kind.as_str();
        let addr = client.map(tracing::field::display);
        if has_line {
            tracing::warn!(kind, source, addr, %reason, "request rejected");
        } else {
            tracing::debug!(kind, source, addr, %reason, "request rejected");
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
                sources = recent.sources(),
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
            recent.add(RejectionKind::Signature, None, busy);
            recent.add(RejectionKind::Rate, None, Some(Ipv4Addr::from(i).into()));
        }
        recent.add(RejectionKind::ReadToken, None, None);
        assert_eq!(recent.by_address.len(), MAX_ADDRESSES);
        assert_eq!(recent.count(), 20_001);
        assert_eq!(
            recent.kinds(),
            "signature: 10000, read token: 1, rate limit: 10000"
        );
        let addresses = recent.addresses();
        assert!(addresses.starts_with("192.0.2.1: 10000, "), "{addresses}");
        assert_eq!(addresses.split(", ").count(), MAX_NAMED);
        assert_eq!(recent.sources(), None);
    }

    #[test]
    fn flooded_source_does_not_hide_the_rejections_of_another() {
        let mut recent = Recent::default();
        let mut lines = |source, count| {
            let added = (0..count).map(|_| recent.add(RejectionKind::Signature, source, None));
            added.filter(|has_line| *has_line).count() as u64
        };
        assert_eq!(lines(Some("flooded"), 1_000), MAX_LINES);
        assert_eq!(lines(Some("quiet"), 3), 3);
        assert_eq!(lines(None, 1_000), MAX_LINES);
        assert_eq!(recent.sources().unwrap(), "flooded: 1000, quiet: 3");
    }
}
