//! What a worker leaves behind: descendants that go on when it has ended.
//!
//! They are children of whoever takes in orphans, and carry the mark of their life in their environment; a daemon that has
//! written its title over that (nginx, redis), or was started with another one, carries it as a limit ([`rpm_sys::limit`]). A look at a
//! process table that changes meanwhile may miss one in three ways, each with its answer:
//!
//! - one in the middle dies between the list and the look, and its child comes to the keeper after the list was read: a
//!   look that meets somebody newly dead is taken again;
//! - one in the middle is about to end: its environment is gone already, its child not yet with the keeper. It counts as
//!   one that is left (its end is told by its descriptor, and then it is looked again);
//! - the kernel's list of children skips an entry when the one before it is reaped while it is read: a look from
//!   whose list somebody has vanished is taken again.
//!
//! Only a look that none of these disturbed and that found nobody says that nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use rpm_model::{Home, Life};
use rpm_supervise::{Event, Saved};
use rpm_sys::pidfd::ProcessRef;
use rpm_sys::{limit, proc};

use crate::cgroups::{Cgroups, Group};
use crate::daemon::Daemon;
use crate::launch;
use crate::recover::Inventory;
use crate::succession::home_mark;
use crate::watch::Token;

/// What is left of a life that has ended.
pub(crate) struct Leftovers {
    /// The session of its main process, whose number it had.
    session: Option<i32>,
    processes: Vec<ProcessRef>,
    cgroup: Option<Group>,
}

impl Leftovers {
    pub(crate) fn kill(&self) {
        for process in &self.processes {
            // Gone already is what we want.
            let _ = process.signal(9);
        }
        if let Some(group) = &self.cgroup {
            group.kill();
        }
    }
}

/// What a look has found, and whether it can be trusted that there is no more.
#[derive(Default)]
pub(crate) struct Found {
    session: Option<i32>,
    processes: Vec<ProcessRef>,
    cgroup: Option<Group>,
    is_whole: bool,
}

/// Looks again at once: a machine on which somebody dies in each of so many looks is given a pass to calm down.
const LOOKS_MAX: usize = 8;

/// By what the processes of a life are known, and where they are looked for.
struct Family<'a> {
    /// Those who take in orphans of ours.
    parents: Vec<i32>,
    /// Their other children: workers and this program.
    others: &'a BTreeSet<i32>,
    mark: String,
    home: String,
    /// The mark that they cannot lose; nothing where everybody has inherited it from us.
    number: Option<u64>,
    session: Option<i32>,
    /// In which all of them are, wherever they went.
    cgroup: Option<Group>,
}

enum Belongs {
    Yes,
    No,
    /// It is ending, and nobody can tell any more.
    Unknown,
}

impl Family<'_> {
    /// Returns the numbers of the children that are nobody's we know.
    fn listed(&self) -> Vec<i32> {
        self.parents.iter().flat_map(|parent| proc::children(*parent)).collect()
    }

    fn belongs(&self, pid: i32) -> Belongs {
        // Its environment first: it goes after the sign that the process is ending has come.
        let has_environment =
            proc::environ_has(pid, self.mark.as_bytes()) && proc::environ_has(pid, self.home.as_bytes());
        match proc::stat(pid) {
            _ if has_environment => Belongs::Yes,
            Some(stat) if matches!(stat.state, b'Z' | b'X') => Belongs::No,
            Some(stat) if Some(stat.session) == self.session => Belongs::Yes,
            Some(_) if self.has_number(pid) => Belongs::Yes,
            Some(stat) if stat.is_exiting => Belongs::Unknown,
            _ => Belongs::No,
        }
    }

    /// Returns whether a process has inherited the mark, and is not of another home: a worker may start an `rpm` of its own.
    fn has_number(&self, pid: i32) -> bool {
        let is_elsewhere = || {
            let home = self.home.split_once('=').and_then(|(name, _)| proc::environ_get(pid, name));
            home.is_some_and(|home| !self.home.ends_with(&format!("={home}")))
        };
        self.number.is_some() && limit::mark_of(pid) == self.number && !is_elsewhere()
    }

    /// Takes one look: the members, and those that may be.
    fn look(&self, listed: &[i32]) -> (Vec<ProcessRef>, Vec<ProcessRef>) {
        let (mut members, mut unknown) = (Vec::new(), Vec::new());
        for pid in listed.iter().filter(|pid| !self.others.contains(pid)) {
            let Ok(Some(process)) = ProcessRef::open(*pid) else { continue };
            match self.belongs(*pid) {
                Belongs::Yes => members.push(process),
                Belongs::Unknown => unknown.push(process),
                Belongs::No => {}
            }
        }
        (members, unknown)
    }

    /// Finds what is left, those who are about to end included.
    fn find(&self) -> Found {
        let mut dead: BTreeSet<i32> = BTreeSet::new();
        let mut found = Found { session: self.session, cgroup: self.cgroup.clone(), ..Found::default() };
        for _ in 0..LOOKS_MAX {
            let listed = self.listed();
            let (members, unknown) = self.look(&listed);
            found.processes.clear();
            for member in members {
                let descendants = proc::descendants(member.pid);
                found.processes.extend(descendants.into_iter().filter_map(|pid| ProcessRef::open(pid).ok().flatten()));
                found.processes.push(member);
            }
            let enrolled = self.cgroup.as_ref().map(Group::members).unwrap_or_default();
            let held: BTreeSet<i32> = found.processes.iter().map(|process| process.pid).collect();
            let enrolled = enrolled.into_iter().filter(|pid| !held.contains(pid));
            found.processes.extend(enrolled.filter_map(|pid| ProcessRef::open(pid).ok().flatten()));
            found.processes.extend(unknown);
            // Asked once: one that ends after this is noticed by its descriptor.
            let gone: Vec<ProcessRef> = found.processes.extract_if(.., |process| process.pidfd.has_exited()).collect();
            let is_dead = |pid: &i32| proc::stat(*pid).is_none_or(|stat| matches!(stat.state, b'Z' | b'X'));
            let newly = listed.iter().copied().filter(|pid| !self.others.contains(pid) && is_dead(pid));
            let newly: Vec<i32> = newly.chain(gone.iter().map(|process| process.pid)).collect();
            let known = dead.len();
            dead.extend(newly);
            found.is_whole = dead.len() == known && listed.iter().all(|pid| proc::exists(*pid));
            if found.is_whole {
                break;
            }
        }
        found
    }
}

