//! A snapshot as Prometheus text, the classic format.
//!
//! Base units, `_total` for what only grows, no pid in a label: a worker keeps its series when it is replaced.

mod compat;

use std::collections::{BTreeMap, BTreeSet};

use rpm_ipc::{AppFigures, AutoscaleFigures};
use rpm_model::edge::{BalancerStats, EdgeStats, ServerState};
use rpm_model::{AppId, ExecMode, Health, Status};

use crate::exposition::{Family, REQUEST_BOUNDS, written};
use crate::look::{Measured, Snapshot};
use crate::tally::{Counts, RELOAD_BOUNDS, Tally};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Values of `axm:monitor` of one worker beyond this many are left out: each is a series that Prometheus keeps.
const CUSTOM_MAX: usize = 64;

/// What is written of one worker, about.
const WORKER_BYTES: usize = 1024;

/// What apps are called in labels.
type Names = BTreeMap<AppId, String>;

/// Returns the text; with the names that exporters for PM2 use, too, where that is wanted.
pub(crate) fn text(snapshot: &Snapshot, tally: &Tally, as_pm2: bool) -> String {
    let workers_count: usize = snapshot.list.apps.iter().map(|app| app.workers.len()).sum();
    let mut text = String::with_capacity(16 * 1024 + workers_count * WORKER_BYTES);
    let names = distinct(snapshot);
    daemon(&mut text, snapshot);
    host(&mut text, snapshot);
    workers(&mut text, snapshot, &names);
    apps(&mut text, snapshot, &names);
    logs(&mut text, snapshot, &names);
    autoscaled(&mut text, snapshot, &names);
    happened(&mut text, tally, &names);
    custom(&mut text, snapshot, &names);
    edge(&mut text, snapshot);
    if as_pm2 {
        compat::pm2(&mut text, snapshot, &names);
    }
    text
}

fn daemon(text: &mut String, snapshot: &Snapshot) {
    let info = &snapshot.list.daemon;
    let mut one =
        |name, kind, help, labels: &[(&str, &str)], value| Family::new(text, name, kind, help).add(labels, value);
    one("rpm_build_info", "gauge", "The version of rpm.", &[("version", &info.version)], 1.0);
    let started = info.started_at_ms as f64 / 1000.0;
    one("rpm_daemon_start_time_seconds", "gauge", "When the daemon started, in Unix time.", &[], started);
    let roles = [("daemon", snapshot.daemon), ("keeper", snapshot.keeper)];
    let measured = || roles.iter().filter_map(|(role, measured)| Some((*role, measured.as_ref()?)));
    let mut cpu = Family::new(text, "rpm_process_cpu_seconds_total", "counter", "CPU time that rpm itself used.");
    measured().for_each(|(role, seen)| cpu.add(&[("role", role)], seen.cpu_seconds));
    let mut memory = Family::new(
        text,
        "rpm_process_memory_resident_bytes",
        "gauge",
        "Resident memory of rpm itself, shared pages too.",
    );
    measured().for_each(|(role, seen)| memory.add(&[("role", role)], seen.resident_bytes as f64));
}

fn host(text: &mut String, snapshot: &Snapshot) {
    let host = &snapshot.host;
    let mut one =
        |name, help, labels: &[(&str, &str)], value| Family::new(text, name, "gauge", help).add(labels, value);
    one("rpm_host_cpus", "Processors that may be used.", &[], host.cpus as f64);
    one("rpm_host_memory_total_bytes", "Memory of the machine.", &[], host.memory_total as f64);
    one("rpm_host_memory_available_bytes", "Memory that programs could still have.", &[], host.memory_available as f64);
    let mut load = Family::new(text, "rpm_host_load_average", "gauge", "Processes that ran or wanted to, on average.");
    for (minutes, value) in ["1", "5", "15"].iter().zip(host.load) {
        load.add(&[("minutes", minutes)], value);
    }
}

/// One worker, and its labels as they are written.
struct Of<'a> {
    labels: String,
    worker: &'a rpm_ipc::WorkerFigures,
    measured: Option<&'a Measured>,
}

