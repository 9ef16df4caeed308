//! Searches: each parameter selects what it says, pages list each event once, and bounds end a search, not what it
//! finds.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use super::Backend;
use super::steps::*;
use crate::{
    DeleteBodies, EventSummary, EventType, Headers, Kind, NewEvent, Outcome, Pattern, Search,
    SearchPage, State, StoppedEarly,
};

/// What a search has to select from: events of two kinds in all states.
///
/// In the order of their ids: `processed`, `failed` and `Failed-2` (FAILED with two reasons), `leased`, `due`,
/// `waiting`, and `due` again of another kind.
async fn fill(backend: &Backend) {
    for (name, event_type, outcome) in [
        ("processed", "invoice.paid", Outcome::Processed),
        ("failed", "invoice.failed", failed("Time-out after 5 s")),
        ("Failed-2", "refund", failed("100% refused: a_b")),
    ] {
        backend.accept_new(&[typed(name, event_type)]).await;
        let claimed = backend.claim_one(&up_to(1)).await;
        backend.settle_one(claimed.lease, outcome).await;
    }
    backend.accept_new(&[event("leased", "1")]).await;
    backend.claim_one(&up_to(1)).await;
    let mut waiting = typed("waiting", "invoice.paid");
    waiting.delay = LONG;
    for new in [
        event("due", "1"),
        waiting,
        event_of(&other_kind(), "due", "1"),
    ] {
        backend.accept_new(&[new]).await;
    }
}

fn other_kind() -> Kind {
    kind_named("other-kind")
}

/// An event of this type, with its type and its name as headers.
fn typed(name: &str, event_type: &str) -> NewEvent {
    let headers = [("X-Type", event_type), ("x-name", name)];
    let event = event(name, "1");
    NewEvent {
        envelope: event
            .envelope
            .with_event_type(EventType::new(event_type).expect("cases name valid event types"))
            .with_headers(Headers::try_from_iter(headers).expect("valid headers")),
        ..event
    }
}

fn pattern(text: &str) -> Pattern {
    text.parse().expect("the text is a pattern")
}

fn search(limit: usize) -> Search {
    Search::new(up_to(limit).limit).max_time(LONG)
}

async fn page(backend: &Backend, search: &Search) -> SearchPage {
    let page = backend.admin.search(search).await.expect("search");
    assert!(page.events.len() <= search.limit.get());
    let is_full = page.events.len() == search.limit.get();
    assert!(!is_full || page.stopped_early.is_none(), "{page:?}");
    page
}

/// The events of all pages, in the order in which they are listed, and how many pages there are.
async fn all_pages(backend: &Backend, search: &Search) -> (Vec<EventSummary>, usize) {
    let (mut search, mut events, mut pages) = (search.clone(), Vec::new(), 0);
    loop {
        let page = page(backend, &search).await;
        pages += 1;
        events.extend(page.events);
        if page.next.is_none() {
            assert_eq!(page.stopped_early, None);
            let ids: Vec<_> = events.iter().map(|it: &EventSummary| it.id).collect();
            assert!(ids.is_sorted_by(|one, next| one > next), "{ids:?}");
            return (events, pages);
        }
        search.before = page.next;
    }
}

/// The keys of all events that match.
async fn found(backend: &Backend, search: &Search) -> Vec<String> {
    let (events, _) = all_pages(backend, search).await;
    events.iter().map(|it| it.event.key.to_string()).collect()
}

/// Asserts that these are the keys of all events that match, the newest first. A partitioned backend lists events of
/// different partitions in any order.
async fn assert_found(backend: &Backend, search: &Search, expected: &[impl AsRef<str>]) {
    let mut found = found(backend, search).await;
    let mut expected: Vec<_> = expected.iter().map(AsRef::as_ref).collect();
    if !backend.orders_all() {
        found.sort_unstable();
        expected.sort_unstable();
    }
    assert_eq!(found, expected, "{search:?}");
}

/// A search without parameters lists all events, as records have them, the newest first.
pub async fn a_search_lists_the_newest_events_first(backend: Backend) {
    assert_eq!(page(&backend, &search(5)).await, SearchPage::default());
    fill(&backend).await;
    backend.accept(&[event("due", "conflict")]).await;
    let (events, _) = all_pages(&backend, &search(100)).await;
    let refs: Vec<_> = events.iter().map(|it| it.event.clone()).collect();
    let records = backend.find(&refs).await;
    let summaries: Vec<_> = records
        .iter()
        .flatten()
        .map(|record| record.summary())
        .collect();
    assert_eq!(events, summaries);
    let expected = [
        "due",
        "waiting",
        "due",
        "leased",
        "Failed-2",
        "failed",
        "processed",
    ];
    let mut expected = expected.map(event_ref);
    expected[0].kind = other_kind();
    backend.assert_order_of(&refs, &expected);
}

