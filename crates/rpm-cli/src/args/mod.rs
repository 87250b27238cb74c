//! The command line, as clap reads it: PM2's commands, aliases and options.
//!
//! Only shapes live here; what a command does is in `commands/`.

mod acting;
mod app;
mod asking;
mod balance;
mod bare;
mod foreign;
mod manage;
mod misunderstood;
mod system;
mod words;

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

pub use acting::{
    Again, Apply, Autoscale, Desired, File, History, Leave, OneApp, Rollback, Scale, Send, SendSignal, Start, Switch,
    Targets, Trigger,
};
pub use app::AppArgs;
pub use asking::{Asking, Crashes, Events, Why};
pub use balance::{Balance, Export, Server, Weight};
pub use bare::bare;
pub use foreign::{Foreign, Monitored};
pub use manage::{Deploy, Generate, Import, Install, Key, Manage, Multiset, Set, Unset};
pub use misunderstood::misunderstood;
pub use system::{
    Boot, Compat, Dev, Form, Init, Logrotate, Platform, Runtime, Serve, Slist, System, Web, WebHow, WebServer, WebVerb,
};
pub use words::{called_by_role, understood, without_options_of_others, without_unknown_options};

/// The commands by task: a list by the alphabet helps nobody who does not know the word yet.
const OVERVIEW: &str = "\
Apps:
  start            Start a script, a program or an ecosystem file; restart what is there
  stop             Stop, and keep in the list
  restart          Stop and start again
  reload           Replace the workers one after another without losing a request
  scale            Change the number of workers of an app
  autoscale        Show how the number of workers follows the load; on, off
  run              Run a job now (an app with a schedule), and wait for its end
  promote, abort   Let a reload with a canary go on; put the old release back
  history          Show what an app was before; rollback puts it back
  diff, apply      Show what a file would change; make it so (--prune, --dry-run)
  delete           Stop and forget (del)
  startOrRestart   Restart the apps of an ecosystem file, start the missing ones
  startOrReload    Reload the apps of an ecosystem file, start the missing ones
  sendSignal       Send a signal to the main processes
  trigger          Call an action that an app has registered
  send, attach     Send a line to a worker's input; type to it
  reset            Set the restart counters to zero

Looking:
  list             Show what there is (ls, l, ps, status); --json, -m, --sort
  describe         Show everything about an app, and first why it is down (desc, info, show)
  why              Say in a sentence why an app is as it is, and show the evidence
  crashes          Show how the processes of an app ended, with their last lines
  events           Show what has happened; -f waits for more
  monit            Show the dashboard (dash, dashboard)
  web              Serve the dashboard, an HTTP API and /metrics; start, stop, token, url
  env, pid, id     Print the environment, the process ids, the ids
  jlist            Show what there is as JSON in PM2's shape; prettylist as a JavaScript object

Balancers (listed, stopped and reloaded like apps):
  drain, ready     Send a server of an upstream nothing new; use it again
  weight           Give a server of an upstream another weight
  import, export   Read and write configurations of nginx and HAProxy; export grafana: a dashboard

Logs:
  logs             Show the logs and follow them (log)
  flush            Empty the logs
  reloadLogs       Open the log files anew, after somebody has renamed them

Settings, modules, deployment:
  set, multiset    Set values of an app or module (module_conf.json)
  get, unset       Print a value, remove it
  conf, config     Print the values of an app or module
  install          Install an npm package as a module; uninstall removes it
  module:update    Install the newest version of a module
  module:generate  Write the skeleton of a module
  deploy           Deploy over ssh
  pull             Update an app's directory by git and reload; forward, backward: by one commit

Daemon:
  save             Save the list for `resurrect` (dump)
  resurrect        Start what was saved
  ping             Ask the daemon whether it is there; starts it if not
  update           Replace the daemon by the program that is installed now (updatePM2)
  import pm2       Take over the apps of PM2 (also: import nginx FILE, import haproxy FILE)
  kill             Stop everything, and the daemon
  startup          Start the daemon and the saved apps at boot; unstartup undoes it
  logrotate        Write the configuration of logrotate; cleardump empties the saved list
  completion       Complete words in bash, zsh, fish; install, uninstall

