//! Migrates a database of the former release while processes of that release use it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use webhook_postgres::sqlx::{self, PgConnection, Row};
use webhook_postgres::testing::TestDatabase;
use webhook_postgres::{PgError, PgStore};

use crate::former_schema::{make_former_schema, number, run};
use crate::node::server_on;
use crate::support::node::Node;
use crate::support::{PATIENCE, in_time, transaction, until};

/// The version of the former release's schema.
const FORMER_VERSION: usize = 5;

/// Finds the version of a database.
const VERSION: &str = "SELECT max(version)::bigint FROM webhook.migrations";

/// How many of its processes there are.
const FORMER_PROCESSES: i32 = 3;

/// The session settings that its statements depend on.
const SESSION: &str = "
    SET search_path = pg_catalog, pg_temp;
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;
    SET jit = off";

const INSERT: &str = include_str!("former_release/insert.sql");
const CLAIM: &str = include_str!("former_release/claim.sql");
const SETTLE: &str = include_str!("former_release/settle.sql");

/// A process of the former release, which accepts, claims and settles on one session whose
/// statements stay prepared.
struct Former {
    name: i32,
    connection: PgConnection,
    accepted: BTreeSet<String>,
    /// The fences of the events that it settled, by their ids.
    settled: HashMap<i64, i64>,
}

impl Former {
    async fn connect(database: &TestDatabase, name: i32) -> Self {
        let mut connection = database.connection().await;
        run(&mut connection, SESSION).await;
        Self {
            name,
            connection,
            accepted: BTreeSet::new(),
            settled: HashMap::new(),
        }
    }

    /// Accepts, claims and settles until `stop`; then accepts a few events more, and keeps the lease of
    /// one, as if it were killed.
    async fn work(mut self, stop: Arc<AtomicBool>, rounds: Arc<AtomicUsize>) -> Self {
        let mut round = 0;
        while !stop.load(Ordering::Relaxed) {
            self.accept(round).await;
            let leased = self.claim(10, 60_000_000).await;
            self.settle(&leased).await;
            round += 1;
            rounds.store(round, Ordering::Relaxed);
        }
        self.accept(round).await;
        self.claim(1, 1_000).await;
        self
    }

    /// Three new events, and one that it accepted before.
    async fn accept(&mut self, round: usize) {
        let name = self.name;
        let new: Vec<_> = (0..3)
            .map(|place| format!("{name}-{round:06}-{place}"))
            .collect();
        let repeated = self.accepted.first().cloned();
        let keys: Vec<_> = repeated
            .iter()
            .cloned()
            .chain(new.iter().cloned())
            .collect();
        let bodies: Vec<_> = keys
            .iter()
            .map(|key| transaction(key).into_bytes())
            .collect();
        let statement = sqlx::query(INSERT)
            .bind(vec!["transaction"; keys.len()])
            .bind(&keys)
            .bind(vec![vec![7_u8; 32]; keys.len()])
            .bind(bodies)
            .bind(vec![0_i64; keys.len()])
            .fetch_all(&mut self.connection);
        let rows = in_time("an insert of the former release", statement).await;
        let mut taken = Vec::new();
        for row in rows.unwrap() {
            if let Some(id) = row.get::<Option<i64>, _>("id") {
                taken.push((row.get::<i64, _>("place"), id));
            }
        }
        let places: Vec<_> = taken.iter().map(|(place, _)| *place).collect();
        // The first of the batch, where it is a repetition.
        assert_eq!(places, vec![1; usize::from(repeated.is_some())]);
        self.accepted.extend(new);
    }

    /// The ids and fences of the events that it leases.
    async fn claim(&mut self, limit: i64, lease_us: i64) -> Vec<(i64, i64)> {
        let statement = sqlx::query(CLAIM)
            .bind("transaction")
            .bind(limit)
            .bind(lease_us)
            .bind(10_i32)
            .bind("exhausted")
            .bind(0_i64)
            .bind("lost")
            .bind(5_i32)
            .fetch_all(&mut self.connection);
        let rows = in_time("a claim of the former release", statement).await;
        let rows = rows.unwrap();
        let leased = rows.iter().filter_map(|row| {
            let id = row.get::<Option<i64>, _>("id")?;
            assert!(!row.get::<bool, _>("spent"));
            assert!(!row.get::<Vec<u8>, _>("body").is_empty());
            Some((id, row.get("fence")))
        });
        leased.collect()
    }

