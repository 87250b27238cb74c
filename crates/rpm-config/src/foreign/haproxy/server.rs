//! `server`, `balance`, `cookie` and checks of a backend.

use std::time::Duration;

use rpm_model::balance::{
    Balance, Check, CheckSpec, HashKey, ProxyVersion, ServerAddress, ServerSpec, StatusRange, Sticky, UpstreamSpec,
};

use super::lines::Line;
use crate::foreign::UNKNOWN;

/// What a backend says about checks, before it is known which servers are checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Checks {
    pub(super) http: Option<Check>,
    pub(super) timeout: Option<Duration>,
}

/// Reads a time: milliseconds, or a number with a unit.
pub(super) fn time(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().ok()?;
    match &text[split..] {
        "us" => Some(Duration::from_micros(number)),
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "d" => Some(Duration::from_secs(number.checked_mul(86_400)?)),
        _ => None,
    }
}

/// Reads `balance`.
pub(super) fn balance(line: &Line) -> Option<Balance> {
    let first = line.word(1);
    let (name, inside) = match first.split_once('(') {
        Some((name, rest)) => (name, rest.trim_end_matches(')')),
        None => (first, line.word(2)),
    };
    match name {
        "roundrobin" | "static-rr" => Some(Balance::RoundRobin),
        "leastconn" => Some(Balance::LeastConn),
        "first" => Some(Balance::First),
        "random" => Some(Balance::RandomTwo),
        "source" => Some(Balance::Hash(HashKey::Address)),
        "uri" if line.words.len() == 2 => Some(Balance::Hash(HashKey::Path)),
        "uri" if line.word(2) == "whole" => Some(Balance::Hash(HashKey::Uri)),
        "hdr" if !inside.is_empty() => Some(Balance::Hash(HashKey::Header(inside.to_owned()))),
        _ => None,
    }
}

/// Reads `cookie NAME insert …`; the words that are not understood come back.
pub(super) fn cookie(line: &Line) -> Option<(Sticky, Vec<String>)> {
    let words: Vec<&str> = line.words.iter().skip(2).map(String::as_str).collect();
    if !words.contains(&"insert") {
        return None;
    }
    let mut sticky = Sticky::cookie(line.word(1));
    let mut lost = Vec::new();
    let mut rest = words.into_iter();
    while let (Some(word), Sticky::Cookie { ttl, secure, http_only, domain, .. }) = (rest.next(), &mut sticky) {
        match word {
            // Ours inserts, and neither shows the cookie to servers nor lets caches keep it.
            "insert" | "indirect" | "nocache" => {}
            "httponly" => *http_only = true,
            "secure" => *secure = true,
            "domain" => *domain = rest.next().map(str::to_owned),
            "maxlife" | "maxidle" => *ttl = rest.next().and_then(seconds),
            other => lost.push(other.to_owned()),
        }
    }
    Some((sticky, lost))
}

/// A cookie's times are in seconds where no unit is given.
fn seconds(text: &str) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(Duration::from_secs(text.parse().ok()?))
    } else {
        time(text)
    }
}

/// Reads `option httpchk [METHOD] [URI] [VERSION]`.
pub(super) fn httpchk(line: &Line) -> Check {
    let words: Vec<&str> = line.words.iter().skip(2).map(String::as_str).collect();
    let (method, path) = match words.as_slice() {
        [] => ("OPTIONS", "/"),
        [path] => ("OPTIONS", *path),
        [method, path, ..] => (*method, *path),
    };
    Check::Http { method: method.to_owned(), path: path.to_owned(), host: None, status: Vec::new(), body: None }
}

