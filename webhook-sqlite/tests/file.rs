//! What is particular to a file: who may open it, transactions of the app, the clock, its size.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, Executor, Row};
use tempfile::TempDir;
use webhook_core::transfer::{MoveMark, Transfer};
use webhook_core::{
    Accepted, ActionPage, ActionRecord, Admin, EventType, Fingerprint, FoundInbox, Handled,
    HandlerError, Kind, MAX_ACTIONS, Outcome, Page, Partition, Prune, Scheduler, Settled,
    Settlement, State, Store, TerminalState,
};
use webhook_sqlite::{
    ExistingBackup, MigrationLine, ServerLock, SqliteError, SqliteOptions, SqliteStore, sqlx,
};

use inbox::{KIND, claim, event, folder, name, plain};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn state(store: &SqliteStore, key: &str) -> Option<State> {
    let found = store.find(&[name(key)]).await.unwrap();
    found[0].as_ref().map(|record| record.state)
}

#[tokio::test]
async fn events_are_there_when_the_file_is_opened_again() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(store.accept(&[event("a")]).await.unwrap(), [Accepted::New]);
    drop(store);
    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(
        store.accept(&[event("a")]).await.unwrap(),
        [Accepted::Duplicate]
    );
    assert_eq!(claim(&store, 10).await.events.len(), 1);
}

#[tokio::test]
async fn events_of_a_call_are_stored_together_or_not_at_all() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    plain(&file)
        .await
        .execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.key = 'bad'
             BEGIN SELECT raise(ABORT, 'refused'); END",
        )
        .await
        .unwrap();
    // The bad event is in the second of the statements that the call needs.
    let mut events: Vec<_> = (0..700).map(|it| event(&format!("a-{it}"))).collect();
    events[600] = event("bad");
    let other = [event("other")];
    let (refused, accepted) = tokio::join!(store.accept(&events), store.accept(&other));
    refused.unwrap_err();
    assert_eq!(accepted.unwrap(), [Accepted::New]);
    for key in ["a-0", "a-599", "bad", "a-699"] {
        assert_eq!(state(&store, key).await, None, "{key}");
    }
}

