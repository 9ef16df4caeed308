//! A database that goes away in mid-run and comes back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use webhook_postgres::testing::TestDatabase;

use crate::node::{outages, server_on};
use crate::proxy::{Network, Proxy};
use crate::support::client::{Client, post};
use crate::support::node::{shown, until_processed};
use crate::support::process::Process;
use crate::support::{transaction, until};

/// Where nothing else is asked for.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that talks to its database through a proxy.
struct Setting {
    database: TestDatabase,
    proxy: Proxy,
    server: Process,
    addr: SocketAddr,
}

impl Setting {
    async fn new(args: &[&str]) -> Self {
        let database = TestDatabase::create().await;
        let proxy = Proxy::start(database.url(), Network::Up);
        let mut server = server_on(&proxy.url(database.url()), args).start();
        let addr = server.listens().await;
        Self {
            database,
            proxy,
            server,
            addr,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.addr).await
    }

    async fn accept(&self, id: &str) {
        let reply = self.client().await.post(transaction(id)).await;
        reply.acknowledged("ACCEPTED");
    }

    /// Delivers until it is acknowledged.
    async fn redeliver(&self, id: &str) {
        until("deliveries are accepted again", async || {
            let reply = self.client().await.post(transaction(id)).await;
            reply.status == 202 || reply.unavailable().is_empty()
        })
        .await;
    }

    async fn end(self) {
        drop(self.server);
        self.database.drop_database().await;
    }
}

#[tokio::test]
async fn an_outage_is_answered_503_and_over_by_itself() {
    let mut setting = Setting::new(&[
        "--processing-delay-seconds=1",
        "--processing-stale-timeout-seconds=2",
        "--accept-timeout-seconds=1",
    ])
    .await;
    let ids: Vec<_> = (0..20).map(|number| format!("before-{number}")).collect();
    for id in &ids {
        setting.accept(id).await;
    }
    setting.proxy.set(Network::Refusing);
    let mut client = setting.client().await;
    client.post(transaction("during")).await.unavailable();
    client.get("/v1/transactions/before-0").await.unavailable();
    client.get("/readyz").await.unavailable();
    assert_eq!(client.get("/").await.status, 200);
    setting.server.logs("failed to claim").await;
    until("operators see the outage", async || {
        outages(setting.addr).await == ["the store does not answer"]
    })
    .await;
    let page = client.get("/dashboard").await;
    assert_eq!(page.status, 200);
    let page = page.text();
    assert!(page.contains("The store does not answer: "), "{page}");
    assert!(!page.contains("healthy"), "{page}");

    setting.proxy.set(Network::Up);
    setting.redeliver("during").await;
    until("it is ready again", async || {
        setting.client().await.get("/readyz").await.status == 200
    })
    .await;
    until("operators see that it is over", async || {
        outages(setting.addr).await.is_empty()
    })
    .await;
    for id in ids.iter().map(String::as_str).chain(["during"]) {
        until_processed(setting.addr, id).await;
    }
    setting.end().await;
}

#[tokio::test]
async fn connections_that_are_cut_are_replaced_before_anybody_notices() {
    let setting = Setting::new(&["--processing-delay-seconds=0"]).await;
    for round in 0..5 {
        let id = format!("tx-{round}");
        setting.accept(&id).await;
        until_processed(setting.addr, &id).await;
        setting.proxy.end_connections();
        let mut client = setting.client().await;
        assert_eq!(client.get("/readyz").await.status, 200);
        setting.proxy.end_connections();
        assert_eq!(shown(setting.addr, &id).await["attempts"], 1);
        setting.proxy.end_connections();
    }
    setting.accept("last").await;
    until_processed(setting.addr, "last").await;
    setting.end().await;
}

#[tokio::test]
async fn a_database_that_stalls_is_answered_503_and_holds_up_nobody_else() {
    let setting =
        Setting::new(&["--processing-delay-seconds=0", "--accept-timeout-seconds=1"]).await;
    setting.accept("before").await;
    until_processed(setting.addr, "before").await;

    setting.proxy.set(Network::Stalled);
    let started = Instant::now();
    let mut waiting = setting.client().await;
    waiting.send(post(transaction("during"))).await;
    let mut other = setting.client().await;
    assert_eq!(other.get("/").await.status, 200);
    other.post("{").await.problem(400);
    let undisturbed = started.elapsed();
    assert!(undisturbed < ACCEPT_TIMEOUT, "{undisturbed:?}");
    waiting.reply().await.unavailable();
    let answered = started.elapsed();
    // What a machine under load may add included.
    assert!(answered < ACCEPT_TIMEOUT * 3, "{answered:?}");
    other.get("/readyz").await.unavailable();

    setting.proxy.set(Network::Up);
    setting.redeliver("during").await;
    until_processed(setting.addr, "during").await;
    setting.end().await;
}

#[tokio::test]
async fn connections_gone_silent_are_given_up_for_new_ones() {
    let setting =
        Setting::new(&["--processing-delay-seconds=0", "--accept-timeout-seconds=1"]).await;
    setting.accept("before").await;
    until_processed(setting.addr, "before").await;
    setting.proxy.forget();
    setting.redeliver("after").await;
    until_processed(setting.addr, "after").await;
    setting.end().await;
}

#[tokio::test]
async fn a_slow_database_is_waited_for() {
    const SLOWNESS: Duration = Duration::from_millis(200);
    let setting = Setting::new(&["--processing-delay-seconds=0"]).await;
    setting.accept("before").await;
    until_processed(setting.addr, "before").await;
    setting.proxy.set(Network::Slow(SLOWNESS));
    let started = Instant::now();
    setting.accept("slow").await;
    assert!(started.elapsed() >= SLOWNESS, "202 before the commit");
    until_processed(setting.addr, "slow").await;
    setting.end().await;
}
