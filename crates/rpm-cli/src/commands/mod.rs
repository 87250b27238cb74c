//! The commands, one file each.

mod apply;
mod attach;
mod autoscale;
mod canary;
mod cleardump;
pub mod completion;
mod crashes;
mod delete;
mod deploy;
mod describe;
mod dev;
mod env;
mod events;
mod examples;
mod flush;
mod foreground;
mod foreign;
mod foreign_config;
mod history;
mod id;
mod import;
mod init;
mod kill;
mod life_lines;
mod list;
mod logrotate;
mod logs;
mod modules;
mod monit;
mod monit_traffic;
mod past;
mod pid;
mod ping;
mod process_events;
mod pull;
mod reload_logs;
mod report;
mod reset;
mod restart;
mod resurrect;
pub mod roles;
mod run;
mod runtime;
mod save;
mod scale;
mod send;
mod send_signal;
pub mod serve;
mod server;
mod settings;
mod slist;
mod start;
mod start_or;
mod startup;
mod stop;
mod trigger;
mod update;
pub mod web;
mod why;

use std::path::PathBuf;

use rpm_ipc::List;
use rpm_model::{Flavour, Home, WorkerId};

use crate::args::{Asking, Balance, Command, Manage, System};
use crate::report::Failure;
use crate::say::Voice;
use crate::session::Session;
use crate::specs;
use crate::target::{self, Target};

/// What every command needs: whose daemon, and how to speak.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The state directory.
    pub home: Home,
    /// How to speak.
    pub voice: Voice,
}

impl Invocation {
    /// Connects, starting the daemon where there is none.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub fn session(&self) -> Result<Session, Failure> {
        Session::open(&self.home, &self.voice)
    }

    /// Connects to the daemon, as [`Invocation::session`] does, and returns everything there is.
    ///
    /// # Errors
    /// Those of [`Session::open_listing`].
    pub fn listing(&self, environment: bool) -> Result<(Session, List), Failure> {
        Session::open_listing(&self.home, &self.voice, environment)
    }
}

/// Carries out a command.
///
/// # Errors
/// When it did not succeed.
pub fn run(command: Command, invocation: &Invocation) -> Result<(), Failure> {
    use restart::How;
    match command {
        Command::Start(args) => start::run(args, invocation),
        Command::Stop(args) => stop::run(&args, invocation),
        Command::Restart(args) => restart::run(&args, How::Restart, invocation),
        Command::Run(args) => run::run(&args, invocation),
        Command::Reload(args) => restart::run(&args, How::Reload, invocation),
        Command::Scale(args) => scale::run(&args, invocation),
        Command::Autoscale(args) => autoscale::run(&args, invocation),
        Command::Promote(args) => canary::promote(&args, invocation),
        Command::Abort(args) => canary::abort(&args, invocation),
        Command::History(args) => history::show(&args, invocation),
        Command::Rollback(args) => history::rollback(&args, invocation),
        Command::Diff(args) => apply::diff(&args, invocation),
        Command::Apply(args) => apply::run(&args, invocation),
        Command::Delete(args) => delete::run(&args, invocation),
        Command::StartOrRestart(args) => start_or::run(&args, How::Restart, invocation),
        Command::StartOrReload(args) => start_or::run(&args, How::Reload, invocation),
        Command::Reset(args) => reset::run(&args, invocation),
        Command::SendSignal(args) => send_signal::run(&args, invocation),
        Command::Trigger(args) => trigger::run(&args, invocation),
        Command::Send(args) => send::run(&args, invocation),
        Command::Attach(args) => attach::run(&args, invocation),
        Command::List(args) => list::run(&args, invocation),
        Command::Jlist(_) => list::jlist(invocation),
        Command::Prettylist(_) => list::prettylist(invocation),
        Command::Describe(args) => describe::run(&args, invocation),
        Command::Env(args) => env::run(&args, invocation),
        Command::Pid(args) => pid::run(&args, invocation),
        Command::Id(args) => id::run(&args, invocation),
        Command::Monit(args) => monit::run(&args, invocation),
        Command::Logs(args) => logs::run(&args, invocation),
        Command::Flush(args) => flush::run(&args, invocation),
        Command::ReloadLogs => reload_logs::run(invocation),
        Command::Save(args) => save::run(&args, invocation),
        Command::Resurrect => resurrect::run(invocation),
        Command::Kill => kill::run(invocation),
        Command::Ping => ping::run(invocation),
        Command::Completion(args) => completion::run(&args, &invocation.voice),
        Command::Asking(Asking::Why(args)) => why::run(&args, invocation),
        Command::Asking(Asking::Crashes(args)) => crashes::run(&args, invocation),
        Command::Asking(Asking::Events(args)) => events::run(&args, invocation),
        Command::Manage(manage) => run_manage(manage, invocation),
        Command::System(system) => run_system(system, invocation),
        Command::Balance(balance) => run_balance(balance, invocation),
        Command::Foreign(foreign) => foreign::run(&foreign, invocation),
        Command::Keeper(_) | Command::Daemon(_) | Command::Webhook | Command::NodeStack { .. } => {
            unreachable!("the roles have no invocation and ran before")
        }
    }
}

fn run_balance(command: Balance, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        Balance::Drain(args) => server::drain(&args, invocation),
        Balance::Ready(args) => server::ready(&args, invocation),
        Balance::Weight(args) => server::weight(&args, invocation),
        Balance::Export(args) if args.what == "grafana" => web::grafana(&args, invocation),
        Balance::Export(args) => foreign_config::export(&args, invocation),
        Balance::Edge => roles::edge(),
    }
}

