//! Workers whose keeper and daemon were both killed.
//!
//! Nobody holds anything of theirs any more: the state file of this boot says which processes they were, and what they
//! themselves hold can be had back from them. One that can go on is adopted by the new keeper. One that cannot (Node's
//! cluster workers have lost their channel, without which they end by themselves; a listening socket may be out of
//! reach) is asked to leave, and the core starts the next one in its seat as after a crash. Never is there a second copy, and
//! never a signal by pid.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rpm_keeper::client::{Adopted, Client as Keeper, Request};
use rpm_logs::Kind;
use rpm_model::{AppId, AppSpec, ExecMode, Home, Life, Moment};
use rpm_share::{Ports, Want};
use rpm_supervise::Fact;
use rpm_sys::net::listen::{is_listening, local_address};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::poll::{Interest, wait};
use rpm_sys::{borrow, fd, proc, tree};

use crate::effects::{LISTEN_START, Names};
use crate::output::LogNames;
use crate::recover::Inventory;
use crate::state::State;
use crate::succession::marked;
use crate::view;

/// The longest that those are waited for that cannot go on: nothing else happens meanwhile.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// After SIGKILL.
const GONE_WITHIN: Duration = Duration::from_secs(1);
const SIGKILL: i32 = 9;

/// Adds to the inventory what a killed keeper had started.
///
/// In the usual case, where only a daemon has died, the keeper knows every process, and nothing is looked for.
pub(crate) fn take_in(home: &Home, state: &State, keeper: &mut Keeper, inventory: &mut Inventory) -> io::Result<()> {
    let (Some(saved), seen) = (&state.saved, &state.processes) else { return Ok(()) };
    let known: BTreeSet<Life> = inventory.facts.iter().map(|fact| fact.life).collect();
    let unknown = seen.iter().filter(|(life, _)| !known.contains(life));
    if unknown.clone().next().is_none() && (!known.is_empty() || saved.is_empty()) {
        return Ok(());
    }
    let mut found: Vec<(Life, ProcessRef)> = unknown
        .filter_map(|(life, (pid, start_time))| Some((*life, ProcessRef::reopen(*pid, *start_time).ok()??)))
        .collect();
    // What was started after the last write. Whatever is older in such a seat is none of its processes.
    let is_news = |life: Life| {
        let newest = saved.seat(life.worker).map(|(.., generation)| generation);
        newest.is_some_and(|newest| life.generation.0 >= newest) && !known.contains(&life) && !seen.contains_key(&life)
    };
    found.extend(marked(home, is_news));
    found.retain(|(_, process)| !process.pidfd.has_exited());

    let mut regained = Regained::default();
    let mut lost = Vec::new();
    for (life, process) in found {
        let Some((app, spec, _)) = saved.seat(life.worker) else { continue };
        if regained.take(life, app, spec, &process) {
            adopt(life, &process, keeper, inventory)?;
            tracing::warn!("{life} (process {}) is taken over; how it ends will not be known", process.pid);
        } else {
            lost.push((life, process, spec.clone()));
        }
    }
    for (name, fd) in regained.named(&state.ports) {
        keeper.send(&Request::Store { name: &name, fd: fd.as_fd() })?;
        inventory.held.insert(name, fd);
    }
    see_off(&lost);
    for (life, process, _) in &lost {
        if process.pidfd.has_exited() {
            tracing::warn!("{life} (process {}) had lost its channel or its sockets, and was ended", process.pid);
        } else {
            // Not even SIGKILL ends it now. It is there, so nobody takes its place.
            adopt(*life, process, keeper, inventory)?;
        }
    }
    Ok(())
}

fn adopt(life: Life, process: &ProcessRef, keeper: &mut Keeper, inventory: &mut Inventory) -> io::Result<()> {
    let started_at = process.start_time.saturating_mul(1_000_000 / proc::ticks_per_second());
    keeper.send(&Request::Adopt(Adopted {
        key: &life.to_string(),
        note: &[],
        pid: process.pid,
        pidfd: process.pidfd.as_fd(),
        started_at_micros: started_at,
    }))?;
    inventory.pidfds.insert(life, Pidfd::from_fd(fd::dup(&process.pidfd)?));
    inventory.facts.push(Fact {
        life,
        pid: process.pid,
        started_at: Moment(started_at),
        exit: None,
        leftovers: false,
        note: None,
    });
    Ok(())
}

/// What was had back from workers.
#[derive(Default)]
struct Regained {
    others: Vec<(String, OwnedFd)>,
    sockets: Vec<Socket>,
}