fn workers(text: &mut String, snapshot: &Snapshot, names: &Names) {
    let all: Vec<Of<'_>> = snapshot
        .list
        .apps
        .iter()
        .flat_map(|app| app.workers.iter().map(move |worker| (app, worker)))
        .map(|(app, worker)| {
            let instance = worker.instance.to_string();
            let labels = [("app", names[&app.id].as_str()), ("instance", &instance), ("namespace", &app.namespace)];
            Of { labels: written(&labels), worker, measured: snapshot.workers.get(&worker.id) }
        })
        .collect();
    let mut each = |name, kind, help, value: &dyn Fn(&Of<'_>) -> Option<f64>| {
        let mut family = Family::new(text, name, kind, help);
        for of in &all {
            if let Some(value) = value(of) {
                family.add_of(&of.labels, &[], value);
            }
        }
    };
    each("rpm_worker_up", "gauge", "Whether the worker serves.", &|of| Some(f64::from(u8::from(of.worker.serves()))));
    each(
        "rpm_worker_cpu_seconds_total",
        "counter",
        "CPU time that the present process and its descendants used.",
        &|of| of.measured.map(|seen| seen.cpu_seconds),
    );
    each(
        "rpm_worker_cpu_ratio",
        "gauge",
        "CPU that the process tree used since the last look; 1 is one core.",
        &|of| of.worker.pid.map(|_| f64::from(of.worker.cpu) / 100.0),
    );
    each("rpm_worker_memory_resident_bytes", "gauge", "Resident memory of the worker's process tree.", &|of| {
        of.worker.pid.map(|_| of.worker.memory.0 as f64)
    });
    each("rpm_worker_open_fds", "gauge", "Descriptors that the process has open.", &|of| {
        of.measured?.open_fds.map(|count| count as f64)
    });
    each("rpm_worker_threads", "gauge", "Threads of the process.", &|of| {
        of.measured.map(|seen| f64::from(seen.threads))
    });
    each("rpm_worker_start_time_seconds", "gauge", "When the process started, in Unix time.", &|of| {
        of.worker.pid?;
        of.worker.started_at_ms.map(|at| at as f64 / 1000.0)
    });
    each("rpm_worker_restarts_total", "counter", "How often the worker was started again.", &|of| {
        Some(f64::from(of.worker.restarts))
    });
    each("rpm_worker_unstable_restarts", "gauge", "Restarts in a row after too short a life.", &|of| {
        Some(f64::from(of.worker.unstable))
    });
    each("rpm_log_lost_bytes_total", "counter", "Output that no file took, because the disk was full.", &|of| {
        Some(of.worker.output_lost as f64)
    });
    each("rpm_log_dropped_lines_total", "counter", "Lines that no file took, because the disk was full.", &|of| {
        Some(of.worker.lines_lost as f64)
    });
    let mut state = Family::new(text, "rpm_worker_state", "gauge", "1 for the state that the worker is in.");
    for of in &all {
        state.add_of(&of.labels, &[("state", of.worker.state())], 1.0);
    }
}

/// Returns the names of the apps. Two of the same name (`start -f`) would give the same series twice, which Prometheus
/// refuses: the later ones have their number behind the name.
fn distinct(snapshot: &Snapshot) -> Names {
    let mut taken = BTreeSet::new();
    let mut names = Names::new();
    for app in &snapshot.list.apps {
        let name = app.name.as_str();
        let own = if taken.insert(name) { name.to_owned() } else { format!("{name}#{}", app.id) };
        names.insert(app.id, own);
    }
    names
}

fn apps(text: &mut String, snapshot: &Snapshot, names: &Names) {
    let mut each = |name, help, value: &dyn Fn(&AppFigures) -> f64| {
        let mut family = Family::new(text, name, "gauge", help);
        for app in &snapshot.list.apps {
            family.add(&[("app", &names[&app.id]), ("namespace", &app.namespace)], value(app));
        }
    };
    each(
        "rpm_app_instances_desired",
        "Workers that are to run; one that was stopped, or has ended for good, is not.",
        &|app| app.workers.iter().filter(|worker| worker.is_wanted()).count() as f64,
    );
    each("rpm_app_instances_ready", "Workers that serve.", &|app| {
        app.workers.iter().filter(|worker| worker.serves()).count() as f64
    });
    each("rpm_app_instances_unhealthy", "Workers that run and fail their health check, or hang.", &|app| {
        app.workers.iter().filter(|worker| worker.health == Some(Health::Unhealthy)).count() as f64
    });
    each("rpm_app_rolling", "Whether the app's workers are being replaced.", &|app| f64::from(u8::from(app.rolling)));
    each("rpm_app_unstable", "Whether a worker has ended too soon at its last start, or was given up.", &|app| {
        let is_unstable = |worker: &rpm_ipc::WorkerFigures| worker.unstable > 0 || worker.status == Status::Errored;
        f64::from(u8::from(app.workers.iter().any(is_unstable)))
    });
    each("rpm_app_proxied", "Whether requests come by a balancer only.", &|app| {
        f64::from(u8::from(app.exec_mode == ExecMode::Proxy))
    });
}

