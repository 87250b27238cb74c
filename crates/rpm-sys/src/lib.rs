//! Everything we ask of the kernel, and the only crate with `unsafe` code.
//!
//! Raw numbers stop here: descriptors come out as [`OwnedFd`](std::os::fd::OwnedFd), processes as a [`pidfd::Pidfd`]
//! or as a pid with its start time, and every failure names the call that failed ([`SysError`]).
//!
//! Nothing here decides anything, keeps state between calls or starts threads. What a kernel lacks is answered by a
//! plain fallback beside the fast way, and by a test that forces it.
//!
//! Linux 5.3 or later is needed: pidfds are what everything else stands on.
//!
//! | room | for |
//! |---|---|
//! | [`fd`] | pipes, socket pairs, passing descriptors, memory files, locks |
//! | [`open`] | opening log files without being led astray |
//! | [`pidfd`] | holding on to one process, whatever happens to its number |
//! | [`mod@proc`] | what `/proc` says about processes and the machine |
//! | [`oom`] | whom the kernel has killed for want of memory |
//! | [`borrow`] | descriptors of another process |
//! | [`tree`] | signalling a process together with its descendants |
//! | [`spawn`] | starting a program |
//! | [`credentials`] | as whom |
//! | [`limit`] | resource limits, and the mark that is one |
//! | [`identity`] | opening files as somebody else |
//! | [`reap`] | being a parent: exits, orphans, signals as a descriptor |
//! | [`poll`] | waiting for several descriptors at once |
//! | [`signal`] | numbers of signals and errors |
//! | [`net`] | sockets |
//! | [`fail`] | where a test lets a process die |

pub mod borrow;
pub mod credentials;
pub mod fail;
pub mod fd;
pub mod identity;
pub mod limit;
pub mod memory;
pub mod net;
pub mod oom;
pub mod open;
pub mod pidfd;
pub mod poll;
pub mod proc;
pub mod reap;
pub mod signal;
pub mod spawn;
pub mod tree;

mod error;

pub use error::{Result, SysError};
