//! Workers whose keeper and daemon were both killed.
//!
//! Nobody holds anything of theirs any more: the state file of this boot says which processes they were, and what they
//! themselves hold can be had back from them. One that can go on is adopted by the new keeper. One that cannot (Node's
//! cluster workers have lost their channel, without which they end by themselves; a listening socket may be out of
//! reach) is asked to leave, and the core starts the next one in its seat as after a crash. Never is there a second copy, and
//! never a signal by pid.
//!
//! Where not even the state is left, nobody can say what they are: they are ended, and that is told.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rpm_keeper::client::{Adopted, Client as Keeper, Request};
use rpm_logs::Kind;
use rpm_model::{AppId, AppSpec, ExecMode, Home, Life, Moment};
use rpm_share::{Ports, Want};
use rpm_supervise::{Fact, Supervisor};
use rpm_sys::net::listen::{is_listening, local_address};
use rpm_sys::pidfd::{Pidfd, ProcessRef};
use rpm_sys::poll::{Interest, wait};
use rpm_sys::{borrow, fail, fd, proc, tree};

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
/// How an app is asked to leave where it does not say otherwise.
const SIGINT: i32 = 2;

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

    fail::pass("orphans", "found");
    let mut regained = Regained::default();
    let mut lost: Vec<Lost> = Vec::new();
    for (life, process) in found {
        let Some((app, spec, _)) = saved.seat(life.worker) else { continue };
        if regained.take(life, app, spec, &process) {
            adopt(life, &process, keeper, inventory)?;
            fail::pass("orphans", "adopted");
            tracing::warn!("{life} (process {}) is taken over; how it ends will not be known", process.pid);
        } else {
            lost.push(Lost { life, process, signal: spec.stop.signal });
        }
    }
    for (name, fd) in regained.named(&state.ports) {
        keeper.send(&Request::Store { name: &name, fd: fd.as_fd() })?;
        inventory.held.insert(name, fd);
    }
    fail::pass("orphans", "stored");
    see_off(&lost);
    fail::pass("orphans", "seen_off");
    for Lost { life, process, .. } in &lost {
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

/// Ends processes of apps that nobody knows, and says of each what it was.
///
/// They are there where every copy of the state is lost. They could not be listed, stopped or replaced, and the same app
/// started again would be there twice. What was saved is a `resurrect` away.
pub(crate) fn end_strangers(home: &Home, core: &Supervisor, inventory: &mut Inventory) -> Vec<String> {
    let alive = inventory.facts.iter().filter(|fact| fact.exit.is_none() && core.app_of(fact.life.worker).is_none());
    let mut strangers: Vec<(Life, ProcessRef)> = Vec::new();
    for (life, pid) in alive.map(|fact| (fact.life, fact.pid)) {
        let Some(pidfd) = inventory.pidfds.remove(&life) else { continue };
        let start_time = proc::start_time(pid).unwrap_or_default();
        strangers.push((life, ProcessRef { pid, start_time, pidfd }));
    }
    // Their keeper was killed, too. A daemon that has left in peace has removed its file, and left nobody.
    if inventory.facts.is_empty() && core.apps().next().is_none() && home.daemon_pid().exists() {
        strangers.extend(marked(home, |_| true));
    }
    let name = |process: &ProcessRef| proc::environ_get(process.pid, "name");
    let names: Vec<Option<String>> = strangers.iter().map(|(_, process)| name(process)).collect();
    let lost: Vec<Lost> = strangers.into_iter().map(|(life, process)| Lost { life, process, signal: SIGINT }).collect();
    see_off(&lost);
    let told = |(Lost { life, process, .. }, name): (&Lost, Option<String>)| {
        let (pid, name) = (process.pid, name.unwrap_or_else(|| format!("worker {life}")));
        let what = if process.pidfd.has_exited() { "was ended" } else { "cannot be ended" };
        format!("process {pid} ({name}) is of an app that nobody knows any more, since the state is lost; it {what}")
    };
    lost.iter().zip(names).map(told).collect()
}

/// A process that is to end, and the signal that asks it to.
struct Lost {
    life: Life,
    process: ProcessRef,
    signal: i32,
}

/// Ends those that cannot go on.
fn see_off(lost: &[Lost]) {
    for Lost { process, signal, .. } in lost {
        tree::signal_tree(Some(process), &[], *signal);
    }
    wait_for_all(lost, LEAVE_WITHIN);
    for Lost { process, .. } in lost.iter().filter(|lost| !lost.process.pidfd.has_exited()) {
        tree::signal_tree(Some(process), &[], SIGKILL);
    }
    wait_for_all(lost, GONE_WITHIN);
}

fn wait_for_all(lost: &[Lost], limit: Duration) {
    let until = view::now() + limit;
    for Lost { process, .. } in lost {
        while !process.pidfd.has_exited() && view::now() < until {
            let gone = Interest { fd: process.pidfd.as_fd(), read: true, write: false };
            let _interrupted = wait([gone], Some(until.since(view::now())));
        }
    }
}
