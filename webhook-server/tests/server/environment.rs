//! Variables and the file `.env`.

use serde_json::json;

use crate::support::process::webhook_server;

#[tokio::test]
async fn empty_variables_count_as_unset() {
    let variables = [
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "BIND_ADDR",
        "ROLE",
        "PROCESSING_DELAY_SECONDS",
        "WEBHOOK_SECRETS",
        "API_TOKENS_FILE",
        "LOG_LEVEL",
        "LOG_FORMAT",
        "MAX_CONNECTIONS",
    ];
    for empty in ["", " ", "\n", "\"\""] {
        let mut starter = webhook_server(&[]);
        for variable in variables {
            starter = starter.env(variable, empty);
        }
        let mut process = starter.start();
        let listening = process.logs("listening").await;
        assert_eq!(listening["processing_delay_seconds"], json!(30.0));
        let log = process.logged.join("");
        assert!(log.contains("events are kept in an SQLite file"), "{log}");
    }
}

#[tokio::test]
async fn an_empty_variable_leaves_the_value_of_the_file() {
    let mut process = webhook_server(&["--database-wait-seconds=0"])
        .env_file("DATABASE_URL=postgresql://127.0.0.1:1/none\nDRAIN_SECONDS=7\n")
        .env("DATABASE_URL", "")
        .start();
    assert_eq!(process.ends().await.code(), Some(1));
    let log = process.logged.join("\n");
    assert!(
        log.contains("database not reachable") && !log.contains("IN MEMORY"),
        "{log}"
    );
}

#[tokio::test]
async fn the_last_value_in_the_file_counts() {
    let mut process = webhook_server(&[])
        .env_file("\u{feff}PROCESSING_DELAY_SECONDS=7\r\nPROCESSING_DELAY_SECONDS='8'\r\n")
        .start();
    let listening = process.logs("listening").await;
    assert_eq!(listening["processing_delay_seconds"], json!(8.0));
}

#[tokio::test]
async fn values_lose_what_env_files_and_secret_stores_leave_around_them() {
    for value in ["8\n", "\"8\"", "'8'", "\u{feff}8\r\n", " 8\u{a0}"] {
        let mut process = webhook_server(&[])
            .env("PROCESSING_DELAY_SECONDS", value)
            .env("ROLE", "\"ALL\"\n")
            .start();
        let listening = process.logs("listening").await;
        assert_eq!(
            listening["processing_delay_seconds"],
            json!(8.0),
            "{value:?}"
        );
    }
}

