//! HAProxy's configuration as upstreams and balancers: a frontend is a balancer, a backend an upstream, `listen` both.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpm_model::balance::{
    BalancerSpec, CertificateSpec, ListenAddress, ListenSpec, Mode, RouteAction, RouteSpec, ServerSpec, TlsSpec,
    UpstreamSpec,
};

use super::lines::{Line, Section, sections};
use super::server::{self, Checks, time};
use crate::diagnostic::{ConfigError, Diagnostic, Source};
use crate::foreign::{Draft, UNKNOWN};

/// Lines of `global` that say how HAProxy itself runs.
const OWN: &[&str] = &[
    "daemon",
    "user",
    "group",
    "chroot",
    "pidfile",
    "log",
    "stats",
    "nbthread",
    "nbproc",
    "cpu-map",
    "ca-base",
    "crt-base",
    "master-worker",
    "uid",
    "gid",
    "ulimit-n",
    "node",
    "description",
    "log-tag",
    "hard-stop-after",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-ciphersuites",
    "ssl-default-bind-options",
    "ssl-default-server-ciphers",
    "ssl-default-server-options",
    "ssl-dh-param-file",
];

/// Everything that is read so far.
struct Reading<'a> {
    source: &'a Arc<Source>,
    draft: &'a mut Draft,
    /// `maxconn` of `global`.
    maxconn: Option<u32>,
}

impl Reading<'_> {
    fn lose(&mut self, line: &Line, what: &str, why: &str) {
        self.draft.lose(self.source, line.span.clone(), what, why);
    }
}

/// What a proxy says, its defaults included.
#[derive(Debug, Clone)]
struct Proxy {
    balancer: BalancerSpec,
    upstream: UpstreamSpec,
    checks: Checks,
    /// Conditions by name.
    acls: BTreeMap<String, Condition>,
    default_backend: Option<String>,
    server_words: Vec<String>,
    /// Whether a limit of its own was given.
    maxconn: Option<u32>,
}

/// What an `acl` asks for, as far as routes can.
#[derive(Debug, Clone)]
enum Condition {
    Hosts(Vec<String>),
    Paths(Vec<(String, bool)>),
}

impl Default for Proxy {
    fn default() -> Self {
        // HAProxy tries a connection three more times, and knows no keep-alive of its own kind.
        Self {
            balancer: BalancerSpec { mode: Mode::Tcp, ..BalancerSpec::default() },
            upstream: UpstreamSpec { retries: 3, ..UpstreamSpec::default() },
            checks: Checks::default(),
            acls: BTreeMap::new(),
            default_backend: None,
            server_words: Vec::new(),
            maxconn: None,
        }
    }
}

/// Reads a file.
pub(in crate::foreign) fn read(source: &Arc<Source>, draft: &mut Draft) -> Result<(), ConfigError> {
    let (stray, sections) = sections(source);
    if let Some(line) = stray.first() {
        let mistake = Diagnostic::mistake(format!("{} is no configuration of HAProxy", source.name));
        let why = "expected `global`, `defaults`, `frontend`, `backend` or `listen` first";
        return Err(mistake.at(source, Some(line.span.clone())).label(why).into());
    }
    let mut reading = Reading { source, draft, maxconn: None };
    let mut defaults = Proxy::default();
    // Backends first: routes name them.
    let mut proxies = Vec::new();
    for section in &sections {
        match section.kind.as_str() {
            "global" => global(section, &mut reading),
            "defaults" => {
                defaults = Proxy::default();
                for line in &section.lines {
                    proxy_line(line, &mut defaults, &section.kind, &mut reading);
                }
            }
            "frontend" | "backend" | "listen" => {
                let mut proxy = defaults.clone();
                // Shorter forms of old: `listen NAME ADDRESS`.
                if section.kind != "backend" && section.head.words.len() > 2 {
                    let line = Line { words: section.head.words[1..].to_vec(), span: section.head.span.clone() };
                    bind(&line, &mut proxy, &mut reading);
                }
                for line in &section.lines {
                    proxy_line(line, &mut proxy, &section.kind, &mut reading);
                }
                proxies.push((section, proxy));
            }
            _ => reading.lose(&section.head, &section.head.shown(), UNKNOWN),
        }
    }
    for (section, proxy) in &proxies {
        if section.kind != "frontend" && !proxy.upstream.servers.is_empty() {
            let upstream = UpstreamSpec { name: section.name.clone(), ..proxy.upstream.clone() };
            reading.draft.upstreams.push(upstream);
        }
    }
    for (section, proxy) in proxies {
        match section.kind.as_str() {
            "backend" => {
                if proxy.upstream.servers.is_empty() {
                    reading.lose(&section.head, &section.head.shown(), "it has no servers");
                }
            }
            _ => balancer(section, proxy, &mut reading),
        }
    }
    // What is said of a backend counts for the balancer that leads there.
    Ok(())
}

