//! One world: a supervisor, a kernel, clients, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rpm_model::{
    AppId, AppSpec, AutoscaleSpec, Bytes, CanaryRule, Dependency, ExecMode, Health, HealthSpec, JobSpec, Load, Moment,
    Overlap, StackDump, Status, WorkerId,
};
use rpm_supervise::judge::Tally;
use rpm_supervise::{Cause, Command, CommandId, Effect, Event, Outcome, Saved, Supervisor, WorkerView};

use crate::kernel::{Chaos, Kernel};
use crate::rng::Rng;

struct World {
    seed: u64,
    loud: bool,
    rng: Rng,
    /// The load of apps that scale themselves, where there are such.
    weather: Option<Rng>,
    kernel: Kernel,
    supervisor: Supervisor,
    saved: Saved,
    /// Commands that wait for their answer.
    unanswered: BTreeMap<CommandId, Asked>,
    next_command: u64,
    /// Rolls under way: how many took connections at the start, and how many were lost until then.
    rolls: BTreeMap<AppId, (usize, u32)>,
    rolls_may_begin: bool,
    left: bool,
    /// Whether the state has changed since it was written.
    unwritten: bool,
    written_at: Moment,
    writes_every: Duration,
    /// Whether some apps are jobs. (Not in every world: those that failed before are to stay as they were.)
    has_jobs: bool,
    /// Whether the daemon may die.
    mortal: bool,
    /// A running hash of all effects.
    digest: u64,
    steps: u32,
}

/// What a client asked, and the releases that served then.
#[derive(Debug)]
struct Asked {
    command: Command,
    releases: BTreeMap<WorkerId, Option<String>>,
    /// Whether a later command came before the answer.
    disturbed: bool,
}

/// Runs one world to its end; returns a digest of its effects.
pub(crate) fn run(seed: u64, loud: bool) -> u64 {
    let mut rng = Rng::new(seed);
    let wild = |rng: &mut Rng, most: u64| if rng.percent(50) { 0 } else { rng.below(most + 1) };
    let chaos = Chaos {
        spawn_fails: wild(&mut rng, 20),
        crashes: wild(&mut rng, 60),
        deaf: wild(&mut rng, 40),
        silent: wild(&mut rng, 30),
        slow_boot: wild(&mut rng, 50),
        leftovers: wild(&mut rng, 40),
        stubborn: wild(&mut rng, 15),
        bind_fails: wild(&mut rng, 15),
        hungry: wild(&mut rng, 80),
        ill: wild(&mut rng, 20),
    };
    let deaths = wild(&mut rng, 30);
    let writes_every = wild(&mut rng, 500);
    let supervisor = Supervisor::new();
    let mut world = World {
        seed,
        loud,
        // Of its own, so that seeds tell the same story in the other worlds.
        weather: (seed % 4 == 1).then(|| Rng::new(!seed)),
        kernel: Kernel::new(rng.next(), chaos),
        rng,
        saved: supervisor.saved(),
        supervisor,
        unanswered: BTreeMap::new(),
        next_command: 0,
        rolls: BTreeMap::new(),
        rolls_may_begin: false,
        left: false,
        unwritten: false,
        written_at: Moment(0),
        writes_every: Duration::from_millis(writes_every),
        has_jobs: seed % 7 == 6,
        mortal: deaths > 0,
        digest: 0,
        steps: 0,
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.live(deaths)));
    if let Err(panic) = outcome {
        eprintln!("seed {seed} failed after {} steps at {:?}", world.steps, world.kernel.now);
        std::panic::resume_unwind(panic);
    }
    world.digest
}