#[tokio::test]
async fn file_of_another_program_is_refused_and_left_as_it_is() {
    let (_folder, file) = folder();
    let mut other = plain(&file).await;
    other
        .execute("CREATE TABLE notes (text TEXT)")
        .await
        .unwrap();
    other.close().await.unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert!(matches!(error, SqliteError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("webhook.db"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn file_of_a_newer_version_is_refused() {
    let (_folder, file) = folder();
    drop(SqliteStore::open(&file).await.unwrap());
    let mut newer = plain(&file).await;
    newer.execute("PRAGMA user_version = 99").await.unwrap();
    newer.close().await.unwrap();
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert!(
        matches!(error, SqliteError::Newer { found: 99, .. }),
        "{error}"
    );
}

/// A file with the tables of the first version, which has two events.
async fn first_version(file: &Path) {
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .connect()
        .await
        .unwrap();
    for statements in [
        include_str!("../src/migrations/create_inbox.sql"),
        "PRAGMA application_id = 1464363374; PRAGMA user_version = 1;
         INSERT INTO kinds VALUES (7, 'order');
         INSERT INTO events VALUES
           (1, 7, 'a', 1, zeroblob(32), NULL, x'31', 1700000000000000),
           (2, 7, 'b', 2, zeroblob(32), NULL, x'32', 1700000000000000);
         INSERT INTO queue (id, kind, due_us) VALUES (1, 7, 1700000000000000);
         INSERT INTO outcomes VALUES (2, 7, 1, 0, 1, 1, 1700000000000000, 'broken');
         CREATE VIEW failed AS SELECT key FROM inbox WHERE status = 'FAILED';",
    ] {
        connection.execute(sqlx::raw_sql(statements)).await.unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn file_of_the_first_version_is_updated() {
    let (_folder, file) = folder();
    assert!(!SqliteStore::is_outdated(&file).await.unwrap());
    first_version(&file).await;
    let before = std::fs::read(&file).unwrap();
    assert!(SqliteStore::is_outdated(&file).await.unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // Both update it, or see that the other one has.
    let (one, two) = tokio::join!(SqliteStore::open(&file), SqliteStore::open(&file));
    let store = one.unwrap();
    two.unwrap().close().await;
    assert!(!SqliteStore::is_outdated(&file).await.unwrap());
    let mut reader = plain(&file).await;
    let indexed = sqlx::query("SELECT hash, id FROM key_index").fetch_all(&mut reader);
    let indexed = indexed.await.unwrap();
    let indexed: Vec<(i64, i64)> = indexed.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(indexed, [(1, 1), (2, 2)]);
    let page = Page::new(KIND, State::Failed, NonZeroUsize::MAX);
    let failed = store.list(&page).await.unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].event_type, None);
    assert_eq!(claim(&store, 9).await.events.len(), 1);
    assert_eq!(store.partition_mark().await.unwrap(), None);
    assert!(store.replace_partition_mark(None, "mark").await.unwrap());
    let event_type = EventType::new("order.paid").unwrap();
    let mut paid = event("c");
    paid.envelope.event_type = Some(event_type.clone());
    assert_eq!(store.accept(&[paid]).await.unwrap(), [Accepted::New]);
    let page = Page::new(KIND, State::Processing, NonZeroUsize::MAX).event_type(event_type);
    assert_eq!(store.list(&page).await.unwrap().len(), 1);
    let rows = "SELECT key, event_type FROM inbox ORDER BY id";
    let rows = sqlx::query(rows).fetch_all(&mut reader).await.unwrap();
    let types: Vec<Option<&str>> = rows.iter().map(|row| row.get("event_type")).collect();
    assert_eq!(types, [None, None, Some("order.paid")]);
    let of_the_app = sqlx::query("SELECT key FROM failed").fetch_all(&mut reader);
    assert_eq!(of_the_app.await.unwrap().len(), 1);
}

/// The names and the contents of all files in a folder, and the shared memory by its name only.
fn contents(folder: &TempDir) -> BTreeMap<OsString, Vec<u8>> {
    let files = std::fs::read_dir(folder.path()).unwrap();
    let files = files.map(|file| {
        let file = file.unwrap();
        let name = file.file_name();
        let content = match name.to_str().unwrap().ends_with("-shm") {
            true => Vec::new(),
            false => std::fs::read(file.path()).unwrap(),
        };
        (name, content)
    });
    files.collect()
}

/// Looks at a file, and checks that nothing has changed in its folder.
async fn look(folder: &TempDir, file: &Path) -> Result<FoundInbox, SqliteError> {
    let before = contents(folder);
    let found = SqliteStore::look(file).await;
    assert!(contents(folder) == before, "a look has changed something");
    found
}

#[tokio::test]
async fn a_look_changes_nothing() {
    let (folder, file) = folder();
    let nothing = FoundInbox::default();
    assert_eq!(look(&folder, &file).await.unwrap(), nothing);
    let missing = folder.path().join("missing").join("webhook.db");
    assert_eq!(look(&folder, &missing).await.unwrap(), nothing);
    std::fs::write(&file, "").unwrap();
    assert_eq!(look(&folder, &file).await.unwrap(), nothing);
    // A file that is not updated.
    std::fs::remove_file(&file).unwrap();
    first_version(&file).await;
    let mut first = nothing.clone();
    first.kinds = vec![KIND];
    assert_eq!(look(&folder, &file).await.unwrap(), first);

    // One that is in use, one that a crash has left, with and without its shared memory, and one that was closed.
    let store = SqliteStore::open(&file).await.unwrap();
    store.replace_partition_mark(None, "mark").await.unwrap();
    let moved = MoveMark::Moved { to: "other".into() };
    store.set_mark(Some(&moved)).await.unwrap();
    let mut all = first.clone();
    all.partition_mark = Some("mark".into());
    all.move_mark = Some(moved);
    assert_eq!(look(&folder, &file).await.unwrap(), all);
    let (crashed, copy) = self::folder();
    let beside = |file: &Path, suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    for suffix in ["", "-wal", "-shm"] {
        std::fs::copy(beside(&file, suffix), beside(&copy, suffix)).unwrap();
    }
    assert_eq!(look(&crashed, &copy).await.unwrap(), all);
    std::fs::remove_file(beside(&copy, "-shm")).unwrap();
    assert_eq!(SqliteStore::look(&copy).await.unwrap(), all);
    store.close().await;
    assert_eq!(look(&folder, &file).await.unwrap(), all);
    // It opens as if nobody had looked.
    let store = SqliteStore::open(&copy).await.unwrap();
    assert_eq!(store.partition_mark().await.unwrap(), Some("mark".into()));
    store.close().await;

    let odd = folder.path().join("100% odd?name=#1 é.db");
    std::fs::copy(&file, &odd).unwrap();
    assert_eq!(look(&folder, &odd).await.unwrap(), all);
}

#[tokio::test]
async fn a_look_refuses_what_cannot_be_opened() {
    let (folder, file) = folder();
    assert!(matches!(
        look(&folder, folder.path()).await,
        Err(SqliteError::File { .. })
    ));
    std::fs::write(&file, "this is no database".repeat(100)).unwrap();
    assert!(matches!(
        look(&folder, &file).await,
        Err(SqliteError::Corrupt { .. })
    ));
    std::fs::remove_file(&file).unwrap();
    drop(SqliteStore::open(&file).await.unwrap());
    let mut newer = plain(&file).await;
    newer.execute("PRAGMA user_version = 99").await.unwrap();
    newer.close().await.unwrap();
    assert!(matches!(
        look(&folder, &file).await,
        Err(SqliteError::Newer { found: 99, .. })
    ));
    std::fs::remove_file(&file).unwrap();
    let mut other = plain(&file).await;
    other.execute("CREATE TABLE notes (text)").await.unwrap();
    other.close().await.unwrap();
    assert!(matches!(
        look(&folder, &file).await,
        Err(SqliteError::Foreign { .. })
    ));
}

#[tokio::test]
async fn kinds_with_guards_are_found_before_the_file_is_opened() {
    let (folder, file) = folder();
    assert_eq!(SqliteStore::guarded_kinds(&file).await.unwrap(), []);
    first_version(&file).await;
    let before = contents(&folder);
    assert_eq!(SqliteStore::guarded_kinds(&file).await.unwrap(), []);
    assert!(contents(&folder) == before, "a look has changed something");
    let store = SqliteStore::open(&file).await.unwrap();
    let mut guarded = event("guarded");
    guarded.envelope.kind = Kind::from_static("guarded");
    guarded.envelope.guard = Some(Fingerprint::of(["guard"]));
    store.accept(&[event("a"), guarded]).await.unwrap();
    let kinds = SqliteStore::guarded_kinds(&file).await.unwrap();
    assert_eq!(kinds, [Kind::from_static("guarded")]);
    store.close().await;
    let kinds = SqliteStore::guarded_kinds(&file).await.unwrap();
    assert_eq!(kinds, [Kind::from_static("guarded")]);
}

#[tokio::test]
async fn an_existing_lock_is_acquired_and_none_is_created() {
    let (folder, file) = folder();
    assert!(ServerLock::acquire_existing(&file).unwrap().is_none());
    assert!(contents(&folder).is_empty());
    // Where it cannot be created later.
    std::fs::write(folder.path().join("text"), "").unwrap();
    for no_folder in ["missing", "text"] {
        let file = folder.path().join(no_folder).join("webhook.db");
        let error = ServerLock::acquire_existing(&file).unwrap_err();
        assert!(matches!(error, SqliteError::Lock { .. }), "{error:?}");
    }
    let lock = ServerLock::acquire(&file).unwrap();
    let error = ServerLock::acquire_existing(&file).unwrap_err();
    assert!(matches!(error, SqliteError::InUse { .. }), "{error:?}");
    drop(lock);
    let lock = ServerLock::acquire_existing(&file).unwrap().unwrap();
    let error = ServerLock::acquire(&file).unwrap_err();
    assert!(matches!(error, SqliteError::InUse { .. }), "{error:?}");
    drop(lock);
}

#[tokio::test]
async fn damaged_file_is_named() {
    let (_folder, file) = folder();
    std::fs::write(
        &file,
        "this is no database at all, but some text of a certain length".repeat(100),
    )
    .unwrap();
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert!(matches!(error, SqliteError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}

#[tokio::test]
async fn missing_folder_is_named() {
    let (folder, _) = folder();
    let file = folder.path().join("missing").join("webhook.db");
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert!(matches!(error, SqliteError::File { .. }), "{error:?}");
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn closed_file_is_whole_without_the_files_beside_it() {
    let (folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    assert_eq!(state(&store, "a").await, Some(State::Processing));
    store.close().await;
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.pop().unwrap().unwrap().file_name(), "webhook.db");
    assert!(names.is_empty(), "{names:?}");
    let error = store.accept(&[event("b")]).await.unwrap_err();
    assert!(webhook_core::with_causes(&error).contains("the store is closed"));
    // Closing it again changes nothing.
    store.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn new_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, file) = folder();
    let _lock = ServerLock::acquire(&file).unwrap();
    let store = SqliteStore::open(&file).await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    for name in [
        "webhook.db",
        "webhook.db-wal",
        "webhook.db-shm",
        "webhook.db-lock",
    ] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn existing_file_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;

    let (_folder, file) = folder();
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    drop(SqliteStore::open(&file).await.unwrap());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn second_server_is_refused_until_the_first_one_ends() {
    let (folder, file) = folder();
    let lock = ServerLock::acquire(&file).unwrap();
    let error = ServerLock::acquire(folder.path().join(".").join("webhook.db")).unwrap_err();
    let SqliteError::InUse { pid, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(pid, Some(std::process::id()));
    let message = error.to_string();
    assert!(
        message.contains(&format!("(process {})", std::process::id())),
        "{message}"
    );
    assert!(message.contains("webhook.db"), "{message}");
    drop(lock);
    drop(ServerLock::acquire(&file).unwrap());

    let error = ServerLock::acquire(folder.path().join("missing/webhook.db")).unwrap_err();
    assert!(matches!(error, SqliteError::Lock { .. }), "{error:?}");
    assert!(error.to_string().contains("webhook.db-lock"), "{error}");
}

#[cfg(unix)]
#[test]
fn lock_is_the_same_by_every_link() {
    let (folder, file) = folder();
    std::fs::write(&file, "").unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let _lock = ServerLock::acquire(&file).unwrap();
    let error = ServerLock::acquire(&link).unwrap_err();
    assert!(matches!(error, SqliteError::InUse { .. }), "{error:?}");
}

#[tokio::test]
async fn two_stores_share_a_file() {
    let (_folder, file) = folder();
    let one = SqliteStore::open(&file).await.unwrap();
    let other = SqliteStore::open(&file).await.unwrap();
    let events: Vec<_> = (0..100)
        .map(|number| event(&format!("key-{number}")))
        .collect();
    let (first, second) = tokio::join!(one.accept(&events), other.accept(&events));
    let new = |answers: Vec<Accepted>| {
        answers
            .into_iter()
            .filter(|it| *it == Accepted::New)
            .count()
    };
    assert_eq!(new(first.unwrap()) + new(second.unwrap()), 100);

    let (mine, theirs) = tokio::join!(claim(&one, 60), claim(&other, 60));
    assert_eq!(mine.events.len() + theirs.events.len(), 100);
    // A lease is valid in either store.
    let lease = mine.events[0].lease;
    let settlement = [Settlement::new(lease, Outcome::Processed)];
    assert_eq!(other.settle(&settlement).await.unwrap(), [Settled::Applied]);
    assert_eq!(one.settle(&settlement).await.unwrap(), [Settled::LeaseLost]);
}

#[tokio::test]
async fn event_and_rows_of_the_app_are_committed_together_or_not_at_all() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let mut setup = store.begin().await.unwrap();
    setup
        .execute("CREATE TABLE orders (id TEXT)")
        .await
        .unwrap();
    setup.commit().await.unwrap();

    let mut dropped = store.begin().await.unwrap();
    dropped
        .execute("INSERT INTO orders VALUES ('dropped')")
        .await
        .unwrap();
    store
        .accept_in(&mut dropped, event("dropped").envelope)
        .await
        .unwrap();
    drop(dropped);
    assert_eq!(state(&store, "dropped").await, None);

    let mut committed = store.begin().await.unwrap();
    committed
        .execute("INSERT INTO orders VALUES ('committed')")
        .await
        .unwrap();
    let accepted = store
        .accept_in(&mut committed, event("committed").envelope)
        .await
        .unwrap();
    assert_eq!(accepted, Accepted::New);
    committed.commit().await.unwrap();
    assert_eq!(state(&store, "committed").await, Some(State::Processing));

    let mut app = plain(&file).await;
    let orders = sqlx::query("SELECT id FROM orders")
        .fetch_all(&mut app)
        .await
        .unwrap();
    let orders: Vec<&str> = orders.iter().map(|row| row.get(0)).collect();
    assert_eq!(orders, ["committed"]);
}

#[tokio::test]
async fn migrations_of_a_program_run_once_and_forward_only() {
    const FIRST: (&str, &str) = ("create_orders", "CREATE TABLE orders (id TEXT)");
    const SECOND: (&str, &str) = (
        "create_failed",
        "CREATE VIEW failed AS SELECT key FROM inbox WHERE status = 'FAILED';
         CREATE TABLE notes (text TEXT)",
    );
    const ONE: MigrationLine = MigrationLine::new("app", &[FIRST]);
    const TWO: MigrationLine = MigrationLine::new("app", &[FIRST, SECOND]);
    const BAD: MigrationLine = MigrationLine::new(
        "bad",
        &[
            ("create_lost", "CREATE TABLE lost (id TEXT)"),
            ("repeat", "CREATE TABLE orders (id TEXT)"),
        ],
    );
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    for lines in [&[ONE][..], &[ONE], &[TWO], &[TWO], &[]] {
        store.migrate_with(lines).await.unwrap();
    }
    let error = store.migrate_with(&[ONE]).await.unwrap_err();
    assert!(
        matches!(
            error,
            SqliteError::NewerLine {
                line: "app",
                found: 2,
                known: 1
            }
        ),
        "{error}"
    );
    let error = store.migrate_with(&[BAD]).await.unwrap_err();
    assert!(
        matches!(error, SqliteError::Migration { name: "repeat", .. }),
        "{error}"
    );
    let mut app = plain(&file).await;
    for table in ["orders", "failed", "notes"] {
        let rows = app.fetch_all(sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT * FROM {table}"
        ))));
        assert!(rows.await.unwrap().is_empty());
    }
    app.fetch_all("SELECT * FROM lost").await.unwrap_err();
}

#[tokio::test]
async fn commit_of_a_transaction_wakes_workers() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    assert!(claim(&store, 1).await.events.is_empty());
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for_work(&[KIND]).await }
    });
    let mut transaction = store.begin().await.unwrap();
    store
        .accept_in(&mut transaction, event("a").envelope)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let woken = tokio::time::timeout(MINUTE, waiting).await.unwrap();
    assert_eq!(woken.unwrap(), [0]);
}

#[tokio::test]
async fn effect_and_settlement_are_committed_together() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let mut setup = store.begin().await.unwrap();
    setup
        .execute("CREATE TABLE shipments (id TEXT)")
        .await
        .unwrap();
    setup.commit().await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    let lease = claim(&store, 1).await.events[0].lease;
    let ship = async |connection: &mut SqliteConnection| {
        connection
            .execute("INSERT INTO shipments VALUES ('a')")
            .await?;
        Ok(())
    };

    let failing = async |connection: &mut SqliteConnection| {
        ship(connection).await?;
        Err(HandlerError::reject("no stock"))
    };
    let error = store.settle_with(lease, failing).await.unwrap_err();
    assert_eq!(error, HandlerError::reject("no stock"));
    assert_eq!(state(&store, "a").await, Some(State::Processing));

    assert_eq!(
        store.settle_with(lease, ship).await.unwrap(),
        Handled::Settled
    );
    assert_eq!(state(&store, "a").await, Some(State::Processed));
    // The lease is used up: a second effect is rolled back.
    store.settle_with(lease, ship).await.unwrap_err();
    let mut app = plain(&file).await;
    let row = sqlx::query("SELECT count(*) FROM shipments")
        .fetch_one(&mut app)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);
}

