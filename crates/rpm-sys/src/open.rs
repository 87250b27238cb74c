//! Opening log files without being led astray.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Result, SysError};
use crate::fd;

/// Opens a log for appending, creating it with `mode`, and missing directories with 0700.
///
/// A symbolic link in the last place is refused (ELOOP): in a directory that others may write to it could lead anywhere.
/// So is what is neither a file nor a pipe nor a character device such as `/dev/null` (EINVAL). A pipe that nobody
/// reads is opened for both directions rather than waited for.
pub fn append_log(path: &Path, mode: u32) -> Result<OwnedFd> {
    let file = match open(path, mode, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
                made.map_err(|error| SysError::from_io("mkdir", &error))?;
            }
            open(path, mode, false)
        }
        // A pipe without a reader. Reading it ourselves lets writers in; what they write waits for a reader.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => open(path, mode, true),
        other => other,
    };
    let file = file.map_err(|error| SysError::from_io("open", &error))?;
    let kind = file.metadata().map_err(|error| SysError::from_io("fstat", &error))?.file_type();
    if !(kind.is_file() || kind.is_fifo() || kind.is_char_device()) {
        return Err(SysError::new("open", libc::EINVAL));
    }
    let file = OwnedFd::from(file);
    // Only the open itself was not to wait.
    fd::set_nonblocking(&file, false)?;
    Ok(file)
}

fn open(path: &Path, mode: u32, read: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(read)
        .append(true)
        .create(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_log_is_created_with_its_directories_and_appended_to() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("logs/deep/app.log");
        for line in ["one\n", "two\n"] {
            File::from(append_log(&path, 0o640).unwrap()).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o640, 0o700));
    }

    #[test]
    fn links_directories_and_sockets_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(append_log(&link, 0o600).unwrap_err().errno, libc::ELOOP);
        assert!(append_log(home.path(), 0o600).is_err());
        let socket = home.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(append_log(&socket, 0o600).is_err());
        assert!(append_log(Path::new("/dev/null"), 0o600).is_ok());
    }

    #[test]
    fn a_pipe_without_a_reader_does_not_hang() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let log = append_log(&path, 0o600).unwrap();
        File::from(log).write_all(b"kept").unwrap();
    }
}
