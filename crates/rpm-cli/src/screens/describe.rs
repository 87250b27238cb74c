//! `describe`: first why a worker is down, then everything about it in PM2's table.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anstyle::Style;
use rpm_ipc::{AppInfo, WorkerInfo};
use rpm_model::{Bytes, Every, Health, Hook, Overlap, Rotation, Status};

use crate::say::{GREEN, GREY, RED};
use crate::screens::autoscale;
use crate::screens::boxes::{self, Cell};
use crate::screens::format::{self, BOLD};
use crate::screens::table;

/// Writes the page; `node` is the version of Node, `last_words` are the last lines of the worker's standard error, oldest
/// first.
pub fn describe(
    app: &AppInfo,
    worker: &WorkerInfo,
    node: Option<&str>,
    last_words: &[String],
    program: &str,
    now_ms: u64,
) -> String {
    let mut out = String::new();
    let title = Style::new().bold().invert();
    let name = format::one_line(&app.spec.name);
    why_down(&mut out, app, worker, last_words, now_ms);
    let _ = writeln!(out, "{title} Describing process with id {} - name {name} {title:#}", worker.id);
    out.push_str(&grid(rows(app, worker, node, now_ms)));
    if let Some(actions) = worker.contact.get("axm_actions").and_then(|actions| actions.as_array())
        && !actions.is_empty()
    {
        let _ = writeln!(out, "{title} Actions available {title:#}");
        let names = actions.iter().filter_map(|action| action.get("action_name")?.as_str());
        let rows: Vec<Vec<Cell>> = names.map(|name| vec![Cell::plain(format::one_line(name))]).collect();
        let width = rows.iter().map(|row| row[0].width()).max().unwrap_or(0) + 2;
        out.push_str(&boxes::draw(None, &rows, &[width]));
    }
    metrics(&mut out, worker);
    let _ = writeln!(out, " Use `{program} logs {name} [--lines 1000]` to display logs");
    let _ = writeln!(out, " Use `{program} env {}` to display environment variables", worker.id);
    let _ = writeln!(out, " Use `{program} monit` to monitor CPU and Memory usage {name}");
    out
}

fn why_down(out: &mut String, app: &AppInfo, worker: &WorkerInfo, last_words: &[String], now_ms: u64) {
    let up = matches!(worker.status, Status::Online);
    // A worker that is up and did not fall needs no explanation: what a reload or a restart ended was meant to end.
    let fell = matches!(worker.cause.as_deref(), Some("crash" | "memory" | "rollback"));
    // So did a job that has done its work.
    let is_done = worker.status == Status::Stopped && format::status(app, worker).0 == "scheduled";
    if is_done || up && worker.why.is_none() && !(fell && worker.last_exit.is_some()) {
        return;
    }
    let (word, style) = format::status(app, worker);
    let _ = write!(out, "{style}{word}{style:#}");
    if let Some(why) = &worker.why {
        let _ = write!(out, ": {}", format::one_line(why));
    }
    out.push('\n');
    if let Some(exit) = worker.last_exit {
        let ago = worker.last_exit_at_ms.map(|at| format!(", {} ago", format::uptime(at, now_ms))).unwrap_or_default();
        let _ = writeln!(out, "  its last process ended with {BOLD}{exit}{BOLD:#}{ago}");
    }
    if !up && !last_words.is_empty() {
        let _ = writeln!(out, "  the last lines of its error log:");
        for line in last_words {
            let _ = writeln!(out, "  {GREY}|{GREY:#} {}", format::one_line(line));
        }
    }
    out.push('\n');
}

