//! The examples in the documents are what the server answers.

use serde_json::Value;

use super::read;
use crate::support::client::{Client, Reply};
use crate::support::process::webhook_server;
use crate::support::signed::token;
use crate::support::with_amount;

/// A call of curl in a document.
struct Example<'a> {
    path: &'a str,
    body: Option<&'a str>,
    /// The last line of what it prints.
    shown: &'a str,
}

/// The calls of curl in `text`.
fn examples(text: &str) -> Vec<Example<'_>> {
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let commands = blocks.flat_map(|block| block.split("$ curl ").skip(1));
    commands
        .map(|command| {
            let (_, url) = command.split_once("http://127.0.0.1:8000").unwrap();
            let path = url.split_whitespace().next().unwrap();
            let body = command
                .split_once("-d '")
                .and_then(|(_, it)| it.split('\'').next());
            let shown = command.trim_end().lines().last().unwrap();
            Example { path, body, shown }
        })
        .collect()
}

/// The names of the members of `document`, and of those in it.
fn members(document: &Value) -> Value {
    match document {
        Value::Object(members_of) => {
            let named = members_of
                .iter()
                .map(|(name, value)| (name.clone(), members(value)));
            Value::Object(named.collect())
        }
        Value::Array(elements) => elements.first().map_or(Value::Null, members),
        _ => Value::Null,
    }
}

async fn server() -> (crate::support::process::Process, Client, String) {
    let (token, digest) = token("operate").await;
    let mut process = webhook_server(&["--processing-delay-seconds=3600"])
        .env("API_TOKENS", &digest)
        .start();
    let client = Client::connect(process.listens().await).await;
    (process, client, token)
}

async fn get(client: &mut Client, token: &str, path: &str) -> Reply {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.ask(request).await
}

#[tokio::test]
async fn curl_examples_get_the_responses_that_documents_show() {
    for document in ["README.md", "docs/http-api.md"] {
        let (_process, mut client, token) = server().await;
        let text = read(document);
        let examples = examples(&text);
        assert!(examples.len() > 1, "{document}");
        for Example { path, body, shown } in examples {
            if let Some(body) = body {
                assert_eq!(client.post(body).await.text(), shown, "{document}");
            } else {
                let reply = get(&mut client, &token, path).await.json();
                let shown: Value = serde_json::from_str(shown).unwrap();
                assert_eq!(members(&reply), members(&shown), "{document}: {path}");
            }
        }
    }
}

#[tokio::test]
async fn operator_examples_have_the_members_of_the_responses() {
    let (_process, mut client, token) = server().await;
    client
        .post(with_amount("tx", "1"))
        .await
        .acknowledged("ACCEPTED");
    client
        .post(with_amount("tx", "2"))
        .await
        .acknowledged("CONFLICT");
    let text = read("docs/http-api.md");
    for (title, path) in [
        ("Status", "status"),
        ("Lists", "transactions?state=processing"),
        ("One event", "transactions/tx"),
    ] {
        let (_, section) = text.split_once(&format!("\n### {title}\n")).unwrap();
        let (_, shown) = section.split_once("```json\n").unwrap();
        let shown: Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
        let path = format!("/v1/operator/{path}");
        let mut expected = get(&mut client, &token, &path).await.json();
        if title == "One event" {
            // The server's own handler fails no transaction.
            expected["failed_attempts"] = serde_json::json!([{
                "attempt": 1, "ended_at": "2026-01-02T03:04:05.678Z", "reason": ""
            }]);
        }
        assert_eq!(members(&shown), members(&expected), "{title}");
    }
}

#[tokio::test]
async fn token_example_is_what_the_command_writes() {
    let text = read("docs/operating.md");
    let command = "$ webhook-server token read --name ci\n";
    let (_, shown) = text.split_once(command).unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let args = ["token", "read", "--name", "ci"];
    let (code, written, _) = webhook_server(&args).output().await;
    assert_eq!(code, 0);
    let without_digits = |text: &str| {
        let words = text.split_inclusive([' ', '\n', ':', '_']);
        let is_random = |word: &&str| word.trim_end().len() == 64;
        words.filter(|word| !is_random(word)).collect::<String>()
    };
    assert_eq!(without_digits(&written), without_digits(shown));
}
