//! The queue between the process and standard error.
//!
//! Logging a line adds it to a bounded buffer. One thread writes the buffer to standard error, and only
//! that thread ever waits for the reader. Lines that do not fit or cannot be written are dropped and
//! counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing_subscriber::fmt::MakeWriter;

use super::sink::Sink;

/// The most bytes of lines that wait to be written; further lines are dropped. Memory is twice as much
/// while one full buffer is written and the next one fills.
pub(super) const MAX_QUEUED_BYTES: usize = 4 << 20;

/// A buffer that grew beyond this is shrunk once it is written.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// How often the writer tries to report dropped lines while nothing else is logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The longest that [`Queue::flush`] waits in all, while lines are being written.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// The longest that [`Queue::flush`] waits while not a byte is written.
const FLUSH_STALL_LIMIT: Duration = Duration::from_millis(500);

/// How often [`Queue::flush`] checks whether everything is written.
const FLUSH_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A bounded queue of lines for one writer.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    max_queued_bytes: usize,
    /// Lines dropped since the start.
    dropped: AtomicU64,
    /// Bytes written since the start.
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines, one after the other.
    lines: Vec<u8>,
    /// Dropped lines that the log has not reported yet.
    unreported: Option<Dropped>,
    /// Whether the writer has written everything and waits for lines.
    idle: bool,
}

/// Lines that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// The number of lines.
    pub(super) lines: u64,
    /// When the first of them was dropped.
    pub(super) since: Timestamp,
}

impl Queue {
    /// Starts a thread that writes to `out`. `report` renders the line that reports dropped lines.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        max_queued_bytes: usize,
        report: impl Fn(Dropped) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            max_queued_bytes,
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_lines(&mut Sink::new(out), &report))?;
        Ok(Self { shared })
    }

    /// Queues `lines`, each with its line feed, or drops all of them if they do not fit.
    pub(super) fn push(&self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        if state.lines.len() + lines.len() > self.shared.max_queued_bytes {
            self.shared.drop_lines(&mut state, count_lines(lines));
        } else {
            state.lines.extend_from_slice(lines);
        }
        // A wake-up costs a system call, so it is made only if the writer waits.
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.shared.filled.notify_one();
        }
    }

    /// Waits until the lines queued so far are written or dropped, for five seconds at most, and half a
    /// second at most if the reader reads nothing.
    pub(super) fn flush(&self) {
        let started = Instant::now();
        let mut written = self.written();
        let mut progressed_at = started;
        while !self.shared.lock().is_done() {
            let now = Instant::now();
            let newly_written = self.written();
            if newly_written != written {
                written = newly_written;
                progressed_at = now;
            }
            if now - started > FLUSH_LIMIT || now - progressed_at > FLUSH_STALL_LIMIT {
                return;
            }
            thread::sleep(FLUSH_POLL_INTERVAL);
        }
    }

    /// The number of lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(self)
    }
}

/// Queues what is written to it. Never fails, and never waits for the reader.
#[derive(Debug)]
pub(super) struct Lines<'a>(&'a Queue);

impl Write for Lines<'_> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.idle && self.lines.is_empty()
    }
}

impl Shared {
    /// Writes the queued lines, until the process ends.
    fn write_lines<W: Write>(&self, sink: &mut Sink<W>, report: &dyn Fn(Dropped) -> String) {
        let mut lines = Vec::new();
        loop {
            let unreported = self.take(&mut lines);
            let mut failed = false;
            for chunk in chunks(&lines) {
                failed = !self.write(sink, chunk);
            }
            if let Some(dropped) = unreported {
                // If the sink fails, the report is tried again later.
                if failed || !self.try_report(sink, &report(dropped)) {
                    self.put_back(dropped);
                }
            }
            lines.clear();
            lines.shrink_to(KEPT_BUFFER_BYTES);
        }
    }

    /// Waits for lines, or for the time to report dropped ones again, and takes both.
    fn take(&self, lines: &mut Vec<u8>) -> Option<Dropped> {
        let mut state = self.lock();
        while state.lines.is_empty() {
            state.idle = true;
            if state.unreported.is_none() {
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.filled.wait_timeout(state, REPORT_INTERVAL);
            let (waited, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if timeout.timed_out() {
                break;
            }
        }
        state.idle = false;
        std::mem::swap(lines, &mut state.lines);
        state.unreported.take()
    }

    /// Writes whole lines, and counts those that cannot be written. Returns whether all were written.
    fn write<W: Write>(&self, sink: &mut Sink<W>, lines: &[u8]) -> bool {
        let written = sink.write(lines);
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        let lost = count_lines(&lines[written..]);
        if lost > 0 {
            self.drop_lines(&mut self.lock(), lost);
        }
        lost == 0
    }

    /// Writes the report of dropped lines. A report that cannot be written does not count as dropped.
    fn try_report<W: Write>(&self, sink: &mut Sink<W>, report: &str) -> bool {
        let written = sink.write(report.as_bytes());
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        written == report.len()
    }

    fn drop_lines(&self, state: &mut State, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        let unreported = state.unreported.get_or_insert_with(|| Dropped {
            lines: 0,
            since: Timestamp::now(),
        });
        unreported.lines += lines;
    }

    fn put_back(&self, dropped: Dropped) {
        let mut state = self.lock();
        let later = state.unreported.map_or(0, |it| it.lines);
        state.unreported = Some(Dropped {
            lines: dropped.lines + later,
            since: dropped.since,
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half-changed: nothing in between can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Splits `lines` into chunks of whole lines that a pipe takes in one piece, so that the lines of several
/// processes do not mix.
fn chunks(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    const PIPE_ATOMIC_BYTES: usize = 4096;
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let window = &rest[..rest.len().min(PIPE_ATOMIC_BYTES)];
        let end = window
            .iter()
            .rposition(|&byte| byte == b'\n')
            .or_else(|| rest.iter().position(|&byte| byte == b'\n'))
            .map_or(rest.len(), |at| at + 1);
        let (chunk, after) = rest.split_at(end);
        rest = after;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests;
