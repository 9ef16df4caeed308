//! The commands check, sources and send, and a file that is wrong at the start.

use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use webhook_sources::{Outcome, Request, Secrets, Source, SourceOptions, preset};

use crate::support::files::Files;
use crate::support::in_time;
use crate::support::process::webhook_server;

const SECRET: &str = "a secret that is long enough";

const STRIPE: &str = "[sources.payments]\npreset = \"stripe\"\nsecrets = \"env:STRIPE_SECRET\"\n";

#[tokio::test]
async fn check_says_everything_that_is_wrong_at_once() {
    let files = Files::new();
    let file = files.write(
        "webhook.toml",
        "[sources.a]\npreset = \"strip\"\n\n[sources.b]\npreset = \"github\"\nsecrets = \"file:none\"\n\
         max_atempts = 3\n[sources.c]\npreset = \"stripe\"\nsecrets = \"env:SHORT\"\n",
    );
    let arg = format!("--config-file={file}");
    let check = webhook_server(&["check", &arg])
        .env("BIND_ADDR", "192.0.2.1:80")
        .env("KEY_RETENTION_DAYS", "5")
        .env("SHORT", "abc");
    let (code, out, error) = check.output().await;
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    for part in [
        "error: KEY_RETENTION_DAYS (--key-retention-days) needs RETENTION_DAYS",
        "error: anyone who can reach BIND_ADDR 192.0.2.1:80 could deliver",
        "webhook.toml:2:10: sources.a.preset: there is no such preset; did you mean stripe?",
        "webhook.toml:7:1: sources.b: unknown key max_atempts; did you mean max_attempts?",
        "webhook.toml:6:11: failed to read sources.b.secrets",
        "webhook.toml:10:11: sources.c.secrets: secret 1 with the name secret is too short",
        "error: the configuration has 6 errors",
    ] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
}

