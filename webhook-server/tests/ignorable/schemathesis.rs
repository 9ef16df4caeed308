//! Schemathesis sends requests made from the OpenAPI document, and compares the answers with it.
//!
//! `scripts/install-venv` installs it. Where it cannot, the tests are ignored.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use libtest_mimic::{Completion, Trial};
use tokio::runtime::Runtime;

use crate::support::client::{Client, post, request_of};
use crate::support::files::Files;
use crate::support::process::webhook_server;
use crate::support::signed::{Signer, token};
use crate::support::transaction;

/// The seed of all runs, so that they can be repeated. `SCHEMATHESIS_SEED` replaces it.
const SEED: &str = "1";

/// How many requests are made up for each operation and each phase. `SCHEMATHESIS_EXAMPLES` replaces it.
const EXAMPLES: &str = "2";

/// The secret of the source.
const SECRET: &str = "It-is-the-secret-of-a-source-in-a-test";

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("operators_are_answered_as_the_document_says", |program| {
            let phases = "--phases=examples,coverage,fuzzing";
            Runtime::new()
                .unwrap()
                .block_on(run(program, "operate", phases));
        }),
        trial("readers_are_answered_as_the_document_says", |program| {
            let phases = "--phases=examples";
            Runtime::new()
                .unwrap()
                .block_on(run(program, "read", phases));
        }),
    ]
}

/// A test that is ignored where schemathesis cannot be installed.
fn trial(name: &str, test: fn(&Path)) -> Trial {
    Trial::ignorable_test(name, move || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let venv = root.join("target/schemathesis");
        let output = Command::new(root.join("scripts/install-venv"))
            .arg(&venv)
            .arg(file("requirements.txt"))
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            test(&venv.join("bin/st"));
            return Ok(Completion::Completed);
        }
        let log = String::from_utf8_lossy(&output.stderr);
        let last = log.lines().last().unwrap_or_default();
        Ok(Completion::ignored_with(format!(
            "schemathesis cannot be installed: {last}"
        )))
    })
}

/// A file beside this one.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ignorable")
        .join(name)
}

/// Runs it against a server that has what the examples of the document name, with a token of this scope.
async fn run(program: &Path, scope: &str, phases: &str) {
    let files = Files::new();
    let config = "[sources.stripe]\npreset = \"github\"\nsecrets = \"env:SOURCE_SECRET\"\n";
    let (token, digest) = token(scope).await;
    let mut server = webhook_server(&[])
        .env("CONFIG_FILE", &files.write("webhook.toml", config))
        .env("SOURCE_SECRET", SECRET)
        .env("API_TOKENS", &digest)
        .env("PROCESSING_DELAY_SECONDS", "0")
        .env("LOG_LEVEL", "info")
        .start();
    let addr = server.listens().await;
    let mut client = Client::connect(addr).await;
    client
        .ask(post(transaction("txn_9")))
        .await
        .acknowledged("ACCEPTED");
    let body = r#"{"id":"evt_1Nv0FG"}"#;
    let mut headers = Signer::new("github", SECRET)
        .sign("evt_1Nv0FG", SystemTime::now(), body.as_bytes())
        .unwrap();
    headers.push(("x-github-delivery".to_owned(), "evt_1Nv0FG".to_owned()));
    headers.push(("x-github-event".to_owned(), "push".to_owned()));
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    let headers: Vec<_> = headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let reply = client
        .ask(request_of("POST", "/v1/webhooks/stripe", &headers, body))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());

    let setting =
        |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let seed = setting("SCHEMATHESIS_SEED", SEED);
    let examples = setting("SCHEMATHESIS_EXAMPLES", EXAMPLES);
    let output = tokio::process::Command::new(program)
        .current_dir(files.path(""))
        .arg("--no-color")
        .arg(format!(
            "--config-file={}",
            file("schemathesis.toml").display()
        ))
        .arg("run")
        .arg(format!("http://{addr}/openapi.json"))
        .arg(format!("--header=Authorization: Bearer {token}"))
        .arg(format!("--seed={seed}"))
        .arg(format!("--max-examples={examples}"))
        .arg(phases)
        .args(["--generation-database=none", "--request-timeout=10"])
        .output()
        .await
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{log}");
}