More:
  serve            Serve a directory over HTTP (expose)
  runtime          Run apps in the foreground, for containers (docker)
  dev              Run an app in the foreground, restart it when its files change
  init             Write an ecosystem.config.js to begin with (ecosystem)
  schema           Print the format of ecosystem files as a JSON schema, for editors
  slist            Show the machine in numbers (sysinfos)
  report           Print what belongs into a bug report
  examples         Show examples

Everywhere: -s, --silent   --no-color   -h, --help   -v, --version
Targets are a name, an id, a namespace, /regex/, all, or an ecosystem file.
`rpm COMMAND --help` lists the options of a command.";

/// A process manager; takes the commands and the ecosystem files of PM2.
#[derive(Debug, Parser)]
#[command(name = "rpm", version, disable_version_flag = true, max_term_width = 100)]
// As in PM2, an option that is given twice is no mistake: the last one counts.
#[command(args_override_self = true)]
#[command(help_template = "{about}\n\n{usage-heading} {usage}{after-help}", after_help = OVERVIEW)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Print errors and asked-for data only
    #[arg(short = 's', long, global = true)]
    pub silent: bool,
    /// Print no colours
    #[arg(long = "no-color", alias = "no-colors", global = true)]
    pub no_color: bool,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a script, a program or an ecosystem file; restart what is there
    Start(Start),
    /// Stop, and keep in the list
    Stop(Leave),
    /// Stop and start again
    Restart(Again),
    /// Replace the workers one after another without losing a request
    Reload(Again),
    /// Run a job now, and wait for its end
    Run(Targets),
    /// Change the number of workers of an app
    Scale(Scale),
    /// Show how the number of workers follows the load (`autoscale` in the settings); turn that on or off
    Autoscale(Autoscale),
    /// Let a reload that waits after its first workers go on
    Promote(OneApp),
    /// Put the old release back where a reload waits after its first workers
    Abort(OneApp),
    /// Show what an app was before
    History(History),
    /// Put an earlier release of an app back, as a reload does
    Rollback(Rollback),
    /// Show what an ecosystem file would change
    Diff(Desired),
    /// Make everything as an ecosystem file says; what is so already is left alone
    Apply(Apply),
    /// Stop and forget
    #[command(visible_alias = "del")]
    Delete(Leave),
    /// Restart the apps of an ecosystem file, start the missing ones
    #[command(name = "startOrRestart", alias = "startorrestart")]
    StartOrRestart(File),
    /// Reload the apps of an ecosystem file, start the missing ones
    #[command(name = "startOrReload", aliases = ["startorreload", "startOrGracefulReload", "startorgracefulreload"])]
    StartOrReload(File),
    /// Set the restart counters to zero
    Reset(Targets),
    /// Send a signal to the main processes
    #[command(name = "sendSignal", alias = "sendsignal")]
    SendSignal(SendSignal),
    /// Call an action that an app has registered, and show what it returns
    Trigger(Trigger),
    /// Send a line to the standard input of a worker (fork mode)
    Send(Send),
    /// Show a worker's output, and send it what is typed (fork mode)
    Attach(One),

    /// Show what there is
    #[command(visible_aliases = ["ls", "l", "ps", "status"])]
    List(List),
    /// Show what there is as JSON, in PM2's shape
    Jlist(Ignored),
    /// Show what there is as a JavaScript object, in PM2's shape
    Prettylist(Ignored),
    /// Show everything about an app, and first why it is down
    #[command(visible_aliases = ["desc", "info", "show"])]
    Describe(Describe),
    /// Print the environment of a worker
    Env(One),
    /// Print process ids
    Pid(Optional),
    /// Print the ids of an app's workers
    Id(One),
    /// Show the dashboard
    #[command(visible_aliases = ["dashboard", "dash"])]
    Monit(Monit),

    /// Show the logs and follow them
    #[command(visible_alias = "log")]
    Logs(Logs),
    /// Empty the logs
    Flush(Optional),
    /// Open the log files anew, after somebody has renamed them
    #[command(name = "reloadLogs", alias = "reloadlogs")]
    ReloadLogs,

    /// Save the list for `resurrect`
    #[command(visible_alias = "dump")]
    Save(Save),
    /// Start what was saved
    Resurrect,
    /// Stop everything, and the daemon
    Kill,
    /// Ask the daemon whether it is there; starts it if not
    Ping,
    /// Print a completion script, or add it to the shell's configuration
    Completion(Completion),

    #[command(flatten)]
    Asking(Asking),
    #[command(flatten)]
    Manage(Manage),
    #[command(flatten)]
    System(System),
    #[command(flatten)]
    Balance(Balance),
    #[command(flatten)]
    Foreign(Foreign),

    #[command(hide = true)]
    Keeper(Role),
    #[command(hide = true)]
    Daemon(Role),
    #[command(hide = true)]
    Webhook,
    #[command(hide = true)]
    NodeStack {
        /// The process that is asked.
        pid: i32,
    },
}

