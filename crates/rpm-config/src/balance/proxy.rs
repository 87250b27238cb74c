//! `exec_mode: "proxy"`: an app whose `listen` a balancer owns that is made for it.

use rpm_model::AppSpec;
use rpm_model::balance::{
    Arrangement, BalancerSpec, ListenSpec, RouteAction, RouteSpec, ServerAddress, ServerSpec, UpstreamSpec,
};
use serde_json::{Map, Value};

use super::section::Section;
use super::{DRAIN, upstream};
use crate::document::Pointer;
use crate::report::Report;
use crate::spec::Reader;

/// Returns the balancer of an app that says `listen` in proxy mode, called as the app with `-edge` after it.
///
/// Without `listen` the app is reached through an upstream that names it.
pub(crate) fn made_for(reader: &mut Reader<'_>, spec: &AppSpec) -> Option<AppSpec> {
    if spec.listen.is_empty() {
        return None;
    }
    let upstream = UpstreamSpec {
        name: spec.name.clone(),
        servers: vec![ServerSpec::at(ServerAddress::App(spec.name.clone()))],
        ..settings(reader)
    };
    let listen = spec.listen.iter().filter_map(|address| address.parse().ok());
    let balancer = BalancerSpec {
        name: format!("{}-edge", spec.name),
        listen: listen.map(|address| ListenSpec { address, proxy_protocol: false }).collect(),
        routes: vec![RouteSpec::to(RouteAction::Upstream(spec.name.clone()))],
        ..BalancerSpec::default()
    };
    let arrangement = Arrangement { balancer, upstreams: vec![upstream], made_for: Some(spec.name.clone()) };
    let mut made = super::app(arrangement, &spec.cwd, DRAIN, reader.context);
    made.namespace = spec.namespace.clone();
    made.autostart = spec.autostart;
    Some(made)
}

/// Reads `balance`, `hash_on` and `sticky` of an app.
fn settings(reader: &mut Reader<'_>) -> UpstreamSpec {
    let at = reader.app.at.clone().unwrap_or_default();
    let mut written: Map<String, Value> = Map::new();
    for key in ["balance", "hash_on", "sticky"] {
        if let Some(setting) = reader.setting(key) {
            written.insert(key.to_owned(), setting.value.clone());
        }
    }
    read(&written, at, &reader.app.label, reader.report)
}

fn read(written: &Map<String, Value>, at: Pointer, label: &str, report: &mut Report) -> UpstreamSpec {
    let mut section = Section::new(written, at, label.to_owned(), report);
    UpstreamSpec {
        balance: upstream::balance(&mut section),
        sticky: upstream::sticky(&mut section),
        ..UpstreamSpec::default()
    }
}
