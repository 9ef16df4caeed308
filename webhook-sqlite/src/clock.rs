//! The clock of a store: the time since the machine was booted, plus an offset that the file keeps.
//!
//! All processes of a boot read the same offset, so they agree on the time, and no step of the host's wall
//! clock changes it: no event falls due early and no lease ends early. The offset is set again after a boot,
//! from the wall clock, and never to a time before the latest one that the file has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::error::SqliteError;
use crate::microseconds;
use crate::query::{Connection, query};

/// How far the stored floor may be behind the clock. Each write of it changes a page of the file.
const FLOOR_INTERVAL_US: i64 = 1_000_000;

/// The clock of an open store.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    offset_us: i64,
    /// The latest time that was written as the floor.
    floor_us: Arc<AtomicI64>,
}

impl Clock {
    /// Reads the clock of the file, and sets it if this is the first process since a boot. Runs in a write
    /// transaction.
    pub(crate) async fn open(connection: &mut SqliteConnection) -> Result<Self, SqliteError> {
        let boot_id = boot_id();
        let stored = sqlx::query("SELECT boot_id, offset_us, floor_us FROM clock")
            .fetch_optional(&mut *connection)
            .await?;
        let mut floor_us = 0;
        if let Some(row) = stored {
            floor_us = row.try_get("floor_us")?;
            if boot_id.is_some() && row.try_get::<Option<String>, _>("boot_id")? == boot_id {
                return Ok(Self {
                    offset_us: row.try_get("offset_us")?,
                    floor_us: Arc::new(AtomicI64::new(floor_us)),
                });
            }
        }
        let now = microseconds::host_now().max(floor_us + FLOOR_INTERVAL_US);
        let offset_us = now - since_boot_us();
        sqlx::query(
            "INSERT OR REPLACE INTO clock (only, boot_id, offset_us, floor_us) VALUES (1, ?1, ?2, ?3)",
        )
        .bind(boot_id.unwrap_or_default())
        .bind(offset_us)
        .bind(now)
        .execute(connection)
        .await?;
        Ok(Self {
            offset_us,
            floor_us: Arc::new(AtomicI64::new(now)),
        })
    }

    /// Microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        self.offset_us + since_boot_us()
    }

    /// Writes the time into the file, if it has not been written for a while. Runs in a write transaction.
    pub(crate) async fn keep_floor(
        &self,
        connection: &mut Connection<'_>,
        now_us: i64,
    ) -> Result<(), SqliteError> {
        if now_us - self.floor_us.load(Ordering::Relaxed) < FLOOR_INTERVAL_US {
            return Ok(());
        }
        query("UPDATE clock SET floor_us = max(floor_us, ?1)")
            .bind(now_us)
            .execute(connection)
            .await?;
        self.floor_us.store(now_us, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn since_boot_us() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

/// Identifies the boot. A container has that of its host.
#[cfg(target_os = "linux")]
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// Elsewhere each process counts from its own start: steps of the host's clock between two processes are
/// seen, those during a process are not.
#[cfg(not(target_os = "linux"))]
fn since_boot_us() -> i64 {
    use std::sync::LazyLock;
    use std::time::Instant;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> Option<String> {
    None
}
