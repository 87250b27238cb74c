//! Upstreams and balancers as a configuration of HAProxy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use rpm_model::AppSpec;
use rpm_model::balance::{
    Arrangement, Balance, Check, HashKey, ListenAddress, ListenSpec, Mode, ProxyVersion, RouteAction, RouteSpec,
    ServerAddress, StatusRange, Sticky, UpstreamSpec,
};

use crate::foreign::{Exported, apps};

/// Writes them.
pub(in crate::foreign) fn write(arrangements: &[&Arrangement], specs: &[AppSpec]) -> Exported {
    let mut out = Exported::default();
    let all: u32 = arrangements.iter().map(|arrangement| arrangement.balancer.maxconn).sum();
    let _ = writeln!(out.text, "global\n    maxconn {all}\n");
    out.text.push_str("defaults\n    mode http\n    option forwardfor\n    option redispatch\n");
    // Each proxy has its own; these are for those that say nothing, so that HAProxy does not warn.
    out.text.push_str("    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n");
    let mut written = BTreeSet::new();
    for arrangement in arrangements {
        frontend(&mut out, arrangement);
        for upstream in &arrangement.upstreams {
            if written.insert(upstream.name.clone()) {
                backend(&mut out, upstream, arrangement, specs);
            }
        }
    }
    out
}

fn ms(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Returns a name that HAProxy takes.
fn named(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':') { c } else { '_' })
        .collect()
}

fn bind(out: &mut String, listen: &ListenSpec, words: &str) {
    let address = match &listen.address {
        ListenAddress::Tcp(at) => at.to_string(),
        ListenAddress::Any(port) => format!(":::{port} v4v6"),
        ListenAddress::Unix(path) => format!("unix@{}", path.display()),
    };
    let proxy = if listen.proxy_protocol { " accept-proxy" } else { "" };
    let _ = writeln!(out, "    bind {address}{words}{proxy}");
}

fn frontend(out: &mut Exported, arrangement: &Arrangement) {
    let Exported { text, lost } = out;
    let balancer = &arrangement.balancer;
    let mut lose = |what: &str| lost.push(format!("balancer {}: HAProxy {what}", balancer.name));
    let is_tcp = balancer.mode == Mode::Tcp;
    // A frontend and a backend may not share a name with `use_backend`; a mark tells them apart for people too.
    let _ = writeln!(text, "\nfrontend {}-in", named(&balancer.name));
    let _ = writeln!(text, "    mode {}", if is_tcp { "tcp" } else { "http" });
    for one in &balancer.listen {
        bind(text, one, "");
    }
    if let Some(tls) = &balancer.tls {
        let mut words = String::from(" ssl");
        for one in &tls.certificates {
            let _ = write!(words, " crt {}", one.cert.display());
            if one.cert != one.key {
                lose("wants certificate and key in one file, or the key beside it as FILE.key");
            }
        }
        if balancer.http2 {
            words.push_str(" alpn h2,http/1.1");
        }
        for one in &tls.listen {
            bind(text, one, &words);
        }
    }
    let _ = writeln!(text, "    maxconn {}", balancer.maxconn);
    let times = &balancer.timeouts;
    let _ = writeln!(text, "    timeout client {}", ms(times.client));
    if !is_tcp {
        let _ = writeln!(text, "    timeout http-request {}", ms(times.header));
        let _ = writeln!(text, "    timeout http-keep-alive {}", ms(times.keep_alive));
    }
    if balancer.tls.as_ref().is_some_and(|tls| tls.redirect) {
        text.push_str("    http-request redirect scheme https code 308 if !{ ssl_fc }\n");
    }
    if let Some(gzip) = &balancer.gzip {
        let _ = writeln!(text, "    compression algo gzip\n    compression type {}", gzip.types.join(" "));
    }
    for (is_there, what) in [
        (balancer.rate_limit.is_some(), "limits rates with stick tables, which are not written here"),
        (balancer.access_log.is_some(), "writes logs to syslog only"),
        (!balancer.error_pages.is_empty(), "wants whole answers in its error files, which are not written here"),
        (balancer.forwarded.forwarded || balancer.request_id.is_some(), "writes no `Forwarded` and no request id here"),
        (balancer.limits.body.is_some(), "has no limit of bodies"),
        (!balancer.trusted_proxies.is_empty(), "believes nobody's X-Forwarded-For"),
    ] {
        if is_there {
            lose(what);
        }
    }
    if is_tcp {
        if let Some(name) = arrangement.routed().next() {
            let _ = writeln!(text, "    default_backend {}", named(name));
        }
        return;
    }
    if balancer.forwarded.x_forwarded {
        text.push_str("    http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n");
        text.push_str("    http-request set-header X-Forwarded-Host %[req.hdr(host)]\n");
    }
    routes(text, arrangement, &mut lose);
}

