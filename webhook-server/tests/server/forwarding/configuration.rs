//! What the configuration says of destinations, and what is wrong with it.

use super::*;
use crate::support::tls::Authority;

/// `check` with this source, and these files beside it.
async fn check(toml: &str, files: &[(&str, &str)]) -> (i32, String, String) {
    let setup = Setup::new(toml);
    for (name, content) in files {
        setup.files.write(name, content);
    }
    setup
        .server(&["check"])
        .env("FORWARD_SECRETS", KEY)
        .output()
        .await
}

#[tokio::test]
async fn check_says_where_events_go_and_how() {
    let more = "[sources.github.forward]\nurl = \"http://127.0.0.1:3000/hooks?key=hidden\"\nrate = \"5/s\"\n\
                fail_on = [\"400\"]\npass_headers = [\"x-github-event\"]\nheaders = { x-api-key = \"file:secret\" }\n\
                give_up_after = \"2d\"";
    let (code, out, log) = check(&source(more), &[]).await;
    assert_eq!(
        (code, log.contains("warning: ")),
        (0, log.contains("may use the file of")),
        "{log}"
    );
    for line in [
        "forwarded to http://127.0.0.1:3000/hooks\n",
        "signed with  1 key from FORWARD_SECRETS\n",
        "attempts     13 over 76h 43m; the first delay is 5s, the last one 1d, each ±20 %; none after 2d\n",
        "requests     32 at the same time, 15s for each, of which 5s to connect, 5/s with a burst of 5\n",
        "fails on     400\n",
        "passes on    x-github-event\n",
        "adds headers x-api-key\n",
    ] {
        assert!(out.contains(line), "{line} is missing: {out}");
    }
    assert!(!out.contains("hidden"), "{out}");

    let setup = Setup::new(&source(more));
    let sources = setup.server(&["sources"]).env("FORWARD_SECRETS", KEY);
    let (_, out, _) = sources.output().await;
    assert!(
        out.contains("DESTINATION") && out.contains("  127.0.0.1:3000  "),
        "{out}"
    );
}

#[tokio::test]
async fn check_reads_the_files_of_destinations() {
    let authority = Authority::new();
    let (own, other) = (authority.issue(), authority.issue());
    let tls = source(
        "[sources.github.forward]\nurl = \"https://127.0.0.1/\"\nca = \"ca.pem\"\n\
         client_certificate = \"client.pem\"\nclient_key = \"client.key\"\n",
    );
    let ca = authority.pem();
    let (code, _, log) = check(
        &tls,
        &[
            ("ca.pem", &ca),
            ("client.pem", &own.cert),
            ("client.key", &own.key),
        ],
    )
    .await;
    assert_eq!(code, 0, "{log}");
    for (files, place) in [
        (
            [
                ("ca.pem", "no PEM"),
                ("client.pem", &own.cert),
                ("client.key", &own.key),
            ],
            "webhook.toml:6:6: sources.github.forward.ca: it contains no line -----BEGIN",
        ),
        (
            [
                ("ca.pem", ca.as_str()),
                ("client.pem", &own.key),
                ("client.key", &own.key),
            ],
            "webhook.toml:7:22: sources.github.forward.client_certificate: it contains no certificate",
        ),
        (
            [
                ("ca.pem", &ca),
                ("client.pem", &own.cert),
                ("client.key", &other.key),
            ],
            "webhook.toml:8:14: sources.github.forward.client_key: ",
        ),
    ] {
        let (code, _, log) = check(&tls, &files).await;
        assert!(code == 1 && log.contains(place), "{place}: {log}");
    }
}

#[tokio::test]
async fn wrong_forward_url_and_keys_are_refused_without_quoting_them() {
    let remote = "https://app.example.com/hooks?key=not-to-be-shown";
    for (variables, code, part) in [
        (
            &[("FORWARD_URL", remote)][..],
            1,
            "FORWARD_URL needs FORWARD_SECRETS",
        ),
        (
            &[(
                "FORWARD_URL",
                "https://user:not-to-be-shown@app.example.com",
            )],
            2,
            "FORWARD_URL (--forward-url), which is not shown: expected a URL such as",
        ),
        (
            &[
                ("FORWARD_URL", "http://169.254.169.254/not-to-be-shown"),
                ("FORWARD_SECRETS", KEY),
            ],
            2,
            "169.254.169.254 is a link-local address",
        ),
        (
            &[
                ("FORWARD_URL", remote),
                ("FORWARD_SECRETS", "not-to-be-shown"),
            ],
            1,
            "invalid FORWARD_SECRETS or FORWARD_SECRETS_FILE",
        ),
        (
            &[
                ("FORWARD_URL", remote),
                ("FORWARD_SECRETS", KEY),
                ("FORWARD_SECRETS_FILE", "keys"),
            ],
            2,
            "FORWARD_SECRETS and FORWARD_SECRETS_FILE are both set",
        ),
    ] {
        let server = |args: &[&str]| {
            let starter = webhook_server(args);
            variables
                .iter()
                .fold(starter, |it, (name, value)| it.env(name, value))
        };
        let (ended, _, log) = server(&[]).output().await;
        assert_eq!(ended, code, "{log}");
        assert!(
            log.contains(part) && !log.contains("not-to-be-shown"),
            "{part}: {log}"
        );
        let (_, _, log) = server(&["check"]).output().await;
        assert!(
            log.contains(part) && !log.contains("not-to-be-shown"),
            "{part}: {log}"
        );
    }
}

#[tokio::test]
async fn keys_in_flags_are_warned_of() {
    let flag = format!("--forward-secrets={KEY}");
    let mut process = webhook_server(&[&flag]).start();
    process.listens().await;
    let log = process.logged.join("\n");
    assert!(
        log.contains("set FORWARD_SECRETS_FILE or FORWARD_SECRETS instead"),
        "{log}"
    );
}
