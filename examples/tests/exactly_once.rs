//! Tests that five thousand events have exactly one effect each at full speed, although a worker
//! dies.

mod process;

use std::time::Instant;

use process::Process;
use testkit::wait::until;
use webhook_postgres::sqlx::{self, PgPool};
use webhook_postgres::testing::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_events_have_one_effect_each_despite_a_killed_worker() {
    const EVENTS: i64 = 5_000;
    let database = TestDatabase::create().await;
    let url = ("DATABASE_URL", database.url());
    let lease = ("PROCESSING_STALE_TIMEOUT_SECONDS", "4");
    let produced = Process::start("producer", &["5000"], &[url]).finish().await;
    assert_eq!(produced, ["5000 accepted: 5000 new, 0 duplicates"]);

    let started = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..3 {
        // Each event takes long enough that a worker is busy whenever it is killed.
        let environment = [url, lease, ("WORK_MS", "5")];
        let mut worker = Process::start("worker_only", &[], &environment);
        assert_eq!(worker.line_after("work").await, "ing");
        workers.push(worker);
    }
    let victim = workers.remove(0);
    let app = PgPool::connect(database.url()).await.unwrap();
    let pid = victim.id();
    let by_victim = "SELECT count(*) FROM effects WHERE process = $1";
    until("the victim is in mid-run", async || {
        let effects: i64 = sqlx::query_scalar(by_victim)
            .bind(pid)
            .fetch_one(&app)
            .await
            .unwrap();
        effects >= 100
    })
    .await;
    victim.kill();
    let left = "SELECT count(*) FROM webhook.queue";
    let in_mid_run: i64 = sqlx::query_scalar(left).fetch_one(&app).await.unwrap();
    assert!(in_mid_run > 0);
    until("all are settled", async || {
        let left: i64 = sqlx::query_scalar(left).fetch_one(&app).await.unwrap();
        left == 0
    })
    .await;
    let took = started.elapsed();

    let tally = "SELECT count(*), count(DISTINCT order_id), max(attempt),
            count(*) FILTER (WHERE attempt > 1)
        FROM effects";
    let (effects, orders, most, redone): (i64, i64, i64, i64) =
        sqlx::query_as(tally).fetch_one(&app).await.unwrap();
    assert_eq!((effects, orders), (EVENTS, EVENTS));
    assert!(redone > 0, "the victim held nothing");
    assert_eq!(most, 2);
    let outcomes = "SELECT count(*) FROM webhook.outcomes WHERE NOT failed";
    let processed: i64 = sqlx::query_scalar(outcomes).fetch_one(&app).await.unwrap();
    assert_eq!(processed, EVENTS);
    println!("{EVENTS} effects after {took:.2?}, {redone} of them by a second attempt");
    for worker in workers {
        assert_eq!(worker.interrupt().await, ["drained, 0 released"]);
    }
    app.close().await;
    database.drop_database().await;
}