/// Reads `http-check …` into a check; returns why it was not.
pub(super) fn http_check(line: &Line, check: &mut Option<Check>) -> Option<&'static str> {
    let check = check.get_or_insert_with(|| Check::Http {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        status: Vec::new(),
        body: None,
    });
    let Check::Http { method, path, host, status, body } = check else { return Some(UNKNOWN) };
    match (line.word(1), line.word(2)) {
        ("expect", "status") => match statuses(line.word(3)) {
            Some(ranges) => {
                *status = ranges;
                None
            }
            None => Some("expected a status, or a range of them"),
        },
        ("expect", "string") => {
            *body = Some(line.word(3).to_owned());
            None
        }
        ("send", _) => {
            let mut words = line.words.iter().skip(2).map(String::as_str);
            while let Some(word) = words.next() {
                let value = words.next().unwrap_or_default().to_owned();
                match word {
                    "meth" => *method = value,
                    "uri" => *path = value,
                    "ver" => {}
                    "hdr" if value.eq_ignore_ascii_case("host") => *host = words.next().map(str::to_owned),
                    _ => return Some("of what a check sends, ours has method, path and Host"),
                }
            }
            None
        }
        ("connect", _) => Some("a check of ours has one connection"),
        _ => Some(UNKNOWN),
    }
}

fn statuses(text: &str) -> Option<Vec<StatusRange>> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(StatusRange { first: first.parse().ok()?, last: last.parse().ok()? })
    };
    text.split(',').map(range).collect()
}

/// Reads `server` (or the words of `default-server`) into a server; what was not understood comes back.
pub(super) fn server(
    words: &[String],
    server: &mut ServerSpec,
    upstream: &mut UpstreamSpec,
    checks: &Checks,
) -> Vec<(String, &'static str)> {
    let mut lost = Vec::new();
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        let mut value = || rest.next().unwrap_or_default();
        match word {
            "check" => {
                checked(upstream, checks);
            }
            "no-check" => {}
            "backup" => server.backup = true,
            "disabled" => server.down = true,
            "enabled" => server.down = false,
            "send-proxy" => server.send_proxy = Some(ProxyVersion::V1),
            "send-proxy-v2" => server.send_proxy = Some(ProxyVersion::V2),
            "weight" => server.weight = value().parse().unwrap_or(server.weight),
            "maxconn" => server.maxconn = value().parse().ok().filter(|most| *most > 0),
            "slowstart" => server.slow_start = time(value()).unwrap_or_default(),
            "inter" => checked(upstream, checks).interval = time(value()).unwrap_or(Duration::from_secs(2)),
            "fastinter" => checked(upstream, checks).fast_interval = time(value()),
            "downinter" => checked(upstream, checks).down_interval = time(value()),
            "rise" => checked(upstream, checks).rise = value().parse().unwrap_or(2),
            "fall" => checked(upstream, checks).fall = value().parse().unwrap_or(3),
            "port" => checked(upstream, checks).port = value().parse().ok(),
            "cookie" => {
                value();
                // Ours finds its own word for each server.
            }
            "id" | "init-addr" | "resolvers" | "sni" | "verify" | "ca-file" | "alpn" | "proto" | "observe"
            | "error-limit" | "on-error" | "on-marked-down" | "on-marked-up" | "maxqueue" | "minconn" | "source"
            | "track" | "agent-check" | "agent-port" | "agent-inter" | "pool-max-conn" | "check-sni" => {
                let given = format!("{word} {}", value());
                lost.push((given, UNKNOWN));
            }
            "ssl" => lost.push((word.to_owned(), "ours speaks plain http to its servers")),
            other => lost.push((other.to_owned(), UNKNOWN)),
        }
    }
    lost
}

/// Returns the checks of an upstream: those of its servers are the same.
fn checked<'u>(upstream: &'u mut UpstreamSpec, checks: &Checks) -> &'u mut CheckSpec {
    upstream.health_check.get_or_insert_with(|| CheckSpec {
        check: checks.http.clone().unwrap_or(Check::Tcp),
        timeout: checks.timeout.unwrap_or(CheckSpec::default().timeout),
        ..CheckSpec::default()
    })
}

/// Reads where a server is.
pub(super) fn address(text: &str) -> Option<ServerAddress> {
    let text = text.strip_prefix("ipv4@").or(text.strip_prefix("ipv6@")).unwrap_or(text);
    match text.strip_prefix("unix@") {
        Some(path) => format!("unix:{path}").parse().ok(),
        None if text.starts_with('/') => format!("unix:{text}").parse().ok(),
        None if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => text.parse().ok(),
        None => None,
    }
}
