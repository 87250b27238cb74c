//! Every key an ecosystem file may have: its names, what may stand there, and whether it does anything yet.
//!
//! The one table: aliases, type checks and the nearest valid name all come from here. Each name may also be written in
//! camelCase, as in PM2.

use rpm_model::Hook;

/// One key of an app.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name here, in `describe` and in messages.
    pub(crate) name: &'static str,
    /// Other names for it.
    pub(crate) aliases: &'static [&'static str],
    /// What may stand there.
    pub(crate) kind: Kind,
    /// What becomes of it.
    pub(crate) use_: Use,
}

/// What may stand at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// Text; a bare number is taken for text (names, users, versions).
    TextOrNumber,
    /// `true` or `false`.
    Flag,
    /// `true`, `false` or text.
    FlagOrText,
    /// A whole number, not negative.
    Number,
    /// Milliseconds, or a number with a unit.
    Duration,
    /// Bytes, or a number with a unit.
    Memory,
    /// A number of instances: a number, `max`, `-N`.
    Instances,
    /// A list of words, or a text that is split into words.
    Words,
    /// A list of text, or one text.
    Texts,
    /// A list of exit codes, or one.
    ExitCodes,
    /// `true`, `false`, one text, or a list of text.
    FlagOrTexts,
    /// Variables by name.
    Environment,
    /// An object.
    Object,
    /// Anything; checked by nobody here.
    Any,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It has a field in the spec.
    Spec,
    /// It is kept as written for `jlist`, `describe` and the rooms of the daemon that want it.
    Kept,
    /// PM2 knows it and does nothing with it (measured): kept, with a warning.
    Idle,
}

impl Kind {
    /// Returns what is expected, to complete "expected ...".
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::TextOrNumber => "text or a number",
            Kind::Flag => "true or false",
            Kind::FlagOrText => "true, false or text",
            Kind::Number => "a whole number, not negative",
            Kind::Duration => "milliseconds, or a number with ms, s, m, h or d, for example 500, \"3s\" or \"1h\"",
            Kind::Memory => "bytes, or a number with K, M or G, for example \"512M\"",
            Kind::Instances => "a number, max or -N",
            Kind::Words => "a list of text, or one text",
            Kind::Texts => "text or a list of text",
            Kind::ExitCodes => "an exit code, 0 to 255, or a list of them",
            Kind::FlagOrTexts => "true, false, text or a list of text",
            Kind::Environment => "an object of variables",
            Kind::Object => "an object",
            Kind::Any => "a value",
        }
    }
}

