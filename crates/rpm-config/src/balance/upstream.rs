//! `upstreams`: servers, and how one is chosen.

use rpm_model::balance::{
    Balance, Check, CheckSpec, HashKey, OutlierSpec, Protocol, ProxyVersion, SameSite, ServerAddress, ServerSpec,
    StatusRange, Sticky, UpstreamSpec,
};
use serde_json::Value;

use super::section::{Section, each, place};
use crate::raw::Setting;
use crate::values;

/// The words for `balance`.
const BALANCES: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("roundrobin", Balance::RoundRobin),
    ("least_conn", Balance::LeastConn),
    ("leastconn", Balance::LeastConn),
    ("ip_hash", Balance::IpHash),
    ("hash", Balance::Hash(HashKey::Uri)),
    ("random_two", Balance::RandomTwo),
    ("first", Balance::First),
];

/// The cookie of `sticky: "cookie"`.
const COOKIE: &str = "RPMSRV";

/// Reads one upstream.
pub(super) fn read(section: &mut Section<'_, '_>) -> UpstreamSpec {
    let usual = UpstreamSpec::default();
    let name = section.text("name").unwrap_or_default();
    if !name.is_empty() {
        section.label = format!("upstream `{}`", name.escape_debug());
    } else if !section.has("name") {
        section.refuse_whole("it has no name", "expected `name`, by which routes call it");
    }
    UpstreamSpec {
        name,
        balance: balance(section),
        sticky: sticky(section),
        health_check: health_check(section),
        outlier: outlier(section),
        servers: servers(section),
        retries: section.number("retries").unwrap_or(usual.retries),
        keepalive: section.number("keepalive").unwrap_or(usual.keepalive),
        keepalive_timeout: section.duration("keepalive_timeout").unwrap_or(usual.keepalive_timeout),
        queue: section.number("queue").unwrap_or(usual.queue),
        timeout_queue: section.duration("timeout_queue").unwrap_or(usual.timeout_queue),
        protocol: section
            .word("protocol", &[("http1", Protocol::Http1), ("h2c", Protocol::H2c)])
            .unwrap_or(usual.protocol),
        host: section.text("host"),
    }
}

/// Reads `balance` and, for `hash`, what it looks at.
pub(super) fn balance(section: &mut Section<'_, '_>) -> Balance {
    let balance = section.word("balance", BALANCES).unwrap_or_default();
    let key =
        section.read("hash_on", "path, uri, address, header:NAME or cookie:NAME", |value| hash_key(value.as_str()?));
    match (balance, key) {
        (Balance::Hash(_), Some(key)) => Balance::Hash(key),
        (other, Some(_)) => {
            if let Some((_, setting)) = section.find("hash_on") {
                section.refuse(&setting, "only `balance: \"hash\"` looks at something");
            }
            other
        }
        (balance, None) => balance,
    }
}

fn hash_key(text: &str) -> Option<HashKey> {
    match text {
        "path" => Some(HashKey::Path),
        "uri" => Some(HashKey::Uri),
        "address" => Some(HashKey::Address),
        _ => {
            let (kind, name) = text.split_once(':')?;
            let name = (!name.is_empty()).then(|| name.to_owned())?;
            match kind {
                "header" => Some(HashKey::Header(name)),
                "cookie" => Some(HashKey::Cookie(name)),
                _ => None,
            }
        }
    }
}