impl World {
    fn live(&mut self, deaths: u64) {
        for _ in 0..3 + self.rng.below(20) {
            self.client();
            self.weather(deaths);
            let pause = *self.rng.pick(&[0, 5, 300, 2000, 8000, 40_000]);
            let until = self.kernel.now + Duration::from_millis(self.rng.below(pause + 1));
            self.run_until(until, deaths);
        }
        // The world calms down: whoever waits gets an answer, and both sides agree.
        self.kernel.chaos = Chaos::default();
        self.run_until(self.kernel.now + Duration::from_secs(400), 0);
        let waiting = self.supervisor.apps().filter(|app| !app.canaries.is_empty()).map(|app| app.id);
        for app in waiting.collect::<Vec<_>>() {
            self.ask(Command::Promote { app });
        }
        self.run_until(self.kernel.now + Duration::from_secs(400), 0);
        assert!(self.unanswered.is_empty(), "never answered: {:?}", self.unanswered.keys());
        self.agree();
        self.ask(Command::Shutdown);
        self.run_until(self.kernel.now + Duration::from_secs(60), 0);
        assert!(self.left, "the shutdown never ended");
        assert!(self.unanswered.is_empty(), "never answered: {:?}", self.unanswered.keys());
        let left: Vec<_> = self.kernel.living().collect();
        assert!(left.is_empty(), "left behind by the shutdown: {left:?}");
    }

    /// Lets load come and go for some seconds.
    fn weather(&mut self, deaths: u64) {
        let Some(mut weather) = self.weather.take() else { return };
        for _ in 0..weather.below(8) {
            let load = Load { rate: Some(weather.below(800) as f64), ..Load::default() };
            let apps: Vec<AppId> = self.supervisor.autoscaled().collect();
            for app in apps {
                let policy = |supervisor: &Supervisor| {
                    let spec = supervisor.spec(app)?;
                    Some((spec.instances, spec.autoscale.clone()?))
                };
                let before = policy(&self.supervisor);
                self.turn(Event::Load { app, load }, deaths);
                if let Some((after, policy)) = policy(&self.supervisor)
                    && before.is_some_and(|(before, _)| before != after)
                {
                    assert!((policy.min..=policy.max).contains(&after), "{after} is not within {policy:?}");
                }
            }
            for watched in self.supervisor.watched_canaries().collect::<Vec<_>>() {
                let mut tally = |most| Tally { requests: 100, errors: weather.below(most), p95: None };
                let seen = Some((tally(20), tally(2)));
                let seen = seen.filter(|_| weather.percent(80));
                self.turn(Event::Canary { app: watched.app, seen }, deaths);
            }
            self.run_until(self.kernel.now + Duration::from_secs(1), deaths);
        }
        let scaled = self.supervisor.apps().find(|app| app.scaling.is_some()).map(|app| app.id);
        if let Some(app) = scaled.filter(|_| weather.percent(10)) {
            let on = weather.percent(70);
            self.ask(Command::Autoscale { app, on });
        }
        self.weather = Some(weather);
    }

    fn run_until(&mut self, until: Moment, deaths: u64) {
        loop {
            let deadline = self.supervisor.next_deadline();
            let Some(next) = [self.kernel.next(), deadline].into_iter().flatten().min() else { break };
            if next > until {
                break;
            }
            self.kernel.now = self.kernel.now.max(next);
            self.steps += 1;
            assert!(self.steps < 200_000, "no end in sight");
            // At one and the same moment either may come first.
            let deadline_due = deadline.is_some_and(|at| at <= self.kernel.now);
            let kernel_due = self.kernel.next().is_some_and(|at| at <= self.kernel.now);
            if deadline_due && (!kernel_due || self.rng.percent(50)) {
                self.turn(Event::Deadline, deaths);
            } else if let Some(event) = self.kernel.step() {
                self.turn(event, deaths);
            }
            self.look();
        }
        self.kernel.now = self.kernel.now.max(until);
    }

    fn turn(&mut self, event: Event, deaths: u64) {
        if self.loud {
            println!("{:>10} {event:?}", self.kernel.now.0 / 1000);
        }
        let before = self.seed.is_multiple_of(16).then(|| self.supervisor.saved());
        let commanded = matches!(event, Event::Command(..));
        let mut effects = Vec::new();
        self.supervisor.handle(self.kernel.now, event, &mut effects);
        let persists = effects.iter().filter(|effect| matches!(effect, Effect::Persist)).count();
        assert!(persists <= 1 && (persists == 0 || effects.last() == Some(&Effect::Persist)), "{effects:?}");
        if persists == 0
            && let Some(before) = before
        {
            assert!(before == self.supervisor.saved(), "a change is not written down");
        }
        if !self.left && self.rng.below(1000) < deaths {
            // The daemon dies somewhere in the middle of carrying effects out.
            let done = self.rng.below(effects.len() as u64 + 1) as usize;
            effects.truncate(done);
            self.carry_out(&effects);
            return self.die();
        }
        let at_once = commanded || effects.iter().any(Effect::is_irrevocable);
        self.carry_out(&effects);
        self.write(at_once);
    }

