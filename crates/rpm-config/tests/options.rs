//! What the command line says: about a script, over a file, and about an app that runs.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rpm_config::{AppOptions, Format, find_default, from_script, load, load_text, update};
use rpm_model::{AppSpec, Bytes, ExecMode, LogFormat, LogTarget, SocketMode};
use serde_json::json;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn start(target: &str, options: &AppOptions) -> AppSpec {
    let loaded = from_script(target, options, &common::context()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.specs.len(), 1);
    loaded.specs.into_iter().next().expect("one spec")
}

fn refused(target: &str, options: &AppOptions) -> String {
    match from_script(target, options, &common::context()) {
        Ok(loaded) => panic!("accepted: {loaded:?}"),
        Err(error) => error.to_string(),
    }
}

fn from_json(text: &str, options: &AppOptions) -> Vec<AppSpec> {
    let loaded = load_text(text, Format::Json, "stdin", options, &common::context());
    loaded.unwrap_or_else(|error| panic!("{error}")).specs
}

fn fixture(name: &str) -> PathBuf {
    common::tests().join("fixtures").join(name)
}

#[test]
fn a_script_alone_gets_the_defaults() {
    let spec = start("app.js", &AppOptions::default());
    let mut expected = AppSpec::new("app", fixture("app.js"), fixture(""));
    expected.cwd = common::context().cwd;
    expected.interpreter = some("node");
    expected.logs.merge = true;
    expected.version = some("4.5.6");
    expected.env_shell = spec.env_shell.clone();
    assert_eq!(spec, expected);
}

#[test]
fn every_option_reaches_its_setting() {
    let options = AppOptions {
        name: some("api"),
        namespace: some("web"),
        instances: some("max"),
        interpreter: some("node"),
        interpreter_args: some("--trace-warnings --title 'a b'"),
        args: vec!["--port".into(), "80 81".into()],
        cwd: some("sub"),
        output: some("out.log"),
        error: some("NULL"),
        log: Some(None),
        merge_logs: true,
        log_date_format: some("HH:mm"),
        log_type: some("json"),
        max_memory_restart: some("200M"),
        kill_timeout: some("3s"),
        kill_signal: some("TERM"),
        listen_timeout: some("5000"),
        wait_ready: true,
        restart_delay: some("100"),
        exp_backoff_restart_delay: some("50"),
        max_restarts: some("3"),
        min_uptime: some("2s"),
        no_autorestart: true,
        stop_exit_codes: vec!["0".into(), "7,8".into()],
        no_autostart: true,
        no_treekill: true,
        shutdown_with_message: true,
        pid: some("api.pid"),
        uid: some("root"),
        socket_mode: some("shared"),
        drain_timeout: some("1m"),
        reload_parallel: some("2"),
        cron_restart: some("0 3 * * *"),
        watch: Some(Vec::new()),
        ignore_watch: vec!["node_modules".into()],
        watch_delay: some("2"),
        ext: some("js,.json"),
        no_vizion: true,
        ..AppOptions::default()
    };
    let spec = start("worker.js", &options);
    assert_eq!((spec.name.as_str(), spec.namespace.as_str()), ("api", "web"));
    assert_eq!((spec.instances, spec.instances_given, spec.exec_mode), (2, true, ExecMode::Cluster));
    assert_eq!(spec.interpreter_args, ["--trace-warnings", "--title", "a b"]);
    assert_eq!(spec.args, ["--port", "80 81"]);
    assert_eq!((spec.cwd, spec.script), (fixture("sub"), fixture("sub/worker.js")));
    assert_eq!(spec.logs.out, LogTarget::File(fixture("sub/out.log")));
    assert_eq!((spec.logs.err, spec.logs.combined), (LogTarget::Null, Some(LogTarget::Default)));
    assert_eq!((spec.logs.merge, spec.logs.format), (true, LogFormat::Json));
    assert_eq!(spec.logs.date_format.as_deref(), Some("HH:mm"));
    assert_eq!(spec.max_memory_restart, Some(Bytes(200 << 20)));
    assert_eq!((spec.stop.kill_timeout, spec.stop.signal), (Duration::from_secs(3), 15));
    assert_eq!((spec.stop.treekill, spec.stop.shutdown_with_message), (false, true));
    assert_eq!((spec.listen_timeout, spec.wait_ready), (Some(Duration::from_secs(5)), true));
    assert_eq!(spec.restart.restart_delay, Duration::from_millis(100));
    assert_eq!(spec.restart.exp_backoff, Some(Duration::from_millis(50)));
    assert_eq!((spec.restart.max_restarts, spec.restart.autorestart), (3, false));
    assert_eq!((spec.restart.min_uptime, spec.autostart), (Duration::from_secs(2), false));
    assert_eq!(spec.restart.stop_exit_codes, [0, 7, 8]);
    assert_eq!((spec.pid_file, spec.user), (Some(fixture("sub/api.pid")), Some((0, 0))));
    assert_eq!((spec.socket_mode, spec.reload_parallel), (SocketMode::Shared, 2));
    assert_eq!(spec.drain_timeout, Duration::from_secs(60));
    assert_eq!((spec.watch.enabled, spec.watch.paths.len(), spec.cron.as_deref()), (true, 0, Some("0 3 * * *")));
    assert_eq!((spec.watch.ignore, spec.watch.delay), (Some(vec!["node_modules".into()]), Duration::from_secs(2)));
    assert_eq!(spec.watch.extensions, ["js", "json"]);
    let other = json!({ "vizion": false });
    assert_eq!(serde_json::Value::Object(spec.other), other);
}

