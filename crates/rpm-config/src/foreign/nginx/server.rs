//! `server` and `location` of nginx.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rpm_model::Bytes;
use rpm_model::balance::{
    AccessLog, AccessLogFormat, BalancerSpec, CertificateSpec, Gzip, HeaderEdits, ListenAddress, ListenSpec,
    RouteAction, RouteSpec, ServerAddress, ServerSpec, UpstreamSpec,
};

use super::syntax::Directive;
use super::upstream::{address, time};
use crate::diagnostic::Source;
use crate::foreign::{Draft, UNKNOWN};

/// One `server`, read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) listen: Vec<ListenSpec>,
    pub(super) tls_listen: Vec<ListenSpec>,
    pub(super) certificate: Option<CertificateSpec>,
    pub(super) hosts: Vec<String>,
    pub(super) is_default: bool,
    pub(super) routes: Vec<RouteSpec>,
    pub(super) settings: BalancerSpec,
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
}

impl Block {
    pub(super) fn new(directive: &Directive, settings: BalancerSpec) -> Self {
        Self {
            listen: Vec::new(),
            tls_listen: Vec::new(),
            certificate: None,
            hosts: Vec::new(),
            is_default: false,
            routes: Vec::new(),
            settings,
            source: directive.source.clone(),
            span: directive.span.clone(),
        }
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.listen.iter().chain(&self.tls_listen).map(|listen| &listen.address)
    }
}

/// What is inherited by locations.
#[derive(Debug, Clone, Default)]
struct Here {
    root: Option<String>,
    request: HeaderEdits,
    response: HeaderEdits,
    /// The Host that servers see, where that is said: `Some(None)` for the client's.
    host: Option<Option<String>>,
}

/// Reads what stands beside the `server` blocks: settings for all of them.
pub(super) fn settings(directives: &[Directive], base: &Path, draft: &mut Draft) -> BalancerSpec {
    let mut spec = BalancerSpec::default();
    for directive in directives {
        if let Some(why) = setting(directive, &mut spec, base).unwrap_or(Some(UNKNOWN)) {
            draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
        }
    }
    spec
}

/// Reads a `server` block.
pub(super) fn read(block: &Directive, inherited: BalancerSpec, base: &Path, draft: &mut Draft) -> Block {
    let mut read = Block::new(block, inherited);
    let (mut cert, mut key) = (None, None);
    let (mut here, mut locations, mut answer) = (Here::default(), Vec::new(), None);
    for directive in block.inside() {
        let file = || Some(base.join(directive.arg(0)));
        let lost = match directive.name.as_str() {
            "listen" => {
                listen(directive, &mut read, draft);
                None
            }
            "server_name" => {
                for name in &directive.args {
                    host(name, directive, &mut read, draft);
                }
                None
            }
            "ssl_certificate" => {
                cert = file();
                None
            }
            "ssl_certificate_key" => {
                key = file();
                None
            }
            "location" => {
                locations.push(directive);
                None
            }
            "return" => {
                answer = returned(directive);
                answer.is_none().then_some("of variables, ours knows $scheme, $host, $request_uri, $uri and $args")
            }
            "rewrite" | "if" => Some("conditions and rewriting are not read here; write a route"),
            _ => match inherited_by_locations(directive, &mut here, base) {
                Some(lost) => lost,
                None => setting(directive, &mut read.settings, base).unwrap_or(Some(UNKNOWN)),
            },
        };
        if let Some(why) = lost {
            draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
        }
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        read.certificate = Some(CertificateSpec { cert, key, names: Vec::new() });
    }
    if read.listen.is_empty() && read.tls_listen.is_empty() {
        read.listen.push(ListenSpec { address: ListenAddress::Tcp(([0, 0, 0, 0], 80).into()), proxy_protocol: false });
    }
    if let Some(action) = answer {
        // It answers before any location is looked at.
        read.routes.push(RouteSpec::to(action));
        for location in locations {
            draft.lose(
                &location.source,
                location.span.clone(),
                &location.shown(),
                "`return` of the server comes first",
            );
        }
        return read;
    }
    for directive in locations {
        location(directive, &here, &mut read, base, draft);
    }
    let has_root = read.routes.iter().any(|route| route.path == "/" && !route.exact);
    if !has_root && let Some(root) = &here.root {
        read.routes.push(RouteSpec {
            response_headers: here.response.clone(),
            ..RouteSpec::to(RouteAction::Static { root: base.join(root), spa: false })
        });
    }
    if read.routes.is_empty() {
        draft.lose(
            &read.source.clone(),
            read.span.clone(),
            "server",
            "it leads nowhere: no location of it was taken over",
        );
        read.routes.push(RouteSpec::to(RouteAction::Respond { status: 404, body: String::new() }));
    }
    read
}