const fn key(name: &'static str, aliases: &'static [&'static str], kind: Kind, use_: Use) -> Key {
    Key { name, aliases, kind, use_ }
}

/// All of them: first PM2's, then ours.
pub(crate) const KEYS: &[Key] = {
    use Kind::*;
    use Use::*;
    &[
        key("script", &["exec", "cmd", "command"], Text, Spec),
        key("name", &[], TextOrNumber, Spec),
        key("name_prefix", &[], TextOrNumber, Idle),
        key("namespace", &[], TextOrNumber, Spec),
        key("cwd", &[], Text, Spec),
        key("args", &[], Words, Spec),
        key("exec_interpreter", &["interpreter"], Text, Spec),
        key("node_args", &["interpreter_args"], Words, Spec),
        key("exec_mode", &[], Text, Spec),
        key("instances", &[], Instances, Spec),
        key("execute_command", &[], Flag, Spec),
        key("force", &[], Flag, Kept),
        key("autostart", &[], Flag, Spec),
        key("autorestart", &[], Flag, Spec),
        key("stop_exit_codes", &[], ExitCodes, Spec),
        key("min_uptime", &[], Duration, Spec),
        key("max_restarts", &[], Number, Spec),
        key("restart_delay", &[], Duration, Spec),
        key("exp_backoff_restart_delay", &[], Duration, Spec),
        key("max_memory_restart", &[], Memory, Spec),
        key("cron_restart", &["cron"], TextOrNumber, Spec),
        key("kill_timeout", &[], Duration, Spec),
        key("kill_retry_time", &[], Duration, Kept),
        key("treekill", &[], Flag, Spec),
        key("shutdown_with_message", &[], Flag, Spec),
        key("wait_ready", &[], Flag, Spec),
        key("listen_timeout", &[], Duration, Spec),
        key("watch", &[], FlagOrTexts, Spec),
        key("ignore_watch", &[], Texts, Spec),
        key("watch_options", &[], Object, Kept),
        key("watch_delay", &[], Duration, Spec),
        key("ext", &[], Texts, Spec),
        key("env", &[], Environment, Spec),
        key("filter_env", &[], FlagOrTexts, Spec),
        key("append_env_to_name", &[], Flag, Spec),
        key("increment_var", &[], Text, Spec),
        key("instance_var", &[], Text, Spec),
        key("port", &[], Number, Spec),
        key("out_file", &["out", "output", "out_log"], Text, Spec),
        key("error_file", &["error", "err", "err_file", "err_log"], Text, Spec),
        key("log_file", &["log"], FlagOrText, Spec),
        key("merge_logs", &["combine_logs"], Flag, Spec),
        key("disable_logs", &[], Flag, Spec),
        key("log_type", &[], Text, Spec),
        key("log_date_format", &[], Text, Spec),
        key("time", &[], Flag, Spec),
        key("pid_file", &["pid"], Text, Spec),
        key("uid", &["user"], TextOrNumber, Spec),
        key("gid", &["group"], TextOrNumber, Spec),
        key("username", &[], Text, Kept),
        key("windowsHide", &["windows_hide"], Flag, Kept),
        key("write", &[], Any, Kept),
        key("install_url", &[], Text, Kept),
        key("vizion", &[], Flag, Kept),
        key("post_update", &[], Texts, Kept),
        key("io", &[], Object, Kept),
        key("source_map_support", &[], Flag, Kept),
        key("disable_source_map_support", &[], Flag, Kept),
        key("pmx", &[], FlagOrText, Kept),
        key("automation", &[], Flag, Kept),
        key("trace", &[], FlagOrText, Kept),
        key("disable_trace", &[], Flag, Kept),
        key("v8", &[], Flag, Kept),
        key("event_loop_inspector", &[], Flag, Kept),
        key("deep_monitoring", &[], Flag, Kept),
        key("version", &[], TextOrNumber, Spec),
        key("kill_signal", &[], TextOrNumber, Spec),
        key("listen", &[], Texts, Spec),
        key("socket_mode", &[], Text, Spec),
        key("proxy_socket", &[], Text, Spec),
        key("drain_timeout", &[], Duration, Spec),
        key("reload_parallel", &[], Number, Spec),
        key("health_check", &[], Any, Spec),
        key("autoscale", &[], Object, Spec),
        key("rollback", &[], Flag, Spec),
        key("min_ready", &[], Duration, Spec),
        key("progress_deadline", &[], Duration, Spec),
        key("canary", &[], Any, Spec),
        key("depends_on", &[], Any, Spec),
        key("schedule", &[], Text, Spec),
        key("time_zone", &["timezone"], Text, Spec),
        key("on_overlap", &[], Text, Spec),
        key("catch_up", &[], Flag, Spec),
        key("hooks", &[], Object, Spec),
        key("webhooks", &[], Any, Spec),
        key("env_file", &[], Texts, Spec),
        key("secrets", &[], Object, Spec),
        key("memory_max", &[], Memory, Spec),
        key("cpu_max", &[], TextOrNumber, Spec),
        key("pids_max", &[], Number, Spec),
        key("max_log_size", &[], Memory, Spec),
        key("log_rotate", &[], TextOrNumber, Spec),
        key("log_retain", &[], Number, Spec),
        key("log_retain_age", &[], Duration, Spec),
        key("log_compress", &[], Flag, Spec),
        key("watchdog", &[], Duration, Spec),
        key("stack_dump", &[], TextOrNumber, Spec),
        key("balance", &[], Text, Kept),
        key("hash_on", &[], Text, Kept),
        key("sticky", &[], Any, Kept),
    ]
};

/// A key that an app may have, for those who look whether something is said of each.
#[derive(Debug, Clone, Copy)]
pub struct AppKey {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
}

/// Returns every key of an app.
pub fn app_keys() -> impl Iterator<Item = AppKey> {
    KEYS.iter().map(|key| AppKey { name: key.name, aliases: key.aliases })
}

/// Returns the key of an app whose object a name belongs in that was written beside it.
pub(crate) fn home_of(written: &str) -> Option<&'static str> {
    Hook::ALL.iter().any(|hook| hook.name() == written).then_some("hooks")
}

