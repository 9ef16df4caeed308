//! The job that every queue carries, and the record of the jobs that were handled.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// About 300 bytes as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub number: u64,
    pub note: String,
}

impl Job {
    pub fn new(number: u64) -> Self {
        Self {
            id: format!("job-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            number,
            note: "x".repeat(230),
        }
    }
}

/// Counts the jobs whose handler has begun, and records the times of those that are enqueued one by
/// one.
#[derive(Debug, Default)]
pub struct Watch {
    count: AtomicU64,
    begun: Mutex<Vec<(u64, Instant)>>,
}

impl Watch {
    pub fn begin(&self, job: &Job) {
        if job.number >= PICKUP_FROM {
            let now = Instant::now();
            let mut begun = self.begun.lock().expect("nothing panics under the lock");
            begun.push((job.number - PICKUP_FROM, now));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns when the handler of each job that was enqueued one by one began.
    pub fn begun(&self) -> Vec<(u64, Instant)> {
        let begun = self.begun.lock().expect("nothing panics under the lock");
        begun.clone()
    }
}

/// The first number of the jobs that are enqueued one by one.
pub const PICKUP_FROM: u64 = 1 << 32;
