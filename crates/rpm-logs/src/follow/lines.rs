//! Bytes as they come, given out as lines.

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
    }

    /// Takes the next line, without its end; a longer one than [`LINE_MAX`] in pieces.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let (length, skip) = match memchr(b'\n', &self.buffer[self.scanned..]) {
            Some(end) => (self.scanned + end - self.start, 1),
            None if self.buffer.len() - self.start >= LINE_MAX => (LINE_MAX, 0),
            None => {
                self.scanned = self.buffer.len();
                return None;
            }
        };
        let line = self.buffer[self.start..self.start + length].to_vec();
        self.start += length + skip;
        self.scanned = self.start;
        Some(line)
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
