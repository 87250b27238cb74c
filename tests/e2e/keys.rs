//! Every key of an app, and the test that shows what it does.
//!
//! A key without a test is a promise that nobody has tried. The list of keys is the program's own; the test is named here,
//! so that it can be read, and must say the key's name.

use std::collections::BTreeMap;
use std::path::Path;

/// By key: a function of `e2e`, `chaos` or a crate, or a scenario of `conformance`.
const EFFECTS: &[(&str, &str)] = &[
    ("script", "config-cmd-alias"),
    ("name", "config-json"),
    ("name_prefix", "config-name-prefix"),
    ("namespace", "config-namespace"),
    ("cwd", "config-cwd"),
    ("args", "args-as-a-list"),
    ("exec_interpreter", "interpreter-given"),
    ("node_args", "node-args"),
    ("exec_mode", "exec-mode-cluster-in-file"),
    ("instances", "instance-var"),
    ("execute_command", "keys-execute-command"),
    ("force", "keys-of-bookkeeping"),
    ("autostart", "autostart-false-in-file"),
    ("autorestart", "autorestart"),
    ("stop_exit_codes", "an_exit_code_in_stop_exit_codes_is_an_end_not_a_crash"),
    ("min_uptime", "min-uptime-counts"),
    ("max_restarts", "crash-loop-max-restarts"),
    ("restart_delay", "a_restart_delay_is_kept"),
    ("exp_backoff_restart_delay", "a_backoff_grows"),
    ("max_memory_restart", "a_worker_above_its_memory_limit_is_replaced_within_seconds_and_without_a_gap"),
    ("cron_restart", "an_app_is_restarted_at_its_times_until_they_are_turned_off"),
    ("kill_timeout", "a_deaf_worker_is_killed_after_its_grace_and_delays_nobody"),
    ("kill_retry_time", "keys-of-bookkeeping"),
    ("treekill", "treekill"),
    ("shutdown_with_message", "shutdown-with-message"),
    ("wait_ready", "wait_ready_waits_for_the_app"),
    ("listen_timeout", "wait-ready-too-late"),
    ("watch", "paths_and_patterns_of_an_ecosystem_file_count_from_the_working_directory"),
    ("ignore_watch", "paths_and_patterns_of_an_ecosystem_file_count_from_the_working_directory"),
    ("watch_options", "watch-options"),
    ("watch_delay", "a_burst_of_changes_is_one_restart"),
    ("ext", "options_of_the_command_line_choose_files"),
    ("env", "env-file-over-shell"),
    ("filter_env", "filter_env_keeps_the_shell_out"),
    ("append_env_to_name", "env-appended-to-name"),
    ("increment_var", "increment-var"),
    ("instance_var", "instance-var-seen"),
    ("port", "env-port-key"),
    ("out_file", "logs-null-in-file"),
    ("error_file", "logs-null-in-file"),
    ("log_file", "logs-combined-without-path"),
    ("merge_logs", "merge-logs-key"),
    ("disable_logs", "logs-disabled"),
    ("log_type", "logs-json"),
    ("log_date_format", "logs-date-format"),
    ("time", "logs-time-in-file"),
    ("pid_file", "pid-file-in-file"),
    ("uid", "uid-by-number"),
    ("gid", "uid-by-number"),
    ("username", "keys-of-bookkeeping"),
    ("windowsHide", "keys-of-bookkeeping"),
    ("write", "keys-of-bookkeeping"),
    ("install_url", "keys-of-bookkeeping"),
    ("vizion", "keys-of-bookkeeping"),
    ("post_update", "post_update_runs_after_a_pull_and_before_the_reload"),
    ("io", "keys-of-bookkeeping"),
    ("source_map_support", "source_maps_name_the_source_unless_disabled"),
    ("disable_source_map_support", "source_maps_name_the_source_unless_disabled"),
    ("pmx", "keys-of-node"),
    ("automation", "keys-of-node"),
    ("trace", "what_is_for_pm2s_service_is_noted_and_no_more"),
    ("disable_trace", "keys-against-features"),
    ("v8", "keys-of-node"),
    ("event_loop_inspector", "keys-of-node"),
    ("deep_monitoring", "what_is_for_pm2s_service_is_noted_and_no_more"),
    ("version", "config-package-json-apps"),
    ("kill_signal", "kill_signal_is_the_signal"),
    ("listen", "a_killed_single_worker_costs_no_connection_that_was_not_accepted"),
    ("socket_mode", "socket_mode_says_how_many_sockets_there_are"),
    ("webhooks", "what_will_never_be_taken_is_told_and_holds_nothing_up"),
    ("hooks", "hooks_run_around_the_life_of_a_process_in_its_place_and_its_log"),
    ("schedule", "a_job_runs_at_its_times_to_its_end_and_leaves_a_record_of_each"),
    ("time_zone", "a_job_has_a_time_zone_of_its_own"),
    ("on_overlap", "or_it_is_queued"),
    ("catch_up", "a_time_that_nobody_kept_is_told_or_made_up_for_once"),
    ("drain_timeout", "drain_timeout_bounds_the_wait_for_requests"),
    ("reload_parallel", "reload_parallel_replaces_several_at_a_time"),
    ("env_file", "an_env_file_means_what_node_reads_in_it"),
    ("secrets", "secrets_are_variables_of_the_process_and_read_at_each_start"),
    ("memory_max", "control_group"),
    ("cpu_max", "cpu_max_is_kept_by_the_kernel_or_said_not_to_be"),
    ("pids_max", "control_group"),
    ("max_log_size", "a_log_is_rotated_while_it_is_written"),
    ("log_rotate", "log_rotate_rotates_at_its_times_and_log_retain_age_lets_old_archives_go"),
    ("log_retain", "only_so_many_archives_are_kept"),
    ("log_retain_age", "log_rotate_rotates_at_its_times_and_log_retain_age_lets_old_archives_go"),
    ("log_compress", "a_log_that_the_pump_writes_is_rotated_between_two_writes"),
    ("balance", "an_app_that_binds_its_own_port_needs_no_more_than_proxy_mode"),
    ("hash_on", "hash_on_chooses_the_worker"),
    ("sticky", "an_app_that_binds_its_own_port_needs_no_more_than_proxy_mode"),
];

