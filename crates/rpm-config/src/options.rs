//! The options of the command line that describe an app, and their place among the keys of a file.
//!
//! An option is a key that was written elsewhere: it is turned into the same raw setting and goes through the same
//! checks, so that every rule is in one place.

use serde_json::Value;

use crate::raw::{Origin, Setting, Settings};

/// What the command line said about the app or apps. Everything absent leaves the file's word, or the default.
///
/// The text `null` for a value takes the setting back to its default (`restart api --node-args=null`).
#[derive(Debug, Clone, Default)]
pub struct AppOptions {
    /// A file with an empty list of apps is no mistake (`apply --prune`).
    pub may_name_none: bool,
    /// `--name`.
    pub name: Option<String>,
    /// `--namespace`.
    pub namespace: Option<String>,
    /// `-i`, `--instances`: a number, `max` or `-N`.
    pub instances: Option<String>,
    /// `-x`, `--execute-command`: fork mode, whatever else is asked.
    pub force_fork: bool,
    /// `--exec-mode`.
    pub exec_mode: Option<String>,
    /// `--interpreter`.
    pub interpreter: Option<String>,
    /// `--interpreter-args`, `--node-args`: split into words.
    pub interpreter_args: Option<String>,
    /// What follows `--`.
    pub args: Vec<String>,
    /// `--cwd`.
    pub cwd: Option<String>,
    /// `-o`, `--output`.
    pub output: Option<String>,
    /// `-e`, `--error`.
    pub error: Option<String>,
    /// `-l`, `--log`: `Some(None)` without a path.
    pub log: Option<Option<String>>,
    /// `--merge-logs`.
    pub merge_logs: bool,
    /// `--time`.
    pub time: bool,
    /// `--log-date-format`.
    pub log_date_format: Option<String>,
    /// `--log-type`.
    pub log_type: Option<String>,
    /// `--disable-logs`.
    pub disable_logs: bool,
    /// `--max-memory-restart`.
    pub max_memory_restart: Option<String>,
    /// `-k`, `--kill-timeout`.
    pub kill_timeout: Option<String>,
    /// `--kill-signal`.
    pub kill_signal: Option<String>,
    /// `--listen-timeout`.
    pub listen_timeout: Option<String>,
    /// `--wait-ready`.
    pub wait_ready: bool,
    /// `--restart-delay`.
    pub restart_delay: Option<String>,
    /// `--exp-backoff-restart-delay`.
    pub exp_backoff_restart_delay: Option<String>,
    /// `--max-restarts`.
    pub max_restarts: Option<String>,
    /// `--min-uptime`.
    pub min_uptime: Option<String>,
    /// `--no-autorestart`.
    pub no_autorestart: bool,
    /// `--stop-exit-codes`.
    pub stop_exit_codes: Vec<String>,
    /// `--no-autostart`.
    pub no_autostart: bool,
    /// `--no-treekill`.
    pub no_treekill: bool,
    /// `--shutdown-with-message`.
    pub shutdown_with_message: bool,
    /// `-p`, `--pid`.
    pub pid: Option<String>,
    /// `--uid`.
    pub uid: Option<String>,
    /// `--gid`.
    pub gid: Option<String>,
    /// `-u`, `--user`; the same as `--uid`, which wins.
    pub user: Option<String>,
    /// `--env NAME`: which `env_<name>` of the file to apply.
    pub env_name: Option<String>,
    /// `--only a,b`: which apps of the file to take.
    pub only: Option<String>,
    /// `--update-env`: a running app takes over the variables of this shell.
    pub update_env: bool,
    /// `--filter-env`, may be repeated.
    pub filter_env: Vec<String>,
    /// `--env-file`, may be repeated: files with variables.
    pub env_file: Vec<String>,
    /// `--listen`, may be repeated.
    pub listen: Vec<String>,
    /// `--socket-mode`.
    pub socket_mode: Option<String>,
    /// `--drain-timeout`.
    pub drain_timeout: Option<String>,
    /// `--reload-parallel`.
    pub reload_parallel: Option<String>,
    /// `-c`, `--cron-restart`.
    pub cron_restart: Option<String>,
    /// `--schedule`.
    pub schedule: Option<String>,
    /// `--time-zone`.
    pub time_zone: Option<String>,
    /// `--on-overlap`.
    pub on_overlap: Option<String>,
    /// `--catch-up`.
    pub catch_up: bool,
    /// `--watch`: `Some` without paths for the whole working directory.
    pub watch: Option<Vec<String>>,
    /// Whether `--watch` without paths turns watching off where it is on: PM2's `restart --watch`.
    pub watch_toggles: bool,
    /// `--ext`: extensions, separated by commas.
    pub ext: Option<String>,
    /// `--ignore-watch`, may be repeated.
    pub ignore_watch: Vec<String>,
    /// `--watch-delay`: seconds, as in PM2, or with a unit. (In a file the number is milliseconds.)
    pub watch_delay: Option<String>,
    /// `-f`, `--force`: start although it runs already.
    pub force: bool,
    /// `--no-vizion`.
    pub no_vizion: bool,
    /// `--no-pmx`.
    pub no_pmx: bool,
    /// `--no-automation`.
    pub no_automation: bool,
    /// `--source-map-support`.
    pub source_map_support: bool,
    /// `--disable-source-map-support`.
    pub disable_source_map_support: bool,
    /// `--trace`.
    pub trace: bool,
    /// `--disable-trace`.
    pub disable_trace: bool,
    /// `--v8`.
    pub v8: bool,
    /// `--event-loop-inspector`.
    pub event_loop_inspector: bool,
    /// `--deep-monitoring`.
    pub deep_monitoring: bool,
}

