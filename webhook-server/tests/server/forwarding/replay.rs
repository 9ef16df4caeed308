//! `replay` sends copies of stored events.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::command::Running;
use super::*;
use crate::support::in_time;
use crate::support::process::Starter;

/// A server with three events, which it has processed itself.
struct Stored {
    setup: Setup,
    file: String,
    _process: Process,
    client: Client,
}

impl Stored {
    async fn new() -> Self {
        let setup = Setup::new(&source(""));
        setup.files.write("token", "a-token-of-the-app");
        secrets::keep("a-token-of-the-app");
        let file = setup.files.path("events.db");
        let mut process = setup.server(&[]).on_file(&file).start();
        let mut client = Client::connect(process.listens().await).await;
        for id in ["a", "b", "c"] {
            deliver(&mut client, id, &format!("{{\"id\": \"{id}\"}}")).await;
            until_processed(&mut client, &format!("/v1/events/github/{id}")).await;
        }
        Self {
            setup,
            file,
            _process: process,
            client,
        }
    }

    /// Forwards to this URL, as far as commands see it.
    fn forward(&self, url: &str) {
        let table = format!(
            "[sources.github.forward]\nurl = \"{url}\"\nbearer = \"file:token\"\n\
             pass_headers = [\"x-github-event\"]\n"
        );
        self.setup.rewrite(&source(&table));
    }

    fn command(&self, args: &[&str]) -> Starter {
        let args = [&["replay", "github", "--since=1h"], args].concat();
        let command = self.setup.server(&args).on_file(&self.file);
        command.env("FORWARD_SECRETS", KEY)
    }

    async fn replay(&self, args: &[&str]) -> (i32, String, String) {
        self.command(args).output().await
    }

    async fn event(&mut self, id: &str) -> Value {
        self.client
            .get(&format!("/v1/events/github/{id}"))
            .await
            .json()
    }
}

