//! One process, from its start to its end.

use std::io;
use std::pin::pin;

use tracing::{info, warn};

use crate::audit::Audit;
use crate::backend::{Backend, OpenError};
use crate::config::{CommandLine, Config, Task};
use crate::healthcheck::{Unhealthy, healthcheck};
use crate::operate::OperateError;
use crate::server::{Server, StartError};
use crate::signals::{Signals, Stop, Wish};
use crate::token;

/// Does what `line` asks for, until it is done or a signal ends it; returns the exit code.
///
/// The first SIGINT or SIGTERM drains; the second one returns at once.
///
/// # Errors
///
/// When it cannot start.
pub async fn run(line: &CommandLine) -> Result<i32, RunError> {
    let mut signals = Signals::catch().map_err(RunError::Signals)?;
    for warning in &line.warnings {
        warn!("{warning}");
    }
    match &line.task {
        Some(Task::Operate(operate)) => tokio::select! {
            done = operate.run(&line.config) => done.map(|()| 0).map_err(RunError::Operate),
            signal = signals.next() => Ok(signal.exit_code()),
        },
        Some(Task::Migrate) => tokio::select! {
            migrated = migrate(&line.config) => migrated.map(|()| 0).map_err(RunError::Migrate),
            signal = signals.next() => Ok(signal.exit_code()),
        },
        Some(Task::Token { scope, name }) => token::make(*scope, name.as_ref())
            .map(|()| 0)
            .map_err(RunError::Output),
        Some(Task::Healthcheck) => healthcheck(&line.config)
            .await
            .map(|()| 0)
            .map_err(RunError::Healthcheck),
        None => serve(line, &mut signals).await,
    }
}

async fn migrate(config: &Config) -> Result<(), OpenError> {
    let audit = Audit::begin("migrate", &format_args!("none"));
    Backend::migrate(config).await?;
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
                wish = signals.wish() => match wish {
                    Wish::Stop(signal) => {
                        info!(%signal, "stopped before it was ready");
                        return Ok(0);
                    }
                    // The files may have been read already.
                    #[cfg(unix)]
                    Wish::Reload => is_stale = true,
                },
            }
        }
    };
    let signal = stop_signal(&server, line, signals, is_stale).await;
    info!(%signal, "shutting down; a second signal stops at once");
    tokio::select! {
        () = server.shutdown() => {
            info!("stopped");
            Ok(0)
        }
        signal = signals.next() => {
            warn!(%signal, "stopped at once");
            Ok(signal.exit_code())
        }
    }
}

/// Waits for a signal to stop, and reloads on each signal to reload, or at once where `is_stale`.
/// Files are read meanwhile, so that one that takes its time delays no stop.
async fn stop_signal(
    server: &Server,
    line: &CommandLine,
    signals: &mut Signals,
    mut is_stale: bool,
) -> Stop {
    loop {
        if is_stale {
            is_stale = false;
            let mut reload = pin!(server.reload(&line.config));
            loop {
                tokio::select! {
                    () = &mut reload => break,
                    wish = signals.wish() => match wish {
                        Wish::Stop(stop) => return stop,
                        // The files may have changed since they were read.
                        #[cfg(unix)]
                        Wish::Reload => is_stale = true,
                    },
                }
            }
        } else {
            match signals.wish().await {
                Wish::Stop(stop) => return stop,
                #[cfg(unix)]
                Wish::Reload => is_stale = true,
            }
        }
    }
}

/// Why the process cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Signals cannot be caught.
    #[error("failed to catch signals")]
    Signals(#[source] io::Error),
    /// The server did not start.
    #[error("failed to start")]
    Start(#[source] StartError),
    /// The database was not migrated.
    #[error("failed to migrate the database")]
    Migrate(#[source] OpenError),
    /// Nobody takes what is written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// An operator's command failed.
    #[error("failed")]
    Operate(#[source] OperateError),
    /// The server that was asked is not alive.
    #[error("not healthy")]
    Healthcheck(#[source] Unhealthy),
}
