//! `diff`, `apply`: an ecosystem file is the desired state. The plan is shown first; what is so already is left alone.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use rpm_config::AppOptions;
use rpm_ipc::{AppInfo, List, Request, Respec, WorkerInfo};
use rpm_model::{AppSpec, Status, WorkerId};
use serde_json::{Map, Value, json};

use crate::acting::{self, AfterFailure};
use crate::args::{Apply, Desired};
use crate::commands::start_or::depends_on_new;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::say;
use crate::screens::format::one_line;
use crate::settings::Settings;
use crate::specs;
use crate::target::Target;

/// Longer values are cut: what matters is that they differ.
const VALUE_MAX: usize = 60;

pub(super) fn diff(args: &Desired, invocation: &Invocation) -> Result<(), Failure> {
    let (plan, ..) = plan(args, invocation)?;
    print(&plan, args.json, invocation);
    Ok(())
}

pub(super) fn run(args: &Apply, invocation: &Invocation) -> Result<(), Failure> {
    let (plan, mut session, before) = plan(&args.desired, invocation)?;
    print(&plan, args.desired.json, invocation);
    let all_deleted = plan.all_deleted();
    let requests = plan.requests();
    if args.dry_run || requests.is_empty() {
        return Ok(());
    }
    if let Some(apps) = all_deleted.filter(|_| !args.yes)
        && !agrees(&args.desired, apps)?
    {
        return Err(Failure::new("nothing was changed"));
    }
    // The apps of a file are not held up by one of them that fails.
    let (acted, outcome) = acting::act_on_all(&mut session, invocation, &before, requests, AfterFailure::GoOn);
    if args.desired.json {
        return outcome;
    }
    acting::show_acted(&mut session, invocation, &before, acted, outcome)
}

