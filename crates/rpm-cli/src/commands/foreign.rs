//! PM2's commands that lead elsewhere: one honest line, and what does it here.

use rpm_axon::process::MONITORED;
use rpm_ipc::{Reply, Request, Respec};
use rpm_model::{Flavour, WorkerId};
use serde_json::{Map, Value};

use crate::acting;
use crate::args::{Foreign, Monitored};
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::{session, target};

pub(super) fn run(command: &Foreign, invocation: &Invocation) -> Result<(), Failure> {
    let program = invocation.voice.program();
    let service = |what: &str| {
        Err(Failure::new(format!("{what} belongs to PM2's online service, which {} does not speak to", "rpm"))
            .hint(format!("`{program} monit` is the dashboard, `{program} jlist` is for programs")))
    };
    match command {
        // Scripts unlink before they do anything else; nothing was linked, so nothing is left to do.
        Foreign::Link(words) if words.words.first().is_some_and(|word| word == "delete") => unlinked(invocation),
        Foreign::Unlink(_) | Foreign::Logout(_) => unlinked(invocation),
        // PM2's ends well too where the service cannot be reached: it stands before `start` in scripts of containers.
        Foreign::Link(_) if invocation.voice.flavour == Flavour::Pm2 => {
            invocation.voice.warn("not linked: PM2's online service is not spoken to; `pm2 monit` is the dashboard");
            Ok(())
        }
        Foreign::Link(_) => service("`link`"),
        Foreign::Plus(_) => service("`plus`"),
        Foreign::Login(_) => service("`login`"),
        Foreign::Open(_) => service("`open`"),
        Foreign::Monitor(Monitored { target: None }) => service("`monitor` without a name"),
        Foreign::Monitor(Monitored { target: Some(target) }) => mark(target, true, invocation),
        Foreign::Unmonitor(Monitored { target }) => mark(target.as_deref().unwrap_or("all"), false, invocation),
        Foreign::InstallOtel(_) | Foreign::UninstallOtel(_) => Err(Failure::new(
            "tracing is a matter of the app: nothing is installed into the process manager",
        )
        .hint("npm install @opentelemetry/auto-instrumentations-node")
        .hint(format!(
            "{program} start app.js --node-args \"--require @opentelemetry/auto-instrumentations-node/register\""
        ))),
        Foreign::ProfileMem(_) | Foreign::ProfileCpu(_) => {
            Err(Failure::new("the daemon is no Node program and has no such profile")
                .hint(format!("for an app: {program} restart api --node-args \"--cpu-prof --heap-prof\""))
                .hint("for the daemon: perf record -p $(cat rpm.pid)"))
        }
        Foreign::DeepUpdate(_) => Err(Failure::new("rpm does not install itself anew")
            .hint(format!("replace the program as you installed it, then `{program} update`: no app notices"))),
        Foreign::Autoinstall(_) => {
            Err(Failure::new("there is no list of modules to install; PM2's points at a file that does not exist")
                .hint(format!("{program} install NAME")))
        }
        Foreign::Create(_) => {
            Err(Failure::new("there are no sample apps here").hint(format!("{program} start app.js")))
        }
        Foreign::Inspect(words) => {
            let name = words.words.first().map_or("NAME", String::as_str);
            Err(Failure::new("an inspector is opened by Node itself, not by its process manager")
                .hint(format!("{program} sendSignal SIGUSR1 {name}   # then chrome://inspect")))
        }
        Foreign::Package(_) => Err(Failure::new("modules are npm packages, and npm packs them").hint("npm pack")),
        Foreign::Publish(_) => {
            Err(Failure::new("modules are npm packages, and npm publishes them").hint("npm publish"))
        }
    }
}

fn unlinked(invocation: &Invocation) -> Result<(), Failure> {
    invocation.voice.say("not linked to PM2's online service; there is nothing to undo");
    Ok(())
}

/// Sets the mark that PM2 sets. It has no effect but to be seen.
fn mark(word: &str, monitored: bool, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(true)?;
    let workers =
        if word == "all" && list.apps.is_empty() { Vec::new() } else { target::resolve_workers(word, &list, &cwd())? };
    let mut specs = Vec::new();
    for app in &list.apps {
        let ids: Vec<WorkerId> = app.workers.iter().map(|worker| worker.id).filter(|id| workers.contains(id)).collect();
        if ids.is_empty() {
            continue;
        }
        let mut spec = app.spec.clone();
        // By worker, as in PM2.
        let marks = spec.other.entry(MONITORED.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if let Some(marks) = marks.as_object_mut() {
            marks.extend(ids.iter().map(|id| (id.to_string(), Value::Bool(monitored))));
        }
        specs.push(Respec { app: app.id, spec });
    }
    // Without workers the spec is noted, and nothing is restarted.
    match session.act(Request::Restart { workers: Vec::new(), specs }, |_| {})? {
        Reply::Done { .. } => {}
        other => return Err(session::unexpected(other)),
    }
    acting::show(invocation, &session.list(false)?, &[]);
    Ok(())
}
