//! An inbox with partitions on two PostgreSQL servers, one of which is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use testkit::postgres::OwnServer;
use tokio::task::JoinSet;
use webhook_core::{Key, Placement, payload};
use webhook_postgres::sqlx;
use webhook_postgres::testing::TestDatabase;
use webhook_server::transaction::Transaction;

use crate::node::{outages, server_on, with_parameters};
use crate::schemas::{contents, execute, refused};
use crate::support::client::Client;
use crate::support::node::{Handled, Node, shown, until_processed};
use crate::support::process::{Process, Starter, one_starts};
use crate::support::{in_time, transaction, until};

/// Two on each server.
const PARTITIONS: usize = 4;

/// The ids of transactions whose partition is on one of the two servers.
struct Ids {
    placement: Placement,
    server: usize,
    prefix: &'static str,
    next: usize,
}

impl Ids {
    /// Those on this server.
    fn on(server: usize, prefix: &'static str) -> Self {
        Self {
            placement: Placement::new(NonZeroUsize::new(PARTITIONS).unwrap()),
            server,
            prefix,
            next: 0,
        }
    }
}

impl Iterator for Ids {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let kind = payload::kind_of::<Transaction>();
        loop {
            self.next += 1;
            let id = format!("{}-{}", self.prefix, self.next);
            let key = Key::new(id.as_str()).unwrap();
            if self.placement.partition_of(&kind, &key) % 2 == self.server {
                return Some(id);
            }
        }
    }
}

/// Delivers one transaction after the other until it is told to stop. Returns those that were acknowledged.
async fn load(addr: SocketAddr, ids: Ids, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut client = Client::connect(addr).await;
    for id in ids {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let reply = client.post(transaction(&id)).await;
        if reply.status == 202 {
            acknowledged.push(id);
        } else {
            reply.unavailable();
        }
    }
    acknowledged
}

async fn accept(addr: SocketAddr, id: &str) {
    let reply = Client::connect(addr).await.post(transaction(id)).await;
    reply.acknowledged("ACCEPTED");
}

async fn page(addr: SocketAddr) -> String {
    let page = Client::connect(addr).await.get("/dashboard").await;
    assert_eq!(page.status, 200);
    page.text().to_owned()
}

async fn metrics(addr: SocketAddr) -> String {
    let metrics = Client::connect(addr).await.get("/metrics").await;
    metrics.text().to_owned()
}

/// The value of a metric without labels; `None` if it is missing.
fn value(metrics: &str, name: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.parse().ok()
}

/// Delivers until it is acknowledged.
async fn deliver(addr: SocketAddr, id: &str) {
    until("deliveries are accepted again", async || {
        let reply = Client::connect(addr).await.post(transaction(id)).await;
        reply.status == 202 || reply.unavailable().is_empty()
    })
    .await;
}

fn server(urls: &str, args: &[&str]) -> Starter {
    server_of(4, urls, args)
}

fn server_of(count: usize, urls: &str, args: &[&str]) -> Starter {
    let count = format!("--partitions={count}");
    let own = [
        &*count,
        "--processing-delay-seconds=0",
        "--accept-timeout-seconds=1",
        "--database-wait-seconds=1",
        "--database-pool-size=3",
    ];
    server_on(urls, &[args, &own].concat())
}