/// Reads the files below a directory with this ending.
fn texts(directory: &Path, ending: &str, found: &mut Vec<String>) {
    for entry in directory.read_dir().expect("a directory of tests").flatten() {
        let path = entry.path();
        if path.is_dir() {
            texts(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(std::fs::read_to_string(path).expect("a test can be read"));
        }
    }
}

/// Returns every function and scenario of the tests, by name.
fn tests() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut scenarios) = (Vec::new(), Vec::new());
    for suite in ["e2e", "chaos"] {
        texts(&root.join(suite), "rs", &mut sources);
    }
    texts(&root.join("conformance/scenarios"), "toml", &mut scenarios);
    let mut tests = BTreeMap::new();
    for source in &sources {
        for (at, _) in source.match_indices("\nfn ") {
            let text = &source[at + 4..];
            let text = &text[..text.find("\n}\n").unwrap_or(text.len())];
            let name = text.split('(').next().unwrap_or_default();
            tests.insert(name.to_owned(), text.to_owned());
        }
    }
    for scenario in scenarios.iter().flat_map(|text| text.split("[[scenario]]").skip(1)) {
        let name = scenario.split('"').nth(1).expect("a scenario has a name");
        tests.insert(name.to_owned(), scenario.to_owned());
    }
    tests
}

/// Returns whether a test says the key, by one of its names or as an option.
fn says(text: &str, names: &[&str]) -> bool {
    let camel = |name: &str| {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |camel, word| camel + &word[..1].to_uppercase() + &word[1..])
    };
    let written =
        names.iter().flat_map(|name| [format!("\"{name}\""), format!("{name}:"), format!("\"{}\"", camel(name))]);
    let options = names.iter().map(|name| format!("--{}", name.replace('_', "-")));
    written.chain(options).any(|word| text.contains(&word))
}

#[test]
fn every_key_has_a_test_that_shows_its_effect() {
    let tests = tests();
    let mut wrong = Vec::new();
    for key in rpm_config::app_keys() {
        let names: Vec<&str> = std::iter::once(key.name).chain(key.aliases.iter().copied()).collect();
        match EFFECTS.iter().find(|(name, _)| *name == key.name) {
            None if !tests.values().any(|text| says(text, &names)) => {
                wrong.push(format!("{}: no test", key.name));
            }
            None => {}
            Some((_, test)) => match tests.get(*test) {
                None => wrong.push(format!("{}: there is no {test}", key.name)),
                Some(text) if !says(text, &names) => wrong.push(format!("{}: {test} does not say it", key.name)),
                Some(_) => {}
            },
        }
    }
    let keys: Vec<&str> = rpm_config::app_keys().map(|key| key.name).collect();
    wrong.extend(EFFECTS.iter().filter(|(name, _)| !keys.contains(name)).map(|(name, _)| format!("{name} is no key")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
