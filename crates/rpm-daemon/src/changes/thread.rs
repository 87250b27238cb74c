//! The thread that walks directories and reads what the kernel tells: a tree of a hundred thousand directories must not
//! hold up the loop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rpm_model::AppId;
use rpm_trigger::Rules;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::tree::{AllTold, Tree};

/// What the thread has to tell. Bounded by the number of apps: of many changes the first is kept.
#[derive(Debug, Default)]
pub(super) struct News {
    told: Mutex<AllTold>,
    there_is_some: Notify,
}

impl News {
    /// Waits until there is something.
    pub(super) async fn wait(&self) {
        self.there_is_some.notified().await;
    }

    /// Takes what there is.
    pub(super) fn take(&self) -> AllTold {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, news: AllTold) {
        if news.is_empty() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (app, new) in news {
            let known = told.entry(app).or_default();
            known.changed = known.changed.take().or(new.changed);
            known.problem = new.problem.or(known.problem.take());
        }
        drop(told);
        self.there_is_some.notify_one();
    }
}

/// What the thread is told.
pub(super) enum Order {
    /// Watch for an app, in the place of what was watched for it before.
    Watch {
        /// Which app.
        app: AppId,
        /// What matters.
        rules: Rules,
        /// Whether symbolic links are followed.
        follow_symlinks: bool,
    },
    /// Watch for it no longer.
    Forget(AppId),
}

/// The way to the thread, which ends with it.
pub(super) struct Thread {
    orders: mpsc::Sender<Order>,
    wake: Arc<OwnedFd>,
}

impl Thread {
    pub(super) fn start(news: Arc<News>) -> io::Result<Self> {
        let mut tree = Tree::new()?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, inbox) = mpsc::channel();
        let woken = wake.clone();
        std::thread::Builder::new().name("rpm-changes".into()).spawn(move || {
            if let Err(error) = run(&mut tree, &inbox, &woken, &news) {
                tracing::error!("files are no longer watched: {error}");
            }
        })?;
        Ok(Self { orders, wake })
    }

    pub(super) fn tell(&self, order: Order) {
        // A thread that has given up has said why.
        let _ = self.orders.send(order);
        self.wake();
    }

    fn wake(&self) {
        // The counter being full means that it is woken anyway.
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel();
        self.orders = closed;
        self.wake();
    }
}

fn run(tree: &mut Tree, inbox: &mpsc::Receiver<Order>, wake: &OwnedFd, news: &News) -> io::Result<()> {
    loop {
        let mut ready = [PollFd::from_borrowed_fd(tree.fd(), PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Level-triggered: emptied before the orders are taken, so that none is missed.
        let _ = rustix::io::read(wake, &mut [0u8; 8]);
        let mut told = AllTold::new();
        tree.read(&mut told)?;
        loop {
            match inbox.try_recv() {
                Ok(Order::Watch { app, rules, follow_symlinks }) => tree.add(app, rules, follow_symlinks, &mut told),
                Ok(Order::Forget(app)) => tree.remove(app),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            }
        }
        news.tell(told);
    }
}
