//! Files and variables with secrets: the forms that editors and secret stores give them, and limits on
//! reading them.

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::process::{Process, webhook_server};
use crate::support::signed::{Signer, signed, token};
use crate::support::tls::Authority;
use crate::support::{secrets, transaction};

const SECRET: &str = "whsec_c2VjcmV0IGZpbGVzIG9mIHNldmVyYWwgZWRpdG9ycw==";

/// The bytes that editors and secret stores make of a line of text.
fn written(text: &str) -> Vec<Vec<u8>> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| {
        let units: Vec<u16> = format!("\u{feff}{text}\r\n").encode_utf16().collect();
        units.into_iter().flat_map(bytes).collect()
    };
    let mut written: Vec<Vec<u8>> = [
        text.to_owned(),
        format!("{text}\n"),
        format!("\u{feff}{text}\r\n"),
        format!("{text}\r"),
        format!("{text}\0"),
        format!("\u{a0}{text}\u{200b}\n\n"),
        format!("\"{text}\"\n"),
        format!("'{text}'"),
        format!("# comment\n\n{text}\n"),
        format!("{text}\\n"),
    ]
    .map(String::into_bytes)
    .into();
    written.push(utf16(u16::to_le_bytes));
    written.push(utf16(u16::to_be_bytes));
    written
}

/// Fails unless the server takes what `signer` signs.
async fn assert_takes(process: &mut Process, signer: &Signer, what: &str) {
    let mut client = Client::connect(process.listens().await).await;
    let reply = client.ask(signed(signer, &transaction("tx-1"))).await;
    assert_eq!(reply.status, 202, "{what}");
}

#[tokio::test]
async fn secrets_are_read_in_every_common_form() {
    let files = Files::new();
    let standard = Signer::new("standard-webhooks", SECRET);
    let mut cases = written(SECRET);
    cases.extend([
        format!("WEBHOOK_SECRETS={SECRET}\n").into_bytes(),
        format!("export WEBHOOK_SECRETS=\"{SECRET}\"\r\n").into_bytes(),
        format!("v1,{SECRET}").into_bytes(),
    ]);
    for content in cases {
        let what = String::from_utf8_lossy(&content).into_owned();
        let mut process = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
            .env("WEBHOOK_SECRETS_FILE", &files.write("secrets", &content))
            .start();
        assert_takes(&mut process, &standard, &what).await;
        if !content.contains(&0) {
            let mut process = webhook_server(&[])
                .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
                .env("WEBHOOK_SECRETS", &what)
                .start();
            assert_takes(&mut process, &standard, &what).await;
        }
    }
}

#[tokio::test]
async fn a_secret_may_contain_blanks_and_commas() {
    let files = Files::new();
    let secret = "It's a Secret, to Everybody";
    let signer = Signer::new("github", secret);
    for (name, value) in [
        ("WEBHOOK_SECRETS", secret.to_owned()),
        (
            "WEBHOOK_SECRETS_FILE",
            files.write("secrets", format!("{secret}\n")),
        ),
    ] {
        let mut process = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", "github")
            .env(name, &value)
            .start();
        assert_takes(&mut process, &signer, name).await;
        let warned = process
            .logged
            .join("\n")
            .contains("WEBHOOK_SECRETS contains a comma or");
        assert_eq!(warned, name == "WEBHOOK_SECRETS");
    }
}