/// Reads `sticky`: `"cookie"`, `"ip"`, or an object that says what the cookie is like.
pub(super) fn sticky(section: &mut Section<'_, '_>) -> Option<Sticky> {
    let (value, setting) = section.find("sticky")?;
    match value {
        Value::Bool(false) => None,
        Value::Bool(true) => Some(Sticky::cookie(COOKIE)),
        Value::String(word) if word == "cookie" => Some(Sticky::cookie(COOKIE)),
        Value::String(word) if word == "ip" || word == "address" => Some(Sticky::Address),
        Value::Object(object) => {
            let label = format!("{}, `sticky`", section.label);
            section.inside(object, place(&setting), label, |cookie| {
                let name = cookie.text("cookie").unwrap_or_else(|| COOKIE.to_owned());
                let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
                if !name.chars().all(token)
                    && let Some((_, setting)) = cookie.find("cookie")
                {
                    cookie.refuse(&setting, "expected the name of a cookie: letters, digits, - and _");
                }
                let ttl = cookie.duration("ttl");
                let secure = cookie.flag("secure").unwrap_or(false);
                let same_site = cookie.word(
                    "same_site",
                    &[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)],
                );
                if same_site == Some(SameSite::None)
                    && !secure
                    && let Some((_, setting)) = cookie.find("same_site")
                {
                    cookie.refuse(&setting, "browsers take it only with `secure: true`");
                }
                Some(Sticky::Cookie {
                    name,
                    ttl,
                    secure,
                    http_only: cookie.flag("http_only").unwrap_or(true),
                    same_site,
                    path: cookie.text("path").unwrap_or_else(|| "/".into()),
                    domain: cookie.text("domain"),
                })
            })
        }
        _ => {
            section.refuse(&setting, "expected \"cookie\", \"ip\" or an object with `cookie`");
            None
        }
    }
}

/// Reads `health_check`.
pub(super) fn health_check(section: &mut Section<'_, '_>) -> Option<CheckSpec> {
    let (object, at) = section.object("health_check", "an object with `path` or `tcp`", true)?;
    let Some(object) = object else { return Some(CheckSpec::default()) };
    let label = format!("{}, `health_check`", section.label);
    section.inside(object, at, label, |check| {
        let usual = CheckSpec::default();
        let path = path(check);
        let tcp = check.flag("tcp").unwrap_or(false);
        let asks = ["method", "host", "status", "body"];
        let given: Vec<_> = asks.into_iter().filter(|key| check.has(key)).collect();
        let what = match path {
            Some(path) => {
                if tcp && let Some((_, setting)) = check.find("tcp") {
                    check.refuse(&setting, "a check asks for `path` or only connects, not both");
                }
                let methods = [("GET", "GET"), ("HEAD", "HEAD"), ("OPTIONS", "OPTIONS")];
                let method = check.word("method", &methods).unwrap_or("GET").to_owned();
                Check::Http {
                    method,
                    path,
                    host: check.text("host"),
                    status: statuses(check),
                    body: check.text("body"),
                }
            }
            None => {
                if let Some(key) = given.first().filter(|_| !check.has("path")) {
                    check.refuse_whole(&format!("`{key}` says how something is asked for"), "expected `path` too");
                }
                for key in asks {
                    check.find(key);
                }
                Check::Tcp
            }
        };
        Some(CheckSpec {
            check: what,
            interval: check.duration("interval").filter(|time| !time.is_zero()).unwrap_or(usual.interval),
            fast_interval: check.duration("fast_interval"),
            down_interval: check.duration("down_interval"),
            timeout: check.duration("timeout").unwrap_or(usual.timeout),
            rise: check.count("rise").unwrap_or(usual.rise),
            fall: check.count("fall").unwrap_or(usual.fall),
            port: port(check),
        })
    })
}

/// Reads `path`.
pub(crate) fn path(section: &mut Section<'_, '_>) -> Option<String> {
    section.read("path", "a path that begins with /", |value| {
        value.as_str().filter(|path| path.starts_with('/') && !path.contains(char::is_whitespace)).map(str::to_owned)
    })
}

pub(crate) fn port(section: &mut Section<'_, '_>) -> Option<u16> {
    section.read("port", "a port, 1 to 65535", |value| {
        values::number(value).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
    })
}

/// Reads `status`: `200`, `"200-299"`, or a list of them.
pub(crate) fn statuses(section: &mut Section<'_, '_>) -> Vec<StatusRange> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (100 <= first && first <= last && last <= 599).then_some(StatusRange { first, last })
    };
    let read = |value: &Value| values::texts(value)?.iter().map(|text| range(text)).collect();
    section
        .read("status", "a status, 100 to 599, a range such as \"200-299\", or a list of them", read)
        .unwrap_or_default()
}

