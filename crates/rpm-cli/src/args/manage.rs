//! Settings, modules, deployment, moving in from PM2, and the daemon's renewal.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands about more than the apps in the list.
#[derive(Debug, Subcommand)]
pub enum Manage {
    /// Set a value in module_conf.json; restarts the app or module it belongs to
    Set(Set),
    /// Set several values: "app:key value app:key value"
    Multiset(Multiset),
    /// Print a value; all without a key
    Get(Key),
    /// Remove a value; `all` removes everything
    Unset(Unset),
    /// Print the values of an app or module; all without a name
    Conf(Key),
    /// Print or set the values of an app or module
    Config(Set),

    /// Install an npm package as a module and start it
    #[command(visible_alias = "module:install")]
    Install(Install),
    /// Stop a module and remove it; `all` removes every module
    #[command(visible_alias = "module:uninstall")]
    Uninstall(Name),
    /// Install the newest version of a module
    #[command(name = "module:update")]
    ModuleUpdate(Name),
    /// Write the skeleton of a module
    #[command(name = "module:generate")]
    ModuleGenerate(Generate),

    /// Deploy over ssh as the `deploy` section of an ecosystem file says
    Deploy(Deploy),
    /// Update an app's directory by git, and reload the app
    Pull(Pull),
    /// Move an app's directory to the next commit of its branch, and reload the app
    Forward(Name),
    /// Move an app's directory to the commit before, and reload the app
    Backward(Name),

    /// Take over the apps of PM2
    Import(Import),
    /// Replace daemon and keeper by the program that is installed now; no app notices
    #[command(visible_alias = "updatePM2", alias = "updatepm2")]
    Update,
}

/// `set`, `config`.
#[derive(Debug, Args)]
pub struct Set {
    /// app:key or app.key
    pub key: Option<String>,
    /// The value
    #[arg(allow_hyphen_values = true)]
    pub value: Option<String>,
}

/// `multiset`.
#[derive(Debug, Args)]
pub struct Multiset {
    /// Keys and values in turn
    #[arg(required = true, value_name = "KEY VALUE", allow_hyphen_values = true)]
    pub pairs: Vec<String>,
}

/// `get`, `conf`.
#[derive(Debug, Args)]
pub struct Key {
    /// app, app:key or app.key
    pub key: Option<String>,
}

/// `unset`.
#[derive(Debug, Args)]
pub struct Unset {
    /// app, app:key, app.key, or all
    pub key: String,
}

/// `install`.
#[derive(Debug, Args)]
pub struct Install {
    /// npm package, git address, tarball, or directory
    pub module: String,
    /// What is named is a tarball (npm sees that by itself)
    #[arg(long, hide = true)]
    pub tarball: bool,
    #[arg(long, hide = true)]
    pub install: bool,
    #[arg(long, hide = true)]
    pub docker: bool,
    #[arg(long, hide = true)]
    pub v1: bool,
    /// Watch the module this long; put the version before back if it restarts more than twice
    #[arg(long, value_name = "MS", num_args = 0..=1, default_missing_value = "30000")]
    pub safe: Option<u64>,
}

/// Commands that take one name.
#[derive(Debug, Args)]
pub struct Name {
    /// Its name
    pub name: String,
}

/// `module:generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Name of the module, and of the directory that is made
    #[arg(default_value = "sample-module")]
    pub name: String,
}

/// `pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Name of the app
    pub name: String,
    /// The commit; the newest of the branch when absent
    pub commit: Option<String>,
}

/// `deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// Where to, from which file, and what to do there.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORDS",
        help = "[FILE] ENVIRONMENT [setup | update | revert [N] | curr | prev | list | exec COMMAND | REF]"
    )]
    pub words: Vec<String>,
}

/// `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// What is taken over: pm2, nginx, haproxy
    pub what: String,
    /// The configuration file of nginx or HAProxy
    pub file: Option<PathBuf>,
    /// Write the ecosystem file here instead of to standard output (nginx, haproxy)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// PM2's state directory; PM2_HOME or ~/.pm2
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Show what would be started
    #[arg(long)]
    pub dry_run: bool,
    /// Stop the apps and the daemon of a PM2 that runs
    #[arg(long)]
    pub take_over: bool,
}