/// Asks whether everything is to be deleted: a list may be empty because whoever wrote it has failed.
fn agrees(desired: &Desired, apps: usize) -> Result<bool, Failure> {
    let file = if desired.file == "-" { "standard input" } else { &desired.file };
    let s = if apps == 1 { "" } else { "s" };
    let is_asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !desired.json;
    if !is_asked {
        return Err(Failure::new(format!("{file} names no app, so everything would be deleted ({apps} app{s})"))
            .detail("nothing was changed")
            .hint("--yes does it"));
    }
    eprint!("{file} names no app. Delete everything ({apps} app{s})? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("no answer could be read: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What is to be done with one app.
#[derive(Debug)]
enum Step {
    Start(Box<AppSpec>),
    /// With what differs: path, before, after.
    Reload(Box<Respec>, Vec<WorkerId>, Vec<(String, Value, Value)>),
    /// The app is as it is wanted, these workers of it are not: a reload did not come to its end.
    Renew(Vec<WorkerId>),
    /// These workers are down.
    Again(Box<AppSpec>, Vec<WorkerId>),
    Scale(rpm_model::AppId, u32, u32),
    Delete(Vec<WorkerId>),
    /// Nothing can be done: why it is not as it is wanted, a line each.
    Waits(Vec<String>),
    Nothing,
}

/// What is to be done, app by app.
#[derive(Debug, Default)]
struct Plan {
    steps: Vec<(String, Step)>,
}

fn plan(args: &Desired, invocation: &Invocation) -> Result<(Plan, crate::session::Session, List), Failure> {
    if args.file != "-" && !rpm_config::is_config_file(&args.file) {
        return Err(Failure::new(format!("{} is not an ecosystem file: its name does not say so", args.file)));
    }
    let target = if args.file == "-" { Target::Stdin } else { Target::File(cwd().join(&args.file)) };
    let context = specs::context(&invocation.home)?;
    let options = AppOptions { env_name: args.env.clone(), may_name_none: args.prune, ..AppOptions::default() };
    let mut wanted = specs::of_file(&target, &options, &context, &invocation.voice)?;
    match Settings::read(&invocation.home) {
        Ok(settings) => wanted.iter_mut().for_each(|spec| settings.overlay(spec)),
        Err(failure) => invocation.voice.warn(failure.text()),
    }
    let mut session = invocation.session()?;
    let before = session.list(true)?;
    Ok((Plan::of(wanted, &before, args.prune), session, before))
}

impl Plan {
    fn of(wanted: Vec<AppSpec>, list: &List, prune: bool) -> Self {
        let names: Vec<String> = wanted.iter().map(|spec| spec.name.clone()).collect();
        let mut plan = Self::default();
        for (name, spec) in names.iter().zip(wanted) {
            let mut step = |step| plan.steps.push((name.clone(), step));
            let Some(app) = list.apps.iter().find(|app| app.spec.name == spec.name) else {
                step(Step::Start(Box::new(spec)));
                continue;
            };
            match change(spec, app) {
                // It does the rest as well.
                reload @ Step::Reload(..) => step(reload),
                Step::Nothing => step(mend(app).unwrap_or(Step::Nothing)),
                other => {
                    step(other);
                    mend(app).into_iter().for_each(step);
                }
            }
        }
        let stays = |app: &&AppInfo| !prune || names.contains(&app.spec.name) || app.spec.is_module();
        for app in list.apps.iter().filter(|app| !stays(app)) {
            let workers = app.workers.iter().map(|worker| worker.id).collect();
            plan.steps.push((app.spec.name.clone(), Step::Delete(workers)));
        }
        plan
    }

    /// Returns how many apps there are, where all of them are deleted and nothing else is done.
    fn all_deleted(&self) -> Option<usize> {
        let is_all = self.steps.iter().all(|(_, step)| matches!(step, Step::Delete(_)));
        (is_all && !self.steps.is_empty()).then_some(self.steps.len())
    }

    /// Returns what is asked for: what is too much goes first, so that its ports are free.
    fn requests(self) -> Vec<(&'static str, Request)> {
        let (mut requests, mut deleted, mut started) = (Vec::new(), Vec::new(), Vec::new());
        let (mut down, mut down_specs) = (Vec::new(), Vec::new());
        for (_, step) in self.steps {
            match step {
                Step::Start(spec) => started.push(*spec),
                Step::Reload(respec, workers, _) => {
                    requests.push(("reload", Request::Reload { workers, specs: vec![*respec], force: false }));
                }
                Step::Renew(workers) => {
                    requests.push(("reload", Request::Reload { workers, specs: Vec::new(), force: false }));
                }
                Step::Again(spec, workers) => {
                    down.extend(workers);
                    down_specs.push(*spec);
                }
                Step::Scale(app, _, instances) => requests.push(("scale", Request::Scale { app, instances })),
                Step::Delete(workers) => deleted.extend(workers),
                Step::Waits(_) | Step::Nothing => {}
            }
        }
        // All at once, and before what may depend on them.
        if !down.is_empty() {
            requests.insert(0, ("start", Request::Restart { workers: down, specs: Vec::new() }));
        }
        if !deleted.is_empty() {
            requests.insert(0, ("delete", Request::Delete { workers: deleted }));
        }
        // All at once: they may depend on each other. And before what is to depend on them.
        if !started.is_empty() {
            let last = requests.len();
            let there = requests.iter().filter_map(|(_, request)| match request {
                Request::Reload { specs, .. } => Some(specs.iter().map(|respec| &respec.spec)),
                _ => None,
            });
            let there = there.map(|specs| specs.collect::<Vec<_>>()).chain([down_specs.iter().collect()]);
            let first = usize::from(matches!(requests.first(), Some(("delete", _))));
            let at = if depends_on_new(there.flatten(), &started) { first } else { last };
            requests.insert(at, ("start", Request::Start { specs: started }));
        }
        requests
    }
}

/// Returns what makes an app as it is wanted.
fn change(mut wanted: AppSpec, app: &AppInfo) -> Step {
    let current = &app.spec;
    // The shell's variables are no part of the file; nor is the number of workers where it names none, or the load decides.
    wanted.env_shell = current.env_shell.clone();
    if !wanted.instances_given || specs::keeps_its_number(&wanted, current) {
        (wanted.instances, wanted.instances_given) = (current.instances, current.instances_given);
    }
    // `stop` turns it off, for what stays down.
    if !is_to_run(&wanted) && app.workers.iter().all(|worker| worker.status == Status::Stopped) {
        wanted.watch.enabled &= current.watch.enabled;
    }
    // A link that has been moved to the next release is a difference.
    wanted.release = rpm_daemon::release_of(&wanted);
    let tree = |spec: &AppSpec| serde_json::to_value(spec).unwrap_or_default();
    let mut differences = Vec::new();
    compare("", &tree(current), &tree(&wanted), &mut differences);
    match &differences[..] {
        [] => Step::Nothing,
        all if all.iter().all(|(path, ..)| path.starts_with("instances")) => {
            Step::Scale(app.id, current.instances, wanted.instances)
        }
        _ => {
            // A job that stays one takes it up at its next run.
            let stays_job = current.job.is_some() && wanted.job.is_some();
            let workers = app.workers.iter().filter(|_| !stays_job).map(|worker| worker.id).collect();
            Step::Reload(Box::new(Respec { app: app.id, spec: wanted }), workers, differences)
        }
    }
}

/// Returns whether the workers of an app are down only where somebody stopped them, or they have failed: not a job, and
/// nothing that ends by itself or waits to be started by hand.
fn is_to_run(spec: &AppSpec) -> bool {
    spec.autostart && spec.job.is_none() && spec.restart.autorestart
}

/// Returns what makes the workers of an app as it is.
fn mend(app: &AppInfo) -> Option<Step> {
    let of = |wanted: fn(&WorkerInfo) -> bool| -> Vec<WorkerId> {
        app.workers.iter().filter(|worker| wanted(worker)).map(|worker| worker.id).collect()
    };
    if !app.canaries.is_empty() {
        let (name, count, all) = (&app.spec.name, app.canaries.len(), app.workers.len());
        let waits = format!("{count} of {all} run the new release: it waits for `promote {name}` or `abort {name}`");
        return Some(Step::Waits(vec![waits]));
    }
    if app.rolling {
        return Some(Step::Waits(vec!["a reload is under way".to_owned()]));
    }
    if !is_to_run(&app.spec) {
        return None;
    }
    let outdated = of(|one| one.outdated && !matches!(one.status, Status::Stopped | Status::Errored));
    if !outdated.is_empty() {
        // With those that are down: they are started by it.
        let down = of(|one| matches!(one.status, Status::Stopped | Status::Errored));
        return Some(Step::Renew([outdated, down].concat()));
    }
    let down = of(|one| matches!(one.status, Status::Stopped | Status::Errored));
    if !down.is_empty() {
        return Some(Step::Again(Box::new(app.spec.clone()), down));
    }
    let waiting = app.workers.iter().filter(|worker| worker.status == Status::WaitingRestart);
    let lines: Vec<String> = waiting
        .map(|worker| {
            format!("worker {} is not up: {}", worker.id, worker.why.as_deref().unwrap_or("it is started again"))
        })
        .collect();
    (!lines.is_empty()).then_some(Step::Waits(lines))
}

/// Collects what differs, by path.
pub(super) fn compare(path: &str, before: &Value, after: &Value, out: &mut Vec<(String, Value, Value)>) {
    if before == after {
        return;
    }
    let (Value::Object(one), Value::Object(other)) = (before, after) else {
        out.push((path.to_owned(), before.clone(), after.clone()));
        return;
    };
    let none = Value::Null;
    let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(&inner, one.get(key).unwrap_or(&none), other.get(key).unwrap_or(&none), out);
    }
}

fn print(plan: &Plan, as_json: bool, invocation: &Invocation) {
    if as_json {
        let steps: Vec<Value> = plan.steps.iter().map(|(name, step)| step_json(name, step)).collect();
        invocation.voice.data(&format!("{:#}\n", Value::Array(steps)));
    } else {
        invocation.voice.show(&text(plan));
    }
}

fn step_json(name: &str, step: &Step) -> Value {
    let mut out = Map::new();
    out.insert("app".into(), name.into());
    let action = match step {
        Step::Start(spec) => {
            out.insert("instances".into(), spec.instances.into());
            "start"
        }
        Step::Reload(_, _, differences) => {
            let each = differences.iter().map(|(path, before, after)| {
                let (before, after) = (shown(path, before), shown(path, after));
                json!({ "path": path, "before": before, "after": after })
            });
            out.insert("changes".into(), each.collect());
            "reload"
        }
        Step::Scale(_, before, after) => {
            out.insert("changes".into(), json!([{ "path": "instances", "before": before, "after": after }]));
            "scale"
        }
        Step::Renew(workers) => {
            out.insert("outdated".into(), json!(workers));
            "reload"
        }
        Step::Again(_, workers) => {
            out.insert("down".into(), json!(workers));
            "start"
        }
        Step::Delete(_) => "delete",
        Step::Waits(lines) => {
            out.insert("waits".into(), json!(lines));
            "none"
        }
        Step::Nothing => "none",
    };
    out.insert("action".into(), action.into());
    Value::Object(out)
}

fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let mark = |sign: &str, style: anstyle::Style| format!("{style}{sign}{style:#}");
    for (name, step) in &plan.steps {
        let name = one_line(name);
        let _ = match step {
            Step::Start(spec) => {
                let s = if spec.instances == 1 { "" } else { "s" };
                writeln!(out, "{} {name}: start, {} worker{s}", mark("+", say::GREEN), spec.instances)
            }
            Step::Reload(_, _, differences) => {
                let _ = writeln!(out, "{} {name}: reload", mark("~", say::YELLOW));
                differences.iter().try_for_each(|(path, before, after)| {
                    writeln!(out, "    {path}: {} → {}", shown(path, before), shown(path, after))
                })
            }
            Step::Scale(_, before, after) => {
                writeln!(out, "{} {name}: scale, {before} → {after} workers", mark("~", say::YELLOW))
            }
            Step::Renew(workers) => {
                let (s, are) = if workers.len() == 1 { ("", "is") } else { ("s", "are") };
                let sign = mark("~", say::YELLOW);
                writeln!(out, "{sign} {name}: reload, worker{s} {} {are} not as the app is to be", ids(workers))
            }
            Step::Again(_, workers) => {
                let (s, are) = if workers.len() == 1 { ("", "is") } else { ("s", "are") };
                writeln!(out, "{} {name}: start, worker{s} {} {are} down", mark("+", say::GREEN), ids(workers))
            }
            Step::Delete(_) => writeln!(out, "{} {name}: delete", mark("-", say::RED)),
            Step::Waits(lines) => {
                let sign = mark("!", say::YELLOW);
                lines.iter().try_for_each(|line| writeln!(out, "{sign} {name}: {}", one_line(line)))
            }
            Step::Nothing => Ok(()),
        };
    }
    let idle = plan.steps.iter().filter(|(_, step)| matches!(step, Step::Nothing)).count();
    let _ = match (idle, idle == plan.steps.len()) {
        (_, true) => writeln!(out, "Nothing to do: everything is as the file says"),
        (0, false) => Ok(()),
        (1, false) => writeln!(out, "  1 app is as the file says"),
        (idle, false) => writeln!(out, "  {idle} apps are as the file says"),
    };
    out
}

