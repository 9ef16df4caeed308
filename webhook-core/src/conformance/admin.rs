//! Admin: counts, lag and lists.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Backend;
use super::steps::*;
use crate::{
    Claim, Counts, EventId, EventSummary, Kind, NewEvent, Outcome, Page, Prune, SettledCounts,
    State, TerminalState,
};

/// Kinds are listed once each, in ascending order of their bytes.
pub async fn kinds_are_sorted_without_duplicates(backend: Backend) {
    assert_eq!(kinds(&backend).await, [""; 0]);
    let sorted = ["a", "a-b", "a.b", "a0", "a_b", "aa", "b"];
    for name in sorted.iter().rev() {
        let kind = kind_named(name);
        let later = NewEvent {
            delay: LONG,
            ..event_of(&kind, "later", "1")
        };
        backend
            .accept_new(&[event_of(&kind, "now", "1"), later])
            .await;
    }
    assert_eq!(kinds(&backend).await, sorted);
    backend.claim_one(&one_of("a-b")).await;
    assert_eq!(kinds(&backend).await, sorted, "an event is held");
}

/// A kind is listed even if all its events are settled, whether they were processed or failed.
pub async fn kinds_include_those_of_settled_events(backend: Backend) {
    settled_of(&backend, "failed", failed("broken")).await;
    settled_of(&backend, "processed", Outcome::Processed).await;
    settled_of(&backend, "both", Outcome::Processed).await;
    settled_of(&backend, "both", failed("broken")).await;
    settled_of(&backend, "mixed", Outcome::Processed).await;
    let waiting = ["mixed", "waiting"].map(|name| event_of(&kind_named(name), "waiting", "1"));
    backend.accept_new(&waiting).await;
    let expected = ["both", "failed", "mixed", "processed", "waiting"];
    assert_eq!(kinds(&backend).await, expected);
}

/// A kind is no longer listed once its last event is pruned, and is listed again after the next accept.
pub async fn pruned_kinds_are_not_listed(backend: Backend) {
    settled_of(&backend, "failed", failed("broken")).await;
    settled_of(&backend, "processed", Outcome::Processed).await;
    settled_of(&backend, "both", Outcome::Processed).await;
    settled_of(&backend, "both", failed("broken")).await;
    let prune = async |name, state| {
        let prune = Prune {
            kind: kind_named(name),
            state,
            older_than: Duration::ZERO,
            limit: NonZeroUsize::MAX,
        };
        let pruned = backend.admin.prune(&prune).await.expect("prune");
        assert_eq!(pruned, 1, "{name}");
    };
    prune("processed", TerminalState::Processed).await;
    prune("both", TerminalState::Processed).await;
    assert_eq!(kinds(&backend).await, ["both", "failed"]);
    prune("both", TerminalState::Failed).await;
    prune("failed", TerminalState::Failed).await;
    assert_eq!(kinds(&backend).await, [""; 0]);
    let again = event_of(&kind_named("both"), "again", "1");
    backend.accept_new(&[again]).await;
    assert_eq!(kinds(&backend).await, ["both"]);
}

/// Every event is counted once, in its state.
pub async fn counts_are_by_state(backend: Backend) {
    assert_eq!(counts(&backend).await, Counts::default());
    backend
        .settled("processed-1", "1", Outcome::Processed)
        .await;
    backend
        .settled("processed-2", "1", Outcome::Processed)
        .await;
    backend
        .settled("processed-3", "1", Outcome::Processed)
        .await;
    backend.settled("failed-1", "1", failed("broken")).await;
    backend.settled("failed-2", "1", failed("broken")).await;
    backend.settled("retried", "1", retry(LONG, "later")).await;
    backend.accept_new(&[event("expired", "1")]).await;
    let brief = Claim {
        lease: SHORT,
        ..up_to(1)
    };
    backend.claim_one(&brief).await;
    backend.pass(PAST_SHORT).await;
    backend.accept_new(&events(4)).await;
    let waiting = [event_in(LONG, "w-1", "1"), event_in(LONG, "w-2", "1")];
    backend.accept_new(&waiting).await;
    backend.pass(TOLERANCE).await;
    let expected = Counts {
        waiting: 3,
        due: 5,
        leased: 0,
        processed: 3,
        failed: 2,
    };
    assert_eq!(counts(&backend).await, expected);
    assert_eq!(backend.claim(&up_to(2)).await.events.len(), 2);
    let expected = Counts {
        due: 3,
        leased: 2,
        ..expected
    };
    assert_eq!(counts(&backend).await, expected);
}