/// Writes the routes: the most exact that fits is noted first, then followed. Rules and backends in one list would not do:
/// HAProxy follows every rule before it chooses a backend.
fn routes(text: &mut String, arrangement: &Arrangement, lose: &mut dyn FnMut(&str)) {
    let mut routes: Vec<&RouteSpec> = arrangement.balancer.routes.iter().collect();
    if let [only] = routes.as_slice()
        && let RouteAction::Upstream(name) = &only.action
        && **only == RouteSpec::to(only.action.clone())
    {
        let _ = writeln!(text, "    default_backend {}", named(name));
        return;
    }
    let rank = |route: &RouteSpec| {
        let host = match &route.host {
            Some(host) if !host.starts_with("*.") => 2,
            Some(_) => 1,
            None => 0,
        };
        std::cmp::Reverse((host, route.exact, route.path.len()))
    };
    routes.sort_by_key(|route| rank(route));
    for (number, route) in routes.iter().enumerate() {
        let host = route.host.as_deref().map(|host| match host.strip_prefix('*') {
            Some(end) => format!("{{ hdr(host),field(1,:) -m end -i {end} }} "),
            None => format!("{{ hdr(host),field(1,:) -i {host} }} "),
        });
        let host = host.unwrap_or_default();
        let path = route.path.trim_end_matches('/');
        let paths = match (route.exact, path) {
            (true, _) => vec![format!("{{ path {} }} ", route.path)],
            (false, "") => vec![String::new()],
            (false, path) => vec![format!("{{ path {path} }} "), format!("{{ path_beg {path}/ }} ")],
        };
        for path in paths {
            let free = "!{ var(txn.route) -m found }";
            let _ = writeln!(text, "    http-request set-var(txn.route) str(r{number}) if {host}{path}{free}");
        }
    }
    let mut backends = String::new();
    for (number, route) in routes.iter().enumerate() {
        if !route.request_headers.is_empty() || !route.response_headers.is_empty() {
            lose("changes header fields with rules that are not written here");
        }
        let condition = format!(" if {{ var(txn.route) -m str r{number} }}");
        match &route.action {
            RouteAction::Upstream(name) => {
                if route.strip_prefix {
                    lose("cuts paths with `replace-path`, which is not written here");
                }
                let _ = writeln!(backends, "    use_backend {}{condition}", named(name));
            }
            RouteAction::Redirect { to, status } => {
                let to = to
                    .replace("$path$query", "%[pathq]")
                    .replace("$path", "%[path]")
                    .replace("$host", "%[req.hdr(host)]")
                    .replace("$scheme", "%[ssl_fc,iif(https,http)]")
                    .replace("$query", "?%[query]");
                let _ = writeln!(text, "    http-request redirect location {to} code {status}{condition}");
            }
            RouteAction::Respond { status, body } => {
                let content = if body.is_empty() {
                    String::new()
                } else {
                    format!(" content-type text/plain string {}", quoted(body))
                };
                let _ = writeln!(text, "    http-request return status {status}{content}{condition}");
            }
            RouteAction::Static { .. } => lose("serves no files"),
        }
    }
    text.push_str("    http-request return status 404 if !{ var(txn.route) -m found }\n");
    text.push_str(&backends);
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn backend(out: &mut Exported, upstream: &UpstreamSpec, arrangement: &Arrangement, specs: &[AppSpec]) {
    let Exported { text, lost } = out;
    let balancer = &arrangement.balancer;
    let is_tcp = balancer.mode == Mode::Tcp;
    let times = &balancer.timeouts;
    let _ = writeln!(text, "\nbackend {}", named(&upstream.name));
    let _ = writeln!(text, "    mode {}", if is_tcp { "tcp" } else { "http" });
    let balance = match (&upstream.sticky, &upstream.balance) {
        (Some(Sticky::Address), _) => "source".to_owned(),
        (_, Balance::RoundRobin) => "roundrobin".into(),
        (_, Balance::LeastConn) => "leastconn".into(),
        (_, Balance::First) => "first".into(),
        (_, Balance::RandomTwo) => "random(2)".into(),
        (_, Balance::IpHash | Balance::Hash(HashKey::Address)) => "source".into(),
        (_, Balance::Hash(HashKey::Path)) => "uri".into(),
        (_, Balance::Hash(HashKey::Uri)) => "uri whole".into(),
        (_, Balance::Hash(HashKey::Header(name))) => format!("hdr({name})"),
        (_, Balance::Hash(HashKey::Cookie(name))) => format!("hash req.cook({name})"),
    };
    let balance = match balance.strip_prefix("hash ") {
        Some(what) => {
            lost.push(format!("upstream {}: HAProxy before 2.6 has no `balance hash {what}`", upstream.name));
            balance
        }
        None => balance,
    };
    let _ = writeln!(text, "    balance {balance}");
    if matches!(upstream.balance, Balance::Hash(_)) {
        text.push_str("    hash-type consistent\n");
    }
    let mut cookie = false;
    if let Some(Sticky::Cookie { name, ttl, secure, http_only, domain, .. }) = &upstream.sticky
        && !is_tcp
    {
        cookie = true;
        let _ = write!(text, "    cookie {name} insert indirect nocache");
        for (is_there, word) in [(*http_only, " httponly"), (*secure, " secure")] {
            text.push_str(if is_there { word } else { "" });
        }
        if let Some(domain) = domain {
            let _ = write!(text, " domain {domain}");
        }
        if let Some(ttl) = ttl {
            let _ = write!(text, " maxlife {}s", ttl.as_secs());
        }
        text.push('\n');
    }
    let _ = writeln!(text, "    retries {}", upstream.retries.max(1));
    let _ = writeln!(text, "    timeout connect {}\n    timeout server {}", ms(times.connect), ms(times.server));
    let _ = writeln!(text, "    timeout queue {}\n    timeout tunnel {}", ms(upstream.timeout_queue), ms(times.tunnel));
    if let Some(host) = &upstream.host {
        let _ = writeln!(text, "    http-request set-header Host {host}");
    }
    if let Some(spec) = &upstream.health_check {
        let _ = writeln!(text, "    timeout check {}", ms(spec.timeout));
        if let Check::Http { method, path, host, status, body } = &spec.check {
            let _ = writeln!(text, "    option httpchk");
            let _ = write!(text, "    http-check send meth {method} uri {path} ver HTTP/1.1");
            let _ = writeln!(text, " hdr Host {}", host.as_deref().unwrap_or("localhost"));
            let ranges: Vec<String> = status.iter().map(range).collect();
            let wanted = if ranges.is_empty() { "200-399".to_owned() } else { ranges.join(",") };
            match body {
                Some(body) => {
                    let _ = writeln!(text, "    http-check expect string {}", quoted(body));
                }
                None => {
                    let _ = writeln!(text, "    http-check expect status {wanted}");
                }
            }
        }
    }
    if upstream.outlier.is_some() {
        lost.push(format!(
            "upstream {}: HAProxy's `observe` stands for `outlier`, and is not written here",
            upstream.name
        ));
    }
    let servers: Vec<_> = upstream.servers.iter().flat_map(|server| apps::servers(server, specs, lost)).collect();
    for server in servers {
        let address = match &server.address {
            ServerAddress::App(_) => continue,
            ServerAddress::Unix(path) => format!("unix@{}", path.display()),
            ServerAddress::Tcp { host, port } => format!("{host}:{port}"),
        };
        let name = named(&server.name);
        let _ = write!(text, "    server {name} {address} weight {}", server.weight.min(256));
        if let Some(most) = server.maxconn {
            let _ = write!(text, " maxconn {most}");
        }
        if cookie {
            let _ = write!(text, " cookie {name}");
        }
        match &upstream.health_check {
            Some(check) => {
                let _ = write!(text, " check inter {} rise {} fall {}", ms(check.interval), check.rise, check.fall);
                for (word, time) in [("fastinter", check.fast_interval), ("downinter", check.down_interval)] {
                    if let Some(time) = time {
                        let _ = write!(text, " {word} {}", ms(time));
                    }
                }
                if let Some(port) = check.port {
                    let _ = write!(text, " port {port}");
                }
                if !server.slow_start.is_zero() {
                    let _ = write!(text, " slowstart {}", ms(server.slow_start));
                }
            }
            // Passive failures take a server out by what HAProxy sees of its traffic.
            None if server.max_fails > 0 && !is_tcp => {
                let _ = write!(
                    text,
                    " check inter {} fall 1 rise 1 observe layer4 error-limit {} on-error mark-down",
                    ms(server.fail_timeout),
                    server.max_fails
                );
            }
            None => {}
        }
        for (is_there, word) in [
            (server.backup, " backup"),
            (server.down, " disabled"),
            (server.send_proxy == Some(ProxyVersion::V1), " send-proxy"),
            (server.send_proxy == Some(ProxyVersion::V2), " send-proxy-v2"),
        ] {
            text.push_str(if is_there { word } else { "" });
        }
        text.push('\n');
    }
}

fn range(range: &StatusRange) -> String {
    if range.first == range.last { range.first.to_string() } else { format!("{}-{}", range.first, range.last) }
}