impl AppOptions {
    /// Returns what was asked for, as an app in a file says it.
    pub fn as_written(&self) -> serde_json::Map<String, Value> {
        // Starting twice is asked of a command, not of an app.
        let settings = self.settings().into_iter().filter(|(key, _)| *key != "force");
        settings.map(|(key, setting)| (key.to_owned(), setting.value)).collect()
    }

    /// Returns the settings that the options stand for.
    pub(crate) fn settings(&self) -> Settings {
        let mut collected = Collected(Settings::default());
        let texts: [(&'static str, &'static str, &Option<String>); 31] = [
            ("name", "--name", &self.name),
            ("namespace", "--namespace", &self.namespace),
            ("instances", "--instances", &self.instances),
            ("exec_mode", "--exec-mode", &self.exec_mode),
            ("exec_interpreter", "--interpreter", &self.interpreter),
            ("node_args", "--interpreter-args", &self.interpreter_args),
            ("cwd", "--cwd", &self.cwd),
            ("out_file", "--output", &self.output),
            ("error_file", "--error", &self.error),
            ("log_date_format", "--log-date-format", &self.log_date_format),
            ("log_type", "--log-type", &self.log_type),
            ("max_memory_restart", "--max-memory-restart", &self.max_memory_restart),
            ("kill_timeout", "--kill-timeout", &self.kill_timeout),
            ("kill_signal", "--kill-signal", &self.kill_signal),
            ("listen_timeout", "--listen-timeout", &self.listen_timeout),
            ("restart_delay", "--restart-delay", &self.restart_delay),
            ("exp_backoff_restart_delay", "--exp-backoff-restart-delay", &self.exp_backoff_restart_delay),
            ("max_restarts", "--max-restarts", &self.max_restarts),
            ("min_uptime", "--min-uptime", &self.min_uptime),
            ("pid_file", "--pid", &self.pid),
            ("uid", "--user", &self.user),
            ("uid", "--uid", &self.uid),
            ("gid", "--gid", &self.gid),
            ("socket_mode", "--socket-mode", &self.socket_mode),
            ("drain_timeout", "--drain-timeout", &self.drain_timeout),
            ("reload_parallel", "--reload-parallel", &self.reload_parallel),
            ("cron_restart", "--cron-restart", &self.cron_restart),
            ("schedule", "--schedule", &self.schedule),
            ("time_zone", "--time-zone", &self.time_zone),
            ("on_overlap", "--on-overlap", &self.on_overlap),
            ("ext", "--ext", &self.ext),
        ];
        for (key, option, text) in texts {
            if let Some(text) = text {
                collected.text(key, option, text);
            }
        }
        let flags = [
            ("execute_command", "--execute-command", self.force_fork, true),
            ("merge_logs", "--merge-logs", self.merge_logs, true),
            ("time", "--time", self.time, true),
            ("disable_logs", "--disable-logs", self.disable_logs, true),
            ("wait_ready", "--wait-ready", self.wait_ready, true),
            ("catch_up", "--catch-up", self.catch_up, true),
            ("autorestart", "--no-autorestart", self.no_autorestart, false),
            ("autostart", "--no-autostart", self.no_autostart, false),
            ("treekill", "--no-treekill", self.no_treekill, false),
            ("shutdown_with_message", "--shutdown-with-message", self.shutdown_with_message, true),
            ("force", "--force", self.force, true),
            ("vizion", "--no-vizion", self.no_vizion, false),
            ("pmx", "--no-pmx", self.no_pmx, false),
            ("automation", "--no-automation", self.no_automation, false),
            ("source_map_support", "--source-map-support", self.source_map_support, true),
            ("disable_source_map_support", "--disable-source-map-support", self.disable_source_map_support, true),
            ("trace", "--trace", self.trace, true),
            ("disable_trace", "--disable-trace", self.disable_trace, true),
            ("v8", "--v8", self.v8, true),
            ("event_loop_inspector", "--event-loop-inspector", self.event_loop_inspector, true),
            ("deep_monitoring", "--deep-monitoring", self.deep_monitoring, true),
        ];
        for (key, option, given, value) in flags {
            if given {
                collected.put(key, option, value.into());
            }
        }
        let lists: [(&'static str, &'static str, &[String]); 6] = [
            ("args", "--", &self.args),
            ("stop_exit_codes", "--stop-exit-codes", &self.stop_exit_codes),
            ("filter_env", "--filter-env", &self.filter_env),
            ("env_file", "--env-file", &self.env_file),
            ("listen", "--listen", &self.listen),
            ("ignore_watch", "--ignore-watch", &self.ignore_watch),
        ];
        for (key, option, texts) in lists {
            match texts {
                [] => {}
                [word] if word == "null" && key != "args" => collected.put(key, option, Value::Null),
                texts => collected.put(key, option, texts.into()),
            }
        }
        if let Some(delay) = &self.watch_delay {
            let is_number = delay.parse::<f64>().is_ok();
            collected.text(
                "watch_delay",
                "--watch-delay",
                &if is_number { format!("{delay}s") } else { delay.clone() },
            );
        }
        match &self.log {
            None => {}
            Some(None) => collected.put("log_file", "--log", true.into()),
            Some(Some(path)) => collected.text("log_file", "--log", path),
        }
        match self.watch.as_deref() {
            None => {}
            Some([]) => collected.put("watch", "--watch", true.into()),
            Some(paths) => collected.put("watch", "--watch", paths.into()),
        }
        collected.0
    }
}

struct Collected(Settings);

impl Collected {
    fn text(&mut self, key: &'static str, option: &'static str, text: &str) {
        self.put(key, option, if text == "null" { Value::Null } else { text.into() });
    }

    fn put(&mut self, key: &'static str, option: &'static str, value: Value) {
        self.0.insert(key, Setting { value, origin: Origin::Option(option) });
    }
}
