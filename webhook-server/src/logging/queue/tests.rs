use std::io::ErrorKind;
use std::sync::mpsc;

use super::*;

/// A writer whose behaviour the test sets.
#[derive(Clone, Default)]
struct Fake {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Condvar>,
}

#[derive(Default)]
struct Inner {
    taken: Vec<u8>,
    /// Bytes that are taken before the failure; unlimited where there is none.
    room: Option<usize>,
    error: Option<ErrorKind>,
    stalled: bool,
    calls: usize,
}

impl Fake {
    fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.lock().unwrap());
        self.changed.notify_all();
    }

    fn text(&self) -> String {
        String::from_utf8(self.inner.lock().unwrap().taken.clone()).unwrap()
    }

    fn calls(&self) -> usize {
        self.inner.lock().unwrap().calls
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        self.changed.notify_all();
        while inner.stalled {
            inner = self.changed.wait(inner).unwrap();
        }
        let room = inner.room.unwrap_or(usize::MAX);
        if room == 0 {
            return Err(inner.error.unwrap_or(ErrorKind::StorageFull).into());
        }
        let count = bytes.len().min(room);
        inner.taken.extend_from_slice(&bytes[..count]);
        inner.room = inner.room.map(|room| room - count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(fake: &Fake, max_queued_bytes: usize) -> Queue {
    Queue::start(fake.clone(), max_queued_bytes, |dropped| {
        format!("dropped {}\n", dropped.lines)
    })
    .unwrap()
}

/// Waits until `condition` holds.
fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come about");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_are_written_in_order_and_flushed() {
    let fake = Fake::default();
    let queue = start(&fake, 1 << 20);
    let mut expected = String::new();
    for n in 0..10_000 {
        let line = format!("line {n}\n");
        queue.push(line.as_bytes());
        expected.push_str(&line);
    }
    queue.flush();
    assert!(fake.text() == expected, "lines are missing or out of order");
    assert_eq!(queue.dropped(), 0);
}

#[test]
fn stalled_log_reader_blocks_no_writer_and_drops_are_reported() {
    let fake = Fake::default();
    fake.set(|inner| inner.stalled = true);
    let queue = start(&fake, 40);
    queue.push(b"first\n");
    eventually(|| fake.calls() == 1);
    // The writer holds the first line. Four lines fit into the queue, six do not.
    for n in 0..10 {
        queue.push(format!("number {n}\n").as_bytes());
    }
    assert_eq!(queue.dropped(), 6);
    queue.flush();
    assert_eq!(fake.text(), "");
    fake.set(|inner| inner.stalled = false);
    let expected = "first\nnumber 0\nnumber 1\nnumber 2\nnumber 3\ndropped 6\n";
    eventually(|| fake.text() == expected);
    queue.push(b"last\n");
    queue.flush();
    assert_eq!(fake.text(), format!("{expected}last\n"));
    assert_eq!(queue.dropped(), 6);
}

#[test]
fn failed_writes_drop_lines_and_are_reported_without_another_line() {
    for error in [
        ErrorKind::BrokenPipe,
        ErrorKind::StorageFull,
        ErrorKind::Other,
    ] {
        let fake = Fake::default();
        fake.set(|inner| (inner.room, inner.error) = (Some(0), Some(error)));
        let queue = start(&fake, 1 << 20);
        queue.push(b"one\n");
        queue.push(b"two\n");
        queue.flush();
        assert_eq!((fake.text().as_str(), queue.dropped()), ("", 2), "{error}");
        fake.set(|inner| inner.room = None);
        eventually(|| fake.text() == "dropped 2\n");
    }
}

#[test]
fn a_line_cut_short_by_a_failure_does_not_run_into_the_next_one() {
    let fake = Fake::default();
    fake.set(|inner| inner.room = Some(10));
    let queue = start(&fake, 1 << 20);
    queue.push(b"whole\ncut short\nlost\n");
    queue.flush();
    assert_eq!((fake.text().as_str(), queue.dropped()), ("whole\ncut ", 2));
    fake.set(|inner| inner.room = None);
    queue.push(b"next\n");
    queue.flush();
    assert_eq!(fake.text(), "whole\ncut \nnext\ndropped 2\n");
}

#[test]
fn writer_that_would_block_is_retried() {
    let fake = Fake::default();
    fake.set(|inner| (inner.room, inner.error) = (Some(3), Some(ErrorKind::WouldBlock)));
    let queue = start(&fake, 1 << 20);
    queue.push(b"a line\n");
    eventually(|| fake.calls() >= 3);
    fake.set(|inner| inner.room = None);
    eventually(|| fake.text() == "a line\n");
    assert_eq!(queue.dropped(), 0);
}

#[test]
fn flush_returns_while_the_reader_stalls() {
    let fake = Fake::default();
    fake.set(|inner| inner.stalled = true);
    let queue = start(&fake, 1 << 20);
    queue.push(b"a line\n");
    let (done, flushed) = mpsc::channel();
    thread::spawn(move || {
        queue.flush();
        let _ = done.send(());
    });
    assert_eq!(flushed.recv_timeout(Duration::from_secs(60)), Ok(()));
    fake.set(|inner| inner.stalled = false);
}

#[test]
fn chunks_end_with_their_lines() {
    let short = "x".repeat(99) + "\n";
    let long = "y".repeat(10_000) + "\n";
    let text = format!("{}{long}{}", short.repeat(100), short.repeat(3));
    let chunks: Vec<_> = chunks(text.as_bytes()).collect();
    assert_eq!(chunks.concat(), text.as_bytes());
    assert!(chunks.iter().all(|chunk| chunk.last() == Some(&b'\n')));
    let oversized = chunks.iter().filter(|chunk| chunk.len() > 4096);
    assert_eq!(oversized.count(), 1);
    assert!(chunks.len() < 10);
}