/// Reads `listen`.
pub(super) fn listen(directive: &Directive, read: &mut Block, draft: &mut Draft) {
    let text = directive.arg(0);
    let address = match text.parse::<std::net::IpAddr>() {
        Ok(ip) => Ok(ListenAddress::Tcp((ip, 80).into())),
        // In nginx a bare port is IPv4 only; taking IPv6 too is what is usually meant by it.
        Err(_) => text.parse(),
    };
    let Ok(address) = address else {
        return draft.lose(
            &directive.source,
            directive.span.clone(),
            &directive.shown(),
            "expected an address, a port or unix:/PATH",
        );
    };
    let mut listen = ListenSpec { address, proxy_protocol: false };
    let mut is_tls = false;
    for word in directive.args.iter().skip(1) {
        let why = match word.split('=').next().unwrap_or_default() {
            "ssl" => {
                is_tls = true;
                continue;
            }
            "proxy_protocol" => {
                listen.proxy_protocol = true;
                continue;
            }
            "default_server" | "default" => {
                read.is_default = true;
                continue;
            }
            // Ours shares ports and speaks HTTP/2 without being told.
            "http2" | "reuseport" => continue,
            "backlog" | "rcvbuf" | "sndbuf" | "so_keepalive" | "fastopen" | "deferred" | "ipv6only" | "bind" => {
                "how sockets are set up is not read here"
            }
            _ => UNKNOWN,
        };
        draft.lose(&directive.source, directive.span.clone(), word, why);
    }
    if is_tls { read.tls_listen.push(listen) } else { read.listen.push(listen) }
}

fn host(name: &str, directive: &Directive, read: &mut Block, draft: &mut Draft) {
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match name {
        // Names that match nothing: the usual mark of a default server.
        "_" | "" | "localhost" if name != "localhost" => {}
        _ if name.strip_prefix('.').is_some_and(plain) => {
            read.hosts.extend([name[1..].to_owned(), format!("*{name}")]);
        }
        _ if plain(name.strip_prefix("*.").unwrap_or(name)) => read.hosts.push(name.to_ascii_lowercase()),
        _ => {
            draft.lose(&directive.source, directive.span.clone(), name, "expected a name, or one that begins with `*.`")
        }
    }
}

/// Reads a setting that counts for a whole balancer; `None` when it is not one.
fn setting(directive: &Directive, spec: &mut BalancerSpec, base: &Path) -> Option<Option<&'static str>> {
    let arg = directive.arg(0);
    let times = &mut spec.timeouts;
    let mut timed = |field: fn(&mut rpm_model::balance::Timeouts) -> &mut std::time::Duration| match time(arg) {
        Some(time) => {
            *field(times) = time;
            None
        }
        None => Some("expected a time"),
    };
    Some(match directive.name.as_str() {
        "proxy_connect_timeout" => timed(|times| &mut times.connect),
        "proxy_read_timeout" | "proxy_send_timeout" => timed(|times| &mut times.server),
        "client_body_timeout" | "send_timeout" => timed(|times| &mut times.client),
        "client_header_timeout" => timed(|times| &mut times.header),
        "keepalive_timeout" => timed(|times| &mut times.keep_alive),
        "client_max_body_size" => match size(arg) {
            Some(0) => {
                spec.limits.body = None;
                None
            }
            Some(size) => {
                spec.limits.body = Some(Bytes(size));
                None
            }
            None => Some("expected a size"),
        },
        "access_log" if arg == "off" => {
            spec.access_log = None;
            None
        }
        "access_log" if !arg.contains(['$', ':']) => {
            let format =
                if directive.arg(1).contains("json") { AccessLogFormat::Json } else { AccessLogFormat::Combined };
            spec.access_log = Some(AccessLog { path: base.join(arg), format });
            let rest = directive.args.len() > 2;
            rest.then_some("of its arguments, only the file and the format were taken over")
        }
        "gzip" => {
            spec.gzip = (arg == "on").then(|| spec.gzip.clone().unwrap_or_default());
            None
        }
        "gzip_types" | "gzip_min_length" | "gzip_comp_level" => {
            let gzip = spec.gzip.get_or_insert_with(Gzip::default);
            match directive.name.as_str() {
                "gzip_types" => gzip.types = directive.args.clone(),
                "gzip_min_length" => gzip.min_length = Bytes(size(arg).unwrap_or(gzip.min_length.0)),
                _ => gzip.level = arg.parse().unwrap_or(gzip.level),
            }
            None
        }
        "set_real_ip_from" => match arg.parse() {
            Ok(range) => {
                spec.trusted_proxies.push(range);
                None
            }
            Err(_) => Some("expected an address or a range"),
        },
        // They say what ours does by itself.
        "proxy_buffering" if arg == "off" => None,
        "proxy_http_version" if arg == "1.1" => None,
        "proxy_cache_bypass" => None,
        "real_ip_header" if arg.eq_ignore_ascii_case("x-forwarded-for") => None,
        "error_page" => Some("`error_pages` of a balancer has files by status"),
        _ => return None,
    })
}