#[tokio::test]
async fn copies_are_signed_and_change_nothing() {
    let (mut app, mut other) = (Receiver::start().await, Receiver::start().await);
    let mut stored = Stored::new().await;
    stored.forward(&app.url("/hooks?key=hidden"));
    let before = stored.event("a").await;

    let (code, out, log) = stored.replay(&["--state=all", "--dry-run"]).await;
    assert_eq!(code, 0, "{log}");
    let summary = format!(
        "copies of 3 events of github would be sent to {} (dry run)\n",
        app.url("/hooks")
    );
    assert!(
        out.starts_with(&summary) && !out.contains("hidden"),
        "{out}"
    );
    for line in [
        "         3  PROCESSED   accepted from ",
        "\nPOST /hooks\nhost: 127.0.0.1:",
        "\nauthorization: ***\n",
        "\nwebhook-signature: v1,",
        "\ninbox-trigger: replay\n",
        "\n\n{\"id\": \"a\"}\n",
    ] {
        assert!(out.contains(line), "{line:?} is missing: {out}");
    }
    assert!(!log.contains("an operator ran a command"), "{log}");
    // The ages are in the wrong order: `command` has --since=1h.
    let args = ["--state=all", "--until=2h"];
    let (code, _, log) = stored.replay(&args).await;
    let refused = code == 1 && log.contains("--until is not later than --since");
    assert!(
        refused && !log.contains("an operator ran a command"),
        "{log}"
    );

    let (code, out, log) = stored
        .replay(&["--state=processed", "--concurrency=1"])
        .await;
    let summary = format!(
        "sent copies of 3 events of github to {}: 3 delivered, 0 failed\n",
        app.url("/hooks")
    );
    assert_eq!((code, out), (0, summary), "{log}");
    assert!(
        log.contains("an operator ran a command action=replay"),
        "{log}"
    );
    let mut ids = Vec::new();
    for id in ["a", "b", "c"] {
        let received = app.next().await;
        received.assert_signed_with(KEY);
        assert_eq!(received.target, "/hooks?key=hidden");
        assert_eq!(received.body, format!("{{\"id\": \"{id}\"}}"));
        for (name, value) in [
            ("inbox-key", id),
            ("inbox-type", "push"),
            ("inbox-trigger", "replay"),
            ("inbox-attempt", "1/1"),
            ("inbox-source", "github"),
            ("x-github-event", "push"),
            ("authorization", "Bearer a-token-of-the-app"),
        ] {
            assert_eq!(received.header(name), value, "{name}");
        }
        ids.push(message_id(&received));
    }

    // Another URL gets the same messages without the secrets of the destination.
    let to = format!("--to={}", other.url("/"));
    let (code, out, log) = stored
        .replay(&["--state=all", "--type=push", "--after=1", "--json", &to])
        .await;
    assert_eq!(code, 0, "{log}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["sent"], &report["delivered"], &report["failed"]),
        (&2.into(), &2.into(), &0.into()),
        "{report}"
    );
    let mut others = Vec::new();
    for _ in 0..2 {
        let received = other.next().await;
        received.assert_signed_with(KEY);
        assert!(!received.headers.contains_key("authorization"));
        assert_eq!(received.header("x-github-event"), "push");
        others.push(message_id(&received));
    }
    others.sort_by_key(|id| ids.iter().position(|it| it == id));
    assert_eq!(others, ids[1..]);

    for none in [
        &["--state=failed"][..],
        &["--state=all", "--until=1h"],
        &["--state=all", "--type=other"],
        &["--state=all", "--after=1000"],
    ] {
        let (code, out, log) = stored.replay(none).await;
        assert!(
            code == 0 && out.starts_with("sent copies of 0 events"),
            "{out}{log}"
        );
    }
    assert_eq!(stored.event("a").await, before);

    // The events whose bodies are deleted are skipped.
    let prune = [
        "prune",
        "--kind=github",
        "--older-than=0s",
        "--keep-keys=30d",
    ];
    let prune = stored.setup.server(&prune).on_file(&stored.file);
    let (code, _, log) = prune.output().await;
    assert_eq!(code, 0, "{log}");
    let (code, out, log) = stored.replay(&["--state=all"]).await;
    assert!(
        code == 0 && out.contains("         3  skipped: "),
        "{out}{log}"
    );
    let (_, out, _) = stored.replay(&["--state=all", "--dry-run"]).await;
    assert!(out.contains("         3  skipped: "), "{out}");
}

#[tokio::test]
async fn transactions_are_replayed_as_json() {
    let mut app = Receiver::start().await;
    let setup = Setup::new("");
    let file = setup.files.path("events.db");
    let mut process = setup.server(&[]).on_file(&file).start();
    let mut client = Client::connect(process.listens().await).await;
    let body = transaction("tx-1");
    client.post(&body).await.acknowledged("ACCEPTED");
    let url = app.url("/");
    let to = format!("--to={url}");
    let replay = ["replay", "transactions", "--since=1h", "--state=processing"];
    for (more, variable) in [(&[to.as_str()][..], "LOG_FORMAT"), (&[], "FORWARD_URL")] {
        let value = if more.is_empty() { &url } else { "human" };
        let args = [&replay[..], more].concat();
        let command = setup.server(&args).on_file(&file).env(variable, value);
        let (code, out, log) = command.output().await;
        let summary = format!("sent copies of 1 transaction to {url}: 1 deliv");
        assert!(code == 0 && out.starts_with(&summary), "{out}{log}");
        let received = app.next().await;
        assert_eq!(received.body, body.as_bytes());
        assert_eq!(received.header("content-type"), "application/json");
        assert_eq!(received.header("inbox-source"), "transaction");
        assert!(!received.headers.contains_key("webhook-signature"));
    }
}

