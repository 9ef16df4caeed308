//! What tells the process to stop, or to read its secrets again.

use std::fmt;
use std::io;

/// The signals, caught.
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

    /// The next signal to stop. Those to reload are dropped meanwhile. Cancel safe.
    pub(crate) async fn next(&mut self) -> Stop {
        loop {
            match self.wish().await {
                Wish::Stop(stop) => return stop,
                #[cfg(unix)]
                Wish::Reload => {}
            }
        }
    }

    /// The next signal. Cancel safe.
    #[cfg(unix)]
    pub(crate) async fn wish(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Stop(Stop::Interrupt),
            _ = self.terminate.recv() => Wish::Stop(Stop::Terminate),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// The next signal. Cancel safe.
    #[cfg(not(unix))]
    pub(crate) async fn wish(&mut self) -> Wish {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Wish::Stop(Stop::Interrupt)
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Stop(Stop),
    /// SIGHUP.
    #[cfg(unix)]
    Reload,
}

/// A signal to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupt,
    #[cfg(unix)]
    Terminate,
}

impl Stop {
    /// The exit code of a process that stops at once: 128 and the signal's number.
    pub(crate) const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            #[cfg(unix)]
            Self::Terminate => 143,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            #[cfg(unix)]
            Self::Terminate => "SIGTERM",
        })
    }
}
