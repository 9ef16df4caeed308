//! An actix-web app that is told to end while it is busy, again and again.

#[expect(dead_code, reason = "other tests need more of it")]
mod process;

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use process::{DEADLINE, Process};
use rustix::process::Signal;
use webhook_core::{Admin, Counts, EventRef, Key, Kind, State, Store};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;

const ROUNDS: usize = 6;

/// How many senders there are at a time.
const SENDERS: usize = 24;

/// How many orders each of them asks for before it sends any.
const FINDS: usize = 20;

/// How long a handler runs: longer than actix takes to end its threads, so that attempts are settled after that.
const WORK_MS: &str = "2500";

/// How many handlers are running when the app is told to end.
const RUNNING: u64 = 100;

/// Messages that must not be in a log: the first of a connection whose runtime has ended, the second of an attempt whose
/// settlement was stored, but not answered.
const COMPLAINTS: [&str; 2] = ["being shutdown", "lease was lost"];

#[tokio::test(flavor = "multi_thread")]
async fn terminations_under_load_lose_nothing_and_cut_no_connection() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();

    let mut acknowledged = HashSet::new();
    for round in 0..ROUNDS {
        let app = start(database.url(), WORK_MS);
        let stop = until_counts(&store, |counts| counts.leased >= RUNNING);
        let (ids, log) = under_load(app, round, stop).await;
        assert!(ids.len() as u64 >= RUNNING, "{} acknowledged", ids.len());
        acknowledged.extend(ids);
        assert_quiet(&log);
    }

    let (app, address) = start(database.url(), "0");
    // Before it answers, it may not yet listen to signals either.
    let last = || post(&address, "last");
    assert_eq!(tokio::task::block_in_place(last).unwrap(), 202);
    until_counts(&store, |counts| {
        counts.due + counts.waiting + counts.leased == 0
    })
    .await;
    assert_quiet(&app.stop(Signal::TERM));
    for id in &acknowledged {
        let event = EventRef {
            kind: Kind::from_static("order"),
            key: Key::new(id.as_str()).unwrap(),
        };
        let record = store.find(&[event]).await.unwrap().remove(0);
        let record = record.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        assert_eq!(record.state, State::Processed, "{id}");
    }
    store.close().await;
    database.drop_database().await;
}

/// A running app, and its address.
fn start(url: &str, work_ms: &str) -> (Process, String) {
    let environment = [
        ("BIND_ADDR", "127.0.0.1:0"),
        ("DATABASE_URL", url),
        ("WORK_MS", work_ms),
    ];
    let mut app = Process::start("actix_orders", &[], &environment);
    loop {
        let line = app.next_line("listening on http://");
        if let Some((_, address)) = line.split_once("listening on http://") {
            return (app, address.to_owned());
        }
    }
}

/// Sends orders, and asks for their state, until the app ends, which it is told to do after `stop`.
/// The orders that it acknowledged, and its log.
async fn under_load(
    (app, address): (Process, String),
    round: usize,
    stop: impl Future<Output = ()>,
) -> (Vec<String>, Vec<String>) {
    let acknowledged = Mutex::new(Vec::new());
    let senders = AtomicUsize::new(0);
    let all_are_there = Barrier::new(SENDERS);
    let send = || {
        // First of all, so that finding orders is what opens the connections of the app's pool.
        all_are_there.wait();
        for _ in 0..FINDS {
            let missing = request(&address, "GET /orders/missing HTTP/1.1\r\n", "");
            assert_eq!(missing.expect("it answers"), 404);
        }
        let sender = senders.fetch_add(1, Ordering::Relaxed);
        for number in 0.. {
            let id = format!("{round}-{sender}-{number}");
            match post(&address, &id) {
                Ok(202) => acknowledged
                    .lock()
                    .expect("no sender panics")
                    .push(id.clone()),
                // It is closing, or it was not there any more.
                Ok(503) | Err(_) => return,
                Ok(status) => panic!("order {id} is answered {status}"),
            }
            let head = format!("GET /orders/{id} HTTP/1.1\r\n");
            if request(&address, &head, "").is_err() {
                return;
            }
        }
    };
    let log = tokio::task::block_in_place(|| {
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(send);
            }
            // Events of an earlier round are being handled from the beginning.
            let deadline = Instant::now() + DEADLINE;
            while (acknowledged.lock().expect("no sender panics").len() as u64) < RUNNING {
                assert!(Instant::now() < deadline, "orders are acknowledged");
                thread::sleep(Duration::from_millis(10));
            }
            tokio::runtime::Handle::current().block_on(stop);
            app.stop(Signal::TERM)
        })
    });
    (acknowledged.into_inner().expect("no sender panics"), log)
}

/// Sends the order `id`.
fn post(address: &str, id: &str) -> io::Result<u16> {
    let order = format!(r#"{{"id":"{id}","total_cents":1}}"#);
    let length = order.len();
    let head = format!("POST /orders HTTP/1.1\r\ncontent-length: {length}\r\n");
    request(address, &head, &order)
}

/// The status of the answer; an error where there is none.
fn request(address: &str, head: &str, body: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let request = format!("{head}host: {address}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn assert_quiet(log: &[String]) {
    let loud = |line: &&String| COMPLAINTS.iter().any(|it| line.contains(it));
    let complaints: Vec<_> = log.iter().filter(loud).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let drained = log.iter().any(|line| line.contains("drained, "));
    assert!(drained, "it ends by a drain: {log:#?}");
}

async fn until_counts(store: &PgStore, holds: impl Fn(Counts) -> bool) {
    let kind = Kind::from_static("order");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let counts = store.counts(&kind).await.expect("the database answers");
        if holds(counts) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not within {DEADLINE:?}: {counts:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
