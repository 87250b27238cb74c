//! Upstreams and balancers as the text of an ecosystem file: what is the default is left out.

use std::time::Duration;

use rpm_model::balance::{
    AccessLogFormat, Balance, BalancerSpec, Check, CheckSpec, HashKey, HeaderEdits, ListenSpec, Mode, Protocol,
    ProxyVersion, RouteAction, RouteSpec, SameSite, ServerAddress, ServerSpec, StatusRange, Sticky, TlsSpec,
    UpstreamSpec,
};
use serde_json::{Map, Value, json};

/// Returns the file.
pub(super) fn file(balancers: &[BalancerSpec], upstreams: &[UpstreamSpec]) -> String {
    let file = json!({
        "upstreams": upstreams.iter().map(upstream).collect::<Vec<_>>(),
        "balancers": balancers.iter().map(balancer).collect::<Vec<_>>(),
    });
    format!("{file:#}\n")
}

/// An object that takes only what is not the default.
struct Object(Map<String, Value>);

impl Object {
    fn put<T: PartialEq>(&mut self, key: &str, value: &T, usual: &T, write: impl FnOnce(&T) -> Value) {
        if value != usual {
            self.0.insert(key.to_owned(), write(value));
        }
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }
}

/// Writes a time as people do.
fn time(time: &Duration) -> Value {
    let ms = time.as_millis();
    let text = match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    };
    text.into()
}

fn upstream(upstream: &UpstreamSpec) -> Value {
    let usual = UpstreamSpec::default();
    let mut out = Object(Map::new());
    out.set("name", upstream.name.as_str());
    match &upstream.balance {
        Balance::RoundRobin => {}
        Balance::LeastConn => out.set("balance", "least_conn"),
        Balance::IpHash => out.set("balance", "ip_hash"),
        Balance::RandomTwo => out.set("balance", "random_two"),
        Balance::First => out.set("balance", "first"),
        Balance::Hash(key) => {
            out.set("balance", "hash");
            out.set(
                "hash_on",
                match key {
                    HashKey::Path => "path".to_owned(),
                    HashKey::Uri => "uri".to_owned(),
                    HashKey::Address => "address".to_owned(),
                    HashKey::Header(name) => format!("header:{name}"),
                    HashKey::Cookie(name) => format!("cookie:{name}"),
                },
            );
        }
    }
    if let Some(sticky) = &upstream.sticky {
        out.set("sticky", self::sticky(sticky));
    }
    if let Some(check) = &upstream.health_check {
        out.set("health_check", self::check(check));
    }
    out.set("servers", upstream.servers.iter().map(server).collect::<Vec<_>>());
    out.put("retries", &upstream.retries, &usual.retries, |n| json!(n));
    out.put("keepalive", &upstream.keepalive, &usual.keepalive, |n| json!(n));
    out.put("keepalive_timeout", &upstream.keepalive_timeout, &usual.keepalive_timeout, time);
    out.put("queue", &upstream.queue, &usual.queue, |n| json!(n));
    out.put("timeout_queue", &upstream.timeout_queue, &usual.timeout_queue, time);
    out.put("protocol", &upstream.protocol, &usual.protocol, |protocol| match protocol {
        Protocol::Http1 => "http1".into(),
        Protocol::H2c => "h2c".into(),
    });
    out.put("host", &upstream.host, &None, |host| json!(host));
    Value::Object(out.0)
}

fn server(server: &ServerSpec) -> Value {
    let usual = ServerSpec::at(server.address.clone());
    let mut out = Object(Map::new());
    match &server.address {
        ServerAddress::App(app) => out.set("app", app.as_str()),
        address => out.set("address", address.to_string()),
    }
    out.put("name", &server.name, &usual.name, |name| json!(name));
    out.put("weight", &server.weight, &usual.weight, |n| json!(n));
    out.put("max_fails", &server.max_fails, &usual.max_fails, |n| json!(n));
    out.put("fail_timeout", &server.fail_timeout, &usual.fail_timeout, time);
    out.put("maxconn", &server.maxconn, &None, |n| json!(n));
    out.put("slow_start", &server.slow_start, &usual.slow_start, time);
    out.put("backup", &server.backup, &false, |flag| json!(flag));
    out.put("down", &server.down, &false, |flag| json!(flag));
    out.put("send_proxy", &server.send_proxy, &None, |version| match version {
        Some(ProxyVersion::V2) => "v2".into(),
        Some(ProxyVersion::V1) | None => "v1".into(),
    });
    Value::Object(out.0)
}

