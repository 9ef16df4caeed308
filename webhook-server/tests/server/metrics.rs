//! Metrics, as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rustix::process::Signal;
use webhook_core::metrics::MetricType;
use webhook_server::http::{Scope, TokenDigest};
use webhook_server::metrics::all_metrics;

use crate::forwarding::receiver::Receiver;
use crate::sources::{SECRET, Sender, Setup, assert_stored};
use crate::support::client::{Client, post};
use crate::support::process::webhook_server;
use crate::support::{transaction, until};

const METRICS_TOKEN: &str = "metrics-token-that-nobody-else-has";
const READ_TOKEN: &str = "read-token-that-nobody-else-has";

/// The values of a text, by their names and labels as they are written.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(client: &mut Client) -> Self {
        let reply = client.get("/metrics").await;
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        Self::read(std::str::from_utf8(&reply.body).unwrap())
    }

    fn read(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let values = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(values.collect())
    }

    fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The names, without what histograms add, and the labels of each.
    fn names(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut names = BTreeMap::<_, BTreeSet<_>>::new();
        for value in self.0.keys() {
            let (name, labels) = value.split_once('{').unwrap_or((value, ""));
            let parts = ["_bucket", "_sum", "_count"];
            let family = parts.iter().find_map(|part| name.strip_suffix(part));
            let is_histogram = |name: &str| {
                all_metrics().any(|metric| {
                    metric.name == name
                        && matches!(metric.metric_type, MetricType::Histogram { .. })
                })
            };
            let name = family.filter(|name| is_histogram(name)).unwrap_or(name);
            let labels = labels.trim_end_matches('}').split("\",");
            let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let known = names.entry(name.to_owned()).or_default();
            known.extend(labels.filter(|label| label != "le"));
        }
        names
    }
}

async fn client(addr: SocketAddr) -> Client {
    Client::connect(addr).await
}

#[tokio::test]
async fn what_happened_is_counted_and_every_listed_metric_is_exported() {
    let mut app = Receiver::start().await;
    let setup = Setup::new(&format!(
        "[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\nforward = \"{}\"\n",
        app.url("/hooks")
    ));
    let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let server = setup.server(&["--processing-delay-seconds=0", "--retention-days=30"]);
    let mut process = server.env("FORWARD_SECRETS", key).start();
    let addr = process.listens().await;
    let mut client = client(addr).await;
    let sender = Sender::preset("github", "github", SECRET);
    assert_stored(&client.ask(sender.github("id-1", "{\"a\": 1}")).await);
    assert_stored(&client.ask(sender.github("id-1", "{\"a\": 1}")).await);
    app.next().await;
    let forged = Sender::preset("github", "github", "another secret, of a forger");
    client.ask(forged.github("id-2", "{}")).await.problem(401);
    client
        .post(transaction("txn-1"))
        .await
        .acknowledged("ACCEPTED");
    client
        .post(transaction("txn-1"))
        .await
        .acknowledged("DUPLICATE");
    client.post("{}").await.problem(422);
    client.post("no JSON").await.problem(400);
    client.get("/v1/transactions/txn-1").await;
    // Nothing of a stranger becomes a label.
    client.ask(forged.github("id-3", "{}")).await.problem(401);
    client.get("/v1/webhooks/stranger").await;
    process.signal(Signal::HUP);
    process.logs("sources reloaded").await;
    let sources = client.get("/v1/operator/sources").await.json();
    let mut sources = sources["sources"].as_array().unwrap().iter();
    let transactions = sources.find(|it| it["name"] == "transaction").unwrap();
    let counts = ["received", "events", "duplicates", "refused"].map(|it| &transactions[it]);
    assert_eq!(counts, [2, 1, 1, 2]);
    assert!(
        transactions["last_received_at"].is_string(),
        "{transactions}"
    );

    let p99 = transactions["accept_p99_seconds"].as_f64();
    assert!(p99 > Some(0.0), "{transactions}");

    for (name, expected) in [
        (
            "webhook_received_total{source=\"github\",outcome=\"accepted\"}",
            1.0,
        ),
        (
            "webhook_received_total{source=\"github\",outcome=\"duplicate\"}",
            1.0,
        ),
        (
            "webhook_received_total{source=\"github\",outcome=\"rejected\"}",
            2.0,
        ),
        (
            "webhook_rejected_total{source=\"github\",reason=\"signature_invalid\"}",
            2.0,
        ),
        ("webhook_received_bytes_total{source=\"github\"}", 20.0),
        (
            "webhook_attempts_total{source=\"github\",outcome=\"processed\"}",
            1.0,
        ),
        (
            "webhook_settled_total{source=\"github\",state=\"processed\"}",
            1.0,
        ),
        (
            "webhook_forward_requests_total{destination=\"github\",result=\"2xx\"}",
            1.0,
        ),
        (
            "webhook_destination_state{destination=\"github\",state=\"closed\"}",
            1.0,
        ),
        (
            "webhook_received_total{source=\"transaction\",outcome=\"accepted\"}",
            1.0,
        ),
        (
            "webhook_received_total{source=\"transaction\",outcome=\"duplicate\"}",
            1.0,
        ),
        (
            "webhook_rejected_total{source=\"transaction\",reason=\"invalid\"}",
            1.0,
        ),
        (
            "webhook_rejected_total{source=\"transaction\",reason=\"malformed\"}",
            1.0,
        ),
        (
            "webhook_settled_total{source=\"transaction\",state=\"processed\"}",
            1.0,
        ),
        (
            "webhook_end_to_end_duration_seconds_count{source=\"transaction\"}",
            1.0,
        ),
        (
            "webhook_accept_duration_seconds_count{source=\"transaction\"}",
            4.0,
        ),
        ("webhook_in_flight{source=\"github\"}", 0.0),
        ("webhook_concurrency_limit{source=\"transaction\"}", 256.0),
        (
            "webhook_flush_queue_events{inbox=\"sources\",partition=\"\"}",
            0.0,
        ),
        (
            "webhook_flush_queue_events_limit{inbox=\"sources\",partition=\"\"}",
            8192.0,
        ),
        ("webhook_http_connections", 1.0),
        ("webhook_config_reloads_total{result=\"ok\"}", 1.0),
        ("webhook_store_up", 1.0),
        ("webhook_events{source=\"github\",state=\"failed\"}", 0.0),
    ] {
        until(name, async || {
            Scrape::of(&mut client).await.value(name) == expected
        })
        .await;
    }

    let scrape = Scrape::of(&mut client).await;
    let mut missing: BTreeMap<_, _> = all_metrics()
        .map(|it| {
            (
                it.name,
                it.labels.iter().map(|it| (*it).to_owned()).collect(),
            )
        })
        .collect();
    for (name, labels) in scrape.names() {
        assert_eq!(missing.remove(&*name), Some(labels), "{name}");
    }
    // It is missing without TLS.
    missing.remove("webhook_certificate_expiry_timestamp_seconds");
    // These are of PostgreSQL, of files, or of several of them.
    missing.remove("webhook_partition_up");
    missing.retain(|name, _| !name.starts_with("webhook_store_connections"));
    missing.remove("webhook_store_size_bytes");
    missing.retain(|name, _| cfg!(target_os = "linux") || !name.starts_with("process_"));
    assert_eq!(missing.into_keys().collect::<Vec<_>>(), [""; 0]);
    let text = scrape.0.into_keys().collect::<String>();
    // What is not of a source has no metrics.
    for private in [
        "stranger",
        "unknown",
        "id-1",
        "txn-1",
        "127.0.0.1",
        "/hooks",
    ] {
        assert!(!text.contains(private), "{private}");
    }
}

