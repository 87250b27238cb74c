//! What the core knows, in the words of the wire.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpm_ipc::{
    AppFigures, AppInfo, AppKind, AutoscaleFigures, AutoscaleInfo, BetweenRuns, Decision, FailureInfo, Happened,
    LoadFigure, WorkerFigures, WorkerInfo,
};
use rpm_model::{AppSpec, Home, Life, LoadKind, Moment, WebhookUrl};
use rpm_supervise::{AppView, Cause, Failure, Happening, ScalingView, Standing, WorkerView};

use crate::process::Process;
use crate::sampling::Sampler;

/// Turns moments of the boot clock into milliseconds since the Unix epoch.
///
/// Read once and kept: two clocks read twice would put the same moment a millisecond apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    booted_at_us: i128,
}

impl Clock {
    /// Reads both clocks.
    pub(crate) fn read() -> Self {
        let wall_us = i128::from(rpm_sys::proc::wall_clock_millis()) * 1000;
        Self { booted_at_us: wall_us - i128::from(now().0) }
    }

    pub(crate) fn wall_ms(self, moment: Moment) -> u64 {
        u64::try_from((self.booted_at_us + i128::from(moment.0)) / 1000).unwrap_or_default()
    }
}

/// Returns the present moment.
pub(crate) fn now() -> Moment {
    Moment(rpm_sys::proc::boot_clock_micros())
}

/// Describes one app.
pub(crate) fn app(
    view: &AppView<'_>,
    processes: &BTreeMap<Life, Process>,
    home: &Home,
    clock: Clock,
    environment: bool,
) -> AppInfo {
    let mut spec = (**view.spec).clone();
    if !environment {
        spec.env.clear();
        spec.env_shell.clear();
        // Paths of such addresses may be tokens.
        for webhook in &mut spec.webhooks {
            webhook.url = WebhookUrl::Plain(webhook.url.shown());
        }
    }
    let user = user_of(view.spec);
    let workers = view.workers.iter().map(|worker| self::worker(worker, view, processes, home, clock, &user)).collect();
    let autoscale = view.scaling.as_ref().map(|scaling| self::autoscale(scaling, view.spec, clock));
    AppInfo {
        id: view.id,
        spec,
        rolling: view.rolling,
        canaries: view.canaries.clone(),
        autoscale,
        next_run_ms: None,
        workers,
    }
}

/// Tells what changes about an app.
pub(crate) fn figures(view: &AppView<'_>, processes: &BTreeMap<Life, Process>, clock: Clock) -> AppFigures {
    let spec = &**view.spec;
    let autoscale = view.scaling.as_ref().zip(spec.autoscale.as_ref()).map(|(scaling, policy)| AutoscaleFigures {
        min: policy.min,
        max: policy.max,
        info: self::autoscale(scaling, spec, clock),
    });
    AppFigures {
        id: view.id,
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        kind: match (spec.is_balancer(), spec.is_module()) {
            (true, _) => AppKind::Balancer,
            (false, true) => AppKind::Module,
            (false, false) => AppKind::App,
        },
        exec_mode: spec.exec_mode,
        rolling: view.rolling,
        canaries: view.canaries.clone(),
        autoscale,
        is_job: view.spec.job.is_some(),
        next_run_ms: None,
        workers: view.workers.iter().map(|worker| worker_figures(worker, spec, processes, clock)).collect(),
        logs: Vec::new(),
    }
}

fn worker_figures(
    view: &WorkerView,
    spec: &AppSpec,
    processes: &BTreeMap<Life, Process>,
    clock: Clock,
) -> WorkerFigures {
    let process = view.life.and_then(|life| processes.get(&life));
    let sampler = process.and_then(|process| process.running.as_ref()?.sampler.as_ref());
    let seen = sampler.and_then(Sampler::seen);
    let monitor = process.and_then(|process| process.contact.get("axm_monitor")?.as_object().cloned());
    WorkerFigures {
        id: view.id,
        instance: view.instance,
        status: view.status,
        health: view.health,
        between_runs: BetweenRuns::of(spec, view.status, view.is_parked, view.last_exit.map(|(exit, _)| exit)),
        pid: view.pid,
        started_at_ms: view.started_at.map(|at| clock.wall_ms(at)),
        restarts: view.restarts,
        unstable: view.unstable,
        why: view.why.clone(),
        cause: view.cause.map(|cause| cause_name(cause).to_owned()),
        cpu: sampler.map_or(0.0, Sampler::percent),
        cpu_time_ms: seen.map(|(cpu, _)| cpu.as_millis() as u64),
        threads: seen.map(|(_, threads)| threads),
        memory: sampler.map(Sampler::memory).unwrap_or_default(),
        output_lost: process.map_or(0, |process| process.output_lost),
        lines_lost: process.map_or(0, |process| process.lines_lost),
        monitor: monitor.unwrap_or_default(),
    }
}

