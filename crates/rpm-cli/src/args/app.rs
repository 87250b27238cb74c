//! The options that describe an app: everything that `start`, `restart` and their kin take beside their targets.

use clap::Args;
use rpm_config::AppOptions;

/// Options of the app, by PM2's names.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "App")]
pub struct AppArgs {
    /// Name of the app
    #[arg(short = 'n', long, value_name = "NAME", allow_hyphen_values = true)]
    pub name: Option<String>,
    /// Group it belongs to
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Number of workers: N, max, or -N for all CPUs but N; clusters a Node app
    #[arg(short = 'i', long, value_name = "N|max|-N", allow_hyphen_values = true)]
    pub instances: Option<String>,
    /// fork, cluster or socket
    #[arg(long, value_name = "MODE")]
    pub exec_mode: Option<String>,
    /// Fork mode, whatever else is asked
    #[arg(short = 'x', long = "execute-command")]
    pub force_fork: bool,
    /// Program that runs the script
    #[arg(long, value_name = "PROGRAM")]
    pub interpreter: Option<String>,
    /// Arguments of the interpreter, as one string
    #[arg(long, visible_alias = "node-args", value_name = "ARGS", allow_hyphen_values = true)]
    pub interpreter_args: Option<String>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Pass this listening socket to the workers (exec mode socket); may be repeated
    #[arg(long, value_name = "HOST:PORT|PATH")]
    pub listen: Vec<String>,
    /// How the workers share a port: reuseport or shared
    #[arg(long, value_name = "MODE")]
    pub socket_mode: Option<String>,
    /// Run as this user
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// Run as this user, by name or number
    #[arg(long, value_name = "UID")]
    pub uid: Option<String>,
    /// Run as this group
    #[arg(long, value_name = "GID")]
    pub gid: Option<String>,
    /// PID file
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid: Option<String>,

