//! Where the workers of managed apps are reached by a program that the supervisor does not speak to.

use rpm_model::balance::{ServerAddress, ServerSpec};
use rpm_model::{AppSpec, ExecMode};

/// Returns a server as addresses that anybody can connect to; an app becomes what its workers listen on.
pub(super) fn servers(server: &ServerSpec, specs: &[AppSpec], lost: &mut Vec<String>) -> Vec<ServerSpec> {
    let ServerAddress::App(name) = &server.address else { return vec![server.clone()] };
    let addresses = specs.iter().find(|spec| spec.name == *name).map(addresses).unwrap_or_default();
    if addresses.is_empty() {
        lost.push(format!(
            "app {name}: where its workers listen is not written anywhere; give it `listen`, or `PORT` in its `env`"
        ));
    }
    let several = addresses.len() > 1;
    let at = |(index, address): (usize, ServerAddress)| ServerSpec {
        name: if several { format!("{name}-{index}") } else { name.clone() },
        address,
        ..server.clone()
    };
    addresses.into_iter().enumerate().map(at).collect()
}

fn addresses(spec: &AppSpec) -> Vec<ServerAddress> {
    let local = |port: u16| ServerAddress::Tcp { host: "127.0.0.1".into(), port };
    let port = spec.env.get("PORT").and_then(|port| port.parse::<u16>().ok());
    match (spec.exec_mode, port) {
        (ExecMode::Fork, Some(first)) if spec.increment_var.as_deref() == Some("PORT") => (0..spec.instances)
            .filter_map(|index| Some(local(first.checked_add(u16::try_from(index).ok()?)?)))
            .collect(),
        (ExecMode::Fork | ExecMode::Cluster, Some(port)) => vec![local(port)],
        (ExecMode::Socket, _) => spec.listen.iter().filter_map(|listen| reachable(listen)).take(1).collect(),
        (ExecMode::Fork | ExecMode::Cluster | ExecMode::Proxy, _) => Vec::new(),
    }
}

/// Returns how what is listened on is connected to.
fn reachable(listen: &str) -> Option<ServerAddress> {
    if listen.starts_with('/') {
        return Some(ServerAddress::Unix(listen.into()));
    }
    let (host, port) = listen.rsplit_once(':')?;
    let host = match host {
        "" | "*" | "0.0.0.0" | "localhost" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    format!("{host}:{port}").parse().ok()
}
