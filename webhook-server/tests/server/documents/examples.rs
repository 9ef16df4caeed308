//! The examples in the documents are what the server answers.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::read;
use crate::support::client::{Client, Reply};
use crate::support::files::Files;
use crate::support::process::{Process, webhook_server};
use crate::support::signed::token;
use crate::support::until;

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

async fn server() -> (Process, Client, String) {
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

impl Example<'_> {
    /// Makes the request, and compares the answer: deliveries by their text, the rest by their members.
    async fn check(&self, client: &mut Client, token: &str) {
        let &Example { path, body, shown } = self;
        if let Some(body) = body {
            assert_eq!(client.post(body).await.text(), shown, "{path}");
        } else {
            let reply = get(client, token, path).await.json();
            let shown: Value = serde_json::from_str(shown).unwrap();
            assert_eq!(members(&reply), members(&shown), "{path}");
        }
    }
}

#[tokio::test]
async fn curl_examples_get_the_responses_that_documents_show() {
    let (_process, mut client, token) = server().await;
    let text = read("docs/http-api.md");
    let examples = examples(&text);
    assert!(examples.len() > 1);
    for example in examples {
        example.check(&mut client, &token).await;
    }
}

/// Does what the README says, command by command, in an empty directory.
#[tokio::test]
async fn first_delivery_of_the_readme_survives_its_kill() {
    let files = Files::new();
    let folder = files.path("");
    let text = read("README.md");
    let (_, section) = text.split_once("\n## Try it\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let commands = blocks.flat_map(|block| block.split("$ ").filter(|it| !it.is_empty()));
    let mut running: Option<(Process, Client)> = None;
    let mut kills = 0;
    for command in commands {
        match command.split_whitespace().next().unwrap() {
            "cargo" => {
                assert_eq!(command.trim(), "cargo run --release -p webhook-server");
                assert!(running.is_none(), "it is started twice");
                // 30 s would be too long for a test.
                let starter = webhook_server(&["--processing-delay-seconds=2"]);
                let starter = starter.on_default_backend();
                let mut process = starter.in_directory(Path::new(&folder)).start();
                let client = Client::connect(process.listens().await).await;
                running = Some((process, client));
            }
            "curl" => {
                let (_, client) = running.as_mut().unwrap();
                let block = format!("```console\n$ {command}```");
                examples(&block)[0].check(client, "").await;
            }
            "kill" => {
                let mut shell = tokio::process::Command::new("sh");
                shell.args(["-c", command]).current_dir(&folder);
                assert!(shell.status().await.unwrap().success(), "{command}");
                let (mut process, _) = running.take().unwrap();
                let status = process.ends().await;
                assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
                kills += 1;
            }
            _ => panic!("the README has another command: {command}"),
        }
    }
    let (_process, mut client) = running.unwrap();
    assert_eq!(kills, 1);
    let delivered = &examples(section)[1];
    until("it is processed", async || {
        client.get(delivered.path).await.json()["status"] == "PROCESSED"
    })
    .await;
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
