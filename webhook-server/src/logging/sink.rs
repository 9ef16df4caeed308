//! Writes whole lines to a writer that may fail, write only a part, or would block.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// How long to wait if the writer would block: any process that shares a pipe can make it non-blocking for
/// all.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// A writer of lines.
pub(super) struct Sink<W> {
    out: W,
    /// Whether the last write ended within a line.
    torn: bool,
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    /// Writes `lines`, and returns how many bytes were written: fewer than all if the writer fails. If an
    /// earlier failure cut a line, ends that line first.
    pub(super) fn write(&mut self, lines: &[u8]) -> usize {
        if self.torn {
            if self.write_bytes(b"\n") == 0 {
                return 0;
            }
            self.torn = false;
        }
        let written = self.write_bytes(lines);
        self.torn = lines[..written].last().is_some_and(|&last| last != b'\n');
        written
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(WOULD_BLOCK_PAUSE);
                }
                Err(_) => break,
            }
        }
        written
    }
}