    async fn settle(&mut self, leased: &[(i64, i64)]) {
        let mut leased = leased.to_vec();
        leased.sort_unstable();
        let statement = sqlx::query(SETTLE)
            .bind(leased.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .bind(leased.iter().map(|(_, fence)| *fence).collect::<Vec<_>>())
            .bind(vec![0_i16; leased.len()])
            .bind(vec![0_i64; leased.len()])
            .bind(vec![None::<String>; leased.len()])
            .bind(5_i32)
            .fetch_all(&mut self.connection);
        let rows = in_time("a settlement of the former release", statement).await;
        let rows = rows.unwrap();
        let applied: usize = rows
            .iter()
            .map(|row| row.get::<Vec<i64>, _>("places").len())
            .sum();
        assert_eq!(applied, leased.len(), "a lease was lost");
        for (id, fence) in leased {
            assert_eq!(
                self.settled.insert(id, fence),
                None,
                "{id} was leased twice"
            );
        }
    }
}

/// The first steps of an app of the current release.
async fn migrate(url: String) {
    let store = PgStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn former_release_works_on_while_the_schema_is_migrated() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    make_former_schema(&mut connection, FORMER_VERSION).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut rounds = Vec::new();
    let mut working = Vec::new();
    for name in 0..FORMER_PROCESSES {
        let done = Arc::new(AtomicUsize::new(0));
        let former = Former::connect(&database, name).await;
        working.push(tokio::spawn(
            former.work(Arc::clone(&stop), Arc::clone(&done)),
        ));
        rounds.push(done);
    }
    let each_works_on = async |what: &str| {
        let counts = || rounds.iter().map(|done| done.load(Ordering::Relaxed));
        let before: Vec<_> = counts().collect();
        until(what, async || {
            counts().zip(&before).all(|(now, before)| now >= before + 10)
                // Its panic says more.
                || working.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
    };
    each_works_on("the former release works").await;

    // An app and a server of the current release come at the same time.
    let migrating = tokio::spawn(migrate(database.url().to_owned()));
    let node = Node::of(server_on(database.url(), &["--processing-delay-seconds=0"]).start()).await;
    in_time("the app migrates", migrating).await.unwrap();
    each_works_on("the former release works beside the current one").await;

    stop.store(true, Ordering::Relaxed);
    let mut accepted = BTreeSet::new();
    let mut settled = HashMap::new();
    for former in working {
        let former = in_time("the former release ends", former).await.unwrap();
        accepted.extend(former.accepted);
        for (id, fence) in former.settled {
            assert_eq!(settled.insert(id, fence), None, "{id} was settled twice");
        }
    }
    until("the current release processes what is left", async || {
        number(&mut connection, "SELECT count(*) FROM webhook.queue").await == 0
    })
    .await;
    let mut handled: HashMap<String, usize> = HashMap::new();
    for run in node.stop().await {
        *handled.entry(run.transaction_id).or_default() += 1;
    }

    let rows = sqlx::query(
        "SELECT event.id, event.key, outcome.failed, outcome.attempts, outcome.fence
         FROM webhook.events AS event LEFT JOIN webhook.outcomes AS outcome USING (id)",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut stored = BTreeSet::new();
    for row in &rows {
        let (id, key): (i64, String) = (row.get("id"), row.get("key"));
        assert_eq!(row.get::<Option<bool>, _>("failed"), Some(false), "{key}");
        let (attempts, fence): (i32, i64) = (row.get("attempts"), row.get("fence"));
        assert_eq!(i64::from(attempts), fence, "{key}");
        let by_current = handled.get(&key).copied().unwrap_or(0);
        match settled.get(&id) {
            Some(settled) => {
                assert_eq!((fence, by_current), (*settled, 0), "{key}");
            }
            // Those with more attempts had been leased by processes that then ended.
            None => {
                assert_eq!(by_current, 1, "{key}");
                assert!(attempts <= 1 + FORMER_PROCESSES, "{key}: {attempts}");
            }
        }
        stored.insert(key);
    }
    assert_eq!(stored.len(), rows.len());
    assert_eq!(stored, accepted);
    assert!(!handled.is_empty() && !settled.is_empty());
    database.drop_database().await;
}

/// A dump, for example, reads a table for as long as it takes. A migration that waited for it would hold up every
/// statement that comes after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_that_waits_for_a_reader_lets_others_pass() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    make_former_schema(&mut connection, FORMER_VERSION).await;
    let mut reader = database.connection().await;
    run(&mut reader, "BEGIN; SELECT FROM webhook.events").await;

    let migrating = tokio::spawn(migrate(database.url().to_owned()));
    until("the migration waits for the reader", async || {
        const WAITING: &str = "SELECT count(*) FROM pg_locks
             WHERE relation = 'webhook.events'::regclass AND NOT granted";
        number(&mut connection, WAITING).await > 0
    })
    .await;
    let mut former = Former::connect(&database, 0).await;
    for round in 0..5 {
        former.accept(round).await;
        let leased = former.claim(10, 60_000_000).await;
        assert_eq!(leased.len(), 3);
        former.settle(&leased).await;
    }
    assert!(!migrating.is_finished());
    assert_eq!(number(&mut connection, VERSION).await, 5);

    run(&mut reader, "COMMIT").await;
    in_time("the migration ends", migrating).await.unwrap();
    assert!(number(&mut connection, VERSION).await > 5);
    database.drop_database().await;
}

#[tokio::test]
async fn blocked_migration_ends_with_an_error_and_changes_nothing() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    make_former_schema(&mut connection, FORMER_VERSION).await;
    let mut reader = database.connection().await;
    run(&mut reader, "BEGIN; SELECT FROM webhook.events").await;
    let store = PgStore::connect(database.url()).await.unwrap();
    // It tries for a minute.
    let migrating = tokio::time::timeout(2 * PATIENCE, store.migrate());
    let error = migrating.await.expect("it gives up").unwrap_err();
    assert!(
        matches!(
            &error,
            PgError::MigrationBlocked {
                name: "keep_headers",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(number(&mut connection, VERSION).await, 5);
    run(&mut reader, "COMMIT").await;
    store.migrate().await.unwrap();
    store.close().await;
    database.drop_database().await;
}
