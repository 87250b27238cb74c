//! Memory for bytes, lent only while there are bytes.
//!
//! A connection that waits owns no buffer, so ten thousand idle ones cost their tasks and nothing else. Buffers are
//! kept by the thread that used them last, and are warm in its cache.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// For heads: most fit in a quarter of it.
pub const SMALL: usize = 4 << 10;

/// For bodies: few system calls for a long one, and two of them still fit in the second-level cache.
pub const LARGE: usize = 64 << 10;

/// So many free buffers of each kind are kept; 4 MiB of large ones, which a burst of slow readers leaves behind.
const KEPT: usize = 64;

#[derive(Default)]
struct Free {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    texts: Vec<Vec<u8>>,
}

thread_local! {
    static FREE: RefCell<Free> = RefCell::default();
}

/// Bytes that came in and are not dealt with yet.
#[derive(Debug, Default)]
pub struct Buffer {
    /// All of it is initialised; the length never changes but in [`Buffer::grow`].
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Returns an empty buffer of [`SMALL`] bytes.
    pub fn small() -> Self {
        let free = FREE.with_borrow_mut(|free| free.small.pop());
        Self { bytes: free.unwrap_or_else(|| vec![0; SMALL]), start: 0, end: 0 }
    }

    /// Returns an empty buffer of [`LARGE`] bytes.
    pub fn large() -> Self {
        let free = FREE.with_borrow_mut(|free| free.large.pop());
        Self { bytes: free.unwrap_or_else(|| vec![0; LARGE]), start: 0, end: 0 }
    }

    /// Returns the bytes in it.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Returns the bytes in it.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the place behind them.
    pub fn space(&mut self) -> &mut [u8] {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Counts so many bytes of [`Buffer::space`] in.
    pub fn fill(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len(), "no more than there was space");
    }

    /// Drops so many bytes from the beginning.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "no more than there were");
    }

    /// Makes space behind the bytes, growing up to `most`; returns whether there is any.
    pub fn make_space(&mut self, most: usize) -> bool {
        if self.end < self.bytes.len() {
            return true;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            return true;
        }
        if self.bytes.len() < most {
            let length = (self.bytes.len() * 2).clamp(SMALL, most);
            self.bytes.resize(length, 0);
            return true;
        }
        false
    }

    /// Puts bytes behind those in it, whatever the length: what was read beyond a body.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let needed = self.end + bytes.len();
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        self.bytes[self.end..needed].copy_from_slice(bytes);
        self.end = needed;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        FREE.with_borrow_mut(|free| match bytes.len() {
            SMALL if free.small.len() < KEPT => free.small.push(bytes),
            LARGE if free.large.len() < KEPT => free.large.push(bytes),
            _ => {}
        });
    }
}

/// Bytes that are put together to go out.
#[derive(Debug, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// Returns an empty one.
    pub fn new() -> Self {
        Self(FREE.with_borrow_mut(|free| free.texts.pop()).unwrap_or_default())
    }
}

impl Deref for Text {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Text {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if bytes.capacity() == 0 || bytes.capacity() > LARGE {
            return;
        }
        bytes.clear();
        FREE.with_borrow_mut(|free| {
            if free.texts.len() < KEPT {
                free.texts.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_and_go_and_space_is_found_before_it_is_made() {
        let mut buffer = Buffer::small();
        buffer.space()[..3].copy_from_slice(b"abc");
        buffer.fill(3);
        buffer.consume(1);
        assert_eq!(buffer.filled(), b"bc");
        let rest = buffer.space().len();
        buffer.fill(rest);
        assert!(buffer.make_space(SMALL), "the consumed byte's place");
        assert_eq!(buffer.space().len(), 1);
        buffer.fill(1);
        assert!(!buffer.make_space(SMALL));
        assert!(buffer.make_space(SMALL * 2));
        assert_eq!(buffer.space().len(), SMALL);
        buffer.consume(SMALL);
        buffer.append(&[7; 3 * SMALL]);
        assert_eq!(buffer.filled(), [7; 3 * SMALL]);
    }
}