/// Counts, lag and lists are those of one kind.
pub async fn counts_and_lists_are_of_one_kind(backend: Backend) {
    let other = kind_named("other");
    let batch = [event_of(&other, "a", "1"), event_of(&other, "b", "1")];
    backend.accept_new(&batch).await;
    assert_eq!(counts(&backend).await, Counts::default());
    assert_eq!(lag(&backend).await, None);
    for state in State::ALL {
        assert_eq!(list(&backend, &kind(), state, None, 9).await, []);
    }
    let listed = list(&backend, &other, State::Processing, None, 9).await;
    let listed: Vec<_> = listed.iter().map(|it| it.event.clone()).collect();
    backend.assert_order_of(&listed, &batch.each_ref().map(reference));
}

/// The lag is the age of the oldest event that is due and not leased.
pub async fn the_lag_is_that_of_the_oldest_due_event(backend: Backend) {
    assert_eq!(lag(&backend).await, None, "there is nothing");
    backend.accept_new(&[event_in(LONG, "far", "1")]).await;
    assert_eq!(lag(&backend).await, None, "nothing is due");
    backend.accept_new(&[event("old", "1")]).await;
    backend.pass(PAST_SHORT).await;
    backend.accept_new(&[event("new", "1")]).await;
    backend.pass(TOLERANCE).await;
    let oldest = lag(&backend).await.expect("there is a due event");
    assert!(oldest >= SHORT, "{oldest:?}");
    assert!(oldest < LONG, "{oldest:?}");
    let held = backend.claim_one(&up_to(1)).await;
    assert!(lag(&backend).await.is_some(), "the other one is due");
    let other = backend.claim_one(&up_to(1)).await;
    assert_eq!(lag(&backend).await, None, "all that is due is held");
    let held = [held, other];
    backend.assert_order(&keys(&held), &["old", "new"]);
    let old = held.iter().find(|it| it.key == key("old"));
    let old = old.expect("it is claimed");
    assert!(old.lag >= oldest, "both count from the due time");
}

/// An event with an expired lease counts as not leased.
pub async fn an_expired_lease_counts_as_lag(backend: Backend) {
    backend.accept_new(&[event("a", "1")]).await;
    let brief = Claim {
        lease: SHORT,
        ..up_to(1)
    };
    backend.claim_one(&brief).await;
    backend.pass(PAST_SHORT).await;
    assert!(lag(&backend).await.is_some());
}

/// Settled events have no lag.
pub async fn settled_events_have_no_lag(backend: Backend) {
    backend.settled("a", "1", Outcome::Processed).await;
    backend.settled("b", "1", failed("broken")).await;
    backend.pass(TOLERANCE).await;
    assert_eq!(lag(&backend).await, None);
}