fn autoscale(view: &ScalingView<'_>, spec: &AppSpec, clock: Clock) -> AutoscaleInfo {
    let targets = spec.autoscale.as_ref().map(|policy| policy.targets).unwrap_or_default();
    let figure = |kind: LoadKind| {
        let seen = view.seen.iter().find(|figure| figure.kind == kind).map(|figure| figure.seen);
        Some(LoadFigure { kind, seen, target: targets.of(kind)? })
    };
    let decision = |(at, change): &(Moment, rpm_supervise::autoscale::Change)| Decision {
        at_ms: clock.wall_ms(*at),
        from: change.from,
        to: change.to,
        text: change.to_string(),
    };
    AutoscaleInfo {
        is_on: view.standing != Standing::Paused,
        standing: view.standing.text().to_owned(),
        figures: LoadKind::ALL.into_iter().filter_map(figure).collect(),
        last: view.last.map(decision),
    }
}

fn worker(
    view: &WorkerView,
    app: &AppView<'_>,
    processes: &BTreeMap<Life, Process>,
    home: &Home,
    clock: Clock,
    user: &str,
) -> WorkerInfo {
    let process = view.life.and_then(|life| processes.get(&life));
    let sampler = process.and_then(|process| process.running.as_ref()?.sampler.as_ref());
    let logs = rpm_logs::paths(app.spec, view.id, home);
    WorkerInfo {
        id: view.id,
        instance: view.instance,
        status: view.status,
        health: view.health,
        check: process.and_then(|process| process.checked.as_ref()?.last(now())),
        pid: view.pid,
        life: view.life,
        restarts: view.restarts,
        unstable: view.unstable,
        created_at_ms: clock.wall_ms(view.created_at),
        started_at_ms: view.started_at.map(|at| clock.wall_ms(at)),
        last_exit: view.last_exit.map(|(exit, _)| exit),
        last_exit_at_ms: view.last_exit.map(|(_, at)| clock.wall_ms(at)),
        parked: view.is_parked,
        outdated: is_outdated(view.spec, app.spec),
        why: view.why.clone(),
        cause: view.cause.map(|cause| cause_name(cause).to_owned()),
        cpu: sampler.map_or(0.0, |sampler| sampler.percent()),
        cpu_time_ms: sampler.and_then(|sampler| Some(sampler.seen()?.0.as_millis() as u64)),
        threads: sampler.and_then(|sampler| Some(sampler.seen()?.1)),
        memory: sampler.map(|sampler| sampler.memory()).unwrap_or_default(),
        out_log: logs.out,
        err_log: logs.err,
        combined_log: logs.combined,
        pid_file: rpm_logs::pid_path(app.spec, view.id, home),
        backoff_ms: view.backoff.map(|delay| delay.as_millis() as u64),
        user: user.to_owned(),
        not_limited: process.and_then(|process| process.not_limited.clone()),
        output_lost: process.map_or(0, |process| process.output_lost),
        log_trouble: None,
        contact: process.map(|process| process.contact.clone()).unwrap_or_default(),
    }
}

/// Returns whether a worker would run otherwise if it were started now. The number of workers, and whether files are watched,
/// are the app's alone; the shell's variables come from whoever started it.
fn is_outdated(own: &Arc<AppSpec>, wanted: &Arc<AppSpec>) -> bool {
    if Arc::ptr_eq(own, wanted) || own == wanted {
        return false;
    }
    let mut own = AppSpec::clone(own);
    (own.instances, own.instances_given) = (wanted.instances, wanted.instances_given);
    own.watch.enabled = wanted.watch.enabled;
    own.env_shell.clone_from(&wanted.env_shell);
    own != **wanted
}