    /// Apply env_NAME of the ecosystem file
    #[arg(long = "env", value_name = "NAME", help_heading = "Environment")]
    pub env_name: Option<String>,
    /// Give a running app the variables of this shell
    #[arg(short = 'a', long, help_heading = "Environment")]
    pub update_env: bool,
    /// Drop the shell's variables that contain this text; may be repeated
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "", help_heading = "Environment")]
    pub filter_env: Vec<String>,
    /// Take variables from a file of lines NAME=value; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Environment")]
    pub env_file: Vec<String>,
    /// Only these apps of the ecosystem file
    #[arg(long, value_name = "A,B", help_heading = "Environment")]
    pub only: Option<String>,

    /// Replace a worker whose process tree uses more than this (512M)
    #[arg(long, value_name = "SIZE", help_heading = "Restarting")]
    pub max_memory_restart: Option<String>,
    /// Wait before each restart
    #[arg(long, value_name = "MS", help_heading = "Restarting")]
    pub restart_delay: Option<String>,
    /// First wait of a growing restart delay
    #[arg(long, value_name = "MS", help_heading = "Restarting")]
    pub exp_backoff_restart_delay: Option<String>,
    /// Unstable restarts in a row until the app is given up
    #[arg(long, value_name = "N", help_heading = "Restarting")]
    pub max_restarts: Option<String>,
    /// A worker that lived shorter than this was unstable
    #[arg(long, value_name = "MS", help_heading = "Restarting")]
    pub min_uptime: Option<String>,
    /// Do not restart the app when it ends
    #[arg(long, help_heading = "Restarting")]
    pub no_autorestart: bool,
    /// Exit codes after which the app stays down
    #[arg(long, value_name = "CODE,CODE", value_delimiter = ',', help_heading = "Restarting")]
    pub stop_exit_codes: Vec<String>,
    /// Restart by a cron expression; 0 turns it off
    #[arg(
        short = 'c',
        long = "cron-restart",
        visible_alias = "cron",
        value_name = "CRON",
        help_heading = "Restarting"
    )]
    pub cron_restart: Option<String>,
    /// Restart when files change, here or under PATH; may be repeated
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "", help_heading = "Restarting")]
    pub watch: Vec<String>,
    /// Paths, globs and /regexes/ whose changes do not matter; may be repeated
    #[arg(long, value_name = "PATTERN", help_heading = "Restarting")]
    pub ignore_watch: Vec<String>,
    /// Wait this long after a change: seconds (1.5), or with a unit (500ms)
    #[arg(long, value_name = "SECONDS", help_heading = "Restarting")]
    pub watch_delay: Option<String>,
    /// Only changes of files with these extensions matter
    #[arg(long, value_name = "EXT,EXT", help_heading = "Restarting")]
    pub ext: Option<String>,
    /// Register the app, do not start it
    #[arg(long, help_heading = "Restarting")]
    pub no_autostart: bool,

    /// Run at these times, to its end: a cron pattern, @daily, @every 10m
    #[arg(long, value_name = "CRON", help_heading = "Jobs")]
    pub schedule: Option<String>,
    /// The time zone of that (Europe/Berlin)
    #[arg(long, value_name = "ZONE", help_heading = "Jobs")]
    pub time_zone: Option<String>,
    /// When the run before has not ended: skip, queue or replace
    #[arg(long, value_name = "WORD", help_heading = "Jobs")]
    pub on_overlap: Option<String>,
    /// Run once when times have passed while the machine was off
    #[arg(long, help_heading = "Jobs")]
    pub catch_up: bool,

    /// Grace between the polite signal and SIGKILL
    #[arg(short = 'k', long, value_name = "MS", help_heading = "Stopping and replacing")]
    pub kill_timeout: Option<String>,
    /// The polite signal
    #[arg(long, value_name = "SIGNAL", help_heading = "Stopping and replacing")]
    pub kill_signal: Option<String>,
    /// Signal the main process only
    #[arg(long, help_heading = "Stopping and replacing")]
    pub no_treekill: bool,
    /// Send the message `shutdown` instead of a signal
    #[arg(long, help_heading = "Stopping and replacing")]
    pub shutdown_with_message: bool,
    /// Wait until the app says that it is ready
    #[arg(long, help_heading = "Stopping and replacing")]
    pub wait_ready: bool,
    /// How long to wait for that
    #[arg(long, value_name = "MS", help_heading = "Stopping and replacing")]
    pub listen_timeout: Option<String>,
    /// How long a replaced worker may finish its requests
    #[arg(long, value_name = "MS", help_heading = "Stopping and replacing")]
    pub drain_timeout: Option<String>,
    /// How many workers a reload replaces at a time
    #[arg(long, value_name = "N", help_heading = "Stopping and replacing")]
    pub reload_parallel: Option<String>,

    /// File of standard output
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Logs")]
    pub output: Option<String>,
    /// File of standard error
    #[arg(short = 'e', long, value_name = "FILE", help_heading = "Logs")]
    pub error: Option<String>,
    /// One file for both
    #[arg(short = 'l', long, value_name = "FILE", num_args = 0..=1, default_missing_value = "", help_heading = "Logs")]
    pub log: Option<String>,
    /// All workers write to the same files
    #[arg(long, help_heading = "Logs")]
    pub merge_logs: bool,
    /// Put the time before each line
    #[arg(long, help_heading = "Logs")]
    pub time: bool,
    /// Format of that time (YYYY-MM-DD HH:mm:ss)
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    pub log_date_format: Option<String>,
    /// raw or json
    #[arg(long, value_name = "TYPE", help_heading = "Logs")]
    pub log_type: Option<String>,
    /// Throw the output away
    #[arg(long, help_heading = "Logs")]
    pub disable_logs: bool,

    /// start: although it runs already; reload: take the place of a reload in progress
    #[arg(short = 'f', long)]
    pub force: bool,
    /// start: write NAME-pm2.json, a file that starts the script with these options
    #[arg(short = 'w', long)]
    pub write: bool,
    #[arg(long, hide = true)]
    pub no_vizion: bool,
    #[arg(long, hide = true)]
    pub no_pmx: bool,
    #[arg(long, hide = true)]
    pub no_automation: bool,
    #[arg(long, hide = true)]
    pub source_map_support: bool,
    #[arg(long, hide = true)]
    pub disable_source_map_support: bool,
    /// PM2's number of parallel actions: everything is parallel here.
    #[arg(long, hide = true, value_name = "N")]
    pub parallel: Option<u32>,
    #[arg(long, hide = true)]
    pub trace: bool,
    #[arg(long, hide = true)]
    pub disable_trace: bool,
    #[arg(long, hide = true)]
    pub v8: bool,
    #[arg(long, hide = true)]
    pub event_loop_inspector: bool,
    #[arg(long, hide = true)]
    pub deep_monitoring: bool,
}

