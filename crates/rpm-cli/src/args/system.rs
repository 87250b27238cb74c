//! Commands beside the apps: in the foreground, at boot, over HTTP, and about the machine.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::AppArgs;

/// Commands beside the apps.
#[derive(Debug, Subcommand)]
pub enum System {
    /// Serve a directory over HTTP
    #[command(visible_alias = "expose")]
    Serve(Serve),
    /// Run apps in the foreground, for containers: logs on standard output, a signal stops all
    #[command(visible_alias = "docker")]
    Runtime(Runtime),
    /// Run an app in the foreground and restart it when its files change
    Dev(Dev),
    /// Start the daemon and the saved apps at boot; prints the sudo line when you are not root
    Startup(Boot),
    /// Do not start at boot any more
    Unstartup(Boot),
    /// Write the configuration of logrotate for our logs
    Logrotate(Logrotate),
    /// Write an ecosystem.config.js to begin with
    #[command(visible_alias = "ecosystem")]
    Init(Init),
    /// Print the format of ecosystem files as a JSON schema, for editors
    Schema,
    /// Show the machine: processor, memory, network, disks
    #[command(visible_alias = "sysinfos")]
    Slist(Slist),
    /// Print what belongs into a bug report
    Report,
    /// Empty the list that `resurrect` starts
    Cleardump,
    /// Show examples
    Examples,
    /// Serve metrics, the dashboard and the HTTP API: `rpm web [start|stop|token|url]`
    Web(Web),
    #[command(hide = true, name = "static-server")]
    StaticServer,
    #[command(hide = true, name = "web-server")]
    WebServer(WebServer),
}

/// `web`.
#[derive(Debug, Args)]
pub struct Web {
    /// What to do
    #[arg(value_enum, default_value_t = WebVerb::Start)]
    pub verb: WebVerb,
    #[command(flatten)]
    pub how: WebHow,
    /// With `token`: the token that reads metrics and nothing else
    #[arg(long)]
    pub metrics: bool,
}

/// What to do with the web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WebVerb {
    /// Start it, or start it anew with other options
    Start,
    /// Stop it and forget it
    Stop,
    /// Print the token that it asks for
    Token,
    /// Print where it is
    Url,
}

/// How the web server serves.
#[derive(Debug, Args)]
pub struct WebHow {
    /// Address and port [default: 127.0.0.1:9615]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "socket")]
    pub listen: Option<String>,
    /// Listen on this unix socket instead
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Nothing can be done with it, only looked at
    #[arg(long)]
    pub read_only: bool,
    /// A name by which browsers may call it, besides localhost and the address
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Scale no app to more workers than this
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_instances: u32,
    /// Metrics by the names of exporters for PM2, too
    #[arg(long, value_name = "NAMES", value_enum)]
    pub compat: Option<Compat>,
}

/// Whose names metrics have besides ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compat {
    /// pm2_up, pm2_cpu, pm2_memory, pm2_uptime, pm2_instances, pm2_restarts
    Pm2,
}

/// `web-server`: the role itself.
#[derive(Debug, Args)]
pub struct WebServer {
    /// The state directory
    #[arg(long, value_name = "DIRECTORY")]
    pub home: PathBuf,
    /// Whether that directory is PM2's
    #[arg(long)]
    pub pm2: bool,
    #[command(flatten)]
    pub how: WebHow,
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Directory; this one when absent
    pub path: Option<PathBuf>,
    /// Port; 8080 when absent
    pub port: Option<u16>,
    /// Port
    #[arg(long = "port", value_name = "PORT", conflicts_with = "port")]
    pub port_option: Option<u16>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Answer unknown paths with index.html (single-page application)
    #[arg(long)]
    pub spa: bool,
    /// Show the files of directories without an index
    #[arg(long)]
    pub ftp: bool,
    /// Name that a client must know
    #[arg(long, value_name = "NAME", requires = "basic_auth_password")]
    pub basic_auth_username: Option<String>,
    /// Password that a client must know
    #[arg(long, value_name = "PASSWORD", requires = "basic_auth_username")]
    pub basic_auth_password: Option<String>,
    /// PM2's monitoring of front ends is a service of its makers.
    #[arg(long, hide = true, value_name = "APP")]
    pub monitor: Option<String>,
    #[command(flatten)]
    pub app: AppArgs,
}

