//! What acts on apps: which ones, and how.

use clap::Args;
use rpm_model::LogTarget;

use super::AppArgs;

/// `start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Script, program, "command with arguments", ecosystem file, name, id, namespace, all, or - for JSON on stdin
    pub targets: Vec<String>,
    /// Stay in the foreground
    #[arg(long, hide = true)]
    pub no_daemon: bool,
    /// Follow the logs afterwards
    #[arg(long)]
    pub attach: bool,
    /// Where that goes which would go to files that nobody has named, for `runtime`.
    #[arg(skip)]
    pub no_files: Option<LogTarget>,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    #[command(flatten)]
    pub app: AppArgs,
}

/// `restart`, `reload`.
#[derive(Debug, Args)]
pub struct Again {
    /// Name, id, namespace, /regex/, all, ecosystem file, or - for JSON on stdin
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    #[command(flatten)]
    pub app: AppArgs,
}

/// `startOrRestart`, `startOrReload`.
#[derive(Debug, Args)]
pub struct File {
    /// Ecosystem file, or - for JSON on stdin
    pub file: String,
    #[command(flatten)]
    pub app: AppArgs,
}

/// `stop`, `delete`.
#[derive(Debug, Args)]
pub struct Leave {
    /// Name, id, namespace, /regex/, all, ecosystem file, or - for JSON on stdin
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// Only these apps of the ecosystem file
    #[arg(long, value_name = "A,B")]
    pub only: Option<String>,
    /// PM2 turns watching off when it stops an app; so do we.
    #[arg(long, hide = true)]
    pub watch: bool,
    #[arg(long, hide = true, value_name = "N")]
    pub parallel: Option<u32>,
    #[arg(short = 'f', long, hide = true)]
    pub force: bool,
}

/// Commands that take any number of targets and nothing else.
#[derive(Debug, Args)]
pub struct Targets {
    /// Name, id, namespace, /regex/ or all
    #[arg(required = true)]
    pub targets: Vec<String>,
}

/// `scale`.
#[derive(Debug, Args)]
pub struct Scale {
    /// Name of the app
    pub app: String,
    /// N, +N, -N or max
    #[arg(value_name = "N|+N|-N|max", allow_hyphen_values = true)]
    pub number: String,
}

/// `autoscale`.
#[derive(Debug, Args)]
pub struct Autoscale {
    /// Name of the app; all that have `autoscale` when absent
    pub app: Option<String>,
    /// Whether the load decides; `scale` by hand turns it off
    #[arg(value_enum)]
    pub switch: Option<Switch>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Commands that take one app.
#[derive(Debug, Args)]
pub struct OneApp {
    /// Name of the app
    pub app: String,
}

/// `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Name of the app
    pub app: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Name of the app
    pub app: String,
    /// So many releases back
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub back: u32,
}

/// An ecosystem file as the desired state.
#[derive(Debug, Args)]
pub struct Desired {
    /// Ecosystem file, or - for standard input
    pub file: String,
    /// Count what the file does not name as too much
    #[arg(long)]
    pub prune: bool,
    /// Choose the file's variables `env_NAME`
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    pub desired: Desired,
    /// Show the plan and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before everything is deleted (--prune, and a file with an empty list of apps)
    #[arg(long, short)]
    pub yes: bool,
}

/// `trigger`.
#[derive(Debug, Args)]
pub struct Trigger {
    /// Name, id, namespace, /regex/ or all
    pub target: String,
    /// The action's name
    pub action: String,
    /// What the action gets
    pub params: Option<String>,
}

/// `send`.
#[derive(Debug, Args)]
pub struct Send {
    /// Id, or the name of an app with one worker
    pub target: String,
    /// The line
    #[arg(allow_hyphen_values = true)]
    pub line: String,
}

/// `sendSignal`.
#[derive(Debug, Args)]
pub struct SendSignal {
    /// SIGUSR2, USR2 or 12
    pub signal: String,
    /// Name, id, namespace, /regex/ or all
    pub target: String,
}
