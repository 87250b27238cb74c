//! The `rpm` command: what the user types, carried to the daemon, and the answer shown.
//!
//! Nothing is decided here about running apps. The command line becomes words ([`args`]), words become workers
//! ([`target`]) and specs ([`specs`]), those become requests ([`acting`]) over the local socket ([`session`]); replies
//! become screens ([`screens`]) and failures become sentences ([`report`]).
//!
//! The same program is daemon and keeper, by two hidden commands, so that there is one file to install.
#![forbid(unsafe_code)]
// Nothing is reachable in a program; `pub` here means: for the other rooms.
#![allow(unreachable_pub)]

mod acting;
mod args;
mod boot;
mod commands;
mod deploy;
mod home;
mod modules;
mod pm2;
mod progress;
mod report;
mod say;
mod screens;
mod session;
mod settings;
mod specs;
mod target;
mod web;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use rpm_model::{Flavour, Home};

use crate::args::{Cli, Command};
use crate::commands::Invocation;
use crate::report::Failure;
use crate::say::Voice;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let flavour = home::flavour(words.first().map(OsString::as_os_str));
    let words = args::called_by_role(words);
    let cli = match args::bare(&words) {
        Some(cli) => cli,
        None => match parse(args::understood(words), flavour) {
            Ok(cli) => cli,
            Err(error) => return misunderstood(&error, flavour),
        },
    };
    if cli.global.no_color {
        anstream::ColorChoice::Never.write_global();
    }
    let voice = Voice { silent: cli.global.silent || silenced(), flavour };
    let Some(command) = cli.command else {
        // PM2 answers a bare call with its usage and code 1.
        let _ = <Cli as clap::CommandFactory>::command().print_help();
        return ExitCode::FAILURE;
    };
    match run(command, voice) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(&voice);
            ExitCode::FAILURE
        }
    }
}

fn parse(words: Vec<OsString>, flavour: Flavour) -> Result<Cli, clap::Error> {
    let parsed = Cli::try_parse_from(&words);
    match parsed {
        Err(error) if error.kind() == ErrorKind::UnknownArgument && flavour == Flavour::Pm2 => {
            let Some((known, unknown)) = args::without_unknown_options(&words) else {
                return Cli::try_parse_from(args::without_options_of_others(&words)).map_err(|_| error);
            };
            let cli = Cli::try_parse_from(known).map_err(|_| error)?;
            let voice = Voice { silent: cli.global.silent || silenced(), flavour };
            unknown.iter().for_each(|option| voice.warn(format_args!("{option} is unknown and has no effect")));
            Ok(cli)
        }
        parsed => parsed,
    }
}

fn run(command: Command, voice: Voice) -> Result<(), Failure> {
    let role_home = |role: args::Role| {
        let flavour = if role.pm2 { Flavour::Pm2 } else { Flavour::Rpm };
        Home::new(role.home, flavour).with_variables(variable)
    };
    match command {
        Command::Keeper(role) => return commands::roles::keeper(role_home(role)),
        Command::Webhook => return commands::roles::webhook(),
        Command::NodeStack { pid } => return commands::roles::node_stack(pid),
        Command::Daemon(role) => return commands::roles::daemon(role_home(role)),
        Command::Balance(args::Balance::Edge) => return commands::roles::edge(),
        Command::Completion(completion) => return commands::completion::run(&completion, &voice),
        Command::System(args::System::StaticServer) => return commands::serve::server(),
        Command::System(args::System::WebServer(server)) => return commands::web::server(server),
        _ => {}
    }
    let home = home::find(voice.flavour, variable)?;
    commands::run(command, &Invocation { home, voice })
}

/// Keeper and daemon inherit the variables of the command that starts them.
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// PM2's variables that mute everything but data.
fn silenced() -> bool {
    ["PM2_SILENT", "RPM_SILENT"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| value == "true" || value == "1"))
}

/// Answers a command line that clap refused. `--help` and `--version` come this way too.
fn misunderstood(error: &clap::Error, flavour: Flavour) -> ExitCode {
    let voice = Voice { silent: false, flavour };
    match error.kind() {
        // Scripts compare what PM2 prints, which is the number alone.
        ErrorKind::DisplayVersion if flavour == Flavour::Pm2 => {
            say::out(concat!(env!("CARGO_PKG_VERSION"), "\n"));
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that left does not matter.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        _ => args::misunderstood(error, voice.program()).print(&voice),
    }
    ExitCode::FAILURE
}
