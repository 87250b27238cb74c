//! A file of lines with a bound: when it is full it becomes the part before, and that one is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A file that lines are added to.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    /// Beyond this many bytes the file becomes the part before, so at most twice this is used.
    max: u64,
    file: Option<File>,
    length: u64,
}

impl Ledger {
    pub(crate) fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max, file: None, length: 0 }
    }

    /// Adds a line by one write, so that readers never see half of one; not forced to the disk.
    pub(crate) fn append(&mut self, record: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.file.is_some() && self.length + line.len() as u64 > self.max {
            self.file = None;
            std::fs::rename(&self.path, before(&self.path))?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let (file, length) = open(&self.path)?;
                self.length = length;
                none.insert(file)
            }
        };
        let written = file.write_all(&line);
        self.length += line.len() as u64;
        if written.is_err() {
            // Perhaps half a line is there now: opening it again ends that one.
            self.file = None;
        }
        written
    }
}

/// Returns the part before.
pub(crate) fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Opens a file for its owner alone, never through a link that somebody put there; ends a line that was cut.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits() as i32)
            .open(path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let private = |directory| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            path.parent().map_or(Ok(()), private)?;
            open()?
        }
        other => other?,
    };
    let mut length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 && file.read_at(&mut last, length - 1)? == 1 && last != [b'\n'] {
        file.write_all(b"\n")?;
        length += 1;
    }
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_becomes_the_part_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/x.jsonl");
        let mut ledger = Ledger::new(path.clone(), 20);
        for number in 0..10 {
            ledger.append(&format!("line {number}")).unwrap();
        }
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&path), "\"line 8\"\n\"line 9\"\n");
        assert_eq!(text(&before(&path)), "\"line 6\"\n\"line 7\"\n");
    }

    #[test]
    fn a_line_that_was_cut_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.jsonl");
        std::fs::write(&path, "\"one\"\n\"tw").unwrap();
        Ledger::new(path.clone(), 1000).append(&"three").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\"one\"\n\"tw\n\"three\"\n");
    }
}
