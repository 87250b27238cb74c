//! The supervision core, driven by what was read.

use rpm_model::Moment;
use rpm_supervise::{Command, CommandId, Effect, Event, Saved, Supervisor};

/// Rounds of effects and deadlines that are let come: enough for a start, its failure, and the waits in between.
const ROUNDS: usize = 16;

/// More workers say nothing new, and take long.
const INSTANCES_MAX: u32 = 8;

/// A core, and a clock that stands still until the core waits.
pub(crate) struct Core {
    supervisor: Supervisor,
    now: Moment,
    commands: u64,
}

impl Core {
    pub(crate) fn new() -> Self {
        Self { supervisor: Supervisor::new(), now: Moment(1), commands: 0 }
    }

    /// Takes up the work of a daemon that died.
    pub(crate) fn restore(now: Moment, saved: Saved, facts: &[rpm_supervise::Fact]) -> Self {
        let mut effects = Vec::new();
        let supervisor = Supervisor::restore(now, saved, facts, &mut effects);
        let mut this = Self { supervisor, now, commands: 0 };
        this.carry_out(effects);
        this
    }

    /// Gives a command to the core, and lets time go by.
    pub(crate) fn command(&mut self, command: Command) {
        if asks_for_many(&command) {
            return;
        }
        self.commands += 1;
        let mut effects = Vec::new();
        self.supervisor.handle(self.now, Event::Command(CommandId(self.commands), command), &mut effects);
        self.carry_out(effects);
    }

    /// No process can be started, and those that are told to leave do.
    fn carry_out(&mut self, mut effects: Vec<Effect>) {
        for _ in 0..ROUNDS {
            let mut next = Vec::new();
            for effect in effects.drain(..) {
                let event = match effect {
                    Effect::Spawn { life, spec, .. } => {
                        rpm_daemon::fuzz::launch(&spec, life);
                        Event::SpawnFailed { life, why: "there is none".into() }
                    }
                    Effect::Drain { life, .. } => Event::Drained { life },
                    Effect::Ask { life } | Effect::Kill { life } => {
                        Event::Exited { life, exit: rpm_model::Exit::Unknown, leftovers: false }
                    }
                    _ => continue,
                };
                self.supervisor.handle(self.now, event, &mut next);
            }
            if next.is_empty() {
                let Some(deadline) = self.supervisor.next_deadline() else { break };
                self.now = self.now.max(deadline);
                self.supervisor.handle(self.now, Event::Deadline, &mut next);
            }
            effects = next;
        }
        // What a screen shows and what is written down must come of any state.
        self.supervisor.apps().for_each(drop);
        let saved = serde_json::to_vec(&self.supervisor.saved()).expect("the state can be written");
        serde_json::from_slice::<Saved>(&saved).expect("what was written can be read");
    }
}

/// Returns whether more is asked for than can be tried a thousand times a second.
fn asks_for_many(command: &Command) -> bool {
    let instances: u64 = match command {
        Command::Start { specs } => specs.iter().map(|spec| u64::from(spec.instances)).sum(),
        Command::Resurrect { apps } => apps.iter().map(|app| u64::from(app.spec.instances)).sum(),
        Command::Restart { specs, .. } | Command::Reload { specs, .. } => {
            specs.iter().map(|(_, spec)| u64::from(spec.instances)).sum()
        }
        Command::Scale { instances, .. } => u64::from(*instances),
        _ => 0,
    };
    instances > u64::from(INSTANCES_MAX)
}
