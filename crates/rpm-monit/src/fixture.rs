//! Lists and keys for tests.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rpm_ipc::{AppInfo, DaemonInfo, List, WorkerInfo};
use rpm_model::{AppId, AppSpec, Bytes, ExecMode, Exit, Life, Status, WorkerId};
use rpm_records::EventRecord;
use serde_json::json;

use crate::draw::canvas::width_of;
use crate::event::{Event, Look};
use crate::traffic::Traffic;

/// The moment at which the lists are made.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

/// Three apps: two workers in a cluster, one that crashed for good, one that was stopped.
pub(crate) fn list() -> List {
    let mut api = AppSpec::new("api", "/srv/api/server.js", "/srv/api");
    api.exec_mode = ExecMode::Cluster;
    api.max_memory_restart = Some(Bytes(1 << 30));
    let mut first = worker(0, Status::Online);
    first.contact = serde_json::from_value(json!({
        "axm_monitor": { "Heap Size": { "value": "12.34", "unit": "MiB" }, "HTTP": { "value": 250, "unit": "req/min" } }
    }))
    .unwrap();
    let mut second = worker(1, Status::Online);
    (second.instance, second.cpu, second.memory) = (1, 99.6, Bytes(120 << 20));
    (second.restarts, second.cause) = (2, Some("crash".into()));
    (second.last_exit, second.last_exit_at_ms) = (Some(Exit::Signal { signal: 11, core: true }), Some(NOW_MS - 61_000));
    let mut broken = worker(2, Status::Errored);
    (broken.restarts, broken.unstable) = (16, 16);
    broken.last_exit = Some(Exit::Code(3));
    broken.last_exit_at_ms = Some(NOW_MS - 95_000);
    broken.why = Some("exit code 3 after 78 ms; 16 unstable restarts in a row".into());
    List {
        apps: vec![
            AppInfo {
                id: AppId(0),
                spec: api,
                rolling: false,
                canaries: Vec::new(),
                autoscale: None,
                next_run_ms: None,
                workers: vec![first, second],
            },
            app(1, "mailer \u{1b}[2J", vec![broken]),
            app(2, "日本語の名前", vec![worker(3, Status::Stopped)]),
        ],
        daemon: DaemonInfo {
            version: "0.1.0".into(),
            pid: 400,
            keeper_pid: 399,
            started_at_ms: NOW_MS - 3 * 86_400_000,
        },
    }
}

fn app(id: u32, name: &str, workers: Vec<WorkerInfo>) -> AppInfo {
    AppInfo {
        id: AppId(id),
        spec: AppSpec::new(name, "/srv/other", "/srv"),
        rolling: false,
        canaries: Vec::new(),
        autoscale: None,
        next_run_ms: None,
        workers,
    }
}

fn worker(id: u32, status: Status) -> WorkerInfo {
    let up = status == Status::Online;
    WorkerInfo {
        id: WorkerId(id),
        instance: 0,
        status,
        pid: up.then_some(1000 + id as i32),
        life: up.then(|| Life::new(WorkerId(id), 1)),
        restarts: 0,
        unstable: 0,
        created_at_ms: NOW_MS - 7_300_000,
        started_at_ms: up.then_some(NOW_MS - 7_300_000),
        last_exit: None,
        last_exit_at_ms: None,
        parked: false,
        outdated: false,
        why: None,
        cause: Some("start".into()),
        cpu: if up { 3.2 } else { 0.0 },
        cpu_time_ms: None,
        threads: None,
        memory: Bytes(if up { 55_050_240 } else { 0 }),
        out_log: Some(format!("/var/log/rpm/out-{id}.log").into()),
        err_log: Some(format!("/var/log/rpm/error-{id}.log").into()),
        combined_log: None,
        pid_file: "/run/rpm/pids/x.pid".into(),
        backoff_ms: None,
        user: "www-data".into(),
        contact: serde_json::Map::new(),
        health: None,
        check: None,
        output_lost: 0,
        not_limited: None,
        log_trouble: None,
    }
}

/// A successful look at `list`.
pub(crate) fn listed(list: List) -> Event {
    Event::Listed { at_ms: NOW_MS, result: Ok(Look { list, traffic: Traffic::new() }) }
}

/// News from the daemon.
pub(crate) fn happened(app: &str, event: &str, detail: Option<&str>) -> Event {
    let (app, event) = (Some(app.to_owned()), event.to_owned());
    let (worker, detail) = (Some(WorkerId(1)), detail.map(str::to_owned));
    let (app_id, namespace, by) = (None, None, None);
    Event::Happened(EventRecord { at_ms: NOW_MS, worker, app, app_id, namespace, event, detail, by })
}

/// A list with one app of many workers.
pub(crate) fn many(count: u32) -> List {
    let mut list = list();
    let template = list.apps[0].workers[0].clone();
    let worker = |id| WorkerInfo {
        id: WorkerId(id),
        instance: id,
        cpu: id as f32 / 10.0,
        out_log: Some(format!("/var/log/rpm/out-{id}.log").into()),
        err_log: Some(format!("/var/log/rpm/error-{id}.log").into()),
        ..template.clone()
    };
    list.apps[0].workers = (0..count).map(worker).collect();
    list.apps.truncate(1);
    list
}

/// A key without modifiers.
pub(crate) fn key(code: KeyCode) -> Event {
    Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// What `draw` makes, as text.
pub(crate) fn text_of((width, height): (u16, u16), draw: impl FnOnce(Rect, &mut Buffer)) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(area, &mut buffer);
    let mut text = String::new();
    for row in 0..height {
        let mut line = String::new();
        let mut column = 0;
        while column < width {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            // A wide character covers the cell after it.
            column += width_of(symbol).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
