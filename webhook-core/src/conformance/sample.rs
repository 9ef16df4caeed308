//! Samples: bounded counts by kind.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{KindSample, Outcome};

async fn sample(backend: &Backend, kinds: &[&'static str], cap: usize) -> Vec<KindSample> {
    let kinds: Vec<_> = kinds.iter().map(|it| kind_named(it)).collect();
    let cap = NonZeroUsize::new(cap).expect("cases count something");
    let samples = backend.admin.sample(&kinds, cap).await.expect("sample");
    let sampled: Vec<_> = samples.iter().map(|it| it.kind.clone()).collect();
    assert_eq!(sampled, kinds);
    samples
}

/// The counts are those of [`Admin::counts`](crate::Admin::counts), in the order of the kinds.
pub async fn samples_count_by_kind_and_state(backend: Backend) {
    assert_eq!(sample(&backend, &[], 10).await, []);
    backend.settled("processed", "1", Outcome::Processed).await;
    for name in ["failed-1", "failed-2"] {
        backend.settled(name, "1", failed("no")).await;
    }
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.accept_new(&events(3)).await;
    let waiting = ["w-1", "w-2", "w-3", "w-4"].map(|name| event_in(LONG, name, "1"));
    backend.accept_new(&waiting).await;
    let other = kind_named("other");
    backend.accept_new(&[event_of(&other, "event", "1")]).await;
    backend.pause(&other).await;
    backend.pass(Duration::from_millis(5)).await;
    let samples = sample(&backend, &["other", "unknown", "conformance", "other"], 10).await;
    let lag = backend.admin.lag(&kind()).await.expect("lag");
    let lag = lag.expect("events are due");
    let oldest = samples[2].oldest_due.expect("events are due");
    assert!(
        oldest <= lag && lag - oldest < LONG / 2,
        "{oldest:?} {lag:?}"
    );
    let expected = KindSample::new(kind())
        .with_waiting(4)
        .with_due(3)
        .with_leased(1)
        .with_failed(2)
        .with_oldest_due(Some(oldest));
    assert_eq!(samples[2], expected);
    let expected = KindSample::new(other)
        .with_due(1)
        .with_paused(true)
        .with_oldest_due(samples[0].oldest_due);
    assert!(samples[0].oldest_due.is_some());
    assert_eq!(samples[0], expected);
    assert_eq!(samples[1], KindSample::new(kind_named("unknown")));
    assert_eq!(samples[3].due, 1);
}

/// Each count ends at the bound, and the sample says so.
pub async fn samples_are_bounded(backend: Backend) {
    backend.accept_new(&events(20)).await;
    for claimed in backend.claim_within(&up_to(8), 8).await {
        backend.settle_one(claimed.lease, failed("no")).await;
    }
    let waiting: Vec<_> = (0..7)
        .map(|number| event_in(LONG, &format!("waiting-{number}"), "1"))
        .collect();
    backend.accept_new(&waiting).await;
    for (cap, waiting, due, failed, is_capped) in [
        (5, 5, 5, 5, true),
        (8, 7, 8, 8, true),
        (12, 7, 12, 8, true),
        (13, 7, 12, 8, false),
    ] {
        let samples = sample(&backend, &["conformance"], cap).await;
        let expected = KindSample::new(kind())
            .with_waiting(waiting)
            .with_due(due)
            .with_failed(failed)
            .with_is_capped(is_capped)
            .with_oldest_due(samples[0].oldest_due);
        assert_eq!(samples, [expected], "cap {cap}");
    }
    backend.claim_within(&up_to(3), 3).await;
    let samples = sample(&backend, &["conformance"], 6).await;
    assert_eq!(samples[0].due + samples[0].leased, 6);
    assert!(samples[0].is_capped);
}

/// The oldest due event is that of [`Admin::lag`](crate::Admin::lag).
pub async fn samples_have_the_age_of_the_oldest_due_event(backend: Backend) {
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    let samples = sample(&backend, &["conformance"], 9).await;
    assert_eq!(samples[0].oldest_due, None);
    backend.accept_new(&[event("old", "1")]).await;
    backend.pass(PAST_SHORT).await;
    backend.accept_new(&[event("young", "1")]).await;
    let samples = sample(&backend, &["conformance"], 9).await;
    let oldest = samples[0].oldest_due.expect("an event is due");
    assert!(oldest + TOLERANCE >= PAST_SHORT, "{oldest:?}");
    // The oldest is leased.
    backend.claim_one(&up_to(1)).await;
    let samples = sample(&backend, &["conformance"], 9).await;
    assert_eq!((samples[0].due, samples[0].leased), (1, 1));
    let lag = backend.admin.lag(&kind()).await.expect("lag");
    assert!(samples[0].oldest_due <= lag, "{samples:?} {lag:?}");
}
