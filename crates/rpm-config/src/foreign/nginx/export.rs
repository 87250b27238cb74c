//! Upstreams and balancers as a configuration of nginx.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use rpm_model::AppSpec;
use rpm_model::balance::{
    Arrangement, Balance, HashKey, ListenAddress, ListenSpec, Mode, Protocol, RouteAction, RouteSpec, ServerAddress,
    Sticky, UpstreamSpec,
};

use crate::foreign::{Exported, apps};

/// Writes them.
pub(in crate::foreign) fn write(arrangements: &[&Arrangement], specs: &[AppSpec]) -> Exported {
    let mut out = Exported::default();
    let (mut http, mut stream) = (String::new(), String::new());
    let mut written = BTreeSet::new();
    for arrangement in arrangements {
        let is_tcp = arrangement.balancer.mode == Mode::Tcp;
        let part = if is_tcp { &mut stream } else { &mut http };
        for upstream in &arrangement.upstreams {
            if written.insert((is_tcp, upstream.name.clone())) {
                self::upstream(part, upstream, is_tcp, specs, &mut out.lost);
            }
        }
        if is_tcp { tcp(part, arrangement) } else { self::http(part, arrangement, &mut out.lost) }
    }
    let connections: u32 = arrangements.iter().map(|arrangement| arrangement.balancer.maxconn).sum();
    // A connection to a client and one to a server each.
    let _ = writeln!(
        out.text,
        "events {{\n    worker_connections {};\n}}",
        connections.saturating_mul(2).clamp(64, 65_536)
    );
    if !http.is_empty() {
        out.text.push_str(
            "\nhttp {\n    map $http_upgrade $connection_upgrade {\n        default upgrade;\n        '' '';\n    }\n",
        );
        out.text.push_str(&http);
        out.text.push_str("}\n");
    }
    if !stream.is_empty() {
        let module = "nginx takes `stream` only with its stream module (libnginx-mod-stream in Debian)";
        out.lost.push(module.to_owned());
        let _ = write!(out.text, "\nstream {{\n{stream}}}\n");
    }
    out
}

fn seconds(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// Returns a name that nginx takes for an upstream.
fn upstream_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }).collect()
}

/// Returns a text in quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn upstream(out: &mut String, upstream: &UpstreamSpec, is_tcp: bool, specs: &[AppSpec], lost: &mut Vec<String>) {
    let mut lose = |what: &str| lost.push(format!("upstream {}: nginx {what}", upstream.name));
    let _ = writeln!(out, "\n    upstream {} {{", upstream_name(&upstream.name));
    let by_address = "$remote_addr".to_owned();
    let hash = |key: &HashKey| match key {
        HashKey::Path => "$uri".to_owned(),
        HashKey::Uri => "$request_uri".to_owned(),
        HashKey::Address => by_address.clone(),
        HashKey::Header(name) => format!("$http_{}", name.to_ascii_lowercase().replace('-', "_")),
        HashKey::Cookie(name) => format!("$cookie_{name}"),
    };
    let mut takes_backup = true;
    let method = match (&upstream.sticky, &upstream.balance) {
        (Some(Sticky::Address), _) | (None, Balance::IpHash) => {
            takes_backup = false;
            Some(if is_tcp { "hash $remote_addr consistent".to_owned() } else { "ip_hash".to_owned() })
        }
        (Some(Sticky::Cookie { name, .. }), _) => {
            lose("sets no cookie for `sticky` (only its commercial version does); the cookie is hashed instead");
            takes_backup = false;
            Some(format!("hash $cookie_{name}$remote_addr consistent"))
        }
        (None, Balance::RoundRobin) => None,
        (None, Balance::LeastConn) => Some("least_conn".into()),
        (None, Balance::RandomTwo) => {
            takes_backup = false;
            Some("random two least_conn".into())
        }
        (None, Balance::Hash(key)) => {
            takes_backup = false;
            Some(format!("hash {} consistent", hash(key)))
        }
        (None, Balance::First) => {
            lose("has no `first`; the servers take turns");
            None
        }
    };
    if let Some(method) = method {
        let _ = writeln!(out, "        {method};");
    }
    if upstream.health_check.is_some() {
        lose("has no active checks (only its commercial version has); `max_fails` stays");
    }
    if upstream.outlier.is_some() {
        lose("has no `outlier`");
    }
    let servers: Vec<_> = upstream.servers.iter().flat_map(|server| apps::servers(server, specs, lost)).collect();
    for server in servers {
        let mut lose = |what: &str| lost.push(format!("server {} of {}: nginx {what}", server.name, upstream.name));
        let address = match &server.address {
            ServerAddress::App(_) => continue,
            address => address.to_string(),
        };
        let _ = write!(out, "        server {address}");
        if server.weight > 1 {
            let _ = write!(out, " weight={}", server.weight);
        }
        if server.max_fails != 1 {
            let _ = write!(out, " max_fails={}", server.max_fails);
        }
        if server.fail_timeout != Duration::from_secs(10) {
            let _ = write!(out, " fail_timeout={}", seconds(server.fail_timeout));
        }
        if let Some(most) = server.maxconn {
            let _ = write!(out, " max_conns={most}");
        }
        match server.backup {
            true if takes_backup => out.push_str(" backup"),
            true => lose("takes no `backup` beside this way of choosing; the server is left down"),
            false => {}
        }
        if server.down || server.weight == 0 || (server.backup && !takes_backup) {
            out.push_str(" down");
        }
        if !server.slow_start.is_zero() {
            lose("has no `slow_start` (only its commercial version has)");
        }
        if server.send_proxy.is_some() && !is_tcp {
            lose("sends no PROXY header over http");
        }
        out.push_str(";\n");
    }
    if !is_tcp {
        let _ = writeln!(out, "        keepalive {};", upstream.keepalive.max(1));
    }
    out.push_str("    }\n");
}

