use proptest::prelude::*;
use tokio::time::{advance, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn destination() -> Destination {
    Destination::new("http://app.test/hooks?key=swordfish".parse().unwrap())
}

fn limit(destination: &Destination) -> Arc<Limit> {
    Arc::new(Limit::new(destination))
}

fn started(limit: &Arc<Limit>) -> Running {
    limit.start(&Key::new("evt_1").unwrap()).unwrap()
}

fn held(limit: &Arc<Limit>) -> Option<Held> {
    limit.start(&Key::new("evt_1").unwrap()).err()
}

fn verdict(effect: Effect) -> Verdict {
    let (event, class) = match effect {
        Effect::Health(Health::Success) => (Fate::Delivered, None),
        Effect::Pause => (Fate::Hold, Some(ErrorClass::Gone)),
        _ => (Fate::Retry(Duration::ZERO), Some(ErrorClass::Status5xx)),
    };
    Verdict {
        event,
        destination: effect,
        class,
        reason: "answered 500 Internal Server Error".to_owned(),
    }
}

/// Makes an attempt that ends with `effect`.
fn attempt(limit: &Arc<Limit>, effect: Effect) {
    started(limit).end(&verdict(effect), None);
}

const SUCCESS: Effect = Effect::Health(Health::Success);
const NO_CONNECTION: Effect = Effect::Overload(Health::ConnectionFailure);

/// Ends when the limit says that it has changed. The clock is paused, so that this takes no time.
async fn changes(limit: &Limit, within: Duration) -> bool {
    timeout(within, limit.changed()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_window_limits_running_attempts() {
    let limit = limit(&destination().with_concurrency(3.try_into().unwrap()));
    assert_eq!((limit.allowance(0), limit.allowance(1)), (1, 0));
    // As many again are claimed ahead once the window is open.
    for allowance in [2, 6, 6] {
        attempt(&limit, SUCCESS);
        assert_eq!(limit.allowance(0), allowance);
    }
    assert_eq!(
        (limit.allowance(5), limit.allowance(6), limit.allowance(9)),
        (1, 0, 0)
    );
    attempt(&limit, Effect::Overload(Health::Failure));
    assert_eq!(limit.allowance(0), 1);
    attempt(&limit, SUCCESS);
    let running = started(&limit);
    advance(60 * SECOND).await;
    assert_eq!((limit.status().window, limit.allowance(0)), (2, 1));
    drop(running);
    advance(10 * SECOND).await;
    assert_eq!(limit.allowance(0), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_attempt_is_a_change() {
    let limit = limit(&destination());
    assert!(!changes(&limit, SECOND).await);
    attempt(&limit, SUCCESS);
    assert!(changes(&limit, SECOND).await);
    drop(started(&limit));
    assert!(changes(&limit, SECOND).await);
    assert!(!changes(&limit, SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn events_that_were_claimed_ahead_wait_for_a_halved_window() {
    let limit = limit(&destination().with_concurrency(4.try_into().unwrap()));
    (0..4).for_each(|_| attempt(&limit, SUCCESS));
    let mut running: Vec<_> = (0..4).map(|_| started(&limit)).collect();
    assert_eq!(held(&limit), Some(Held::Full));
    running
        .pop()
        .unwrap()
        .end(&verdict(Effect::Overload(Health::Failure)), None);
    // Two may run, and three do.
    assert_eq!(limit.status().window, 2);
    assert!(in_time(limit.room()).await);
    assert_eq!(held(&limit), Some(Held::Full));
    assert!(!in_time(limit.room()).await);
    drop(running.pop());
    assert!(in_time(limit.room()).await);
    assert_eq!(held(&limit), Some(Held::Full));
    // A success frees a place, and opens the window again.
    running.pop().unwrap().end(&verdict(SUCCESS), Some(200));
    assert!(in_time(limit.room()).await);
    let more = [(); 2].map(|()| started(&limit));
    assert_eq!(held(&limit), Some(Held::Full));
    assert_eq!(limit.status().postponed, 0);
    drop(more);
}

#[tokio::test(start_paused = true)]
async fn events_that_were_claimed_for_another_url_start_slowly() {
    let limit = limit(&destination());
    (0..32).for_each(|_| attempt(&limit, SUCCESS));
    let former: Vec<_> = (0..32).map(|_| started(&limit)).collect();
    let elsewhere = Destination::new("http://other.test/".parse().unwrap());
    limit.replace(&elsewhere, true);
    let first = started(&limit);
    assert_eq!(held(&limit), Some(Held::Full));
    // Those that were sent elsewhere make no room here.
    drop(former);
    assert_eq!(held(&limit), Some(Held::Full));
    first.end(&verdict(SUCCESS), Some(200));
    let _two = [(); 2].map(|()| started(&limit));
    assert_eq!(held(&limit), Some(Held::Full));
    assert_eq!(limit.gave_up_waiting(), Held::Full);
    assert_eq!(limit.status().postponed, 1);
}

/// Whether `waiting` ends without anything that happens meanwhile.
async fn in_time(waiting: impl Future<Output = ()>) -> bool {
    timeout(SECOND, waiting).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_rate_takes_tokens_from_claims() {
    let rate: crate::rate::Rate = "2/s".parse().unwrap();
    let limit = limit(&destination().with_rate(rate));
    (0..9).for_each(|_| attempt(&limit, SUCCESS));
    assert_eq!(limit.allowance(0), 2);
    limit.claimed(2);
    assert_eq!(limit.allowance(0), 0);
    // The attempts have left a notification.
    assert!(changes(&limit, Duration::ZERO).await);
    assert!(!changes(&limit, SECOND / 2 - Duration::from_millis(2)).await);
    assert_eq!(limit.allowance(0), 0);
    assert!(changes(&limit, SECOND).await);
    assert_eq!(limit.allowance(0), 1);
    limit.replace(&destination(), false);
    assert!(limit.allowance(0) > 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_allows_nothing_and_then_one_probe() {
    let limit = limit(&destination());
    (0..9).for_each(|_| attempt(&limit, SUCCESS));
    (0..5).for_each(|_| attempt(&limit, NO_CONNECTION));
    assert_eq!(limit.allowance(0), 0);
    assert_eq!(held(&limit), Some(Held::Open));
    assert!(matches!(
        limit.status().state,
        DestinationState::Open { .. }
    ));
    assert!(changes(&limit, Duration::ZERO).await);
    assert!(!changes(&limit, 26 * SECOND).await);
    assert!(changes(&limit, 8 * SECOND).await);
    assert_eq!((limit.allowance(0), limit.allowance(1)), (1, 0));
    let probe = started(&limit);
    assert_eq!(held(&limit), Some(Held::Probed));
    // A worker that has just replaced the one that probes has no attempts, and gets none.
    assert_eq!(limit.allowance(0), 0);
    assert_eq!(limit.status().state, DestinationState::HalfOpen);
    probe.end(&verdict(SUCCESS), Some(200));
    attempt(&limit, SUCCESS);
    assert_eq!(limit.allowance(0), 1);
    attempt(&limit, SUCCESS);
    assert_eq!(limit.status().state, DestinationState::Closed);
    // Slow start.
    assert_eq!((limit.allowance(0), limit.allowance(1)), (1, 0));
    assert_eq!(limit.status().postponed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_destination_gets_nothing_until_then() {
    let limit = limit(&destination());
    attempt(&limit, Effect::Throttle(100 * SECOND));
    attempt_is_held(&limit, Held::Throttled);
    let DestinationState::Throttled { .. } = limit.status().state else {
        panic!("{:?}", limit.status())
    };
    assert!(changes(&limit, Duration::ZERO).await);
    assert!(!changes(&limit, 99 * SECOND).await);
    assert!(changes(&limit, 2 * SECOND).await);
    assert_eq!(limit.allowance(0), 1);
    (0..3).for_each(|_| attempt(&limit, SUCCESS));
    // A later answer does not shorten it.
    let runs = [(); 2].map(|()| started(&limit));
    for (running, seconds) in runs.into_iter().zip([50, 0]) {
        running.end(&verdict(Effect::Throttle(seconds * SECOND)), Some(429));
    }
    advance(49 * SECOND).await;
    attempt_is_held(&limit, Held::Throttled);
    advance(SECOND).await;
    assert_eq!(limit.allowance(0), 1);
}

fn attempt_is_held(limit: &Arc<Limit>, by: Held) {
    assert_eq!(limit.allowance(0), 0);
    assert_eq!(held(limit), Some(by));
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_until_it_is_stored() {
    let limit = limit(&destination());
    (0..9).for_each(|_| attempt(&limit, SUCCESS));
    let running = [(); 2].map(|()| started(&limit));
    // Only the first answer is news.
    let is_new = running.map(|running| running.end(&verdict(Effect::Pause), Some(410)));
    assert_eq!(is_new, [true, false]);
    attempt_is_held(&limit, Held::Paused);
    assert!(limit.waits_for_pause());
    limit.pause_is_stored();
    assert!(!limit.waits_for_pause());
    let status = limit.status();
    assert_eq!(status.state, DestinationState::Paused);
    let reason = status.pause.map(|it| it.reason);
    assert_eq!(
        reason.as_deref(),
        Some("answered 500 Internal Server Error")
    );
    // From here on the store decides. It begins slowly.
    assert_eq!(limit.allowance(0), 1);
    attempt(&limit, SUCCESS);
    let status = limit.status();
    assert_eq!(
        (status.state, status.pause),
        (DestinationState::Closed, None)
    );
    assert!(started(&limit).end(&verdict(Effect::Pause), Some(410)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_not_stored_ends() {
    let limit = limit(&destination());
    attempt(&limit, Effect::Pause);
    assert!(changes(&limit, Duration::ZERO).await);
    assert!(!changes(&limit, GONE - 2 * SECOND).await);
    assert!(changes(&limit, 3 * SECOND).await);
    assert_eq!(limit.allowance(0), 1);
    attempt(&limit, SUCCESS);
    assert_eq!(limit.status().state, DestinationState::Closed);
}

#[tokio::test(start_paused = true)]
async fn another_url_is_not_held_for_the_answers_of_the_old_one() {
    let elsewhere = Destination::new("http://other.test/".parse().unwrap());
    for effect in [Effect::Pause, Effect::Throttle(SECOND), NO_CONNECTION] {
        let limit = limit(&destination());
        (0..32).for_each(|_| attempt(&limit, SUCCESS));
        let old = started(&limit);
        (0..5).for_each(|_| {
            if held(&limit).is_none() {
                attempt(&limit, effect);
            }
        });
        assert_eq!(limit.allowance(0), 0);
        limit.replace(&destination(), false);
        assert_eq!(limit.allowance(0), 0);
        limit.replace(&elsewhere, true);
        assert_eq!((limit.allowance(1), limit.allowance(2)), (1, 0));
        assert!(!old.end(&verdict(effect), None));
        let status = limit.status();
        assert_eq!(
            (status.state, status.in_flight),
            (DestinationState::Closed, 0)
        );
        assert_eq!(status.url, "http://other.test/");
        assert!(status.failed > 0 || status.postponed > 0);
        assert_eq!(limit.allowance(0), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_counts_and_lists_the_last_answers() {
    let limit = limit(&destination());
    (0..8).for_each(|_| attempt(&limit, SUCCESS));
    (0..3).for_each(|_| attempt(&limit, Effect::Health(Health::Failure)));
    drop(started(&limit));
    let running = started(&limit);
    let status = limit.status();
    assert_eq!(status.url, "http://app.test/hooks");
    assert_eq!(
        (status.delivered, status.failed, status.postponed),
        (8, 3, 0)
    );
    assert_eq!((status.consecutive_failures, status.in_flight), (3, 1));
    assert_eq!((status.window, status.concurrency), (9, 32));
    let classes: Vec<_> = status
        .last_answers
        .iter()
        .map(|it| it.error_class)
        .collect();
    assert_eq!(
        classes[..2],
        [Some(ErrorClass::Aborted), Some(ErrorClass::Status5xx)]
    );
    assert_eq!((classes.len(), classes[9]), (10, None));
    running.end(&verdict(SUCCESS), Some(204));
    let status = limit.status();
    assert_eq!((status.consecutive_failures, status.in_flight), (0, 0));
    assert_eq!(status.last_answers[0].status, Some(204));
}

fn effects() -> impl Strategy<Value = Effect> {
    prop::sample::select(vec![
        SUCCESS,
        SUCCESS,
        Effect::Health(Health::Failure),
        NO_CONNECTION,
        Effect::Throttle(SECOND),
        Effect::Throttle(Duration::ZERO),
        Effect::Pause,
        Effect::None,
    ])
}

proptest! {
    #[test]
    fn the_allowance_is_never_more_than_free_slots_and_tokens(
        steps in prop::collection::vec((effects(), 0..120_u64, 0..9_usize, any::<bool>()), 0..100),
        concurrency in 1..9_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rate: crate::rate::Rate = "5/s".parse().unwrap();
            let destination = destination().with_concurrency(concurrency.try_into().unwrap());
            let limit = limit(&destination.with_rate(rate));
            let mut running = Vec::new();
            for (effect, seconds, slots, is_aborted) in steps {
                advance(Duration::from_secs(seconds)).await;
                let allowance = limit.allowance(slots);
                prop_assert!(allowance <= (2 * concurrency).saturating_sub(slots).min(5));
                limit.claimed(allowance);
                if let Ok(started) = limit.start(&Key::new("evt_1").unwrap()) {
                    running.push(started);
                }
                prop_assert_eq!(limit.status().in_flight, running.len());
                if running.len() > slots {
                    let ended = running.swap_remove(slots);
                    if is_aborted {
                        drop(ended);
                    } else {
                        ended.end(&verdict(effect), None);
                    }
                }
                if seconds > 60 {
                    limit.pause_is_stored();
                }
            }
            // Whatever happened, it recovers without help.
            running.clear();
            for _ in 0..3 {
                advance(GONE + 61 * SECOND).await;
                prop_assert!(limit.allowance(0) > 0);
                attempt(&limit, SUCCESS);
            }
            prop_assert_eq!(limit.status().state, DestinationState::Closed);
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn copies_share_the_rate_and_are_held_as_events_are() {
    let limit = limit(&destination().with_rate(Some("2/s".parse().unwrap())));
    assert_eq!(limit.admit(), Ok(()));
    assert_eq!(limit.admit(), Ok(()));
    assert_eq!(limit.allowance(0), 0, "the worker shares it");
    let NotNow { retry_in, .. } = limit.admit().unwrap_err();
    assert_eq!(retry_in, SECOND / 2);
    advance(retry_in).await;
    assert_eq!(limit.admit(), Ok(()));

    advance(10 * SECOND).await;
    attempt(&limit, Effect::Throttle(30 * SECOND));
    let not_now = limit.admit().unwrap_err();
    assert_eq!(
        (not_now.reason, not_now.retry_in),
        (Held::Throttled.as_str(), 30 * SECOND)
    );
    // It has taken no token.
    advance(30 * SECOND).await;
    assert_eq!((limit.admit(), limit.admit()), (Ok(()), Ok(())));
}