#[test]
fn every_bad_option_is_told_at_once() {
    let options = AppOptions {
        instances: some("lots"),
        max_memory_restart: some("1Z"),
        kill_timeout: some("soon"),
        exec_mode: some("clutser"),
        uid: some("no such user"),
        ..AppOptions::default()
    };
    let told = refused("ap.js", &options);
    for part in [
        "error: `--instances` cannot be \"lots\": expected a number, max or -N",
        "error: `--max-memory-restart` cannot be \"1Z\": expected bytes",
        "error: `--kill-timeout` cannot be \"soon\"",
        "error: `--exec-mode` cannot be \"clutser\"",
        "did you mean `cluster`?",
        "error: `--uid` cannot be \"no such user\"",
        "error: cannot start \"ap.js\"",
        "did you mean `app.js`?",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn a_target_is_a_script_a_program_or_a_command_line() {
    let program = start("ruby", &AppOptions { args: vec!["-v".into()], ..AppOptions::default() });
    assert_eq!((program.script, program.interpreter), (fixture("bin/ruby"), None));
    let line = start("node app.js --port 80", &AppOptions { args: vec!["x".into()], ..AppOptions::default() });
    assert_eq!((&line.script, &line.interpreter), (&fixture("bin/bash"), &None));
    assert_eq!(line.args, ["-c", "node app.js --port 80 \"$@\"", "bash", "x"]);
    assert_eq!(line.name, "node app");
    let line = update(&line, &AppOptions { args: vec!["y".into()], ..AppOptions::default() }, &common::context());
    assert_eq!(line.expect("a good change").args, ["-c", "node app.js --port 80 \"$@\"", "bash", "y"]);
    assert!(refused("sub", &AppOptions::default()).contains("is a directory"));
    assert!(refused("no-such-program", &AppOptions::default()).contains("does not exist"));
}

#[test]
fn force_fork_keeps_node_out_of_cluster_mode() {
    let spec = start("app.js", &AppOptions { instances: some("2"), force_fork: true, ..AppOptions::default() });
    assert_eq!((spec.exec_mode, spec.instances, spec.logs.merge), (ExecMode::Fork, 2, false));
    let python = start("job.py", &AppOptions { instances: some("2"), ..AppOptions::default() });
    assert_eq!(python.exec_mode, ExecMode::Fork);
}

#[test]
fn variables_that_speak_to_one_process_are_not_inherited() {
    let spec = start("app.js", &AppOptions::default());
    assert!(spec.env_shell.contains_key("KEPT"));
    assert!(!spec.env_shell.contains_key("NODE_CHANNEL_FD"));
}

#[test]
fn shell_variables_can_be_filtered() {
    let part = start("app.js", &AppOptions { filter_env: vec!["KEP".into()], ..AppOptions::default() });
    assert!(!part.env_shell.contains_key("KEPT") && part.env_shell.contains_key("HOME"));
    let all = from_json("{ script: 'app.js', filter_env: true, env: { MINE: 1 } }", &AppOptions::default());
    assert!(all[0].env_shell.is_empty());
    assert_eq!(all[0].env["MINE"], "1");
    let one = from_json("{ script: 'app.js', filter_env: 'HOME' }", &AppOptions::default());
    assert!(!one[0].env_shell.contains_key("HOME"));
}

#[test]
fn a_named_environment_lies_over_deploy_and_deploy_over_env() {
    let text = "{ apps: [{ name: 'api', script: 'app.js', append_env_to_name: true, env: { A: 1, B: 1 },
        env_production: { B: 2 } }], deploy: { production: { env: { A: 0, C: 0 } } } }";
    let options = AppOptions { env_name: some("production"), ..AppOptions::default() };
    let spec = &from_json(text, &options)[0];
    assert_eq!(spec.name, "api-production");
    let env: Vec<_> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=0", "B=2", "C=0"]);
    assert_eq!(spec.other["env_production"], json!({ "B": 2 }));

    let options = AppOptions { env_name: some("prodution"), ..AppOptions::default() };
    let loaded = load_text(text, Format::Json, "stdin", &options, &common::context()).expect("it is only a warning");
    let told = loaded.warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(told.contains("`env_prodution` is not defined in the file; did you mean `--env production`?"), "{told}");

    // A deployment's variables are enough.
    let text = "{ apps: [{ script: 'app.js' }], deploy: { production: { env: { A: 0 } } } }";
    let options = AppOptions { env_name: some("production"), ..AppOptions::default() };
    let loaded = load_text(text, Format::Json, "stdin", &options, &common::context()).expect("it is whole");
    assert!(loaded.warnings.is_empty() && loaded.specs[0].env["A"] == "0", "{loaded:?}");
}

