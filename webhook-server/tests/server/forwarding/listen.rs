//! `listen` copies new events to an app of a developer.

use super::command::Running;
use super::*;
use crate::support::operator::Operator;
use crate::support::signed::token;

#[tokio::test]
async fn new_events_are_copied_while_somebody_listens() {
    let mut app = Receiver::start().await;
    let setup = Setup::new(&source(""));
    let file = setup.files.path("events.db");
    let (token, digest) = token("operate").await;
    let server = || {
        let server = setup.server(&[]).on_file(&file);
        server.env("API_TOKENS", &digest)
    };
    let mut process = server().start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    deliver(&mut client, "before", "0").await;

    let url = format!("--url=http://{addr}");
    let listen = |to: &str, more: &[&str]| {
        let args = [&["listen", "github", to, &url], more].concat();
        let command = setup.server(&args).env("APP_KEY", KEY);
        Running::start(command.env("WEBHOOK_SERVER_TOKEN", &token))
    };
    let mut listening = listen(&format!("--to={}", app.url("/hooks")), &[]);
    let first = listening.prints("listening: ").await;
    let copied = format!(
        "listening: new events of github are copied to {}",
        app.url("/hooks")
    );
    assert_eq!(first, copied);
    let key = listening.prints("signed with whsec_").await;
    let key = key.strip_prefix("signed with ").unwrap();
    secrets::keep(key.strip_prefix("whsec_").unwrap());
    let mut without_app = listen("--to=http://127.0.0.1:1/", &["--sign-with=env:APP_KEY"]);
    without_app.prints("listening: ").await;

    deliver(&mut client, "id-1", "{\"a\": 1}  ").await;
    let received = app.next().await;
    received.assert_signed_with(key);
    assert_eq!(
        (received.target.as_str(), &received.body[..]),
        ("/hooks", &b"{\"a\": 1}  "[..])
    );
    for (name, value) in [
        ("inbox-key", "id-1"),
        ("inbox-type", "push"),
        ("inbox-trigger", "replay"),
        ("inbox-attempt", "1/1"),
        ("content-type", "application/json"),
        ("x-github-event", "push"),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    let line = listening.prints("  push  id-1  ").await;
    assert!(
        line.contains("  200 OK  ") && line.ends_with(" ms"),
        "{line}"
    );
    let line = without_app.prints("  push  id-1  ").await;
    assert!(
        line.contains("  failed to connect to 127.0.0.1:1"),
        "{line}"
    );

    // What the sender repeats is not copied.
    deliver(&mut client, "id-1", "{\"a\": 1}  ").await;
    app.answers(500);
    deliver(&mut client, "id-2", "2").await;
    assert_eq!(app.next().await.header("inbox-key"), "id-2");
    listening
        .prints("id-2  answered 500 Internal Server Error")
        .await;
    // The event itself is processed.
    while process.logs("event processed").await["id"] != "id-2" {}
    assert_eq!(without_app.interrupt().await, Some(130));

    // The server stops, although requests wait, and comes back.
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    let copies = process
        .logged
        .iter()
        .filter(|line| line.contains(r#""action":"copies""#));
    assert_eq!(copies.count(), 1, "{:#?}", process.logged);
    listening.says("; trying again until it answers").await;
    let mut process = server().start_on(&addr.to_string());
    process.listens().await;
    listening.says("the server answers again").await;
    let mut client = Client::connect(addr).await;
    app.answers(204);
    deliver(&mut client, "id-3", "3").await;
    let received = app.next().await;
    received.assert_signed_with(key);
    assert_eq!(received.header("inbox-key"), "id-3");
    listening.prints("id-3  204 No Content").await;
    assert_eq!(listening.interrupt().await, Some(130));
}

#[tokio::test]
async fn requests_for_copies_are_checked() {
    let setup = Setup::new(&source(""));
    let (token, digest) = token("operate").await;
    let mut process = setup.server(&[]).env("API_TOKENS", &digest).start();
    let addr = process.listens().await;
    let client = Client::connect(addr).await;
    let mut operator = Operator {
        client,
        token: token.clone(),
    };
    let start = operator.get("sources/github/copies").await;
    deliver(&mut operator.client, "id-1", "\u{e9}").await;
    let after = &start["next_after"];
    let path = format!("sources/github/copies?wait=30&after={after}");
    let listed = operator.get(&path).await;
    assert_eq!(listed["copies"][0]["body_base64"], "w6k=");
    assert_eq!(listed["next_after"], listed["copies"][0]["number"]);
    for (path, status) in [
        ("github/copies?wait=31", 400),
        ("github/copies?after=x", 400),
        ("github/copies?limit=1", 400),
        ("gitlab/copies", 404),
    ] {
        let path = format!("/v1/operator/sources/{path}");
        operator.ask("GET", &path).await.problem(status);
    }

    let url = format!("--url=http://{addr}");
    let to = "--to=http://127.0.0.1:1/";
    for (args, token, expected, part) in [
        (
            &["listen", "gitlab", to, &url][..],
            token.as_str(),
            1,
            "404 Not Found: Source not found: the configuration file of this server has no source named gitlab, \
             and only its sources have copies and refused requests; did you mean github?",
        ),
        (
            &["listen", "transactions", to, &url],
            token.as_str(),
            1,
            "has no source named transactions, and only its sources have copies and refused requests; its sources \
             are github",
        ),
        (
            &["listen", "github", to, &url],
            "wht_wrong",
            1,
            "the server answered 401",
        ),
        (
            &["listen", "github", to, &url],
            "",
            1,
            "WEBHOOK_SERVER_TOKEN",
        ),
        (
            &["listen", "github", to, "--url=http://127.0.0.1:1"],
            &token,
            1,
            "failed to ask the server at 127.0.0.1:1 (start it, or name another one with --url): ",
        ),
        (
            &["listen", "github", "--to=http://[fd00:ec2::254]/", &url],
            &token,
            2,
            "fd00:ec2::254",
        ),
        (
            &["listen", "github", to, &url, "--sign-with=env:APP_KEY"],
            &token,
            1,
            "APP_KEY is not set",
        ),
        (
            &["listen", "github", to, &url, "--sign-with=whsec_a"],
            &token,
            2,
            "expected env:NAME",
        ),
        (&["listen", "github", &url], &token, 2, "--to"),
    ] {
        let command = setup.server(args).env("WEBHOOK_SERVER_TOKEN", token);
        let (code, _, log) = command.output().await;
        assert_eq!(code, expected, "{args:?}: {log}");
        assert!(log.contains(part), "{args:?}: {log}");
    }
}