/// Reads what a location has from its server; `None` when it is something else.
fn inherited_by_locations(directive: &Directive, here: &mut Here, base: &Path) -> Option<Option<&'static str>> {
    let _ = base;
    Some(match directive.name.as_str() {
        "root" if !directive.arg(0).contains('$') => {
            here.root = Some(directive.arg(0).to_owned());
            None
        }
        "index" => directive.args.iter().all(|name| !name.starts_with("index.htm")).then_some("ours serves index.html"),
        "proxy_set_header" => request_header(directive.arg(0), directive.arg(1), here),
        "add_header" if !directive.arg(1).contains('$') => {
            here.response.add.push((directive.arg(0).to_owned(), directive.arg(1).to_owned()));
            None
        }
        "proxy_hide_header" => {
            here.response.remove.push(directive.arg(0).to_owned());
            None
        }
        _ => return None,
    })
}

/// Reads `proxy_set_header`: what ours does by itself needs no words.
fn request_header(name: &str, value: &str, here: &mut Here) -> Option<&'static str> {
    match (name.to_ascii_lowercase().as_str(), value) {
        ("host", "$host" | "$http_host") => {
            here.host = Some(None);
            None
        }
        ("host", value) if !value.contains('$') => {
            here.host = Some(Some(value.to_owned()));
            None
        }
        ("upgrade", "$http_upgrade") | ("connection", "upgrade" | "Upgrade" | "$connection_upgrade" | "") => None,
        ("x-forwarded-for", "$proxy_add_x_forwarded_for" | "$remote_addr")
        | ("x-forwarded-proto", "$scheme")
        | ("x-forwarded-host", "$host" | "$http_host" | "$server_name") => None,
        ("x-real-ip", "$remote_addr") => Some("the client's address is in X-Forwarded-For"),
        (_, "") => {
            here.request.remove.push(name.to_owned());
            None
        }
        (_, value) if !value.contains('$') => {
            here.request.set.push((name.to_owned(), value.to_owned()));
            None
        }
        _ => Some("variables in header fields are not read here"),
    }
}

/// Reads a `location`.
fn location(block: &Directive, outer: &Here, read: &mut Block, base: &Path, draft: &mut Draft) {
    let (modifier, path) = match block.args.as_slice() {
        [path] => ("", path.as_str()),
        [modifier, path] => (modifier.as_str(), path.as_str()),
        _ => ("?", ""),
    };
    if !matches!(modifier, "" | "=" | "^~") || !path.starts_with('/') {
        let why = "regular expressions and named locations are not read here";
        return draft.lose(&block.source, block.span.clone(), &block.shown(), why);
    }
    let mut here = outer.clone();
    let mut own = Here::default();
    let (mut action, mut strip_prefix, mut spa, mut passed_to) = (None, false, false, None);
    for directive in block.inside() {
        let lost = match directive.name.as_str() {
            "proxy_pass" => match pass(directive.arg(0), path, draft) {
                Ok((name, strip)) => {
                    passed_to = Some(proxy_host(directive.arg(0)));
                    action = Some(RouteAction::Upstream(name));
                    strip_prefix = strip;
                    None
                }
                Err(why) => Some(why),
            },
            "return" => {
                action = returned(directive);
                action.is_none().then_some("of variables, ours knows $scheme, $host, $request_uri, $uri and $args")
            }
            "alias" if !directive.arg(0).contains('$') => {
                action = Some(RouteAction::Static { root: base.join(directive.arg(0)), spa: false });
                None
            }
            "root" if !directive.arg(0).contains('$') => {
                // nginx puts the whole path below the directory, ours what is left of it.
                let root = base.join(directive.arg(0)).join(path.trim_matches('/'));
                action = Some(RouteAction::Static { root, spa: false });
                None
            }
            "try_files" => {
                let last = directive.args.last().map_or("", String::as_str);
                match last {
                    "/index.html" => {
                        spa = true;
                        None
                    }
                    "=404" => None,
                    _ => Some("expected what ends with /index.html or =404"),
                }
            }
            "location" => Some("a location within a location is not read here; write a route of its own"),
            "if" | "rewrite" => Some("conditions and rewriting are not read here; write a route"),
            _ => match inherited_by_locations(directive, &mut own, base) {
                Some(lost) => lost,
                None => {
                    let before = read.settings.clone();
                    let lost = setting(directive, &mut read.settings, base).unwrap_or(Some(UNKNOWN));
                    if lost.is_none() && read.settings != before {
                        let why = "taken over for the whole balancer: a location has no settings of its own";
                        draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
                    }
                    lost
                }
            },
        };
        if let Some(why) = lost {
            draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
        }
    }
    // As in nginx: one field of its own, and none is inherited.
    if !own.request.is_empty() || own.host.is_some() {
        (here.request, here.host) = (own.request, own.host);
    }
    if !own.response.is_empty() {
        here.response = own.response;
    }
    let files = here
        .root
        .as_ref()
        .map(|root| RouteAction::Static { root: base.join(root).join(path.trim_matches('/')), spa: false });
    let Some(mut action) = action.or(files) else {
        return draft.lose(&block.source, block.span.clone(), &block.shown(), "it leads nowhere");
    };
    if let RouteAction::Static { spa: wanted, .. } = &mut action {
        *wanted = spa;
    }
    if let RouteAction::Upstream(name) = &action
        && let Some(upstream) = draft.upstreams.iter_mut().find(|upstream| upstream.name == *name)
    {
        // Where nothing is said, nginx's servers see what proxy_pass names, not what the client asked for.
        upstream.host = here.host.clone().unwrap_or(passed_to);
    }
    read.routes.push(RouteSpec {
        host: None,
        path: path.to_owned(),
        exact: modifier == "=",
        action,
        strip_prefix,
        request_headers: here.request,
        response_headers: here.response,
    });
}

