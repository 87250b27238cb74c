//! Questions about what has happened.

use clap::{Args, Subcommand};

/// Commands that tell what has happened, and why.
#[derive(Debug, Subcommand)]
pub enum Asking {
    /// Say in a sentence why an app is as it is, and show the evidence
    Why(Why),
    /// Show how the processes of an app ended, newest last
    Crashes(Crashes),
    /// Show what has happened
    Events(Events),
}

/// `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// Name, id, namespace, /regex/ or all
    pub target: String,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `crashes`.
#[derive(Debug, Args)]
pub struct Crashes {
    /// Name of an app, or a target of apps that are there; everything when absent
    pub target: Option<String>,
    /// Ends that were asked for, too
    #[arg(long)]
    pub all: bool,
    /// At most so many ends, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub last: usize,
    /// So many of the last lines of each process; 200 are kept
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub lines: usize,
    /// Only since then: 10m, 14:30, "2026-11-25 14:30"
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Name of an app, or a target of apps that are there; everything when absent
    pub target: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "APP", conflicts_with = "target")]
    pub app: Option<String>,
    /// Only since then: 10m, 14:30, "2026-11-25 14:30"
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// At most so many, the newest: 50, or all since the time given
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// Wait for more
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}