#[tokio::test]
async fn failures_are_grouped_by_reason() {
    let app = Receiver::start().await;
    app.answers(500);
    let stored = Stored::new().await;
    stored.forward(&app.url("/"));
    let (code, out, log) = stored.replay(&["--state=all"]).await;
    assert_eq!(code, 1, "{log}");
    assert!(
        out.contains("0 delivered, 3 failed\n         3  answered 500 Internal Server Error\n"),
        "{out}"
    );
    assert!(
        log.contains("error: 3 of 3 copies were not delivered"),
        "{log}"
    );

    // Nobody listens there.
    let (_, out, _) = stored
        .replay(&["--state=all", "--to=http://127.0.0.1:1/"])
        .await;
    assert!(
        out.contains("         3  failed to connect to 127.0.0.1:1"),
        "{out}"
    );
}

/// Reads a request, and answers it.
async fn answer(listener: &TcpListener, answer: &str) -> TcpStream {
    let (mut stream, _) = in_time("a connection", listener.accept()).await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let read = in_time("a request", stream.read_buf(&mut request)).await;
        assert!(read.unwrap() > 0);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn interrupted_replay_says_how_to_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stored = Stored::new().await;
    stored.forward(&format!("http://{}/", listener.local_addr().unwrap()));
    let mut replay = Running::start(stored.command(&["--state=all", "--concurrency=1"]));
    // It waits as it is asked to, and sends the same copy again.
    let busy = "HTTP/1.1 429 \r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    answer(&listener, busy).await;
    replay.says("waiting: answered 429 Too Many Requests").await;
    let done = "HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    answer(&listener, done).await;
    let _unanswered = answer(&listener, "").await;
    assert_eq!(replay.interrupt().await, Some(130));
    let said = replay.says("the replay has not reached its end").await;
    assert!(
        said.contains("1 delivered, 0 failed, 0 skipped; to go on, "),
        "{said}"
    );
    let (_, after) = said.rsplit_once("--after ").unwrap();

    let app = Receiver::start().await;
    stored.forward(&app.url("/"));
    let after = format!("--after={after}");
    let (code, out, log) = stored.replay(&["--state=all", &after]).await;
    assert!(
        code == 0 && out.contains(": 2 delivered, 0 failed"),
        "{out}{log}"
    );
}

#[tokio::test]
async fn wrong_destinations_are_refused() {
    let setup = Setup::new(&source(""));
    let file = setup.files.path("events.db");
    let mut process = setup.server(&[]).on_file(&file).start();
    process.listens().await;
    let state = "--state=all";
    for (args, expected, part) in [
        (
            &["replay", "github", "--since=1h", state][..],
            1,
            "set `forward` for it in CONFIG_FILE",
        ),
        (
            &["replay", "transactions", "--since=1h", state],
            1,
            "set FORWARD_URL",
        ),
        (
            &[
                "replay",
                "gitlab",
                "--since=1h",
                state,
                "--to=http://127.0.0.1:1/",
            ],
            1,
            "there is no such source: CONFIG_FILE has github",
        ),
        (
            &[
                "replay",
                "github",
                "--since=1h",
                state,
                "--to=https://app.example.com/?key=swordfish",
            ],
            1,
            "copies for --to would not be signed",
        ),
        (
            &[
                "replay",
                "github",
                "--since=1h",
                state,
                "--to=http://169.254.169.254/swordfish",
            ],
            2,
            "169.254.169.254 is a link-local address",
        ),
        (
            &[
                "replay",
                "github",
                "--since=1h",
                state,
                "--to=http://me:swordfish@127.0.0.1/",
            ],
            2,
            "without a user",
        ),
        (&["replay", "github", state], 2, "--since"),
        (&["replay", "github", "--since=1h"], 2, "--state"),
        (
            &["replay", "github", "--since=yesterday", state],
            2,
            "or an age such as",
        ),
        (
            &["replay", "github", "--since=1h", state, "--concurrency=0"],
            2,
            "from 1 to 64",
        ),
    ] {
        let (code, _, log) = setup.server(args).on_file(&file).output().await;
        assert_eq!(code, expected, "{args:?}: {log}");
        assert!(
            log.contains(part) && !log.contains("swordfish"),
            "{args:?}: {log}"
        );
    }
}