#[test]
fn only_takes_the_apps_it_names() {
    let text = "[{ name: 'api', script: 'app.js' }, { name: 'bad', script: 'nowhere.js' }, { script: 'job.py' }]";
    let names = |only: &str| {
        let options = AppOptions { only: some(only), ..AppOptions::default() };
        from_json(text, &options).into_iter().map(|spec| spec.name).collect::<Vec<_>>()
    };
    assert_eq!(names("api"), ["api"]);
    assert_eq!(names("job, api"), ["api", "job"]);

    let options = AppOptions { only: some("ap,zebra"), ..AppOptions::default() };
    let error = load_text(text, Format::Json, "stdin", &options, &common::context()).expect_err("no such apps");
    let told = error.to_string();
    assert!(told.contains("no app of the file is called \"ap\"") && told.contains("did you mean `api`?"), "{told}");
    assert!(told.contains("its apps are api, bad, job"), "{told}");
}

#[test]
fn options_lie_over_the_file() {
    let text = "[{ name: 'a', script: 'app.js', instances: 1, namespace: 'x' }, { name: 'b', script: 'app.js' }]";
    let options = AppOptions { instances: some("2"), namespace: some("y"), ..AppOptions::default() };
    for spec in from_json(text, &options) {
        assert_eq!((spec.instances, spec.namespace.as_str()), (2, "y"));
    }
    let options = AppOptions { name: some("c"), ..AppOptions::default() };
    let error = load_text(text, Format::Json, "stdin", &options, &common::context()).expect_err("two apps, one name");
    assert!(error.to_string().contains("choose one of them with `--only`"), "{error}");
    let options = AppOptions { name: some("c"), only: some("b"), ..AppOptions::default() };
    assert_eq!(from_json(text, &options)[0].name, "c");
}

#[test]
fn a_change_touches_what_it_names_and_nothing_else() {
    let current = start("app.js", &AppOptions { instances: some("2"), time: true, ..AppOptions::default() });
    let options = AppOptions { max_memory_restart: some("100M"), name: some("new"), ..AppOptions::default() };
    let changed = update(&current, &options, &common::context()).expect("a good change");
    let mut expected = current.clone();
    expected.max_memory_restart = Some(Bytes(100 << 20));
    expected.name = "new".into();
    assert_eq!(changed, expected);
    assert_eq!(update(&current, &AppOptions::default(), &common::context()).expect("no change"), current);
}

#[test]
fn null_takes_a_setting_back_to_its_default() {
    let options = AppOptions {
        interpreter_args: some("--trace-warnings"),
        max_memory_restart: some("100M"),
        cron_restart: some("@daily"),
        ..AppOptions::default()
    };
    let current = start("app.js", &options);
    let options = AppOptions {
        interpreter_args: some("null"),
        max_memory_restart: some("null"),
        cron_restart: some("0"),
        ..AppOptions::default()
    };
    let mut changed = update(&current, &options, &common::context()).expect("a good change");
    let told = changed.other.shift_remove("node_args");
    assert_eq!(told, Some(serde_json::Value::Null), "PM2's list has no `node_args` after `null`");
    assert_eq!(changed, start("app.js", &AppOptions::default()));
}

#[test]
fn update_env_takes_this_shell_and_env_a_declared_one() {
    let current = from_json("{ script: 'app.js', env_prod: { A: 2 }, filter_env: ['SECRET'] }", &AppOptions::default());
    let mut context = common::context();
    context.shell_env.insert("NEW".into(), "1".into());
    context.shell_env.insert("SECRET_KEY".into(), "1".into());
    let kept = update(&current[0], &AppOptions::default(), &context).expect("no change");
    assert!(!kept.env_shell.contains_key("NEW"));
    let options = AppOptions { update_env: true, env_name: some("prod"), ..AppOptions::default() };
    let taken = update(&current[0], &options, &context).expect("a good change");
    assert_eq!(taken.env_shell["NEW"], "1");
    assert!(!taken.env_shell.contains_key("SECRET_KEY"));
    assert_eq!(taken.env["A"], "2");
    context.shell_env.insert("A".into(), "exported".into());
    let options = AppOptions { update_env: true, ..AppOptions::default() };
    let exported = update(&taken, &options, &context).expect("a good change");
    assert_eq!(exported.env["A"], "exported", "what is exported now wins over what was declared");
    let options = AppOptions { env_name: some("prd"), ..AppOptions::default() };
    let error = update(&current[0], &options, &context).expect_err("no such environment");
    assert!(error.to_string().contains("did you mean `--env prod`?"), "{error}");
}

