//! Finding a server, and waiting for one.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::http::Refusal;
use crate::pool::{Asked, Choice, Lease, Server, Upstream};
use crate::thread::{Local, Pool, Thread};

/// A place at a server.
pub struct Taken {
    local: Rc<Local>,
    upstream: usize,
    server: usize,
    /// The place.
    pub lease: Lease,
}

impl Taken {
    /// Returns its upstream.
    pub fn upstream(&self) -> &Upstream {
        &self.local.snapshot.upstreams[self.upstream]
    }

    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.upstream().servers[self.server]
    }

    /// Returns its idle connections.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.local.upstreams[self.upstream].pools[self.server]
    }
}

/// After all servers have failed a request, the first of them is tried again so much later: long enough for a process to
/// be started again, and too short for a person.
const AGAIN: Duration = Duration::from_millis(100);

/// Finds a server, waiting for one at most as long as the upstream allows.
///
/// # Errors
/// [`Refusal::Unavailable`].
pub async fn acquire(thread: &Thread, local: &Rc<Local>, upstream: usize, asked: &mut Asked) -> Result<Taken, Refusal> {
    let queued = local.snapshot.upstreams[upstream].queue.waiting() > 0 && asked.seat.is_none();
    if !queued {
        match attempt(thread, local, upstream, asked) {
            Ok(taken) => return Ok(taken),
            Err(Choice::Nobody) => return Err(Refusal::Unavailable),
            Err(_) => {}
        }
    }
    wait(thread, local, upstream, asked).await
}

fn attempt(thread: &Thread, local: &Rc<Local>, upstream: usize, asked: &mut Asked) -> Result<Taken, Choice> {
    let (shared, own) = (&local.snapshot.upstreams[upstream], &local.upstreams[upstream]);
    loop {
        asked.random = thread.random();
        let (mut turns, mut candidates) = (own.turns.borrow_mut(), thread.candidates.borrow_mut());
        match shared.choose(&mut turns, &mut candidates, asked, crate::pool::now()) {
            Choice::Server(index) => {
                let server = &shared.servers[index];
                if let Some(lease) = Lease::take(&server.live, server.maxconn, thread.index) {
                    return Ok(Taken { local: local.clone(), upstream, server: index, lease });
                }
                // Another thread was faster; the server is full now, and the next choice sees it.
            }
            other => return Err(other),
        }
    }
}

async fn wait(thread: &Thread, local: &Rc<Local>, upstream: usize, asked: &mut Asked) -> Result<Taken, Refusal> {
    let first = &local.snapshot.upstreams[upstream];
    let (queue, name) = (first.queue.clone(), first.name.clone());
    let until = Instant::now() + first.timeout_queue;
    let mut turn = queue.join(first.queue_longest).ok_or(Refusal::Unavailable)?;
    // A turn may have been given between the first look and joining.
    let mut look = true;
    loop {
        // What is wanted may have changed meanwhile.
        let local = thread.local();
        let Some(upstream) = local.snapshot.upstreams.iter().position(|one| one.name == name) else {
            return Err(Refusal::Unavailable);
        };
        let mut pause = None;
        if look {
            match attempt(thread, &local, upstream, asked) {
                Ok(taken) => return Ok(taken),
                Err(Choice::Nobody) => return Err(Refusal::Unavailable),
                Err(Choice::TriedAll) => {
                    asked.tried.clear();
                    pause = Some(Instant::now() + AGAIN);
                }
                Err(Choice::Wait | Choice::Server(_)) => {}
            }
        }
        let now = crate::pool::now();
        let by_clock = local.snapshot.upstreams[upstream].change_at(now).map(|at| Instant::now() + at.since(now));
        drop(local);
        let wake_at = [pause, by_clock, Some(until)].into_iter().flatten().min().unwrap_or(until);
        match pause {
            // The one that failed is in the line's sight too, so a turn would come at once and find it failing again.
            Some(pause) => {
                sleep_until(pause.min(until)).await;
                look = true;
            }
            None => {
                let had_turn = timeout_at(wake_at, turn.turn()).await.is_ok();
                if had_turn {
                    drop(turn);
                    turn = queue.join(u32::MAX).ok_or(Refusal::Unavailable)?;
                }
                look = true;
            }
        }
        if Instant::now() >= until {
            queue.gave_up();
            return Err(Refusal::Unavailable);
        }
    }
}