/// A listening socket that a worker was given.
struct Socket {
    life: Life,
    app: AppId,
    spec: Arc<AppSpec>,
    want: Want,
    fd: OwnedFd,
}

impl Regained {
    /// Takes back what a worker has from us; returns whether it can go on.
    fn take(&mut self, life: Life, app: AppId, spec: &Arc<AppSpec>, process: &ProcessRef) -> bool {
        // What it was told cannot be known; the next one is told everything.
        if spec.is_balancer() {
            return false;
        }
        match spec.exec_mode {
            ExecMode::Cluster => return false,
            ExecMode::Fork | ExecMode::Proxy => {}
            ExecMode::Socket => {
                let wants: Option<Vec<Want>> = spec.listen.iter().map(|address| Want::parse(address).ok()).collect();
                let Some(wants) = wants else { return false };
                let sockets: Option<Vec<Socket>> = (LISTEN_START..)
                    .zip(wants)
                    .map(|(number, want)| {
                        let fd = listening(process, number, &want)?;
                        Some(Socket { life, app, spec: spec.clone(), want, fd })
                    })
                    .collect();
                let Some(sockets) = sockets else { return false };
                self.sockets.extend(sockets);
            }
        }
        let pipes = borrow::numbers(process.pid, "pipe:");
        for (kind, number) in [(Kind::Out, 1), (Kind::Err, 2)] {
            if !pipes.contains(&number) {
                continue;
            }
            let names = LogNames::of(life, kind);
            // What was taken from the pipe and not yet written is gone with the daemon; what is in the pipe is not.
            match (borrow::open_pipe(process.pid, number, false), rpm_logs::new_staging("rpm-log")) {
                (Ok(pipe), Ok(staging)) => self.others.extend([(names.pipe, pipe), (names.staging, staging)]),
                (Err(error), _) => tracing::error!("the output of {life} cannot be had back: {error}"),
                (_, Err(error)) => tracing::error!("the output of {life} cannot be had back: {error}"),
            }
        }
        if spec.exec_mode == ExecMode::Fork
            && pipes.contains(&0)
            && let Ok(input) = borrow::open_pipe(process.pid, 0, true)
        {
            self.others.push((Names::of(life).input, input));
        }
        true
    }

    /// Returns everything under the names that the keeper knows it by.
    fn named(self, known: &[String]) -> Vec<(String, OwnedFd)> {
        let groups: Vec<(AppId, String)> =
            self.sockets.iter().map(|socket| (socket.app, socket.want.to_string())).collect();
        let mut named = self.others;
        for (at, socket) in self.sockets.into_iter().enumerate() {
            let alike = |others: &[(AppId, String)]| others.iter().filter(|other| **other == groups[at]).count() as u32;
            let place = (alike(&groups[..at]), alike(&groups));
            let name =
                Ports::regained_name(socket.life, socket.app, &socket.want, socket.spec.socket_mode, known, place);
            named.extend(name.map(|name| (name, socket.fd)));
        }
        named
    }
}

/// Finds the socket that a worker was given under `number`; it may have another number by now.
fn listening(process: &ProcessRef, number: i32, want: &Want) -> Option<OwnedFd> {
    let is_meant = |fd: &OwnedFd| {
        let port = local_address(fd).map(|bound| i32::from(bound.port()));
        is_listening(fd) && (!want.kind.is_tcp() || port == Some(want.port))
    };
    let given = borrow::duplicate(&process.pidfd, number).ok().filter(is_meant);
    given.or_else(|| {
        let numbers = borrow::numbers(process.pid, "socket:").into_iter().filter(|_| want.kind.is_tcp());
        numbers.filter_map(|number| borrow::duplicate(&process.pidfd, number).ok()).find(is_meant)
    })
}

/// Ends those that cannot go on.
fn see_off(lost: &[(Life, ProcessRef, Arc<AppSpec>)]) {
    for (_, process, spec) in lost {
        tree::signal_tree(Some(process), &[], spec.stop.signal);
    }
    wait_for_all(lost, LEAVE_WITHIN);
    for (_, process, _) in lost.iter().filter(|(_, process, _)| !process.pidfd.has_exited()) {
        tree::signal_tree(Some(process), &[], SIGKILL);
    }
    wait_for_all(lost, GONE_WITHIN);
}

fn wait_for_all(lost: &[(Life, ProcessRef, Arc<AppSpec>)], limit: Duration) {
    let until = view::now() + limit;
    for (_, process, _) in lost {
        while !process.pidfd.has_exited() && view::now() < until {
            let gone = Interest { fd: process.pidfd.as_fd(), read: true, write: false };
            let _interrupted = wait([gone], Some(until.since(view::now())));
        }
    }
}
