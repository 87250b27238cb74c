//! A supervisor, a clock that stands still unless told, and the effects of the last turn.

use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, ExecMode, Exit, Life, Moment, Status, WorkerId};
use rpm_supervise::{
    Command, CommandId, Effect, Event, Fact, Failure, FailureCause, Happening, Outcome, Saved, Supervisor, WorkerView,
};

pub(crate) struct Stage {
    pub(crate) supervisor: Supervisor,
    pub(crate) now: Moment,
    /// The effects of the last event, without `Publish` and `Persist`.
    pub(crate) effects: Vec<Effect>,
    /// What was published by the last event.
    pub(crate) happenings: Vec<(u32, Happening)>,
    next_command: u64,
}

/// Returns the life of a worker.
pub(crate) fn life(worker: u32, generation: u64) -> Life {
    Life::new(WorkerId(worker), generation)
}

pub(crate) fn ids(workers: impl IntoIterator<Item = u32>) -> Vec<WorkerId> {
    workers.into_iter().map(WorkerId).collect()
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns a spec, changed as wished.
pub(crate) fn spec(mode: ExecMode, instances: u32, change: impl FnOnce(&mut AppSpec)) -> Arc<AppSpec> {
    let mut spec = AppSpec::new("api", "/srv/app.js", "/srv");
    spec.exec_mode = mode;
    spec.instances = instances;
    change(&mut spec);
    Arc::new(spec)
}

pub(crate) fn fork() -> Arc<AppSpec> {
    spec(ExecMode::Fork, 1, |_| {})
}

pub(crate) fn cluster(instances: u32) -> Arc<AppSpec> {
    spec(ExecMode::Cluster, instances, |_| {})
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            supervisor: Supervisor::new(),
            now: Moment(1_000_000),
            effects: Vec::new(),
            happenings: Vec::new(),
            next_command: 0,
        }
    }

    /// Returns a stage where an app of that spec is online.
    pub(crate) fn with(spec: Arc<AppSpec>) -> Self {
        let mut stage = Self::new();
        let instances = spec.instances;
        let cluster = spec.exec_mode == ExecMode::Cluster;
        stage.ask(Command::Start { specs: vec![spec] });
        for worker in 0..instances {
            stage.spawned(life(worker, 1));
            stage.tell(if cluster {
                Event::Listening { life: life(worker, 1) }
            } else {
                Event::Settled { life: life(worker, 1) }
            });
            assert_eq!(stage.status(worker), Status::Online);
        }
        stage
    }

    /// Feeds an event.
    pub(crate) fn tell(&mut self, event: Event) -> &mut Self {
        let mut effects = Vec::new();
        self.supervisor.handle(self.now, event, &mut effects);
        self.keep(effects);
        self
    }

    /// Sorts the effects of a turn.
    pub(crate) fn keep(&mut self, effects: Vec<Effect>) {
        self.happenings.clear();
        self.effects.clear();
        for effect in effects {
            match effect {
                Effect::Publish { worker, happening } => self.happenings.push((worker.0, happening)),
                Effect::Persist => {}
                effect => self.effects.push(effect),
            }
        }
    }

    pub(crate) fn ask(&mut self, command: Command) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.tell(Event::Command(id, command));
        id
    }

    pub(crate) fn spawned(&mut self, life: Life) -> &mut Self {
        self.tell(Event::Spawned { life, pid: 1000 + life.generation.0 as i32 })
    }

    pub(crate) fn listening(&mut self, life: Life) -> &mut Self {
        self.tell(Event::Listening { life })
    }

    pub(crate) fn settled(&mut self, life: Life) -> &mut Self {
        self.tell(Event::Settled { life })
    }

    pub(crate) fn exited(&mut self, life: Life, code: i32) -> &mut Self {
        self.tell(Event::Exited { life, exit: Exit::Code(code), leftovers: false })
    }

    /// Lets time pass; deadlines on the way are kept. The effects of all of them are seen.
    pub(crate) fn pass(&mut self, time: Duration) -> &mut Self {
        let until = self.now + time;
        let (mut effects, mut happenings) = (Vec::new(), Vec::new());
        while let Some(at) = self.supervisor.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.tell(Event::Deadline);
            effects.append(&mut self.effects);
            happenings.append(&mut self.happenings);
        }
        self.now = until;
        (self.effects, self.happenings) = (effects, happenings);
        self
    }

    pub(crate) fn worker(&self, worker: u32) -> WorkerView<'_> {
        self.supervisor.worker(WorkerId(worker)).expect("the worker is in the list")
    }

    pub(crate) fn status(&self, worker: u32) -> Status {
        self.worker(worker).status
    }

    pub(crate) fn app(&self) -> AppId {
        self.supervisor.apps().next().expect("there is an app").id
    }

    /// Returns the lives that the last turn spawned.
    pub(crate) fn spawns(&self) -> Vec<Life> {
        let life = |effect: &Effect| match effect {
            Effect::Spawn { life, .. } => Some(*life),
            _ => None,
        };
        self.effects.iter().filter_map(life).collect()
    }

    /// Returns how commands ended in the last turn.
    pub(crate) fn replies(&self) -> Vec<(CommandId, &Outcome)> {
        let reply = |effect| match effect {
            &Effect::Reply { command, ref outcome } => Some((command, outcome)),
            _ => None,
        };
        self.effects.iter().filter_map(reply).collect()
    }

    pub(crate) fn has(&self, effect: &Effect) -> bool {
        self.effects.contains(effect)
    }

    /// Asserts that the last turn answered the command with success for these workers.
    #[track_caller]
    pub(crate) fn done(&self, command: CommandId, workers: impl IntoIterator<Item = u32>) {
        assert_eq!(self.replies(), [(command, &Outcome::Done { workers: ids(workers) })]);
    }

    /// Asserts that the last turn answered the command with failure, for these causes.
    #[track_caller]
    pub(crate) fn failed(&self, command: CommandId, causes: &[(u32, FailureCause)], undone: bool) {
        let failure = |(worker, cause): &(u32, FailureCause)| Failure {
            worker: WorkerId(*worker),
            app: "api".into(),
            cause: cause.clone(),
        };
        let failures = causes.iter().map(failure).collect();
        assert_eq!(self.replies(), [(command, &Outcome::Failed { failures, undone })]);
    }

    /// Asserts that the last turn answered the command with failure, of this worker among others.
    #[track_caller]
    pub(crate) fn failed_for(&self, command: CommandId, worker: u32, cause: &FailureCause) {
        let replies = self.replies();
        let [(id, Outcome::Failed { failures, .. })] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!(*id, command);
        assert!(failures.iter().any(|one| one.worker == WorkerId(worker) && one.cause == *cause), "{failures:?}");
    }
}

/// What the next daemon finds of a process that still runs.
pub(crate) fn fact(life: Life) -> Fact {
    Fact { life, pid: 42, started_at: Moment(1_000_000), exit: None, leftovers: false, note: None }
}

impl Stage {
    /// The daemon dies and a new one takes over.
    pub(crate) fn reborn(&mut self, saved: Saved, facts: &[Fact]) -> &mut Self {
        let text = serde_json::to_string(&saved).expect("it can be written");
        let saved = serde_json::from_str(&text).expect("it can be read");
        let mut effects = Vec::new();
        self.supervisor = Supervisor::restore(self.now, saved, facts, &mut effects);
        assert_eq!(effects.last(), Some(&Effect::Persist));
        self.keep(effects);
        self
    }
}
