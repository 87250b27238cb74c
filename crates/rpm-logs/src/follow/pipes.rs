//! Pipes that are read as they are written to.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Line;
use super::lines::Lines;
use super::reading::BLOCK;

/// All pipes; the one in front is given out first, then they take turns.
#[derive(Debug)]
pub(super) struct Pipes<L> {
    pipes: VecDeque<Pipe<L>>,
}

impl<L> Default for Pipes<L> {
    fn default() -> Self {
        Self { pipes: VecDeque::new() }
    }
}

#[derive(Debug)]
struct Pipe<L> {
    label: L,
    pipe: OwnedFd,
    lines: Lines,
    /// What was read is not given out yet.
    fresh: bool,
}

impl<L: Clone> Pipes<L> {
    pub(super) fn add(&mut self, label: L, pipe: OwnedFd) {
        self.pipes.push_back(Pipe { label, pipe, lines: Lines::default(), fresh: false });
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|pipe| pipe.pipe.as_fd())
    }

    /// Returns a line that was read already.
    pub(super) fn buffered(&mut self) -> Option<Line<L>> {
        while let Some(pipe) = self.pipes.front_mut().filter(|pipe| pipe.fresh) {
            if let Some(bytes) = pipe.lines.take() {
                return Some(Line { label: pipe.label.clone(), bytes });
            }
            pipe.fresh = false;
            self.pipes.rotate_left(1);
        }
        None
    }

    /// Reads a block of the next pipe that has something, which is in front then; returns whether one had.
    pub(super) fn read(&mut self) -> bool {
        for _ in 0..self.pipes.len() {
            if self.pipes.front_mut().is_some_and(Pipe::read) {
                return true;
            }
            self.pipes.rotate_left(1);
        }
        false
    }

    /// Returns, when no more is to come, the beginnings of lines that will have no end, one after another.
    pub(super) fn rest(&mut self) -> Option<Line<L>> {
        self.pipes.iter_mut().find_map(|pipe| {
            let bytes = pipe.lines.rest();
            (!bytes.is_empty()).then(|| Line { label: pipe.label.clone(), bytes })
        })
    }
}

impl<L> Pipe<L> {
    fn read(&mut self) -> bool {
        let old = self.lines.compact();
        self.lines.buffer.resize(old + BLOCK, 0);
        // A pipe that fails has nothing to say; it does not end.
        let count = rustix::io::read(&self.pipe, &mut self.lines.buffer[old..]).unwrap_or(0);
        self.lines.buffer.truncate(old + count);
        self.fresh = count > 0;
        self.fresh
    }
}
