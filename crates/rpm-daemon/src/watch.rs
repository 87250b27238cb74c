//! Everything the daemon waits for by descriptor, in one epoll set.
//!
//! One set that tokio watches as a whole, instead of a task for each channel and each process: a hundred workers cost
//! a hundred entries in the kernel and nothing here.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rpm_model::{Life, Moment, WorkerId};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// What a descriptor in the set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The keeper's socket.
    Keeper,
    /// SIGTERM and its like.
    Signals,
    /// A worker's IPC channel.
    Channel(Life),
    /// A worker's notification socket.
    Notify(Life),
    /// A leftover process of a life that ended.
    Leftover(Life),
    /// Something has become of the clients' socket.
    Door,
    /// The timer of the next restart by cron.
    Cron,
    /// The conversation with an edge.
    Edge(Life),
    /// The process in whose foreground the apps run.
    Foreground,
    /// The moment that something is due.
    Clock,
}

/// The set.
pub(crate) struct Watch {
    epoll: AsyncFd<OwnedFd>,
    ready: Vec<epoll::Event>,
    /// Whether the keeper's socket is reported as writable, too: asked for in every pass, and changed rarely.
    keeper_writable: Cell<bool>,
    clock: OwnedFd,
    /// When the clock is to ring, if it is.
    rings_at: Option<Moment>,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd that nobody else closes is what it asks for"
        )]
        let epoll = AsyncFd::new(epoll)?;
        let clock = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let ready = Vec::with_capacity(256);
        let watch = Self { epoll, ready, keeper_writable: Cell::new(false), clock, rings_at: None };
        // It rings once and need not be read.
        watch.put(&watch.clock, Token::Clock, epoll::EventFlags::IN | epoll::EventFlags::ET, false)?;
        Ok(watch)
    }

    /// Sees to it that [`Watch::wait`] returns at `due`, or within a millisecond after it.
    ///
    /// The kernel's own timer, because the runtime's costs a wake more for most waits, and a system call for each.
    pub(crate) fn wake_at(&mut self, due: Option<Moment>) -> io::Result<()> {
        const SLACK: u64 = 1000;
        let Some(due) = due else { return Ok(()) };
        let due = Moment(due.0.div_ceil(SLACK) * SLACK);
        if self.rings_at == Some(due) {
            return Ok(());
        }
        let at = Timespec { tv_sec: (due.0 / 1_000_000) as i64, tv_nsec: (due.0 % 1_000_000 * 1000) as i64 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.clock, TimerfdTimerFlags::ABSTIME, &once)?;
        self.rings_at = Some(due);
        Ok(())
    }

    /// Reports `fd` as readable under `token`, level-triggered.
    pub(crate) fn add(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        self.put(fd, token, epoll::EventFlags::IN, false)
    }

    /// Reports when `fd` becomes readable or writable, once each time: for streams of which a part may be left unread.
    pub(crate) fn add_edges(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        self.put(fd, token, epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET, false)
    }

    /// Changes whether `fd` is reported as writable too.
    pub(crate) fn also_writable(&self, fd: impl AsFd, token: Token, writable: bool) -> io::Result<()> {
        if token == Token::Keeper && self.keeper_writable.get() == writable {
            return Ok(());
        }
        let both = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        self.put(fd, token, if writable { both } else { epoll::EventFlags::IN }, true)?;
        if token == Token::Keeper {
            self.keeper_writable.set(writable);
        }
        Ok(())
    }

    fn put(&self, fd: impl AsFd, token: Token, flags: epoll::EventFlags, known: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(encode(token));
        if known {
            epoll::modify(self.epoll.get_ref(), fd, data, flags)?;
        } else {
            epoll::add(self.epoll.get_ref(), fd, data, flags)?;
            if token == Token::Keeper {
                // The socket of another one.
                self.keeper_writable.set(false);
            }
        }
        Ok(())
    }

    /// Takes `fd` out of the set. Needed where the keeper holds a duplicate: closing ours would not do it.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        // A descriptor that is not in the set is what we want.
        let _ = epoll::delete(self.epoll.get_ref(), fd);
    }

    /// Waits until something is ready.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        self.epoll.readable().await?.clear_ready();
        Ok(())
    }

    /// Returns what is ready now, without waiting. Call until it is empty: tokio sees only the set's edges.
    pub(crate) fn take(&mut self) -> io::Result<Vec<Token>> {
        self.ready.clear();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(self.epoll.get_ref(), spare_capacity(&mut self.ready), Some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<Token> = self.ready.iter().filter_map(|event| decode(event.data.u64())).collect();
        if ready.contains(&Token::Clock) {
            self.rings_at = None;
        }
        Ok(ready)
    }
}

/// Worker ids take 24 bits and generations 36: more than either ever reaches (sixteen million workers; a restart every
/// millisecond for two years).
fn encode(token: Token) -> u64 {
    let with = |kind: u64, life: Life| {
        kind | (u64::from(life.worker.0 & 0x00ff_ffff) << 4) | ((life.generation.0 & 0xf_ffff_ffff) << 28)
    };
    match token {
        Token::Keeper => 0,
        Token::Signals => 1,
        Token::Channel(life) => with(2, life),
        Token::Notify(life) => with(3, life),
        Token::Leftover(life) => with(4, life),
        Token::Door => 5,
        Token::Cron => 6,
        Token::Edge(life) => with(7, life),
        Token::Foreground => 8,
        Token::Clock => 9,
    }
}

fn decode(data: u64) -> Option<Token> {
    let life = Life::new(WorkerId(((data >> 4) & 0x00ff_ffff) as u32), data >> 28);
    match data & 0xf {
        0 => Some(Token::Keeper),
        1 => Some(Token::Signals),
        2 => Some(Token::Channel(life)),
        3 => Some(Token::Notify(life)),
        4 => Some(Token::Leftover(life)),
        5 => Some(Token::Door),
        6 => Some(Token::Cron),
        7 => Some(Token::Edge(life)),
        8 => Some(Token::Foreground),
        9 => Some(Token::Clock),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_wakes_at_the_moment_that_is_due_and_once() {
        let mut watch = Watch::new().unwrap();
        for _ in 0..3 {
            let due = crate::view::now() + std::time::Duration::from_millis(3);
            watch.wake_at(Some(due)).unwrap();
            watch.wake_at(None).unwrap();
            watch.wait().await.unwrap();
            assert!(crate::view::now() >= due);
            assert_eq!((watch.take().unwrap(), watch.take().unwrap()), (vec![Token::Clock], vec![]));
        }
        // What is over already rings at once.
        watch.wake_at(Some(Moment(1))).unwrap();
        watch.wait().await.unwrap();
    }

    #[test]
    fn a_token_reads_back_as_written() {
        let life = Life::new(WorkerId(70_000), 5_000_000_000);
        let all = [
            Token::Keeper,
            Token::Signals,
            Token::Channel(life),
            Token::Notify(life),
            Token::Leftover(life),
            Token::Door,
            Token::Cron,
            Token::Edge(life),
            Token::Foreground,
            Token::Clock,
        ];
        for token in all {
            assert_eq!(decode(encode(token)), Some(token));
        }
    }
}
