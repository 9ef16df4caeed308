//! What operators see of sources: their counts, and the requests that they refused.

use serde_json::Value;

use super::*;
pub(super) use crate::support::operator::Operator;
use crate::support::process::Process;
use crate::support::signed::token;
use crate::support::until;

impl Operator {
    /// Starts a server with `setup` and a token.
    pub(super) async fn start(setup: &Setup, args: &[&str]) -> (Self, Process) {
        let (token, digest) = token("operate").await;
        let mut process = setup.server(args).env("API_TOKENS", &digest).start();
        let client = Client::connect(process.listens().await).await;
        (Self { client, token }, process)
    }

    pub(super) async fn post(&mut self, path: &str) {
        let reply = self.ask("POST", &format!("/v1/operator/{path}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// The latest refused request of `source`, once it has been looked at.
    pub(super) async fn hint(&mut self, source: &str) -> String {
        let path = format!("sources/{source}/refused?limit=1");
        let mut hint = None;
        until("a refused request has a hint", async || {
            let refused = self.get(&path).await;
            hint = refused["refused"][0]["hint"].as_str().map(str::to_owned);
            hint.is_some()
        })
        .await;
        hint.unwrap()
    }
}

const SOURCES: &str = r#"
[sources.github]
preset = "github"
secrets = "file:secret"
keep_refused_bodies = true

[sources.stripe]
preset = "stripe"
secrets = "file:secret"

[sources.quiet]
preset = "github"
secrets = "file:secret"
enabled = false
expect_every = "1s"
"#;

#[tokio::test]
async fn operators_see_what_each_source_has_received() {
    let setup = Setup::new(SOURCES);
    let (mut operator, _process) = Operator::start(&setup, &[]).await;
    let github = Sender::of("github");
    for body in ["{}", "{}", "[]"] {
        assert_stored(&operator.client.ask(github.github("a", body)).await);
    }
    let forger = Sender::preset("github", "github", OTHER_SECRET);
    assert_refused(&operator.client.ask(forger.github("a", "{}")).await);
    let sources = operator.get("sources").await;
    let names: Vec<_> = sources["sources"].as_array().unwrap().iter().collect();
    let names: Vec<_> = names
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["github", "quiet", "stripe", "transaction"]);
    let source = &sources["sources"][0];
    for (member, value) in [
        ("path", Value::from("/v1/webhooks/github")),
        ("preset", "github".into()),
        ("scheme", "hmac".into()),
        ("state", "enabled".into()),
        ("received", 3.into()),
        ("events", 1.into()),
        ("duplicates", 1.into()),
        ("conflicts", 1.into()),
        ("refused", 1.into()),
        ("unavailable", 0.into()),
        ("silent_since", Value::Null),
    ] {
        assert_eq!(source[member], value, "{member}: {source}");
    }
    let secrets = source["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 1, "{source}");
    assert_eq!(secrets[0]["verified"], 3, "{source}");
    assert!(source["last_received_at"].is_string() && source["last_refused_at"].is_string());
    let quiet = &sources["sources"][1];
    assert_eq!(
        (
            &quiet["state"],
            &quiet["last_received_at"],
            &quiet["silent_since"]
        ),
        (&"disabled".into(), &Value::Null, &Value::Null)
    );
    for (path, status) in [
        ("sources?limit=1", 400),
        ("sources/nobody", 404),
        ("sources/nobody/refused", 404),
        ("sources/github/refused?limit=0", 400),
        ("sources/github/refused?limit=1001", 400),
        ("sources/github/refused?after=1", 400),
    ] {
        let reply = operator.ask("GET", &format!("/v1/operator/{path}")).await;
        reply.problem(status);
    }
    let none: [(&str, &str); 0] = [];
    let request = request_of("GET", "/v1/operator/sources", &none, "");
    operator.client.ask(request).await.problem(401);
}

#[tokio::test]
async fn readers_see_conflicts_where_operators_have_an_address_of_their_own() {
    let setup = Setup::new(SOURCES);
    let (mut operator, _process) = Operator::start(&setup, &["--operator-addr=127.0.0.1:0"]).await;
    for body in ["{}", "[7]"] {
        assert_stored(
            &operator
                .client
                .ask(Sender::of("github").github("a", body))
                .await,
        );
    }
    operator
        .ask("GET", "/v1/operator/sources")
        .await
        .problem(404);
    let event = operator.ask("GET", "/v1/events/github/a").await.json();
    let conflict = &event["conflicts"][0];
    assert_eq!(conflict["body_bytes"], 3, "{event}");
    assert_eq!(conflict["content_sha256"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn refused_requests_are_kept_without_secrets_and_with_the_reason() {
    let setup = Setup::new(SOURCES);
    let (mut operator, _process) = Operator::start(&setup, &[]).await;
    let github = Sender::of("github");
    let secret = "a-token-that-nobody-may-see";
    secrets::keep(secret);
    let bearer = format!("Bearer {secret}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-github-delivery", "a"),
    ];
    let target = format!("/v1/webhooks/github?token={secret}");
    let unsigned = request_of("POST", &target, &headers, "{}");
    assert_refused(&operator.client.ask(unsigned).await);
    // A proxy has written the body anew.
    let signed = String::from_utf8(github.github("a", "{\"a\":1}")).unwrap();
    let (head, _) = signed.split_once("\r\n\r\n").unwrap();
    let head = head.replace("Content-Length: 7", "Content-Length: 8");
    assert_refused(
        &operator
            .client
            .ask(format!("{head}\r\n\r\n{{\"a\":1}}\n"))
            .await,
    );
    let hint = operator.hint("github").await;
    assert!(
        hint.contains("something on the way changes the body"),
        "{hint}"
    );
    let refused = operator.get("sources/github/refused").await;
    assert_eq!(refused["total"], 2);
    let [latest, first] = &refused["refused"].as_array().unwrap()[..] else {
        panic!("{refused}");
    };
    assert_eq!(latest["reason"], "no signature matches");
    assert_eq!(
        (&latest["body_bytes"], &latest["body"]["content"]["a"]),
        (&8.into(), &1.into())
    );
    assert_eq!(first["reason"], "header x-hub-signature-256 is missing");
    assert_eq!(first["query"], "token=(27 bytes)");
    assert_eq!(
        (&first["status"], &first["client"]),
        (&401.into(), &"127.0.0.1".into())
    );
    // Refused by its head, so that its body was not looked at.
    assert_eq!(
        (&first["body"], &first["body_bytes"]),
        (&Value::Null, &Value::Null)
    );
    let all = refused.to_string();
    assert!(!all.contains(secret) && all.contains("(34 bytes)"), "{all}");

    // A clock that is 412 s behind, of a source that keeps no bodies.
    let stripe = Sender::of("stripe");
    let at = SystemTime::now() - std::time::Duration::from_secs(412);
    assert_refused(&operator.client.ask(stripe.delivery_at(at, &[], "{}")).await);
    let refused = operator.get("sources/stripe/refused").await;
    let reason = refused["refused"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("signed at a time too far from now: 41"),
        "{reason}"
    );
    assert_eq!(refused["refused"][0]["body"], Value::Null);
}

#[tokio::test]
async fn latest_thousand_refused_requests_are_kept() {
    let setup = Setup::new(SOURCES);
    let (mut operator, _process) = Operator::start(&setup, &[]).await;
    let none: [(&str, &str); 0] = [];
    for round in 0..12 {
        let requests = (0..100).map(|it| {
            let target = format!("/v1/webhooks/github?n{}=", 100 * round + it);
            request_of("POST", &target, &none, "")
        });
        let requests: Vec<_> = requests.collect();
        operator.client.send(requests.concat()).await;
        for _ in requests {
            assert_eq!(operator.client.reply().await.status, 401);
        }
    }
    let refused = operator.get("sources/github/refused?limit=1000").await;
    assert_eq!(refused["total"], 1_200);
    let kept = refused["refused"].as_array().unwrap();
    assert_eq!(kept.len(), 1_000);
    assert_eq!(kept[0]["query"], "n1199=(0 bytes)");
    assert_eq!(kept[999]["query"], "n200=(0 bytes)");
}

#[tokio::test]
async fn silent_source_is_logged_once_and_once_when_it_is_back() {
    let setup = Setup::new(
        "[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\nexpect_every = \"1s\"\n",
    );
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    let silent = "a source is silent: no delivery for longer than expect_every";
    let line = process.logs(silent).await;
    assert_eq!(line["source"], "github");
    let source = &operator.get("sources").await["sources"][0];
    assert!(source["silent_since"].is_string(), "{source}");
    let github = Sender::of("github");
    // It must not be silent again before it is looked at.
    let deliveries = async {
        loop {
            assert_stored(&operator.client.ask(github.github("a", "{}")).await);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        line = process.logs("a source that was silent has received a delivery") => {
            assert_eq!(line["source"], "github");
        }
        () = deliveries => {}
    }
    let warnings = process.logged.iter().filter(|line| line.contains(silent));
    assert_eq!(warnings.count(), 1);
}
