//! A fake kernel and keeper: processes that boot, listen, crash, ignore signals and leave children behind, by a seed.
//!
//! It takes effects, and gives events in the order of time. It knows the truth, and panics when an effect names a life
//! that it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rpm_model::{AppSpec, Bytes, ExecMode, Exit, Life, Moment, WorkerId};
use rpm_supervise::{Effect, Event, Fact, Note, Taken, Trouble};

use crate::rng::Rng;

/// How wild the world is, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chaos {
    pub(crate) spawn_fails: u64,
    pub(crate) crashes: u64,
    pub(crate) deaf: u64,
    pub(crate) silent: u64,
    pub(crate) slow_boot: u64,
    pub(crate) leftovers: u64,
    pub(crate) stubborn: u64,
    pub(crate) bind_fails: u64,
    pub(crate) hungry: u64,
    pub(crate) ill: u64,
}

pub(crate) struct Kernel {
    pub(crate) now: Moment,
    pub(crate) chaos: Chaos,
    rng: Rng,
    processes: BTreeMap<Life, Proc>,
    ever: BTreeSet<Life>,
    agenda: BTreeMap<(Moment, u64), Item>,
    sequence: u64,
    pid: i32,
    /// Admitted workers that ended although nobody asked, by seat.
    pub(crate) lost: BTreeMap<WorkerId, u32>,
    delivered: Vec<Life>,
    /// A daemon died before it could write anything down: what it started may have ended without a trace.
    pub(crate) traceless: bool,
}

#[derive(Debug, Clone)]
struct Proc {
    pid: i32,
    started_at: Moment,
    note: Note,
    /// Whether the daemon was told of it.
    exit: Option<(Exit, Moment)>,
    exit_told: bool,
    exit_acknowledged: bool,
    leftovers: bool,
    has_children: bool,
    deaf: bool,
    stubborn: bool,
    admitted: bool,
    listens: bool,
    settles: bool,
    /// Nobody answers before.
    boots_until: Moment,
    ill: bool,
    /// Never ran: `SpawnFailed` is on its way.
    failed: bool,
}

#[derive(Debug, Clone)]
enum Item {
    /// The process ends.
    Die(Life, Exit),
    /// Its descendants end.
    Swept(Life),
    /// The daemon asks how it is.
    Probe(Life, bool),
    /// The daemon is told.
    Tell(Event),
}

const BAD: &str = "bad";

impl Kernel {
    pub(crate) fn new(seed: u64, chaos: Chaos) -> Self {
        Self {
            now: Moment(1_000_000),
            chaos,
            rng: Rng::new(seed),
            processes: BTreeMap::new(),
            ever: BTreeSet::new(),
            agenda: BTreeMap::new(),
            sequence: 0,
            pid: 100,
            lost: BTreeMap::new(),
            delivered: Vec::new(),
            traceless: false,
        }
    }

