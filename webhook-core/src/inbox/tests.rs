mod partitions;

use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::*;
use crate::error::ErrorKind;
use crate::event::{EventId, Fingerprint, Kind, State};
use crate::payload::Payload;
use crate::store::MockStore;
use crate::test_payload::Word;

/// A store whose every `accept` waits for a permit, and whose answers a mock gives.
struct Gated {
    gate: Semaphore,
    entered: Notify,
    batches: Mutex<Vec<Vec<String>>>,
    answers: MockStore,
}

impl Gated {
    fn new(permits: usize, answers: MockStore) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(permits),
            entered: Notify::new(),
            batches: Mutex::new(Vec::new()),
            answers,
        })
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().unwrap().clone()
    }
}

#[async_trait]
impl Store for Gated {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let keys = events.iter().map(|it| it.envelope.key.to_string());
        self.batches.lock().unwrap().push(keys.collect());
        self.entered.notify_one();
        self.gate.acquire().await.unwrap().forget();
        self.answers.accept(events).await
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.answers.find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.gate.acquire().await.unwrap().forget();
        Ok(())
    }
}

#[tokio::test]
async fn limits_may_be_usize_max() {
    let options = InboxOptions {
        max_queued: usize::MAX,
        max_queued_bytes: usize::MAX,
        max_batch: usize::MAX,
        max_batch_bytes: usize::MAX,
        max_concurrent_flushes: usize::MAX,
        ..InboxOptions::default()
    };
    let store = Gated::new(1, all_new());
    let inbox = Inbox::new(store, options);
    assert_eq!(inbox.accept(envelope("a")).await.unwrap(), Accepted::New);
    inbox.close().await;
}

fn all_new() -> MockStore {
    let mut store = MockStore::new();
    store
        .expect_accept()
        .returning(|events| Ok(vec![Accepted::New; events.len()]));
    store
}

/// A store that refuses every batch with the key `bad` in it.
fn refusing_bad() -> MockStore {
    let mut store = MockStore::new();
    store.expect_accept().returning(|events| {
        if events.iter().any(|it| it.envelope.key.as_str() == "bad") {
            Err(StoreError::refused(std::io::Error::other("bad row")))
        } else {
            Ok(vec![Accepted::New; events.len()])
        }
    });
    store
}

fn envelope(key: &str) -> Envelope {
    Envelope::new(
        Kind::new("test").unwrap(),
        Key::new(key).unwrap(),
        Fingerprint::of([key]),
        Bytes::copy_from_slice(key.as_bytes()),
    )
}

fn one_flush() -> InboxOptions {
    InboxOptions {
        max_concurrent_flushes: 1,
        ..InboxOptions::default()
    }
}

#[tokio::test]
async fn a_reserved_place_waits_for_room_and_keeps_it() {
    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_queued: 1,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let mut calls = call(&inbox, &store, "a", &["b", "c"]).await;
    // One is flushed, one has been taken for the next batch, and one waits.
    let overloaded = inbox.accept(envelope("d")).await;
    assert!(
        matches!(overloaded, Err(Error::Overloaded)),
        "{overloaded:?}"
    );
    let reserving = {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.reserve().await })
    };
    run_other_tasks().await;
    assert!(!reserving.is_finished());
    store.gate.add_permits(9);
    let place = reserving.await.unwrap().unwrap();
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap().1.unwrap(), Accepted::New);
    }
    let overloaded = inbox.accept(envelope("d")).await;
    assert!(
        matches!(overloaded, Err(Error::Overloaded)),
        "it is reserved"
    );
    assert_eq!(place.accept(envelope("d")).await.unwrap(), Accepted::New);
    inbox.close().await;
    assert!(matches!(inbox.reserve().await, Err(Error::Closed)));
}

