//! A part of a buffer, by position: it stays true while the buffer is kept, without borrowing it.

/// From `start` to before `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// Returns where `part`, which was cut from `whole`, lies in it.
    pub fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        debug_assert!(start + part.len() <= whole.len(), "the part was cut from the whole");
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// Returns the bytes.
    pub fn get<'b>(&self, whole: &'b [u8]) -> &'b [u8] {
        &whole[self.start as usize..self.end as usize]
    }

    /// Returns whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}