fn global(section: &Section, reading: &mut Reading<'_>) {
    for line in &section.lines {
        match line.word(0) {
            "maxconn" => reading.maxconn = line.word(1).parse().ok(),
            name if OWN.contains(&name) || name.starts_with("tune.") => {
                reading.lose(line, &line.shown(), "it says how HAProxy itself runs");
            }
            _ => reading.lose(line, &line.shown(), UNKNOWN),
        }
    }
}

fn balancer(section: &Section, mut proxy: Proxy, reading: &mut Reading<'_>) {
    let has_own = section.kind == "listen" && !proxy.upstream.servers.is_empty();
    let last = proxy.default_backend.take().or(has_own.then(|| section.name.clone()));
    if let Some(name) = last {
        proxy.balancer.routes.push(RouteSpec::to(RouteAction::Upstream(name)));
    }
    proxy.balancer.name = reading.draft.free_name(&section.name);
    if let Some(most) = proxy.maxconn.or(reading.maxconn) {
        proxy.balancer.maxconn = most;
    }
    if proxy.balancer.routes.is_empty() {
        reading.lose(&section.head, &section.head.shown(), "it leads nowhere");
        return;
    }
    if proxy.balancer.listen.is_empty() && proxy.balancer.tls.is_none() {
        reading.lose(&section.head, &section.head.shown(), "it listens nowhere");
        return;
    }
    if proxy.balancer.mode == Mode::Tcp {
        proxy.balancer.routes.truncate(1);
    }
    reading.draft.balancers.push(proxy.balancer);
}

fn proxy_line(line: &Line, proxy: &mut Proxy, kind: &str, reading: &mut Reading<'_>) {
    let words = (line.word(0), line.word(1));
    let lost = match words {
        ("mode", "http") => {
            proxy.balancer.mode = Mode::Http;
            None
        }
        ("mode", "tcp") => {
            proxy.balancer.mode = Mode::Tcp;
            None
        }
        ("bind", _) => {
            bind(line, proxy, reading);
            None
        }
        ("maxconn", number) => {
            proxy.maxconn = number.parse().ok();
            None
        }
        ("timeout", what) => timeout(what, line, proxy),
        ("default_backend", name) => {
            proxy.default_backend = Some(name.to_owned());
            None
        }
        ("use_backend", _) => use_backend(line, proxy),
        ("acl", _) => acl(line, proxy),
        ("redirect" | "http-request", _) => request_rule(line, proxy),
        ("http-response", _) => response_rule(line, proxy),
        ("balance", _) => match server::balance(line) {
            Some(balance) => {
                proxy.upstream.balance = balance;
                None
            }
            None => Some("no way of choosing of ours does this"),
        },
        ("hash-type", "consistent") => None,
        ("cookie", _) => match server::cookie(line) {
            Some((sticky, lost)) => {
                proxy.upstream.sticky = Some(sticky);
                for word in lost {
                    reading.lose(line, &word, UNKNOWN);
                }
                None
            }
            None => Some("ours inserts a cookie of its own"),
        },
        ("retries", number) => match number.parse() {
            Ok(number) => {
                proxy.upstream.retries = number;
                None
            }
            Err(_) => Some("expected a number"),
        },
        ("option", "httpchk") => {
            proxy.checks.http = Some(server::httpchk(line));
            apply_checks(proxy);
            None
        }
        ("option", "tcp-check") if line.words.len() == 2 => None,
        ("http-check", _) => {
            let lost = server::http_check(line, &mut proxy.checks.http);
            apply_checks(proxy);
            lost
        }
        // What ours does by itself.
        (
            "option",
            "forwardfor" | "http-keep-alive" | "redispatch" | "splice-auto" | "splice-request" | "splice-response"
            | "tcpka" | "clitcpka" | "srvtcpka",
        ) => None,
        ("option", "httplog" | "tcplog" | "dontlognull" | "log-health-checks" | "logasap")
        | ("log", _)
        | ("log-format", _) => Some("`access_log` of a balancer names a file"),
        ("server", _) => server_line(line, proxy, reading),
        ("default-server", _) => {
            proxy.server_words.extend(line.words.iter().skip(1).cloned());
            None
        }
        ("stats", _) => Some("`rpm list` and `rpm describe` show the counters"),
        ("errorfile", _) => Some("`error_pages` of a balancer has files by status, without the head of the answer"),
        ("compression", "algo") if line.words.iter().any(|word| word == "gzip") => {
            proxy.balancer.gzip.get_or_insert_default();
            None
        }
        ("compression", "type") => {
            proxy.balancer.gzip.get_or_insert_default().types = line.words.iter().skip(2).cloned().collect();
            None
        }
        _ => Some(UNKNOWN),
    };
    let _ = kind;
    if let Some(why) = lost {
        reading.lose(line, &line.shown(), why);
    }
}

