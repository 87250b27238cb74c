//! `upstreams` and `balancers`: what stands in front of the apps.
//!
//! A balancer becomes an app too, run by our own program: so it is listed, stopped, reloaded and saved like one. The
//! upstreams that its routes name come with it, so that it is complete. `exec_mode: "proxy"` is the short form: an app
//! whose `listen` a balancer made for it owns.
//!
//! Unlike a key of an app, an unknown key is refused here: a mistyped limit would be no limit.

mod balancer;
mod proxy;
mod route;
pub(crate) mod section;
pub(crate) mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpm_model::balance::{Arrangement, ListenAddress, ServerAddress, UpstreamSpec};
use rpm_model::{AppSpec, ExecMode, nearest};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::document::{Document, Pointer};
use crate::report::Report;
use section::Section;

pub(crate) use proxy::made_for;

/// The hidden command of our program that is the data plane.
const COMMAND: &str = "edge";

/// How long connections of a balancer that is replaced may go on. A WebSocket that outlives it is cut.
const DRAIN: Duration = Duration::from_secs(30);

/// The same for one that is stopped: nobody comes after it.
const STOP: Duration = Duration::from_secs(5);

/// What a balancer is read against.
struct Surroundings<'a> {
    context: &'a Context,
    directory: &'a Path,
    upstreams: Vec<&'a str>,
}

impl Surroundings<'_> {
    /// Returns a path of the file as an absolute one.
    fn path(&self, text: &str) -> PathBuf {
        self.context.resolve(self.directory, text)
    }
}

/// Returns whether a document balances anything.
pub(crate) fn is_wanted(document: &Document) -> bool {
    ["upstreams", "balancers"].iter().any(|key| document.value.get(key).is_some_and(|value| !value.is_null()))
}

/// Reads the balancers of a document. `apps` are those that were read, `names` those that the file has.
pub(crate) fn read(
    document: &Document,
    directory: Option<&Path>,
    context: &Context,
    apps: &[(Pointer, AppSpec)],
    names: &BTreeSet<String>,
    report: &mut Report,
) -> Vec<(Pointer, AppSpec)> {
    let apps: BTreeMap<&str, &AppSpec> = apps.iter().map(|(_, spec)| (spec.name.as_str(), spec)).collect();
    let mut upstreams: Vec<UpstreamSpec> = Vec::new();
    for (at, object, number) in objects(document, "upstreams", report) {
        let label = format!("upstream number {number}");
        let mut section = Section::new(object, at, label, report);
        let upstream = upstream::read(&mut section);
        check_apps(&mut section, &upstream, &apps, names);
        if !upstream.name.is_empty()
            && upstreams.iter().any(|other| other.name == upstream.name)
            && let Some((_, setting)) = section.find("name")
        {
            section.refuse(&setting, "another upstream has this name");
        }
        section.finish();
        upstreams.push(upstream);
    }
    let directory = directory.unwrap_or(&context.cwd);
    let around = Surroundings {
        context,
        directory,
        upstreams: upstreams.iter().map(|upstream| upstream.name.as_str()).collect(),
    };
    let mut balancers = Vec::new();
    for (at, object, number) in objects(document, "balancers", report) {
        let label = format!("balancer number {number}");
        let mut section = Section::new(object, at.clone(), label, report);
        let mut balancer = balancer::read(&mut section, &around);
        balancer.routes = route::read(&mut section, balancer.mode, &around);
        let drain = section.duration("drain_timeout").unwrap_or(DRAIN);
        if names.contains(&balancer.name)
            && let Some((_, setting)) = section.find("name")
        {
            section.refuse(&setting, "an app of the file has this name");
        }
        section.finish();
        let mut arrangement = Arrangement { balancer, upstreams: Vec::new(), made_for: None };
        let routed: BTreeSet<String> = arrangement.routed().map(str::to_owned).collect();
        arrangement.upstreams = upstreams.iter().filter(|upstream| routed.contains(&upstream.name)).cloned().collect();
        balancers.push((at, app(arrangement, directory, drain, context)));
    }
    balancers
}

/// Returns the app that a balancer is.
fn app(arrangement: Arrangement, directory: &Path, drain: Duration, context: &Context) -> AppSpec {
    let mut spec = AppSpec::new(&arrangement.balancer.name, &context.program, directory);
    spec.args = vec![COMMAND.to_owned()];
    spec.exec_mode = ExecMode::Socket;
    spec.listen = arrangement.addresses().map(ListenAddress::to_string).collect();
    // It is ready when it has taken its configuration.
    spec.wait_ready = true;
    spec.drain_timeout = drain;
    spec.stop.kill_timeout = STOP;
    spec.version = Some(env!("CARGO_PKG_VERSION").to_owned());
    spec.balancer = Some(Box::new(arrangement));
    spec
}

/// Returns the objects of a list beside `apps`, with their places and numbers.
fn objects<'a>(
    document: &'a Document,
    key: &str,
    report: &mut Report,
) -> Vec<(Pointer, &'a Map<String, Value>, usize)> {
    let at = Pointer::default().key(key);
    let list = match document.value.get(key) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(_) => {
            report.mistake_of_file(&at, &format!("`{key}` holds no {key}"), "expected a list of objects");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (index, value) in list.iter().enumerate() {
        match value {
            Value::Object(object) => found.push((at.index(index), object, index + 1)),
            _ => {
                let title = format!("number {} of `{key}` is no object", index + 1);
                report.mistake_of_file(&at.index(index), &title, "expected an object");
            }
        }
    }
    found
}

/// Refuses apps that are not there, or that nobody can be sent to.
fn check_apps(
    section: &mut Section<'_, '_>,
    upstream: &UpstreamSpec,
    apps: &BTreeMap<&str, &AppSpec>,
    names: &BTreeSet<String>,
) {
    let Some((value, setting)) = section.find("servers") else { return };
    let Value::Array(list) = value else { return };
    let places = section::each(value, &setting);
    for server in &upstream.servers {
        let ServerAddress::App(name) = &server.address else { continue };
        let written = |entry: &&Value| entry.get("app").and_then(Value::as_str) == Some(name);
        let Some(index) = list.iter().position(|entry| written(&entry)) else { continue };
        let at = section::place(&places[index].1).key("app");
        let origin = crate::raw::Origin::File { at, written: "app".into() };
        let setting = crate::raw::Setting { value: name.as_str().into(), origin };
        if !names.contains(name) {
            let near = nearest(name, names.iter().map(String::as_str));
            section.refuse_name(&setting, "there is no app of this name in the file", near);
        } else if let Some(spec) = apps.get(name.as_str())
            && let Some(reason) = unreachable(spec)
        {
            section.refuse(&setting, reason);
        }
    }
}

/// Returns why no single worker of an app can be sent a request.
fn unreachable(spec: &AppSpec) -> Option<&'static str> {
    match spec.exec_mode {
        ExecMode::Cluster | ExecMode::Socket | ExecMode::Proxy => None,
        ExecMode::Fork => {
            let port = spec.env.get("PORT").and_then(|port| port.parse::<u16>().ok());
            match port {
                None => Some(
                    "its workers listen on ports that nobody knows: expected `exec_mode` \"cluster\", \"socket\" or \"proxy\", or a number as `PORT` in its `env`",
                ),
                Some(_) if spec.instances > 1 && spec.increment_var.as_deref() != Some("PORT") => Some(
                    "its workers would all have the same `PORT`: expected `increment_var: \"PORT\"`, or `exec_mode: \"proxy\"`",
                ),
                Some(_) => None,
            }
        }
    }
}
