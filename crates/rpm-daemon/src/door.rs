//! The door of every local socket: who may come in.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use interprocess::local_socket::{GenericFilePath, ListenerOptions, prelude::*, traits::tokio::Listener as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::{
    self,
    tokio::{Listener, Stream},
};
use rustix::fs::inotify::{self, WatchFlags};

/// Out of descriptors, most likely, when nobody can be let in: trying at once would spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Makes a socket for the daemon's own user. Whatever has its name is stale: the keeper's lock says that we are alone.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let name = path.to_fs_name::<GenericFilePath>()?;
    let listener: uds_local_socket::Listener =
        ListenerOptions::new().name(name).mode(0o600).reclaim_name(false).create_sync_as()?;
    Ok(listener.into())
}

/// Returns whether a socket is where clients look for it.
pub(crate) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket())
}

/// Notices when somebody takes a socket away from under its listener, without whom nobody would come in ever again.
pub(crate) struct Doorman {
    inotify: OwnedFd,
}

impl Doorman {
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        Ok(Self { inotify })
    }

    /// Looks after the socket at `path`, once: its descriptor is readable when something has become of the file.
    pub(crate) fn watch(&self, path: &Path) -> io::Result<()> {
        // Of a file that is still open the removal shows as a change of its links.
        let news = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::ONESHOT;
        inotify::add_watch(&self.inotify, path, news)?;
        Ok(())
    }

    /// Takes what has happened.
    pub(crate) fn hear(&self) {
        let mut space = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut space);
        while reader.next().is_ok() {}
    }
}

impl AsFd for Doorman {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Accepts connections of the daemon's own user, and root's, for ever. Needs a tokio runtime.
pub(crate) fn open(socket: OwnedFd, mut welcome: impl FnMut(Stream) + Send + 'static) -> io::Result<()> {
    let listener = Listener::try_from(socket)?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok(stream) if is_allowed(&stream) => welcome(stream),
                Ok(_) => tracing::warn!("refused a client that runs as another user"),
                Err(error) => {
                    tracing::warn!("could not accept a client: {error}");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    });
    Ok(())
}

fn is_allowed(stream: &Stream) -> bool {
    match rpm_sys::fd::peer_uid(stream.as_fd()) {
        Ok(uid) => uid == 0 || uid == rustix::process::geteuid().as_raw(),
        Err(_) => false,
    }
}
