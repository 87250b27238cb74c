//! One stream on its way: from its pipe through staging and framing into its files.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memchr::{memchr, memchr_iter, memrchr};

use super::files::{FileId, Files};
use super::staging::{Intent, Staging, TARGETS_MAX, Taken, Write};
use super::{Event, RETAIN_MAX, SharedCounters, Stream};
use crate::date::Stamp;
use crate::frame::{Framer, State, Style, Tail};

/// At most this much is framed at once; the output then still fits the processor's cache.
const PIECE: usize = 256 << 10;

/// How long a failing file is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// A prompt or a progress bar shows after this long, though its line has not ended.
const HOLD_TIME: Duration = Duration::from_secs(1);

/// What all streams use in turn.
pub(super) struct Shop<'a> {
    pub(super) files: &'a mut Files,
    pub(super) input: &'a mut Vec<u8>,
    pub(super) output: &'a mut Vec<u8>,
    pub(super) counters: &'a SharedCounters,
    pub(super) on_event: &'a mut (dyn FnMut(Event) + Send),
}

impl Shop<'_> {
    fn count(&self, pick: impl Fn(&SharedCounters) -> &std::sync::atomic::AtomicU64, by: u64) {
        pick(self.counters).fetch_add(by, Ordering::Relaxed);
    }
}

/// Whether more is to be expected of the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Bytes were taken.
    More,
    /// Nothing was there.
    Empty,
    /// The last writer is gone.
    Ended,
}

/// A stream in the pump.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) key: String,
    pub(super) pipe: OwnedFd,
    staging: Staging,
    framer: Framer,
    files: Vec<FileId>,
    /// A write that is not complete yet, with framing's state before it.
    pending: Option<(State, Intent)>,
    /// So many bytes after what was carried are known to hold no line's end.
    held: u64,
    ended: bool,
    /// Output is being dropped; told.
    dropping: bool,
    /// Pipe or staging failed at the last try; told.
    broken: bool,
    /// When to try the files again.
    retry_at: Option<Instant>,
    /// When to let go of a held line.
    flush_at: Option<Instant>,
}

impl Live {
    /// Takes a stream over, with the write it was in. Writes nothing to the files yet.
    pub(super) fn adopt(stream: Stream, shop: &mut Shop<'_>) -> io::Result<Self> {
        let Stream { key, pipe, staging, resume, targets, format, date_format, kind, worker, app_name, max_size } =
            stream;
        if targets.len() > TARGETS_MAX {
            return Err(io::Error::other(format!("{} targets, allowed are {TARGETS_MAX}", targets.len())));
        }
        // Only our end's flag: the writers' end is another open file description. `splice` is told not to wait anyway.
        rpm_sys::fd::set_nonblocking(&pipe, true)?;
        let (staging, state, intent) = match resume {
            true => {
                let spare = staging.try_clone()?;
                match Staging::resume(staging) {
                    Ok(found) => found,
                    Err(error) => {
                        (shop.on_event)(Event::StreamFailed { key: key.clone(), error });
                        (Staging::salvage(spare)?, State::default(), None)
                    }
                }
            }
            false => (Staging::fresh(staging)?, State::default(), None),
        };
        let files = targets.into_iter().map(|target| shop.files.acquire(target, max_size)).collect();
        let style = Style::new(format, date_format.as_deref(), kind, worker, &app_name);
        let mut live = Self {
            key,
            pipe,
            staging,
            framer: Framer::new(style, state),
            files,
            pending: None,
            held: 0,
            ended: false,
            dropping: false,
            broken: false,
            retry_at: None,
            flush_at: None,
        };
        if let Some(mut intent) = intent {
            intent.writes.resize(live.files.len(), Write::default());
            live.pending = Some((state, intent));
        }
        Ok(live)
    }

    /// Returns whether a write is in doubt or failed.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Gives the files back.
    pub(super) fn release(self, files: &mut Files) {
        for file in self.files {
            files.release(file);
        }
    }

