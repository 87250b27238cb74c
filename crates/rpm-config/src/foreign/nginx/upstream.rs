//! `upstream` of nginx.

use std::time::Duration;

use rpm_model::balance::{Balance, HashKey, ServerAddress, ServerSpec, UpstreamSpec};

use super::syntax::Directive;
use crate::foreign::{Draft, UNKNOWN};

/// Reads an `upstream` block.
pub(super) fn read(block: &Directive, draft: &mut Draft) -> UpstreamSpec {
    let mut upstream = UpstreamSpec { name: block.arg(0).to_owned(), ..UpstreamSpec::default() };
    for directive in block.inside() {
        let lost = match directive.name.as_str() {
            "server" => server(directive, &mut upstream, draft),
            "least_conn" => set(&mut upstream.balance, Balance::LeastConn),
            "ip_hash" => set(&mut upstream.balance, Balance::IpHash),
            "random" => set(&mut upstream.balance, Balance::RandomTwo),
            "hash" => match hash_key(directive.arg(0)) {
                Some(key) => set(&mut upstream.balance, Balance::Hash(key)),
                None => Some(
                    "of what may be hashed, ours knows one variable: $request_uri, $uri, $remote_addr, $http_… or $cookie_…",
                ),
            },
            "keepalive" => match directive.arg(0).parse() {
                Ok(number) => set(&mut upstream.keepalive, number),
                Err(_) => Some("expected a number"),
            },
            "keepalive_timeout" => match time(directive.arg(0)) {
                Some(time) => set(&mut upstream.keepalive_timeout, time),
                None => Some("expected a time"),
            },
            "zone" => Some("the counters of servers are shared by all threads anyway"),
            _ => Some(UNKNOWN),
        };
        if let Some(why) = lost {
            draft.lose(&directive.source, directive.span.clone(), &directive.shown(), why);
        }
    }
    // nginx tries every server once.
    upstream.retries = u32::try_from(upstream.servers.len()).unwrap_or(u32::MAX).saturating_sub(1).max(1);
    upstream
}

fn set<T>(field: &mut T, value: T) -> Option<&'static str> {
    *field = value;
    None
}

fn hash_key(text: &str) -> Option<HashKey> {
    let name = text.trim_start_matches('$').trim_matches(['{', '}']);
    match name {
        _ if !text.starts_with('$') || name.contains('$') => None,
        "request_uri" => Some(HashKey::Uri),
        "uri" | "document_uri" => Some(HashKey::Path),
        "remote_addr" | "binary_remote_addr" => Some(HashKey::Address),
        _ => {
            let header = name.strip_prefix("http_").map(|name| HashKey::Header(name.replace('_', "-")));
            header.or_else(|| name.strip_prefix("cookie_").map(|name| HashKey::Cookie(name.to_owned())))
        }
    }
}

/// Reads `server` of an upstream.
fn server(directive: &Directive, upstream: &mut UpstreamSpec, draft: &mut Draft) -> Option<&'static str> {
    let Some(address) = address(directive.arg(0)) else { return Some("expected an address, a name or unix:/PATH") };
    let mut server = ServerSpec::at(address);
    for arg in directive.args.iter().skip(1) {
        let (key, value) = arg.split_once('=').unwrap_or((arg, ""));
        let number = value.parse::<u32>().ok();
        let known = match (key, number, time(value)) {
            ("weight", Some(weight), _) => set(&mut server.weight, weight),
            ("max_fails", Some(fails), _) => set(&mut server.max_fails, fails),
            ("max_conns", Some(most), _) => set(&mut server.maxconn, Some(most).filter(|most| *most > 0)),
            ("fail_timeout", _, Some(time)) => set(&mut server.fail_timeout, time),
            ("slow_start", _, Some(time)) => set(&mut server.slow_start, time),
            ("backup", ..) => set(&mut server.backup, true),
            ("down", ..) => set(&mut server.down, true),
            _ => Some(UNKNOWN),
        };
        if let Some(why) = known {
            draft.lose(&directive.source, directive.span.clone(), arg, why);
        }
    }
    let twins = upstream.servers.iter().filter(|other| other.address == server.address).count();
    if twins > 0 {
        server.name = format!("{} ({})", server.name, twins + 1);
    }
    upstream.servers.push(server);
    None
}

/// Reads where a server is; without a port it is 80.
pub(super) fn address(text: &str) -> Option<ServerAddress> {
    if text.contains('$') {
        return None;
    }
    let has_port =
        text.starts_with("unix:") || text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let text = text.trim_end_matches(':');
    if has_port { text.parse().ok() } else { format!("{text}:80").parse().ok() }
}

/// Reads a time: seconds, or `1m30s`.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..split].parse().ok()?;
        rest = &rest[split..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "ms" => {
                total += Duration::from_millis(number);
                rest = &rest[end..];
                continue;
            }
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            "M" => 2_592_000,
            "y" => 31_536_000,
            _ => return None,
        };
        total += Duration::from_secs(number.checked_mul(seconds)?);
        rest = &rest[end..];
    }
    Some(total)
}
