//! One inbox over several stores in memory: which partition has what, marks, and partitions that cannot be reached.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use webhook_core::conformance::{self, Backend, Subject};
use webhook_core::{
    Accepted, ActionId, ActionPage, ActionRecord, Admin, Claim, Claimed, ConflictRecord, Counts,
    DeleteBodies, Deleted, Envelope, Erased, EventId, EventRecord, EventRef, EventSummary,
    Extended, FailedAttempt, Fence, Fingerprint, FoundInbox, HandlerError, Key, Kind, KindSample,
    Lease, MadeDue, NewEvent, NodeId, NodeRecord, NodeReport, OpenMode, Outcome, Page, Partition,
    PartitionError, PartitionOptions, PartitionPlan, Partitioned, Pipeline, Prune, RawEvent,
    Requeued, Retention, RunningLeases, Scheduler, Search, SearchPage, Settled, SettledCounts,
    Settlement, State, Store, StoreError, StoredAction, TerminalState, WorkerOptions, async_trait,
    refuse_partition, with_causes,
};
use webhook_memory::MemoryStore;

const KIND: Kind = Kind::from_static("order");
const MINUTE: Duration = Duration::from_secs(60);

mod of_one {
    webhook_core::conformance!(super::Memory<1>, start_paused = true);
}

mod of_three {
    webhook_core::conformance!(super::Memory<3>, start_paused = true);
}

struct Memory<const PARTITIONS: usize>(Arc<Partitioned>);

impl<const PARTITIONS: usize> Subject for Memory<PARTITIONS> {
    async fn set_up() -> Self {
        let partitions =
            (0..PARTITIONS).map(|_| -> Arc<dyn Partition> { Arc::new(MemoryStore::default()) });
        let options = PartitionOptions::default().with_whole_kinds(conformance::whole_kinds());
        let opened = Partitioned::open(partitions.collect(), options).await;
        Self(Arc::new(opened.unwrap()))
    }

    fn backend(&self) -> Backend {
        Backend::new(self.0.clone())
    }

    async fn clean_up(self) {}
}

/// A store that can be cut off.
#[derive(Clone, Default)]
struct Cut {
    store: MemoryStore,
    is_cut: Arc<AtomicBool>,
    /// How long each claim takes.
    claim_time: Arc<Mutex<Duration>>,
    /// How long it takes to read or replace the mark.
    mark_time: Arc<Mutex<Duration>>,
}

impl Cut {
    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }

    async fn take_mark_time(&self) {
        let mark_time = *self.mark_time.lock().unwrap();
        tokio::time::sleep(mark_time).await;
    }

    fn reached(&self) -> Result<&MemoryStore, StoreError> {
        match self.is_cut.load(Ordering::SeqCst) {
            true => Err(StoreError::unavailable(io::Error::other(
                "connection refused",
            ))),
            false => Ok(&self.store),
        }
    }
}

/// Implements a trait by the same methods of the store, unless it is cut off.
macro_rules! reach {
    ($trait:ident { $($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* } $($rest:item)*) => {
        #[async_trait]
        impl $trait for Cut {
            $(async fn $method(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.reached()?.$method($($argument),*).await
            })*
            $($rest)*
        }
    };
}

reach! { Store {
    accept(events: &[NewEvent]) -> Vec<Accepted>;
    find(events: &[EventRef]) -> Vec<Option<EventRecord>>;
    ping() -> ();
} }

#[async_trait]
impl Scheduler for Cut {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let claim_time = *self.claim_time.lock().unwrap();
        tokio::time::sleep(claim_time).await;
        self.reached()?.claim(claims).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        self.reached()?.extend(leases, lease).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        self.reached()?.settle(settlements).await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        self.store.wait_for_work(kinds).await
    }
}

reach! { Admin {
    kinds() -> Vec<Kind>;
    counts(kind: &Kind) -> Counts;
    lag(kind: &Kind) -> Option<Duration>;
    settled(kind: &Kind, within: Duration) -> SettledCounts;
    list(page: &Page) -> Vec<EventSummary>;
    search(search: &Search) -> SearchPage;
    sample(kinds: &[Kind], cap: NonZeroUsize) -> Vec<KindSample>;
    conflicts(event: &EventRef) -> Vec<ConflictRecord>;
    failed_attempts(event: &EventRef) -> Vec<FailedAttempt>;
    requeue(events: &[EventRef]) -> Vec<Requeued>;
    make_due(events: &[EventRef], leases: RunningLeases) -> Vec<MadeDue>;
    delete(events: &[EventRef]) -> Vec<Deleted>;
    erase(events: &[EventRef]) -> Vec<Erased>;
    prune(prune: &Prune) -> usize;
    delete_bodies(delete: &DeleteBodies) -> usize;
    pause(kind: &Kind) -> bool;
    resume(kind: &Kind) -> bool;
    paused() -> Vec<Kind>;
    heartbeat(report: &NodeReport) -> Vec<NodeRecord>;
    nodes() -> Vec<NodeRecord>;
    retire(node: &NodeId) -> bool;
    record_action(action: &ActionRecord) -> ActionId;
    actions(page: &ActionPage) -> Vec<StoredAction>;
} }

#[async_trait]
impl Partition for Cut {
    async fn partition_mark(&self) -> Result<Option<String>, StoreError> {
        self.take_mark_time().await;
        self.reached()?.partition_mark().await
    }

    async fn replace_partition_mark(
        &self,
        expected: Option<&str>,
        mark: &str,
    ) -> Result<bool, StoreError> {
        self.take_mark_time().await;
        self.reached()?.replace_partition_mark(expected, mark).await
    }
}