/// Returns nginx's `$proxy_host`: what servers see as their Host where nothing else is said.
fn proxy_host(target: &str) -> String {
    let rest = target.strip_prefix("http://").unwrap_or(target);
    match rest.starts_with("unix:") {
        true => "localhost".to_owned(),
        false => {
            let authority = rest.split('/').next().unwrap_or_default();
            authority.strip_suffix(":80").unwrap_or(authority).to_owned()
        }
    }
}

/// Reads where `proxy_pass` leads: an upstream, and whether the location's path is cut off.
fn pass(target: &str, path: &str, draft: &mut Draft) -> Result<(String, bool), &'static str> {
    let Some(rest) = target.strip_prefix("http://") else { return Err("ours speaks http to its servers") };
    let (server, uri) = match rest.strip_prefix("unix:") {
        Some(file) => {
            (format!("unix:{}", file.split(':').next().unwrap_or_default()), file.split_once(':').map(|it| it.1))
        }
        None => match rest.find('/') {
            Some(at) => (rest[..at].to_owned(), Some(&rest[at..])),
            None => (rest.to_owned(), None),
        },
    };
    let strip = match uri.filter(|uri| !uri.is_empty()) {
        None => false,
        Some(uri) if uri == path => false,
        Some("/") if path.ends_with('/') => true,
        Some(_) => return Err("the path can be passed on as it is, or without the location's part"),
    };
    let name = upstream_of(&server, draft).ok_or("expected an upstream or an address")?;
    Ok((name, strip))
}

/// Returns the upstream of this name, or one made for the address.
pub(super) fn upstream_of(server: &str, draft: &mut Draft) -> Option<String> {
    if draft.upstreams.iter().any(|upstream| upstream.name == server) {
        return Some(server.to_owned());
    }
    let address: ServerAddress = address(server)?;
    let name = address.to_string().trim_start_matches("unix:").replace(['/', '[', ']'], "");
    if !draft.upstreams.iter().any(|upstream| upstream.name == name) {
        draft.upstreams.push(UpstreamSpec {
            name: name.clone(),
            servers: vec![ServerSpec::at(address)],
            ..UpstreamSpec::default()
        });
    }
    Some(name)
}

/// Reads `return`.
fn returned(directive: &Directive) -> Option<RouteAction> {
    let (first, second) = (directive.arg(0), directive.arg(1));
    let target = |text: &str| {
        let text =
            text.replace("$request_uri", "$path$query").replace("$uri", "$path").replace("$is_args$args", "$query");
        let known = ["$scheme", "$host", "$path", "$query"];
        let rest = known.iter().fold(text.clone(), |rest, name| rest.replace(name, ""));
        (!rest.contains('$')).then_some(text)
    };
    match first.parse::<u16>() {
        Ok(status @ (301 | 302 | 303 | 307 | 308)) => Some(RouteAction::Redirect { to: target(second)?, status }),
        Ok(status) if (200..600).contains(&status) && !second.contains('$') => {
            Some(RouteAction::Respond { status, body: second.to_owned() })
        }
        Ok(_) => None,
        Err(_) => Some(RouteAction::Redirect { to: target(first)?, status: 302 }),
    }
}

/// Reads a size: bytes, `8k`, `1m`, `1g`.
fn size(text: &str) -> Option<u64> {
    let (number, scale) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}