#[tokio::test]
async fn accept_all_uses_few_batches_and_answers_each_event() {
    let store = Gated::new(99, refusing_bad());
    let options = InboxOptions {
        max_queued: 3,
        max_queued_bytes: 5,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let keys: Vec<_> = (0..20)
        .map(|number| {
            if number == 7 {
                "bad".to_owned()
            } else {
                format!("{number}")
            }
        })
        .collect();
    let answers = inbox.accept_all(keys.iter().map(|key| envelope(key))).await;
    for (key, answer) in keys.iter().zip(answers) {
        match answer {
            Ok(accepted) => assert_eq!(accepted, Accepted::New, "{key}"),
            Err(error) => assert_eq!((&**key, error.kind()), ("bad", ErrorKind::Internal)),
        }
    }
    assert!(store.batches().len() < 20, "{:?}", store.batches());
    assert!(inbox.accept_all([] as [Envelope; 0]).await.is_empty());
    inbox.close().await;
    let closed = inbox.accept_all([envelope("late")]).await;
    assert!(matches!(closed[..], [Err(Error::Closed)]), "{closed:?}");
}

/// Records the thread on which it is called.
struct Threads(Mutex<Vec<Option<String>>>);

impl Threads {
    fn note(&self) {
        let name = std::thread::current().name().map(str::to_owned);
        self.0.lock().unwrap().push(name);
    }
}

#[async_trait]
impl Store for Threads {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        self.note();
        Ok(vec![Accepted::New; events.len()])
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.note();
        Ok(vec![None; events.len()])
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.note();
        panic!("on purpose")
    }
}

#[test]
fn the_store_is_called_on_the_runtime_of_the_inbox() {
    let own = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("own")
        .enable_all()
        .build()
        .unwrap();
    let store = Arc::new(Threads(Mutex::default()));
    let inbox = {
        let _own = own.enter();
        Inbox::new(
            Arc::clone(&store) as Arc<dyn Store>,
            InboxOptions::default(),
        )
    };
    let caller = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    caller.block_on(async {
        assert_eq!(inbox.accept(envelope("a")).await.unwrap(), Accepted::New);
        let found = inbox.find::<Word>(&Key::new("a").unwrap()).await;
        assert!(found.unwrap().is_none());
        let panicked = inbox.ping().await;
        assert!(
            matches!(panicked, Err(Error::Store(StoreError::Unavailable { .. }))),
            "{panicked:?}"
        );
    });
    let threads = store.0.lock().unwrap().clone();
    assert_eq!(threads, vec![Some("own".to_owned()); 3]);
}

