//! An inbox over several partitions.

use std::num::NonZeroUsize;

use super::*;

/// A store with a gated store for each partition. Each call has events of one partition only.
struct Split {
    placement: Arc<Placement>,
    partitions: Vec<Arc<Gated>>,
}

impl Split {
    /// The gates of the partitions let as many calls through as `permits` says.
    fn new<const N: usize>(permits: [usize; N], answers: fn() -> MockStore) -> Arc<Self> {
        let count = NonZeroUsize::new(N).unwrap();
        let gated = |permits| Gated::new(permits, answers());
        Arc::new(Self {
            placement: Arc::new(Placement::new(count)),
            partitions: permits.into_iter().map(gated).collect(),
        })
    }

    /// The first `count` keys whose events are in this partition.
    fn keys(&self, partition: usize, count: usize) -> Vec<String> {
        let kind = Kind::from_static("test");
        let is_in = |key: &String| {
            let key = Key::new(key.as_str()).unwrap();
            self.placement.partition_of(&kind, &key) == partition
        };
        let keys = (10..99).map(|number| number.to_string());
        let keys: Vec<_> = keys.filter(is_in).take(count).collect();
        assert_eq!(keys.len(), count);
        keys
    }

    fn key(&self, partition: usize) -> String {
        self.keys(partition, 1).remove(0)
    }
}