#[tokio::test]
async fn env_file_with_a_bad_option_is_an_error_that_quotes_nothing() {
    for (file, line) in [
        (
            "LOG_LEVEL=info\nDATABASE_URL=postgresql://app:hunter2 x@db/app\n",
            2,
        ),
        ("\u{feff}LOG_LEVEL=info\r\n\r\nDATABASE_URL hunter2\r\n", 3),
        ("DATABASE_URL=postgresql://app:hunter2$x@db/app\n", 1),
        ("WEBHOOK_SECRETS=first\nhunter2\n", 2),
    ] {
        for args in [&[][..], &["migrate"], &["status"]] {
            let (code, _, error) = webhook_server(args).env_file(file).output().await;
            assert_eq!(code, 2, "{error}");
            assert!(error.contains(&format!("line {line} of .env")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

#[tokio::test]
async fn env_file_of_another_program_is_a_warning() {
    let mut process = webhook_server(&[])
        .env_file("{\"not\": \"ours\"}\nCOMMAND=run me\nPROCESSING_DELAY_SECONDS=7\n")
        .start();
    let listening = process.logs("listening").await;
    assert_eq!(listening["processing_delay_seconds"], json!(7.0));
    let log = process.logged.join("\n");
    for line in ["line 1 of .env is ignored", "line 2 of .env is ignored"] {
        assert!(log.contains(line), "{log}");
    }
}

#[tokio::test]
async fn commands_without_options_do_not_read_the_env_file() {
    for bad in ["DATABASE_URL=a b\n", "LOG_LEVEL=loud\nROLE=boss\n"] {
        for args in [
            &["--help"][..],
            &["--version"],
            &["token", "read"],
            &["status", "--help"],
        ] {
            let (code, out, error) = webhook_server(args)
                .env_file(bad)
                .env("DRAIN_SECONDS", "never")
                .output()
                .await;
            assert_eq!(code, 0, "{args:?}: {error}");
            assert!(!out.is_empty(), "{args:?}");
        }
    }
}

#[tokio::test]
async fn health_check_ignores_bad_lines_of_the_env_file() {
    let mut process = webhook_server(&[]).start();
    let addr = process.listens().await;
    let file = format!("DATABASE_URL=a b\nROLE=boss\nBIND_ADDR={addr}\nWEBHOOK_SECRETS=x\n");
    let (code, _, log) = webhook_server(&["healthcheck"])
        .env_file(&file)
        .output()
        .await;
    assert_eq!(code, 0, "{log}");
}

#[tokio::test]
async fn secrets_in_flags_are_warned_of() {
    for (flag, is_warned) in [
        ("--webhook-secrets=hunter2hunter2", true),
        (
            "--database-url=postgresql://app:hunter2@127.0.0.1:1/app",
            true,
        ),
        ("--database-url=postgresql://app@127.0.0.1:1/app", false),
    ] {
        let scheme = match flag.contains("webhook") {
            true => "github",
            false => "none",
        };
        let mut process = webhook_server(&[flag, "--database-wait-seconds=0"])
            .env("WEBHOOK_SIGNATURE_SCHEME", scheme)
            .start();
        if flag.contains("webhook") {
            process.listens().await;
        } else {
            assert_eq!(process.ends().await.code(), Some(1));
        }
        let log = process.logged.join("\n");
        let warning = "every user of this machine can read the secret of --";
        assert_eq!(log.contains(warning), is_warned, "{log}");
    }
}

#[tokio::test]
async fn keys_are_kept_for_as_long_as_signatures_can_be_replayed() {
    let secret = "a secret of at least 24 bytes";
    for (scheme, settings, is_good) in [
        ("github", &[("RETENTION_DAYS", "29.9")][..], false),
        (
            "github",
            &[("RETENTION_DAYS", "1"), ("KEY_RETENTION_DAYS", "29")],
            false,
        ),
        (
            "github",
            &[("RETENTION_DAYS", "1"), ("KEY_RETENTION_DAYS", "30")],
            true,
        ),
        ("shopify", &[("RETENTION_DAYS", "30")], true),
        ("stripe", &[("RETENTION_DAYS", "0.006")], false),
        ("stripe", &[("RETENTION_DAYS", "0.007")], true),
        (
            "cashfree",
            &[
                ("RETENTION_DAYS", "1"),
                ("WEBHOOK_TOLERANCE_SECONDS", "86400"),
            ],
            false,
        ),
    ] {
        let mut starter = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", scheme)
            .env("WEBHOOK_SECRETS", secret);
        for (name, value) in settings {
            starter = starter.env(name, value);
        }
        let mut process = starter.start_for_people();
        if is_good {
            process.listens().await;
        } else {
            assert_eq!(
                process.ends().await.code(),
                Some(2),
                "{scheme} {settings:?}"
            );
            let log = process.logged.join("\n");
            assert!(log.contains("KEY_RETENTION_DAYS is too short"), "{log}");
        }
    }
    for (args, is_refused) in [
        (&["prune", "--older-than=29d"][..], true),
        (&["prune", "--older-than=1d", "--keep-keys=30d"], false),
        (&["prune", "--older-than=1d", "--force"], false),
    ] {
        let (code, _, error) = webhook_server(args)
            .env("WEBHOOK_SIGNATURE_SCHEME", "github")
            .env("WEBHOOK_SECRETS", secret)
            .env("DATABASE_URL", "postgresql://127.0.0.1:1/none")
            .env("DATABASE_WAIT_SECONDS", "0")
            .output()
            .await;
        assert_eq!(code, if is_refused { 2 } else { 1 }, "{error}");
        assert_eq!(
            error.contains("delete keys too early"),
            is_refused,
            "{error}"
        );
    }
}

#[tokio::test]
async fn keys_deleted_early_are_warned_of_where_the_scheme_is_unknown() {
    let warning = "a captured delivery whose signature has no timestamp is then accepted as new";
    for (args, is_warned) in [
        (&["--role=worker", "--retention-days=29"][..], true),
        (&["--role=worker", "--retention-days=30"], false),
        (&["prune", "--older-than=29d"], true),
        (&["prune", "--older-than=29d", "--force"], false),
        (&["prune", "--older-than=30d"], false),
    ] {
        let (code, _, log) = webhook_server(args)
            .env("BIND_ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", "postgresql://127.0.0.1:1/none")
            .env("DATABASE_WAIT_SECONDS", "0")
            .output()
            .await;
        assert_eq!(code, 1, "{log}");
        assert_eq!(log.contains(warning), is_warned, "{args:?}: {log}");
    }
}

#[tokio::test]
async fn dangerous_settings_are_warned_of() {
    for (settings, warning) in [
        (
            &[("WEBHOOK_TOLERANCE_SECONDS", "601")][..],
            Some("WEBHOOK_TOLERANCE_SECONDS is 601"),
        ),
        (&[("WEBHOOK_TOLERANCE_SECONDS", "600")], None),
    ] {
        let mut starter = webhook_server(&[])
            .env("WEBHOOK_SIGNATURE_SCHEME", "stripe")
            .env("WEBHOOK_SECRETS", "a secret of at least 24 bytes");
        for (name, value) in settings {
            starter = starter.env(name, value);
        }
        let mut process = starter.start();
        process.listens().await;
        let log = process.logged.join("\n");
        let expected = warning.unwrap_or("WEBHOOK_TOLERANCE_SECONDS");
        assert_eq!(log.contains(expected), warning.is_some(), "{log}");
    }
    let (_, digest) = crate::support::signed::token("operate").await;
    let mut process = webhook_server(&["--insecure", "--operator-addr=0.0.0.0:0"])
        .env("API_TOKENS", &digest)
        .start_on("0.0.0.0:0");
    process.listens().await;
    let log = process.logged.join("\n");
    for warning in [
        "OPERATOR_ADDR 0.0.0.0:0 is reached without TLS",
        "BIND_ADDR 0.0.0.0:0 is reached without TLS",
    ] {
        assert!(log.contains(warning), "{log}");
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn core_dumps_are_forbidden() {
    let mut process = webhook_server(&[]).start();
    process.listens().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let soft = limit.unwrap().split_whitespace().nth(4).unwrap();
    assert!(["0", "1"].contains(&soft), "{limits}");
}
