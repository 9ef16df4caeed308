//! The latest requests that a source refused, with the reasons.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::http::request::Parts;

use super::ActiveSource;
use crate::metrics::MinuteSeries;

/// How many requests of a source are kept.
pub(super) const MAX_REFUSED: usize = 1_000;

/// How many bytes of a body are kept, where bodies are.
pub(crate) const MAX_REFUSED_BODY_BYTES: usize = 2 * 1024;

/// How many bytes the requests of all sources together may take.
const MAX_BYTES: usize = 64 << 20;

/// How many bytes the requests of one source may take at least, however many sources there are.
const MIN_SOURCE_BYTES: usize = 64 * 1024;

/// How many bytes the requests of one source may take at most.
const MAX_SOURCE_BYTES: usize = 4 << 20;

/// What a request takes beside its texts.
const OVERHEAD_BYTES: usize = 256;

/// A request that was refused. It holds no secret.
#[derive(Debug)]
pub(crate) struct RefusedRequest {
    pub(crate) at: SystemTime,
    pub(crate) client: Option<IpAddr>,
    pub(crate) method: String,
    /// The query, with the lengths of its values instead of the values.
    pub(crate) query: String,
    /// The status of the answer.
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// What probably has to be changed, once that is found out.
    pub(crate) hint: OnceLock<String>,
    /// `name: value` and a line feed for each header, without secrets.
    pub(crate) headers: String,
    /// The length of the body; `None` if it was not read.
    pub(crate) body_bytes: Option<usize>,
    /// The beginning of the body, where the source keeps it.
    pub(crate) body: Option<Bytes>,
}

impl RefusedRequest {
    pub(super) fn of(
        source: &ActiveSource,
        client: Option<IpAddr>,
        head: &Parts,
        body: Option<&Bytes>,
        status: u16,
        reason: String,
    ) -> Self {
        let kept = body.filter(|_| source.config.keep_refused_bodies);
        Self {
            at: SystemTime::now(),
            client,
            method: head.method.to_string(),
            query: source.masking.query(head.uri.query().unwrap_or_default()),
            status,
            reason,
            hint: OnceLock::new(),
            headers: source.masking.headers(&head.headers),
            body_bytes: body.map(Bytes::len),
            // A copy: a slice would keep the whole body in memory.
            body: kept.map(|body| {
                Bytes::copy_from_slice(&body[..body.len().min(MAX_REFUSED_BODY_BYTES)])
            }),
        }
    }

    fn bytes(&self) -> usize {
        let texts = [&self.method, &self.query, &self.reason, &self.headers];
        let body = self.body.as_ref().map_or(0, Bytes::len);
        texts.into_iter().map(String::len).sum::<usize>() + body + OVERHEAD_BYTES
    }
}

/// The latest refused requests of a source.
#[derive(Debug)]
pub(super) struct RefusedRequests {
    /// How many there were in each minute of the last hour.
    by_minute: MinuteSeries,
    kept: VecDeque<Arc<RefusedRequest>>,
    bytes: usize,
    max_bytes: usize,
}

impl Default for RefusedRequests {
    fn default() -> Self {
        Self {
            by_minute: MinuteSeries::default(),
            kept: VecDeque::new(),
            bytes: 0,
            max_bytes: MAX_SOURCE_BYTES,
        }
    }
}

impl RefusedRequests {
    pub(super) fn push(&mut self, request: Arc<RefusedRequest>) {
        self.by_minute.add_now();
        self.bytes += request.bytes();
        self.kept.push_back(request);
        self.evict();
    }

    /// The latest ones, the latest first.
    pub(super) fn latest(&self, limit: usize) -> Vec<Arc<RefusedRequest>> {
        self.kept.iter().rev().take(limit).cloned().collect()
    }

    pub(super) const fn by_minute(&self) -> MinuteSeries {
        self.by_minute
    }

    /// Divides the room among `sources`.
    pub(super) fn resize(&mut self, sources: usize) {
        let share = MAX_BYTES / sources.max(1);
        self.max_bytes = share.clamp(MIN_SOURCE_BYTES, MAX_SOURCE_BYTES);
        self.evict();
    }

    fn evict(&mut self) {
        while self.kept.len() > MAX_REFUSED || self.bytes > self.max_bytes {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reason: &str) -> Arc<RefusedRequest> {
        Arc::new(RefusedRequest {
            at: SystemTime::now(),
            client: None,
            method: "POST".to_owned(),
            query: String::new(),
            status: 401,
            reason: reason.to_owned(),
            hint: OnceLock::new(),
            headers: String::new(),
            body_bytes: None,
            body: None,
        })
    }

    #[test]
    fn latest_thousand_are_kept() {
        let mut requests = RefusedRequests::default();
        for number in 0..2_500 {
            requests.push(request(&number.to_string()));
        }
        let latest = requests.latest(usize::MAX);
        assert_eq!(latest.len(), MAX_REFUSED);
        assert_eq!((&*latest[0].reason, &*latest[999].reason), ("2499", "1500"));
        assert_eq!(requests.latest(2).len(), 2);
    }

    #[test]
    fn bytes_are_bounded() {
        let mut requests = RefusedRequests::default();
        requests.resize(1_000);
        for _ in 0..500 {
            requests.push(request(&"x".repeat(10_000)));
        }
        assert!(
            requests.bytes <= MIN_SOURCE_BYTES + 4 * 1024,
            "{}",
            requests.bytes
        );
        assert!(!requests.latest(10).is_empty());
        let kept = requests.kept.iter().map(|it| it.bytes()).sum::<usize>();
        assert_eq!(kept, requests.bytes);
    }
}
