//! nginx's configuration as upstreams and balancers.
//!
//! A balancer is made of all `server` blocks that share an address; the names of a block become hosts of its routes. The
//! first block of an address, or the one that says `default_server`, is for every other host.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rpm_model::balance::{BalancerSpec, ListenAddress, Mode, RouteAction, RouteSpec, TlsSpec};

use super::server::{self, Block};
use super::syntax::{self, Directive};
use super::upstream;
use crate::diagnostic::{ConfigError, Source};
use crate::foreign::{Draft, UNKNOWN};

/// Directives that say how nginx itself runs: each was read, and there is nothing to take over.
const OWN: &[&str] = &[
    "user",
    "worker_processes",
    "worker_rlimit_nofile",
    "worker_cpu_affinity",
    "worker_priority",
    "pid",
    "error_log",
    "load_module",
    "daemon",
    "master_process",
    "pcre_jit",
    "thread_pool",
    "sendfile",
    "tcp_nopush",
    "tcp_nodelay",
    "types_hash_max_size",
    "types_hash_bucket_size",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "server_tokens",
    "default_type",
    "multi_accept",
    "use",
    "types",
    "aio",
    "directio",
    "output_buffers",
    "open_file_cache",
    "log_format",
    "variables_hash_max_size",
    "proxy_headers_hash_max_size",
    "proxy_headers_hash_bucket_size",
    "reset_timedout_connection",
];

/// Reads a file.
pub(in crate::foreign) fn read(source: &Arc<Source>, path: &Path, draft: &mut Draft) -> Result<(), ConfigError> {
    let directives = syntax::read(source, path)?;
    let base = path.parent().unwrap_or(Path::new("/"));
    // A snippet without `http` around it is taken for the inside of one.
    let is_snippet = directives.iter().any(|directive| matches!(directive.name.as_str(), "upstream" | "server"));
    if is_snippet {
        http(&directives, base, draft);
        return Ok(());
    }
    for directive in &directives {
        match directive.name.as_str() {
            "http" => http(directive.inside(), base, draft),
            "stream" => stream(directive.inside(), draft),
            "events" => directive.inside().iter().for_each(|inner| own(inner, draft)),
            _ => own(directive, draft),
        }
    }
    Ok(())
}

/// Names a directive that is about nginx itself, or that is not known.
fn own(directive: &Directive, draft: &mut Draft) {
    let why = match directive.name.as_str() {
        "worker_connections" => "`maxconn` of a balancer limits connections; the default is 4096",
        name if OWN.contains(&name) => "it says how nginx itself runs",
        _ => UNKNOWN,
    };
    draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
}

fn http(directives: &[Directive], base: &Path, draft: &mut Draft) {
    let mut blocks = Vec::new();
    let (mut shared, mut servers) = (Vec::new(), Vec::new());
    for directive in directives {
        match directive.name.as_str() {
            "upstream" => {
                let upstream = upstream::read(directive, draft);
                draft.upstreams.push(upstream);
            }
            "server" => servers.push(directive),
            name if OWN.contains(&name) => own(directive, draft),
            _ => shared.push(directive.clone()),
        }
    }
    for (index, block) in servers.iter().enumerate() {
        // What is said for all is told once, with the first.
        let mut quiet = Draft::default();
        let inherited = server::settings(&shared, base, if index == 0 { &mut *draft } else { &mut quiet });
        blocks.push(server::read(block, inherited, base, draft));
    }
    if servers.is_empty() {
        server::settings(&shared, base, draft);
    }
    for group in groups(blocks) {
        let balancer = merge(group, draft);
        draft.balancers.push(balancer);
    }
}

/// Parts blocks into those that share addresses, in the order of the file.
fn groups(blocks: Vec<Block>) -> Vec<Vec<Block>> {
    let mut groups: Vec<(BTreeSet<ListenAddress>, Vec<Block>)> = Vec::new();
    for block in blocks {
        let mut addresses: BTreeSet<ListenAddress> = block.addresses().cloned().collect();
        let mut members = Vec::new();
        let mut kept = Vec::new();
        for (known, group) in groups {
            if known.is_disjoint(&addresses) {
                kept.push((known, group));
            } else {
                addresses.extend(known);
                members.extend(group);
            }
        }
        members.push(block);
        groups = kept;
        groups.push((addresses, members));
    }
    groups.into_iter().map(|(_, blocks)| blocks).collect()
}

