//! PM2's commands that lead elsewhere: to its makers' service, or to tools that do it better.
//!
//! They are known so that scripts that call them go on, and so that people are told where to go.

use clap::{Args, Subcommand};

/// Commands that PM2 has and that do little or nothing here.
#[derive(Debug, Subcommand)]
pub enum Foreign {
    /// PM2's online service
    #[command(hide = true)]
    Link(Words),
    #[command(hide = true)]
    Unlink(Words),
    #[command(hide = true, alias = "register")]
    Plus(Words),
    #[command(hide = true)]
    Login(Words),
    #[command(hide = true)]
    Logout(Words),
    #[command(hide = true)]
    Open(Words),
    /// Marks processes as monitored (`_km_monitored` in `jlist`)
    #[command(hide = true)]
    Monitor(Monitored),
    /// Takes the mark away
    #[command(hide = true)]
    Unmonitor(Monitored),
    #[command(name = "install-otel", hide = true)]
    InstallOtel(Words),
    #[command(name = "uninstall-otel", hide = true)]
    UninstallOtel(Words),
    #[command(name = "profile:mem", hide = true)]
    ProfileMem(Words),
    #[command(name = "profile:cpu", hide = true)]
    ProfileCpu(Words),
    #[command(name = "deepUpdate", alias = "deepupdate", hide = true)]
    DeepUpdate(Words),
    #[command(hide = true)]
    Autoinstall(Words),
    #[command(hide = true)]
    Create(Words),
    #[command(hide = true)]
    Inspect(Words),
    #[command(hide = true)]
    Package(Words),
    #[command(hide = true, alias = "module:publish")]
    Publish(Words),
}

/// Whatever follows.
#[derive(Debug, Args)]
pub struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// `monitor`, `unmonitor`.
#[derive(Debug, Args)]
pub struct Monitored {
    /// Name, id, namespace, /regex/ or all
    pub target: Option<String>,
}