/// How lines are shown in the foreground.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct Form {
    /// The lines as the apps write them (the default)
    #[arg(long)]
    pub raw: bool,
    /// id|app | line
    #[arg(long)]
    pub formatted: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// key=value
    #[arg(long)]
    pub format: bool,
}

/// `runtime`.
#[derive(Debug, Args)]
pub struct Runtime {
    /// As for `start`; the word `start` before them may stand or not
    pub targets: Vec<String>,
    /// Stay although no app is up any more
    #[arg(long)]
    pub no_auto_exit: bool,
    /// Wait this long before the apps are started
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub delay: u64,
    /// PM2's web interface is gone.
    #[arg(long, hide = true, value_name = "PORT", num_args = 0..=1, default_missing_value = "")]
    pub web: Option<String>,
    #[arg(long, hide = true, value_name = "KEY", num_args = 0..=1, default_missing_value = "")]
    pub secret: Option<String>,
    #[arg(long, hide = true, value_name = "KEY", num_args = 0..=1, default_missing_value = "")]
    pub public: Option<String>,
    #[arg(long, hide = true, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub machine_name: Option<String>,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub app: AppArgs,
}

/// `dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Script or ecosystem file; the word `start` before it may stand or not
    #[arg(required = true)]
    pub targets: Vec<String>,
    /// Files and directories whose changes do not matter
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Run this command after each start
    #[arg(long, value_name = "COMMAND")]
    pub post_exec: Option<String>,
    /// Throw away what that command prints
    #[arg(long)]
    pub silent_exec: bool,
    /// Put the time before each line
    #[arg(long)]
    pub timestamp: bool,
    /// Leave when no app is up any more
    #[arg(long)]
    pub auto_exit: bool,
    #[arg(long, hide = true)]
    pub test_mode: bool,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub app: AppArgs,
}

/// What starts programs at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    /// Most of Linux
    #[value(aliases = ["ubuntu", "ubuntu14", "ubuntu16", "ubuntu18", "debian", "centos", "arch", "oracle"])]
    Systemd,
    /// Alpine, Gentoo
    #[value(aliases = ["gentoo", "alpine"])]
    Openrc,
    /// Scripts in /etc/init.d
    #[value(aliases = ["systemv", "amazon", "redhat"])]
    Upstart,
    /// macOS
    #[value(aliases = ["darwin", "macos"])]
    Launchd,
}

/// `startup`, `unstartup`.
#[derive(Debug, Args)]
pub struct Boot {
    /// What starts programs here; found out when absent
    pub platform: Option<Platform>,
    /// The user whose apps they are; the one who asks when absent
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// That user's home directory
    #[arg(long, value_name = "DIR")]
    pub hp: Option<PathBuf>,
    /// Name of the service
    #[arg(long, value_name = "NAME")]
    pub service_name: Option<String>,
    /// Wait until the machine has an address
    #[arg(long)]
    pub wait_ip: bool,
    /// Write below this directory and call nobody: for packages
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// `logrotate`.
#[derive(Debug, Args)]
pub struct Logrotate {
    /// The user whose logs they are; the one who asks when absent
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// Write below this directory: for packages
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// `simple` for a short one
    #[arg(value_parser = ["simple"])]
    pub mode: Option<String>,
}

/// `slist`.
#[derive(Debug, Args)]
pub struct Slist {
    /// As a tree
    #[arg(short = 't', long)]
    pub tree: bool,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}
