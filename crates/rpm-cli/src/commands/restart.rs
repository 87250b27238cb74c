//! `restart` and `reload`: the same words, two ways to replace a worker.

use rpm_ipc::{Request, Respec};
use rpm_model::WorkerId;

use crate::acting;
use crate::args::Again;
use crate::commands::{Invocation, cwd, env_wants_a_file, only_chooses_in_files, start_or, words_to_do};
use crate::report::Failure;
use crate::specs::{self, Plan};
use crate::target::{self, Target};

/// How workers are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Stopped, then started.
    Restart,
    /// One after another, none missing.
    Reload,
}

impl How {
    /// Returns the word that completes "could not …".
    pub fn verb(self) -> &'static str {
        match self {
            How::Restart => "restart",
            How::Reload => "reload",
        }
    }

    /// Returns the request; `force` ends a reload that is under way.
    pub fn request(self, workers: Vec<WorkerId>, specs: Vec<Respec>, force: bool) -> Request {
        match self {
            How::Restart => Request::Restart { workers, specs },
            How::Reload => Request::Reload { workers, specs, force },
        }
    }
}

pub(super) fn run(args: &Again, how: How, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let changes = args.app.changes_something() || !args.args.is_empty();
    // Environments are long: they are asked for when a spec will be made from another.
    let with_files = args.targets.iter().any(|word| word == "-" || rpm_config::is_config_file(word));
    let before = session.list(changes || with_files)?;
    let mut options = args.app.options(&args.args);
    options.watch_toggles = true;
    let cwd = cwd();
    let mut plan = Plan::default();
    let mut by_name = Plan::default();
    let (words, wrong) = words_to_do(&args.targets, &before, invocation);
    for word in words {
        match target::resolve(word, &before, rpm_config::is_config_file, &cwd)? {
            Target::Workers(mut workers) => {
                specs::leave_jobs_out(word, &mut workers, &before);
                only_chooses_in_files(args.app.only.as_deref(), word)?;
                by_name.again(workers);
            }
            target @ (Target::File(_) | Target::Stdin) => {
                let context = specs::context(&invocation.home)?;
                let loaded = specs::of_file(&target, &options, &context, &invocation.voice)?;
                plan.apply(loaded, &before, args.app.update_env);
            }
        }
    }
    if changes && !by_name.workers.is_empty() {
        env_wants_a_file(options.env_name.as_deref(), invocation)?;
        by_name.update(&before, &options, &specs::context(&invocation.home)?)?;
    }
    plan.merge(by_name);
    plan.tell_of_numbers(&before, &options, &invocation.voice);
    let requests = start_or::requests(plan.finish(), how, args.app.force, Vec::new(), invocation);
    acting::act_and_show(&mut session, invocation, &before, requests)?;
    wrong.map_or(Ok(()), Err)
}
