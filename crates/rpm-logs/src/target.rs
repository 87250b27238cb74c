//! Opening log files.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::hand;
use crate::names::LogPaths;

/// Logs are for their owner alone: they hold what apps were asked and answered.
const LOG_MODE: u32 = 0o600;

/// Which of a worker's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Kind {
    /// Returns PM2's word, as in JSON logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Out => "out",
            Kind::Err => "err",
        }
    }
}

/// Where the pump writes a stream to.
#[derive(Debug)]
pub enum Target {
    /// A file, opened by the pump, and opened again by [`Pump::reopen`](crate::Pump::reopen).
    Path(PathBuf),
    /// A descriptor, kept as it is.
    Fd(OwnedFd),
}

/// What a worker that writes its logs itself is given as standard output and error; `None` means `/dev/null`.
#[derive(Debug)]
pub struct DirectFiles {
    /// Standard output.
    pub out: Option<OwnedFd>,
    /// Standard error.
    pub err: Option<OwnedFd>,
}

/// Opens a log file for appending, and the directories that lead to it.
pub fn direct(path: &Path) -> io::Result<OwnedFd> {
    let _acting = hand::act_for(path)?;
    Ok(rpm_sys::open::append_log(path, LOG_MODE)?)
}

/// How much an app can say before `runtime` has read it.
const CONSOLE_CAPACITY: usize = 1 << 20;

/// Opens the named pipe of a stream that goes to the [console](rpm_model::LogTarget::Console) for writing.
///
/// Where nobody reads it yet, what is written waits in it.
pub fn console_writer(path: &Path) -> io::Result<OwnedFd> {
    make_console(path)?;
    let pipe = direct(path)?;
    // Beyond what the user may have, a pipe keeps its default size.
    let _kept = rustix::pipe::fcntl_setpipe_size(&pipe, CONSOLE_CAPACITY);
    Ok(pipe)
}

/// Opens the same for reading, without waiting for writers. It never ends: writers come and go with their processes.
pub fn console_reader(path: &Path) -> io::Result<OwnedFd> {
    make_console(path)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let pipe = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&pipe)?.st_mode) {
        FileType::Fifo => Ok(pipe),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pipe")),
    }
}

fn make_console(path: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(LOG_MODE);
    let made = match rustix::fs::mkfifoat(CWD, path, mode) {
        Err(Errno::NOENT) => {
            if let Some(directory) = path.parent() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            rustix::fs::mkfifoat(CWD, path, mode)
        }
        made => made,
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens the files of a worker whose logs are [direct](rpm_model::LogSpec::is_direct); both streams in one file share
/// one descriptor's worth of position, as O_APPEND has it.
pub fn open_targets(paths: &LogPaths) -> io::Result<DirectFiles> {
    let open = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| {
            direct(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        })
    };
    Ok(DirectFiles { out: open(&paths.out).transpose()?, err: open(&paths.err).transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn directories_are_made_and_logs_are_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a/b/out.log");
        let paths = LogPaths { out: Some(path.clone()), err: None, combined: None };
        for text in ["one\n", "two\n"] {
            let files = open_targets(&paths).expect("opens");
            assert!(files.err.is_none());
            std::fs::File::from(files.out.expect("a file")).write_all(text.as_bytes()).expect("writes");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_goes_to_the_console_waits_for_its_reader_and_outlives_its_writers() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("console/0-out");
        let mut first = std::fs::File::from(console_writer(&path).expect("opens"));
        first.write_all(b"one\n").expect("nobody reads yet");
        let mut reader = std::fs::File::from(console_reader(&path).expect("opens"));
        drop(first);
        std::fs::File::from(console_writer(&path).expect("opens")).write_all(b"two\n").expect("writes");
        let mut bytes = [0; 64];
        let count = std::io::Read::read(&mut reader, &mut bytes).expect("reads");
        assert_eq!(&bytes[..count], b"one\ntwo\n");
        let error = std::io::Read::read(&mut reader, &mut bytes).expect_err("there is no more, and no end");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_console_is_a_pipe() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "").expect("a file");
        assert!(console_reader(&path).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let paths = LogPaths { out: Some("/proc/nowhere/x.log".into()), err: None, combined: None };
        let error = open_targets(&paths).expect_err("cannot be");
        assert!(error.to_string().contains("/proc/nowhere/x.log"), "{error}");
    }
}