/// Finds what lives have left that ended while there was no daemon; says so in the facts.
pub(crate) fn of_ended(home: &Home, saved: &Saved, inventory: &mut Inventory) -> BTreeMap<Life, Found> {
    let mut others: BTreeSet<i32> =
        inventory.facts.iter().filter(|fact| fact.exit.is_none()).map(|fact| fact.pid).collect();
    others.insert(std::process::id() as i32);
    let cgroups = Cgroups::of(home);
    let mut left = BTreeMap::new();
    for fact in inventory.facts.iter_mut().filter(|fact| fact.exit.is_some()) {
        let Some((_, spec, _)) = saved.seat(fact.life.worker).filter(|(_, spec, _)| spec.stop.treekill) else {
            continue;
        };
        let session = Some(fact.pid).filter(|pid| !others.contains(pid));
        let parents = vec![inventory.keeper_pid];
        let mut family = family(home, fact.life, session, parents, &others);
        family.cgroup = (!spec.limits.is_empty()).then(|| cgroups.of_life(fact.life)).flatten();
        let found = family.find();
        fact.leftovers = !found.is_whole || !found.processes.is_empty();
        if fact.leftovers {
            left.insert(fact.life, found);
        }
    }
    left
}

fn family<'a>(
    home: &Home,
    life: Life,
    session: Option<i32>,
    parents: Vec<i32>,
    others: &'a BTreeSet<i32>,
) -> Family<'a> {
    let number = Some(launch::mark(home, life)).filter(|number| limit::own_mark() != Some(*number));
    let mark = format!("{}={life}", launch::MARK);
    Family { parents, others, cgroup: None, mark, home: home_mark(home), number, session }
}

impl Daemon {
    /// Returns processes that left the tree of a life that runs: children of the keeper, or of who else takes in orphans
    /// of ours, that carry its mark.
    pub(crate) fn strays(&self, life: Life) -> Vec<ProcessRef> {
        let others = self.known_children();
        let session = self.processes.get(&life).and_then(|process| process.pid());
        let family = family(&self.home, life, session, self.parents(), &others);
        family.look(&family.listed()).0
    }

    /// Returns who takes in orphans of ours.
    fn parents(&self) -> Vec<i32> {
        self.reapers.iter().copied().chain([self.keeper_pid]).collect()
    }

    /// Returns the children of those that are no orphans.
    fn known_children(&self) -> BTreeSet<i32> {
        let workers = self.processes.values().filter_map(|process| process.pid());
        workers.chain([std::process::id() as i32, self.keeper_pid]).collect()
    }

    /// Begins to watch what an ended life left behind; returns whether there is anything.
    pub(crate) fn watch_leftovers(&mut self, life: Life, session: Option<i32>, cgroup: Option<Group>) -> bool {
        let others = self.known_children();
        // The number of a session that has nobody left may have been given to another worker.
        let in_use = self.processes.iter().any(|(other, process)| *other != life && process.pid() == session);
        let session = session.filter(|_| !in_use);
        let mut family = family(&self.home, life, session, self.parents(), &others);
        family.cgroup = cgroup;
        let found = family.find();
        self.watch_found(life, found)
    }

    /// Watches what was found; returns whether that is anything.
    pub(crate) fn watch_found(&mut self, life: Life, found: Found) -> bool {
        if found.processes.is_empty() {
            if found.is_whole {
                return false;
            }
            self.unclear.insert(life);
        }
        for process in &found.processes {
            if let Err(error) = self.watch.add(&process.pidfd, Token::Leftover(life)) {
                tracing::warn!("a leftover of {life} cannot be watched: {error}");
            }
        }
        self.leftovers
            .insert(life, Leftovers { session: found.session, processes: found.processes, cgroup: found.cgroup });
        true
    }

    /// One of a life's leftovers has ended, or nothing was clear before.
    pub(crate) fn look_at_leftovers(&mut self, life: Life) {
        let Some(leftovers) = self.leftovers.get_mut(&life) else { return };
        let gone: Vec<ProcessRef> = leftovers.processes.extract_if(.., |process| process.pidfd.has_exited()).collect();
        let (none_left, session, cgroup) =
            (leftovers.processes.is_empty(), leftovers.session, leftovers.cgroup.clone());
        for process in &gone {
            self.watch.remove(&process.pidfd);
        }
        if none_left {
            self.leftovers.remove(&life);
            // One of them may have started another in its last moment.
            if !self.watch_leftovers(life, session, cgroup.clone()) {
                if let Some(group) = cgroup {
                    group.remove();
                }
                self.events.push_back(Event::TreeGone { life });
            } else if let Some(again) = self.leftovers.get(&life) {
                again.kill();
            }
        }
    }
}