#[tokio::test]
async fn metrics_are_open_metrics_for_those_who_ask_for_it() {
    let mut process = webhook_server(&[]).start();
    let mut client = client(process.listens().await).await;
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let request = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{accept}\r\n\r\n");
    let reply = client.ask(request).await;
    let content_type = reply.header("content-type");
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(content_type, Some(expected));
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE webhook_received counter\n"));
    client
        .ask("POST /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
        .await
        .problem(405);
}

#[tokio::test]
async fn metrics_need_a_token_of_their_scope_if_there_are_tokens() {
    let digest = |scope, token| TokenDigest::of(scope, token).to_string();
    let tokens = [
        digest(Scope::Metrics, METRICS_TOKEN),
        digest(Scope::Read, READ_TOKEN),
    ];
    let server = webhook_server(&["--metrics-addr=127.0.0.1:0"]);
    let mut process = server.env("API_TOKENS", &tokens.join(",")).start();
    let listening = process.logs("listening").await;
    let field = |name: &str| {
        listening[name]
            .as_str()
            .unwrap()
            .parse::<SocketAddr>()
            .unwrap()
    };
    let request = |token: &str| {
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    let mut metrics = client(field("metrics_addr")).await;
    assert_eq!(metrics.ask(request(METRICS_TOKEN)).await.status, 200);
    metrics.ask(request(READ_TOKEN)).await.problem(401);
    metrics.get("/metrics").await.problem(401);
    metrics.ask(post(transaction("txn-1"))).await.problem(404);
    // The address for metrics is the only one that has them, and the token allows nothing else.
    let mut public = client(field("addr")).await;
    public.ask(request(METRICS_TOKEN)).await.problem(404);
    let read = request(METRICS_TOKEN).replace("/metrics", "/v1/transactions/txn-1");
    public.ask(read).await.problem(401);
}

#[tokio::test]
async fn metrics_for_other_machines_need_a_token() {
    let (code, _, log) = webhook_server(&["--metrics-addr=0.0.0.0:0"]).output().await;
    assert_eq!(code, 1);
    assert!(
        log.contains("METRICS_ADDR 0.0.0.0:0 can be reached from other machines"),
        "{log}"
    );
}