/// `check` connects to no database, and a server with such a URL would not start.
#[tokio::test]
async fn check_refuses_database_urls_that_the_server_refuses() {
    let long = format!("postgres://app:hunter2@db/inbox?schema={}", "a".repeat(47));
    let unknown = "postgres://app:hunter2@db/inbox?colour=red";
    let two = format!("postgres://app:hunter2@db/inbox {unknown}");
    for (url, partitions, part) in [
        ("mysql://app:hunter2@db/inbox", "1", "is none of them"),
        (
            "postgres://app:hunter2@db:99999/inbox",
            "1",
            "its port must be",
        ),
        (unknown, "1", "colour"),
        (
            "postgres://app:hunter2@db/inbox?schema=Inbox",
            "1",
            "`schema` must have",
        ),
        ("postgres://app:hunter2@a,b/inbox", "1", "several hosts"),
        (unknown, "2", "partition 0 of 2"),
        (&two, "4", "partition 1 of 4"),
        // The schema of a partition has a longer name.
        (&long, "1", ""),
        (
            &long,
            "3",
            "partition 0 of 3: invalid schema of a partition",
        ),
    ] {
        let starter = webhook_server(&["check"])
            .env("PARTITIONS", partitions)
            .env("DATABASE_URL", url);
        let (code, _, error) = starter.output().await;
        let is_refused = !part.is_empty();
        assert_eq!(code, i32::from(is_refused), "{url}: {error}");
        assert!(error.contains(part), "{part} is missing: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// Whatever keeps the server from starting, except addresses in use and the database itself.
#[tokio::test]
async fn check_refuses_what_the_server_refuses() {
    let same = [
        ("BIND_ADDR", "127.0.0.1:1"),
        ("OPERATOR_ADDR", "127.0.0.1:1"),
    ];
    let same_of_metrics = [
        ("BIND_ADDR", "127.0.0.1:1"),
        ("METRICS_ADDR", "127.0.0.1:1"),
    ];
    let same_of_two = [
        ("OPERATOR_ADDR", "127.0.0.1:1"),
        ("METRICS_ADDR", "127.0.0.1:1"),
    ];
    for (variables, part) in [
        (
            &[("OPERATOR_ADDR", "127.0.0.1:0")][..],
            "needs a token of the scope operate",
        ),
        (
            &[("METRICS_ADDR", "0.0.0.0:0")],
            "needs a token of the scope metrics",
        ),
        (&same, "OPERATOR_ADDR and BIND_ADDR are the same address"),
        (
            &same_of_metrics,
            "METRICS_ADDR and BIND_ADDR are the same address",
        ),
        (
            &same_of_two,
            "METRICS_ADDR and OPERATOR_ADDR are the same address",
        ),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector")],
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        (
            &[("WEBHOOK_SIGNATURE_SCHEME", "github")],
            "needs WEBHOOK_SECRETS",
        ),
        (&[("API_TOKENS", "abc")], "line 1 of API_TOKENS"),
        (&[("FORWARD_URL", "http://192.0.2.1/")], "FORWARD_URL"),
        (&[("ROLE", "worker")], "need PostgreSQL"),
    ] {
        for args in [&["check"][..], &[]] {
            let starter = webhook_server(args).env("BIND_ADDR", "127.0.0.1:0");
            let starter =
                (variables.iter()).fold(starter, |starter, (name, value)| starter.env(name, value));
            let (code, _, error) = starter.output().await;
            assert!(code == 1 || code == 2, "{args:?}, {variables:?}: {error}");
            assert!(error.contains(part), "{args:?}: {part} is missing: {error}");
        }
    }
}

#[tokio::test]
async fn check_describes_what_each_source_does() {
    let files = Files::new();
    let file = files.write(
        "webhook.toml",
        format!("{STRIPE}keep = \"7d\"\ndelay = \"90s\"\n"),
    );
    let check = webhook_server(&["check"])
        .env("CONFIG_FILE", &file)
        .env("STRIPE_SECRET", SECRET);
    let (code, out, error) = check.output().await;
    assert_eq!(code, 0, "{error}");
    for part in [
        "payments (preset stripe)\n",
        "POST /v1/webhooks/payments\n",
        "HMAC-SHA256 of {timestamp}.{body} in header stripe-signature, signed within 5m of now\n",
        "secret from env:STRIPE_SECRET\n",
        "JSON /id\n",
        "after 90s, up to 25 attempts, 32 events at the same time\n",
        "bodies 7d, keys 30d\n",
        "The configuration is valid. Sources: transactions, payments\n",
    ] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
    assert!(!out.contains(SECRET) && !error.contains(SECRET));
}

#[tokio::test]
async fn verify_token_is_needed_only_for_the_handshake() {
    let files = Files::new();
    let check = async |toml: &str| {
        let file = files.write("webhook.toml", toml);
        let check = webhook_server(&["check"])
            .env("CONFIG_FILE", &file)
            .env("META_SECRET", SECRET);
        check.output().await
    };
    let meta = "[sources.meta]\npreset = \"meta\"\nsecrets = \"env:META_SECRET\"\n";
    let (code, _, error) = check(meta).await;
    assert_eq!(code, 1, "{error}");
    for part in [
        "sources.meta.secrets: there is no secret with the name verify_token",
        "write handshakes = [] instead",
    ] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
    let (code, out, error) = check(&format!("{meta}handshakes = []\n")).await;
    assert_eq!(code, 0, "{error}");
    for part in [
        "secret from env:META_SECRET\n",
        "none: the sender cannot check",
    ] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
}

#[tokio::test]
async fn sources_lists_path_scheme_and_secrets() {
    let files = Files::new();
    let file = files.write(
        "webhook.toml",
        format!("{STRIPE}[sources.open]\nscheme = \"none\"\n"),
    );
    let list = |args: &[&str]| {
        webhook_server(args)
            .env("CONFIG_FILE", &file)
            .env("STRIPE_SECRET", SECRET)
            .output()
    };
    let (code, out, error) = list(&["sources"]).await;
    assert_eq!(code, 0, "{error}");
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().take(4).collect())
        .collect();
    let expected = [
        ["NAME", "PATH", "STATE", "SECRETS"],
        ["open", "/v1/webhooks/open", "enabled", "0"],
        ["payments", "/v1/webhooks/payments", "enabled", "1"],
    ];
    assert_eq!(rows, expected, "{out}");
    let (_, out, _) = list(&["sources", "--json"]).await;
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["name"], "open");
}

#[tokio::test]
async fn sources_says_that_there_are_none_and_why() {
    let files = Files::new();
    let empty = files.write("webhook.toml", "");
    for (file, why) in [
        ("", "CONFIG_FILE is not set"),
        (empty.as_str(), "CONFIG_FILE has none"),
    ] {
        let list = |args: &[&str]| webhook_server(args).env("CONFIG_FILE", file).output();
        let (code, out, error) = list(&["sources"]).await;
        assert_eq!(code, 0, "{error}");
        assert_eq!(out, format!("no sources beside transactions: {why}\n"));
        let (_, out, _) = list(&["sources", "--json"]).await;
        assert_eq!(out, "");
    }
}

#[tokio::test]
async fn send_signs_as_the_sender_does() {
    let files = Files::new();
    let file = files.write("webhook.toml", STRIPE);
    let body = files.write(
        "body.json",
        r#"{"id": "evt_1", "type": "charge.succeeded"}"#,
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
    let sent = webhook_server(&[
        "send", "payments", "--file", &body, "--url", &url, "--header", "x-own: 1",
    ])
    .env("CONFIG_FILE", &file)
    .env("STRIPE_SECRET", SECRET)
    .output();
    let received = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\ntaken")
            .await
            .unwrap();
        String::from_utf8(request).unwrap()
    };
    let ((code, out, error), request) =
        in_time("the delivery", async { tokio::join!(sent, received) }).await;
    assert_eq!(
        (code, out.as_str()),
        (0, "202 Accepted\ntaken\n"),
        "{error}"
    );
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook?a=b HTTP/1.1"));
    let headers: Vec<(&str, &[u8])> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    assert!(headers.contains(&("x-own", b"1")), "{head}");
    assert!(
        headers.contains(&("content-type", b"application/json")),
        "{head}"
    );
    let spec = preset::get("stripe").unwrap().spec.clone();
    let source = Source::new(spec, &Secrets::of([SECRET]), SourceOptions::default()).unwrap();
    let request = Request {
        method: "POST",
        target: "/hook?a=b",
        headers: &headers,
        body: body.as_bytes(),
    };
    let outcome = source.receive(&request, SystemTime::now());
    assert!(
        matches!(&outcome, Outcome::Received(received) if received.events[0].id == "evt_1"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn send_explains_what_it_cannot_do() {
    let files = Files::new();
    let file = files.write("webhook.toml", STRIPE);
    let body = files.write("body.json", "{}");
    for (args, part) in [
        (
            &["send", "payment", "--file", &body][..],
            "there is no such source: CONFIG_FILE has payments",
        ),
        (
            &["send", "payments", "--file", "none.json"],
            "failed to read none.json",
        ),
        (
            &[
                "send",
                "payments",
                "--file",
                &body,
                "--url",
                "http://127.0.0.1:1/",
            ],
            "failed to send the delivery to 127.0.0.1:1 (start the server, or name another URL with --url): ",
        ),
    ] {
        let (code, _, error) = webhook_server(args)
            .env("CONFIG_FILE", &file)
            .env("STRIPE_SECRET", SECRET)
            .output()
            .await;
        assert_eq!(code, 1, "{error}");
        assert!(error.contains(part), "{part} is missing: {error}");
    }
}

#[tokio::test]
async fn invalid_file_keeps_the_server_from_starting() {
    let files = Files::new();
    let file = files.write(
        "webhook.toml",
        "[sources.a]\npreset = \"strip\"\nsecret = \"env:A\"\n",
    );
    let server = webhook_server(&[]).env("CONFIG_FILE", &file);
    let (code, _, error) = server.output().await;
    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("webhook.toml:2:10: sources.a.preset"),
        "{error}"
    );
    assert!(
        error.contains("webhook.toml:3:1: sources.a: unknown key"),
        "{error}"
    );
}

#[tokio::test]
async fn delivery_that_is_sent_is_received() {
    let files = Files::new();
    let file = files.write("webhook.toml", STRIPE);
    let body = files.write("body.json", r#"{"id": "evt_1"}"#);
    let with_source = |args: &[&str]| {
        webhook_server(args)
            .env("CONFIG_FILE", &file)
            .env("STRIPE_SECRET", SECRET)
    };
    let mut server = with_source(&[]).start();
    let addr = format!("--bind-addr={}", server.listens().await);
    for _ in 0..2 {
        let send = with_source(&["send", "payments", "--file", &body, &addr]);
        let (code, out, error) = send.output().await;
        assert_eq!((code, out.as_str()), (0, "200 OK\n"), "{error}");
    }
    let wrong = webhook_server(&["send", "payments", "--file", &body, &addr])
        .env("CONFIG_FILE", &file)
        .env("STRIPE_SECRET", "another secret that is long enough");
    let (code, out, error) = wrong.output().await;
    assert_eq!(code, 1, "{error}");
    assert!(out.starts_with("401 Unauthorized\n"), "{out}");
    assert!(
        error.contains("the server answered 401 Unauthorized"),
        "{error}"
    );
}
