//! How many workers, and how they get their sockets.

use rpm_model::{AppSpec, ExecMode, ProxySocket, SocketMode};

use super::{Given, Reader};
use crate::spec::interpreter;
use crate::values;

/// The words for `exec_mode`.
const EXEC_MODES: &[(&str, ExecMode)] = &[
    ("fork", ExecMode::Fork),
    ("fork_mode", ExecMode::Fork),
    ("cluster", ExecMode::Cluster),
    ("cluster_mode", ExecMode::Cluster),
    ("socket", ExecMode::Socket),
    ("proxy", ExecMode::Proxy),
];

const SOCKET_MODES: &[(&str, SocketMode)] = &[("reuseport", SocketMode::Reuseport), ("shared", SocketMode::Shared)];

const PROXY_SOCKETS: &[(&str, ProxySocket)] = &[("tcp", ProxySocket::Tcp), ("unix", ProxySocket::Unix)];

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let cpus = reader.context.cpus;
    match reader.read("instances", |value| values::instances(value, cpus)) {
        Given::Absent => {}
        Given::Default => (spec.instances, spec.instances_given) = (1, false),
        Given::Value(instances) => (spec.instances, spec.instances_given) = (instances, true),
    }
    reader.read("listen", values::texts).put(&mut spec.listen, Vec::new());
    for address in &spec.listen {
        if reader.setting("listen").is_some() && !is_address(address) {
            let reason = format!(
                "{address:?}: expected ADDRESS:PORT with an IP address, or an absolute path, for example \"0.0.0.0:8002\""
            );
            reader.refuse("listen", &reason);
        }
    }
    reader.word("socket_mode", SOCKET_MODES).put(&mut spec.socket_mode, SocketMode::default());
    reader.word("proxy_socket", PROXY_SOCKETS).put(&mut spec.proxy_socket, ProxySocket::default());
    match reader.read("reload_parallel", values::number) {
        Given::Value(0) => reader.refuse("reload_parallel", "expected at least 1"),
        given => given.put(&mut spec.reload_parallel, 1),
    }
    exec_mode(reader, spec);
}

fn exec_mode(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let forced = reader.read("execute_command", serde_json::Value::as_bool).value() == Some(true);
    let asked = reader.word("exec_mode", EXEC_MODES);
    let speaks_cluster = spec.interpreter.as_deref().is_some_and(interpreter::speaks_cluster);
    let mode_given = matches!(asked, Given::Value(_));
    spec.exec_mode = match asked {
        _ if forced => ExecMode::Fork,
        Given::Value(mode) => mode,
        Given::Default => ExecMode::Fork,
        // A change of a running app does not turn its mode around.
        Given::Absent if reader.app.is_change => spec.exec_mode,
        Given::Absent if reader.setting("listen").is_some() => ExecMode::Socket,
        Given::Absent if reader.setting("instances").is_some() && speaks_cluster => ExecMode::Cluster,
        Given::Absent => ExecMode::Fork,
    };
    match spec.exec_mode {
        ExecMode::Cluster if mode_given && !speaks_cluster => {
            let by = spec.interpreter.as_deref().unwrap_or("itself");
            let reason = format!("only node and bun can share ports this way, and this app is run by {by}");
            let help = "use \"fork\", or \"socket\" with `listen` for a program that takes its listening socket";
            reader.refuse_with_help("exec_mode", &reason, help);
        }
        ExecMode::Socket if spec.listen.is_empty() => {
            let help = "add for example `listen: \"0.0.0.0:8002\"`";
            reader.refuse_with_help("exec_mode", "needs `listen`: the addresses whose sockets are passed", help);
        }
        ExecMode::Fork | ExecMode::Cluster if reader.setting("listen").is_some() => {
            let setting = reader.setting("listen").expect("just asked");
            reader.report.warn(
                &reader.app.label,
                setting,
                "has no effect unless `exec_mode` is \"socket\" or \"proxy\"",
            );
        }
        ExecMode::Fork | ExecMode::Cluster | ExecMode::Socket | ExecMode::Proxy => {}
    }
    for key in ["balance", "hash_on", "sticky", "proxy_socket"] {
        if spec.exec_mode != ExecMode::Proxy
            && let Some(setting) = reader.setting(key)
        {
            let reason = "has no effect on an app unless `exec_mode` is \"proxy\"; otherwise it belongs to an upstream";
            reader.report.warn(&reader.app.label, setting, reason);
        }
    }
}

/// Returns whether a listening socket can be made of it: `127.0.0.1:PORT`, `[::]:PORT`, `localhost:PORT`, `:PORT` or an
/// absolute path. Names are not looked up: what they mean may change between two starts.
pub(super) fn is_address(address: &str) -> bool {
    if address.starts_with('/') {
        return address.len() > 1;
    }
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => matches!(host, "" | "*" | "localhost") || host.parse::<std::net::Ipv4Addr>().is_ok(),
    };
    host_fits && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_have_a_port_or_are_paths() {
        for good in ["0.0.0.0:80", "[::]:80", "localhost:0", ":8080", "/run/app.sock"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "8080",
            "host",
            "host:",
            "host:http",
            "::1:80",
            "[x]:80",
            "127.1:80",
            "example.com:80",
            "0.0.0.0:70000",
            "0.0.0.0:+1",
            "/",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