fn sticky(sticky: &Sticky) -> Value {
    let Sticky::Cookie { name, ttl, secure, http_only, same_site, path, domain } = sticky else { return "ip".into() };
    let mut out = Object(Map::new());
    out.set("cookie", name.as_str());
    out.put("ttl", ttl, &None, |ttl| ttl.as_ref().map_or(Value::Null, time));
    out.put("secure", secure, &false, |flag| json!(flag));
    out.put("http_only", http_only, &true, |flag| json!(flag));
    out.put("same_site", same_site, &None, |site| match site {
        Some(SameSite::Strict) => "strict".into(),
        Some(SameSite::Lax) => "lax".into(),
        Some(SameSite::None) | None => "none".into(),
    });
    out.put("path", path, &"/".to_owned(), |path| json!(path));
    out.put("domain", domain, &None, |domain| json!(domain));
    Value::Object(out.0)
}

fn check(check: &CheckSpec) -> Value {
    let usual = CheckSpec::default();
    let mut out = Object(Map::new());
    match &check.check {
        Check::Tcp => out.set("tcp", true),
        Check::Http { method, path, host, status, body } => {
            out.set("path", path.as_str());
            out.put("method", method, &"GET".to_owned(), |method| json!(method));
            out.put("host", host, &None, |host| json!(host));
            let range = |range: &StatusRange| match range.first == range.last {
                true => json!(range.first),
                false => json!(format!("{}-{}", range.first, range.last)),
            };
            out.put("status", status, &Vec::new(), |status| status.iter().map(range).collect());
            out.put("body", body, &None, |body| json!(body));
        }
    }
    out.put("interval", &check.interval, &usual.interval, time);
    out.put("fast_interval", &check.fast_interval, &None, |at| at.as_ref().map_or(Value::Null, time));
    out.put("down_interval", &check.down_interval, &None, |at| at.as_ref().map_or(Value::Null, time));
    out.put("timeout", &check.timeout, &usual.timeout, time);
    out.put("rise", &check.rise, &usual.rise, |n| json!(n));
    out.put("fall", &check.fall, &usual.fall, |n| json!(n));
    out.put("port", &check.port, &None, |port| json!(port));
    Value::Object(out.0)
}

fn listen(listen: &[ListenSpec]) -> Value {
    let one = |listen: &ListenSpec| match listen.proxy_protocol {
        false => json!(listen.address.to_string()),
        true => json!({ "address": listen.address.to_string(), "proxy_protocol": true }),
    };
    listen.iter().map(one).collect()
}

