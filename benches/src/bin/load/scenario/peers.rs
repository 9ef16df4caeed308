//! The same job through other queues: `benches/peers` does it, in a process of its own for each.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::machine::BUILD;
use crate::report::{Peer, Section};

const IN_RUST: [&str; 2] = ["graphile_worker", "apalis-postgres"];
const IN_NODE: [&str; 2] = ["graphile-worker.mjs", "pg-boss.mjs"];

const PATIENCE: Duration = Duration::from_mins(20);

pub(super) async fn run(bench: &mut Bench, section: &mut Section) -> anyhow::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let program = build(&sources).await?;
    let with = |queue: &str| {
        let mut command = Command::new(&program);
        command.arg(queue);
        command
    };
    section
        .peers
        .push(measure(bench, "inbox", with("inbox")).await?);
    for queue in IN_RUST {
        note(bench, section, queue, with(queue)).await;
    }

    let Some(folder) = install(&sources).await? else {
        bench
            .progress
            .say("  Node or npm is missing: its queues are left out");
        return Ok(());
    };
    for script in IN_NODE {
        let mut command = Command::new("node");
        command.arg(script).current_dir(&folder);
        note(bench, section, script, command).await;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Builds the program that knows the queues written in Rust.
async fn build(sources: &Path) -> anyhow::Result<PathBuf> {
    let build = std::env::current_exe()?;
    let targets = build
        .ancestors()
        .nth(2)
        .context("a build is two folders deep")?
        .join("peers");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--manifest-path"])
        .arg(sources.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&targets);
    if BUILD == "release" {
        cargo.arg("--release");
    }
    ensure!(cargo.status().await?.success(), "failed to build the peers");
    Ok(targets.join(BUILD).join("peers"))
}

/// Installs the queues written for Node into a folder of their own; `None` without Node and npm.
async fn install(sources: &Path) -> anyhow::Result<Option<PathBuf>> {
    for program in ["node", "npm"] {
        let version = Command::new(program).arg("--version").output().await;
        if !version.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
    }
    let folder = std::env::temp_dir().join(format!("webhook-load-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(sources.join("node"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "npm ci failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Some(folder))
}

/// Runs one queue; where it breaks down that is a failure, and the next one goes on.
async fn note(bench: &mut Bench, section: &mut Section, queue: &str, command: Command) {
    match measure(bench, queue, command).await {
        Ok(peer) => section.peers.push(peer),
        Err(error) => section.failures.push(format!("{queue}: {error:#}")),
    }
}

/// Runs one queue on a database of its own.
async fn measure(bench: &mut Bench, queue: &str, mut command: Command) -> anyhow::Result<Peer> {
    bench.progress.begin(queue, 1);
    let database = bench.create("peer").await?;
    bench.checkpoint().await?;
    command
        .arg(&database.url)
        .arg(bench.scale.peer_jobs.to_string())
        .arg(bench.scale.peer_pickups.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("not done after {PATIENCE:?}"))?
        .context("failed to start")?;
    database.tables()?.remove().await?;
    ensure!(output.status.success(), "ended with {}", output.status);
    let peer: Peer = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "printed something else than figures: {}",
            String::from_utf8_lossy(&output.stdout)
        )
    })?;
    bench.progress.say(&format!(
        "  {} {}: {:.0}/s enqueued, {:.0}/s drained, picked up after {:.1} ms (p99 {:.1})",
        peer.queue,
        peer.version,
        peer.enqueue_per_second,
        peer.drain_per_second,
        peer.pickup_p50,
        peer.pickup_p99
    ));
    Ok(peer)
}