impl AppArgs {
    /// Returns the words as `rpm-config` takes them; `args` is what followed `--`.
    pub fn options(&self, args: &[String]) -> AppOptions {
        let this = self.clone();
        AppOptions {
            may_name_none: false,
            name: this.name,
            namespace: this.namespace,
            instances: this.instances,
            force_fork: this.force_fork,
            exec_mode: this.exec_mode,
            interpreter: this.interpreter,
            interpreter_args: this.interpreter_args,
            args: args.to_vec(),
            cwd: this.cwd,
            output: this.output,
            error: this.error,
            log: this.log.map(|path| Some(path).filter(|path| !path.is_empty())),
            merge_logs: this.merge_logs,
            time: this.time,
            log_date_format: this.log_date_format,
            log_type: this.log_type,
            disable_logs: this.disable_logs,
            max_memory_restart: this.max_memory_restart,
            kill_timeout: this.kill_timeout,
            kill_signal: this.kill_signal,
            listen_timeout: this.listen_timeout,
            wait_ready: this.wait_ready,
            restart_delay: this.restart_delay,
            exp_backoff_restart_delay: this.exp_backoff_restart_delay,
            max_restarts: this.max_restarts,
            min_uptime: this.min_uptime,
            no_autorestart: this.no_autorestart,
            stop_exit_codes: this.stop_exit_codes,
            no_autostart: this.no_autostart,
            no_treekill: this.no_treekill,
            shutdown_with_message: this.shutdown_with_message,
            pid: this.pid,
            uid: this.uid,
            gid: this.gid,
            user: this.user,
            env_name: this.env_name,
            only: this.only,
            update_env: this.update_env,
            filter_env: this.filter_env,
            env_file: this.env_file,
            listen: this.listen,
            socket_mode: this.socket_mode,
            drain_timeout: this.drain_timeout,
            reload_parallel: this.reload_parallel,
            cron_restart: this.cron_restart,
            schedule: this.schedule,
            time_zone: this.time_zone,
            on_overlap: this.on_overlap,
            catch_up: this.catch_up,
            watch: (!this.watch.is_empty()).then(|| this.watch.into_iter().filter(|path| !path.is_empty()).collect()),
            // As in PM2: several in one text, with spaces between.
            ignore_watch: this
                .ignore_watch
                .iter()
                .flat_map(|text| text.split_whitespace())
                .map(str::to_owned)
                .collect(),
            watch_delay: this.watch_delay,
            watch_toggles: false,
            ext: this.ext,
            force: this.force,
            no_vizion: this.no_vizion,
            no_pmx: this.no_pmx,
            no_automation: this.no_automation,
            source_map_support: this.source_map_support,
            disable_source_map_support: this.disable_source_map_support,
            trace: this.trace,
            disable_trace: this.disable_trace,
            v8: this.v8,
            event_loop_inspector: this.event_loop_inspector,
            deep_monitoring: this.deep_monitoring,
        }
    }

    /// Returns the options that PM2 knows and that do nothing here.
    pub fn idle(&self) -> Vec<&'static str> {
        let idle = [
            ("--parallel", self.parallel.is_some()),
            ("--trace", self.trace),
            ("--disable-trace", self.disable_trace),
            ("--v8", self.v8),
            ("--event-loop-inspector", self.event_loop_inspector),
            ("--deep-monitoring", self.deep_monitoring),
        ];
        idle.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// Returns whether anything is said about an app; `--only`, `--force` and `--write` change nothing.
    pub fn changes_something(&self) -> bool {
        let chooses = Self {
            only: self.only.clone(),
            force: self.force,
            write: self.write,
            parallel: self.parallel,
            ..Self::default()
        };
        *self != chooses
    }

    /// Returns the value that an option with an optional value took, when nothing else can have been the target.
    ///
    /// In `start --watch app.js` the parser gives `app.js` to `--watch`.
    pub fn give_back_target(&mut self) -> Option<String> {
        let taken = self.watch.pop_if(|path| !path.is_empty());
        if taken.is_some() {
            self.watch.push(String::new());
            return taken;
        }
        if let Some(text) = self.filter_env.pop_if(|text| !text.is_empty()) {
            self.filter_env.push(String::new());
            return Some(text);
        }
        if let Some(path) = self.log.take_if(|path| !path.is_empty()) {
            self.log = Some(String::new());
            return Some(path);
        }
        None
    }
}