    /// Carries an effect out.
    pub(crate) fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Spawn { life, spec, restarts, unstable, created_at, .. } => {
                assert!(self.ever.insert(*life) || self.traceless, "{life} is spawned twice");
                assert!(!self.processes.contains_key(life), "{life} is spawned while it is there");
                let note = Note { restarts: *restarts, unstable: *unstable, created_at: *created_at };
                self.spawn(*life, note, spec);
            }
            Effect::WatchSettling { life } => {
                if self.known(*life).settles {
                    let after = 20 + self.rng.below(400);
                    self.tell(after, Event::Settled { life: *life });
                }
            }
            Effect::Admit { life } => {
                let proc = self.known(*life);
                proc.admitted = proc.exit.is_none();
                // It ended a moment ago, and the news is on its way.
                if !proc.admitted {
                    *self.lost.entry(life.worker).or_default() += 1;
                }
            }
            Effect::Withhold { life } => {
                let proc = self.known(*life);
                if std::mem::take(&mut proc.admitted) {
                    *self.lost.entry(life.worker).or_default() += 1;
                }
            }
            Effect::Drain { life, until } => {
                self.known(*life).admitted = false;
                let left = until.since(self.now).as_millis() as u64;
                let after = self.rng.below(left + left / 4 + 1);
                self.tell(after, Event::Drained { life: *life });
            }
            Effect::Ask { life } => {
                let now = self.now;
                let proc = self.known(*life);
                // A replacement that served already and fell ill while on trial is as good as lost.
                let lost = proc.admitted && (proc.ill || now < proc.boots_until);
                proc.admitted = false;
                if lost {
                    *self.lost.entry(life.worker).or_default() += 1;
                }
                let proc = self.known(*life);
                if !proc.deaf && proc.exit.is_none() {
                    let after = self.rng.below(2500);
                    let exit = *self.rng.pick(&[Exit::Code(0), Exit::Signal { signal: 2, core: false }]);
                    self.at(after, Item::Die(*life, exit));
                }
            }
            Effect::Kill { life } => {
                let proc = self.known(*life);
                proc.admitted = false;
                let stubborn = std::mem::take(&mut proc.stubborn);
                let after = if stubborn { 4000 + self.rng.below(4000) } else { self.rng.below(20) };
                self.at(after, Item::Die(*life, Exit::Signal { signal: 9, core: false }));
                self.at(after + 1, Item::Swept(*life));
            }
            Effect::Close { worker } | Effect::Forget { worker } => {
                let left: Vec<_> = self.living().filter(|life| life.worker == *worker).collect();
                assert!(left.is_empty(), "seat {worker} is closed while {left:?} run");
            }
            Effect::Dump { life } => drop(self.known(*life)),
            Effect::Reply { .. }
            | Effect::Progress { .. }
            | Effect::Warn { .. }
            | Effect::Persist
            | Effect::Publish { .. }
            | Effect::PublishApp { .. }
            | Effect::Leave => {}
        }
    }

    /// Returns when something happens next.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets the next thing happen, if it is due; returns what the daemon is told.
    pub(crate) fn step(&mut self) -> Option<Event> {
        self.next().filter(|at| *at <= self.now)?;
        let (_, item) = self.agenda.pop_first()?;
        match item {
            Item::Die(life, exit) => {
                self.die(life, exit);
                None
            }
            Item::Probe(life, checked) => {
                let silent = self.rng.percent(50);
                let (now, ill) = (self.now, self.rng.percent(self.chaos.ill));
                let again = 500 + self.rng.below(1500);
                let proc = self.processes.get_mut(&life).filter(|proc| proc.exit.is_none() && !proc.failed)?;
                proc.ill = if self.chaos.ill == 0 { false } else { proc.ill ^ ill };
                let answers = !proc.ill && now >= proc.boots_until;
                self.at(again, Item::Probe(life, checked));
                if !checked {
                    // Without health checks a sign of life is all there is.
                    let why = "no sign of life for 2 s".to_owned();
                    return Some(if answers { Event::Revived { life } } else { Event::Hung { life, why } });
                }
                let trouble = || Trouble { why: "status 500".to_owned(), is_silent: silent };
                let found = if answers { Ok(()) } else { Err(trouble()) };
                Some(Event::Probed { life, found })
            }
            Item::Swept(life) => {
                if let Some(proc) = self.processes.get_mut(&life)
                    && proc.exit.is_some()
                    && std::mem::take(&mut proc.leftovers)
                {
                    let late = self.rng.below(5);
                    self.tell(late, Event::TreeGone { life });
                }
                None
            }
            Item::Tell(event) => {
                match &event {
                    Event::Exited { life, .. } => {
                        if let Some(proc) = self.processes.get_mut(life) {
                            proc.exit_told = true;
                        }
                        self.delivered.push(*life);
                    }
                    Event::TreeGone { life } | Event::SpawnFailed { life, .. } => self.delivered.push(*life),
                    _ => {}
                }
                Some(event)
            }
        }
    }

    /// The daemon has written its state down: exits that it knows are acknowledged, and what is gone is forgotten.
    pub(crate) fn acknowledge(&mut self) {
        for life in std::mem::take(&mut self.delivered) {
            let Some(proc) = self.processes.get_mut(&life) else { continue };
            proc.exit_acknowledged |= proc.exit_told;
            let gone = proc.failed || (proc.exit_told && !proc.leftovers);
            if gone
                && self.processes.contains_key(&life)
                && !self
                    .agenda
                    .values()
                    .any(|item| matches!(item, Item::Tell(Event::TreeGone { life: l }) if *l == life))
            {
                self.processes.remove(&life);
            }
        }
    }

    /// The daemon dies: what it was to be told is lost, but not what the keeper remembers.
    pub(crate) fn lose_messages(&mut self) {
        self.agenda.retain(|_, item| !matches!(item, Item::Tell(_)));
        self.delivered.clear();
        self.processes.retain(|_, proc| !proc.failed && (proc.leftovers || !proc.exit_acknowledged));
    }

    /// Returns what the keeper knows.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let facts = self.processes.iter().map(|(life, proc)| Fact {
            life: *life,
            pid: proc.pid,
            started_at: proc.started_at,
            exit: proc.exit,
            leftovers: proc.leftovers,
            note: Some(proc.note),
        });
        facts.collect()
    }

    /// After a daemon's death: whoever listens is made known again, and exits count as told.
    pub(crate) fn replay(&mut self) {
        let lives: Vec<Life> = self.processes.keys().copied().collect();
        for life in lives {
            let proc = self.processes.get_mut(&life).expect("just listed");
            if proc.exit.is_some() {
                proc.exit_told = true;
                self.delivered.push(life);
            } else if proc.listens {
                self.tell(1, Event::Listening { life });
            }
        }
    }

    /// Returns the processes that run.
    pub(crate) fn living(&self) -> impl Iterator<Item = Life> {
        self.processes.iter().filter(|(_, proc)| proc.exit.is_none() && !proc.failed).map(|(life, _)| *life)
    }

    /// Returns the seats' processes that run and take connections.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = Life> {
        self.living().filter(|life| self.processes[life].admitted)
    }

    /// Returns whether a process has ended, and the daemon cannot know it yet.
    pub(crate) fn has_news_of(&self, life: Life) -> bool {
        self.agenda.values().any(|item| matches!(item, Item::Tell(Event::Exited { life: l, .. }) if *l == life))
    }

    fn known(&mut self, life: Life) -> &mut Proc {
        self.processes.get_mut(&life).unwrap_or_else(|| panic!("an effect names {life}, which is unknown or gone"))
    }

    fn spawn(&mut self, life: Life, note: Note, spec: &AppSpec) {
        let mode = spec.exec_mode;
        let bad = spec.version.as_deref() == Some(BAD);
        let limited = spec.max_memory_restart.is_some();
        self.pid += 1;
        let chaos = self.chaos;
        let failed = self.rng.percent(chaos.spawn_fails);
        let mut proc = Proc {
            pid: self.pid,
            started_at: self.now,
            note,
            exit: None,
            exit_told: false,
            exit_acknowledged: false,
            leftovers: false,
            has_children: self.rng.percent(chaos.leftovers),
            deaf: self.rng.percent(chaos.deaf),
            stubborn: self.rng.percent(chaos.stubborn),
            admitted: false,
            listens: false,
            settles: !self.rng.percent(20),
            boots_until: self.now,
            ill: false,
            failed,
        };
        let late = self.rng.below(30);
        if failed {
            self.processes.insert(life, proc);
            return self.tell(late, Event::SpawnFailed { life, why: "no such file".into() });
        }
        self.tell(late, Event::Spawned { life, pid: self.pid });
        let boot = late + if self.rng.percent(chaos.slow_boot) { self.rng.below(8000) } else { self.rng.below(300) };
        proc.boots_until = self.now + Duration::from_millis(boot);
        if spec.health.is_some() || spec.watchdog.is_some() {
            self.at(late + 1, Item::Probe(life, spec.health.is_some()));
        }
        if spec.job.is_some() {
            let after = self.rng.below(9000);
            let exit = *self.rng.pick(&[Exit::Code(0), Exit::Code(0), Exit::Code(1)]);
            self.at(after, Item::Die(life, exit));
        }
        if bad {
            self.at(boot, Item::Die(life, Exit::Code(1)));
        } else if self.rng.percent(chaos.crashes) {
            let after = if self.rng.percent(50) { self.rng.below(900) } else { self.rng.below(60_000) };
            let exit =
                *self.rng.pick(&[Exit::Code(0), Exit::Code(1), Exit::Code(7), Exit::Signal { signal: 11, core: true }]);
            self.at(after, Item::Die(life, exit));
        }
        if !self.rng.percent(chaos.silent) {
            if mode == ExecMode::Cluster {
                proc.listens = true;
                self.tell(boot, Event::Listening { life });
            }
            let later = self.rng.below(100);
            self.tell(boot + later, Event::AppReady { life });
        }
        if self.rng.percent(chaos.bind_fails) {
            let taken = Taken { address: "[::]:80".into(), owner: None, error: "address already in use".into() };
            self.tell(boot, Event::BindFailed { life, taken });
            self.at(boot + 50, Item::Die(life, Exit::Code(1)));
        }
        if limited && self.rng.percent(chaos.hungry) {
            let after = boot + self.rng.below(20_000);
            self.tell(after, Event::Memory { life, used: Bytes(1 << 40) });
        }
        self.processes.insert(life, proc);
    }

    fn die(&mut self, life: Life, exit: Exit) {
        let now = self.now;
        let Some(proc) = self.processes.get_mut(&life) else { return };
        if proc.exit.is_some() || proc.failed {
            return;
        }
        proc.exit = Some((exit, now));
        proc.leftovers = proc.has_children;
        let leftovers = proc.leftovers;
        // It may have been asked to leave by a daemon that died of that: the next one has it serve again.
        if std::mem::take(&mut proc.admitted) {
            *self.lost.entry(life.worker).or_default() += 1;
        }
        let late = self.rng.below(40);
        self.tell(late, Event::Exited { life, exit, leftovers });
        // Some children follow their parent by themselves.
        if leftovers && self.rng.percent(50) {
            let after = late + self.rng.below(3000);
            self.at(after, Item::Swept(life));
        }
    }

    fn tell(&mut self, after_ms: u64, event: Event) {
        self.at(after_ms, Item::Tell(event));
    }

    fn at(&mut self, after_ms: u64, item: Item) {
        self.sequence += 1;
        self.agenda.insert((self.now + Duration::from_millis(after_ms), self.sequence), item);
    }
}
