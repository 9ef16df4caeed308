//! Tells systemd how the server does, where its unit has `Type=notify`: it listens, reloads, stops, is alive. Nothing
//! is sent unless systemd has set `NOTIFY_SOCKET`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// How long a message may take. systemd reads them at once; a socket that nobody reads must not stop the server.
#[cfg(unix)]
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// What a message says.
#[derive(Clone, Copy, Debug)]
enum Message {
    Ready(SocketAddr),
    Reloading,
    Stopping,
    Watchdog,
}

/// The server listens on `addr`, or has reloaded its secrets and sources.
pub(crate) async fn ready(addr: SocketAddr) {
    send(Message::Ready(addr)).await;
}

/// The server reads its secrets and sources again; [`ready`] follows.
pub(crate) async fn reloading() {
    send(Message::Reloading).await;
}

/// The server drains.
pub(crate) async fn stopping() {
    send(Message::Stopping).await;
}

/// Tells systemd that the server is alive, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog(JoinHandle<()>);

impl Watchdog {
    /// Starts, if the unit has `WatchdogSec=`: a message at half of that time.
    ///
    /// Each message goes through the timer, the queue of tasks and the threads for blocking work, so that none is sent
    /// where the runtime makes no progress.
    pub(crate) fn start() -> Option<Self> {
        let period = watchdog_period()?;
        info!(
            seconds = period.as_secs_f64(),
            "systemd restarts the server if its runtime makes no progress for this time"
        );
        Some(Self(tokio::spawn(async move {
            let mut ticks = interval(period / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let _ = tokio::spawn(send(Message::Watchdog)).await;
            }
        })))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(unix)]
fn watchdog_period() -> Option<Duration> {
    std::env::var_os("NOTIFY_SOCKET")?;
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}

/// Other systems have no systemd.
#[cfg(not(unix))]
const fn watchdog_period() -> Option<Duration> {
    None
}

#[cfg(unix)]
async fn send(message: Message) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let sending = tokio::task::spawn_blocking(move || message.send());
    match timeout(SEND_TIMEOUT, sending).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => warn!(
            error = &error as &dyn std::error::Error,
            notification = ?message,
            "failed to notify systemd"
        ),
        Ok(Err(_)) | Err(_) => {
            warn!(notification = ?message, "systemd did not take a notification in time")
        }
    }
}

#[cfg(not(unix))]
async fn send(_: Message) {}

#[cfg(unix)]
impl Message {
    /// Sends it. Blocks.
    fn send(self) -> std::io::Result<()> {
        use sd_notify::{NotifyState, notify};

        match self {
            Self::Ready(addr) => notify(&[
                NotifyState::Ready,
                NotifyState::Status(&format!("listening on {addr}")),
            ]),
            Self::Reloading => notify(&[
                NotifyState::Reloading,
                NotifyState::monotonic_usec_now()?,
                NotifyState::Status("reading secrets and sources again"),
            ]),
            Self::Stopping => notify(&[NotifyState::Stopping, NotifyState::Status("draining")]),
            Self::Watchdog => notify(&[NotifyState::Watchdog]),
        }
    }
}