#[tokio::test]
async fn store_closes_while_its_log_is_being_copied() {
    let (_folder, file) = folder();
    for round in 0..10 {
        // Each commit makes a checkpoint due, and has the writer asked for the rest of it.
        let options = SqliteOptions::new(&file).with_checkpoint_pages(1);
        let store = SqliteStore::open_with(options).await.unwrap();
        for number in 0..=round {
            let key = format!("{round}-{number}");
            store.accept(&[event(&key)]).await.unwrap();
        }
        let closed = tokio::time::timeout(MINUTE, store.close()).await;
        assert!(closed.is_ok(), "round {round}");
    }
}

#[tokio::test]
async fn log_is_copied_and_begins_again_while_events_are_accepted() {
    let (folder, file) = folder();
    let options = SqliteOptions::new(&file).with_checkpoint_pages(16);
    let store = SqliteStore::open_with(options).await.unwrap();
    let log = folder.path().join("webhook.db-wal");
    let mut accepted = 0;
    loop {
        let mut event = event(&accepted.to_string());
        event.envelope.body = Bytes::from(vec![b'x'; 4_000]);
        store.accept(&[event]).await.unwrap();
        accepted += 1;
        // Each event has a page of its own, so that all of them take more than this. On a busy
        // machine it takes more events until the log is copied.
        let log_bytes = std::fs::metadata(&log).unwrap().len();
        if accepted >= 500 && log_bytes < accepted * 3_300 {
            break;
        }
        assert!(accepted < 5_000, "{log_bytes} bytes");
    }
    assert_eq!(store.counts(&KIND).await.unwrap().due, accepted);
}