fn logs(text: &mut String, snapshot: &Snapshot, names: &Names) {
    let help = "Bytes written to a log so far, what rotation took away included.";
    let mut family = Family::new(text, "rpm_log_bytes_total", "counter", help);
    for app in &snapshot.list.apps {
        let of_app = [("app", names[&app.id].as_str()), ("namespace", &app.namespace)];
        let of_app = written(&of_app);
        for log in &app.logs {
            let instance = log.instance.map(|instance| instance.to_string());
            let of_one = instance.as_ref().map(|instance| ("instance", instance.as_str()));
            let labels: Vec<_> = of_one.into_iter().chain([("stream", log.stream.name())]).collect();
            family.add_of(&of_app, &labels, log.bytes as f64);
        }
    }
}

/// Apps whose number of workers follows their load.
fn autoscaled(text: &mut String, snapshot: &Snapshot, names: &Names) {
    let apps: Vec<_> = snapshot.list.apps.iter().filter_map(|app| Some((app, app.autoscale.as_ref()?))).collect();
    let labels = |app: &AppFigures| (names[&app.id].clone(), app.namespace.clone());
    let mut each = |name, help, value: &dyn Fn(&AutoscaleFigures) -> f64| {
        let mut family = Family::new(text, name, "gauge", help);
        for (app, autoscale) in &apps {
            let (name, namespace) = labels(app);
            family.add(&[("app", &name), ("namespace", &namespace)], value(autoscale));
        }
    };
    each("rpm_app_autoscale_on", "Whether the load decides on the number of workers.", &|autoscale| {
        f64::from(u8::from(autoscale.info.is_on))
    });
    each("rpm_app_autoscale_instances_min", "There are never fewer workers.", &|one| f64::from(one.min));
    each("rpm_app_autoscale_instances_max", "There are never more workers.", &|one| f64::from(one.max));
    let help = "What one worker carries of each kind of load; 1 is its target.";
    let mut load = Family::new(text, "rpm_app_autoscale_load_ratio", "gauge", help);
    for (app, autoscale) in &apps {
        let (name, namespace) = labels(app);
        for figure in &autoscale.info.figures {
            let Some(seen) = figure.seen else { continue };
            let labels = [("app", name.as_str()), ("namespace", &namespace), ("kind", figure.kind.name())];
            load.add(&labels, seen / figure.target);
        }
    }
}