#[tokio::test]
async fn a_killed_server_takes_only_its_own_partitions_along() {
    let (living, mut dying) = tokio::join!(OwnServer::start(&[]), OwnServer::start(&[]));
    let urls = format!("{} {}", living.url(), dying.url());
    // What the dead server held is processed again soon.
    let short_lease = "--processing-stale-timeout-seconds=2";
    let node = Node::of(server(&urls, &[short_lease]).start()).await;
    let addr = node.addr;

    let stop = Arc::<AtomicBool>::default();
    let mut loads = JoinSet::new();
    for (server, prefix) in [(0, "a"), (0, "b"), (1, "c"), (1, "d")] {
        loads.spawn(load(addr, Ids::on(server, prefix), Arc::clone(&stop)));
    }
    until("both servers take and process transactions", async || {
        let handled = node.handled();
        ["a", "b", "c", "d"].iter().all(|prefix| {
            let of = |it: &&Handled| it.transaction_id.starts_with(prefix);
            handled.iter().filter(of).count() > 10
        })
    })
    .await;
    dying.kill().await;

    // The keys of the other server: acknowledged and processed meanwhile.
    let mut living_ids = Ids::on(0, "meanwhile");
    let mut acknowledged: Vec<String> = living_ids.by_ref().take(20).collect();
    for id in &acknowledged {
        accept(addr, id).await;
    }
    for id in &acknowledged {
        until_processed(addr, id).await;
    }
    // Those of the dead one: neither, and nobody is told otherwise.
    let mut client = Client::connect(addr).await;
    for id in Ids::on(1, "dead").take(4) {
        client.post(transaction(&id)).await.unavailable();
        let read = client.get(&format!("/v1/transactions/{id}")).await;
        read.unavailable();
    }
    assert_eq!(client.get("/readyz").await.status, 200);
    let status = client.get("/v1/operator/status").await.unavailable();
    assert!(
        status.contains("partition ") && status.contains(" of 4"),
        "{status}"
    );
    until("operators see which partitions are away", async || {
        let metrics = metrics(addr).await;
        [(0, 1), (1, 0), (2, 1), (3, 0)]
            .iter()
            .all(|(partition, up)| {
                metrics.contains(&format!(
                    "webhook_partition_up{{partition=\"{partition}\"}} {up}"
                ))
            })
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    while let Some(of_load) = loads.join_next().await {
        acknowledged.extend(of_load.unwrap());
    }

    dying.restart().await;
    for id in Ids::on(1, "dead").take(4) {
        deliver(addr, &id).await;
        acknowledged.push(id);
    }
    for id in &acknowledged {
        until_processed(addr, id).await;
    }
    let mut attempts = BTreeMap::<String, BTreeSet<u64>>::new();
    let handled = node.stop().await;
    for Handled {
        transaction_id,
        attempt,
    } in &handled
    {
        let is_first = attempts
            .entry(transaction_id.clone())
            .or_default()
            .insert(*attempt);
        assert!(
            is_first,
            "attempt {attempt} at {transaction_id} was made twice"
        );
    }
    for id in &acknowledged {
        assert!(attempts.contains_key(id), "{id} was lost");
        // On the living server, no attempt ends without its settlement.
        if id.starts_with(['a', 'b', 'm']) {
            assert_eq!(attempts[id].len(), 1, "{id} was processed twice");
        }
    }
    let (code, out, log) = server(&urls, &["status", "--kind=transaction", "--json"])
        .output()
        .await;
    assert_eq!(code, 0, "{log}");
    let status: Value = serde_json::from_str(&out).unwrap();
    // A delivery that was answered 503 may have been stored.
    assert!(status["processed"].as_u64().unwrap() >= acknowledged.len() as u64);
    assert_eq!(status["processed"].as_u64().unwrap(), attempts.len() as u64);
    for unsettled in ["waiting", "due", "leased", "failed"] {
        assert_eq!(status[unsettled], 0, "{status}");
    }
}

#[tokio::test]
async fn an_inbox_starts_without_a_partition_that_stays_away() {
    let (living, mut dying) = tokio::join!(OwnServer::start(&[]), OwnServer::start(&[]));
    let urls = format!("{} {}", living.url(), dying.url());
    // All partitions are needed to make the inbox.
    let mut process = server(&urls, &[]).start();
    process.listens().await;
    drop(process);
    // With other URLs, all schemas have other names, and would be made anew.
    let swapped = format!("{} {}", dying.url(), living.url());
    for starter in [
        server(&swapped, &[]),
        server_on(living.url(), &[]),
        server_on(living.url(), &["status"]),
    ] {
        let (code, _, log) = starter.output().await;
        assert_eq!(code, 1, "{log}");
        assert!(log.contains("this would begin another inbox"), "{log}");
        assert!(log.contains(" is partition "), "{log}");
    }
    dying.kill().await;

    let mut process = server(&urls, &[]).start();
    let away = process
        .logs("a partition cannot be reached; starting without it")
        .await;
    assert_eq!(away["partition"], 1, "{away}");
    let addr = process.listens().await;
    let on_living = Ids::on(0, "tx").next().unwrap();
    let on_dying = Ids::on(1, "tx").next().unwrap();
    // A busy machine may not connect within the second that an accept may take.
    deliver(addr, &on_living).await;
    until_processed(addr, &on_living).await;
    let mut client = Client::connect(addr).await;
    client.post(transaction(&on_dying)).await.unavailable();
    let away = [1, 3].map(|it| format!("partition {it} of 4 does not answer"));
    until("operators see which partitions are away", async || {
        outages(addr).await == away
    })
    .await;
    let overview = page(addr).await;
    assert!(
        overview.contains("Partition 1 of 4 does not answer: "),
        "{overview}"
    );
    assert!(!overview.contains("healthy"), "{overview}");
    // The pools of all partitions, also of those that nobody has reached.
    let metrics_now = metrics(addr).await;
    assert_eq!(
        value(&metrics_now, "webhook_store_connections_limit"),
        Some(12.0)
    );
    assert!(
        !metrics_now.contains("webhook_store_size_bytes{"),
        "{metrics_now}"
    );

    // Commands work on the partitions that answer.
    let (code, _, log) = server(&urls, &["show", &on_living]).output().await;
    assert_eq!(code, 0, "{log}");
    let (code, _, log) = server(&urls, &["show", &on_dying]).output().await;
    assert_eq!(code, 1);
    let place = dying.url().split_once('@').unwrap().1;
    let cannot_connect = format!("cannot connect to PostgreSQL at {place}: ");
    assert!(log.contains(&format!(" of 4: {cannot_connect}")), "{log}");
    assert!(!log.contains("its mark"), "{log}");
    // One that needs all of them has done nothing, and is no action in the log.
    for args in [["requeue", "--all-failed"], ["make-due", "--all"]] {
        let (code, _, log) = server(&urls, &args).output().await;
        assert_eq!(code, 1, "{log}");
        assert!(
            log.contains("of 4: ") && !log.contains("an operator ran"),
            "{log}"
        );
    }
    let (code, out, _) = server(&urls, &["doctor", "--json"]).output().await;
    assert_eq!(code, 1, "{out}");
    for (partition, level) in [(0, "ok"), (1, "error"), (2, "ok"), (3, "error")] {
        let name = match level {
            "ok" => format!("partition {partition} of 4 answers"),
            _ => format!("partition {partition} of 4 does not answer: {cannot_connect}"),
        };
        let found = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut found = found.filter(|it| it["message"].as_str().unwrap().starts_with(&name));
        assert_eq!(found.next().unwrap()["level"], level, "{out}");
    }

    dying.restart().await;
    process.logs("a partition is reached").await;
    deliver(addr, &on_dying).await;
    until_processed(addr, &on_dying).await;
    assert_eq!(shown(addr, &on_dying).await["attempts"], 1);
    until("no partition is away", async || {
        outages(addr).await.is_empty()
    })
    .await;
    let overview = page(addr).await;
    assert!(!overview.contains("does not answer"), "{overview}");
    until("the sizes of all partitions are measured", async || {
        metrics(addr).await.contains("webhook_store_size_bytes{")
    })
    .await;
}

async fn starts(starter: Starter) {
    let mut process = starter.start();
    process.listens().await;
    process.signal(Signal::TERM);
    process.ends().await;
}

/// A port that nobody listens at.
const AWAY: &str = "postgres://app@127.0.0.1:1/away";

/// No schema is created, migrated or marked by a server, a migration or a command that is refused.
#[tokio::test]
async fn what_is_refused_changes_no_schema() {
    let (one, two) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    let databases = [&one, &two];
    let urls = format!("{} {}", one.url(), two.url());
    let swapped = format!("{} {}", two.url(), one.url());
    let move_to = "--to=sqlite:/none/to.db";

    // New partitions: one database is away, has something else in the place of a partition, or no rights.
    let with_one_away = format!("{} {AWAY}", one.url());
    let expected = "all partitions are needed to create the inbox";
    refused(&databases, server(&with_one_away, &[]), expected).await;
    refused(
        &databases,
        server(&with_one_away, &["migrate"]),
        "partition 1 of 4",
    )
    .await;
    for command in [
        &["status"][..],
        &["pause", "transaction"],
        &["move", move_to],
    ] {
        refused(
            &databases,
            server(&urls, command),
            "no server has opened this inbox yet",
        )
        .await;
    }
    // Tables that nobody has made.
    let unmigrated = server(&urls, &["--migrate=off"]);
    refused(&databases, unmigrated, "failed to read or set its mark").await;
    execute(
        &two,
        "CREATE SCHEMA webhook_3; CREATE TABLE webhook_3.notes (text text)",
    )
    .await;
    for args in [&[][..], &["migrate"]] {
        refused(
            &databases,
            server(&urls, args),
            ".notes is another program's",
        )
        .await;
    }
    execute(&two, "DROP SCHEMA webhook_3 CASCADE").await;
    let alone = with_parameters(two.url(), "schema=webhook_1");
    let mut process = server_on(&alone, &[]).start();
    accept(process.listens().await, "tx-1").await;
    process.signal(Signal::TERM);
    process.ends().await;
    for args in [&[][..], &["migrate"]] {
        refused(
            &databases,
            server(&urls, args),
            "partition 1 of 4: it has events",
        )
        .await;
    }
    refused(
        &databases,
        server(&urls, &["status"]),
        "webhook_1 of postgres",
    )
    .await;
    execute(&two, "DROP SCHEMA webhook_1 CASCADE").await;

    // Migrated schemas are no inbox yet.
    let (code, _, log) = server(&urls, &["migrate"]).output().await;
    assert_eq!(code, 0, "{log}");
    refused(
        &databases,
        server(&urls, &["status"]),
        "no server has opened this inbox yet",
    )
    .await;

    // An inbox: another number, another order, a partition alone, one that is missing, a newer version.
    starts(server(&urls, &["--migrate=off"])).await;
    for args in [&[][..], &["migrate"], &["status"], &["move", move_to]] {
        for count in [3, 5] {
            let starter = server_of(count, &urls, args);
            refused(
                &databases,
                starter,
                &format!("partition 0 of {count}: found"),
            )
            .await;
        }
    }
    for args in [&[][..], &["migrate"], &["status"]] {
        refused(
            &databases,
            server(&swapped, args),
            "would begin another inbox",
        )
        .await;
    }
    for args in [&[][..], &["status"]] {
        let starter = server_of(4, one.url(), args);
        refused(&databases, starter, "partition 1 of 4: it is empty").await;
    }
    for args in [&[][..], &["migrate"], &["status"]] {
        refused(
            &databases,
            server_on(one.url(), args),
            "would begin another inbox",
        )
        .await;
        let alone = server_on(&alone, args);
        refused(&databases, alone, "partition 1 of 4 of an inbox").await;
    }
    execute(&two, "ALTER SCHEMA webhook_3 RENAME TO elsewhere").await;
    for args in [&[][..], &["status"]] {
        refused(
            &databases,
            server(&urls, args),
            "partition 3 of 4: it is empty",
        )
        .await;
    }
    execute(&two, "ALTER SCHEMA elsewhere RENAME TO webhook_3").await;
    execute(&one, "DELETE FROM webhook_0.migrations WHERE version = 15").await;
    execute(
        &two,
        "INSERT INTO webhook_3.migrations VALUES (99, 'newer')",
    )
    .await;
    for args in [&[][..], &["migrate"]] {
        refused(&databases, server(&urls, args), "has version 99").await;
    }
    one.drop_database().await;
    two.drop_database().await;
}

/// Waits until a partition cannot be used for this reason.
async fn unusable(process: &mut Process, reason: &str) {
    in_time(reason, async {
        loop {
            let line = process.logs("a partition cannot be used yet").await;
            assert_eq!(line["partition"], 1, "{line}");
            if line["error"].as_str().unwrap().contains(reason) {
                return;
            }
        }
    })
    .await;
}

/// A partition that comes after the start is looked at before it is migrated, and also one that fails at the start.
#[tokio::test]
async fn a_partition_that_comes_late_is_compared_before_it_is_migrated() {
    const OUTDATED: &str = "DROP VIEW webhook_1.transactions;
        DROP FUNCTION webhook_1.transaction_fields, webhook_1.without_bad_escapes, webhook_1.trimmed;
        DELETE FROM webhook_1.line_migrations WHERE line = 'transactions'";
    let database = TestDatabase::create().await;
    starts(server_of(2, database.url(), &[])).await;
    // A mark that no version knows.
    let damaged = "INSERT INTO webhook_1.move_mark VALUES (1, 'STRANGE', 'other', now())";
    execute(&database, &format!("{OUTDATED}; {damaged}")).await;
    let before = contents(&[&database]).await;
    let mut process = server_of(2, database.url(), &[]).start();
    process
        .logs("a partition cannot be reached; starting without it")
        .await;
    process.listens().await;
    unusable(&mut process, "its part in a move is STRANGE").await;
    assert_eq!(contents(&[&database]).await, before);

    for (change, reason) in [
        (
            "UPDATE webhook_1.move_mark SET part = 'MOVED', other = 'sqlite:other.db'",
            "were moved to sqlite:other.db",
        ),
        (
            "DELETE FROM webhook_1.move_mark;
             UPDATE webhook_1.partition_mark SET mark = replace(mark, '\"index\":1', '\"index\":0')",
            "partition 1 of 2: found partition 0 of 2",
        ),
        ("ALTER SCHEMA webhook_1 RENAME TO elsewhere", "partition 1 of 2: it is empty"),
        (
            "CREATE SCHEMA webhook_1; CREATE TABLE webhook_1.notes (text text)",
            ".notes is another program's",
        ),
    ] {
        execute(&database, change).await;
        let before = contents(&[&database]).await;
        unusable(&mut process, reason).await;
        assert_eq!(contents(&[&database]).await, before, "{reason}");
    }
    let mend = "DROP SCHEMA webhook_1 CASCADE; ALTER SCHEMA elsewhere RENAME TO webhook_1;
        UPDATE webhook_1.partition_mark SET mark = replace(mark, '\"index\":0', '\"index\":1')";
    execute(&database, mend).await;
    process.logs("a partition is reached").await;
    let contents = contents(&[&database]).await;
    let mut tables = contents.iter();
    assert!(tables.any(|it| it.starts_with("0 webhook_1 ") && it.contains("\"transactions\"")));
    drop(process);
    database.drop_database().await;
}

/// Of servers that name the same databases in another order, too.
#[tokio::test]
async fn of_servers_with_another_order_of_databases_one_makes_the_inbox() {
    let (one, two) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    for round in 0..4 {
        let schema = format!("schema=round{round}");
        let urls = [&one, &two].map(|it| with_parameters(it.url(), &schema));
        let orders = [[0, 1], [1, 0]].map(|order| order.map(|it| urls[it].as_str()).join(" "));
        let mut processes = orders
            .each_ref()
            .map(|urls| server_of(2, urls, &[]).start());
        one_starts(&mut processes).await;
        let mut schemas = Vec::new();
        for database in [&one, &two] {
            let mut connection = database.connection().await;
            let found = "SELECT schema_name::text FROM information_schema.schemata
                         WHERE schema_name LIKE $1";
            let found: Vec<String> = sqlx::query_scalar(found)
                .bind(format!("round{round}%"))
                .fetch_all(&mut connection)
                .await
                .unwrap();
            schemas.extend(found);
        }
        let first = [format!("round{round}_0"), format!("round{round}_1")];
        let index = usize::from(schemas != first);
        if index == 1 {
            schemas.reverse();
        }
        assert_eq!(schemas, first);
        starts(server_of(2, &orders[index], &[])).await;
        let other = server_of(2, &orders[1 - index], &[]);
        refused(&[&one, &two], other, "this would begin another inbox").await;
    }
    one.drop_database().await;
    two.drop_database().await;
}

/// Of servers that want different inboxes in new schemas, one begins, and the others leave no schema.
#[tokio::test]
async fn of_servers_that_start_at_once_one_makes_the_inbox() {
    let database = TestDatabase::create().await;
    for round in 0..3 {
        let url = with_parameters(database.url(), &format!("schema=round{round}"));
        let mut processes = [2, 3].map(|count| server_of(count, &url, &[]).start());
        one_starts(&mut processes).await;
        let mut connection = database.connection().await;
        let schemas = "SELECT schema_name::text FROM information_schema.schemata
                       WHERE schema_name LIKE $1 ORDER BY 1";
        let schemas: Vec<String> = sqlx::query_scalar(schemas)
            .bind(format!("round{round}%"))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let numbers = (0..schemas.len()).map(|index| format!("round{round}_{index}"));
        assert_eq!(schemas, numbers.collect::<Vec<_>>());
        starts(server_of(schemas.len(), &url, &[])).await;
    }
    database.drop_database().await;
}