#[tokio::test]
async fn log_begins_again_before_a_commit_has_to_copy_it() {
    let (folder, file) = folder();
    let pages = 1_024;
    let options = SqliteOptions::new(&file).with_checkpoint_pages(pages);
    let store = SqliteStore::open_with(options).await.unwrap();
    // More than four pages each: 10,000 pages in all. Most commits run while the log is being copied.
    for batch in 0..38 {
        let events: Vec<_> = (0..64)
            .map(|number| {
                let mut event = event(&format!("{batch}-{number}"));
                event.envelope.body = Bytes::from(vec![b'x'; 16_000]);
                event
            })
            .collect();
        store.accept(&events).await.unwrap();
    }
    let log = std::fs::metadata(folder.path().join("webhook.db-wal")).unwrap();
    // The writer copies the log when it is eight times as long as makes a checkpoint due.
    let most = 8 * u64::from(pages) * 4_120;
    assert!(log.len() < most, "{} bytes", log.len());
}

#[tokio::test]
async fn time_does_not_go_behind_what_the_file_has_seen() {
    let (_folder, file) = folder();
    drop(SqliteStore::open(&file).await.unwrap());
    // Another boot, whose clock was an hour ahead.
    let mut edit = plain(&file).await;
    edit.execute("UPDATE clock SET boot_id = 'another', floor_us = floor_us + 3600000000")
        .await
        .unwrap();
    edit.close().await.unwrap();
    let store = SqliteStore::open(&file).await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    let record = store.find(&[name("a")]).await.unwrap().remove(0).unwrap();
    assert!(
        record.accepted_at > SystemTime::now() + HOUR / 2,
        "{record:?}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn all_processes_of_a_boot_have_one_clock() {
    let (_folder, file) = folder();
    drop(SqliteStore::open(&file).await.unwrap());
    // As if the host's clock had been set back by an hour after the first process opened the file.
    let mut edit = plain(&file).await;
    edit.execute("UPDATE clock SET offset_us = offset_us + 3600000000")
        .await
        .unwrap();
    edit.close().await.unwrap();
    let store = SqliteStore::open(&file).await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    let record = store.find(&[name("a")]).await.unwrap().remove(0).unwrap();
    assert!(
        record.accepted_at > SystemTime::now() + HOUR / 2,
        "{record:?}"
    );
    // The age is by the clock of the store, too.
    let age = claim(&store, 1).await.events[0].age;
    assert!(age < HOUR / 2, "{age:?}");
}

#[tokio::test]
async fn ids_of_deleted_events_are_not_used_again() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    store.accept(&[event("a")]).await.unwrap();
    let first = claim(&store, 1).await.events[0].lease;
    store
        .settle(&[Settlement::new(first, Outcome::Processed)])
        .await
        .unwrap();
    let prune = Prune::new(
        KIND,
        TerminalState::Processed,
        Duration::ZERO,
        NonZeroUsize::MIN,
    );
    assert_eq!(store.prune(&prune).await.unwrap(), 1);
    drop(store);
    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(store.accept(&[event("a")]).await.unwrap(), [Accepted::New]);
    let second = claim(&store, 1).await.events[0].lease;
    assert!(second.event > first.event, "{first:?} {second:?}");
}

