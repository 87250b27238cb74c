//! The threads that serve: started once, told of every new snapshot.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::config::Snapshot;
use crate::edge::listeners::Share;
use crate::log::Writer;
use crate::serve::accept::{Listener, accept};
use crate::thread::{Connections, Thread};

/// What a thread is told.
enum Tell {
    /// The world is another one; these sockets are new.
    Apply(Arc<Snapshot>, Vec<(String, OwnedFd)>),
    /// Lines of logs are sent on.
    FlushLogs,
    /// Nothing new begins any more.
    Quit,
}

type Told = (Tell, oneshot::Sender<()>);

/// All threads.
pub(super) struct Threads(Vec<mpsc::UnboundedSender<Told>>);

impl Threads {
    pub(super) fn start(
        count: usize,
        snapshot: &Arc<Snapshot>,
        logs: &Writer,
        connections: &Arc<Connections>,
    ) -> io::Result<Self> {
        let start = |index| {
            let (tell, told) = mpsc::unbounded_channel();
            let (snapshot, logs, connections) = (snapshot.clone(), logs.clone(), connections.clone());
            std::thread::Builder::new().name(format!("edge {index}")).spawn(move || {
                // Out of descriptors before anything is served: the other threads, or the caller's next try, will do.
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(tokio::runtime::LocalOptions::default())
                else {
                    return;
                };
                runtime.block_on(serve(Rc::new(Thread::new(index, snapshot, logs, connections)), told));
            })?;
            Ok(tell)
        };
        (0..count).map(start).collect::<io::Result<_>>().map(Self)
    }

    /// Tells all threads of a snapshot, and waits until all use it.
    pub(super) async fn apply(&self, snapshot: &Arc<Snapshot>, shares: Vec<Share>) {
        let mut sockets: Vec<Vec<_>> = self.0.iter().map(|_| Vec::new()).collect();
        for Share { thread, name, fd } in shares {
            sockets[thread].push((name, fd));
        }
        let mut sockets = sockets.into_iter();
        self.all(|| Tell::Apply(snapshot.clone(), sockets.next().unwrap_or_default())).await;
    }

    pub(super) async fn flush_logs(&self) {
        self.all(|| Tell::FlushLogs).await;
    }

    pub(super) async fn quit(&self) {
        self.all(|| Tell::Quit).await;
    }

    async fn all(&self, mut tell: impl FnMut() -> Tell) {
        let mut dones = Vec::new();
        for thread in &self.0 {
            let (sender, done) = oneshot::channel();
            if thread.send((tell(), sender)).is_ok() {
                dones.push(done);
            }
        }
        for done in dones {
            let _ = done.await;
        }
    }
}

async fn serve(thread: Rc<Thread>, mut told: mpsc::UnboundedReceiver<Told>) {
    tokio::task::spawn_local(housekeep(thread.clone()));
    let mut accepting: HashMap<String, Vec<AbortHandle>> = HashMap::new();
    while let Some((tell, done)) = told.recv().await {
        match tell {
            Tell::Apply(snapshot, sockets) => {
                accepting.retain(|name, tasks| {
                    let stays = snapshot.entries.contains_key(name);
                    if !stays {
                        tasks.iter().for_each(AbortHandle::abort);
                    }
                    stays
                });
                thread.replace(snapshot);
                for (name, fd) in sockets {
                    // What is no listening socket was refused before.
                    let Ok(listener) = listener(fd) else { continue };
                    let task = tokio::task::spawn_local(accept(thread.clone(), name.clone(), listener));
                    accepting.entry(name).or_default().push(task.abort_handle());
                }
            }
            Tell::FlushLogs => thread.flush_logs(),
            Tell::Quit => {
                accepting.drain().flat_map(|(_, tasks)| tasks).for_each(|task| task.abort());
                // An aborted task lets go of its socket when it is next looked at.
                tokio::task::yield_now().await;
                thread.quit();
            }
        }
        let _ = done.send(());
    }
}

/// Closes what idles too long and sends lines of logs on, once a second. The only thing that happens without a cause;
/// it costs less than a timer for each connection.
async fn housekeep(thread: Rc<Thread>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        thread.flush_logs();
        thread.tidy();
    }
}

fn listener(fd: OwnedFd) -> io::Result<Listener> {
    if let Some(local) = rpm_sys::net::listen::local_address(&fd) {
        // Once, in place of once for each connection. What cannot be set costs speed only.
        let _ = rpm_sys::net::listen::set_nodelay(&fd);
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(Listener::Tcp(TcpListener::from_std(listener)?, local))
    } else {
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(Listener::Unix(UnixListener::from_std(listener)?))
    }
}
