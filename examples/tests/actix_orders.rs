//! Tests that an actix-web app can be stopped repeatedly under load.

#[expect(dead_code, reason = "other tests need more of it")]
mod process;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use process::Process;
use rustix::process::Signal;
use testkit::http::request;
use testkit::wait::{Limit, PATIENCE, in_time, until};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use webhook_core::{Admin, Counts, EventRef, Key, Kind, State, Store};
use webhook_postgres::PgStore;
use webhook_postgres::testing::TestDatabase;

const ROUNDS: usize = 6;

/// The number of concurrent senders.
const SENDERS: usize = 24;

/// The number of orders that each sender asks for before it sends any.
const FINDS: usize = 20;

/// How long a handler runs. It is longer than actix takes to end its threads, so that attempts are
/// settled after that.
const WORK_MS: &str = "2500";

/// The number of running handlers when the app is stopped.
const RUNNING: u64 = 100;

/// Messages that must not be in a log: the first shows a connection whose runtime has ended, the
/// second an attempt whose settlement was stored without an answer.
const COMPLAINTS: [&str; 2] = ["being shutdown", "lease was lost"];

#[tokio::test(flavor = "multi_thread")]
async fn terminations_under_load_lose_nothing_and_cut_no_connection() {
    let database = TestDatabase::create().await;
    let store = PgStore::connect(database.url()).await.unwrap();
    store.migrate().await.unwrap();

    let mut acknowledged = HashSet::new();
    for round in 0..ROUNDS {
        let app = start(database.url(), WORK_MS).await;
        let stop = until_counts(&store, |counts| counts.leased >= RUNNING);
        let (ids, log) = under_load(app, round, stop).await;
        assert!(ids.len() as u64 >= RUNNING, "{} acknowledged", ids.len());
        acknowledged.extend(ids);
        assert_quiet(&log);
    }

    let (app, address) = start(database.url(), "0").await;
    // Before it answers, it may not handle signals yet.
    assert_eq!(post(&address, "last").await.unwrap(), 202);
    until_counts(&store, |counts| {
        counts.due + counts.waiting + counts.leased == 0
    })
    .await;
    assert_quiet(&app.stop(Signal::TERM).await);
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

/// Starts the app, and returns its address.
async fn start(url: &str, work_ms: &str) -> (Process, String) {
    let environment = [
        ("BIND_ADDR", "127.0.0.1:0"),
        ("DATABASE_URL", url),
        ("WORK_MS", work_ms),
    ];
    let mut app = Process::start("actix_orders", &[], &environment);
    loop {
        let line = app.next_line("listening on http://").await;
        if let Some((_, address)) = line.split_once("listening on http://") {
            return (app, address.to_owned());
        }
    }
}

/// Sends orders, and asks for their state, until the app ends. It is told to end after `stop`.
/// Returns the orders that it acknowledged, and its log.
async fn under_load(
    (app, address): (Process, String),
    round: usize,
    stop: impl Future<Output = ()>,
) -> (Vec<String>, Vec<String>) {
    let load = Arc::new(Load {
        address,
        round,
        all_are_there: Barrier::new(SENDERS),
        acknowledged: Mutex::default(),
    });
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send(Arc::clone(&load), sender));
    }
    // Events of an earlier round are handled from the start.
    until("orders are acknowledged", async || {
        load.acknowledged().len() as u64 >= RUNNING
    })
    .await;
    stop.await;
    let log = app.stop(Signal::TERM).await;
    in_time("all senders end", senders.join_all()).await;
    let acknowledged = std::mem::take(&mut *load.acknowledged());
    (acknowledged, log)
}

/// The state that the senders of a round share.
struct Load {
    address: String,
    round: usize,
    all_are_there: Barrier,
    acknowledged: Mutex<Vec<String>>,
}

impl Load {
    fn acknowledged(&self) -> MutexGuard<'_, Vec<String>> {
        self.acknowledged.lock().expect("no sender panics")
    }
}

async fn send(load: Arc<Load>, sender: usize) {
    let (address, round) = (&load.address, load.round);
    // The senders begin together, so that finding orders opens the connections of the app's pool.
    load.all_are_there.wait().await;
    for _ in 0..FINDS {
        let missing = get(address, "missing").await;
        assert_eq!(missing.expect("it answers"), 404);
    }
    // Otherwise the app might be stopped while a slow sender is still asking.
    load.all_are_there.wait().await;
    for number in 0.. {
        let id = format!("{round}-{sender}-{number}");
        match post(address, &id).await {
            Ok(202) => load.acknowledged().push(id.clone()),
            // The app is closing, or has ended.
            Ok(503) | Err(_) => return,
            Ok(status) => panic!("order {id} is answered {status}"),
        }
        if get(address, &id).await.is_err() {
            return;
        }
    }
}

/// Sends the order `id`; returns the status of the answer, or an error if there is none.
async fn post(address: &str, id: &str) -> anyhow::Result<u16> {
    let order = format!(r#"{{"id":"{id}","total_cents":1}}"#);
    let posting = request(address, "POST", "/orders", &[], &order);
    Ok(in_time("an answer to an order", posting).await?.status)
}

/// Asks for the order `id`; returns the status of the answer.
async fn get(address: &str, id: &str) -> anyhow::Result<u16> {
    let path = format!("/orders/{id}");
    let asking = request(address, "GET", &path, &[], "");
    Ok(in_time("an answer about an order", asking).await?.status)
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
    let limit = Limit::of(PATIENCE);
    loop {
        let counts = store.counts(&kind).await.expect("the database answers");
        if holds(counts) {
            return;
        }
        let paused = limit.pause(|| format!("{counts:?} change")).await;
        paused.expect("they do");
    }
}
