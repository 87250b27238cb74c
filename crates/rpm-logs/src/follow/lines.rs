//! Bytes as they come, given out as lines.

use std::time::Instant;

use memchr::memchr;

use super::LINE_MAX;

/// Bytes read and not given out.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Lines from `start`, and one without its end.
    pub(super) buffer: Vec<u8>,
    start: usize,
    /// No line's end before this.
    scanned: usize,
    /// When the last line, which has no end, was first looked at.
    begun: Option<Instant>,
    /// The beginning of the present line was given out.
    is_torn: bool,
}

impl Lines {
    /// Gives up the room of what was given out; returns how much is left, so that more can be put behind it.
    pub(super) fn compact(&mut self) -> usize {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.len()
    }

    /// Forgets the first bytes, after [`Lines::compact`]: their line will have no end.
    pub(super) fn forget(&mut self, count: usize) {
        self.buffer.drain(..count);
        self.scanned = 0;
        (self.begun, self.is_torn) = (None, false);
    }

    /// Takes the next line, without its end; a longer one than [`LINE_MAX`] in pieces.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            let line = self.take_next()?;
            // All of it but its end was given out before.
            if !(std::mem::take(&mut self.is_torn) && line.is_empty()) {
                return Some(line);
            }
        }
    }

    fn take_next(&mut self) -> Option<Vec<u8>> {
        let (length, skip) = match memchr(b'\n', &self.buffer[self.scanned..]) {
            Some(end) => (self.scanned + end - self.start, 1),
            None if self.buffer.len() - self.start >= LINE_MAX => (LINE_MAX, 0),
            None => {
                self.scanned = self.buffer.len();
                if self.scanned > self.start {
                    self.begun.get_or_insert_with(Instant::now);
                }
                return None;
            }
        };
        let line = self.buffer[self.start..self.start + length].to_vec();
        self.start += length + skip;
        self.scanned = self.start;
        self.begun = None;
        Some(line)
    }

    /// Returns since when a line waits for its end.
    pub(super) fn unfinished_since(&self) -> Option<Instant> {
        self.begun
    }

    /// Takes the beginning of a line that has no end yet; what comes of it later is a line of its own.
    pub(super) fn take_unfinished(&mut self) -> Vec<u8> {
        let line = self.buffer[self.start..].to_vec();
        self.start = self.buffer.len();
        self.scanned = self.start;
        self.begun = None;
        self.is_torn = true;
        line
    }

    /// Takes what is left: the beginning of a line.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let rest = self.buffer.split_off(self.start);
        *self = Self::default();
        rest
    }

    /// Puts a line in front of what is not given out.
    pub(super) fn put_before(&mut self, line: Vec<u8>) {
        self.buffer.splice(self.start..self.start, line.into_iter().chain([b'\n']));
        self.scanned = self.start;
    }
}
