//! Signals that tell the process to stop, or to reload its secrets.

use std::fmt;
use std::io;

/// The handlers of the signals.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn catch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    #[cfg(not(unix))]
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next signal to stop, and ignores signals to reload. Cancel safe.
    pub(crate) async fn next_stop(&mut self) -> StopSignal {
        loop {
            match self.next().await {
                Signal::Stop(stop) => return stop,
                #[cfg(unix)]
                Signal::Reload => {}
            }
        }
    }

    /// Waits for the next signal. Cancel safe.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop(StopSignal::Interrupt),
            _ = self.terminate.recv() => Signal::Stop(StopSignal::Terminate),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Waits for the next signal. Cancel safe.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Stop(StopSignal::Interrupt)
    }
}

/// A signal, by what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Stop(StopSignal),
    /// SIGHUP: read secrets, tokens and certificates again.
    #[cfg(unix)]
    Reload,
}

/// A signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    Interrupt,
    #[cfg(unix)]
    Terminate,
}

impl StopSignal {
    /// The exit code of a process that this signal stops at once: 128 plus the signal's number.
    pub(crate) const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            #[cfg(unix)]
            Self::Terminate => 143,
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            #[cfg(unix)]
            Self::Terminate => "SIGTERM",
        })
    }
}