#[test]
fn a_program_needs_a_runtime() {
    let mut context = common::context();
    context.shell_env.insert("PATH".into(), "/nowhere".into());
    let path = common::tests().join("valid/named.config.mjs");
    let error = load(&path, &AppOptions::default(), &context).expect_err("nothing can run it");
    let told = error.to_string();
    assert!(told.contains("none of node, bun or deno is on PATH"), "{told}");
    assert!(told.contains("write the configuration as JSON, YAML or TOML"), "{told}");
    let error = from_script("app.js", &AppOptions::default(), &context).expect_err("nothing can run it");
    assert!(error.to_string().contains("run by node, which is not found on PATH"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_told_by_name() {
    let error = load(Path::new("no.config.js"), &AppOptions::default(), &common::context()).expect_err("no file");
    assert!(error.to_string().starts_with("error: no.config.js could not be read: No such file"), "{error}");
}

#[test]
fn the_default_file_is_found_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(find_default(directory.path()), None);
    for name in ["ecosystem.toml", "ecosystem.json", "ecosystem.config.js"] {
        std::fs::write(directory.path().join(name), "").expect("a file");
        assert_eq!(find_default(directory.path()), Some(directory.path().join(name)));
    }
}

#[test]
fn typescript_is_run_by_what_can_read_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut context = common::context();
    context.cwd = directory.path().to_path_buf();
    context.shell_env.insert("PATH".into(), directory.path().display().to_string());
    std::fs::write(directory.path().join("app.ts"), "").expect("a file");
    let program = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    let start = || from_script("app.ts", &AppOptions::default(), &context).map(|loaded| loaded.specs[0].clone());

    program("node", "#!/bin/sh\necho v20.1.0\n");
    let error = start().expect_err("this node is too old");
    assert!(error.to_string().contains("TypeScript needs bun, or node 22.6 or newer"), "{error}");
    std::fs::write(directory.path().join("e.config.ts"), "export default []").expect("a file");
    let error = load(Path::new("e.config.ts"), &AppOptions::default(), &context).expect_err("this node is too old");
    assert!(error.to_string().contains("TypeScript needs bun, or node 22.6 or newer"), "{error}");
    program("node", "#!/bin/sh\necho v22.7.0\n");
    let spec = start().expect("this node can");
    assert_eq!(
        (spec.interpreter.as_deref(), spec.interpreter_args),
        (Some("node"), vec!["--experimental-strip-types".to_owned()])
    );
    program("bun", "#!/bin/sh\n");
    assert_eq!(start().expect("bun can").interpreter.as_deref(), Some("bun"));
}

#[test]
fn restart_with_watch_turns_watching_over() {
    let watched = AppOptions { watch: Some(vec!["src".into()]), ..AppOptions::default() };
    let toggle = AppOptions { watch: Some(Vec::new()), watch_toggles: true, ..AppOptions::default() };
    let on = start("app.js", &watched);
    let off = update(&on, &toggle, &common::context()).expect("a good change");
    assert_eq!((off.watch.enabled, &off.watch.paths), (false, &on.watch.paths), "what was watched is not forgotten");
    assert_eq!(update(&off, &toggle, &common::context()).expect("a good change"), on);
    let set = AppOptions { watch_toggles: false, ..toggle };
    assert!(update(&on, &set, &common::context()).expect("a good change").watch.enabled);
}

#[test]
fn logs_are_rotated_as_asked() {
    use rpm_model::{Every, Rotation};

    let of = |keys: &str| {
        let text = format!(r#"{{"apps": [{{"name": "a", "script": "app.js"{keys}}}]}}"#);
        from_json(&text, &AppOptions::default()).remove(0).logs.rotation
    };
    assert_eq!(of(""), Rotation::default());
    let asked = of(
        r#", "max_log_size": "5M", "log_retain": 3, "log_retain_age": "2h", "log_compress": false, "log_rotate": "daily""#,
    );
    assert_eq!(
        asked,
        Rotation {
            max_size: Some(Bytes(5 << 20)),
            every: Some(Every::Day),
            retain: Some(3),
            retain_age: Some(Duration::from_secs(7200)),
            compress: false,
        }
    );
    let off = of(r#", "max_log_size": 0, "log_retain": 0, "log_rotate": "6h""#);
    assert_eq!((off.max_size, off.retain, off.every), (None, None, Some(Every::Millis(21_600_000))));
    assert!(!of(r#", "max_log_size": 0"#).is_on());
}