#[tokio::test]
async fn several_secrets_in_one_line_are_refused() {
    for scheme in ["standard-webhooks", "stripe", "github"] {
        let mut process = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", scheme)
            .env("WEBHOOK_SECRETS", &format!("{SECRET},{SECRET}"))
            .start();
        assert_eq!(process.ends().await.code(), Some(1));
        let log = process.logged.join("\n");
        assert!(
            log.contains("line 1 contains several secrets; write one secret per line"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn tokens_are_read_in_every_common_form() {
    let files = Files::new();
    let (reader, digest) = token("read").await;
    let request = format!(
        "GET /v1/transactions/none HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {reader}\r\n\r\n"
    );
    for content in written(&digest) {
        let file = files.write("tokens", &content);
        let mut process = webhook_server(&[]).env("API_TOKENS_FILE", &file).start();
        let mut client = Client::connect(process.listens().await).await;
        let what = String::from_utf8_lossy(&content).into_owned();
        assert_eq!(client.ask(&request).await.status, 404, "{what}");
    }
}

#[tokio::test]
async fn private_keys_are_read_with_any_line_breaks() {
    let (authority, files) = (Authority::new(), Files::new());
    let identity = authority.issue();
    let lost = |pem: &str, line_break: &str| pem.replace("\r\n", "\n").replace('\n', line_break);
    for line_break in ["\\n", "\\r\\n", "", " ", "\r\n", "\r", "\n\n"] {
        let cert = format!("\u{feff}{}", lost(&identity.cert, line_break));
        let key = format!("\"{}\"", lost(identity.key.trim(), line_break));
        let mut process = webhook_server(&[])
            .env("TLS_CERT_FILE", &files.write("cert.pem", cert))
            .env("TLS_KEY_FILE", &files.write("key.pem", key))
            .start();
        let addr = process.listens().await;
        let config = authority.client(&[&rustls::version::TLS13], None);
        let mut client = Client::shake(addr, config).await.unwrap();
        assert_eq!(client.get("/").await.status, 200, "{line_break:?}");
    }
}

#[tokio::test]
async fn an_emptied_file_changes_nothing() {
    let files = Files::new();
    let (reader, digest) = token("read").await;
    let (tokens, secret) = (
        files.write("tokens", &digest),
        files.write("secrets", SECRET),
    );
    let mut process = webhook_server(&[])
        .env("API_TOKENS_FILE", &tokens)
        .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
        .env("WEBHOOK_SECRETS_FILE", &secret)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    let request = format!(
        "GET /v1/transactions/none HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {reader}\r\n\r\n"
    );
    for (name, content) in [("tokens", &digest[..]), ("secrets", SECRET)] {
        for empty in ["", "\n", "\u{feff}\r\n", "# nobody\n"] {
            files.write(name, empty);
            process.signal(Signal::HUP);
            process
                .logs(
                    "failed to reload secrets, tokens and certificates; the current ones stay in use",
                )
                .await;
            assert_eq!(client.ask(&request).await.status, 404, "{name} {empty:?}");
        }
        files.write(name, content);
    }
}

#[tokio::test]
async fn a_pipe_without_a_writer_does_not_delay_a_stop() {
    let files = Files::new();
    let pipe = files.pipe("pipe");
    // At the start.
    let mut process = webhook_server(&[]).env("API_TOKENS_FILE", &pipe).start();
    process.signals_are_caught().await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    assert!(
        process
            .logged
            .join("")
            .contains("stopped before the server was ready")
    );
    // On a reload.
    let (_, digest) = token("read").await;
    let tokens = files.write("tokens", &digest);
    let mut process = webhook_server(&[]).env("API_TOKENS_FILE", &tokens).start();
    process.listens().await;
    std::fs::rename(&pipe, &tokens).unwrap();
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    let log = process.logged.join("\n");
    assert!(
        log.contains("stopped") && !log.contains("no complete content"),
        "{log}"
    );
}

#[tokio::test]
async fn reload_requested_during_the_start_follows_it() {
    let files = Files::new();
    let (pipe, (_, digest)) = (files.pipe("pipe"), token("read").await);
    let mut process = webhook_server(&[]).env("API_TOKENS_FILE", &pipe).start();
    process.signals_are_caught().await;
    process.signal(Signal::HUP);
    let write = || {
        let (pipe, digest) = (pipe.clone(), digest.clone());
        tokio::task::spawn_blocking(move || std::fs::write(pipe, digest))
    };
    write().await.unwrap().unwrap();
    process.listens().await;
    write().await.unwrap().unwrap();
    process
        .logs("secrets, tokens and certificates reloaded")
        .await;
}

#[tokio::test]
async fn a_pipe_with_a_writer_is_read_to_its_end() {
    let files = Files::new();
    let pipe = files.pipe("pipe");
    let mut process = webhook_server(&[])
        .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
        .env("WEBHOOK_SECRETS_FILE", &pipe)
        .start();
    let writing = std::thread::spawn(move || std::fs::write(pipe, SECRET));
    let signer = Signer::new("standard-webhooks", SECRET);
    assert_takes(&mut process, &signer, "a pipe").await;
    writing.join().unwrap().unwrap();
}

#[tokio::test]
async fn files_without_end_and_directories_are_refused() {
    let files = Files::new();
    for (path, expected) in [
        ("/dev/zero".to_owned(), "it has more than 1048576 bytes"),
        (
            files.write("long", "x\n".repeat(1 << 20)),
            "it has more than 1048576 bytes",
        ),
        (files.path("."), "it is a directory; name a file"),
        (files.write("nul", "a\0b"), "it contains NUL bytes"),
        (files.write("latin1", b"caf\xe9"), "it is not UTF-8 text"),
    ] {
        for name in ["API_TOKENS_FILE", "DATABASE_URL_FILE", "TLS_KEY_FILE"] {
            let cert = files.write("cert.pem", Authority::new().pem());
            let mut starter = webhook_server(&[]).env(name, &path);
            if name == "TLS_KEY_FILE" {
                starter = starter.env("TLS_CERT_FILE", &cert);
            }
            let mut process = starter.start();
            assert_eq!(process.ends().await.code(), Some(1));
            let log = process.logged.join("\n");
            assert!(log.contains(expected) && log.contains(name), "{log}");
        }
    }
}

#[tokio::test]
async fn pipe_without_a_writer_times_out() {
    let files = Files::new();
    let mut process = webhook_server(&[])
        .env("API_TOKENS_FILE", &files.pipe("pipe"))
        .start();
    assert_eq!(process.ends().await.code(), Some(1));
    let log = process.logged.join("\n");
    assert!(
        log.contains("did not deliver all of its content within 5s"),
        "{log}"
    );
}

#[tokio::test]
async fn a_database_url_file_is_read() {
    let files = Files::new();
    let url = "postgresql://app:hunter2@127.0.0.1:1/none";
    secrets::keep("hunter2");
    let assigned = format!("DATABASE_URL='{url}'\n");
    for content in written(url).into_iter().chain([assigned.into_bytes()]) {
        let mut process = webhook_server(&["--database-wait-seconds=0"])
            .env("DATABASE_URL_FILE", &files.write("url", content))
            .start();
        assert_eq!(process.ends().await.code(), Some(1));
        let log = process.logged.join("\n");
        assert!(log.contains("database not reachable within"), "{log}");
    }
    let two = files.write("url", format!("{url}\n{url}\n"));
    let mut process = webhook_server(&[]).env("DATABASE_URL_FILE", &two).start();
    assert_eq!(process.ends().await.code(), Some(1));
    let log = process.logged.join("\n");
    assert!(
        log.contains("the file of DATABASE_URL_FILE must contain one line"),
        "{log}"
    );
    let (code, _, log) = webhook_server(&[])
        .env("DATABASE_URL", url)
        .env("DATABASE_URL_FILE", &two)
        .output()
        .await;
    assert_eq!(code, 2);
    assert!(log.contains("are both set"), "{log}");
}

#[tokio::test]
#[cfg(unix)]
async fn files_that_others_can_access_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let files = Files::new();
    let secret = files.write("secrets", SECRET);
    for (mode, is_warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&secret, permissions).unwrap();
        let mut process = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", "standard-webhooks")
            .env("WEBHOOK_SECRETS_FILE", &secret)
            .start();
        process.listens().await;
        let log = process.logged.join("\n");
        let warning = "other users of this machine may use the file of WEBHOOK_SECRETS_FILE";
        assert_eq!(log.contains(warning), is_warned, "{mode:o}: {log}");
    }
}
