//! Runs every example as its header says, and checks its output.

mod process;

use std::time::SystemTime;

use process::Process;
use testkit::wait::{in_time, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use webhook_core::{Admin, Kind};
use webhook_postgres::PgStore;
use webhook_postgres::sqlx::{self, PgPool};
use webhook_postgres::testing::TestDatabase;
use webhook_sources::{Outgoing, Request, Secrets, Verification, VerificationOptions, preset};

#[tokio::test]
async fn axum_orders() {
    let mut app = Process::start("axum_orders", &[], &[("BIND_ADDR", "127.0.0.1:0")]);
    let address = app.line_after("listening on http://").await;

    let order = r#"{"id":"o-1","total_cents":995}"#;
    assert_eq!(
        post(&address, "/orders", order).await,
        (202, "New\n".into())
    );
    let shipped = app.line_after("shipping ").await;
    assert_eq!(shipped, "order o-1 of 995 cents");
    assert_eq!(
        post(&address, "/orders", order).await,
        (202, "Duplicate\n".into())
    );
    let other = r#"{"id":"o-1","total_cents":996}"#;
    assert_eq!(
        post(&address, "/orders", other).await,
        (202, "Conflict\n".into())
    );
    let wrong = r#"{"total_cents":995}"#;
    assert_eq!(post(&address, "/orders", wrong).await.0, 422);

    let rest = app.interrupt().await;
    assert_eq!(rest, Vec::<String>::new(), "nothing is shipped twice");
}

#[tokio::test]
async fn axum_ui_ends_beside_an_open_page() {
    let mut app = Process::start("axum_ui", &[], &[("BIND_ADDR", "127.0.0.1:0")]);
    let url = app.line_after("http://").await;
    let address = url.strip_suffix("/inbox/dashboard").unwrap();
    let token = [("authorization", "Bearer example-token")];
    let (status, events) = request(address, "GET", "/inbox/v1/operator/events", &token, "").await;
    assert_eq!(status, 200);
    assert!(events.contains("\"key\":\"o-3\""), "{events}");
    assert_eq!(get(address, "/inbox/dashboard").await.0, 401);
    // An open page has such a stream.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let open = "GET /inbox/v1/operator/stream HTTP/1.1\r\nhost: localhost\r\n\
                authorization: Bearer example-token\r\n\r\n";
    stream.write_all(open.as_bytes()).await.unwrap();
    let mut begun = [0; 1];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(app.interrupt().await, Vec::<String>::new());
}

#[tokio::test]
async fn axum_webhooks_in_memory() {
    axum_webhooks(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axum_webhooks_on_postgres() {
    let database = TestDatabase::create().await;
    axum_webhooks(&[("DATABASE_URL", database.url())]).await;
    let app = PgPool::connect(database.url()).await.unwrap();
    let cents: i64 = sqlx::query_scalar("SELECT cents FROM orders WHERE id = 'o-1'")
        .fetch_one(&app)
        .await
        .unwrap();
    assert_eq!(cents, 995, "a payment counts once");
    app.close().await;
    database.drop_database().await;
}

async fn axum_webhooks(environment: &[(&str, &str)]) {
    const SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
    let own = [
        ("BIND_ADDR", "127.0.0.1:0"),
        ("STRIPE_SECRET", SECRET),
        ("GITHUB_SECRET", SECRET),
    ];
    let environment = [&own[..], environment].concat();
    let mut app = Process::start("axum_webhooks", &[], &environment);
    let address = app.line_after("listening on http://").await;
    let signer = |preset| {
        let scheme = &preset::get(preset).expect("it is known").spec.scheme;
        let secrets = Secrets::of([SECRET]);
        Verification::new(scheme, &secrets, VerificationOptions::default())
            .expect("the secret is long enough")
    };
    let deliver =
        async |path: &str, signer: &Verification, headers: &[(&str, &str)], body: &str| {
            let request = Request {
                method: "POST",
                target: path,
                headers: &[],
                body: body.as_bytes(),
            };
            let outgoing = Outgoing {
                request,
                message_id: None,
            };
            let signed = signer.sign(&outgoing, SystemTime::now());
            let (name, value) = signed.expect("there is a key").headers.remove(0);
            let headers = [headers, &[(name.as_str(), value.as_str())]].concat();
            post_with(&address, path, &headers, body).await.0
        };

    let github = signer("github");
    let headers = [
        ("X-GitHub-Delivery", "d-1"),
        ("X-GitHub-Event", "pull_request"),
    ];
    let opened = r#"{"action":"opened","pull_request":{"title":"Fix a typo"}}"#;
    for _ in 0..2 {
        let status = deliver("/webhooks/github", &github, &headers, opened).await;
        assert_eq!(status, 202);
    }
    assert_eq!(app.line_after("pull request ").await, "opened: Fix a typo");
    assert_eq!(deliver("/webhooks/github", &github, &[], opened).await, 422);
    assert_eq!(post(&address, "/webhooks/github", opened).await.0, 401);
    let refused = app.line_after("refused: ").await;
    assert_eq!(refused, "header x-hub-signature-256 is missing");

    let stripe = signer("stripe");
    let paid = async |id: &str, order: &str| {
        let body = format!(
            r#"{{"id":"{id}","type":"payment_intent.succeeded","data":{{"object":
                {{"amount_received":995,"metadata":{{"order":"{order}"}}}}}}}}"#
        );
        deliver("/webhooks/stripe", &stripe, &[], &body).await
    };
    assert_eq!(paid("evt_1", "o-1").await, 202);
    assert_eq!(paid("evt_1", "o-1").await, 202);
    assert_eq!(paid("evt_2", "o-2").await, 202);
    let unknown = r#"{"id":"evt_3","type":"a.new.type","data":{}}"#;
    assert_eq!(
        deliver("/webhooks/stripe", &stripe, &[], unknown).await,
        202
    );

    let failed = r#"[{"attempts":1,"key":"evt_2","reason":"no order o-2"}]"#;
    for requeues in 0..2 {
        until("evt_2 fails", async || {
            get(&address, "/operator/stripe/failed").await == (200, failed.into())
        })
        .await;
        if requeues == 0 {
            assert_eq!(
                post(&address, "/operator/stripe/evt_2/requeue", "").await.0,
                204
            );
        }
    }
    assert_eq!(
        post(&address, "/operator/stripe/evt_1/requeue", "").await.0,
        409
    );
    assert_eq!(get(&address, "/operator/Stripe/failed").await.0, 404);

    assert_eq!(app.interrupt().await, Vec::<String>::new());
}