    /// Returns whether the pipe's end was reached and everything is in the files.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.pending.is_none() && self.staging.backlog() == 0
    }

    /// Returns when [`Live::wake`] is due.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        [self.retry_at, self.flush_at].into_iter().flatten().min()
    }

    /// Takes one piece from the pipe and carries it on.
    pub(super) fn advance(&mut self, shop: &mut Shop<'_>) -> io::Result<Flow> {
        let flow = match self.staging.take(&self.pipe)? {
            Taken::Bytes(count) => {
                self.broken = false;
                shop.count(|counters| &counters.bytes_taken, count as u64);
                Flow::More
            }
            Taken::Empty => return Ok(Flow::Empty),
            Taken::Ended => {
                self.ended = true;
                Flow::Ended
            }
        };
        let tail = if self.ended { Tail::End } else { Tail::Hold };
        if self.pending.is_none() {
            self.carry(shop, tail)?;
        }
        // Of a full pipe far more is taken at once than one write gives up.
        while self.pending.is_some() && self.staging.backlog() > RETAIN_MAX {
            self.drop_oldest(shop)?;
            self.carry(shop, tail)?;
        }
        Ok(flow)
    }

    /// Carries what is staged already: after adoption.
    pub(super) fn carry_backlog(&mut self, shop: &mut Shop<'_>) -> io::Result<()> {
        if self.pending.is_none() || self.write_again(shop)? {
            self.carry(shop, Tail::Hold)?;
        }
        Ok(())
    }

    /// Does what was put off until now.
    pub(super) fn wake(&mut self, now: Instant, shop: &mut Shop<'_>) -> io::Result<()> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            if self.pending.is_none() || self.write_again(shop)? {
                self.carry(shop, if self.ended { Tail::End } else { Tail::Hold })?;
            }
        }
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_at = None;
            // In a shared file another stream's line would go on behind ours; there it waits for its end.
            if self.is_alone(shop) && self.pending.is_none() && !self.ended {
                self.carry(shop, Tail::Flush)?;
            }
        }
        Ok(())
    }

    /// Puts the stream aside for a while after a failure of its own, and returns whether that is news.
    pub(super) fn rest(&mut self) -> bool {
        self.retry_at = Some(Instant::now() + RETRY);
        !std::mem::replace(&mut self.broken, true)
    }

    /// Frames and writes what is staged, until nothing but a held line is left or a file fails.
    fn carry(&mut self, shop: &mut Shop<'_>, tail: Tail) -> io::Result<()> {
        // Raw bytes go out as they come, but where lines of another stream could fall between the halves of one, or a file
        // is to be cut at a line's end.
        let whole_lines = !self.is_alone(shop) || self.files.iter().any(|file| shop.files.is_full(*file));
        let at_once = matches!(self.framer.style(), Style::Raw) && tail == Tail::Hold && !whole_lines;
        let tail = if at_once { Tail::Flush } else { tail };
        if tail == Tail::Hold && self.held > 0 && self.still_no_end(shop)? {
            return Ok(());
        }
        self.held = 0;
        self.flush_at = None;
        let mut piece = PIECE;
        loop {
            let backlog = self.staging.backlog();
            let must_end = tail == Tail::End && self.framer.state().mid_line;
            if backlog == 0 && !must_end {
                break;
            }
            shop.input.clear();
            shop.output.clear();
            self.staging.read(0, piece, shop.input)?;
            let whole = shop.input.len() as u64 == backlog;
            let tail = if whole { tail } else { Tail::Hold };
            let before = self.framer.state();
            let stamp = Stamp::now();
            let framed = self.framer.frame(shop.input, stamp, tail, shop.output);
            let after = self.framer.state();
            if !shop.output.is_empty() {
                let intent = Intent {
                    next: self.staging.carried() + framed.consumed as u64,
                    output: shop.output.len() as u64,
                    stamp,
                    after,
                    ends: tail == Tail::End && framed.consumed == shop.input.len(),
                    writes: vec![Write::default(); self.files.len()],
                };
                self.pending = Some((before, intent));
                if !self.write(shop)? {
                    return Ok(());
                }
            } else if after != before {
                // The time of the held line's first byte.
                self.staging.settle(self.staging.carried(), after)?;
            }
            // A line longer than a piece needs all of it in view.
            piece =
                if framed.holds && framed.consumed == 0 { PIECE.max(self.framer.style().hold_max()) } else { PIECE };
            if framed.holds && whole {
                self.held = self.staging.backlog();
                if !matches!(self.framer.style(), Style::Json(_)) {
                    self.flush_at = Some(Instant::now() + HOLD_TIME);
                }
                break;
            }
        }
        self.staging.recycle();
        Ok(())
    }

    /// Returns whether no other stream writes to the same files.
    fn is_alone(&self, shop: &Shop<'_>) -> bool {
        !self.files.iter().any(|file| shop.files.is_shared(*file))
    }

    /// Looks for a line's end in what is new behind a held line, so that a line that comes byte by byte is not framed
    /// again for each.
    fn still_no_end(&mut self, shop: &mut Shop<'_>) -> io::Result<bool> {
        let backlog = self.staging.backlog();
        if backlog >= self.framer.style().hold_max() as u64 {
            return Ok(false);
        }
        shop.input.clear();
        self.staging.read(self.held, usize::MAX, shop.input)?;
        let found = memchr(b'\n', shop.input).is_some();
        if !found {
            self.held = backlog;
        }
        Ok(!found)
    }

    /// Makes the pending write's output again.
    fn frame_again(&mut self, shop: &mut Shop<'_>) -> io::Result<()> {
        let Some((before, intent)) = &self.pending else { return Ok(()) };
        shop.input.clear();
        shop.output.clear();
        let length = usize::try_from(intent.next - self.staging.carried()).unwrap_or(usize::MAX);
        self.staging.read(0, length, shop.input)?;
        self.framer.set_state(*before);
        let tail = if intent.ends { Tail::End } else { Tail::Flush };
        self.framer.frame(shop.input, intent.stamp, tail, shop.output);
        self.framer.set_state(intent.after);
        Ok(())
    }

    /// Makes the pending write's output again, and goes on writing it.
    fn write_again(&mut self, shop: &mut Shop<'_>) -> io::Result<bool> {
        self.frame_again(shop)?;
        let Some((_, intent)) = &mut self.pending else { return Ok(true) };
        // The same, unless this pump was told another format than the last one.
        let output = shop.output.len() as u64;
        for (write, file) in intent.writes.iter_mut().zip(&self.files) {
            let complete = write.written >= intent.output;
            write.written = if complete { output } else { write.written.min(output) };
            // The last pump was killed in, before or after this write. A file that was cut or replaced since cannot
            // tell, and gets it all: better twice than lost.
            if let Some(then) = write.place.take() {
                let due = &shop.output[write.written as usize..];
                write.written = shop.files.landed(*file, then, due).map_or(0, |count| write.written + count);
            }
        }
        intent.output = output;
        self.write(shop)
    }

    /// Writes the pending output to the files that lack it, and returns whether all have it now.
    fn write(&mut self, shop: &mut Shop<'_>) -> io::Result<bool> {
        let Some((before, intent)) = &mut self.pending else { return Ok(true) };
        let output = intent.output;
        let due = |write: &Write| write.written < output;
        for (write, file) in intent.writes.iter_mut().zip(&self.files).filter(|(write, _)| due(write)) {
            // What cannot be opened fails again, and is told, when it is written to.
            write.place = shop.files.place(*file).unwrap_or_default();
        }
        if !intent.writes.is_empty() {
            self.staging.intend(*before, intent)?;
        }
        for (write, file) in intent.writes.iter_mut().zip(&self.files) {
            let due = &shop.output[write.written as usize..];
            if due.is_empty() {
                continue;
            }
            let (count, error) = shop.files.write(*file, due);
            write.written += count as u64;
            shop.counters.bytes_written.fetch_add(count as u64, Ordering::Relaxed);
            let news = shop.files.note(*file, error.is_some());
            let key = || self.key.clone();
            let path = shop.files.path(*file).map(ToOwned::to_owned);
            match error {
                Some(error) => {
                    shop.counters.write_errors.fetch_add(1, Ordering::Relaxed);
                    if news {
                        (shop.on_event)(Event::WriteFailed { key: key(), path, error });
                    }
                }
                None if news => (shop.on_event)(Event::WriteResumed { key: key(), path }),
                None => {}
            }
        }
        for write in &mut intent.writes {
            write.place = None;
        }
        if intent.writes.iter().any(due) {
            self.staging.intend(*before, intent)?;
            self.retry_at = Some(Instant::now() + RETRY);
            return Ok(false);
        }
        self.staging.settle(intent.next, intent.after)?;
        self.pending = None;
        self.retry_at = None;
        self.dropping = false;
        let ends_line = shop.output.last() == Some(&b'\n');
        for file in &self.files {
            if let Some(rotated) = shop.files.rotate_if_full(*file, ends_line) {
                (shop.on_event)(Event::of_rotation(rotated));
            }
        }
        Ok(true)
    }

    /// Gives the pending write up for the files that fail.
    fn drop_oldest(&mut self, shop: &mut Shop<'_>) -> io::Result<()> {
        self.frame_again(shop)?;
        let Some((_, mut intent)) = self.pending.take() else { return Ok(()) };
        for (write, file) in intent.writes.iter_mut().zip(&self.files) {
            // What is written of a line whose rest is dropped would stand before the next one.
            let written = shop.output.get(..write.written as usize).unwrap_or_default();
            let torn = &written[memrchr(b'\n', written).map_or(0, |end| end + 1)..];
            if !torn.is_empty() && torn.len() < written.len() && shop.files.take_back(*file, torn) {
                write.written -= torn.len() as u64;
            }
            let dropped = shop.output.get(write.written as usize..).unwrap_or_default();
            let (lost, lines) = (dropped.len() as u64, memchr_iter(b'\n', dropped).count() as u64);
            shop.count(|counters| &counters.bytes_dropped, lost);
            if lost > 0 {
                let path = shop.files.path(*file).map(ToOwned::to_owned);
                let is_first = !self.dropping;
                (shop.on_event)(Event::Dropping { key: self.key.clone(), path, lost, lines, is_first });
            }
        }
        self.dropping = true;
        self.staging.settle(intent.next, intent.after)?;
        self.staging.recycle();
        Ok(())
    }

    /// The staging file, for tests that force its fallback.
    #[cfg(test)]
    pub(super) fn staging(&mut self) -> &mut Staging {
        &mut self.staging
    }
}
