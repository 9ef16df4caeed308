//! The load bench, with every scenario at a small size.

use std::path::Path;
use std::process::Command;

#[test]
fn every_scenario_runs_and_loses_nothing() {
    let load = Path::new(env!("CARGO_BIN_EXE_load"));
    let server = load.with_file_name("webhook-server");
    assert!(
        server.exists(),
        "the server is not built: cargo build -p webhook-server --all-features"
    );
    let report = load.with_file_name("load-quick.html");
    let ended = Command::new(load)
        .args(["--quick", "--server"])
        .arg(server)
        .arg("--html")
        .arg(report)
        .status()
        .expect("start the load bench");
    assert!(ended.success(), "the load bench {ended}");
}