/// Makes one balancer of the blocks that share its addresses.
fn merge(blocks: Vec<Block>, draft: &mut Draft) -> BalancerSpec {
    let default = blocks.iter().position(|block| block.is_default).unwrap_or(0);
    let first = blocks.first().map(|block| block.settings.clone()).unwrap_or_default();
    let mut balancer = BalancerSpec { name: name(&blocks, draft), ..first };
    for (index, block) in blocks.into_iter().enumerate() {
        for listen in block.listen {
            if !balancer.listen.contains(&listen) {
                balancer.listen.push(listen);
            }
        }
        if !block.tls_listen.is_empty() {
            let tls = balancer.tls.get_or_insert_with(TlsSpec::default);
            for listen in block.tls_listen {
                if !tls.listen.contains(&listen) {
                    tls.listen.push(listen);
                }
            }
            tls.certificates.extend(block.certificate);
        }
        let own = BalancerSpec { name: String::new(), listen: Vec::new(), tls: None, ..block.settings };
        let shared =
            BalancerSpec { name: String::new(), listen: Vec::new(), tls: None, routes: Vec::new(), ..balancer.clone() };
        if index > 0 && (BalancerSpec { routes: Vec::new(), ..own }) != shared {
            let why =
                "its timeouts, limits or logs are not those of the first `server` of its address, which count for all";
            draft.lose(&block.source, block.span.clone(), "server { … }", why);
        }
        let hosts: Vec<Option<String>> = match index == default {
            true => vec![None],
            false => block.hosts.into_iter().map(Some).collect(),
        };
        for host in hosts {
            let routes = block.routes.iter().map(|route| RouteSpec { host: host.clone(), ..route.clone() });
            for route in routes {
                let same = |other: &RouteSpec| {
                    (&other.host, &other.path, other.exact) == (&route.host, &route.path, route.exact)
                };
                if !balancer.routes.iter().any(same) {
                    balancer.routes.push(route);
                }
            }
        }
    }
    balancer
}

/// Returns a name for a balancer that nothing has yet.
fn name(blocks: &[Block], draft: &Draft) -> String {
    let host = blocks.iter().flat_map(|block| &block.hosts).next();
    let wanted = host.map_or_else(|| "web".to_owned(), |host| host.trim_start_matches("*.").to_owned());
    draft.free_name(&wanted)
}

/// Reads `stream`: bytes are passed on as they come.
fn stream(directives: &[Directive], draft: &mut Draft) {
    for directive in directives {
        match directive.name.as_str() {
            "upstream" => {
                let upstream = upstream::read(directive, draft);
                draft.upstreams.push(upstream);
            }
            "server" => stream_server(directive, draft),
            _ => own(directive, draft),
        }
    }
}

fn stream_server(block: &Directive, draft: &mut Draft) {
    let mut balancer = BalancerSpec { mode: Mode::Tcp, ..BalancerSpec::default() };
    for directive in block.inside() {
        let time = upstream::time(directive.arg(0));
        let lost = match (directive.name.as_str(), time) {
            ("listen", _) => {
                let mut read = Block::new(block, BalancerSpec::default());
                server::listen(directive, &mut read, draft);
                balancer.listen.extend(read.listen);
                (!read.tls_listen.is_empty()).then_some("TLS of a stream is not read here")
            }
            ("proxy_pass", _) => {
                let name = server::upstream_of(directive.arg(0), draft);
                match name {
                    Some(name) => {
                        balancer.routes = vec![RouteSpec::to(RouteAction::Upstream(name))];
                        None
                    }
                    None => Some("expected an upstream or an address"),
                }
            }
            ("proxy_connect_timeout", Some(time)) => {
                balancer.timeouts.connect = time;
                None
            }
            ("proxy_timeout", Some(time)) => {
                balancer.timeouts.tunnel = time;
                None
            }
            ("proxy_protocol", _) => Some("`send_proxy` of a server says this"),
            _ => Some(UNKNOWN),
        };
        if let Some(why) = lost {
            draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
        }
    }
    balancer.name = draft.free_name("stream");
    draft.balancers.push(balancer);
}