/// `monit`.
#[derive(Debug, Args)]
pub struct Monit {
    /// terminal, dark, light, contrast or plain [default: terminal, or plain with NO_COLOR]
    #[arg(long, value_name = "NAME")]
    pub theme: Option<String>,
    /// Look only: no key and no command does anything to an app
    #[arg(long)]
    pub read_only: bool,
    /// Leave the mouse to the terminal (m changes it at any time)
    #[arg(long)]
    pub no_mouse: bool,
    /// Write the session to a new file, to be seen again with --replay
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Show a session that --record wrote; needs no daemon
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "read_only"])]
    pub replay: Option<PathBuf>,
}

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// One JSON document
    #[arg(long)]
    pub json: bool,
    /// Draw it again and again
    #[arg(long)]
    pub watch: bool,
    /// A few lines for each worker
    #[arg(short = 'm', long)]
    pub mini_list: bool,
    /// name, namespace, pid, id, cpu, memory, uptime or status; `:desc` turns it round
    #[arg(long, value_name = "FIELD[:desc]")]
    pub sort: Option<String>,
    /// PM2 ignores what follows.
    #[arg(hide = true)]
    pub ignored: Vec<String>,
}

/// `describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// Name, id, namespace, /regex/ or all
    pub target: String,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `env`, `id`.
#[derive(Debug, Args)]
pub struct One {
    /// Name or id
    pub target: String,
}

/// `pid`, `flush`.
#[derive(Debug, Args)]
pub struct Optional {
    /// Name, id, namespace or /regex/; everything when absent
    pub target: Option<String>,
}

/// `logs`.
#[derive(Debug, Clone, Default, Args)]
pub struct Logs {
    /// Names, ids, namespaces or /regex/; everything when absent
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// How many of the last lines to begin with: 15, or all that --since, --until and --grep choose
    #[arg(long, value_name = "N")]
    pub lines: Option<usize>,
    /// Only lines since then: 10m, 14:30, "2026-11-25 14:30"; archives too, all workers in the order of time
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines until then; does not follow
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only lines that this regular expression finds something in
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Do not follow
    #[arg(long)]
    pub nostream: bool,
    /// The lines as the app wrote them, nothing before them
    #[arg(long)]
    pub raw: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// key=value
    #[arg(long)]
    pub format: bool,
    /// Standard error only
    #[arg(long)]
    pub err: bool,
    /// Standard output only
    #[arg(long)]
    pub out: bool,
    /// Put the time before each line, in this dayjs format
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = TIMESTAMP_FORMAT)]
    pub timestamp: Option<String>,
    /// Let this word stand out
    #[arg(long, value_name = "WORD", num_args = 0..=1, default_missing_value = "")]
    pub highlight: Option<String>,
}

/// PM2's format of `logs --timestamp`.
pub const TIMESTAMP_FORMAT: &str = "YYYY-MM-DD-HH:mm:ss";

/// `save`.
#[derive(Debug, Args)]
pub struct Save {
    /// Save an empty list too
    #[arg(short = 'f', long)]
    pub force: bool,
}

/// `jlist`, `prettylist`: PM2 ignores what follows.
#[derive(Debug, Args)]
pub struct Ignored {
    #[arg(hide = true)]
    ignored: Vec<String>,
}