#[tokio::test]
async fn pruning_makes_the_file_smaller() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    for batch in 0..8 {
        let events = (0..64).map(|number| {
            let mut event = event(&format!("{batch}-{number}"));
            event.envelope.body = Bytes::from(vec![b'x'; 16 << 10]);
            event
        });
        store.accept(&events.collect::<Vec<_>>()).await.unwrap();
    }
    let leases = claim(&store, 1_000)
        .await
        .events
        .into_iter()
        .map(|it| it.lease);
    let settlements: Vec<_> = leases
        .map(|lease| Settlement::new(lease, Outcome::Processed))
        .collect();
    store.settle(&settlements).await.unwrap();
    let mut app = plain(&file).await;
    let pages = async |app: &mut SqliteConnection| {
        let row = app.fetch_one("PRAGMA page_count").await.unwrap();
        row.get::<i64, _>(0)
    };
    let before = pages(&mut app).await;
    let all = NonZeroUsize::new(1_000).unwrap();
    let prune = Prune::new(KIND, TerminalState::Processed, Duration::ZERO, all);
    assert_eq!(store.prune(&prune).await.unwrap(), 512);
    // The space is given back after the answer, before the next write.
    store.accept(&[event("after")]).await.unwrap();
    let after = pages(&mut app).await;
    assert!(after < before / 4, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_of_a_file_in_use_has_all_that_was_accepted_before() {
    let (folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            let mut accepted = 0;
            while !*stopped.borrow() {
                let batch: Vec<_> = (accepted..accepted + 50)
                    .map(|it| event(&format!("{it}")))
                    .collect();
                store.accept(&batch).await.unwrap();
                let claimed = claim(&store, 20).await;
                let done: Vec<_> = claimed
                    .events
                    .iter()
                    .map(|event| Settlement::new(event.lease, Outcome::Processed))
                    .collect();
                store.settle(&done).await.unwrap();
                accepted += 50;
            }
            accepted
        }
    });
    let to = folder.path().join("backup.db");
    for number in 0..3 {
        let before = format!("before-{number}");
        store.accept(&[event(&before)]).await.unwrap();
        store.back_up(&to, ExistingBackup::Replace).await.unwrap();
        let mut copy = plain(&to).await;
        for (pragma, expected) in [("integrity_check", "ok"), ("auto_vacuum", "2")] {
            let row = copy.fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
                "PRAGMA {pragma}"
            ))));
            let row = row.await.unwrap();
            let found = row
                .try_get::<String, _>(0)
                .or_else(|_| row.try_get::<i64, _>(0).map(|it| it.to_string()));
            assert_eq!(found.unwrap(), expected, "{pragma}");
        }
        let split = "SELECT count(*) FROM events WHERE \
            (SELECT count(*) FROM queue WHERE queue.id = events.id) \
            + (SELECT count(*) FROM outcomes WHERE outcomes.id = events.id) <> 1";
        let row = copy.fetch_one(split).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 0, "the copy is of one moment");
        copy.close().await.unwrap();
        let copy = SqliteStore::open(&to).await.unwrap();
        assert!(state(&copy, &before).await.is_some());
        assert_eq!(
            copy.accept(&[event("new in the copy")]).await.unwrap(),
            [Accepted::New]
        );
        claim(&copy, 1).await;
        copy.close().await;
    }
    stop.send(true).unwrap();
    assert!(writing.await.unwrap() > 0);
    assert_eq!(state(&store, "new in the copy").await, None);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&to).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    store.close().await;
}