    /// Writes the state down, not too often in some worlds; then exits are acknowledged.
    fn write(&mut self, at_once: bool) {
        if !at_once && self.kernel.now < self.written_at + self.writes_every {
            return;
        }
        if std::mem::take(&mut self.unwritten) {
            self.written_at = self.kernel.now;
            if self.mortal {
                self.saved = self.supervisor.saved();
            }
        }
        self.kernel.acknowledge();
    }

    fn carry_out(&mut self, effects: &[Effect]) {
        for effect in effects {
            if self.loud && *effect != Effect::Persist {
                match effect {
                    Effect::Spawn { life, spec, .. } => {
                        println!("           -> Spawn {life} of {} {:?}", spec.name, spec.version)
                    }
                    effect => println!("           -> {effect:?}"),
                }
            }
            self.note(effect);
            self.kernel.carry_out(effect);
            match effect {
                Effect::Reply { command, outcome } => {
                    let asked = self.unanswered.remove(command);
                    self.judge(asked.expect("a command is answered once, after it was asked"), outcome);
                }
                Effect::Persist => self.unwritten = true,
                Effect::Leave => {
                    assert!(!self.left, "it leaves twice");
                    self.left = true;
                }
                _ => {}
            }
        }
    }

    fn die(&mut self) {
        if self.loud {
            println!("{:>10} --- the daemon dies ---", self.kernel.now.0 / 1000);
        }
        // The clients of a dead daemon see it die.
        self.unanswered.clear();
        self.rolls_may_begin = true;
        self.kernel.lose_messages();
        let pause = self.rng.below(3000);
        let back_at = self.kernel.now + Duration::from_millis(pause);
        while self.kernel.next().is_some_and(|at| at <= back_at) {
            self.kernel.now = self.kernel.next().expect("just seen");
            // Nobody hears it.
            let _ = self.kernel.step();
        }
        self.kernel.now = back_at;
        self.kernel.lose_messages();
        let text = serde_json::to_string(&self.saved).expect("the state can be written");
        let saved: Saved = serde_json::from_str(&text).expect("the state can be read");
        assert!(saved == self.saved, "the state changes on disk");
        let mut effects = Vec::new();
        let facts = self.kernel.facts();
        if self.loud {
            println!("           facts: {:?}", facts.iter().map(|f| (f.life, f.exit, f.leftovers)).collect::<Vec<_>>());
        }
        self.supervisor = Supervisor::restore(back_at, saved, &facts, &mut effects);
        self.kernel.replay();
        if self.rng.percent(15) {
            // It does not come far.
            effects.truncate(self.rng.below(effects.len() as u64) as usize);
            self.kernel.traceless = true;
            self.carry_out(&effects);
            return self.die();
        }
        self.carry_out(&effects);
        self.write(true);
    }

