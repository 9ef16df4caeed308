//! Processes that are killed in the middle of commits lose nothing that they acknowledged.
//!
//! The test starts itself again as a process that accepts, claims and settles events as fast as it can, and
//! prints what it was told. It is killed after a random time, again and again, always on the same file. Each
//! time, what was printed must be in the file, and the file must be whole.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor, Row};
use webhook_core::{
    Accepted, Claim, Envelope, EventRef, Fingerprint, Key, Kind, NewEvent, Outcome, Scheduler,
    Settled, Settlement, State, Store,
};
use webhook_sqlite::{SqliteStore, sqlx};

const KIND: Kind = Kind::from_static("order");

/// Names the file to the process that is killed.
const FILE: &str = "WEBHOOK_SQLITE_KILL_FILE";

/// How long the process may print nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of kills, unless `SQLITE_KILLS` sets another one.
const KILLS: u64 = 15;

#[test]
fn acknowledged_events_survive_sigkill() {
    let kills = std::env::var("SQLITE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("webhook.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The latest state that was acknowledged of each event.
    let mut told: BTreeMap<String, State> = BTreeMap::new();
    for round in 0..kills {
        for line in run_and_kill(&file, round) {
            let (what, key) = line.split_once(' ').unwrap();
            let state = match what {
                "accepted" => State::Processing,
                "processed" => State::Processed,
                other => panic!("{other}"),
            };
            let latest = told.entry(key.to_owned()).or_insert(state);
            if state == State::Processed {
                *latest = state;
            }
        }
        runtime.block_on(check(&file, &told));
    }
    let processed = told
        .values()
        .filter(|state| **state == State::Processed)
        .count();
    assert!(
        processed > 0 && told.len() > processed,
        "{processed} of {}",
        told.len()
    );
}

/// Runs the process on the file, kills it, and returns the lines that it printed.
fn run_and_kill(file: &Path, round: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "process_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    let reading = thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            sender.send(line).unwrap();
        }
    });
    let mut printed = Vec::new();
    // Kill it in a different phase each time.
    let wanted = 1 + (round * 37) % 90;
    while (printed.len() as u64) < wanted {
        let line = lines
            .recv_timeout(PATIENCE)
            .expect("the process prints what it was told");
        printed.extend(fact(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap();
    printed.extend(lines.iter().filter_map(|line| fact(&line)));
    printed
}

/// A line of the process itself, not of the test harness around it. The last one may be cut.
fn fact(line: &str) -> Option<String> {
    let fact = line.strip_prefix("fact ")?.strip_suffix(" .")?;
    Some(fact.to_owned())
}

async fn check(file: &Path, told: &BTreeMap<String, State>) {
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    let row = connection
        .fetch_one("PRAGMA integrity_check")
        .await
        .unwrap();
    assert_eq!(row.get::<&str, _>(0), "ok");
    let row = connection
        .fetch_one(
            "SELECT (SELECT count(*) FROM events),
                    (SELECT count(*) FROM queue) + (SELECT count(*) FROM outcomes)",
        )
        .await
        .unwrap();
    assert_eq!(
        row.get::<i64, _>(0),
        row.get::<i64, _>(1),
        "each event has one state"
    );
    drop(connection);
    let store = SqliteStore::open(file).await.unwrap();
    for (key, state) in told {
        let event = EventRef {
            kind: KIND,
            key: Key::new(key.as_str()).unwrap(),
        };
        let found = store.find(&[event]).await.unwrap().remove(0);
        let found = found.map(|record| record.state);
        match state {
            // A settlement may have been committed without an answer.
            State::Processing => assert!(found.is_some(), "{key} is lost"),
            state => assert_eq!(found, Some(*state), "{key}"),
        }
    }
}

/// Not a test of its own: the process that [`acknowledged_events_survive_sigkill`] kills.
#[test]
#[ignore = "started by acknowledged_events_survive_sigkill"]
fn process_that_is_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(file).await.unwrap();
        let accepting = store.clone();
        tokio::spawn(async move {
            for number in 0_u64.. {
                accept(&accepting, number).await;
            }
        });
        loop {
            settle(&store).await;
        }
    });
}

fn print(what: &str, key: &Key) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "fact {what} {key} .").unwrap();
    out.flush().unwrap();
}

async fn accept(store: &SqliteStore, number: u64) {
    let process = std::process::id();
    let events: Vec<NewEvent> = (0..5)
        .map(|place| {
            let key = Key::new(format!("{process}-{number}-{place}")).unwrap();
            let body = Bytes::from(vec![b'x'; 2_000]);
            NewEvent::new(
                Envelope::new(KIND, key, Fingerprint::of([&body]), body),
                Duration::ZERO,
            )
        })
        .collect();
    let answers = store.accept(&events).await.unwrap();
    for (event, answer) in events.iter().zip(answers) {
        assert_eq!(answer, Accepted::New);
        print("accepted", &event.envelope.key);
    }
}

async fn settle(store: &SqliteStore) {
    let limit = NonZeroUsize::new(4).unwrap();
    let claim = Claim::new(
        KIND,
        limit,
        Duration::from_secs(60),
        NonZeroU32::new(9).unwrap(),
    );
    let claimed = store.claim(&[claim]).await.unwrap().remove(0);
    let settlements: Vec<Settlement> = claimed
        .events
        .iter()
        .map(|event| Settlement::new(event.lease, Outcome::Processed))
        .collect();
    let answers = store.settle(&settlements).await.unwrap();
    for (event, answer) in claimed.events.iter().zip(answers) {
        assert_eq!(answer, Settled::Applied);
        print("processed", &event.key);
    }
}
