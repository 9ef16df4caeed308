//! The load bench, with every scenario at a small size. The tests run at the same time.

use std::path::Path;
use std::process::Command;

#[test]
fn every_scenario_runs_on_postgres_and_loses_nothing() {
    run("postgres");
}

#[test]
fn every_scenario_runs_on_sqlite_and_in_memory_and_loses_nothing() {
    run("sqlite,memory");
}

fn run(backends: &str) {
    let load = Path::new(env!("CARGO_BIN_EXE_load"));
    let server = load.with_file_name("webhook-server");
    assert!(
        server.exists(),
        "the server is not built: cargo build -p webhook-server --all-features"
    );
    let report = load.with_file_name(format!("load-quick-{backends}.html"));
    let ended = Command::new(load)
        .args(["--quick", "--backend", backends, "--server"])
        .arg(server)
        .arg("--html")
        .arg(report)
        .status()
        .expect("start the load bench");
    assert!(ended.success(), "the load bench {ended}");
}