fn ids(workers: &[WorkerId]) -> String {
    workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes a value for people; one of a variable whose name sounds like a secret is not shown.
pub(super) fn shown(path: &str, value: &Value) -> String {
    const TOLD_BY: [&str; 5] = ["SECRET", "PASSWORD", "TOKEN", "KEY", "CREDENTIAL"];
    let name = path.to_ascii_uppercase();
    if value.is_null() {
        return "nothing".to_owned();
    }
    if path.starts_with("webhooks") {
        return "(not shown)".to_owned();
    }
    // Arguments may be tokens.
    if path.starts_with("secrets.") && path.contains(".cmd") {
        return "(not shown)".to_owned();
    }
    if path.starts_with("env.") && TOLD_BY.iter().any(|word| name.contains(word)) {
        return "(not shown)".to_owned();
    }
    let raw = value.to_string();
    let text = one_line(&raw);
    let end = text.floor_char_boundary(VALUE_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list};

    fn wanted(name: &str) -> AppSpec {
        app(9, name, "default", &[0, 1]).spec
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let list = list(vec![app(1, "api", "default", &[0, 1])]);
        let plan = Plan::of(vec![wanted("api")], &list, true);
        assert!(matches!(plan.steps[..], [(_, Step::Nothing)]));
        assert_eq!(text(&plan), "Nothing to do: everything is as the file says\n");
        assert!(plan.requests().is_empty());
    }

    #[test]
    fn workers_that_are_not_as_their_app_is_are_seen() {
        let mut api = app(1, "api", "default", &[0, 1, 2]);
        let plan = |app: &AppInfo| Plan::of(vec![app.spec.clone()], &list(vec![app.clone()]), false);
        let told = |app: &AppInfo| anstream::adapter::strip_str(&text(&plan(app))).to_string();
        let asked = |app: &AppInfo| plan(app).requests().into_iter().map(|(verb, _)| verb).collect::<Vec<_>>();
        api.workers[1].status = Status::Stopped;
        assert_eq!(told(&api), "+ api: start, worker 1 is down\n");
        assert_eq!(asked(&api), ["start"]);
        api.workers[2].outdated = true;
        assert_eq!(told(&api), "~ api: reload, workers 2, 1 are not as the app is to be\n");
        assert_eq!(asked(&api), ["reload"]);
        (api.rolling, api.canaries) = (true, vec![WorkerId(2)]);
        assert_eq!(told(&api), "! api: 1 of 3 run the new release: it waits for `promote api` or `abort api`\n");
        assert!(asked(&api).is_empty());
        // What is down on purpose stays so.
        let mut once = app(2, "once", "default", &[3]);
        (once.workers[0].status, once.spec.restart.autorestart) = (Status::Stopped, false);
        assert!(asked(&once).is_empty());
        let mut broken = app(3, "broken", "default", &[4]);
        (broken.workers[0].status, broken.workers[0].why) = (Status::WaitingRestart, Some("exit code 3".into()));
        assert_eq!(told(&broken), "! broken: worker 4 is not up: exit code 3\n");
    }

    #[test]
    fn a_plan_starts_reloads_scales_and_deletes() {
        let list = list(vec![
            app(1, "api", "default", &[0, 1]),
            app(2, "old", "default", &[2]),
            app(3, "grown", "default", &[3]),
        ]);
        let mut api = wanted("api");
        api.env.insert("PORT".into(), "3001".into());
        api.env.insert("DB_PASSWORD".into(), "hunter2".into());
        let mut grown = list.apps[2].spec.clone();
        (grown.instances, grown.instances_given) = (4, true);
        let specs = vec![api, grown, wanted("new")];
        let plan = Plan::of(specs.clone(), &list, true);
        let told = anstream::adapter::strip_str(&text(&plan)).to_string();
        assert!(
            told.contains(
                "~ api: reload\n    env.DB_PASSWORD: nothing → (not shown)\n    env.PORT: nothing → \"3001\"\n"
            ),
            "{told}"
        );
        assert!(told.contains("~ grown: scale, ") && told.contains("→ 4 workers"), "{told}");
        assert!(told.contains("+ new: start") && told.contains("- old: delete"), "{told}");
        let verbs: Vec<&str> = plan.requests().into_iter().map(|(verb, _)| verb).collect();
        assert_eq!(verbs, ["delete", "reload", "scale", "start"]);
        assert!(!Plan::of(specs, &list, false).steps.iter().any(|(name, _)| name == "old"), "only when asked");
    }
}
