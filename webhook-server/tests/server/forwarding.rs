//! Events are forwarded to an app.

mod command;
mod configuration;
mod destinations;
mod jobs;
mod listen;
pub(crate) mod receiver;
mod replay;

use rustix::process::Signal;

use crate::sources::{SECRET, Sender, Setup, assert_stored};
use crate::support::client::Client;
use crate::support::process::{Process, webhook_server};
use crate::support::{secrets, transaction, until};
use receiver::{Received, Receiver};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A source of GitHub's form, with these lines besides.
fn source(more: &str) -> String {
    format!("[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\n{more}\n")
}

/// Delivers an event with this id to the source.
async fn deliver(client: &mut Client, id: &str, body: &str) {
    let sender = Sender::preset("github", "github", SECRET);
    assert_stored(&client.ask(sender.github(id, body)).await);
}

async fn until_processed(client: &mut Client, path: &str) {
    until("the event is processed", async || {
        client.get(path).await.json()["status"] == "PROCESSED"
    })
    .await;
}

/// Makes the server read its files again.
async fn reload(process: &mut Process) {
    process.signal(Signal::HUP);
    process.logs("sources reloaded").await;
}

#[tokio::test]
async fn one_line_forwards_signed_deliveries() {
    let (code, out, log) = webhook_server(&["secret"]).output().await;
    assert_eq!(code, 0, "{log}");
    let key = out.trim_end();
    secrets::keep(key.strip_prefix("whsec_").unwrap());
    let mut app = Receiver::start().await;
    let setup = Setup::new(&source(&format!("forward = \"{}\"", app.url("/hooks?a=b"))));
    let mut process = setup.server(&[]).env("FORWARD_SECRETS", key).start();
    let mut client = Client::connect(process.listens().await).await;
    deliver(&mut client, "id-1", "{\"a\": 1}  ").await;

    let received = app.next().await;
    assert_eq!(received.target, "/hooks?a=b");
    assert_eq!(received.body, "{\"a\": 1}  ");
    received.assert_signed_with(key);
    for (name, value) in [
        ("content-type", "application/json"),
        ("inbox-source", "github"),
        ("inbox-key", "id-1"),
        ("inbox-type", "push"),
        ("inbox-attempt", "1/13"),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    assert!(!received.headers.contains_key("x-hub-signature-256"));
    until_processed(&mut client, "/v1/events/github/id-1").await;
}

#[tokio::test]
async fn reload_changes_url_keys_and_headers() {
    let (mut first, mut second) = (Receiver::start().await, Receiver::start().await);
    let forward = |app: &Receiver, more: &str| {
        let table = format!("[sources.github.forward]\nurl = \"{}\"\n", app.url("/"));
        source(&format!("{table}sign_with = \"file:key\"\n{more}"))
    };
    let setup = Setup::new(&forward(&first, ""));
    for key in [KEY, OTHER_KEY] {
        secrets::keep(key.strip_prefix("whsec_").unwrap());
    }
    setup.files.write("key", KEY);
    let mut process = setup.server(&[]).start();
    let mut client = Client::connect(process.listens().await).await;
    deliver(&mut client, "a", "1").await;
    first.next().await.assert_signed_with(KEY);

    // Another key beside the first one, in the same file.
    setup.files.write("key", format!("{KEY}\n{OTHER_KEY}\n"));
    reload(&mut process).await;
    deliver(&mut client, "b", "2").await;
    let both = first.next().await;
    both.assert_signed_with(KEY);
    both.assert_signed_with(OTHER_KEY);

    // Another app, which wants a token and an own header of the sender.
    setup.files.write("key", OTHER_KEY);
    setup.files.write("token", "a-token-of-the-app");
    secrets::keep("a-token-of-the-app");
    let more = "bearer = \"file:token\"\npass_headers = [\"x-github-event\"]\n";
    setup.rewrite(&forward(&second, more));
    reload(&mut process).await;
    deliver(&mut client, "c", "3").await;
    let received = second.next().await;
    assert!(!received.is_signed_with(KEY));
    received.assert_signed_with(OTHER_KEY);
    assert_eq!(
        received.header("authorization"),
        "Bearer a-token-of-the-app"
    );
    assert_eq!(received.header("x-github-event"), "push");

    // What is wrong changes nothing.
    setup.rewrite(&forward(&first, "timeout = \"never\"\n"));
    process.signal(Signal::HUP);
    let partly = "sources reloaded, except those that are wrong, which stay as they were";
    process.logs(partly).await;
    deliver(&mut client, "d", "4").await;
    assert_eq!(second.next().await.header("inbox-key"), "d");

    // Without a destination, the server processes the events itself.
    setup.rewrite(&source(""));
    reload(&mut process).await;
    deliver(&mut client, "e", "5").await;
    assert_eq!(process.logs("event processed").await["id"], "e");
}

#[tokio::test]
async fn transactions_are_forwarded_to_forward_url() {
    let mut app = Receiver::start().await;
    let url = app.url("/transactions");
    let mut process = webhook_server(&["--processing-delay-seconds=0"])
        .env("FORWARD_URL", &url)
        .env("FORWARD_SECRETS", &format!("{KEY}\n{OTHER_KEY}"))
        .start();
    let mut client = Client::connect(process.listens().await).await;
    let body = transaction("tx-1");
    client.post(&body).await.acknowledged("ACCEPTED");
    let received = app.next().await;
    assert_eq!(
        (received.target.as_str(), received.body.as_ref()),
        ("/transactions", body.as_bytes())
    );
    received.assert_signed_with(KEY);
    received.assert_signed_with(OTHER_KEY);
    assert_eq!(received.header("inbox-key"), "tx-1");
    assert_eq!(received.header("content-type"), "application/json");
    until_processed(&mut client, "/v1/transactions/tx-1").await;
    let log = process.logged.join("\n");
    assert!(!log.contains("transaction processed"), "{log}");
}

#[tokio::test]
async fn keys_for_forward_url_are_read_again() {
    let mut app = Receiver::start().await;
    let setup = Setup::new("");
    let keys = setup.files.write("key", KEY);
    let mut process = webhook_server(&["--processing-delay-seconds=0"])
        .env("FORWARD_URL", &app.url("/"))
        .env("FORWARD_SECRETS_FILE", &keys)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    setup.files.write("key", "no key");
    process.signal(Signal::HUP);
    let failed = "failed to reload the keys for FORWARD_URL; the current ones stay in use";
    process.logs(failed).await;
    client.post(transaction("a")).await.acknowledged("ACCEPTED");
    app.next().await.assert_signed_with(KEY);
    setup.files.write("key", OTHER_KEY);
    process.signal(Signal::HUP);
    process.logs("keys for FORWARD_URL reloaded").await;
    client.post(transaction("b")).await.acknowledged("ACCEPTED");
    app.next().await.assert_signed_with(OTHER_KEY);
}

/// The id of the message, which is the same for each attempt.
fn message_id(received: &Received) -> String {
    received.header("webhook-id").to_owned()
}