/// What has happened since this process runs.
fn happened(text: &mut String, tally: &Tally, names: &Names) {
    // Apps that are gone keep what was counted; one of the same name goes on with it.
    let mut apps: BTreeMap<[&str; 2], Counts> = BTreeMap::new();
    for (whose, counts) in &tally.apps {
        let is_own = |label: &&String| {
            label.strip_prefix(&whose.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        };
        let label = whose.id.and_then(|id| names.get(&id)).filter(is_own).unwrap_or(&whose.name);
        apps.entry([label, &whose.namespace]).or_default().add(counts);
    }
    let apps: Vec<(String, Counts)> = apps
        .into_iter()
        .map(|([app, namespace], counts)| (written(&[("app", app), ("namespace", namespace)]), counts))
        .collect();
    let help = "What happened to the workers since `rpm web` runs: exit, restart, online, ...";
    let mut events = Family::new(text, "rpm_app_events_total", "counter", help);
    for (app, counts) in &apps {
        counts.events.iter().for_each(|(event, count)| events.add_of(app, &[("event", event)], *count as f64));
    }
    let help = "Workers started again since `rpm web` runs, by reason.";
    let mut restarts = Family::new(text, "rpm_app_restarts_total", "counter", help);
    for (app, counts) in &apps {
        counts.restarts.iter().for_each(|(reason, count)| restarts.add_of(app, &[("reason", reason)], *count as f64));
    }
    let help = "Ends of workers since `rpm web` runs, by exit code or signal.";
    let mut exits = Family::new(text, "rpm_app_exits_total", "counter", help);
    for (app, counts) in &apps {
        for ((code, signal), count) in &counts.exits {
            exits.add_of(app, &[("code", code), ("signal", signal)], *count as f64);
        }
    }
    let help = "Reloads since `rpm web` runs, by how they ended.";
    let mut reloads = Family::new(text, "rpm_app_reloads_total", "counter", help);
    for (app, counts) in &apps {
        counts.reloads.iter().for_each(|(end, count)| reloads.add_of(app, &[("result", end)], *count as f64));
    }
    let help = "From the beginning of a reload to its end.";
    let mut times = Family::new(text, "rpm_app_reload_duration_seconds", "histogram", help);
    for (app, counts) in apps.iter().filter(|(_, counts)| counts.reload_times.count > 0) {
        times.histogram(app, &RELOAD_BOUNDS, &counts.reload_times);
    }
}

/// What the apps measure themselves (`axm:monitor`): numbers, and numbers with a unit behind them.
fn custom(text: &mut String, snapshot: &Snapshot, names: &Names) {
    let help = "What the app itself measures, by its own names.";
    let mut family = Family::new(text, "rpm_custom_metric", "gauge", help);
    for app in &snapshot.list.apps {
        for worker in &app.workers {
            if worker.monitor.is_empty() {
                continue;
            }
            let instance = worker.instance.to_string();
            for (name, entry) in worker.monitor.iter().take(CUSTOM_MAX) {
                let Some(value) = entry.get("value").and_then(number) else { continue };
                let unit = entry.get("unit").and_then(serde_json::Value::as_str).unwrap_or_default();
                let labels = [
                    ("app", names[&app.id].as_str()),
                    ("namespace", &app.namespace),
                    ("instance", &instance),
                    ("name", name),
                    ("unit", unit),
                ];
                family.add(&labels, value);
            }
        }
    }
}

fn number(value: &serde_json::Value) -> Option<f64> {
    let number = match value {
        serde_json::Value::Number(number) => number.as_f64()?,
        serde_json::Value::Bool(yes) => f64::from(u8::from(*yes)),
        serde_json::Value::String(text) => {
            let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
            text[..end].parse().ok()?
        }
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn edge(text: &mut String, snapshot: &Snapshot) {
    let running: Vec<_> = snapshot.balancers.iter().filter_map(|one| one.stats.as_ref()).collect();
    let mut balancers: Vec<(String, &BalancerStats)> = Vec::new();
    for stats in &running {
        let app = only_app(stats);
        let labels = |one: &BalancerStats| written(&[("balancer", &one.name), ("app", app)]);
        balancers.extend(stats.balancers.iter().map(|one| (labels(one), one)));
    }
    let mut each = |name, kind, help, value: &dyn Fn(&BalancerStats) -> u64| {
        let mut family = Family::new(text, name, kind, help);
        balancers.iter().for_each(|(labels, one)| family.add_of(labels, &[], value(one) as f64));
    };
    each("rpm_lb_connections_active", "gauge", "Clients' connections that are open.", &|one| one.connections);
    each("rpm_lb_connections_total", "counter", "Clients' connections so far.", &|one| one.connections_total);
    each("rpm_lb_requests_in_flight", "gauge", "Requests that have no answer yet.", &|one| one.in_flight);
    each("rpm_lb_limited_total", "counter", "Requests refused by the rate limit.", &|one| one.limited);
    each("rpm_lb_refused_total", "counter", "Requests that were no HTTP, too long, or too slow.", &|one| one.refused);
    let mut bytes = Family::new(text, "rpm_lb_bytes_total", "counter", "Bytes from and to clients.");
    for (labels, one) in &balancers {
        bytes.add_of(labels, &[("direction", "in")], one.bytes_in as f64);
        bytes.add_of(labels, &[("direction", "out")], one.bytes_out as f64);
    }
    let mut requests = Family::new(text, "rpm_lb_requests_total", "counter", "Answers by class of status.");
    for (labels, one) in &balancers {
        let by = &one.answers;
        let classes = [
            ("1xx", by.informational),
            ("2xx", by.success),
            ("3xx", by.redirect),
            ("4xx", by.client_error),
            ("5xx", by.server_error),
        ];
        for (class, count) in classes {
            requests.add_of(labels, &[("code", class)], count as f64);
        }
    }
    let help = "From a request's head to the last byte of its answer.";
    let mut duration = Family::new(text, "rpm_lb_request_duration_seconds", "histogram", help);
    balancers.iter().for_each(|(labels, one)| duration.histogram(labels, &REQUEST_BOUNDS, &one.latency));
    servers(text, &running);
}

/// Returns the one app that a balancer sends to; nothing where there are several, or servers that are no workers.
fn only_app(stats: &EdgeStats) -> &str {
    let mut apps = stats.upstreams.iter().flat_map(|upstream| &upstream.servers).map(|server| server.app.as_deref());
    match apps.next().flatten() {
        Some(first) if apps.all(|app| app == Some(first)) => first,
        Some(_) | None => "",
    }
}

fn servers(text: &mut String, running: &[&rpm_model::edge::EdgeStats]) {
    let upstreams: Vec<_> = running.iter().flat_map(|stats| &stats.upstreams).collect();
    let mut queue = Family::new(text, "rpm_lb_queue", "gauge", "Requests that wait for a server.");
    upstreams.iter().for_each(|one| queue.add(&[("upstream", &one.name)], one.queue as f64));
    let mut failed = Family::new(
        text,
        "rpm_lb_queue_failed_total",
        "counter",
        "Requests that found the queue full, or waited too long.",
    );
    upstreams.iter().for_each(|one| failed.add(&[("upstream", &one.name)], one.queue_failed as f64));
    // Members are named by their seat: a life more is no other series.
    let seat = |name: &str| name.rsplit_once('.').map_or(name, |(seat, _)| seat).to_owned();
    type Sums = BTreeMap<(String, String, String), [f64; 6]>;
    let mut sums = Sums::new();
    for upstream in &upstreams {
        for server in &upstream.servers {
            let (app, name) = match &server.app {
                Some(app) => (app.clone(), seat(&server.name)),
                None => (String::new(), server.name.clone()),
            };
            let one = sums.entry((upstream.name.clone(), app, name)).or_default();
            one[0] += server.requests as f64;
            one[1] += server.in_flight as f64;
            one[2] += server.retries as f64;
            one[3] += server.connect_errors as f64;
            one[4] += server.answer_errors as f64;
            let used = matches!(server.state, ServerState::Up | ServerState::SlowStart);
            one[5] = one[5].max(f64::from(u8::from(used)));
        }
    }
    let mut each = |name, kind, help, index: usize| {
        let mut family = Family::new(text, name, kind, help);
        for ((upstream, app, server), values) in &sums {
            family.add(&[("upstream", upstream), ("app", app), ("server", server)], values[index]);
        }
    };
    each("rpm_lb_server_requests_total", "counter", "Requests sent to a server, retries included.", 0);
    each("rpm_lb_server_in_flight", "gauge", "Requests at a server without an answer yet.", 1);
    each("rpm_lb_retries_total", "counter", "Requests that were tried elsewhere after a server failed.", 2);
    each("rpm_lb_server_up", "gauge", "Whether a server is used.", 5);
    // The same of workers, whichever upstreams they are in.
    let mut workers: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for ((_, app, server), values) in &sums {
        if let Some((_, instance)) = server.rsplit_once(':').filter(|_| !app.is_empty()) {
            *workers.entry((app, instance)).or_default() += values[0];
        }
    }
    let help = "Requests sent to a worker, retries included.";
    let mut of_workers = Family::new(text, "rpm_lb_worker_requests_total", "counter", help);
    for ((app, instance), requests) in workers {
        of_workers.add(&[("app", app), ("instance", instance)], requests);
    }
    let mut errors = Family::new(text, "rpm_lb_errors_total", "counter", "Failures of a server, by kind.");
    for ((upstream, app, server), values) in &sums {
        for (kind, value) in [("connect", values[3]), ("answer", values[4])] {
            errors.add(&[("upstream", upstream), ("app", app), ("server", server), ("kind", kind)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_numbers() {
        let number = |value: serde_json::Value| number(&value);
        assert_eq!(number("12.5ms".into()), Some(12.5));
        assert_eq!(number("-3".into()), Some(-3.0));
        assert_eq!(number(7.into()), Some(7.0));
        assert_eq!(number("fast".into()), None);
        assert_eq!(number(serde_json::Value::Null), None);
    }
}