#[async_trait]
impl Store for Split {
    async fn accept(&self, events: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> {
        let partitions = events.iter().map(|it| {
            let envelope = &it.envelope;
            self.placement.partition_of(&envelope.kind, &envelope.key)
        });
        let partitions: Vec<_> = partitions.collect();
        assert!(
            partitions.windows(2).all(|pair| pair[0] == pair[1]),
            "a batch has events of one partition"
        );
        self.partitions[partitions[0]].accept(events).await
    }

    async fn find(&self, events: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> {
        self.partitions[0].find(events).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn placement(&self) -> Option<Arc<Placement>> {
        Some(Arc::clone(&self.placement))
    }
}

fn inbox_of(store: &Arc<Split>, options: InboxOptions) -> Inbox {
    Inbox::new(Arc::clone(store) as Arc<dyn Store>, options)
}

/// Calls `accept` for each key in turn, and waits until it is queued or refused.
async fn call_each(inbox: &Inbox, keys: &[String]) -> Calls {
    let mut calls = JoinSet::new();
    for key in keys {
        let (inbox, key) = (inbox.clone(), key.clone());
        calls.spawn(async move {
            let accepted = inbox.accept(envelope(&key)).await;
            (key, accepted)
        });
        run_other_tasks().await;
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_hangs_neither_delays_nor_refuses_the_others() {
    for options in [
        InboxOptions {
            max_queued: 3,
            ..one_flush()
        },
        // Every key has two bytes: each partition has room for five.
        InboxOptions {
            max_queued_bytes: 30,
            ..one_flush()
        },
    ] {
        let store = Split::new([99, 0, 99], all_new);
        let inbox = inbox_of(&store, options);
        let mut hanging = call_each(&inbox, &store.keys(1, 5)).await;
        let refused = inbox.accept(envelope(&store.keys(1, 6)[5])).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
        for partition in [0, 2] {
            let keys = store.keys(partition, 9);
            let answers = inbox.accept_all(keys.iter().map(|key| envelope(key))).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        assert!(hanging.try_join_next().is_none());
        // They time out, and then the partition is found again.
        for (_, answer) in hanging.join_all().await {
            assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
        }
        run_other_tasks().await;
        store.partitions[1].gate.add_permits(9);
        inbox.accept(envelope(&store.key(1))).await.unwrap();
        inbox.close().await;
    }
}

#[tokio::test]
async fn each_partition_has_its_own_flushes() {
    let store = Split::new([0, 0], all_new);
    let inbox = inbox_of(&store, one_flush());
    let keys = [store.keys(0, 3), store.keys(1, 3)].concat();
    let calls = call_each(&inbox, &keys).await;
    for (partition, keys) in store.partitions.iter().zip(keys.chunks(3)) {
        assert_eq!(partition.batches(), [&keys[..1]]);
        partition.gate.add_permits(2);
    }
    accepted(calls).await;
    for (partition, keys) in store.partitions.iter().zip(keys.chunks(3)) {
        assert_eq!(partition.batches(), [&keys[..1], &keys[1..]]);
    }
}

#[tokio::test]
async fn a_delivery_larger_than_the_part_of_its_partition_is_accepted_alone() {
    let store = Split::new([1, 0], all_new);
    let options = InboxOptions {
        max_queued_bytes: 2,
        ..one_flush()
    };
    let inbox = inbox_of(&store, options);
    let key = store.key(0);
    assert!(key.len() > 1);
    assert_eq!(inbox.accept(envelope(&key)).await.unwrap(), Accepted::New);
}

/// The envelopes of these keys.
fn events(keys: &[String]) -> Vec<Envelope> {
    keys.iter().map(|key| envelope(key)).collect()
}

/// Keys of two partitions in turn.
fn mixed(store: &Split) -> [String; 4] {
    let [a, b] = [store.keys(0, 2), store.keys(1, 2)];
    [a[0].clone(), b[0].clone(), a[1].clone(), b[1].clone()]
}

#[tokio::test]
async fn events_stored_together_are_one_part_for_each_partition() {
    /// Answers by the keys, so that each answer is known by its event.
    fn by_key() -> MockStore {
        let mut store = MockStore::new();
        store.expect_accept().returning(|events| {
            let answers = events.iter().map(|it| {
                let key: u32 = it.envelope.key.as_str().parse().unwrap();
                match key % 2 {
                    0 => Accepted::New,
                    _ => Accepted::Conflict,
                }
            });
            Ok(answers.collect())
        });
        store
    }

    let store = Split::new([9, 9], by_key);
    let inbox = inbox_of(&store, one_flush());
    let keys = mixed(&store);
    let answers = inbox.accept_together(events(&keys)).await.unwrap();
    let expected = keys
        .each_ref()
        .map(|key| match key.parse::<u32>().unwrap() % 2 {
            0 => Accepted::New,
            _ => Accepted::Conflict,
        });
    assert_eq!(answers, expected);
    let [a1, b1, a2, b2] = keys;
    assert_eq!(store.partitions[0].batches(), [[a1.clone(), a2.clone()]]);
    assert_eq!(store.partitions[1].batches(), [[b1, b2]]);
    // Events of one partition are one part.
    inbox.accept_together(events(&[a2, a1])).await.unwrap();
    assert_eq!(store.partitions[0].batches().len(), 2);
    assert_eq!(inbox.accept_together(Vec::new()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_part_is_the_error_of_the_call_once_all_have_answered() {
    let store = Split::new([9, 0], all_new);
    let inbox = inbox_of(&store, one_flush());
    let began = Instant::now();
    let keys = mixed(&store);
    let failed = inbox.accept_together(events(&keys)).await;
    assert!(matches!(failed, Err(Error::TimedOut { .. })), "{failed:?}");
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(store.partitions[0].batches().len(), 1);

    let store = Split::new([9, 9], refusing_bad);
    let bad = envelope("bad");
    let partition = store.placement.partition_of(&bad.kind, &bad.key);
    let inbox = inbox_of(&store, one_flush());
    let other = envelope(&store.key(1 - partition));
    let failed = inbox.accept_together(vec![bad, other]).await;
    assert!(
        matches!(failed, Err(Error::Store(StoreError::Refused { .. }))),
        "{failed:?}"
    );
    assert_eq!(store.partitions[1 - partition].batches().len(), 1);
}

#[tokio::test]
async fn nothing_is_queued_if_one_part_has_no_place() {
    let store = Split::new([9, 0], all_new);
    let options = InboxOptions {
        max_queued: 1,
        ..one_flush()
    };
    let inbox = inbox_of(&store, options);
    // One is flushed, one has been taken for the next batch, and one waits.
    let calls = call_each(&inbox, &store.keys(1, 3)).await;
    let refused = inbox.accept_together(events(&mixed(&store))).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    store.partitions[1].gate.add_permits(9);
    accepted(calls).await;
    inbox.close().await;
    assert!(store.partitions[0].batches().is_empty());
    let closed = inbox.accept_together(events(&mixed(&store))).await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

#[tokio::test]
async fn a_reserved_place_waits_for_its_partition_only() {
    let store = Split::new([0, 9], all_new);
    let options = InboxOptions {
        max_queued: 1,
        ..one_flush()
    };
    let inbox = inbox_of(&store, options);
    let keys = store.keys(0, 4);
    let calls = call_each(&inbox, &keys[..3]).await;
    let reserved = inbox.reserve().await.unwrap();
    let waiting = {
        let event = envelope(&keys[3]);
        tokio::spawn(async move { reserved.accept(event).await })
    };
    run_other_tasks().await;
    // Of the two places, one is left.
    let reserved = inbox.reserve().await.unwrap();
    let further = {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.reserve().await })
    };
    run_other_tasks().await;
    assert!(!further.is_finished());
    let other = reserved.accept(envelope(&store.key(1))).await;
    assert_eq!(other.unwrap(), Accepted::New);
    let further = further.await.unwrap().unwrap();

    // A reserved place keeps the inbox open until it is used; others are refused.
    let closing = {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.close().await })
    };
    run_other_tasks().await;
    assert!(matches!(inbox.reserve().await, Err(Error::Closed)));
    store.partitions[0].gate.add_permits(9);
    assert_eq!(waiting.await.unwrap().unwrap(), Accepted::New);
    run_other_tasks().await;
    assert!(!closing.is_finished());
    let last = further.accept(envelope(&store.keys(1, 2)[1])).await;
    assert_eq!(last.unwrap(), Accepted::New);
    closing.await.unwrap();
    accepted(calls).await;
}

#[tokio::test]
async fn accept_all_waits_for_each_partition_by_itself() {
    let store = Split::new([0, 99], all_new);
    let options = InboxOptions {
        max_queued: 1,
        ..one_flush()
    };
    let inbox = inbox_of(&store, options);
    let keys = [store.keys(0, 20), store.keys(1, 20)].concat();
    let all = {
        let (inbox, keys) = (inbox.clone(), keys.clone());
        tokio::spawn(async move { inbox.accept_all(events(&keys)).await })
    };
    let stored = || store.partitions[1].batches().concat();
    for _ in 0..100 {
        run_other_tasks().await;
    }
    assert_eq!(stored(), keys[20..]);
    assert!(!all.is_finished());
    store.partitions[0].gate.add_permits(99);
    let answers = all.await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    inbox.close().await;
    let closed = inbox.accept_all([envelope("late")]).await;
    assert!(matches!(closed[..], [Err(Error::Closed)]), "{closed:?}");
}

#[tokio::test]
async fn close_flushes_the_queues_of_all_partitions() {
    let store = Split::new([0, 0, 0], all_new);
    let inbox = inbox_of(&store, one_flush());
    let keys = [0, 1, 2].map(|partition| store.keys(partition, 3)).concat();
    let calls = call_each(&inbox, &keys).await;
    let closing = tokio::spawn({
        let inbox = inbox.clone();
        async move { inbox.close().await }
    });
    for partition in &store.partitions {
        run_other_tasks().await;
        assert!(!closing.is_finished());
        partition.gate.add_permits(9);
    }
    closing.await.unwrap();
    assert_eq!(accepted(calls).await.len(), 9);
    let refused = inbox.accept(envelope(&keys[0])).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
}

#[tokio::test]
async fn one_partition_is_like_none() {
    let inbox = inbox_of(&Split::new([9], all_new), one_flush());
    assert!(inbox.shared.partitions.is_none());
    assert_eq!(inbox.accept(envelope("a")).await.unwrap(), Accepted::New);
    let both = inbox.accept_together(envelopes(&["b", "c"])).await;
    assert_eq!(both.unwrap(), [Accepted::New; 2]);
    inbox.close().await;
}
