//! [`Pace`]: when the next copy may be sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use webhook_forward::Rate;

use crate::logging::print_to_stderr;

/// Keeps copies within the rate of a destination, and away from it for as long as it asks for that.
#[derive(Debug)]
pub(super) struct Pace {
    /// The least time between two copies.
    interval: Duration,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    next: Instant,
    held_until: Instant,
}

impl Pace {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let now = Instant::now();
        Self {
            interval: rate.map_or(Duration::ZERO, |rate| rate.per / rate.events.get()),
            times: Mutex::new(Times {
                next: now,
                held_until: now,
            }),
        }
    }

    /// Waits until the next copy may be sent.
    pub(super) async fn turn(&self) {
        let turn = {
            let mut times = self.times();
            let turn = times.next.max(times.held_until).max(Instant::now());
            times.next = turn + self.interval;
            turn
        };
        sleep_until(turn).await;
        // The destination may have asked for more time meanwhile.
        loop {
            let held_until = self.times().held_until;
            if held_until <= Instant::now() {
                return;
            }
            sleep_until(held_until).await;
        }
    }

    /// Sends nothing for this long, and says so once.
    pub(super) fn hold(&self, wait: Duration, reason: &str) {
        let now = Instant::now();
        let mut times = self.times();
        let was_held = times.held_until > now;
        times.held_until = times.held_until.max(now + wait);
        if !was_held {
            print_to_stderr(&format!("waiting: {reason}"));
        }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn copies_keep_to_the_rate_and_wait_as_long_as_they_are_asked_to() {
        let pace = Pace::new(Some("2/s".parse().unwrap()));
        let start = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed().as_millis() / 10, 200);
        pace.hold(Duration::from_secs(60), "answered 429");
        pace.hold(Duration::from_secs(5), "answered 429");
        pace.turn().await;
        assert_eq!(start.elapsed().as_secs(), 62);

        let unlimited = Pace::new(None);
        let start = Instant::now();
        for _ in 0..1_000 {
            unlimited.turn().await;
        }
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