fn balancer(balancer: &BalancerSpec) -> Value {
    let usual = BalancerSpec::default();
    let mut out = Object(Map::new());
    out.set("name", balancer.name.as_str());
    out.put("mode", &balancer.mode, &Mode::Http, |_| "tcp".into());
    if !balancer.listen.is_empty() {
        out.set("listen", listen(&balancer.listen));
    }
    if let Some(tls) = &balancer.tls {
        out.set("tls", self::tls(tls));
    }
    out.put("maxconn", &balancer.maxconn, &usual.maxconn, |n| json!(n));
    let (times, plain) = (&balancer.timeouts, &usual.timeouts);
    for (key, value, usual) in [
        ("timeout_connect", times.connect, plain.connect),
        ("timeout_client", times.client, plain.client),
        ("timeout_server", times.server, plain.server),
        ("timeout_keep_alive", times.keep_alive, plain.keep_alive),
        ("timeout_header", times.header, plain.header),
        ("timeout_tunnel", times.tunnel, plain.tunnel),
    ] {
        out.put(key, &value, &usual, time);
    }
    out.put("max_header", &balancer.limits.header, &usual.limits.header, |size| json!(size.0));
    out.put("max_headers", &balancer.limits.header_count, &usual.limits.header_count, |n| json!(n));
    out.put("max_body", &balancer.limits.body, &None, |size| json!(size.map(|size| size.0)));
    if let Some(limit) = balancer.rate_limit {
        out.set("rate_limit", json!({ "rate": limit.rate, "burst": limit.burst }));
    }
    let trusted: Vec<String> = balancer.trusted_proxies.iter().map(ToString::to_string).collect();
    out.put("trusted_proxies", &trusted, &Vec::new(), |list| json!(list));
    out.put("x_forwarded", &balancer.forwarded.x_forwarded, &true, |flag| json!(flag));
    out.put("forwarded", &balancer.forwarded.forwarded, &false, |flag| json!(flag));
    out.put("request_id", &balancer.request_id, &None, |name| json!(name));
    if let Some(gzip) = &balancer.gzip {
        let level = gzip.level;
        out.set("gzip", json!({ "types": gzip.types, "min_length": gzip.min_length.0, "level": level }));
    }
    let pages: Map<String, Value> =
        balancer.error_pages.iter().map(|(status, path)| (status.to_string(), json!(path))).collect();
    out.put("error_pages", &pages, &Map::new(), |pages| Value::Object(pages.clone()));
    if let Some(log) = &balancer.access_log {
        out.set(
            "access_log",
            match log.format {
                AccessLogFormat::Combined => json!(log.path),
                AccessLogFormat::Json => json!({ "path": log.path, "format": "json" }),
            },
        );
    }
    out.put("http2", &balancer.http2, &true, |flag| json!(flag));
    match balancer.routes.as_slice() {
        [only] if *only == RouteSpec::to(only.action.clone()) && matches!(only.action, RouteAction::Upstream(_)) => {
            if let RouteAction::Upstream(name) = &only.action {
                out.set("upstream", name.as_str());
            }
        }
        routes => out.set("routes", routes.iter().map(route).collect::<Vec<_>>()),
    }
    Value::Object(out.0)
}

fn tls(tls: &TlsSpec) -> Value {
    let mut out = Object(Map::new());
    out.set("listen", listen(&tls.listen));
    match tls.certificates.as_slice() {
        [one] if one.names.is_empty() => {
            out.set("cert", json!(one.cert));
            out.set("key", json!(one.key));
        }
        several => {
            let one = |one: &rpm_model::balance::CertificateSpec| {
                let mut out = Object(Map::new());
                out.set("cert", json!(one.cert));
                out.set("key", json!(one.key));
                out.put("names", &one.names, &Vec::new(), |names| json!(names));
                Value::Object(out.0)
            };
            out.set("certificates", several.iter().map(one).collect::<Vec<_>>());
        }
    }
    out.put("redirect", &tls.redirect, &false, |flag| json!(flag));
    Value::Object(out.0)
}

fn route(route: &RouteSpec) -> Value {
    let mut out = Object(Map::new());
    out.put("host", &route.host, &None, |host| json!(host));
    out.put("path", &route.path, &"/".to_owned(), |path| json!(path));
    out.put("exact", &route.exact, &false, |flag| json!(flag));
    match &route.action {
        RouteAction::Upstream(name) => out.set("upstream", name.as_str()),
        RouteAction::Static { root, spa: false } => out.set("static", json!(root)),
        RouteAction::Static { root, spa } => out.set("static", json!({ "root": root, "spa": spa })),
        RouteAction::Redirect { to, status } => out.set("redirect", json!({ "to": to, "status": status })),
        RouteAction::Respond { status, body } => out.set("respond", json!({ "status": status, "body": body })),
    }
    out.put("strip_prefix", &route.strip_prefix, &false, |flag| json!(flag));
    out.put("request_headers", &route.request_headers, &HeaderEdits::default(), edits);
    out.put("response_headers", &route.response_headers, &HeaderEdits::default(), edits);
    Value::Object(out.0)
}

fn edits(edits: &HeaderEdits) -> Value {
    let fields = |fields: &Vec<(String, String)>| {
        Value::Object(fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
    };
    let mut out = Object(Map::new());
    out.put("remove", &edits.remove, &Vec::new(), |names| json!(names));
    out.put("set", &edits.set, &Vec::new(), fields);
    out.put("add", &edits.add, &Vec::new(), fields);
    Value::Object(out.0)
}