fn listen(out: &mut String, listen: &ListenSpec, words: &str) {
    let words = format!("{words}{}", if listen.proxy_protocol { " proxy_protocol" } else { "" });
    match &listen.address {
        ListenAddress::Tcp(at) => {
            let _ = writeln!(out, "        listen {at}{words};");
        }
        ListenAddress::Any(port) => {
            let _ = writeln!(out, "        listen {port}{words};\n        listen [::]:{port}{words};");
        }
        ListenAddress::Unix(path) => {
            let _ = writeln!(out, "        listen unix:{}{words};", path.display());
        }
    }
}

fn http(out: &mut String, arrangement: &Arrangement, lost: &mut Vec<String>) {
    let balancer = &arrangement.balancer;
    let mut lose = |what: &str| lost.push(format!("balancer {}: nginx {what}", balancer.name));
    if balancer.rate_limit.is_some() {
        lose("limits rates with `limit_req`, which is not written here");
    }
    if balancer.forwarded.forwarded || balancer.request_id.is_some() {
        lose("writes no `Forwarded` and no request id here");
    }
    if balancer.maxconn != 4096 {
        lose("has no `maxconn` of one balancer; `worker_connections` limits all");
    }
    let mut hosts: Vec<Option<&str>> = Vec::new();
    for route in &balancer.routes {
        if !hosts.contains(&route.host.as_deref()) {
            hosts.push(route.host.as_deref());
        }
    }
    // Without a route for every host, other hosts are not found, here as there.
    if !hosts.contains(&None) {
        hosts.push(None);
    }
    for host in hosts {
        let default = if host.is_none() { " default_server" } else { "" };
        out.push_str("\n    server {\n");
        for one in &balancer.listen {
            listen(out, one, default);
        }
        if let Some(tls) = &balancer.tls {
            for one in &tls.listen {
                let http2 = if balancer.http2 { " http2" } else { "" };
                listen(out, one, &format!(" ssl{http2}{default}"));
            }
            let fits = |names: &[String]| host.is_some_and(|host| names.iter().any(|name| name == host));
            let certificate = tls.certificates.iter().find(|one| fits(&one.names)).or(tls.certificates.first());
            if let Some(one) = certificate {
                let (cert, key) = (one.cert.display().to_string(), one.key.display().to_string());
                let _ = writeln!(
                    out,
                    "        ssl_certificate {};\n        ssl_certificate_key {};",
                    quoted(&cert),
                    quoted(&key)
                );
            }
        }
        let _ = writeln!(out, "        server_name {};", host.unwrap_or("_"));
        settings(out, arrangement);
        if balancer.tls.as_ref().is_some_and(|tls| tls.redirect) {
            out.push_str(
                "        if ($scheme = http) {\n            return 308 https://$host$request_uri;\n        }\n",
            );
        }
        // A route for every host is one for this host too, where the host has none of its own for the path.
        let own: Vec<&RouteSpec> = balancer.routes.iter().filter(|route| route.host.as_deref() == host).collect();
        let common =
            balancer.routes.iter().filter(|route| route.host.is_none() && !own.iter().any(|own| covers(own, route)));
        let routes: Vec<&RouteSpec> =
            if host.is_none() { own.clone() } else { own.iter().copied().chain(common).collect() };
        for route in &routes {
            location(out, route, arrangement);
        }
        if !routes.iter().any(|route| route.path == "/" && !route.exact) {
            out.push_str("        location / {\n            return 404;\n        }\n");
        }
        out.push_str("    }\n");
    }
}

/// Returns whether every request for `other` is one for `own`, whose host is the more exact.
fn covers(own: &RouteSpec, other: &RouteSpec) -> bool {
    let below = own.path.trim_end_matches('/');
    let inside = other.path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if own.exact { other.exact && own.path == other.path } else { inside }
}

