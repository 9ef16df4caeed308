//! The server as a process: its command line, environment, log and exit.

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Client, post};
use crate::support::process::{OPERATOR_COMMANDS, webhook_server};
use crate::support::{transaction, until};

#[tokio::test]
async fn help_explains_every_option_with_its_variable_and_default() {
    let (code, help, _) = webhook_server(&["--help"]).output().await;
    assert_eq!(code, 0);
    for (variable, default) in [
        ("DATABASE_URL", None),
        ("DATABASE_URL_FILE", None),
        ("BIND_ADDR", Some("127.0.0.1:8000")),
        ("ROLE", Some("all")),
        ("PROCESSING_DELAY_SECONDS", Some("30")),
        ("PROCESSING_STALE_TIMEOUT_SECONDS", Some("120")),
        ("LOG_LEVEL", Some("info")),
        ("LOG_FORMAT", Some("human")),
        ("MIGRATE", Some("auto")),
        ("DATABASE_WAIT_SECONDS", Some("30")),
        ("DATABASE_POOL_SIZE", Some("8")),
        ("MEMORY_CAPACITY", Some("1000000")),
        ("MEMORY_MAX_BYTES", Some("268435456")),
        ("MAX_ATTEMPTS", Some("25")),
        ("WORKER_CONCURRENCY", Some("256")),
        ("REQUEUE_FAILED_ON_REDELIVERY", Some("false")),
        ("ACCEPT_TIMEOUT_SECONDS", Some("3")),
        ("MAX_QUEUED", Some("8192")),
        ("MAX_QUEUED_BYTES", Some("67108864")),
        ("MAX_BODY_BYTES", Some("1048576")),
        ("BODY_TIMEOUT_SECONDS", Some("10")),
        ("HEADER_TIMEOUT_SECONDS", Some("30")),
        ("MAX_CONNECTIONS", Some("10000")),
        ("DRAIN_SECONDS", Some("25")),
    ] {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        let option = help
            .split("\n      --")
            .find(|option| option.starts_with(&format!("{} ", &flag[2..])))
            .unwrap_or_else(|| panic!("{flag} is missing: {help}"));
        assert!(option.contains(&format!("[env: {variable}")), "{option}");
        if let Some(default) = default {
            assert!(
                option.contains(&format!("[default: {default}]")),
                "{option}"
            );
        }
    }
    assert!(help.contains("migrate") && help.contains("healthcheck"));
}

#[tokio::test]
async fn wrong_values_are_reported_with_what_is_expected() {
    for (variable, value, right) in [
        ("BIND_ADDR", "nowhere", "such as 127.0.0.1:8000"),
        ("PROCESSING_DELAY_SECONDS", "soon", "such as 30 or 2.5"),
        ("PROCESSING_DELAY_SECONDS", "-1", "such as 30 or 2.5"),
        ("PROCESSING_STALE_TIMEOUT_SECONDS", "0", "from 1 to"),
        ("LOG_LEVEL", "loud", "info, debug or trace"),
        ("LOG_FORMAT", "xml", "expected one of human, json"),
        ("ROLE", "boss", "expected one of all, api, worker"),
        ("MIGRATE", "yes", "expected one of auto, off"),
        ("MAX_BODY_BYTES", "1MB", "whole number of at least 1"),
        ("MAX_CONNECTIONS", "0", "whole number of at least 1"),
        ("DATABASE_POOL_SIZE", "many", "whole number from 1"),
    ] {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        let by_variable = webhook_server(&[]).env(variable, value);
        let by_flag = webhook_server(&[&format!("{flag}={value}")]);
        let by_file = webhook_server(&[]).env_file(format!("{variable}={value}\n"));
        for starter in [by_variable, by_flag, by_file] {
            let (code, _, error) = starter.output().await;
            assert_eq!(code, 2, "{error}");
            for part in [variable, &flag, &format!("{value:?}"), right] {
                assert!(error.contains(part), "{part} is missing: {error}");
            }
        }
    }
}