/// A list has the summaries of the events in one state.
pub async fn lists_are_of_one_state(backend: Backend) {
    backend.settled("good", "1", Outcome::Processed).await;
    backend.settled("bad", "1", failed("broken")).await;
    backend.accept_new(&[event("held", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    backend.accept_new(&[event_in(LONG, "waiting", "1")]).await;
    backend.accept(&[event("bad", "conflict")]).await;
    let expected: [(State, &[&str]); 3] = [
        (State::Processing, &["held", "waiting"]),
        (State::Processed, &["good"]),
        (State::Failed, &["bad"]),
    ];
    for (state, expected) in expected {
        let listed = list(&backend, &kind(), state, None, 9).await;
        backend.assert_order(&names(&listed), expected);
        for listed in listed {
            let name = listed.event.key.as_str().to_owned();
            assert_eq!(listed, backend.record(&name).await.summary());
        }
    }
}

/// All pages together list every event once, in the order of their ids.
pub async fn pages_list_each_event_once(backend: Backend) {
    let other = kind_named("other");
    for batch in events(50).chunks(10) {
        backend.accept_new(batch).await;
        let name = batch[0].envelope.key.as_str();
        backend.accept_new(&[event_of(&other, name, "1")]).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = list(&backend, &kind(), State::Processing, after, 7).await;
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page);
        assert!(seen.len() <= 50, "an event is listed twice");
    }
    assert_eq!(seen.len(), 50);
    assert!(seen.is_sorted_by(|one, next| one.id < next.id));
    assert!(seen.iter().all(|record| record.event.kind == kind()));
    let whole = list(&backend, &kind(), State::Processing, None, 50).await;
    assert_eq!(whole, seen, "a page takes as many as it may");
}

/// A page may begin after an event that has changed its state or is deleted.
pub async fn pages_continue_after_any_id(backend: Backend) {
    for name in ["a", "b", "c", "d"] {
        backend.accept_new(&[event(name, "1")]).await;
    }
    let whole = list(&backend, &kind(), State::Processing, None, 9).await;
    let mut whole = names(&whole);
    backend.assert_order(&whole, &["a", "b", "c", "d"]);
    let first = list(&backend, &kind(), State::Processing, None, 2).await;
    assert_eq!(names(&first), whole[..2]);
    for claimed in backend.claim_within(&up_to(4), 4).await {
        if claimed.key.as_str() == whole[1] {
            backend.settle_one(claimed.lease, Outcome::Processed).await;
        }
    }
    let after = Some(first[1].id);
    let rest = list(&backend, &kind(), State::Processing, after, 9).await;
    assert_eq!(names(&rest), whole[2..]);
    whole.remove(1);
    let after = Some(EventId::new(i64::MAX));
    let end = list(&backend, &kind(), State::Processing, after, 9).await;
    assert_eq!(end, []);
    let before = Some(EventId::new(i64::MIN));
    let all = list(&backend, &kind(), State::Processing, before, usize::MAX).await;
    assert_eq!(names(&all), whole);
}

/// Settlements are counted by their age, their state and their kind.
pub async fn recent_settlements_are_counted(backend: Backend) {
    let settled = async |within| {
        let settled = backend.admin.settled(&kind(), within).await;
        settled.expect("settled")
    };
    assert_eq!(settled(LONG).await, SettledCounts::default());
    for name in ["a", "b"] {
        backend.settled(name, "1", Outcome::Processed).await;
    }
    backend.settled("c", "1", failed("broken")).await;
    backend.settled("d", "1", retry(LONG, "later")).await;
    let expected = SettledCounts {
        processed: 2,
        failed: 1,
    };
    assert_eq!(settled(LONG).await, expected);
    let other = backend.admin.settled(&kind_named("other"), LONG).await;
    assert_eq!(other.expect("settled"), SettledCounts::default());
    backend.pass(PAST_SHORT).await;
    assert_eq!(settled(SHORT).await, SettledCounts::default());
}

/// Accepts an event of the kind `name`, claims it and settles it.
async fn settled_of(backend: &Backend, name: &'static str, outcome: Outcome) {
    let key = format!("{outcome:?}");
    let event = event_of(&kind_named(name), &key, "1");
    backend.accept_new(&[event]).await;
    let claimed = backend.claim_one(&one_of(name)).await;
    backend.settle_one(claimed.lease, outcome).await;
}

/// Parameters of a claim for one event of the kind `name`.
fn one_of(name: &'static str) -> Claim {
    Claim {
        kind: kind_named(name),
        ..up_to(1)
    }
}

async fn kinds(backend: &Backend) -> Vec<String> {
    let kinds = backend.admin.kinds().await.expect("kinds");
    kinds.iter().map(Kind::to_string).collect()
}

async fn counts(backend: &Backend) -> Counts {
    backend.admin.counts(&kind()).await.expect("counts")
}

async fn lag(backend: &Backend) -> Option<Duration> {
    backend.admin.lag(&kind()).await.expect("lag")
}

async fn list(
    backend: &Backend,
    kind: &Kind,
    state: State,
    after: Option<EventId>,
    limit: usize,
) -> Vec<EventSummary> {
    let limit = NonZeroUsize::new(limit).expect("pages have a limit");
    let page = Page {
        after,
        ..Page::new(kind.clone(), state, limit)
    };
    backend.admin.list(&page).await.expect("list")
}

fn names(records: &[EventSummary]) -> Vec<&str> {
    let names = records.iter().map(|record| record.event.key.as_str());
    names.collect()
}