fn run_system(command: System, invocation: &Invocation) -> Result<(), Failure> {
    match command {
        System::Serve(args) => serve::run(&args, invocation),
        System::Web(args) => web::run(&args, invocation),
        System::StaticServer => serve::server(),
        System::WebServer(args) => web::server(args),
        System::Runtime(args) => runtime::run(args, invocation),
        System::Dev(args) => dev::run(args, invocation),
        System::Startup(args) => startup::startup(&args, invocation),
        System::Unstartup(args) => startup::unstartup(&args, invocation),
        System::Logrotate(args) => logrotate::run(&args, invocation),
        System::Init(args) => init::run(&args, invocation),
        System::Schema => {
            invocation.voice.data(&format!("{:#}\n", rpm_config::schema()));
            Ok(())
        }
        System::Slist(args) => slist::run(&args, invocation),
        System::Report => report::run(invocation),
        System::Cleardump => cleardump::run(invocation),
        System::Examples => {
            examples::run(invocation);
            Ok(())
        }
    }
}

fn run_manage(command: Manage, invocation: &Invocation) -> Result<(), Failure> {
    use pull::Step;
    match command {
        Manage::Set(args) => settings::set(&args, invocation),
        Manage::Multiset(args) => settings::multiset(&args, invocation),
        Manage::Get(args) => settings::get(&args, invocation),
        Manage::Unset(args) => settings::unset(&args, invocation),
        Manage::Conf(args) => settings::conf(args.key.as_deref(), invocation),
        Manage::Config(args) => settings::config(&args, invocation),
        Manage::Install(args) => modules::install(&args, invocation),
        Manage::Uninstall(args) => modules::uninstall(&args.name, invocation),
        Manage::ModuleUpdate(args) => modules::update(&args.name, invocation),
        Manage::ModuleGenerate(args) => modules::generate(&args, invocation),
        Manage::Deploy(args) => deploy::run(&args, invocation),
        Manage::Pull(args) => pull::run(&args.name, &Step::To(args.commit), invocation),
        Manage::Forward(args) => pull::run(&args.name, &Step::Forward, invocation),
        Manage::Backward(args) => pull::run(&args.name, &Step::Backward, invocation),
        Manage::Import(args) => import::run(&args, invocation),
        Manage::Update => update::run(invocation),
    }
}

/// Returns the working directory; relative words hang on it.
fn cwd() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

/// Refuses `--only` with a target that is no file of apps: it would be ignored, and more would be acted on than meant.
///
/// # Errors
/// When it was given.
fn only_chooses_in_files(only: Option<&str>, word: &str) -> Result<(), Failure> {
    let Some(only) = only else { return Ok(()) };
    Err(Failure::new(format!("`--only {only}` chooses apps of an ecosystem file, and `{word}` is none"))
        .hint(format!("name the apps instead of `{word}`: {}", only.replace(',', " "))))
}

/// Refuses `--env` with apps that are there already when called `pm2`: PM2 wants the file that declares the environment.
///
/// # Errors
/// When it was given.
fn env_wants_a_file(env_name: Option<&str>, invocation: &Invocation) -> Result<(), Failure> {
    match env_name {
        Some(name) if invocation.voice.flavour == Flavour::Pm2 => {
            Err(Failure::new(format!("`--env {name}` needs the ecosystem file that declares `env_{name}`"))
                .hint(format!("name the file instead of the app: `pm2 restart ecosystem.config.js --env {name}`")))
        }
        _ => Ok(()),
    }
}

/// Returns the words to be done, and what is wrong with the one behind them: called `pm2`, what stands before a word that names
/// nothing is done, as scripts expect (`pm2 delete new old; pm2 start …`). Otherwise these are all words, and one that is wrong
/// means that nothing is done.
fn words_to_do<'a>(words: &'a [String], list: &List, invocation: &Invocation) -> (&'a [String], Option<Failure>) {
    if invocation.voice.flavour == Flavour::Pm2 {
        let cwd = cwd();
        for (index, word) in words.iter().enumerate().skip(1) {
            if let Err(failure) = target::resolve(word, list, rpm_config::is_config_file, &cwd) {
                return (&words[..index], Some(failure));
            }
        }
    }
    (words, None)
}

/// Returns the workers that words name, ecosystem files and standard input included, each once and in order.
fn workers_of(
    words: &[String],
    only: Option<&str>,
    list: &List,
    invocation: &Invocation,
) -> Result<Vec<WorkerId>, Failure> {
    let cwd = cwd();
    let mut workers = Vec::new();
    for word in words {
        let target = target::resolve(word, list, rpm_config::is_config_file, &cwd)?;
        if let Target::Workers(ids) = &target {
            only_chooses_in_files(only, word)?;
            workers.extend(ids);
            continue;
        }
        let options = rpm_config::AppOptions { only: only.map(str::to_owned), ..Default::default() };
        let specs = specs::of_file(&target, &options, &specs::context(&invocation.home)?, &invocation.voice)?;
        let (ids, absent) = specs::by_names(&specs, list);
        if ids.is_empty() {
            let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            return Err(Failure::new(format!("no app of {word} is there: {}", names.join(", "))));
        }
        if !absent.is_empty() {
            invocation.voice.warn(format_args!("not there: {}", absent.join(", ")));
        }
        workers.extend(ids);
    }
    workers.sort_unstable();
    workers.dedup();
    Ok(workers)
}