#[tokio::test]
async fn backup_keeps_what_must_not_be_overwritten() {
    let (folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("other"), "text").unwrap();
    // What a backup that was killed has left.
    std::fs::write(path("backup.db.partial"), "garbage").unwrap();
    for (to, existing) in [
        ("other", ExistingBackup::Keep),
        ("webhook.db", ExistingBackup::Replace),
        ("webhook.db-wal", ExistingBackup::Replace),
        // There is none, and a server would make one.
        ("webhook.db-lock", ExistingBackup::Keep),
        ("missing/backup.db", ExistingBackup::Keep),
        (".", ExistingBackup::Replace),
    ] {
        let before = contents(&folder);
        let error = store.check_back_up(path(to), existing).await.unwrap_err();
        assert!(matches!(error, SqliteError::Backup { .. }), "{to}: {error}");
        let error = store.back_up(path(to), existing).await.unwrap_err();
        assert!(matches!(error, SqliteError::Backup { .. }), "{to}: {error}");
        assert!(contents(&folder) == before, "{to}: something has changed");
    }
    let before = contents(&folder);
    for (to, existing) in [
        ("backup.db", ExistingBackup::Keep),
        ("other", ExistingBackup::Replace),
    ] {
        store.check_back_up(path(to), existing).await.unwrap();
    }
    assert!(contents(&folder) == before);
    // The partial file of a backup would be the database.
    let named = SqliteStore::open(path("named.partial")).await.unwrap();
    let error = named.back_up(path("named"), ExistingBackup::Keep).await;
    assert!(
        matches!(error, Err(SqliteError::Backup { .. })),
        "{error:?}"
    );
    named.close().await;
    assert_eq!(std::fs::read(path("other")).unwrap(), b"text");
    store.accept(&[event("a")]).await.unwrap();
    let to = path("backup.db");
    store.back_up(&to, ExistingBackup::Keep).await.unwrap();
    assert!(to.exists() && !path("backup.db.partial").exists());
    store.close().await;
}

#[tokio::test]
async fn the_oldest_audit_records_make_room_for_new_ones() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let action = ActionRecord::new("ana", "pause", "order");
    let first = store.record_action(&action).await.unwrap();
    // As if as many had been recorded as are kept.
    let latest = i64::try_from(MAX_ACTIONS).unwrap();
    let options = SqliteConnectOptions::new().filename(&file);
    let mut connection = options.connect().await.unwrap();
    let copy = sqlx::query(
        "INSERT INTO actions SELECT ?1, at_us, actor, action, target, details, count, result FROM actions",
    );
    copy.bind(latest).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let newest = store.record_action(&action).await.unwrap();
    assert_eq!((first.get(), newest.get()), (1, latest + 1));
    let kept = store.actions(&ActionPage::new(NonZeroUsize::MAX)).await;
    let kept: Vec<_> = kept.unwrap().iter().map(|it| it.id.get()).collect();
    assert_eq!(kept, [latest + 1, latest]);
    store.close().await;
}