#[tokio::test]
async fn max_queued_bytes_of_zero_counts_as_one() {
    let options = InboxOptions {
        max_queued_bytes: 0,
        ..one_flush()
    };
    let inbox = Inbox::new(Gated::new(9, all_new()), options);
    assert_eq!(inbox.accept(envelope("a")).await.unwrap(), Accepted::New);
    let answers = inbox.accept_all([envelope("b"), envelope("long")]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    inbox.close().await;
}

type Calls = JoinSet<(String, Result<Accepted, Error>)>;

/// Calls `accept` for `first`, and for `keys` in their order once its flush is under way.
async fn call(inbox: &Inbox, store: &Gated, first: &str, keys: &[&str]) -> Calls {
    let mut calls = JoinSet::new();
    let mut spawn = |key: &str| {
        let (inbox, key) = (inbox.clone(), key.to_owned());
        calls.spawn(async move {
            let accepted = inbox.accept(envelope(&key)).await;
            (key, accepted)
        });
    };
    spawn(first);
    store.entered.notified().await;
    for key in keys {
        spawn(key);
        run_other_tasks().await;
    }
    calls
}

/// Yields so many times that every other task of this single-threaded runtime has run until it waits: a
/// delivery passes through three tasks.
async fn run_other_tasks() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn accepted(calls: Calls) -> Vec<String> {
    let mut keys = Vec::new();
    for (key, accepted) in calls.join_all().await {
        assert!(matches!(accepted, Ok(Accepted::New)), "{key}: {accepted:?}");
        keys.push(key);
    }
    keys.sort();
    keys
}

#[tokio::test]
async fn a_call_alone_is_flushed_at_once() {
    let store = Gated::new(1, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    assert_eq!(inbox.accept(envelope("a")).await.unwrap(), Accepted::New);
    assert_eq!(store.batches(), [["a"]]);
}

#[tokio::test]
async fn calls_during_a_flush_become_one_batch() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let calls = call(&inbox, &store, "first", &["a", "b", "c"]).await;
    assert_eq!(store.batches(), [["first"]]);
    store.gate.add_permits(2);
    assert_eq!(accepted(calls).await, ["a", "b", "c", "first"]);
    assert_eq!(store.batches(), [vec!["first"], vec!["a", "b", "c"]]);
}

#[tokio::test]
async fn batches_are_bounded_in_events_and_in_bytes() {
    for options in [
        InboxOptions {
            max_batch: 2,
            ..one_flush()
        },
        InboxOptions {
            max_batch_bytes: 2,
            ..one_flush()
        },
    ] {
        let store = Gated::new(0, all_new());
        let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
        let calls = call(&inbox, &store, "1", &["a", "b", "c"]).await;
        store.gate.add_permits(3);
        accepted(calls).await;
        assert_eq!(store.batches(), [vec!["1"], vec!["a", "b"], vec!["c"]]);
    }
}

#[tokio::test]
async fn flushes_in_parallel_are_bounded() {
    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_batch: 1,
        max_concurrent_flushes: 2,
        ..InboxOptions::default()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let calls = call(&inbox, &store, "1", &["2", "3", "4"]).await;
    assert_eq!(store.batches().len(), 2);
    store.gate.add_permits(4);
    accepted(calls).await;
    assert_eq!(store.batches().len(), 4);
}

#[tokio::test]
async fn a_full_queue_is_answered_at_once() {
    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_queued: 2,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    // One in the flush, one with the dispatcher, two in the queue.
    let calls = call(&inbox, &store, "1", &["2", "3", "4"]).await;
    let refused = inbox.accept(envelope("5")).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    store.gate.add_permits(4);
    accepted(calls).await;
}

#[tokio::test]
async fn queued_bytes_are_bounded_and_released() {
    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_queued_bytes: 3,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let calls = call(&inbox, &store, "1", &["2"]).await;
    let refused = inbox.accept(envelope("33")).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    store.gate.add_permits(3);
    accepted(calls).await;
    // A body longer than the limit still fits when it is alone.
    assert_eq!(inbox.accept(envelope("long")).await.unwrap(), Accepted::New);
}

#[tokio::test(start_paused = true)]
async fn accept_times_out() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let started = Instant::now();
    let late = inbox.accept(envelope("late")).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    assert_eq!(started.elapsed().as_secs(), 3);
    // The flush that hung is given up, and the next one finds its way.
    run_other_tasks().await;
    store.gate.add_permits(1);
    assert_eq!(inbox.accept(envelope("b")).await.unwrap(), Accepted::New);
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_gives_up_at_the_deadline_of_a_caller_times_out() {
    let after = Duration::from_secs(1);
    let answer = async |passes: Duration| {
        let (sender, answered) = oneshot::channel::<Result<Accepted, Error>>();
        let measures = InboxMeasures::new();
        let answered = Answered {
            answered,
            deadline: Instant::now() + after,
            after,
            received: measures.of_kind(&Kind::from_static("note")),
        };
        tokio::time::sleep(passes).await;
        drop(sender);
        answered.wait().await
    };
    let late = answer(after).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    let early = answer(after / 2).await;
    assert!(matches!(early, Err(Error::Store(_))), "{early:?}");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_timed_out_is_not_flushed() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let calls = call(&inbox, &store, "1", &["2", "3"]).await;
    for (_, accepted) in calls.join_all().await {
        assert!(matches!(accepted, Err(Error::TimedOut { .. })));
    }
    store.gate.add_permits(1);
    inbox.accept(envelope("4")).await.unwrap();
    assert_eq!(store.batches(), [["1"], ["4"]]);
}

#[tokio::test]
async fn dropping_a_call_does_not_lose_its_event() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let mut gone = call(&inbox, &store, "1", &["2"]).await;
    gone.abort_all();
    while gone.join_next().await.is_some() {}
    let stays = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.accept(envelope("3")).await }
    });
    run_other_tasks().await;
    store.gate.add_permits(2);
    assert_eq!(stays.await.unwrap().unwrap(), Accepted::New);
    assert_eq!(store.batches(), [vec!["1"], vec!["2", "3"]]);
}

