//! The commands that ask a running server: refused, and sources with what it has received.

use super::*;
use crate::support::signed::token;
use crate::support::until;

#[tokio::test]
async fn commands_show_what_the_running_server_has_received_and_refused() {
    let setup = Setup::new(
        "[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\nexpect_every = \"1s\"\n",
    );
    let (token, digest) = token("operate").await;
    let mut process = setup.server(&[]).env("API_TOKENS", &digest).start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    assert_stored(&client.ask(Sender::of("github").github("a", "{}")).await);
    let forger = Sender::preset("github", "github", OTHER_SECRET);
    assert_refused(&client.ask(forger.github("a", "{}")).await);
    let url = format!("--url=http://{addr}");
    let run = async |args: &[&str]| {
        let command = setup.server(&[args, &[url.as_str()]].concat());
        command.env("WEBHOOK_SERVER_TOKEN", &token).output().await
    };
    let (code, out, log) = run(&["refused", "github"]).await;
    assert_eq!(code, 0, "{log}");
    for part in [
        "127.0.0.1  POST 401  no signature matches",
        "    x-github-event: push",
        "    x-hub-signature-256: sha256=",
        "(71 bytes)",
        "    body of 2 bytes",
        "1 of 1 request that was refused since the server started",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, out, _) = run(&["refused", "github", "--json", "--limit=1"]).await;
    let request: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(
        (code, &request["reason"]),
        (0, &"no signature matches".into())
    );
    let (code, _, log) = run(&["refused", "nobody"]).await;
    assert!(
        code == 1 && log.contains("404 Not Found: Source not found"),
        "{log}"
    );

    let (code, out, log) = run(&["sources"]).await;
    assert!(
        code == 0 && out.contains("received 1, latest 20"),
        "{out}{log}"
    );
    assert!(out.contains("refused 1, latest 20"), "{out}");
    until("the source is silent", async || {
        let (_, out, _) = run(&["sources", "--json"]).await;
        let source: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
        assert_eq!(source["running"]["received"], 1);
        source["running"]["silent_since"].is_string()
    })
    .await;

    // Without a token, the list is that of the file, and the other command says what it needs.
    let (code, out, _) = setup.server(&["sources"]).output().await;
    assert!(code == 0 && !out.contains("received"), "{out}");
    let (code, _, log) = setup.server(&["refused", "github", &url]).output().await;
    assert!(code == 1 && log.contains("WEBHOOK_SERVER_TOKEN"), "{log}");
    let flag = format!("--token={token}");
    let (code, _, log) = setup
        .server(&["refused", "github", &url, &flag])
        .output()
        .await;
    assert!(
        code == 0 && log.contains("set WEBHOOK_SERVER_TOKEN instead"),
        "{log}"
    );
}