    /// Compares an answer with the truth.
    fn judge(&self, asked: Asked, outcome: &Outcome) {
        match (asked.command, outcome) {
            _ if asked.disturbed => {}
            (Command::Stop { .. } | Command::Delete { .. }, Outcome::Done { workers }) => {
                for worker in workers {
                    let left: Vec<_> = self.kernel.living().filter(|life| life.worker == *worker).collect();
                    assert!(left.is_empty(), "{worker} is said to be down, and {left:?} run");
                }
            }
            (Command::Reload { specs, .. }, Outcome::Done { workers }) => {
                let canaries = |worker: &WorkerView<'_>| worker.spec.canary > 0;
                for worker in workers.iter().filter_map(|worker| self.supervisor.worker(*worker)) {
                    if canaries(&worker) || specs.iter().any(|(_, spec)| spec.canary > 0) {
                        continue;
                    }
                    let wanted = specs.iter().find(|(app, _)| *app == worker.app);
                    let wanted = wanted.map_or(&worker.spec.version, |(_, spec)| &spec.version);
                    assert_eq!(worker.spec.version, *wanted, "the reload of {} is said to be done", worker.id);
                }
            }
            (Command::Reload { specs, .. }, Outcome::Failed { failures, undone: true }) => {
                let apps: BTreeSet<AppId> = failures.iter().filter_map(|f| self.supervisor.app_of(f.worker)).collect();
                for app in apps.iter().filter_map(|app| self.supervisor.app(*app)) {
                    let rolled = specs.iter().any(|(id, spec)| *id == app.id && spec.job.is_none());
                    let same = |worker: &WorkerView<'_>| {
                        asked.releases.get(&worker.id).is_none_or(|before| *before == worker.spec.version)
                    };
                    for worker in app.workers.iter().filter(|worker| {
                        rolled
                            && worker.spec.rollback
                            && specs.iter().all(|(_, spec)| spec.rollback)
                            && matches!(worker.status, Status::Online | Status::Launching)
                    }) {
                        assert!(same(worker), "the reload of {} is said to be undone", worker.id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Looks at what must hold.
    fn look(&mut self) {
        let mut seats: BTreeMap<WorkerId, u32> = BTreeMap::new();
        for life in self.kernel.living() {
            *seats.entry(life.worker).or_default() += 1;
        }
        for (worker, lives) in seats {
            assert!(lives <= 2, "seat {worker} holds {lives} lives");
        }
        // A roll begins with a command or goes on after a daemon's death; between those nothing new is to be found.
        if self.rolls.is_empty() && !std::mem::take(&mut self.rolls_may_begin) {
            return;
        }
        let lost: u32 = self.kernel.lost.values().sum();
        let mut rolling = BTreeSet::new();
        // An earlier stop may still wait for those that depend on its workers.
        let is_stop = |asked: &Asked| matches!(asked.command, Command::Stop { .. } | Command::Delete { .. });
        let stops = self.unanswered.values().any(is_stop);
        for app in self.supervisor.apps().filter(|app| app.rolling) {
            rolling.insert(app.id);
            let admitted = self.kernel.admitted().map(|life| life.worker);
            let admitted = admitted.filter(|worker| self.supervisor.app_of(*worker) == Some(app.id));
            let admitted = admitted.collect::<BTreeSet<_>>().len();
            // Who cannot serve beside each other leaves a gap.
            let before = app.history.last().map(|past| &past.spec);
            let mut specs = app.workers.iter().map(|worker| worker.spec).chain([app.spec]).chain(before);
            let start = if !stops && specs.all(|spec| spec.shares_sockets()) { admitted } else { 0 };
            let (start, lost_before) = *self.rolls.entry(app.id).or_insert((start, lost));
            let promised = start.saturating_sub((lost - lost_before) as usize);
            assert!(admitted >= promised, "the roll of {} leaves {admitted} of {promised} workers", app.spec.name);
        }
        self.rolls.retain(|app, _| rolling.contains(app));
    }

    /// Compares what the supervisor believes with what is true.
    fn agree(&self) {
        let living: BTreeSet<_> = self.kernel.living().collect();
        for life in &living {
            assert!(self.supervisor.is_current(*life), "{life} runs and nobody knows it");
        }
        for app in self.supervisor.apps() {
            assert!(!app.rolling, "{} rolls for ever", app.spec.name);
            let mut instances = BTreeSet::new();
            for worker in &app.workers {
                assert!(instances.insert(worker.instance), "instance {} of {} twice", worker.instance, app.spec.name);
                match worker.status {
                    Status::Online => {
                        let life = worker.life.expect("an online worker has a life");
                        assert!(
                            living.contains(&life) || self.kernel.has_news_of(life),
                            "{life} is thought online and is dead"
                        );
                        assert!(worker.ready);
                        assert_eq!(worker.health, Some(Health::Ready), "{life} is well, and thought ill");
                    }
                    Status::Stopped | Status::Errored => {
                        assert!(!living.iter().any(|life| life.worker == worker.id), "{} is down and runs", worker.id);
                    }
                    Status::WaitingRestart => {}
                    Status::Launching => {
                        // Some crash for ever, slowly enough that they are not given up.
                        let since = worker.started_at.expect("a launching worker was started");
                        assert!(self.kernel.now - since < Duration::from_secs(61), "{} launches for ever", worker.id);
                    }
                    Status::Stopping => panic!("{} stops for ever", worker.id),
                }
            }
        }
    }

    // ---- clients -----------------------------------------------------------------------------------------------

    fn client(&mut self) {
        let workers: Vec<WorkerId> =
            self.supervisor.apps().flat_map(|app| app.workers.iter().map(|w| w.id).collect::<Vec<_>>()).collect();
        let apps: Vec<AppId> = self.supervisor.apps().map(|app| app.id).collect();
        if workers.is_empty() || (apps.len() < 4 && self.rng.percent(25)) {
            let specs = (0..1 + self.rng.below(2)).map(|_| self.spec()).collect();
            return self.ask(Command::Start { specs });
        }
        let some: Vec<WorkerId> = if self.rng.percent(30) {
            workers.clone()
        } else {
            let app = *self.rng.pick(&apps);
            let whole = self.supervisor.app(app).expect("just listed").workers;
            let part = self.rng.percent(60);
            whole.iter().map(|w| w.id).filter(|_| part || self.rng.percent(60)).collect()
        };
        let app = *self.rng.pick(&apps);
        if self.has_jobs && self.rng.percent(40) {
            let is_job = |worker: &WorkerView<'_>| worker.spec.job.is_some();
            let jobs = some.iter().filter(|worker| self.supervisor.worker(**worker).as_ref().is_some_and(is_job));
            let (workers, cause) = (jobs.copied().collect(), *self.rng.pick(&[Cause::Run, Cause::Schedule]));
            return self.ask(Command::Run { workers, cause });
        }
        match self.rng.below(25) {
            0..2 => self.ask(Command::Stop { workers: some }),
            2..6 => {
                let specs = self.new_specs(&some);
                self.ask(Command::Restart { workers: some, specs });
            }
            6..14 => {
                let specs = self.new_specs(&some);
                let force = self.rng.percent(20);
                self.ask(Command::Reload { workers: some, specs, force });
            }
            14 => self.ask(Command::Delete { workers: some }),
            15..19 => {
                let instances = self.rng.below(6) as u32;
                self.ask(Command::Scale { app, instances });
            }
            19..22 => {
                let roll = self.rng.percent(50);
                self.ask(Command::Renew { workers: some, cause: Cause::Cron, roll });
            }
            22 => self.ask(Command::Promote { app }),
            23 => self.ask(Command::Abort { app }),
            _ => self.ask(Command::Reset { workers: some }),
        }
    }

    fn ask(&mut self, command: Command) {
        // A later command may take workers away from a roll: its promise is void.
        let before: BTreeSet<AppId> = self.rolls.keys().copied().collect();
        let id = CommandId(self.next_command);
        self.next_command += 1;
        let workers = self.supervisor.apps().flat_map(|app| app.workers);
        let workers = workers.filter(|worker| worker.status == Status::Online);
        let releases = workers.map(|worker| (worker.id, worker.spec.version.clone())).collect();
        self.unanswered.values_mut().for_each(|asked| asked.disturbed = true);
        self.unanswered.insert(id, Asked { command: command.clone(), releases, disturbed: false });
        let takes_away = !matches!(
            command,
            Command::Start { .. }
                | Command::Resurrect { .. }
                | Command::Reset { .. }
                | Command::Reload { force: false, .. }
                | Command::Renew { roll: true, .. }
        );
        self.turn(Event::Command(id, command), 0);
        self.rolls_may_begin = true;
        if takes_away {
            self.rolls.retain(|app, _| !before.contains(app));
            self.look();
        }
        // With the command the old promise ends; a new one begins here.
        if takes_away {
            for app in before {
                self.rolls.insert(app, (0, 0));
            }
        }
        self.look();
    }

    fn new_specs(&mut self, workers: &[WorkerId]) -> Vec<(AppId, Arc<AppSpec>)> {
        if self.rng.percent(40) {
            return Vec::new();
        }
        let apps: BTreeSet<AppId> = workers.iter().filter_map(|worker| self.supervisor.app_of(*worker)).collect();
        let mut specs = Vec::new();
        for app in apps {
            let mut spec = (**self.supervisor.app(app).expect("it has a worker").spec).clone();
            let releases = ["1", "2", "3", "bad"];
            spec.version = Some((*self.rng.pick(&releases)).to_owned());
            if self.rng.percent(20) {
                spec.instances = 1 + self.rng.below(4) as u32;
            }
            if self.rng.percent(5) {
                spec.exec_mode = *self.rng.pick(&[ExecMode::Fork, ExecMode::Cluster]);
            }
            specs.push((app, Arc::new(spec)));
        }
        specs
    }

    fn spec(&mut self) -> Arc<AppSpec> {
        let other = self.supervisor.apps().last().map(|app| app.spec.name.clone());
        let rng = &mut self.rng;
        let mut spec = AppSpec::new(format!("app{}", self.next_command), "/app.js", "/");
        spec.exec_mode = *rng.pick(&[ExecMode::Cluster, ExecMode::Cluster, ExecMode::Socket, ExecMode::Fork]);
        spec.instances = 1 + rng.below(4) as u32;
        spec.wait_ready = rng.percent(25);
        spec.autostart = !rng.percent(5);
        spec.reload_parallel = 1 + rng.below(3) as u32;
        spec.drain_timeout = Duration::from_millis(rng.below(4000));
        spec.max_memory_restart = rng.percent(30).then_some(Bytes(1 << 30));
        spec.restart.autorestart = !rng.percent(15);
        spec.restart.restart_delay = Duration::from_millis(*rng.pick(&[0, 0, 0, 100, 3000]));
        spec.restart.exp_backoff = rng.percent(20).then_some(Duration::from_millis(100));
        if rng.percent(20) {
            spec.restart.stop_exit_codes = vec![0, 7];
        }
        spec.health = rng.percent(40).then(|| HealthSpec {
            interval: Duration::from_secs(1),
            start_period: Duration::from_millis(rng.below(6000)),
            rise: 1 + rng.below(2) as u32,
            fall: 1 + rng.below(3) as u32,
            ..HealthSpec::default()
        });
        spec.min_ready = Duration::from_millis(*rng.pick(&[0, 0, 0, 1500]));
        spec.canary = u32::from(rng.percent(15));
        spec.rollback = !rng.percent(10);
        spec.watchdog = rng.percent(20).then_some(Duration::from_secs(2));
        spec.stack_dump = rng.percent(30).then_some(StackDump::Signal(3));
        spec.listen_timeout = rng.percent(20).then_some(Duration::from_millis(1500));
        if self.has_jobs && rng.percent(50) {
            let on_overlap = *rng.pick(&[Overlap::Skip, Overlap::Queue, Overlap::Replace]);
            spec.job = Some(JobSpec { schedule: "@hourly".into(), time_zone: None, on_overlap, catch_up: false });
            (spec.exec_mode, spec.restart.autorestart) = (ExecMode::Fork, false);
        }
        if rng.percent(30)
            && let Some(other) = other
        {
            spec.depends_on.insert(other, *rng.pick(&[Dependency::Started, Dependency::Healthy]));
        }
        if let Some(weather) = &mut self.weather {
            let targets = Load { rate: Some(100.0), ..Load::default() };
            let [up_after, down_after, cool_down] = [3, 5, 10].map(|most| Duration::from_secs(weather.below(most)));
            let usual = AutoscaleSpec::new(1, 5, targets);
            let policy = AutoscaleSpec { up_after, down_after, cool_down, ..usual };
            spec.autoscale = weather.percent(70).then(|| Box::new(policy));
            let duration = Duration::from_secs(weather.below(4));
            let rule = CanaryRule { duration, ..CanaryRule::default() };
            spec.canary_rule = weather.percent(50).then_some(rule);
        }
        Arc::new(spec)
    }

    fn note(&mut self, effect: &Effect) {
        // A digest of what can be seen is enough; specs are long.
        let text = match effect {
            Effect::Spawn { life, restarts, unstable, .. } => format!("spawn {life} {restarts} {unstable}"),
            effect => format!("{effect:?}"),
        };
        for byte in text.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}
