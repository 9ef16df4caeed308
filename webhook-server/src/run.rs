//! Runs what the command line asks for: the server, or a command.

use std::io;
use std::pin::pin;

use tracing::{info, warn};

use crate::audit::Audit;
use crate::backend::{Migration, OpenError};
use crate::command_line::{CommandLine, Task};
use crate::commands::CommandError;
use crate::config::Config;
use crate::healthcheck::{Unhealthy, healthcheck};
use crate::server::{Server, StartError};
use crate::signals::{Signal, Signals, StopSignal};
use crate::systemd::{self, Watchdog};
use crate::{manual, signing_key, token};

/// Runs the server or the command that `line` asks for, until it ends or a signal stops it. Returns
/// the exit code.
///
/// The first SIGINT or SIGTERM drains the server, and a second one stops it at once. Commands stop at
/// once, except for `conformance`, which first removes what it made.
///
/// # Errors
///
/// When the server cannot start, or the command fails.
pub async fn run(line: &CommandLine) -> Result<i32, RunError> {
    let mut signals = Signals::catch().map_err(RunError::Signals)?;
    for warning in &line.warnings {
        warn!("{warning}");
    }
    match &line.task {
        Some(Task::Operator(command)) => {
            let ended = command.run(&line.config, &mut signals).await;
            ended.map_err(RunError::Command)
        }
        Some(Task::Migrate) => tokio::select! {
            migrated = migrate(&line.config) => migrated.map(|()| 0).map_err(RunError::Migrate),
            signal = signals.next_stop() => Ok(signal.exit_code()),
        },
        Some(Task::Token {
            scope,
            name,
            source,
            expires,
        }) => token::make(
            |digest| {
                digest
                    .named(name.clone())
                    .of_source(source.clone())
                    .expiring(*expires)
            },
            *scope,
        )
        .map(|()| 0)
        .map_err(RunError::Output),
        Some(Task::Secret) => signing_key::make().map(|()| 0).map_err(RunError::Output),
        Some(Task::Completions { shell }) => {
            printed(manual::completions(*shell)).map_err(RunError::Output)
        }
        Some(Task::Man { folder }) => {
            printed(manual::man(folder.as_deref())).map_err(RunError::Manual)
        }
        Some(Task::Healthcheck) => healthcheck(&line.config)
            .await
            .map(|()| 0)
            .map_err(RunError::Healthcheck),
        None => serve(line, &mut signals).await,
    }
}

/// The exit code of a command that prints what it can print again. A reader may close the pipe when it has read enough, as in
/// `completions bash | head`.
fn printed(done: io::Result<()>) -> io::Result<i32> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(0),
    }
}

async fn migrate(config: &Config) -> Result<(), OpenError> {
    let migration = Migration::plan(config).await?;
    let audit = Audit::begin("migrate", []);
    migration.run().await?;
    audit.end(&"migrated");
    Ok(())
}

async fn serve(line: &CommandLine, signals: &mut Signals) -> Result<i32, RunError> {
    let mut is_stale = false;
    let server = {
        let mut starting = pin!(Server::start(&line.config));
        loop {
            tokio::select! {
                server = &mut starting => break server.map_err(RunError::Start)?,
                signal = signals.next() => match signal {
                    Signal::Stop(signal) => {
                        info!(%signal, "stopped before the server was ready");
                        return Ok(0);
                    }
                    // The start may have read the files already.
                    #[cfg(unix)]
                    Signal::Reload => is_stale = true,
                },
            }
        }
    };
    systemd::ready(server.addr()).await;
    let _watchdog = Watchdog::start();
    let signal = stop_signal(&server, line, signals, is_stale).await;
    info!(%signal, "shutting down; a second signal stops at once");
    systemd::stopping().await;
    tokio::select! {
        () = server.shutdown() => {
            info!("stopped");
            Ok(0)
        }
        signal = signals.next_stop() => {
            warn!(%signal, "stopped at once");
            Ok(signal.exit_code())
        }
    }
}

/// Waits for a signal to stop. Reloads secrets, tokens and certificates on each signal to reload, and
/// first of all if `is_stale`. A signal to stop does not wait for a reload: a file may be slow to
/// read.
async fn stop_signal(
    server: &Server,
    line: &CommandLine,
    signals: &mut Signals,
    mut is_stale: bool,
) -> StopSignal {
    loop {
        if is_stale {
            is_stale = false;
            let mut reload = pin!(async {
                systemd::reloading().await;
                server.reload(&line.config).await;
                systemd::ready(server.addr()).await;
            });
            loop {
                tokio::select! {
                    () = &mut reload => break,
                    signal = signals.next() => match signal {
                        Signal::Stop(stop) => return stop,
                        // The files may have changed since this reload read them.
                        #[cfg(unix)]
                        Signal::Reload => is_stale = true,
                    },
                }
            }
        } else {
            match signals.next().await {
                Signal::Stop(stop) => return stop,
                #[cfg(unix)]
                Signal::Reload => is_stale = true,
            }
        }
    }
}

/// Why [`run`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The handlers of signals cannot be installed.
    #[error("failed to install signal handlers")]
    Signals(#[source] io::Error),
    /// The server did not start.
    #[error("failed to start")]
    Start(#[source] StartError),
    /// The migration failed.
    #[error("failed to migrate the database")]
    Migrate(#[source] OpenError),
    /// Standard output is closed, or its disk is full.
    #[error("failed to write to standard output")]
    Output(#[source] io::Error),
    /// The pages of the manual cannot be written.
    #[error("failed to write the manual")]
    Manual(#[source] io::Error),
    /// An operator's command failed.
    #[error("failed")]
    Command(#[source] CommandError),
    /// The health check failed.
    #[error("health check failed")]
    Healthcheck(#[source] Unhealthy),
}