/// Keys beside `apps` that say nothing about apps.
pub(crate) const TOP_LEVEL: &[&str] =
    &["apps", "pm2", "deploy", "static", "upstreams", "balancers", "webhooks", "$schema"];

/// Keys of an app that may stand beside `apps` too: for all that do not say it themselves.
pub(crate) const COMMON: &[&str] = &["webhooks"];

/// Keys of an app that belong to editors and people.
pub(crate) const SILENT: &[&str] = &["$schema", "_comment", "//"];

/// Which key a name means.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meaning {
    /// One of the table.
    Key(&'static Key),
    /// `env_<name>`: variables for `--env <name>`.
    NamedEnvironment,
    /// A comment; nothing to do.
    Silent,
    /// No key.
    Unknown,
}

/// Returns what a name in an app means.
pub(crate) fn meaning(written: &str) -> Meaning {
    let matches = |name: &str| name == written || camel_case(name) == written;
    if let Some(key) = KEYS.iter().find(|key| matches(key.name) || key.aliases.iter().any(|alias| matches(alias))) {
        return Meaning::Key(key);
    }
    if written.strip_prefix("env_").is_some_and(|name| !name.is_empty()) {
        return Meaning::NamedEnvironment;
    }
    if SILENT.contains(&written) { Meaning::Silent } else { Meaning::Unknown }
}

/// Returns the entry of a name of the table.
pub(crate) fn key_named(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).expect("names used in the code are in the table")
}

/// Returns every name that may be written, for finding the nearest.
pub(crate) fn all_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
}

/// Writes `max_memory_restart` as `maxMemoryRestart`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_means_two_things() {
        let mut seen = BTreeSet::new();
        for name in all_names() {
            assert!(seen.insert(name), "{name} is in the table twice");
        }
    }

    #[test]
    fn aliases_and_camel_case_mean_the_same() {
        for (written, name) in [
            ("maxMemoryRestart", "max_memory_restart"),
            ("interpreterArgs", "node_args"),
            ("errFile", "error_file"),
            ("cron", "cron_restart"),
            ("cmd", "script"),
            ("user", "uid"),
        ] {
            assert!(matches!(meaning(written), Meaning::Key(key) if key.name == name), "{written}");
        }
        assert!(matches!(meaning("env_production"), Meaning::NamedEnvironment));
        assert!(matches!(meaning("env_file"), Meaning::Key(_)));
        assert!(matches!(meaning("exec_mod"), Meaning::Unknown));
    }

    /// Returns something that may not stand at a key of this kind.
    fn wrong(kind: Kind) -> Option<&'static str> {
        Some(match kind {
            Kind::Text | Kind::TextOrNumber | Kind::FlagOrText | Kind::Words | Kind::Texts | Kind::FlagOrTexts => {
                r#"{ "a": 1 }"#
            }
            Kind::Flag | Kind::ExitCodes | Kind::Instances | Kind::Object | Kind::Environment => r#""perhaps""#,
            Kind::Number => r#""many""#,
            Kind::Duration => r#""soon""#,
            Kind::Memory => r#""lots""#,
            Kind::Any => return None,
        })
    }

    #[test]
    fn what_may_not_stand_at_a_key_is_refused_by_its_name() {
        let cwd = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let path = std::env::var("PATH").expect("a PATH");
        let shell_env = [("PATH".to_owned(), path), ("HOME".to_owned(), "/home/me".to_owned())].into();
        let context = crate::Context { cwd, shell_env, cpus: 2, ..crate::Context::default() };
        let mut accepted = Vec::new();
        for key in KEYS {
            let Some(value) = wrong(key.kind) else { continue };
            for name in key.aliases.iter().chain([&key.name]) {
                let script = if key.name == "script" { "" } else { r#""script": "runs.sh", "# };
                let text = format!(r#"{{ "apps": [{{ {script}"{name}": {value} }}] }}"#);
                let options = crate::AppOptions::default();
                match crate::load_text(&text, crate::Format::Json, "stdin", &options, &context) {
                    Ok(_) => accepted.push(format!("{name}: {value} is accepted")),
                    Err(error) => {
                        let told = error.to_string();
                        let first = told.lines().next().unwrap_or_default();
                        if !first.contains(name) {
                            accepted.push(format!("{name}: {value} is refused with {first:?}"));
                        }
                    }
                }
            }
        }
        assert!(accepted.is_empty(), "{}", accepted.join("\n"));
    }
}