/// `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// bash, zsh, fish, elvish or powershell; install or uninstall
    pub action: Option<String>,
    /// The shell to install for; your own when absent
    pub shell: Option<String>,
    /// The words typed so far; our own scripts ask with them
    #[arg(last = true, hide = true)]
    pub words: Vec<String>,
}

/// The hidden roles.
#[derive(Debug, Args)]
pub struct Role {
    /// State directory
    #[arg(long)]
    pub home: PathBuf,
    /// PM2's file names
    #[arg(long)]
    pub pm2: bool,
}

/// Returns every word that is a command, aliases included.
pub fn command_names() -> Vec<String> {
    let cli = Cli::command();
    let visible = cli.get_subcommands().filter(|command| !command.is_hide_set());
    visible
        .flat_map(|command| std::iter::once(command.get_name()).chain(command.get_all_aliases()).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn parse(line: &str) -> Command {
        let words = understood(std::iter::once("rpm").chain(line.split(' ')).map(OsString::from).collect());
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).command.expect("a command")
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_overview_names_every_command() {
        let cli = Cli::command();
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(OVERVIEW.contains(command.get_name()), "{} is missing", command.get_name());
        }
    }

    #[test]
    fn a_number_that_looks_like_an_option_is_a_number() {
        let Command::Scale(scale) = parse("scale app -2") else { panic!("not scale") };
        assert_eq!((scale.app.as_str(), scale.number.as_str()), ("app", "-2"));
        let Command::Scale(scale) = parse("scale app +3") else { panic!("not scale") };
        assert_eq!(scale.number, "+3");
        let Command::Start(start) = parse("start app.js -i -1") else { panic!("not start") };
        assert_eq!(start.app.instances.as_deref(), Some("-1"));
    }

    #[test]
    fn of_an_option_that_is_given_twice_the_last_counts() {
        let Command::Start(start) = parse("start app.js -w --write --name a --name b -f -f") else {
            panic!("not start")
        };
        assert_eq!(start.app.name.as_deref(), Some("b"));
        let Command::Start(start) = parse("start app.js --ignore-watch a --ignore-watch b") else {
            panic!("not start")
        };
        assert_eq!(start.app.ignore_watch, ["a", "b"], "a list grows");
    }

    #[test]
    fn aliases_mean_their_command() {
        for alias in ["list", "ls", "l", "ps", "status"] {
            assert!(matches!(parse(alias), Command::List(_)), "{alias}");
        }
        for alias in ["describe", "desc", "info", "show"] {
            assert!(matches!(parse(&format!("{alias} api")), Command::Describe(_)), "{alias}");
        }
        for alias in ["monit", "dash", "dashboard"] {
            assert!(matches!(parse(alias), Command::Monit(_)), "{alias}");
        }
        assert!(matches!(parse("del api"), Command::Delete(_)));
        assert!(matches!(parse("dump"), Command::Save(_)));
        assert!(matches!(parse("log"), Command::Logs(_)));
        assert!(matches!(parse("startOrGracefulReload e.json"), Command::StartOrReload(_)));
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_script() {
        let Command::Start(start) = parse("start app.js --name x -- -i 4 start --name y") else { panic!("not start") };
        assert_eq!(start.targets, ["app.js"]);
        assert_eq!(start.app.name.as_deref(), Some("x"));
        assert_eq!(start.args, ["-i", "4", "start", "--name", "y"]);
    }

    #[test]
    fn options_may_stand_before_the_command() {
        let Command::Start(start) = parse("--name x -i 2 start app.js -s") else { panic!("not start") };
        assert_eq!((start.app.name.as_deref(), start.app.instances.as_deref()), (Some("x"), Some("2")));
        assert!(matches!(parse("-s list"), Command::List(_)));
        let Command::Start(start) = parse("-n list --watch start app.js") else { panic!("not start") };
        assert_eq!(start.app.name.as_deref(), Some("list"), "a value that reads like a command");
    }

    #[test]
    fn pm2s_short_options_are_known() {
        let line = "start a.js -n x -o o -e e -l l -p p -k 5 -u me -x -a -f -c 0 -i max";
        let Command::Start(start) = parse(line) else { panic!("not start") };
        let options = start.app.options(&start.args);
        assert_eq!(options.log, Some(Some("l".into())));
        assert!(options.force_fork && options.update_env && options.force);
        assert_eq!(options.cron_restart.as_deref(), Some("0"));
    }

    #[test]
    fn an_option_without_its_value_gives_the_target_back() {
        let Command::Start(mut start) = parse("start --watch app.js") else { panic!("not start") };
        assert!(start.targets.is_empty());
        assert_eq!(start.app.give_back_target().as_deref(), Some("app.js"));
        assert_eq!(start.app.options(&[]).watch, Some(Vec::new()));
        let Command::Start(mut start) = parse("start app.js --watch lib --watch src") else { panic!("not start") };
        assert_eq!(start.app.options(&[]).watch, Some(vec!["lib".into(), "src".into()]));
        assert_eq!(start.targets, ["app.js"]);
        let _ = start.app.give_back_target();
    }

    #[test]
    fn the_programs_name_is_a_command() {
        let of = |line: &str| {
            let words = called_by_role(line.split(' ').map(OsString::from).collect());
            Cli::try_parse_from(understood(words)).map(|cli| cli.command)
        };
        let Ok(Some(Command::System(System::Runtime(runtime)))) = of("/bin/pm2-runtime start app.js -i 2 --json")
        else {
            panic!("not runtime")
        };
        assert_eq!((runtime.targets, runtime.form.json), (vec!["start".into(), "app.js".into()], true));
        let Ok(Some(Command::System(System::Runtime(runtime)))) = of("rpm-runtime npm -- start") else {
            panic!("not runtime")
        };
        assert_eq!((runtime.targets, runtime.args), (vec!["npm".to_owned()], vec!["start".to_owned()]));
        assert!(matches!(of("pm2-dev app.js"), Ok(Some(Command::System(System::Dev(_))))));
        assert!(of("pm2-runtime -v").is_err_and(|error| error.kind() == clap::error::ErrorKind::DisplayVersion));
    }

    #[test]
    fn runtime_leaves_out_what_nobody_knows() {
        let known = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let (kept, unknown) = without_unknown_options(&words)?;
            let kept: Vec<_> = kept.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            Some((kept.join(" "), unknown.join(" ")))
        };
        for (line, kept, unknown) in [
            ("pm2 runtime app.js --foo", "pm2 runtime app.js", "--foo"),
            ("pm2 runtime app.js --foo bar -i 2", "pm2 runtime app.js -i 2", "--foo"),
            ("pm2 docker --foo start app.js -Z", "pm2 docker start app.js", "--foo -Z"),
            ("pm2 runtime --foo=1 --name x app.js -- --foo", "pm2 runtime --name x app.js -- --foo", "--foo"),
        ] {
            assert_eq!(known(line), Some((kept.to_owned(), unknown.to_owned())), "{line}");
        }
        assert_eq!(known("pm2 start app.js --foo"), None, "as for every other command, it is a mistake");
    }

    #[test]
    fn exit_codes_leave_the_target_alone() {
        for line in [
            "start --stop-exit-codes 0 1 app.js",
            "start app.js --stop-exit-codes 0,1",
            "start --stop-exit-codes=0,1 app.js",
        ] {
            let Command::Start(start) = parse(line) else { panic!("not start") };
            assert_eq!(
                (start.targets, start.app.stop_exit_codes),
                (vec!["app.js".into()], vec!["0".into(), "1".into()]),
                "{line}"
            );
        }
        let Command::Start(start) = parse("start app.js -- --stop-exit-codes 0 1") else { panic!("not start") };
        assert_eq!(start.args, ["--stop-exit-codes", "0", "1"]);
    }

    #[test]
    fn arguments_of_the_interpreter_may_look_like_options() {
        let Command::Restart(again) = parse("restart api --node-args --harmony") else { panic!("not restart") };
        assert_eq!(again.app.interpreter_args.as_deref(), Some("--harmony"));
        let Command::Restart(again) = parse("restart api --node-args=null") else { panic!("not restart") };
        assert_eq!(again.app.interpreter_args.as_deref(), Some("null"));
    }
}