fn settings(out: &mut String, arrangement: &Arrangement) {
    let balancer = &arrangement.balancer;
    let times = &balancer.timeouts;
    for (name, time) in [
        ("proxy_connect_timeout", times.connect),
        ("proxy_read_timeout", times.server),
        ("proxy_send_timeout", times.server),
        ("client_body_timeout", times.client),
        ("client_header_timeout", times.header),
        ("keepalive_timeout", times.keep_alive),
    ] {
        let _ = writeln!(out, "        {name} {};", seconds(time));
    }
    let _ = writeln!(out, "        client_max_body_size {};", balancer.limits.body.map_or(0, |size| size.0));
    for range in &balancer.trusted_proxies {
        let _ = writeln!(out, "        set_real_ip_from {range};\n        real_ip_header X-Forwarded-For;");
    }
    match &balancer.access_log {
        Some(log) => {
            let _ = writeln!(out, "        access_log {};", quoted(&log.path.display().to_string()));
        }
        None => out.push_str("        access_log off;\n"),
    }
    if let Some(gzip) = &balancer.gzip {
        let types: Vec<&str> = gzip.types.iter().map(String::as_str).filter(|name| *name != "text/html").collect();
        let _ = writeln!(
            out,
            "        gzip on;\n        gzip_min_length {};\n        gzip_comp_level {};",
            gzip.min_length.0, gzip.level
        );
        if !types.is_empty() {
            let _ = writeln!(out, "        gzip_types {};", types.join(" "));
        }
    }
    let tries = arrangement.upstreams.iter().map(|upstream| upstream.retries).max().unwrap_or(0) + 1;
    let _ = writeln!(out, "        proxy_next_upstream_tries {tries};");
}

fn location(out: &mut String, route: &RouteSpec, arrangement: &Arrangement) {
    // Ours ends a prefix at a `/`; nginx takes any text that begins so.
    let bare = route.path.len() > 1 && !route.path.ends_with('/') && !route.exact;
    let paths = if bare {
        vec![format!("= {}", route.path), format!("{}/", route.path)]
    } else if route.exact {
        vec![format!("= {}", route.path)]
    } else {
        vec![route.path.clone()]
    };
    for path in paths {
        let _ = writeln!(out, "        location {path} {{");
        action(out, route, &path, arrangement);
        out.push_str("        }\n");
    }
}

fn action(out: &mut String, route: &RouteSpec, path: &str, arrangement: &Arrangement) {
    let mut line = |text: String| {
        let _ = writeln!(out, "            {text}");
    };
    match &route.action {
        RouteAction::Upstream(name) => {
            let upstream = arrangement.upstreams.iter().find(|upstream| upstream.name == *name);
            let scheme = if upstream.is_some_and(|one| one.protocol == Protocol::H2c) { "grpc" } else { "http" };
            let uri = if route.strip_prefix && route.path != "/" { "/" } else { "" };
            let pass = if scheme == "grpc" { "grpc" } else { "proxy" };
            line(format!("{pass}_pass {scheme}://{}{uri};", upstream_name(name)));
            if pass == "proxy" {
                let host =
                    upstream.and_then(|upstream| upstream.host.as_deref()).map_or("$http_host".to_owned(), quoted);
                line("proxy_http_version 1.1;".into());
                line(format!("proxy_set_header Host {host};"));
                line("proxy_set_header Upgrade $http_upgrade;".into());
                line("proxy_set_header Connection $connection_upgrade;".into());
                if arrangement.balancer.forwarded.x_forwarded {
                    line("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;".into());
                    line("proxy_set_header X-Forwarded-Proto $scheme;".into());
                    line("proxy_set_header X-Forwarded-Host $http_host;".into());
                }
                for name in &route.request_headers.remove {
                    line(format!("proxy_set_header {name} \"\";"));
                }
                for (name, value) in route.request_headers.set.iter().chain(&route.request_headers.add) {
                    line(format!("proxy_set_header {name} {};", quoted(value)));
                }
            }
        }
        RouteAction::Static { root, spa } => {
            let _ = path;
            line(format!("alias {}/;", root.display().to_string().trim_end_matches('/')));
            line("index index.html;".into());
            if *spa {
                line("try_files $uri $uri/ /index.html;".into());
            }
        }
        RouteAction::Redirect { to, status } => {
            let to =
                to.replace("$path$query", "$request_uri").replace("$path", "$uri").replace("$query", "$is_args$args");
            line(format!("return {status} {};", quoted(&to)));
        }
        RouteAction::Respond { status, body } if body.is_empty() => line(format!("return {status};")),
        RouteAction::Respond { status, body } => line(format!("return {status} {};", quoted(body))),
    }
    for name in &route.response_headers.remove {
        line(format!("proxy_hide_header {name};"));
    }
    for (name, value) in route.response_headers.set.iter().chain(&route.response_headers.add) {
        line(format!("add_header {name} {} always;", quoted(value)));
    }
}

fn tcp(out: &mut String, arrangement: &Arrangement) {
    let balancer = &arrangement.balancer;
    out.push_str("\n    server {\n");
    for one in &balancer.listen {
        listen(out, one, "");
    }
    if let Some(name) = arrangement.routed().next() {
        let _ = writeln!(out, "        proxy_pass {};", upstream_name(name));
    }
    let connect = seconds(balancer.timeouts.connect);
    let _ = writeln!(
        out,
        "        proxy_connect_timeout {connect};\n        proxy_timeout {};",
        seconds(balancer.timeouts.tunnel)
    );
    if arrangement.upstreams.iter().flat_map(|upstream| &upstream.servers).any(|server| server.send_proxy.is_some()) {
        out.push_str("        proxy_protocol on;\n");
    }
    out.push_str("    }\n");
}