#[tokio::test]
async fn bare_hyper_in_memory() {
    bare_hyper(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_hyper_on_postgres() {
    let database = TestDatabase::create().await;
    bare_hyper(&[("DATABASE_URL", database.url())]).await;
    database.drop_database().await;
}

async fn bare_hyper(environment: &[(&str, &str)]) {
    let environment = [&[("BIND_ADDR", "127.0.0.1:0")], environment].concat();
    let mut app = Process::start("bare_hyper", &[], &environment);
    let address = app.line_after("listening on http://").await;

    let order = r#"{"id":"o-1","total_cents":1050}"#;
    let accepted = post(&address, "/orders", order).await;
    assert_eq!(accepted, (202, "o-1: New\n".into()));
    assert_eq!(app.line_after("shipped ").await, "o-1 for 1050 cents");
    until("the order is processed", async || {
        get(&address, "/orders/o-1").await == (200, "o-1: PROCESSED\n".into())
    })
    .await;
    assert_eq!(get(&address, "/orders/o-2").await.0, 404);
    assert_eq!(post(&address, "/orders", "{}").await.0, 422);

    assert_eq!(app.interrupt().await, ["drained, 0 released"]);
}

#[tokio::test]
async fn forward() {
    let mut app = Process::start("bare_hyper", &[], &[("BIND_ADDR", "127.0.0.1:0")]);
    let address = app.line_after("listening on http://").await;
    let url = format!("http://{address}/orders");
    let lines = Process::start("forward", &[&url], &[]).finish().await;
    assert_eq!(lines, ["delivered 3, failed 0"]);
    let mut shipped = Vec::new();
    for _ in 0..3 {
        shipped.push(app.line_after("shipped ").await);
    }
    shipped.sort();
    let expected = [
        "o-1 for 100 cents",
        "o-2 for 200 cents",
        "o-3 for 300 cents",
    ];
    assert_eq!(shipped, expected);
    assert_eq!(app.interrupt().await, ["drained, 0 released"]);
}

#[tokio::test]
async fn consumer_in_memory() {
    let lines = Process::start("consumer", &[], &[]).finish().await;
    let expected = [
        "1000 records: 990 new, 0 duplicates, 10 dead letters",
        "500 records: 0 new, 495 duplicates, 5 dead letters",
        "990 measurements, sum 494010, and 10 dead letters are processed",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_on_postgres() {
    let database = TestDatabase::create().await;
    for (new, processed) in [
        (990, "990 measurements, sum 494010"),
        (0, "0 measurements, sum 0"),
    ] {
        let url = [("DATABASE_URL", database.url())];
        let lines = Process::start("consumer", &[], &url).finish().await;
        let duplicates = 990 - new;
        let all = format!("1000 records: {new} new, {duplicates} duplicates, 10 dead letters");
        assert_eq!(lines[0], all);
        assert!(lines[2].starts_with(processed), "{}", lines[2]);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn decorated_store() {
    let lines = Process::start("decorated_store", &[], &[]).finish().await;
    assert_eq!(lines, ["order: New", "order: Duplicate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactional() {
    let database = TestDatabase::create().await;
    for run in ["first", "second"] {
        let example = Process::start("transactional", &[], &[("DATABASE_URL", database.url())]);
        let lines = example.finish().await;
        let number = lines[0].trim_start_matches("order ");
        let number = number.trim_end_matches("-a is placed");
        let expected = [
            "order 17-a is placed",
            "order 17-b is rolled back, and so is its event",
            "attempt 1 at shipping 17-a fails after its insert",
            "attempt 2 at shipping 17-a is committed",
            "order 17-a: event PROCESSED after 2 attempts, 1 shipment",
            "order 17-b: no event, 0 shipments",
        ];
        let expected = expected.map(|line| line.replace("17", number));
        assert_eq!(lines, expected, "{run} run");
    }
    database.drop_database().await;
}

/// Runs four workers and kills two of them, one that hangs in its work and one that is busy. Every
/// order must still have exactly one effect.
#[tokio::test(flavor = "multi_thread")]
async fn producer_and_worker_only() {
    const EVENTS: i64 = 600;
    let database = TestDatabase::create().await;
    let url = ("DATABASE_URL", database.url());
    let lease = ("PROCESSING_STALE_TIMEOUT_SECONDS", "2");
    for accepted in ["600 new, 0 duplicates", "0 new, 600 duplicates"] {
        let producer = Process::start("producer", &[&EVENTS.to_string()], &[url]);
        let said = producer.finish().await;
        assert_eq!(said, [format!("600 accepted: {accepted}")]);
    }

    let store = PgStore::connect(database.url()).await.unwrap();
    let kind = Kind::from_static("order");
    let work = async |work_ms| {
        let environment = [url, lease, ("WORK_MS", work_ms)];
        let mut worker = Process::start("worker_only", &[], &environment);
        assert_eq!(worker.line_after("work").await, "ing");
        worker
    };
    let stuck = work("3600000").await;
    until("the stuck one holds events", async || {
        store.counts(&kind).await.unwrap().leased > 0
    })
    .await;
    let [victim, survivors @ ..] = [work("20").await, work("20").await, work("20").await];
    let app = PgPool::connect(database.url()).await.unwrap();
    let pid = victim.id();
    until("the victim is in mid-run", async || {
        let effects = sqlx::query_scalar("SELECT count(*) FROM effects WHERE process = $1");
        let effects: i64 = effects.bind(pid).fetch_one(&app).await.unwrap();
        effects >= 10
    })
    .await;
    victim.kill();
    stuck.kill();

    until("all are processed", async || {
        store.counts(&kind).await.unwrap().processed == EVENTS.unsigned_abs()
    })
    .await;
    for worker in survivors {
        assert_eq!(worker.interrupt().await, ["drained, 0 released"]);
    }
    let (effects, orders, retaken): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT order_id), count(*) FILTER (WHERE attempt > 1)
         FROM effects",
    )
    .fetch_one(&app)
    .await
    .unwrap();
    assert_eq!((effects, orders), (EVENTS, EVENTS));
    assert!(retaken > 0, "what the stuck one held is taken over");

    app.close().await;
    store.close().await;
    database.drop_database().await;
}

async fn post(address: &str, path: &str, body: &str) -> (u16, String) {
    post_with(address, path, &[], body).await
}

async fn post_with(
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    request(address, "POST", path, headers, body).await
}

async fn get(address: &str, path: &str) -> (u16, String) {
    request(address, "GET", path, &[], "").await
}

/// Returns the status and the body of the answer.
async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let request = testkit::http::request(address, method, path, headers, body);
    let reply = in_time("the example's answer", request).await;
    let reply = reply.expect("the example answers");
    (reply.status, reply.text().to_owned())
}
