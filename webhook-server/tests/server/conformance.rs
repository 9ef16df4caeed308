//! `conformance`, without a database server.

use serde_json::Value;

use crate::support::files::Files;
use crate::support::process::webhook_server;

#[tokio::test]
async fn conformance_leaves_nothing_beside_the_sqlite_file() {
    let files = Files::new();
    let database = files.write("webhook.db", "not a database: it is not opened");
    let args = [
        "conformance",
        "--filter=names::",
        "--filter=transfer::a_mark",
        "--json",
    ];
    let (code, out, log) = webhook_server(&args).on_file(&database).output().await;
    assert_eq!(code, 0, "{log}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["database"], "SQLite");
    assert_eq!(report["failed"], 0);
    let themes = report["themes"].as_array().unwrap();
    let themes: Vec<_> = themes.iter().map(|it| it["theme"].as_str()).collect();
    assert_eq!(themes, [Some("names"), Some("transfer")]);
    assert!(log.contains("which is removed afterwards"), "{log}");
    let folder = std::path::Path::new(&database).parent().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn conformance_lists_cases_and_refuses_unknown_names() {
    let (code, out, log) = webhook_server(&["conformance", "--list"]).output().await;
    assert_eq!(code, 0, "{log}");
    assert!(
        out.lines()
            .any(|line| line == "claim::events_are_never_early")
    );
    let args = ["conformance", "--filter=kinds::", "--log-level=off"];
    let (code, out, log) = webhook_server(&args).output().await;
    assert_eq!(code, 0, "{log}");
    assert!(out.starts_with("memory\n"), "{out}");
    assert!(out.contains("holds   kinds"), "{out}");
    let (code, _, log) = webhook_server(&["conformance", "--filter=none::such"])
        .output()
        .await;
    assert_eq!(code, 1);
    assert!(log.contains("no case has such a name"), "{log}");
}
