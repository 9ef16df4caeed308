//! The load bench: how fast the inbox is on this machine, next to what the machine can do.
//!
//! `cargo run --release -p benches --bin load -- --help`

mod backend;
mod bare;
mod bench;
mod client;
mod database;
mod generator;
mod http_server;
mod machine;
mod opened;
mod options;
mod pgbench;
mod process;
mod progress;
mod receiver;
mod recording;
mod report;
mod request;
mod scenario;
mod server;
mod signed;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command as Process, ExitCode};

use anyhow::Context as _;
use clap::Parser as _;

use crate::backend::Backend;
use crate::bench::Bench;
use crate::options::{Command, Options, Role};

/// Set for the program that runs beside the throw-away PostgreSQL.
const INSIDE: &str = "WEBHOOK_LOAD_INSIDE";

fn main() -> anyhow::Result<ExitCode> {
    let command = Command::parse();
    match command.role {
        Some(Role::Bare { listen }) => return bare::serve(listen).map(|()| ExitCode::SUCCESS),
        Some(Role::Receiver { listen }) => {
            return receiver::serve(listen).map(|()| ExitCode::SUCCESS);
        }
        None => {}
    }
    let needs_postgres = command.options.backends().contains(&Backend::Postgres);
    if needs_postgres && std::env::var_os(INSIDE).is_none() {
        return run_with_postgres(&command.options);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(command.options))
}

/// Runs this very program again, with PostgreSQL and PgBouncer beside it.
fn run_with_postgres(options: &Options) -> anyhow::Result<ExitCode> {
    let script = testkit::tools::script("with-postgres");
    let mut command = Process::new(&script);
    command.args(["--set", "shared_buffers=1GB"]);
    // PgBouncer's default. With the value of the tests it would reconnect all the time.
    command.args(["--set-pooler", "server_idle_timeout=600"]);
    for (name, value) in &options.settings {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    // Replaces this process, so that signals reach the script, which must clean up.
    let error = command
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).with_context(|| format!("failed to run {}", script.display()))
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let html = match &options.html {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_extension("html"),
    };
    let json = options.json.clone();
    let mut bench = Bench::prepare(options).await?;
    tokio::select! {
        () = scenario::run_all(&mut bench) => {}
        _ = tokio::signal::ctrl_c() => bench.progress.say("interrupted: this is what there is so far"),
    }
    bench.progress.finish();

    let mut report = bench.report;
    report.judge();
    report.print(&mut std::io::stdout().lock())?;
    report.write_html(&html)?;
    if let Some(json) = &json {
        report.write_json(json)?;
    }
    writeln!(std::io::stdout(), "\nreport: {}", html.display())?;
    // A missed target does not fail the command; a lost event does.
    let failures = report.failures().count();
    if failures > 0 {
        eprintln!("{failures} checks failed");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