/// By kind and by state, and by both.
pub async fn searches_select_by_kind_and_state(backend: Backend) {
    fill(&backend).await;
    let base = search(3);
    let in_state = |state| base.clone().state(state);
    let of = |search: Search, kinds: &[Kind]| search.kinds(kinds.iter().cloned());
    let (this, other, none) = (kind(), other_kind(), kind_named("unknown"));
    for (search, expected) in [
        (
            in_state(State::Processing),
            &["due", "waiting", "due", "leased"][..],
        ),
        (in_state(State::Processed), &["processed"]),
        (in_state(State::Failed), &["Failed-2", "failed"]),
        (
            of(in_state(State::Failed), std::slice::from_ref(&this)),
            &["Failed-2", "failed"],
        ),
        (
            of(in_state(State::Failed), std::slice::from_ref(&other)),
            &[],
        ),
        (
            of(in_state(State::Processing), std::slice::from_ref(&this)),
            &["waiting", "due", "leased"],
        ),
        (
            of(in_state(State::Processed), &[other.clone(), this.clone()]),
            &["processed"],
        ),
        (of(base.clone(), std::slice::from_ref(&other)), &["due"]),
        (
            of(in_state(State::Processing), &[other, none.clone()]),
            &["due"],
        ),
        (of(base.clone(), &[none]), &[]),
        (of(base.clone(), &[]), &[]),
    ] {
        assert_found(&backend, &search, expected).await;
    }
}

/// By the key and by the event type, whole or by prefix, byte for byte, together with kind and state.
pub async fn searches_select_by_key_and_type(backend: Backend) {
    fill(&backend).await;
    backend
        .accept_new(&[
            event("50%_", "1"),
            event("50%_ä", "1"),
            event("50x", "1"),
            typed("it's", "in\u{1f4a9}"),
        ])
        .await;
    let base = search(3);
    let key = |text: &str| base.clone().key(pattern(text));
    let event_type = |text: &str| base.clone().event_type(pattern(text));
    for (search, expected) in [
        (key("due"), &["due", "due"][..]),
        (key("due").kinds([other_kind()]), &["due"]),
        (key("due").kinds([kind_named("unknown")]), &[]),
        (key("due").state(State::Failed), &[]),
        (key("failed").state(State::Failed), &["failed"]),
        (key("FAILED"), &[]),
        (key("fail*"), &["failed"]),
        (key("50%_*"), &["50%_ä", "50%_"]),
        (key("50%_"), &["50%_"]),
        (key("du"), &[]),
        (key("*").state(State::Processed), &["processed"]),
        (event_type("invoice.paid"), &["waiting", "processed"]),
        (
            event_type("invoice.paid").state(State::Processed),
            &["processed"],
        ),
        (event_type("invoice.paid").kinds([other_kind()]), &[]),
        (
            event_type("invoice.paid").kinds([other_kind(), kind()]),
            &["waiting", "processed"],
        ),
        (event_type("invoice.*"), &["waiting", "failed", "processed"]),
        (event_type("in\u{1f4a9}"), &["it's"]),
        (event_type("invoice"), &[]),
        (event_type("Invoice.*"), &[]),
        (
            event_type("*"),
            &["it's", "waiting", "Failed-2", "failed", "processed"],
        ),
        (
            event_type("invoice.paid").key(pattern("wait*")),
            &["waiting"],
        ),
        (event_type("refund").key(pattern("Failed-2")), &["Failed-2"]),
    ] {
        assert_found(&backend, &search, expected).await;
    }
}

/// By a part of the reason, and by a header.
pub async fn searches_select_by_reason_and_header(backend: Backend) {
    fill(&backend).await;
    backend.accept_new(&[event("retried", "1")]).await;
    let claimed = backend.claim_within(&up_to(2), 2).await;
    for claimed in claimed {
        let again = retry(LONG, "another time-OUT");
        backend.settle_one(claimed.lease, again).await;
    }
    let base = search(3);
    let reason = |text: &str| base.clone().reason(text);
    let header = |name: &str, value: &str| base.clone().header(name, value);
    for (search, expected) in [
        (reason("TIME-out"), &["retried", "due", "failed"][..]),
        (reason("time-out").state(State::Failed), &["failed"]),
        (reason("100% refused"), &["Failed-2"]),
        (reason("100_ refused"), &[]),
        (reason("a_b"), &["Failed-2"]),
        (reason("a.b"), &[]),
        (header("x-type", "invoice.paid"), &["waiting", "processed"]),
        (header("X-TYPE", "invoice.paid"), &["waiting", "processed"]),
        (header("x-type", "Invoice.paid"), &[]),
        (header("x-type", "invoice"), &[]),
        (header("type", "invoice.paid"), &[]),
        (header("x-name", "failed").reason("after"), &["failed"]),
        (header("x-name", "failed").reason("refused"), &[]),
    ] {
        assert_found(&backend, &search, expected).await;
    }
    let delete = DeleteBodies::new(kind(), Duration::ZERO, up_to(9).limit);
    let deleted = backend.admin.delete_bodies(&delete).await;
    assert_eq!(deleted.expect("delete bodies"), 1);
    let search = header("x-type", "invoice.paid");
    assert_found(&backend, &search, &["waiting"]).await;
}

