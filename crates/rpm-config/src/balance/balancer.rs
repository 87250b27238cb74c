//! `balancers`: where clients come in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rpm_model::Bytes;
use rpm_model::balance::{
    AccessLog, AccessLogFormat, BalancerSpec, CertificateSpec, ForwardedSpec, Gzip, Limits, ListenSpec, Mode,
    RateLimit, Timeouts, TlsSpec,
};
use serde_json::Value;

use super::Surroundings;
use super::section::{Section, each, place};
use crate::raw::Setting;
use crate::values;

/// What `request_id: true` calls the header.
const REQUEST_ID: &str = "X-Request-Id";

/// Reads one balancer, but for its routes.
pub(super) fn read(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> BalancerSpec {
    let usual = BalancerSpec::default();
    let name = section.text("name").unwrap_or_default();
    if !name.is_empty() {
        section.label = format!("balancer `{}`", name.escape_debug());
    } else if !section.has("name") {
        section.refuse_whole("it has no name", "expected `name`, by which commands call it");
    }
    let mode = section.word("mode", &[("http", Mode::Http), ("tcp", Mode::Tcp)]).unwrap_or_default();
    let listen = listen(section);
    let tls = tls(section, around);
    if !section.has("listen") && !section.has("tls") {
        section.refuse_whole("it listens nowhere", "expected `listen`, for example \"0.0.0.0:80\", or `tls`");
    }
    BalancerSpec {
        name,
        mode,
        listen,
        tls,
        maxconn: section.count("maxconn").unwrap_or(usual.maxconn),
        timeouts: timeouts(section),
        limits: limits(section),
        rate_limit: rate_limit(section),
        routes: Vec::new(),
        trusted_proxies: section.parse_all("trusted_proxies").unwrap_or_default(),
        forwarded: ForwardedSpec {
            x_forwarded: section.flag("x_forwarded").unwrap_or(usual.forwarded.x_forwarded),
            forwarded: section.flag("forwarded").unwrap_or(usual.forwarded.forwarded),
        },
        request_id: request_id(section),
        gzip: gzip(section),
        error_pages: error_pages(section, around),
        access_log: access_log(section, around),
        http2: section.flag("http2").unwrap_or(usual.http2),
    }
}

/// Reads `listen`: addresses, or objects with `address` and `proxy_protocol`.
pub(super) fn listen(section: &mut Section<'_, '_>) -> Vec<ListenSpec> {
    let Some((value, setting)) = section.find("listen") else { return Vec::new() };
    let each = each(value, &setting);
    if each.is_empty() {
        section.refuse(&setting, "expected at least one address");
    }
    each.iter().filter_map(|(value, setting)| listen_one(section, value, setting)).collect()
}

fn listen_one(section: &mut Section<'_, '_>, value: &Value, setting: &Setting) -> Option<ListenSpec> {
    let Value::Object(object) = value else {
        let address = section.parsed(value, setting)?;
        return Some(ListenSpec { address, proxy_protocol: false });
    };
    let mut inner = Section::new(object, place(setting), format!("{}, `listen`", section.label), section.report);
    let address = inner.parse("address");
    if !inner.has("address") {
        inner.refuse_whole("it has no address", "expected `address`, for example \"0.0.0.0:80\"");
    }
    let proxy_protocol = inner.flag("proxy_protocol").unwrap_or(false);
    inner.finish();
    address.map(|address| ListenSpec { address, proxy_protocol })
}

fn tls(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Option<TlsSpec> {
    let (object, at) = section.object("tls", "an object with `listen`, `cert` and `key`", false)?;
    let label = format!("{}, `tls`", section.label);
    section.inside(object?, at, label, |tls| {
        let listen = listen(tls);
        if !tls.has("listen") {
            tls.refuse_whole("it listens nowhere", "expected `listen`, for example \"0.0.0.0:443\"");
        }
        let mut certificates = Vec::new();
        if tls.has("cert") || tls.has("key") {
            certificates.extend(certificate(tls, around));
        }
        if let Some((value, setting)) = tls.find("certificates") {
            let Value::Array(list) = value else {
                tls.refuse(&setting, "expected a list of objects with `cert` and `key`");
                return None;
            };
            for (entry, (_, setting)) in list.iter().zip(each(value, &setting)) {
                let Value::Object(object) = entry else {
                    tls.refuse(&setting, "expected an object with `cert` and `key`");
                    continue;
                };
                let label = format!("{}, a certificate", tls.label);
                let one = tls.inside(object, place(&setting), label, |one| certificate(one, around));
                certificates.extend(one);
            }
        } else if certificates.is_empty() && !tls.has("cert") && !tls.has("key") {
            tls.refuse_whole("it has no certificate", "expected `cert` and `key`, or `certificates`");
        }
        Some(TlsSpec { listen, certificates, redirect: tls.flag("redirect").unwrap_or(false) })
    })
}

fn certificate(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Option<CertificateSpec> {
    let cert = file(section, "cert", around);
    let key = file(section, "key", around);
    let names = section.texts("names").unwrap_or_default();
    for needed in ["cert", "key"] {
        if !section.has(needed) {
            section.refuse_whole(&format!("it has no `{needed}`"), "expected the PEM files `cert` and `key`");
        }
    }
    Some(CertificateSpec { cert: cert?, key: key?, names })
}

/// Reads a file that has to be there.
fn file(section: &mut Section<'_, '_>, key: &'static str, around: &Surroundings<'_>) -> Option<PathBuf> {
    let text = section.text(key)?;
    let path = around.path(&text);
    if !path.is_file()
        && let Some((_, setting)) = section.find(key)
    {
        section.refuse(&setting, &format!("there is no file {}", path.display()));
        return None;
    }
    Some(path)
}

fn timeouts(section: &mut Section<'_, '_>) -> Timeouts {
    let usual = Timeouts::default();
    let mut time = |key, usual| section.duration(key).unwrap_or(usual);
    Timeouts {
        connect: time("timeout_connect", usual.connect),
        client: time("timeout_client", usual.client),
        server: time("timeout_server", usual.server),
        keep_alive: time("timeout_keep_alive", usual.keep_alive),
        header: time("timeout_header", usual.header),
        tunnel: time("timeout_tunnel", usual.tunnel),
    }
}

fn limits(section: &mut Section<'_, '_>) -> Limits {
    // What fits into one buffer of ours, and what fills a machine with slow clients.
    const HEADER: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 20;
    let usual = Limits::default();
    let header = section
        .read("max_header", "1K to 1M", |value| values::memory(value).filter(|Bytes(bytes)| HEADER.contains(bytes)));
    Limits {
        header: header.unwrap_or(usual.header),
        header_count: section.count("max_headers").unwrap_or(usual.header_count),
        body: section.memory("max_body"),
    }
}

/// Reads `rate_limit`: `"100/s"`, or `{rate, burst}` with the rate in requests a second.
fn rate_limit(section: &mut Section<'_, '_>) -> Option<RateLimit> {
    let (value, setting) = section.find("rate_limit")?;
    let wanted = "a number of requests such as \"100/s\" or \"600/m\", or an object with `rate` and `burst`";
    let limit = match value {
        Value::Object(object) => {
            let label = format!("{}, `rate_limit`", section.label);
            section.inside(object, place(&setting), label, |limit| {
                let rate = limit.read("rate", "requests a second, for example 10, \"100/s\" or \"600/m\"", rate);
                if !limit.has("rate") {
                    limit.refuse_whole("it has no rate", "expected `rate`, for example \"100/s\"");
                }
                let burst = limit.number("burst");
                rate.map(|rate| (rate, burst))
            })
        }
        other => {
            let rate = rate(other);
            if rate.is_none() {
                section.report.mistake(&section.label, &setting, wanted, None);
            }
            rate.map(|rate| (rate, None))
        }
    };
    // Without a burst a second's worth may come at once.
    limit.map(|(rate, burst)| RateLimit { rate, burst: burst.unwrap_or(rate.ceil() as u32).max(1) })
}

fn rate(value: &Value) -> Option<f64> {
    let text = values::text(value)?;
    let (number, unit) = text.split_once('/').unwrap_or((&text, "s"));
    let seconds = match unit.trim() {
        "s" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 60.0,
        "h" | "hour" => 3600.0,
        _ => return None,
    };
    let number = number.trim().trim_end_matches('r').parse::<f64>().ok()?;
    (number > 0.0 && number.is_finite()).then_some(number / seconds)
}

fn request_id(section: &mut Section<'_, '_>) -> Option<String> {
    let name = |value: &Value| match value {
        Value::Bool(true) => Some(Some(REQUEST_ID.to_owned())),
        Value::Bool(false) => Some(None),
        Value::String(name) if super::route::is_field_name(name) => Some(Some(name.clone())),
        _ => None,
    };
    section.read("request_id", "true, or the name of a header field", name).flatten()
}

fn gzip(section: &mut Section<'_, '_>) -> Option<Gzip> {
    let (object, at) = section.object("gzip", "true, or an object with `types`, `min_length`, `level`", true)?;
    let usual = Gzip::default();
    let Some(object) = object else { return Some(usual) };
    let label = format!("{}, `gzip`", section.label);
    section.inside(object, at, label, |gzip| {
        let level = gzip.read("level", "1 to 9", |value| {
            values::number(value).and_then(|number| u8::try_from(number).ok()).filter(|level| (1..=9).contains(level))
        });
        Some(Gzip {
            types: gzip.texts("types").unwrap_or(usual.types),
            min_length: gzip.memory("min_length").unwrap_or(usual.min_length),
            level: level.unwrap_or(usual.level),
        })
    })
}

fn error_pages(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> BTreeMap<u16, PathBuf> {
    let mut pages = BTreeMap::new();
    let Some((value, setting)) = section.find("error_pages") else { return pages };
    let Value::Object(object) = value else {
        section.refuse(&setting, "expected an object of files by status, for example { \"503\": \"busy.html\" }");
        return pages;
    };
    let at = place(&setting);
    for (status, file) in object {
        let origin = crate::raw::Origin::File { at: at.key(status), written: status.clone() };
        let setting = Setting { value: file.clone(), origin };
        let number = status.parse().ok().filter(|status| (400..=599).contains(status));
        match (number, file.as_str()) {
            (Some(number), Some(file)) if around.path(file).is_file() => {
                pages.insert(number, around.path(file));
            }
            (Some(_), Some(file)) => {
                section.refuse(&setting, &format!("there is no file {}", around.path(file).display()));
            }
            _ => section.refuse(&setting, "expected a status from 400 to 599, and a file"),
        }
    }
    pages
}

fn access_log(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Option<AccessLog> {
    let (value, setting) = section.find("access_log")?;
    match value {
        Value::String(path) if !path.is_empty() => {
            Some(AccessLog { path: around.path(path), format: AccessLogFormat::Combined })
        }
        Value::Object(object) => {
            let label = format!("{}, `access_log`", section.label);
            section.inside(object, place(&setting), label, |log| {
                let path = log.text("path");
                if !log.has("path") {
                    log.refuse_whole("it has no path", "expected `path`, a file");
                }
                let formats = [("combined", AccessLogFormat::Combined), ("json", AccessLogFormat::Json)];
                let format = log.word("format", &formats).unwrap_or_default();
                path.map(|path| AccessLog { path: around.path(&path), format })
            })
        }
        Value::Bool(false) => None,
        _ => {
            section.refuse(&setting, "expected a file, or an object with `path` and `format`");
            None
        }
    }
}