/// Describes one failure, with the last lines of the worker's error log.
pub(crate) fn failure(failure: &Failure, err_log: Option<(&Path, u64)>) -> FailureInfo {
    FailureInfo {
        worker: failure.worker,
        app: failure.app.clone(),
        message: failure.cause.to_string(),
        stderr: err_log.map(|(path, from)| rpm_records::last_lines(path, from, LINES, REACH)).unwrap_or_default(),
    }
}

/// How many of the last lines a failure shows.
const LINES: usize = 12;

/// How far back they are looked for: a stack trace is far shorter.
const REACH: u64 = 16 * 1024;

/// Describes something that happened, in PM2's words.
pub(crate) fn happened(
    life_app: String,
    worker: rpm_model::WorkerId,
    happening: Happening,
    why: Option<String>,
) -> Happened {
    let (event, detail) = match happening {
        Happening::Started { cause: cause @ (Cause::Start | Cause::Scale | Cause::Autoscale) } => {
            ("start", Some(cause_name(cause)))
        }
        Happening::Started { cause: cause @ (Cause::Schedule | Cause::Run) } => ("start", Some(cause_name(cause))),
        Happening::Skipped => ("skipped", Some("schedule: the run before has not ended")),
        Happening::Queued => ("queued", Some("the run before has not ended")),
        Happening::Started { cause } => ("restart", Some(cause_name(cause))),
        Happening::Online => ("online", None),
        Happening::Stopping { cause } => ("stopping", Some(cause_name(cause))),
        Happening::Unhealthy => ("unhealthy", None),
        Happening::Healthy => ("healthy", None),
        Happening::Exited { .. } => ("exit", None),
        Happening::Stopped => ("stop", None),
        Happening::Errored if why.is_some() => ("errored", None),
        Happening::Errored => ("restart overlimit", None),
        Happening::Deleted => ("delete", None),
    };
    let detail = match happening {
        Happening::Exited { exit } => Some(exit.to_string()),
        Happening::Unhealthy | Happening::Errored => why,
        _ => detail.map(|detail| why.map_or_else(|| detail.to_owned(), |why| format!("{detail}: {why}"))),
    };
    let at_ms = rpm_sys::proc::wall_clock_millis();
    Happened { at_ms, worker, app: life_app, event: event.to_owned(), detail }
}

/// Returns the word for a cause.
pub(crate) fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Start => "start",
        Cause::Stop => "stop",
        Cause::Restart => "restart",
        Cause::Reload => "reload",
        Cause::Rollback => "rollback",
        Cause::Scale => "scale",
        Cause::Autoscale => "autoscale",
        Cause::Crash => "crash",
        Cause::Memory => "memory",
        Cause::Health => "health",
        Cause::Hang => "hang",
        Cause::Watch => "watch",
        Cause::Cron => "cron",
        Cause::Schedule => "schedule",
        Cause::Run => "run",
    }
}

/// Returns the name of the user as whom an app's workers run.
pub(crate) fn user_of(spec: &AppSpec) -> String {
    user_name(spec.user.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid))
}

/// A list asks for each worker, and a crash storm for each start; users are renamed less often.
const USERS_KNOWN_FOR: Duration = Duration::from_secs(1);

/// Users by number, and when they were looked up.
type Users = (Moment, BTreeMap<u32, String>);

pub(crate) fn user_name(uid: u32) -> String {
    static USERS: Mutex<Users> = Mutex::new((Moment(0), BTreeMap::new()));
    let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    if now().since(users.0) > USERS_KNOWN_FOR {
        *users = (now(), BTreeMap::new());
    }
    users.1.entry(uid).or_insert_with(|| look_up(uid)).clone()
}

/// Returns a user's name; one without an entry is called by the number.
fn look_up(uid: u32) -> String {
    std::fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|passwd| {
            passwd.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
            })
        })
        .unwrap_or_else(|| uid.to_string())
}