/// By the time of acceptance, which is the store's: the first bound is included, the second is not.
pub async fn searches_select_by_time_of_acceptance(backend: Backend) {
    for number in 0..5 {
        backend
            .accept_new(&[event(&format!("event-{number}"), "1")])
            .await;
        backend.pass(Duration::from_millis(5)).await;
    }
    let (events, _) = all_pages(&backend, &search(9)).await;
    let mut times: Vec<_> = events.iter().rev().map(|it| it.accepted_at).collect();
    if !backend.orders_all() {
        times.sort();
    }
    let named = |numbers: std::ops::Range<usize>| {
        let names = numbers.rev().map(|number| format!("event-{number}"));
        names.collect::<Vec<_>>()
    };
    let base = search(2);
    let year = Duration::from_secs(365 * 86_400);
    for (search, expected) in [
        (base.clone().received_since(times[2]), named(2..5)),
        (base.clone().received_until(times[2]), named(0..2)),
        (
            base.clone()
                .received_since(times[1])
                .received_until(times[4]),
            named(1..4),
        ),
        (base.clone().received_since(times[3] + year), Vec::new()),
        (base.clone().received_until(times[0] - year), Vec::new()),
        (
            base.clone().received_since(SystemTime::UNIX_EPOCH),
            named(0..5),
        ),
        (base.clone().received_until(times[4] + year), named(0..5)),
        (
            base.clone()
                .received_until(times[4])
                .key(pattern("event-3")),
            named(3..4),
        ),
        (
            base.clone()
                .received_since(times[4])
                .key(pattern("event-3")),
            Vec::new(),
        ),
        (
            base.received_since(times[2]).state(State::Processing),
            named(2..5),
        ),
    ] {
        assert_found(&backend, &search, &expected).await;
    }
}

/// Pages of any length, of searches with and without an index, list each event once.
pub async fn pages_of_a_search_list_each_event_once(backend: Backend) {
    let batch: Vec<_> = (0..90)
        .map(|number| {
            let event_type = ["one", "two", "three"][number % 3];
            typed(&format!("event-{number:02}"), event_type)
        })
        .collect();
    for part in batch.chunks(13) {
        backend.accept_new(part).await;
    }
    for claimed in backend.claim_within(&up_to(30), 30).await {
        backend.settle_one(claimed.lease, failed("no")).await;
    }
    let base = search(7);
    let one = pattern("one");
    for (search, expected) in [
        (base.clone(), 90),
        (base.clone().state(State::Failed), 30),
        (base.clone().state(State::Processing), 60),
        (base.clone().event_type(one.clone()), 30),
        (base.clone().header("x-type", "one"), 30),
        (base.clone().key(pattern("event-8*")), 10),
    ] {
        for limit in [1, 7, 30, 100] {
            let search = Search {
                limit: up_to(limit).limit,
                ..search.clone()
            };
            let (events, pages) = all_pages(&backend, &search).await;
            assert_eq!(events.len(), expected, "{search:?}");
            // A page after one that ends with the last event may be empty.
            assert!(pages <= expected / limit + 1, "{pages} pages: {search:?}");
        }
    }
}

/// A search that its bounds end says so, and goes on where it ended: nothing is missing.
pub async fn a_bounded_search_continues_where_it_stopped(backend: Backend) {
    for part in events(50).chunks(10) {
        backend.accept_new(part).await;
    }
    let rare = || search(5).key(pattern("event-0000*"));
    let bounded = rare().max_examined(NonZeroUsize::new(6).expect("not zero"));
    let first = page(&backend, &bounded).await;
    assert_eq!(first.events, []);
    assert_eq!(first.stopped_early, Some(StoppedEarly::Examined));
    assert!(first.next.is_some());
    let hurried = rare().max_time(Duration::ZERO);
    for search in [bounded, hurried] {
        let expected: Vec<_> = (0..10)
            .rev()
            .map(|number| format!("event-{number:05}"))
            .collect();
        assert_found(&backend, &search, &expected).await;
    }
}

/// Exact keys and types, and the states of few events, are found however many other events there are.
pub async fn exact_searches_examine_only_what_matches(backend: Backend) {
    backend
        .accept_new(&[typed("first", "rare"), event("second", "1")])
        .await;
    for claimed in backend.claim_within(&up_to(2), 2).await {
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
    for part in events(400).chunks(200) {
        backend.accept_new(part).await;
    }
    for claimed in backend.claim_within(&up_to(400), 400).await {
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
    // A backend in memory may examine all events, and continues where it stopped.
    for search in [
        search(3).key(pattern("first")),
        search(3).event_type(pattern("rare")),
        search(3)
            .event_type(pattern("rare"))
            .kinds([other_kind(), kind()]),
    ] {
        let search = search.max_examined(NonZeroUsize::new(100).expect("not zero"));
        assert_found(&backend, &search, &["first"]).await;
    }
    for state in [State::Failed, State::Processing] {
        let found = found(&backend, &search(3).state(state)).await;
        assert!(found.is_empty(), "{found:?}");
    }
}
