//! Waiting that ends: every wait here has a limit, and fails with what it waited for.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::ensure;

/// Longer than anything takes that a test waits for, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// The limit of a loop that waits.
///
/// [`until`] suits tests better; this is for loops that return errors, or that do something else
/// between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    end: Instant,
    length: Duration,
}

impl Limit {
    /// A limit of so long from now on.
    pub fn of(length: Duration) -> Self {
        Self {
            end: Instant::now() + length,
            length,
        }
    }

    /// Waits a moment before the next look.
    ///
    /// # Errors
    ///
    /// When the limit is reached: with what `missing` says.
    pub async fn pause<M: Display>(&self, missing: impl FnOnce() -> M) -> anyhow::Result<()> {
        ensure!(
            !self.is_reached(),
            "not within {:?}: {}",
            self.length,
            missing()
        );
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// Whether it is reached.
    pub fn is_reached(&self) -> bool {
        Instant::now() >= self.end
    }
}

/// Waits until `holds` does.
///
/// # Panics
///
/// When it does not within [`PATIENCE`]: with `what`.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Waits for `future`.
///
/// # Panics
///
/// When it takes longer than [`PATIENCE`]: with `what`.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_says_what_was_waited_for() {
        let limit = Limit::of(Duration::from_millis(20));
        let error = loop {
            if let Err(error) = limit.pause(|| "the sun rises").await {
                break error.to_string();
            }
        };
        assert_eq!(error, "not within 20ms: the sun rises");
    }

    #[tokio::test]
    async fn until_looks_until_it_holds() {
        let mut looks = 0;
        until("three looks", async || {
            looks += 1;
            looks == 3
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 60s: never")]
    async fn until_ends() {
        until("never", async || false).await;
    }
}