fn outlier(section: &mut Section<'_, '_>) -> Option<OutlierSpec> {
    let (object, at) = section.object("outlier", "true, or an object with `consecutive_5xx`", true)?;
    let usual = OutlierSpec::default();
    let Some(object) = object else { return Some(usual) };
    let label = format!("{}, `outlier`", section.label);
    section.inside(object, at, label, |outlier| {
        Some(OutlierSpec {
            consecutive_5xx: outlier.count("consecutive_5xx").unwrap_or(usual.consecutive_5xx),
            ejection: outlier.duration("ejection").unwrap_or(usual.ejection),
            max_percent: outlier
                .read("max_percent", "0 to 100", |value| {
                    values::number(value).and_then(|number| u8::try_from(number).ok()).filter(|number| *number <= 100)
                })
                .unwrap_or(usual.max_percent),
        })
    })
}

fn servers(section: &mut Section<'_, '_>) -> Vec<ServerSpec> {
    let Some((value, setting)) = section.find("servers") else {
        section.refuse_whole("it has no servers", "expected `servers`, a list");
        return Vec::new();
    };
    let Value::Array(list) = value else {
        section.refuse(&setting, "expected a list of servers");
        return Vec::new();
    };
    if list.is_empty() {
        section.refuse(&setting, "expected at least one server");
    }
    let mut servers: Vec<ServerSpec> = Vec::new();
    for (entry, (_, setting)) in list.iter().zip(each(value, &setting)) {
        let Some(server) = server(section, entry, &setting) else { continue };
        if servers.iter().any(|other| other.name == server.name) {
            let reason = format!("two servers are called {:?}; give one of them a `name`", server.name);
            section.refuse(&setting, &reason);
        }
        servers.push(server);
    }
    if !servers.is_empty() && servers.iter().all(|server| server.backup || server.down) {
        section.refuse(&setting, "every server is `backup` or `down`; expected one that is used");
    }
    servers
}

fn server(section: &mut Section<'_, '_>, entry: &Value, setting: &Setting) -> Option<ServerSpec> {
    let object = match entry {
        Value::Object(object) => object,
        text @ Value::String(_) => return section.parsed::<ServerAddress>(text, setting).map(ServerSpec::at),
        _ => {
            section.refuse(setting, "expected an address, or an object with `address` or `app`");
            return None;
        }
    };
    let label = format!("{}, a server", section.label);
    let mut inner = Section::new(object, place(setting), label, section.report);
    let app = inner.text("app");
    let address: Option<ServerAddress> = inner.parse("address");
    let where_ = match (app, address) {
        (Some(_), Some(_)) => {
            inner.refuse_whole("it has both `app` and `address`", "expected one of them");
            None
        }
        (Some(app), None) => Some(ServerAddress::App(app)),
        (None, Some(address)) => Some(address),
        (None, None) => {
            if !inner.has("app") && !inner.has("address") {
                inner.refuse_whole("it has no address", "expected `address`, or `app`: the name of an app");
            }
            None
        }
    };
    let mut server = ServerSpec::at(where_.clone().unwrap_or(ServerAddress::App(String::new())));
    if let Some(name) = inner.text("name") {
        server.name = name;
    }
    server.weight = inner.number("weight").unwrap_or(server.weight);
    server.max_fails = inner.number("max_fails").unwrap_or(server.max_fails);
    server.fail_timeout = inner.duration("fail_timeout").unwrap_or(server.fail_timeout);
    server.maxconn = inner.count("maxconn");
    server.slow_start = inner.duration("slow_start").unwrap_or(server.slow_start);
    server.backup = inner.flag("backup").unwrap_or(false);
    server.down = inner.flag("down").unwrap_or(false);
    server.send_proxy = inner.word("send_proxy", &[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)]);
    inner.finish();
    where_.map(|_| server)
}