#[tokio::test]
async fn options_without_their_values_are_reported() {
    for args in [&["conformance", "--filter"][..], &["--bind-addr"]] {
        let (code, _, error) = webhook_server(args).output().await;
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("a value is required"), "{error}");
    }
}

#[tokio::test]
async fn contradicting_options_are_rejected() {
    for args in [&["--role=api"][..], &["--role=worker"], &["migrate"]] {
        let (code, _, error) = webhook_server(args).output().await;
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("DATABASE_URL"), "{error}");
    }
}

#[tokio::test]
async fn wrong_database_url_is_an_error_without_the_password() {
    for url in [
        "mysql://app:hunter2@127.0.0.1/app",
        "postgresql://app:hunter2@127.0.0.1/app?sslmode=maybe",
        "sqlite:webhook.db postgres://app:hunter2@127.0.0.1/app",
        "hunter2",
    ] {
        for args in [&[][..], &["migrate"]] {
            let (code, _, error) = webhook_server(args).env("DATABASE_URL", url).output().await;
            assert_eq!(code, 1, "{error}");
            assert!(error.contains("DATABASE_URL"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

#[tokio::test]
async fn unreachable_database_is_an_error_after_a_bounded_wait() {
    // Bound and not listening: refuses every connection.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let url = format!("postgresql://app:hunter2@127.0.0.1:{port}/app");
    let mut process = webhook_server(&["--database-wait-seconds=1"])
        .env("DATABASE_URL", &url)
        .start();
    process.logs("database not reachable yet").await;
    assert_eq!(process.ends().await.code(), Some(1));
    let log = process.logged.join("\n");
    assert!(log.contains("database not reachable within 1s"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

/// Whoever runs a command waits for its answer. With the wait of a server, this test would not end.
#[tokio::test]
async fn commands_do_not_wait_for_a_database_as_a_server_does() {
    let commands = OPERATOR_COMMANDS.iter().map(async |args| {
        let (code, _, error) = webhook_server(args)
            .env("DATABASE_URL", "postgresql://127.0.0.1:1/none")
            .env("DATABASE_WAIT_SECONDS", "3600")
            .output()
            .await;
        assert_eq!(code, 1, "{args:?}: {error}");
        let expected = "database not reachable within 5s";
        assert!(error.contains(expected), "{args:?}: {error}");
    });
    join_all(commands).await;
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_the_database() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut process = webhook_server(&["--database-wait-seconds=3600"])
        .env(
            "DATABASE_URL",
            &format!("postgresql://127.0.0.1:{port}/app"),
        )
        .start();
    process.logs("database not reachable yet").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
}

#[tokio::test]
async fn address_in_use_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (code, _, error) = webhook_server(&[]).env("BIND_ADDR", &addr).output().await;
    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains(&format!("cannot listen on BIND_ADDR {addr}")),
        "{error}"
    );
}

#[tokio::test]
async fn server_without_database_warns_that_events_are_in_memory() {
    let mut process = webhook_server(&["--processing-delay-seconds=0.05"]).start();
    let addr = process.listens().await;
    let log = process.logged.join("\n");
    assert!(
        log.contains("events are kept IN MEMORY and do not survive a restart"),
        "{log}"
    );
    assert!(log.contains(r#""level":"WARN""#), "{log}");
    let mut client = Client::connect(addr).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    let processed = process.logs("transaction processed").await;
    assert_eq!(processed["transaction_id"], "tx-1");
    assert_eq!(processed["amount"], "1500.50");
    until("it is processed", async || {
        client.get("/v1/transactions/tx-1").await.json()["status"] == "PROCESSED"
    })
    .await;
}

#[tokio::test]
async fn the_log_holds_no_secrets_and_no_full_accounts() {
    let mut process =
        webhook_server(&["--processing-delay-seconds=0", "--log-level=trace"]).start();
    let addr = process.listens().await;
    let mut client = Client::connect(addr).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    client
        .post("{\"source_account\":\"DE89370400440532013000\"")
        .await
        .problem(400);
    client
        .post(
            transaction("tx-2").replace("GB29NWBK60161331926819", "DE89370400440532013000\\u0000"),
        )
        .await
        .problem(422);
    let processed = process.logs("transaction processed").await;
    assert_eq!(processed["source_account"], "****3000");
    assert_eq!(processed["destination_account"], "****6819");
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    let log = process.logged.join("\n");
    for account in ["DE89370400440532013000", "GB29NWBK60161331926819"] {
        assert!(!log.contains(account), "{log}");
    }
}

#[tokio::test]
async fn variables_win_over_the_file_and_flags_over_variables() {
    let file = "PROCESSING_DELAY_SECONDS=7\nPROCESSING_STALE_TIMEOUT_SECONDS=77\nLOG_LEVEL=INFO\nDRAIN_SECONDS=\n";
    let mut process = webhook_server(&[]).env_file(file).start();
    process.logs("listening").await;
    let mut process = webhook_server(&[])
        .env_file(file)
        .env("PROCESSING_DELAY_SECONDS", "8")
        .start();
    let listening = process.logs("listening").await;
    assert_eq!(listening["processing_delay_seconds"], json!(8.0));
    assert_eq!(listening["lease_seconds"], json!(77.0));
    let mut process = webhook_server(&["--processing-delay-seconds=9.5"])
        .env_file(file)
        .env("PROCESSING_DELAY_SECONDS", "8")
        .start();
    let listening = process.logs("listening").await;
    assert_eq!(listening["processing_delay_seconds"], json!(9.5));
}

#[tokio::test]
async fn text_logs_have_no_colours_without_a_terminal() {
    let (_, _, log) = webhook_server(&["--bind-addr=256.0.0.1:0"]).output().await;
    assert!(log.starts_with("error: invalid value"), "{log}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (_, _, log) = webhook_server(&["--bind-addr", &addr]).output().await;
    assert!(log.contains(" ERROR "), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[tokio::test]
async fn the_first_signal_drains() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = webhook_server(&["--drain-seconds=50"]).start();
        let addr = process.listens().await;
        let whole = post(transaction("tx-1"));
        let mut idle = Client::connect(addr).await;
        assert_eq!(idle.get("/").await.status, 200);
        let mut busy = Client::connect(addr).await;
        busy.send(&whole[..whole.len() - 1]).await;
        assert_eq!(Client::connect(addr).await.get("/").await.status, 200);
        process.signal(signal);
        idle.closed().await;
        let reply = busy.ask(&whole[whole.len() - 1..]).await;
        reply.acknowledged("ACCEPTED");
        busy.closed().await;
        assert_eq!(process.ends().await.code(), Some(0));
        assert!(process.logged.last().unwrap().contains("stopped"));
    }
}

#[tokio::test]
async fn the_second_signal_stops_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut process =
            webhook_server(&["--drain-seconds=3600", "--body-timeout-seconds=3600"]).start();
        let addr = process.listens().await;
        let whole = post(transaction("tx-1"));
        let mut busy = Client::connect(addr).await;
        busy.send(&whole[..whole.len() - 1]).await;
        assert_eq!(Client::connect(addr).await.get("/").await.status, 200);
        process.signal(Signal::TERM);
        process
            .logs("shutting down; a second signal stops at once")
            .await;
        process.signal(second);
        assert_eq!(process.ends().await.code(), Some(code));
    }
}

#[tokio::test]
async fn health_check_fails_without_a_live_server() {
    let mut process = webhook_server(&[]).start();
    let addr = process.listens().await;
    let check = || {
        let starter = webhook_server(&["healthcheck"]).env("BIND_ADDR", &addr.to_string());
        // Which database a server has is none of its business.
        starter.env("ROLE", "api").output()
    };
    let (code, _, log) = check().await;
    assert_eq!(code, 0, "{log}");
    process.signal(Signal::TERM);
    process.ends().await;
    let (code, _, log) = check().await;
    assert_eq!(code, 1);
    assert!(
        log.contains(&format!("no server answers on {addr}")),
        "{log}"
    );
}