#[tokio::test]
async fn one_bad_event_does_not_fail_its_batch_mates() {
    let store = Gated::new(0, refusing_bad());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let calls = call(&inbox, &store, "1", &["a", "b", "bad", "c", "d"]).await;
    store.gate.add_permits(100);
    for (key, accepted) in calls.join_all().await {
        match key.as_str() {
            "bad" => assert!(matches!(
                accepted,
                Err(Error::Store(StoreError::Refused { .. }))
            )),
            _ => assert!(matches!(accepted, Ok(Accepted::New)), "{key}"),
        }
    }
}

fn envelopes(keys: &[&str]) -> Vec<Envelope> {
    keys.iter().map(|key| envelope(key)).collect()
}

type Together = tokio::task::JoinHandle<Result<Vec<Accepted>, Error>>;

/// Calls `accept_together`, and waits until the events are queued.
async fn call_together(inbox: &Inbox, keys: &[&str]) -> Together {
    let (inbox, events) = (inbox.clone(), envelopes(keys));
    let call = tokio::spawn(async move { inbox.accept_together(events).await });
    run_other_tasks().await;
    call
}

#[tokio::test]
async fn a_refused_batch_is_split_between_callers_only() {
    let store = Gated::new(0, refusing_bad());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let calls = call(&inbox, &store, "1", &["a"]).await;
    let good = call_together(&inbox, &["b", "c", "d"]).await;
    let bad = call_together(&inbox, &["e", "bad", "f"]).await;
    let later = call_together(&inbox, &["g", "h"]).await;
    store.gate.add_permits(100);
    assert_eq!(accepted(calls).await, ["1", "a"]);
    assert_eq!(good.await.unwrap().unwrap(), [Accepted::New; 3]);
    assert_eq!(later.await.unwrap().unwrap(), [Accepted::New; 2]);
    let refused = bad.await.unwrap();
    assert!(
        matches!(refused, Err(Error::Store(StoreError::Refused { .. }))),
        "{refused:?}"
    );
    let expected = [
        vec!["1"],
        vec!["a", "b", "c", "d", "e", "bad", "f", "g", "h"],
        vec!["a", "b", "c", "d"],
        vec!["e", "bad", "f", "g", "h"],
        vec!["e", "bad", "f"],
        vec!["g", "h"],
    ];
    assert_eq!(store.batches(), expected);
}

#[tokio::test]
async fn events_that_do_not_fit_begin_the_next_batch() {
    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_batch: 3,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let calls = call(&inbox, &store, "1", &["2"]).await;
    let fits = call_together(&inbox, &["a", "b"]).await;
    let larger = call_together(&inbox, &["c", "d", "e", "f"]).await;
    let next = call_together(&inbox, &["g"]).await;
    let closing = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.close().await }
    });
    run_other_tasks().await;
    store.gate.add_permits(9);
    closing.await.unwrap();
    for call in [fits, larger, next] {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(accepted(calls).await, ["1", "2"]);
    let expected = [
        vec!["1"],
        vec!["2", "a", "b"],
        vec!["c", "d", "e", "f"],
        vec!["g"],
    ];
    assert_eq!(store.batches(), expected);
}

#[tokio::test]
async fn events_stored_together_are_one_delivery_and_count_their_bytes() {
    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_queued: 2,
        max_queued_bytes: 600,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let calls = call(&inbox, &store, "1", &["2"]).await;
    // One in the flush, one with the dispatcher, two in the queue.
    let both = [
        call_together(&inbox, &["a", "b"]).await,
        call_together(&inbox, &["c", "d"]).await,
    ];
    let refused = inbox.accept_together(envelopes(&["e"])).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    store.gate.add_permits(9);
    for call in both {
        assert_eq!(call.await.unwrap().unwrap(), [Accepted::New; 2]);
    }
    assert_eq!(accepted(calls).await, ["1", "2"]);

    let store = Gated::new(0, all_new());
    let options = InboxOptions {
        max_queued_bytes: 600,
        ..one_flush()
    };
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, options);
    let full = call_together(&inbox, &["a", "b", "c", "d"]).await;
    let refused = inbox.accept(envelope("e")).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    store.gate.add_permits(9);
    full.await.unwrap().unwrap();
    inbox.accept(envelope("e")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn events_stored_together_time_out_together() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let late = inbox.accept_together(envelopes(&["a", "b"])).await;
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    run_other_tasks().await;
    store.gate.add_permits(1);
    inbox.accept(envelope("c")).await.unwrap();
    assert_eq!(store.batches(), [vec!["a", "b"], vec!["c"]]);
}