fn stores(count: usize) -> Vec<Cut> {
    (0..count).map(|_| Cut::default()).collect()
}

async fn try_open(
    stores: &[Cut],
    options: PartitionOptions,
) -> Result<Partitioned, PartitionError> {
    let partitions = stores
        .iter()
        .map(|store| -> Arc<dyn Partition> { Arc::new(store.clone()) });
    Partitioned::open(partitions.collect(), options).await
}

async fn open(stores: &[Cut]) -> Partitioned {
    try_open(stores, PartitionOptions::default()).await.unwrap()
}

async fn refused(stores: &[Cut]) -> String {
    let error = try_open(stores, PartitionOptions::default()).await;
    with_causes(&error.unwrap_err())
}

fn whole(kinds: &[&'static str]) -> PartitionOptions {
    let kinds = kinds.iter().map(|kind| Kind::from_static(kind));
    PartitionOptions::default().with_whole_kinds(kinds)
}

fn event(number: usize) -> NewEvent {
    event_of(&KIND, number)
}

fn event_of(kind: &Kind, number: usize) -> NewEvent {
    let (kind, key) = (kind.clone(), Key::new(format!("o-{number}")).unwrap());
    let envelope = Envelope::new(kind, key, Fingerprint::of(["1"]), "1".into());
    NewEvent::new(envelope, Duration::ZERO)
}

fn reference(event: &NewEvent) -> EventRef {
    EventRef {
        kind: event.envelope.kind.clone(),
        key: event.envelope.key.clone(),
    }
}

/// The first `count` events that are in this partition.
fn events_in(store: &Partitioned, index: usize, count: usize) -> Vec<NewEvent> {
    let placement = store.placement().unwrap();
    let events = (0..).map(event);
    let events = events.filter(|NewEvent { envelope, .. }| {
        placement.partition_of(&envelope.kind, &envelope.key) == index
    });
    events.take(count).collect()
}

fn up_to(limit: usize) -> Claim {
    let (limit, attempts) = (
        NonZeroUsize::new(limit).unwrap(),
        NonZeroU32::new(3).unwrap(),
    );
    Claim::new(KIND, limit, MINUTE, attempts)
}

async fn claim(store: &dyn Scheduler, limit: usize) -> Claimed {
    store.claim(&[up_to(limit)]).await.unwrap().remove(0)
}

async fn processing(store: &dyn Admin) -> Vec<EventSummary> {
    let page = Page::new(KIND, State::Processing, NonZeroUsize::MAX);
    store.list(&page).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_event_is_in_the_partition_that_the_placement_says() {
    let stores = stores(4);
    let store = open(&stores).await;
    let placement = store.placement().unwrap();
    assert_eq!(placement.count(), 4);
    let events: Vec<_> = (0..200).map(event).collect();
    let accepted = store.accept(&events).await.unwrap();
    assert!(accepted.iter().all(|it| *it == Accepted::New));
    let listed = processing(&store).await;
    assert_eq!(listed.len(), 200);
    assert!(listed.is_sorted_by_key(|it| it.id));
    for event in &listed {
        let index = placement.partition_of(&event.event.kind, &event.event.key);
        let local = stores[index].find(std::slice::from_ref(&event.event)).await;
        let local = local.unwrap().remove(0).unwrap();
        let index = i64::try_from(index).unwrap();
        assert_eq!(event.id.get(), local.id.get() * 4 + index);
        let found = store
            .find(std::slice::from_ref(&event.event))
            .await
            .unwrap();
        assert_eq!(found[0].as_ref().unwrap().id, event.id);
    }
    let again = store.accept(&events).await.unwrap();
    assert!(again.iter().all(|it| *it == Accepted::Duplicate));
}

#[tokio::test(start_paused = true)]
async fn leases_are_located_in_their_partitions() {
    let stores = stores(3);
    let store = open(&stores).await;
    store
        .accept(&(0..9).map(event).collect::<Vec<_>>())
        .await
        .unwrap();
    for claimed in claim(&store, 9).await.events {
        let (index, lease) = store.locate(claimed.lease).unwrap();
        let settlement = Settlement::new(lease, Outcome::Processed);
        let settled = stores[index].settle(&[settlement]).await.unwrap();
        assert_eq!(settled, [Settled::Applied]);
    }
    assert_eq!(store.counts(&KIND).await.unwrap().processed, 9);
    let invented = |event| {
        Lease::new(
            EventId::new(event),
            webhook_core::Attempt::FIRST,
            Fence::new(1),
        )
    };
    assert_eq!(store.locate(invented(-1)), None);
    let answers = store
        .extend(&[invented(-1), invented(i64::MAX)], MINUTE)
        .await;
    assert_eq!(answers.unwrap(), [Extended::LeaseLost; 2]);
}

#[tokio::test(start_paused = true)]
async fn the_partitions_of_a_store_have_its_ids() {
    let store = open(&stores(3)).await;
    store
        .accept(&(0..30).map(event).collect::<Vec<_>>())
        .await
        .unwrap();
    let mut ids = BTreeSet::new();
    for admin in Admin::partitions(&store) {
        ids.extend(processing(&*admin).await.into_iter().map(|it| it.id));
        assert!(admin.partitions().is_empty());
    }
    let all: BTreeSet<_> = processing(&store)
        .await
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(ids, all);
    let mut claimed = Vec::new();
    for scheduler in Scheduler::partitions(&store) {
        claimed.extend(claim(&*scheduler, 100).await.events);
    }
    let ids: BTreeSet<_> = claimed.iter().map(|it| it.lease.event).collect();
    assert_eq!(ids, all);
    let leases: Vec<_> = claimed.iter().map(|it| it.lease).collect();
    let extended = store.extend(&leases, MINUTE).await.unwrap();
    assert!(extended.iter().all(|it| *it == Extended::Renewed));
}

#[tokio::test(start_paused = true)]
async fn no_partition_starves_another() {
    let store = open(&stores(4)).await;
    let many = events_in(&store, 2, 1_000);
    store.accept(&many).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    let few: Vec<_> = [0, 1, 3]
        .iter()
        .flat_map(|it| events_in(&store, *it, 2))
        .collect();
    store.accept(&few).await.unwrap();
    let few: HashSet<_> = few.iter().map(|it| it.envelope.key.clone()).collect();
    // Fewer than partitions, then more.
    for (limit, calls) in [(1, 8), (3, 2), (8, 1)] {
        let store = open(&stores(4)).await;
        store.accept(&many).await.unwrap();
        let new: Vec<_> = [0, 1, 3]
            .iter()
            .flat_map(|it| events_in(&store, *it, 2))
            .collect();
        store.accept(&new).await.unwrap();
        let mut taken = Vec::new();
        for _ in 0..calls {
            let claimed = claim(&store, limit).await;
            assert_eq!(claimed.events.len(), limit);
            assert_eq!(claimed.next_due, Some(Duration::ZERO));
            taken.extend(claimed.events.into_iter().map(|it| it.key));
        }
        let others = taken.iter().filter(|it| few.contains(*it)).count();
        assert!(others >= 3, "limit {limit}: {others} of {taken:?}");
    }
    // What the others leave goes to the one that has more.
    let claimed = claim(&store, 100).await;
    assert_eq!(claimed.events.len(), 100);
    let lags: Vec<_> = claimed.events.iter().map(|it| it.lag).collect();
    assert!(lags.is_sorted_by(|one, next| one >= next), "{lags:?}");
    assert_eq!(lags.iter().filter(|lag| lag.is_zero()).count(), 6);
}

/// A claim of several partitions waits for the slowest of them. Meanwhile, the leases that the others gave may run out.
#[tokio::test(start_paused = true)]
async fn a_claim_that_outlives_its_leases_returns_each_event_once() {
    for max_attempts in [1, 3] {
        let stores = stores(3);
        let store = open(&stores).await;
        for index in [0, 1] {
            let events = events_in(&store, index, 8);
            store.accept(&events).await.unwrap();
        }
        *stores[2].claim_time.lock().unwrap() = MINUTE * 5;
        let claim = up_to(9).with_max_attempts(NonZeroU32::new(max_attempts).unwrap());
        let claimed = store.claim(&[claim]).await.unwrap().remove(0);
        let events = claimed.events.iter().map(|it| &it.key);
        let keys: Vec<_> = events.chain(&claimed.exhausted).collect();
        let distinct: HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len(), "{keys:?}");
        assert!(keys.len() >= 6, "{keys:?}");
        // The leases of the second answers still run, and are those that were returned.
        let settlements = claimed
            .events
            .iter()
            .filter(|it| it.lease.attempt.number() == 2);
        let settlements = settlements.map(|it| Settlement::new(it.lease, Outcome::Processed));
        let settlements: Vec<_> = settlements.collect();
        let settled = store.settle(&settlements).await.unwrap();
        assert!(settled.iter().all(|it| *it == Settled::Applied));
        assert_eq!(settled.is_empty(), max_attempts == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_cut_off_leaves_the_others_working() {
    let stores = stores(3);
    let store = open(&stores).await;
    let events: Vec<_> = (0..3).flat_map(|it| events_in(&store, it, 2)).collect();
    store.accept(&events[..]).await.unwrap();
    stores[1].cut(true);
    store.ping().await.unwrap();
    let error = "store unavailable: partition 1 of 3: connection refused";
    let text = |error: StoreError| with_causes(&error);
    let refs: Vec<_> = events.iter().map(reference).collect();
    assert_eq!(text(store.accept(&events).await.unwrap_err()), error);
    assert_eq!(text(store.find(&refs).await.unwrap_err()), error);
    assert_eq!(text(store.counts(&KIND).await.unwrap_err()), error);
    // The first partition that is away must not keep the others from being changed.
    for away in [1, 0] {
        stores.iter().for_each(|it| it.cut(false));
        stores[away].cut(true);
        let paused = async || {
            let mut paused = Vec::new();
            for Cut { store, .. } in &stores {
                paused.extend(store.paused().await.unwrap());
            }
            paused
        };
        let failed = store.pause(&KIND).await.unwrap_err();
        assert_eq!(failed.partition(), Some((away, 3)));
        assert_eq!(paused().await, [KIND; 2]);
        stores[away].cut(false);
        store.pause(&KIND).await.unwrap();
        assert_eq!(store.paused().await.unwrap(), [KIND]);
        assert_eq!(paused().await, [KIND; 3]);
        stores[away].cut(true);
        let failed = store.resume(&KIND).await.unwrap_err();
        assert_eq!(failed.partition(), Some((away, 3)));
        assert_eq!(paused().await, [KIND]);
        stores[away].cut(false);
        store.resume(&KIND).await.unwrap();
        assert_eq!(paused().await, []);
    }
    stores[1].cut(true);
    assert_eq!(text(store.requeue(&refs[2..3]).await.unwrap_err()), error);
    let others = [&events[..2], &events[4..]].concat();
    let again = store.accept(&others).await.unwrap();
    assert_eq!(again, [Accepted::Duplicate; 4]);
    let claimed = claim(&store, 10).await;
    assert_eq!(claimed.events.len(), 4);
    let leases: Vec<_> = claimed.events.iter().map(|it| it.lease).collect();
    assert_eq!(store.extend(&leases, MINUTE).await.unwrap().len(), 4);
    let report = NodeReport::new(NodeId::new("node").unwrap(), "all");
    assert_eq!(store.heartbeat(&report).await.unwrap().len(), 1);
    stores[0].cut(true);
    let action = ActionRecord::new("operator", "requeue", "order");
    let id = store.record_action(&action).await.unwrap();
    let actions = store
        .actions(&ActionPage::new(NonZeroUsize::MIN))
        .await
        .unwrap();
    assert_eq!(actions[0].id, id);
    assert_eq!(store.nodes().await.unwrap().len(), 1);
    stores[2].cut(true);
    let scheduler: &dyn Scheduler = &store;
    assert!(scheduler.claim(&[up_to(1)]).await.is_err());
    assert!(store.ping().await.is_err() && store.nodes().await.is_err());
    assert!(store.record_action(&action).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_goes_on_without_a_partition_that_is_cut_off() {
    let stores = stores(3);
    let store = Arc::new(open(&stores).await);
    let ids = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let ids = Arc::clone(&ids);
        move |event: RawEvent| {
            ids.lock().unwrap().push(event.id());
            async { Ok::<_, HandlerError>(()) }
        }
    };
    let pipeline = Pipeline::builder(Arc::clone(&store))
        .handle_raw(KIND, WorkerOptions::default().with_concurrency(1), handler)
        .retain(store.clone(), Retention::new(KIND, MINUTE))
        .start();
    let inbox = pipeline.inbox();
    let [first, cut, third] = [0, 1, 2].map(|index| {
        let events = events_in(&store, index, 5).into_iter();
        events.map(|it| it.envelope).collect::<Vec<_>>()
    });
    stores[1].cut(true);
    let others = [&first[..], &third].concat();
    let answers = inbox.accept_all(others.clone()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for failed in [
        inbox
            .accept(cut[0].clone())
            .await
            .map(|accepted| vec![accepted]),
        // The part of the other partition is stored.
        inbox
            .accept_together(vec![first[0].clone(), cut[1].clone()])
            .await,
    ] {
        let error = with_causes(&failed.unwrap_err());
        assert_eq!(
            error,
            "store unavailable: partition 1 of 3: connection refused"
        );
    }
    // The others are processed, and deleted a minute later.
    tokio::time::sleep(MINUTE / 2).await;
    let mut handled = ids.lock().unwrap().clone();
    handled.sort();
    handled.dedup();
    assert_eq!(handled.len(), others.len(), "ids of the whole inbox differ");
    for settled in [others.len(), 0] {
        let first = stores[0].store.counts(&KIND).await.unwrap();
        let third = stores[2].store.counts(&KIND).await.unwrap();
        assert_eq!(first.processed + third.processed, settled as u64);
        tokio::time::sleep(3 * MINUTE).await;
    }
    stores[1].cut(false);
    let answers = inbox.accept_all(cut.clone()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    pipeline.idle().await;
    assert_eq!(ids.lock().unwrap().len(), others.len() + cut.len());
    pipeline.shutdown(MINUTE).await;
}

/// Callers give up earlier than a partition answers that was away.
#[tokio::test(start_paused = true)]
async fn a_partition_is_checked_although_each_caller_gives_up() {
    let stores = stores(2);
    open(&stores).await;
    stores[1].cut(true);
    let store = open(&stores).await;
    stores[1].cut(false);
    *stores[1].mark_time.lock().unwrap() = Duration::from_secs(5);
    let second = &store.stores()[1];
    for _ in 0..5 {
        let ping = tokio::time::timeout(Duration::from_secs(1), second.ping());
        ping.await.unwrap_err();
    }
    let ping = tokio::time::timeout(Duration::from_secs(1), second.ping());
    ping.await.unwrap().unwrap();
}

/// A wait that began before a partition could be reached hears of its events once it can.
#[tokio::test(start_paused = true)]
async fn a_wait_for_work_includes_partitions_that_are_reached_later() {
    let stores = stores(2);
    open(&stores).await;
    stores[1].cut(true);
    let store = open(&stores).await;
    let kinds = [KIND];
    let mut waiting = store.wait_for_work(&kinds);
    let second = Duration::from_secs(1);
    tokio::time::timeout(second, &mut waiting)
        .await
        .unwrap_err();
    stores[1].cut(false);
    tokio::time::sleep(MINUTE).await;
    assert!(claim(&store, 1).await.events.is_empty());
    tokio::time::timeout(second, &mut waiting)
        .await
        .unwrap_err();
    store.accept(&events_in(&store, 1, 1)).await.unwrap();
    let woken = tokio::time::timeout(second, waiting).await;
    assert_eq!(woken.unwrap(), [0]);
}

#[tokio::test(start_paused = true)]
async fn retention_reaches_every_partition() {
    let store = open(&stores(3)).await;
    store
        .accept(&(0..60).map(event).collect::<Vec<_>>())
        .await
        .unwrap();
    let settlements: Vec<_> = claim(&store, 100)
        .await
        .events
        .iter()
        .map(|it| Settlement::new(it.lease, Outcome::Processed))
        .collect();
    assert_eq!(settlements.len(), 60);
    store.settle(&settlements).await.unwrap();
    let limit = NonZeroUsize::new(25).unwrap();
    let delete = DeleteBodies::new(KIND, Duration::ZERO, limit);
    let prune = Prune::new(KIND, TerminalState::Processed, Duration::ZERO, limit);
    for expected in [25, 25, 10, 0] {
        assert_eq!(store.delete_bodies(&delete).await.unwrap(), expected);
    }
    for expected in [25, 25, 10, 0] {
        assert_eq!(store.prune(&prune).await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn guards_need_whole_kinds() {
    let stores = stores(3);
    let store = open(&stores).await;
    let guarded = |number| {
        let mut event = event(number);
        event.envelope.guard = Some(Fingerprint::of(["guard"]));
        event
    };
    let error = store.accept(&[event(1), guarded(2)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(with_causes(&error).contains("`order`"), "{error:?}");
    assert_eq!(processing(&store).await, [], "nothing is stored");

    let store = try_open(&stores, whole(&["order"])).await.unwrap();
    let events = [guarded(2), guarded(3), event(4), event(5), event(6)];
    let accepted = store.accept(&events).await.unwrap();
    assert_eq!(accepted[..2], [Accepted::New, Accepted::Duplicate]);
    let home = store.placement().unwrap().home_of(&KIND);
    assert_eq!(processing(&stores[home]).await.len(), 4);
    // A kind that is whole stays whole, also for those that do not say so.
    let store = open(&stores).await;
    assert_eq!(
        store.accept(&events).await.unwrap(),
        [Accepted::Duplicate; 5]
    );
    assert!(store.placement().unwrap().is_whole(&KIND));
    // One partition has all guards.
    let alone = open(&self::stores(1)).await;
    assert_eq!(alone.accept(&[guarded(1)]).await.unwrap(), [Accepted::New]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_becomes_whole_only_while_its_events_are_at_home() {
    let stores = stores(3);
    let store = open(&stores).await;
    let home = store.placement().unwrap().home_of(&KIND);
    let at_home = events_in(&store, home, 1);
    store.accept(&at_home).await.unwrap();
    let away = (home + 1) % 3;
    stores[away].cut(true);
    let error = try_open(&stores, whole(&["order"])).await.unwrap_err();
    assert!(
        matches!(error, PartitionError::AllNeeded { index, .. } if index == away),
        "{error}"
    );
    stores[away].cut(false);
    let elsewhere = events_in(&store, away, 1);
    store.accept(&elsewhere).await.unwrap();
    let error = try_open(&stores, whole(&["order"])).await.unwrap_err();
    let expected = format!(
        "the kind `order` cannot become whole: partition {away} of 3 has events of it, and only partition {home} \
         may have any"
    );
    assert_eq!(error.to_string(), expected);
    store.delete(&[reference(&elsewhere[0])]).await.unwrap();
    let now_whole = try_open(&stores, whole(&["order", "other"])).await.unwrap();
    assert_eq!(
        now_whole.accept(&at_home).await.unwrap(),
        [Accepted::Duplicate]
    );
    // A process that cannot reach a partition learns of the whole kinds from the others.
    stores[home].cut(true);
    assert!(open(&stores).await.placement().unwrap().is_whole(&KIND));
}

#[tokio::test(start_paused = true)]
async fn partitions_are_opened_again_in_the_same_order_only() {
    let stores = stores(3);
    open(&stores).await;
    open(&stores).await;
    let mut swapped = stores.clone();
    swapped.swap(0, 2);
    let error = refused(&swapped).await;
    assert!(
        error.starts_with("partition 0 of 3: found partition 2 of 3: check the order"),
        "{error}"
    );
    let fewer = refused(&stores[..2]).await;
    assert!(
        fewer.starts_with("partition 0 of 2: found partition 0 of 3"),
        "{fewer}"
    );
    let more = [&stores[..], &self::stores(1)].concat();
    let error = refused(&more).await;
    assert!(
        error.starts_with("partition 0 of 4: found partition 0 of 3"),
        "{error}"
    );
    // A partition of another inbox, and one twice.
    let other = self::stores(3);
    open(&other).await;
    let mixed = [stores[0].clone(), other[1].clone(), stores[2].clone()];
    let error = refused(&mixed).await;
    assert!(
        error.starts_with("partition 1 of 3: found partition 1 of 3 of the inbox"),
        "{error}"
    );
    let twice = [stores[0].clone(), stores[0].clone(), stores[2].clone()];
    let error = refused(&twice).await;
    assert!(
        error.starts_with("partition 1 of 3: found partition 0 of 3"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_store_in_the_place_of_a_partition_is_refused() {
    let stores = stores(3);
    open(&stores).await;
    let replaced = [stores[0].clone(), Cut::default(), stores[2].clone()];
    let error = refused(&replaced).await;
    assert!(
        error.starts_with(
            "partition 1 of 3: it is empty, and is not the one that the inbox had there"
        ),
        "{error}"
    );
    assert_eq!(replaced[1].partition_mark().await.unwrap(), None);
    // With the mark in the message, it is accepted.
    let (_, mark) = error.split_once("store this mark in it: ").unwrap();
    replaced[1]
        .replace_partition_mark(None, mark)
        .await
        .unwrap();
    open(&replaced).await;
    refuse_partition(&replaced[1]).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn stores_with_events_of_their_own_are_refused() {
    let stores = stores(2);
    stores[1].accept(&[event(1)]).await.unwrap();
    let error = refused(&stores).await;
    assert!(
        error.starts_with("partition 1 of 2: it has events (of the kind `order`)"),
        "{error}"
    );
    assert_eq!(
        stores[0].partition_mark().await.unwrap(),
        None,
        "nothing is marked"
    );
    // One alone may become a partition.
    let alone = open(&stores[1..]).await;
    assert_eq!(
        alone.accept(&[event(1)]).await.unwrap(),
        [Accepted::Duplicate]
    );
    refuse_partition(&stores[1]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn marks_of_another_form_are_refused() {
    let stores = stores(2);
    stores[0]
        .replace_partition_mark(None, "{\"version\":2}")
        .await
        .unwrap();
    let error = refused(&stores).await;
    assert!(
        error.starts_with("partition 0 of 2: its mark is not one"),
        "{error}"
    );
    assert!(refuse_partition(&stores[0]).await.is_err());
    for count in [0, 1025] {
        let error = refused(&self::stores(count)).await;
        assert_eq!(
            error,
            format!("an inbox has 1 to 1024 partitions, not {count}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_no_inbox_of_its_own() {
    let stores = stores(2);
    refuse_partition(&stores[1]).await.unwrap();
    open(&stores).await;
    let error = refuse_partition(&stores[1]).await.unwrap_err();
    assert!(matches!(
        error,
        PartitionError::IsPartition {
            index: 1,
            count: 2,
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .starts_with("this is partition 1 of 2 of the inbox"),
        "{error}"
    );
    stores[1].cut(true);
    let error = refuse_partition(&stores[1]).await.unwrap_err();
    assert_eq!(with_causes(&error), "store unavailable: connection refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_create_an_inbox_at_once_agree() {
    for _ in 0..20 {
        let stores = stores(3);
        let opening = (0..4).map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move { open(&stores).await })
        });
        for opened in opening.collect::<Vec<_>>() {
            opened.await.unwrap();
        }
        open(&stores).await;
    }
}

/// Each of them finds again and again that another one was faster.
#[tokio::test(start_paused = true)]
async fn processes_that_create_an_inbox_of_many_partitions_at_once_agree() {
    let stores = stores(200);
    for store in &stores {
        *store.mark_time.lock().unwrap() = Duration::from_millis(1);
    }
    let each = || open(&stores);
    tokio::join!(each(), each(), each(), each());
    let marks = marks(&stores).await;
    assert!(
        marks
            .iter()
            .all(|mark| mark.as_ref().unwrap().contains("true"))
    );
}

#[tokio::test(start_paused = true)]
async fn marking_that_was_interrupted_is_continued() {
    let stores = stores(3);
    open(&stores[..]).await;
    let mark = stores[0].partition_mark().await.unwrap().unwrap();
    let incomplete = mark.replace("true", "false");
    let interrupted = self::stores(3);
    interrupted[0]
        .replace_partition_mark(None, &incomplete)
        .await
        .unwrap();
    // It is continued without a partition that is away, and then with it.
    interrupted[2].cut(true);
    open(&interrupted).await;
    let first = interrupted[0].partition_mark().await.unwrap();
    assert_eq!(first, Some(incomplete));
    interrupted[2].cut(false);
    open(&interrupted).await;
    let first = interrupted[0].partition_mark().await.unwrap();
    assert_eq!(first.as_ref(), Some(&mark));
    let last = stores[2].partition_mark().await.unwrap();
    assert_eq!(interrupted[2].partition_mark().await.unwrap(), last);
    // A kind that was becoming whole.
    let becomes = mark.replace("[]", "[\"order\"]");
    interrupted[0]
        .replace_partition_mark(Some(&mark), &becomes)
        .await
        .unwrap();
    interrupted[2].cut(true);
    let error = refused(&interrupted).await;
    assert!(
        error.starts_with("partition 2 of 3: failed to reach it"),
        "{error}"
    );
    interrupted[2].cut(false);
    assert!(
        open(&interrupted)
            .await
            .placement()
            .unwrap()
            .is_whole(&KIND)
    );
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_was_cut_off_is_checked_before_its_first_use() {
    let stores = stores(3);
    stores[0].cut(true);
    let error = refused(&stores).await;
    let expected = "partition 0 of 3: failed to reach it, and all partitions are needed to create the inbox: store \
                    unavailable: connection refused";
    assert_eq!(error, expected);
    stores.iter().for_each(|store| store.cut(true));
    let error = refused(&stores).await;
    assert!(
        error.starts_with("failed to reach any of the 3 partitions: "),
        "{error}"
    );
    stores.iter().for_each(|store| store.cut(false));
    open(&stores).await;

    // The right one, later.
    stores[1].cut(true);
    let store = open(&stores).await;
    let events = events_in(&store, 1, 1);
    let error = store.accept(&events).await.unwrap_err();
    assert_eq!(error.partition(), Some((1, 3)));
    let expected = "store unavailable: partition 1 of 3: connection refused";
    assert_eq!(with_causes(&error), expected);
    stores[1].cut(false);
    store.accept(&events).await.unwrap_err();
    // Failures are remembered for a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.accept(&events).await.unwrap(), [Accepted::New]);

    // An empty one in its place, and one of another inbox.
    let other = self::stores(1).remove(0);
    open(&[other.clone(), Cut::default()]).await;
    for (place, reason) in [
        (Cut::default(), "it is empty, and is not the one"),
        (other, "found partition 0 of 2 of the inbox"),
    ] {
        place.cut(true);
        let stores = [stores[0].clone(), place.clone(), stores[2].clone()];
        let store = open(&stores).await;
        place.cut(false);
        let error = with_causes(&store.accept(&events).await.unwrap_err());
        assert!(error.contains(reason), "{error}");
        let [first, second, third] = &store.stores()[..] else {
            panic!("there are three partitions");
        };
        first.ping().await.unwrap();
        third.ping().await.unwrap();
        let error = with_causes(&second.ping().await.unwrap_err());
        assert!(error.contains(reason), "{error}");
    }

    // Kinds that became whole meanwhile.
    stores[1].cut(true);
    let store = open(&stores).await;
    stores[1].cut(false);
    try_open(&stores, whole(&["other"])).await.unwrap();
    let found = self::found(&stores).await.remove(1).unwrap();
    let error = store.check_found(1, &found).unwrap_err();
    assert!(
        error.to_string().contains("must be started again"),
        "{error}"
    );
    let error = store.accept(&events).await.unwrap_err();
    assert!(
        with_causes(&error).contains("must be started again"),
        "{error:?}"
    );
}

/// As it would be refused when it is used first.
#[tokio::test(start_paused = true)]
async fn a_partition_that_was_cut_off_can_be_checked_before_it_is_changed() {
    let stores = stores(3);
    open(&stores).await;
    stores[1].cut(true);
    let store = open(&stores).await;
    let existing = PartitionOptions::default().with_mode(OpenMode::Existing);
    let existing = try_open(&stores, existing).await.unwrap();
    stores[1].cut(false);
    let all = found(&stores).await.into_iter().map(Result::unwrap);
    let all: Vec<_> = all.collect();
    for inbox in [&store, &existing] {
        inbox.check_found(1, &all[1]).unwrap();
        let error = inbox.check_found(1, &all[2]).unwrap_err();
        assert!(
            matches!(error, PartitionError::WrongMark { index: 1, .. }),
            "{error}"
        );
        let error = inbox.check_found(1, &FoundInbox::default()).unwrap_err();
        assert!(
            matches!(error, PartitionError::Empty { index: 1, .. }),
            "{error}"
        );
        let mut strange = FoundInbox::default();
        strange.partition_mark = Some("strange".to_owned());
        let error = inbox.check_found(1, &strange).unwrap_err();
        assert!(
            matches!(error, PartitionError::UnknownMark { index: 1, .. }),
            "{error}"
        );
    }

    // An inbox that was not made to the end: one without events is marked, and only by those that may.
    let stores = made(3, &[1]).await;
    stores[1].cut(true);
    let store = open(&stores).await;
    store.check_found(1, &FoundInbox::default()).unwrap();
    let mut with_events = FoundInbox::default();
    with_events.kinds = vec![KIND];
    let error = store.check_found(1, &with_events).unwrap_err();
    assert!(
        matches!(error, PartitionError::HasEvents { index: 1, .. }),
        "{error}"
    );
    let existing = PartitionOptions::default().with_mode(OpenMode::Existing);
    let store = try_open(&stores, existing).await.unwrap();
    let error = store.check_found(1, &FoundInbox::default()).unwrap_err();
    assert!(
        matches!(error, PartitionError::Unmarked { index: 1, .. }),
        "{error}"
    );
}

async fn marks(stores: &[Cut]) -> Vec<Option<String>> {
    let mut marks = Vec::new();
    for store in stores {
        marks.push(store.store.partition_mark().await.unwrap());
    }
    marks
}

/// Stores whose inbox was made, of which some are left as they were before.
async fn made(count: usize, unmarked: &[usize]) -> Vec<Cut> {
    let whole_stores = stores(count);
    open(&whole_stores).await;
    let stores = stores(count);
    for (index, mark) in marks(&whole_stores).await.into_iter().enumerate() {
        let mark = mark.unwrap();
        let mark = match unmarked {
            [] => mark,
            _ => mark.replace("true", "false"),
        };
        if !unmarked.contains(&index) {
            let marking = stores[index].replace_partition_mark(None, &mark);
            marking.await.unwrap();
        }
    }
    stores
}

/// What is refused, by either mode, has marked nothing.
#[tokio::test(start_paused = true)]
async fn what_is_refused_leaves_the_marks_as_they_were() {
    let mut cases: Vec<(Vec<Cut>, PartitionOptions, &str)> = Vec::new();
    let create = PartitionOptions::default;
    let existing = || create().with_mode(OpenMode::Existing);
    // New partitions: one has events, one cannot be reached.
    let with_events = stores(3);
    with_events[2].accept(&[event(1)]).await.unwrap();
    let with_one_away = stores(3);
    with_one_away[2].cut(true);
    cases.push((with_events.clone(), create(), "it has events"));
    cases.push((with_one_away.clone(), create(), "to create the inbox"));
    for stores in [stores(3), with_events, with_one_away] {
        cases.push((stores, existing(), "no server has opened this inbox yet"));
    }
    // An inbox that was not made to the end.
    cases.push((
        made(3, &[0, 2]).await,
        existing(),
        "partition 0 of 3: it has no mark, although",
    ));
    let with_events = made(3, &[1, 2]).await;
    with_events[1].accept(&[event(1)]).await.unwrap();
    cases.push((with_events, create(), "partition 1 of 3: it has events"));
    // An inbox of which something else is there.
    for options in [create(), existing()] {
        let swapped: Vec<_> = made(3, &[]).await.into_iter().rev().collect();
        cases.push((swapped, options.clone(), "found partition 2 of 3"));
        cases.push((
            made(4, &[]).await[..3].to_vec(),
            options.clone(),
            "found partition 0 of 4",
        ));
        let mut replaced = made(3, &[]).await;
        replaced[1] = Cut::default();
        cases.push((replaced, options.clone(), "it is empty, and is not the one"));
        let one_of_another = [
            made(3, &[]).await[..2].to_vec(),
            made(3, &[]).await[2..].to_vec(),
        ];
        cases.push((one_of_another.concat(), options, "found partition 2 of 3"));
    }
    // Kinds that are to become whole.
    let elsewhere = made(3, &[]).await;
    for store in &elsewhere {
        store.accept(&[event(1)]).await.unwrap();
    }
    cases.push((elsewhere, whole(&["order"]), "cannot become whole"));
    let one_away = made(3, &[]).await;
    one_away[1].cut(true);
    cases.push((one_away, whole(&["order"]), "to make a kind whole"));
    let not_whole = whole(&["order"]).with_mode(OpenMode::Existing);
    cases.push((
        made(3, &[]).await,
        not_whole,
        "the kind `order` is not whole yet",
    ));

    for (stores, options, expected) in cases {
        let before = marks(&stores).await;
        let error = try_open(&stores, options).await.unwrap_err();
        let error = with_causes(&error);
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(marks(&stores).await, before, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_existing_inbox_is_opened_without_a_change_of_its_marks() {
    let existing = || PartitionOptions::default().with_mode(OpenMode::Existing);
    // Complete; all marked, though no mark says so yet; and with a kind that is becoming whole.
    let complete = made(3, &[]).await;
    let uncertain = made(3, &[]).await;
    let becoming = made(3, &[]).await;
    for store in &uncertain {
        let mark = store.partition_mark().await.unwrap().unwrap();
        let incomplete = mark.replace("true", "false");
        let replacing = store.replace_partition_mark(Some(&mark), &incomplete);
        replacing.await.unwrap();
    }
    let mark = becoming[0].partition_mark().await.unwrap().unwrap();
    let becomes = mark.replace("[]", "[\"order\"]");
    let replacing = becoming[0].replace_partition_mark(Some(&mark), &becomes);
    replacing.await.unwrap();
    for stores in [complete, uncertain, becoming.clone()] {
        let before = marks(&stores).await;
        let store = try_open(&stores, existing()).await.unwrap();
        store.accept(&[event(1)]).await.unwrap();
        assert_eq!(marks(&stores).await, before);
    }
    let store = try_open(&becoming, existing()).await.unwrap();
    assert!(store.placement().unwrap().is_whole(&KIND));

    // A partition that is reached later, and has no mark, is not marked then.
    for (stores, reason) in [
        (
            made(3, &[1]).await,
            "it has no mark, although others have theirs",
        ),
        (
            {
                let mut stores = made(3, &[]).await;
                stores[1] = Cut::default();
                stores
            },
            "it is empty, and is not the one",
        ),
    ] {
        stores[1].cut(true);
        let store = try_open(&stores, existing()).await.unwrap();
        stores[1].cut(false);
        let error = store.accept(&events_in(&store, 1, 1)).await.unwrap_err();
        assert!(with_causes(&error).contains(reason), "{error:?}");
        assert_eq!(marks(&stores).await[1], None);
    }
}

/// What was found at the place of each, before it is opened.
async fn found(stores: &[Cut]) -> Vec<Result<FoundInbox, StoreError>> {
    let mut found = Vec::new();
    for mark in marks(stores).await {
        let mut inbox = FoundInbox::default();
        inbox.partition_mark = mark;
        found.push(Ok(inbox));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn of_two_plans_for_another_inbox_one_begins() {
    let stores = stores(3);
    let plan = async |count: usize| {
        PartitionPlan::new(found(&stores[..count]).await, PartitionOptions::default())
    };
    let (three, two) = (plan(3).await.unwrap(), plan(2).await.unwrap());
    assert!(three.is_new() && two.is_new());
    assert_eq!(marks(&stores).await, [None, None, None]);
    let three = three.begin(&stores[0]).await.unwrap().unwrap();
    let before = marks(&stores).await;
    assert!(before[0].is_some() && before[1].is_none() && before[2].is_none());
    assert!(two.begin(&stores[0]).await.unwrap().is_none());
    let error = plan(2).await.unwrap_err().to_string();
    assert!(
        error.starts_with("partition 0 of 2: found partition 0 of 3"),
        "{error}"
    );
    assert_eq!(marks(&stores).await, before);

    // One for the same inbox goes on, at the same time as the other.
    let late = plan(3).await.unwrap();
    assert!(!late.is_new());
    let late = late.begin(&stores[0]).await.unwrap().unwrap();
    let partitions = || -> Vec<Arc<dyn Partition>> {
        stores.iter().map(|it| Arc::new(it.clone()) as _).collect()
    };
    let (one, other) = tokio::join!(three.open(partitions()), late.open(partitions()));
    one.unwrap();
    other.unwrap();
    let complete = marks(&stores).await;
    assert!(
        complete
            .iter()
            .flatten()
            .all(|mark| mark.contains("\"complete\":true"))
    );
    assert_eq!(complete.iter().flatten().count(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_outdated_plan_is_made_anew() {
    let stores = stores(3);
    let plan = PartitionPlan::new(found(&stores).await, PartitionOptions::default()).unwrap();
    open(&stores).await;
    let partitions = stores.iter().map(|it| Arc::new(it.clone()) as _).collect();
    let before = marks(&stores).await;
    plan.open(partitions).await.unwrap();
    assert_eq!(marks(&stores).await, before);
    // Events that arrived since, without a mark.
    let stores = self::stores(2);
    let plan = PartitionPlan::new(found(&stores).await, PartitionOptions::default()).unwrap();
    stores[1].accept(&[event(1)]).await.unwrap();
    let partitions = stores.iter().map(|it| Arc::new(it.clone()) as _).collect();
    let error = plan.open(partitions).await.unwrap_err().to_string();
    assert!(
        error.starts_with("partition 1 of 2: it has events"),
        "{error}"
    );
    assert_eq!(marks(&stores).await, [None, None]);
}
