//! Processes that die without a chance to clean up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use testkit::wait::Limit;
use webhook_postgres::sqlx::{self, Connection, PgConnection, Row};
use webhook_postgres::testing::TestDatabase;

use crate::node::{server_on, with_parameters};
use crate::support::client::Client;
use crate::support::node::{Handled, Node, shown, until_processed};
use crate::support::sender::{deliver, id};
use crate::support::{PATIENCE, transaction, until};

const EVENTS: u32 = 20_000;
const CONNECTIONS: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_process_twenty_thousand_events_once_though_one_is_killed() {
    let database = TestDatabase::create().await;
    let mut nodes = Vec::new();
    for name in ["first", "second", "victim"] {
        let url = with_parameters(database.url(), &format!("application_name={name}"));
        let args = [
            "--processing-delay-seconds=1",
            "--processing-stale-timeout-seconds=5",
        ];
        nodes.push(Node::of(server_on(&url, &args).start()).await);
    }
    let addrs = nodes.iter().map(|node| node.addr).collect();
    let victim = nodes.pop().unwrap();

    let started = Instant::now();
    let deliveries = deliver(addrs, EVENTS, CONNECTIONS);
    until("a third is acknowledged", async || {
        deliveries.acknowledged() >= EVENTS / 3
    })
    .await;
    kill_within_a_settlement(&victim, "victim", &database).await;
    assert!(deliveries.acknowledged() < EVENTS, "the run is over");
    let redelivered = deliveries.finish().await;
    let accepted_after = started.elapsed();

    let mut connection = database.connection().await;
    until("all is settled", async || {
        count(&mut connection, "SELECT count(*) FROM webhook.queue").await == 0
    })
    .await;
    let processed_after = started.elapsed();

    let by_victim = numbered(victim.ended().await);
    let mut handled: HashMap<String, Vec<u64>> = HashMap::new();
    for node in nodes {
        for run in node.stop().await {
            let runs = handled.entry(run.transaction_id).or_default();
            runs.push(run.attempt);
        }
    }
    let attempts = processed(&mut connection).await;
    assert_eq!(attempts.len(), EVENTS as usize);
    let mut twice = 0;
    for number in 0..EVENTS {
        let id = id(number);
        let by_survivors = handled.get(&id).map_or(&[][..], Vec::as_slice);
        match (by_victim.get(&id), by_survivors, attempts[&id]) {
            (Some(1), [], 1) | (None, [1], 1) => {}
            // Claimed by the victim, which did not get to it.
            (None, [2], 2) => {}
            (Some(1), [2], 2) => twice += 1,
            other => panic!("{id}: attempts of victim, survivors, outcome: {other:?}"),
        }
    }
    assert!(twice > 0, "the victim held nothing");
    println!(
        "{EVENTS} events, {CONNECTIONS} connections, 3 processes, one killed: accepted after \
         {accepted_after:.2?} ({:.0}/s), processed after {processed_after:.2?} ({:.0}/s); \
         {redelivered} had been accepted unanswered, {twice} were handled twice",
        per_second(accepted_after),
        per_second(processed_after),
    );
    database.drop_database().await;
}

fn per_second(duration: Duration) -> f64 {
    f64::from(EVENTS) / duration.as_secs_f64()
}

/// Attempts by id; the same id twice would be two runs of one process.
fn numbered(handled: Vec<Handled>) -> HashMap<String, u64> {
    let mut numbered = HashMap::new();
    for run in handled {
        let other = numbered.insert(run.transaction_id.clone(), run.attempt);
        assert_eq!(other, None, "{run:?}");
    }
    numbered
}

/// Kills a node that has run handlers and cannot settle them: it holds their leases for certain.
async fn kill_within_a_settlement(node: &Node, name: &str, database: &TestDatabase) {
    let mut locking = database.connection().await;
    let mut watching = database.connection().await;
    // Claims, too, wait for this table: only a settlement is of a handler that ran. PostgreSQL shows the first 1,024
    // bytes of a query (track_activity_query_size).
    let waits = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) \
        WHERE application_name = $1 AND NOT granted AND relation = 'webhook.outcomes'::regclass";
    let settles = format!("{waits} AND query LIKE '%settlement.place%'");
    let limit = Limit::of(PATIENCE);
    let lock = loop {
        let mut lock = locking.begin().await.unwrap();
        sqlx::query("LOCK TABLE webhook.outcomes IN EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .unwrap();
        until("it waits for the table", async || {
            number(&mut watching, waits, name).await > 0
        })
        .await;
        if number(&mut watching, &settles, name).await > 0 {
            break lock;
        }
        lock.rollback().await.unwrap();
        limit
            .pause(|| "a settlement waits for the table")
            .await
            .unwrap();
    };
    until("what it logged is read", async || {
        !node.handled().is_empty()
    })
    .await;
    node.kill();
    // What it has sent and nobody has committed dies with it, as when a machine is lost.
    let ending =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    until("its sessions are gone", async || {
        number(&mut watching, ending, name).await == 0
    })
    .await;
    lock.rollback().await.unwrap();
}

async fn number(connection: &mut PgConnection, sql: &str, name: &str) -> i64 {
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(name);
    query.fetch_one(connection).await.unwrap()
}

async fn count(connection: &mut PgConnection, sql: &'static str) -> i64 {
    let query = sqlx::query_scalar(sql);
    query.fetch_one(connection).await.unwrap()
}

/// The attempts of every event, each of which must have one outcome, PROCESSED.
async fn processed(connection: &mut PgConnection) -> HashMap<String, i32> {
    let sql = "SELECT key, failed, attempts \
        FROM webhook.events LEFT JOIN webhook.outcomes USING (id)";
    let rows = sqlx::query(sql).fetch_all(&mut *connection).await.unwrap();
    assert_eq!(
        count(connection, "SELECT count(*) FROM webhook.outcomes").await,
        i64::try_from(rows.len()).unwrap()
    );
    let mut attempts = HashMap::new();
    for row in rows {
        let key: String = row.get("key");
        assert_eq!(row.get::<Option<bool>, _>("failed"), Some(false), "{key}");
        let other = attempts.insert(key, row.get("attempts"));
        assert_eq!(other, None);
    }
    attempts
}

#[tokio::test]
async fn what_was_answered_202_survives_a_kill_at_once() {
    let database = TestDatabase::create().await;
    let args = ["--processing-delay-seconds=0.5"];
    let first = Node::of(server_on(database.url(), &args).start()).await;
    let mut client = Client::connect(first.addr).await;
    let reply = client.post(transaction("tx-1")).await;
    first.kill();
    reply.acknowledged("ACCEPTED");
    first.ended().await;

    let second = Node::of(server_on(database.url(), &args).start()).await;
    assert_eq!(shown(second.addr, "tx-1").await["transaction_id"], "tx-1");
    until_processed(second.addr, "tx-1").await;
    second.stop().await;
    database.drop_database().await;
}
