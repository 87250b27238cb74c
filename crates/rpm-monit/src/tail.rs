//! The end of the log files.
//!
//! Files are read several times a second: what was added since the last one, or the end of the file at first. A file that was
//! renamed, replaced or cut short is read from its beginning. Nothing is kept open. Everything is bounded: what is
//! read at once, the length of a line, and (by the state) the number of lines. What goes to no file comes by a pipe, from
//! when it was opened.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{LogFile, LogLine};

/// The most that is read of one file at one time; of a faster writer the newest is shown. About 600 lines, and a
/// screen has 50.
const READ_MAX: u64 = 64 * 1024;
/// The longest line kept; what is longer goes on in the next one.
const LINE_MAX: usize = 4096;

/// Follows some files.
#[derive(Debug)]
pub(crate) struct Tail {
    files: Vec<FileTail>,
}

impl Tail {
    /// Follows these files, from near their ends; `open` gives the pipe of what goes to none.
    pub(crate) fn new(files: Vec<LogFile>, open: &mut dyn FnMut(&LogFile) -> io::Result<OwnedFd>) -> Self {
        let of = |file: LogFile| {
            let pipe = if file.path.is_none() { open(&file).ok() } else { None };
            FileTail { file, identity: None, offset: 0, partial: Vec::new(), pipe: pipe.map(File::from) }
        };
        Self { files: files.into_iter().map(of).collect() }
    }

    /// Returns the lines added since the last call. What was written last comes last, as far as the times of the files
    /// tell; between two files there is nothing better to go by.
    pub(crate) fn read(&mut self) -> Vec<LogLine> {
        let mut added: Vec<_> = self.files.iter_mut().map(FileTail::read).collect();
        added.sort_by_key(|(modified, _)| *modified);
        added.into_iter().flat_map(|(_, lines)| lines).collect()
    }
}

/// Follows one file.
#[derive(Debug)]
struct FileTail {
    file: LogFile,
    /// Device and inode of what was read last; nothing before the first look.
    identity: Option<(u64, u64)>,
    offset: u64,
    /// The beginning of a line whose end was not written yet.
    partial: Vec<u8>,
    /// In place of a file.
    pipe: Option<File>,
}

impl FileTail {
    /// Returns when the file was written last, in nanoseconds, and the lines added.
    fn read(&mut self) -> (i128, Vec<LogLine>) {
        // A file that is not there yet, or may not be read, has no lines.
        self.try_read().unwrap_or_default()
    }

    fn try_read(&mut self) -> io::Result<(i128, Vec<LogLine>)> {
        let Some(path) = self.file.path.clone() else { return self.try_read_pipe() };
        // Mostly nothing was written, and the file is not even opened. Opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(&path)?;
        if !metadata.is_file() || (self.identity == Some(identity(&metadata)) && metadata.len() == self.offset) {
            return Ok((0, Vec::new()));
        }
        let mut file = File::open(&path)?;
        let metadata = file.metadata()?;
        let modified = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        if self.identity != Some(identity(&metadata)) || metadata.len() < self.offset {
            self.identity = Some(identity(&metadata));
            self.offset = 0;
            self.partial.clear();
        }
        let start = self.offset.max(metadata.len().saturating_sub(READ_MAX));
        let skipped = start > self.offset;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(READ_MAX).read_to_end(&mut bytes)?;
        self.offset = start + bytes.len() as u64;
        let mut added = bytes.as_slice();
        if skipped {
            // What was begun is lost, and the first line read may lack its beginning.
            self.partial.clear();
            added = added.iter().position(|byte| *byte == b'\n').map_or(added, |end| &added[end + 1..]);
        }
        Ok((modified, self.lines(added)))
    }

    fn try_read_pipe(&mut self) -> io::Result<(i128, Vec<LogLine>)> {
        let Some(mut pipe) = self.pipe.as_ref() else { return Ok((0, Vec::new())) };
        let mut bytes = vec![0; READ_MAX as usize];
        let length = pipe.read(&mut bytes)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok((i128::try_from(now).unwrap_or(i128::MAX), self.lines(&bytes[..length])))
    }

    fn lines(&mut self, added: &[u8]) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for piece in added.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_MAX) {
                self.partial.extend_from_slice(part);
                if self.partial.ends_with(b"\n") || self.partial.len() >= LINE_MAX {
                    let text = String::from_utf8_lossy(&self.partial);
                    let text = text.trim_end_matches(['\n', '\r']).to_owned();
                    lines.push(LogLine { worker: self.file.worker, stream: self.file.stream, text });
                    self.partial.clear();
                }
            }
        }
        lines
    }
}

/// Tells one file from another at the same path.
fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stream;
    use rpm_model::WorkerId;
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    fn texts(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    fn tail(path: &Path) -> Tail {
        let file = LogFile { worker: WorkerId(0), stream: Stream::Out, path: Some(path.to_owned()) };
        Tail::new(vec![file], &mut |_| Err(io::ErrorKind::Unsupported.into()))
    }

    #[test]
    fn what_goes_to_no_file_comes_by_a_pipe() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut pipe = Some(OwnedFd::from(ours));
        let file = LogFile { worker: WorkerId(3), stream: Stream::Err, path: None };
        let mut tail = Tail::new(vec![file], &mut |_| Ok(pipe.take().expect("one")));
        assert_eq!(tail.read(), []);
        theirs.write_all(b"one\ntw").unwrap();
        let read = tail.read();
        assert_eq!((read[0].worker, read[0].stream, read[0].text.as_str()), (WorkerId(3), Stream::Err, "one"));
        theirs.write_all(b"o\n").unwrap();
        assert_eq!(texts(tail.read()), ["two"]);
        assert_eq!(tail.read(), []);
    }

    #[test]
    fn growth_is_followed_and_a_line_waits_for_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        let mut tail = tail(&path);
        assert_eq!(tail.read(), []);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntwo\r\nthr").unwrap();
        assert_eq!(texts(tail.read()), ["one", "two"]);
        file.write_all(b"ee\n").unwrap();
        assert_eq!(texts(tail.read()), ["three"]);
        assert_eq!(tail.read(), []);
    }

    #[test]
    fn a_rotated_or_cut_file_is_read_from_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        fs::write(&path, "one\ntwo\n").unwrap();
        let mut tail = tail(&path);
        assert_eq!(texts(tail.read()), ["one", "two"]);
        fs::rename(&path, dir.path().join("out.log.1")).unwrap();
        fs::write(&path, "three, and longer than before\n").unwrap();
        assert_eq!(texts(tail.read()), ["three, and longer than before"]);
        fs::write(&path, "four\n").unwrap();
        assert_eq!(texts(tail.read()), ["four"]);
    }

    #[test]
    fn only_the_end_of_a_large_file_is_read_and_long_lines_are_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.log");
        let mut text = "x".repeat(1_000_000);
        text.push_str("\nlast\n");
        fs::write(&path, &text).unwrap();
        assert_eq!(texts(tail(&path).read()), ["last"]);
        fs::write(&path, "y".repeat(LINE_MAX * 2 + 1)).unwrap();
        assert_eq!(texts(tail(&path).read()).iter().map(String::len).collect::<Vec<_>>(), [LINE_MAX, LINE_MAX]);
    }

    #[test]
    fn what_is_not_a_file_has_no_lines() {
        assert_eq!(tail(Path::new("/dev/null")).read(), []);
        assert_eq!(tail(Path::new("/")).read(), []);
    }
}