/// Says when logs are rotated and what is kept: `at 100mb, daily; 10 archives, gzip`.
fn rotation(rotation: &Rotation) -> String {
    let whole = |duration: Duration| format::uptime(0, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    let when: Vec<String> = [
        rotation.max_size.map(|size| format!("at {size}")),
        rotation.every.map(|every| match every {
            Every::Day => "daily".to_owned(),
            Every::Millis(period) => format!("every {}", whole(Duration::from_millis(period))),
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if when.is_empty() {
        return "off".into();
    }
    let kept = rotation.retain.map_or_else(|| "all archives".to_owned(), |count| format!("{count} archives"));
    let age = rotation.retain_age.map(|age| format!(" for {}", whole(age))).unwrap_or_default();
    let form = if rotation.compress { ", gzip" } else { "" };
    format!("{}; {kept}{age}{form}", when.join(", "))
}

/// Returns how a worker fares, and what its last health check found: `ready (status 200 in 3 ms, 2 s ago)`.
fn health_text(health: Health, worker: &WorkerInfo) -> String {
    let Some(check) = &worker.check else { return health.to_string() };
    let (took, ago) = (check.took.as_millis(), check.age.as_secs());
    format!("{health} ({} in {took} ms, {ago} s ago)", format::one_line(&check.text))
}

fn rows(app: &AppInfo, worker: &WorkerInfo, node: Option<&str>, now_ms: u64) -> Vec<(&'static str, Cell)> {
    let spec = &app.spec;
    let plain = |text: &str| Cell::plain(format::one_line(text));
    let words = |words: &[String]| if words.is_empty() { plain("N/A") } else { plain(&words.join(" ")) };
    let path = |path: Option<&Path>| path.map_or_else(|| plain("/dev/null"), |path| plain(&path.to_string_lossy()));
    let mut rows = vec![
        ("status", {
            let (word, style) = format::status(app, worker);
            Cell::styled(word, style)
        }),
        ("name", plain(&spec.name)),
        ("namespace", plain(&spec.namespace)),
        ("version", plain(spec.version.as_deref().unwrap_or("N/A"))),
        ("restarts", plain(&worker.restarts.to_string())),
    ];
    if let Some(health) = worker.health.filter(|health| spec.health.is_some() || *health == Health::Unhealthy) {
        rows.push(("health", Cell::styled(health_text(health, worker), format::health_style(health))));
    }
    if let Some(state) = &app.autoscale {
        rows.push(("autoscale", plain(&autoscale::summary(app, state))));
        if let Some(last) = &state.last {
            let ago = format::uptime(last.at_ms, now_ms);
            rows.push(("autoscaled", plain(&format!("{ago} ago: {}", last.text))));
        }
    }
    if let Some(limit) = spec.max_memory_restart {
        rows.push(("max memory restart", plain(&limit.to_string())));
    }
    if let Some(cron) = &spec.cron {
        rows.push(("cron restart", plain(cron)));
    }
    job(&mut rows, app, worker, now_ms);
    if worker.output_lost > 0 {
        let lost = format!("{} (a log could not be written)", Bytes(worker.output_lost));
        rows.push(("output lost", Cell::styled(&lost, RED)));
    }
    if let Some(why) = &worker.log_trouble {
        rows.push(("log cannot be written", Cell::styled(why, RED)));
    }
    rows.push(("uptime", plain(&table::uptime(worker, now_ms))));
    if worker.combined_log.is_some() {
        rows.push(("entire log path", path(worker.combined_log.as_deref())));
    }
    let mode = spec.exec_mode.name();
    let node_env = spec.env.get("NODE_ENV").or_else(|| spec.env_shell.get("NODE_ENV"));
    let watching = if table::watches(app) { Cell::styled("✔", GREEN) } else { Cell::styled("✘", RED) };
    rows.extend([
        ("script path", plain(&spec.script.to_string_lossy())),
        ("script args", words(&spec.args)),
        ("error log path", path(worker.err_log.as_deref())),
        ("out log path", path(worker.out_log.as_deref())),
        ("log rotation", plain(&rotation(&spec.logs.rotation))),
        ("pid path", path(Some(&worker.pid_file))),
        ("interpreter", plain(spec.interpreter.as_deref().unwrap_or("none"))),
        ("interpreter args", words(&spec.interpreter_args)),
        ("script id", plain(&worker.id.to_string())),
        ("exec cwd", path(Some(&spec.cwd))),
        ("exec mode", plain(mode)),
        ("node.js version", plain(node.unwrap_or("N/A"))),
        ("node env", plain(node_env.map_or("N/A", String::as_str))),
        ("watch & reload", watching),
        ("unstable restarts", plain(&worker.unstable.to_string())),
        ("created at", plain(&format::date(worker.created_at_ms))),
    ]);
    if let Some(release) = &spec.release {
        rows.push(("release", path(Some(release))));
    }
    if !spec.secrets.is_empty() {
        // Where they come from; nobody here knows what they are.
        let secrets: Vec<String> = spec.secrets.iter().map(|(name, secret)| format!("{name} ({secret})")).collect();
        rows.push(("secrets", plain(&secrets.join(", "))));
    }
    let hooks: Vec<String> =
        Hook::ALL.iter().filter(|hook| spec.hook(**hook).is_some()).map(|hook| hook.name().to_owned()).collect();
    if !hooks.is_empty() {
        rows.push(("hooks", plain(&hooks.join(", "))));
    }
    for webhook in &spec.webhooks {
        rows.push(("webhook", plain(&format!("{} ({})", webhook.url.shown(), webhook.events.join(", ")))));
    }
    if let Some(memory) = spec.limits.memory_max {
        rows.push(("memory max", plain(&memory.to_string())));
    }
    if let Some(percent) = spec.limits.cpu_max_percent {
        rows.push(("cpu max", plain(&format!("{percent}%"))));
    }
    if let Some(pids) = spec.limits.pids_max {
        rows.push(("pids max", plain(&pids.to_string())));
    }
    if let Some(why) = &worker.not_limited {
        rows.push(("not limited", Cell::styled(format::one_line(why), RED)));
    }
    if !spec.listen.is_empty() {
        rows.push(("listen", words(&spec.listen)));
    }
    if let Some(cause) = &worker.cause {
        rows.push(("started by", plain(cause)));
    }
    rows
}

/// Says when a job runs, when it runs next, and how its last run ended.
fn job(rows: &mut Vec<(&'static str, Cell)>, app: &AppInfo, worker: &WorkerInfo, now_ms: u64) {
    let Some(job) = &app.spec.job else { return };
    let zone = job.time_zone.as_deref().map(|zone| format!(" ({zone})")).unwrap_or_default();
    let overlap = match job.on_overlap {
        Overlap::Skip => "skipped",
        Overlap::Queue => "queued",
        Overlap::Replace => "run in its place",
    };
    rows.push(("schedule", Cell::plain(format::one_line(&format!("{}{zone}", job.schedule)))));
    rows.push(("during a run", Cell::plain(overlap)));
    rows.push(("missed times", Cell::plain(if job.catch_up { "made up for once" } else { "left out" })));
    let next = match app.next_run_ms {
        Some(at) => format!("{} (in {})", format::date(at), format::uptime(now_ms, at)),
        None => "not before somebody starts it".to_owned(),
    };
    rows.push(("next run", Cell::plain(next)));
    let last = match (worker.last_exit, worker.last_exit_at_ms) {
        (Some(exit), Some(at)) => {
            let (word, style) = format::status(app, worker);
            let style = if word == "failed" { style } else { Style::new() };
            Cell::styled(format!("{exit}, {} ago", format::uptime(at, now_ms)), style)
        }
        _ => Cell::plain("none yet"),
    };
    rows.push(("last run", last));
}

fn metrics(out: &mut String, worker: &WorkerInfo) {
    let Some(metrics) = worker.contact.get("axm_monitor").and_then(|metrics| metrics.as_object()) else { return };
    if metrics.is_empty() {
        return;
    }
    let title = Style::new().bold().invert();
    let _ = writeln!(out, "{title} Code metrics value {title:#}");
    let rows = metrics.iter().map(|(name, metric)| {
        let text = |key: &str| match metric.get(key) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(serde_json::Value::Null) | None => String::new(),
            Some(value) => value.to_string(),
        };
        (format::one_line(name), Cell::plain(format::one_line(format!("{} {}", text("value"), text("unit")).trim())))
    });
    out.push_str(&grid(rows.collect()));
}

fn grid(rows: Vec<(impl Into<String>, Cell)>) -> String {
    let rows: Vec<Vec<Cell>> = rows.into_iter().map(|(name, value)| vec![Cell::plain(name), value]).collect();
    let widest = |index: usize| rows.iter().map(|row| row[index].width()).max().unwrap_or(0) + 2;
    let widths = [widest(0), widest(1)];
    boxes::draw(None, &rows, &widths)
}

#[cfg(test)]
mod tests {
    use rpm_model::Exit;

    use super::*;
    use crate::screens::samples::{NOW_MS, app};

    #[test]
    fn the_reason_comes_first() {
        let mut api = app(1, "api", "default", &[0]);
        let worker = &mut api.workers[0];
        worker.status = Status::Errored;
        worker.pid = None;
        worker.why = Some("16 unstable restarts in a row".into());
        worker.last_exit = Some(Exit::Signal { signal: 11, core: true });
        worker.last_exit_at_ms = Some(NOW_MS - 3_000);
        let page = describe(&api, &api.workers[0], None, &["Error: no database".into()], "rpm", NOW_MS);
        let page = anstream::adapter::strip_str(&page).to_string();
        let start = "errored: 16 unstable restarts in a row\n  its last process ended with SIGSEGV (core dumped), 3s ago\n  \
                     the last lines of its error log:\n  | Error: no database\n\n Describing process with id 0 - name api \n┌";
        assert!(page.starts_with(start), "{page}");
        assert!(page.contains("│ status            │ errored "), "{page}");
    }

    #[test]
    fn the_end_of_a_process_that_was_replaced_is_not_told() {
        let mut api = app(1, "api", "default", &[0]);
        api.workers[0].last_exit = Some(Exit::Signal { signal: 2, core: false });
        let page = |cause: &str, api: &mut AppInfo| {
            api.workers[0].cause = Some(cause.into());
            describe(api, &api.workers[0], Some("20.1.0"), &[], "rpm", NOW_MS)
        };
        assert!(!page("reload", &mut api).contains("its last process ended"));
        assert!(page("crash", &mut api).contains("its last process ended"));
        assert!(page("crash", &mut api).contains("20.1.0"));
    }

    #[test]
    fn a_worker_that_never_fell_needs_no_explanation() {
        let api = app(1, "api", "default", &[0]);
        let page = describe(&api, &api.workers[0], None, &[], "rpm", NOW_MS);
        assert!(
            anstream::adapter::strip_str(&page).to_string().starts_with(" Describing process with id 0 - name api ")
        );
    }
}
