//! Which file has a followed name, and which watches tell of it.

use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::reading::Reading;
use super::{Begin, Follower, Line};

/// A name came or went. (Adding a watch again replaces its flags, so all directories have the same.)
const DIRECTORY_NEWS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

#[derive(Debug)]
pub(super) struct Followed<L> {
    pub(super) label: L,
    pub(super) path: PathBuf,
    pub(super) current: Option<Reading>,
    /// The file that had the name before, until the new one has bytes.
    pub(super) former: Option<Reading>,
    pub(super) directories: Vec<i32>,
    /// It is among the dirty ones.
    pub(super) queued: bool,
    /// A block of it was read whose lines are not given out yet.
    pub(super) fresh: bool,
}

impl<L: Clone + PartialEq> Follower<L> {
    /// Watches the directory of a file, or the nearest above it that exists, and the one above that: a directory does not
    /// tell of its own removal while a removed file of it is still open.
    pub(super) fn watch_directories(&mut self, id: u64) {
        let Some(followed) = self.files.get_mut(&id) else { return };
        let nearest = || -> Vec<i32> {
            let directories = followed.path.ancestors().skip(1);
            let watches = directories.filter_map(|directory| {
                let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
                inotify::add_watch(&self.inotify, directory, DIRECTORY_NEWS).ok()
            });
            watches.take(2).collect()
        };
        let mut found = nearest();
        let mut passed = Vec::new();
        // A nearer one may have been made just before its parent was watched.
        loop {
            let again = nearest();
            if again == found {
                break;
            }
            passed.append(&mut found);
            found = again;
        }
        for watch in &found {
            let users = self.directories.entry(*watch).or_default();
            if !users.contains(&id) {
                users.push(id);
            }
        }
        passed.append(&mut followed.directories);
        followed.directories = found.clone();
        passed.retain(|watch| !found.contains(watch));
        self.unwatch_directories(id, passed);
    }

    pub(super) fn unwatch_directories(&mut self, id: u64, watches: Vec<i32>) {
        for watch in watches {
            let users = self.directories.entry(watch).or_default();
            users.retain(|user| *user != id);
            if users.is_empty() {
                self.directories.remove(&watch);
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
    }

    pub(super) fn unwatch_file(&mut self, watch: i32) {
        let readings = self.files.values().flat_map(|file| [&file.current, &file.former]).flatten();
        if !readings.into_iter().any(|reading| reading.watch == watch) {
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Looks which file has the name now.
    pub(super) fn look(&mut self, id: u64, begin: Begin) {
        let Some(followed) = self.files.get_mut(&id) else { return };
        let Ok(mut reading) = Reading::open(&followed.path, &self.inotify) else { return };
        if followed.current.as_ref().is_some_and(|current| current.identity == reading.identity) {
            return;
        }
        if followed.former.as_ref().is_some_and(|former| former.identity == reading.identity) {
            // Put back where it was.
            std::mem::swap(&mut followed.current, &mut followed.former);
            self.mark(id);
            return;
        }
        reading.offset = match begin {
            Begin::Start => 0,
            Begin::End => reading.length(),
            Begin::Offset(offset) => offset.min(reading.length()),
            Begin::Place(place) => reading.offset_of(place),
        };
        let former = followed.former.as_ref().or(followed.current.as_ref());
        let is_log = former.is_none_or(|former| reading.read_from(former.end()));
        // The oldest is read on. What came behind it and is gone again is read from the archives.
        let replaced = followed.current.replace(reading);
        let retired = match followed.former {
            Some(_) => replaced,
            None => std::mem::replace(&mut followed.former, replaced),
        };
        if let Some(retired) = retired {
            self.unwatch_file(retired.watch);
        }
        self.mark(id);
        if !is_log {
            self.look(id, Begin::Start);
        }
    }

    fn mark(&mut self, id: u64) {
        if let Some(followed) = self.files.get_mut(&id)
            && !std::mem::replace(&mut followed.queued, true)
        {
            self.dirty.push_back(id);
        }
    }

    /// Takes in what inotify has to tell.
    pub(super) fn notice(&mut self) -> io::Result<()> {
        let mut grown: Vec<i32> = Vec::new();
        let mut named: Vec<i32> = Vec::new();
        let mut overflow = false;
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        loop {
            match reader.next() {
                Ok(event) => {
                    let list = if self.directories.contains_key(&event.wd()) { &mut named } else { &mut grown };
                    if list.last() != Some(&event.wd()) {
                        list.push(event.wd());
                    }
                    overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if grown.is_empty() && named.is_empty() && !overflow {
            return Ok(());
        }
        let ids: Vec<u64> = self.files.keys().copied().collect();
        for id in ids {
            let followed = &self.files[&id];
            let reads =
                |watch: &i32| [&followed.current, &followed.former].into_iter().flatten().any(|r| r.watch == *watch);
            let touched = overflow || grown.iter().any(reads);
            if overflow || followed.directories.iter().any(|watch| named.contains(watch)) {
                // The nearest directory may be a nearer one now.
                self.watch_directories(id);
                self.look(id, Begin::Start);
            }
            if touched {
                self.mark(id);
            }
        }
        Ok(())
    }
}

impl<L> Followed<L> {
    /// Returns a line that was read already; those of the former file come first.
    pub(super) fn take_line(&mut self) -> Option<Vec<u8>> {
        [&mut self.former, &mut self.current].into_iter().flatten().find_map(|reading| reading.lines.take())
    }

    /// Returns since when a line waits for its end; that of a former file may yet be ended in the next.
    pub(super) fn unfinished_since(&self) -> Option<Instant> {
        self.current.as_ref().filter(|_| self.former.is_none())?.lines.unfinished_since()
    }

    /// Takes the beginning of that line.
    pub(super) fn take_unfinished(&mut self) -> Option<Line<L>>
    where
        L: Clone,
    {
        let bytes = self.current.as_mut()?.lines.take_unfinished();
        Some(Line { label: self.label.clone(), bytes })
    }

    /// Reads on, and returns whether anything came, and the watch of a former file that is now done with.
    pub(super) fn read_block(&mut self) -> io::Result<(bool, Option<i32>)> {
        let former_came = match &mut self.former {
            Some(former) => former.read_block()?,
            None => false,
        };
        if former_came {
            return Ok((true, None));
        }
        let came = match &mut self.current {
            Some(current) => current.read_block()?,
            None => false,
        };
        if came && let Some(mut former) = self.former.take() {
            // Nobody will end its last line.
            let rest = former.lines.rest();
            if let (false, Some(current)) = (rest.is_empty(), &mut self.current) {
                current.lines.put_before(rest);
            }
            return Ok((true, Some(former.watch)));
        }
        Ok((came, None))
    }
}