#[tokio::test]
async fn dropping_a_call_does_not_lose_events_stored_together() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let calls = call(&inbox, &store, "1", &[]).await;
    call_together(&inbox, &["a", "b"]).await.abort();
    run_other_tasks().await;
    store.gate.add_permits(2);
    accepted(calls).await;
    inbox.close().await;
    assert_eq!(store.batches(), [vec!["1"], vec!["a", "b"]]);
}

#[tokio::test]
async fn too_many_events_are_refused_before_they_are_queued() {
    let inbox = Inbox::new(Gated::new(9, all_new()), InboxOptions::default());
    let most = vec![envelope("a"); MAX_TOGETHER];
    let accepted = inbox.accept_together(most.clone()).await.unwrap();
    assert_eq!(accepted.len(), MAX_TOGETHER);
    let refused = inbox.accept_together([most, envelopes(&["b"])].concat());
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(
        refused.to_string(),
        "delivery has 5001 events, the limit is 5000"
    );
    inbox.close().await;
    let closed = inbox.accept_together(envelopes(&["c"])).await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

#[tokio::test]
async fn an_outage_fails_one_batch_and_ends() {
    let mut answers = MockStore::new();
    answers
        .expect_accept()
        .times(1)
        .returning(|_| Err(StoreError::unavailable(std::io::Error::other("gone"))));
    answers
        .expect_accept()
        .returning(|events| Ok(vec![Accepted::Duplicate; events.len()]));
    let store = Gated::new(100, answers);
    let inbox = Inbox::new(store as Arc<dyn Store>, one_flush());
    let failed = inbox.accept(envelope("a")).await;
    assert!(matches!(
        failed,
        Err(Error::Store(StoreError::Unavailable { .. }))
    ));
    assert_eq!(
        inbox.accept(envelope("a")).await.unwrap(),
        Accepted::Duplicate
    );
}

#[tokio::test]
async fn a_panic_in_the_store_fails_only_its_batch() {
    let mut answers = MockStore::new();
    answers.expect_accept().returning(|events| {
        assert_ne!(events[0].envelope.key.as_str(), "bad", "on purpose");
        Ok(vec![Accepted::New; events.len()])
    });
    let store = Gated::new(100, answers);
    let inbox = Inbox::new(store as Arc<dyn Store>, one_flush());
    let failed = inbox.accept(envelope("bad")).await;
    assert!(matches!(
        failed,
        Err(Error::Store(StoreError::Unavailable { .. }))
    ));
}

#[tokio::test]
async fn close_flushes_queued_events_and_refuses_new_ones() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    let calls = call(&inbox, &store, "1", &["2", "3"]).await;
    let closing = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.close().await }
    });
    run_other_tasks().await;
    assert!(!closing.is_finished());
    store.gate.add_permits(100);
    closing.await.unwrap();
    assert_eq!(accepted(calls).await, ["1", "2", "3"]);
    let refused = inbox.accept(envelope("4")).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    inbox.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_fails_its_ping() {
    let store = Gated::new(0, all_new());
    let inbox = Inbox::new(Arc::clone(&store) as Arc<dyn Store>, one_flush());
    assert!(matches!(inbox.ping().await, Err(Error::TimedOut { .. })));
    store.gate.add_permits(1);
    inbox.ping().await.unwrap();
}

#[tokio::test]
async fn a_record_is_found_by_the_kind_of_its_payload_and_its_key() {
    let mut answers = MockStore::new();
    answers.expect_find().returning(|events| {
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].kind.as_str(), Word::KIND);
        Ok(vec![(events[0].key.as_str() == "a").then(record)])
    });
    let inbox = Inbox::new(Gated::new(0, answers), one_flush());
    let find = async |key| inbox.find::<Word>(&Key::new(key).unwrap()).await;
    assert_eq!(find("a").await.unwrap(), Some(record()));
    assert_eq!(find("b").await.unwrap(), None);
}

fn record() -> EventRecord {
    let accepted_at = SystemTime::UNIX_EPOCH;
    EventRecord::new(
        EventId::new(1),
        envelope("a"),
        State::Processing,
        accepted_at,
    )
}
