//! Opening log files.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::names::LogPaths;

/// Logs are for their owner alone: they hold what apps were asked and answered.
const LOG_MODE: u32 = 0o600;

/// Which of a worker's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    Ok(rpm_sys::open::append_log(path, LOG_MODE)?)
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
    fn a_file_that_cannot_be_opened_is_named() {
        let paths = LogPaths { out: Some("/proc/nowhere/x.log".into()), err: None, combined: None };
        let error = open_targets(&paths).expect_err("cannot be");
        assert!(error.to_string().contains("/proc/nowhere/x.log"), "{error}");
    }
}