/// Gives checks that were begun what was learned of them since.
fn apply_checks(proxy: &mut Proxy) {
    if let (Some(spec), Some(check)) = (&mut proxy.upstream.health_check, &proxy.checks.http) {
        spec.check = check.clone();
    }
}

fn timeout(what: &str, line: &Line, proxy: &mut Proxy) -> Option<&'static str> {
    let Some(time) = time(line.word(2)) else { return Some("expected a time") };
    let times = &mut proxy.balancer.timeouts;
    match what {
        "connect" => times.connect = time,
        "client" => times.client = time,
        "server" => times.server = time,
        "http-keep-alive" => times.keep_alive = time,
        "http-request" => times.header = time,
        "tunnel" => times.tunnel = time,
        "queue" => proxy.upstream.timeout_queue = time,
        "check" => proxy.checks.timeout = Some(time),
        _ => return Some(UNKNOWN),
    }
    None
}

fn bind(line: &Line, proxy: &mut Proxy, reading: &mut Reading<'_>) {
    let addresses = line.word(1).split(',');
    let mut listens: Vec<ListenSpec> = Vec::new();
    for text in addresses {
        let plain = text.strip_prefix("ipv4@").or(text.strip_prefix("ipv6@")).unwrap_or(text);
        let plain = plain.strip_prefix("unix@").map_or_else(|| plain.to_owned(), |path| format!("unix:{path}"));
        match plain.parse::<ListenAddress>() {
            // `*` is IPv4 for HAProxy.
            Ok(ListenAddress::Any(port)) => {
                let at = ListenAddress::Tcp(([0, 0, 0, 0], port).into());
                listens.push(ListenSpec { address: at, proxy_protocol: false });
            }
            Ok(address) => listens.push(ListenSpec { address, proxy_protocol: false }),
            Err(_) => reading.lose(line, text, "expected an address with a port"),
        }
    }
    let (mut is_tls, mut certificates) = (false, Vec::new());
    let mut words = line.words.iter().skip(2);
    while let Some(word) = words.next() {
        match word.as_str() {
            "ssl" => is_tls = true,
            "crt" => {
                // One file has both.
                let path: std::path::PathBuf = words.next().map(Into::into).unwrap_or_default();
                certificates.push(CertificateSpec { cert: path.clone(), key: path, names: Vec::new() });
            }
            "accept-proxy" => listens.iter_mut().for_each(|listen| listen.proxy_protocol = true),
            "alpn" => {
                words.next();
            }
            "name" => {
                words.next();
            }
            other => reading.lose(line, other, UNKNOWN),
        }
    }
    if is_tls {
        let tls = proxy.balancer.tls.get_or_insert_with(TlsSpec::default);
        tls.listen.extend(listens);
        tls.certificates.extend(certificates);
    } else {
        proxy.balancer.listen.extend(listens);
    }
}

fn server_line(line: &Line, proxy: &mut Proxy, reading: &mut Reading<'_>) -> Option<&'static str> {
    let Some(address) = server::address(line.word(2)) else { return Some("expected an address with a port") };
    let mut server = ServerSpec { name: line.word(1).to_owned(), max_fails: 0, ..ServerSpec::at(address) };
    let words: Vec<String> = proxy.server_words.iter().chain(line.words.iter().skip(3)).cloned().collect();
    for (word, why) in server::server(&words, &mut server, &mut proxy.upstream, &proxy.checks) {
        reading.lose(line, &word, why);
    }
    proxy.upstream.servers.push(server);
    None
}

/// Reads `acl NAME hdr(host) -i example.com` and `acl NAME path_beg /api`.
fn acl(line: &Line, proxy: &mut Proxy) -> Option<&'static str> {
    let values: Vec<String> = line.words.iter().skip(3).filter(|word| !word.starts_with('-')).cloned().collect();
    let dotted = |name: &String| format!("*.{}", name.trim_start_matches('.'));
    let condition = match line.word(2) {
        "hdr(host)" | "req.hdr(host)" | "hdr_dom(host)" => Condition::Hosts(values),
        "hdr_end(host)" => Condition::Hosts(values.iter().map(dotted).collect()),
        "path_beg" => Condition::Paths(values.into_iter().map(|path| (path, false)).collect()),
        "path" => Condition::Paths(values.into_iter().map(|path| (path, true)).collect()),
        _ => return Some("a route of ours looks at host and path"),
    };
    match (proxy.acls.get_mut(line.word(1)), condition) {
        (Some(Condition::Hosts(known)), Condition::Hosts(more)) => known.extend(more),
        (Some(Condition::Paths(known)), Condition::Paths(more)) => known.extend(more),
        (Some(_), _) => return Some("it asks for different things"),
        (None, condition) => {
            proxy.acls.insert(line.word(1).to_owned(), condition);
        }
    }
    None
}

/// Reads `use_backend NAME if ACL [ACL]`.
fn use_backend(line: &Line, proxy: &mut Proxy) -> Option<&'static str> {
    const WHY: &str = "expected `if` and one condition for the host, one for the path, or both";
    if line.word(2) != "if" || line.words.len() < 4 {
        return Some(WHY);
    }
    let (mut hosts, mut paths) = (vec![None], vec![("/".to_owned(), false)]);
    for word in line.words.iter().skip(3) {
        match proxy.acls.get(word) {
            Some(Condition::Hosts(names)) if hosts == [None] => hosts = names.iter().cloned().map(Some).collect(),
            Some(Condition::Paths(found)) if paths == [("/".to_owned(), false)] => paths.clone_from(found),
            _ => return Some(WHY),
        }
    }
    for host in hosts {
        for (path, exact) in &paths {
            proxy.balancer.routes.push(RouteSpec {
                host: host.clone(),
                path: path.clone(),
                exact: *exact,
                ..RouteSpec::to(RouteAction::Upstream(line.word(1).to_owned()))
            });
        }
    }
    None
}

/// Reads `redirect scheme https …`, alone or after `http-request`.
fn request_rule(line: &Line, proxy: &mut Proxy) -> Option<&'static str> {
    let words: Vec<&str> = line.words.iter().map(String::as_str).filter(|word| *word != "http-request").collect();
    match words.as_slice() {
        ["redirect", "scheme", "https", rest @ ..] => {
            let condition =
                rest.iter().skip_while(|word| !matches!(**word, "if" | "unless")).copied().collect::<Vec<_>>();
            let always = condition.is_empty();
            let if_plain = matches!(condition.join(" ").as_str(), "if !{ ssl_fc }" | "unless { ssl_fc }");
            match &mut proxy.balancer.tls {
                Some(tls) if if_plain || always => {
                    tls.redirect = true;
                    None
                }
                None if always || if_plain => {
                    let status =
                        rest.iter().position(|word| *word == "code").and_then(|at| rest.get(at + 1)?.parse().ok());
                    let to = "https://$host$path$query".to_owned();
                    let action = RouteAction::Redirect { to, status: status.unwrap_or(302) };
                    proxy.balancer.routes.push(RouteSpec::to(action));
                    None
                }
                _ => Some("expected no condition, or `if !{ ssl_fc }`"),
            }
        }
        ["set-header", "X-Forwarded-Proto", ..] => None,
        _ => Some(
            "of request rules, ours reads `redirect scheme https`; fields are changed by `request_headers` of a route",
        ),
    }
}

fn response_rule(line: &Line, _proxy: &mut Proxy) -> Option<&'static str> {
    let _ = line;
    Some("fields are changed by `response_headers` of a route")
}
