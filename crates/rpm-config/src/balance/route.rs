//! `routes` of a balancer: which request goes where.

use rpm_model::balance::{HeaderEdits, Mode, RouteAction, RouteSpec};
use rpm_model::nearest;
use serde_json::{Map, Value};

use super::Surroundings;
use super::section::{Section, each, place};
use crate::raw::{Origin, Setting};
use crate::values;

/// Returns whether a header field can have this name.
pub(super) fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// Reads `routes`, or `upstream` alone.
pub(super) fn read(section: &mut Section<'_, '_>, mode: Mode, around: &Surroundings<'_>) -> Vec<RouteSpec> {
    let only = section.find("upstream");
    let Some((value, setting)) = section.find("routes") else {
        let Some((value, setting)) = only else {
            section.refuse_whole("it leads nowhere", "expected `upstream` or `routes`");
            return Vec::new();
        };
        let Some(name) = value.as_str() else {
            section.refuse(&setting, "expected the name of an upstream");
            return Vec::new();
        };
        known_upstream(section, name, &setting, around);
        return vec![RouteSpec::to(RouteAction::Upstream(name.to_owned()))];
    };
    if let Some((_, setting)) = only {
        section.refuse(&setting, "expected `upstream` or `routes`, not both");
    }
    let Value::Array(list) = value else {
        section.refuse(&setting, "expected a list of routes");
        return Vec::new();
    };
    if list.is_empty() {
        section.refuse(&setting, "expected at least one route");
    }
    let mut routes: Vec<RouteSpec> = Vec::new();
    for (entry, (_, setting)) in list.iter().zip(each(value, &setting)) {
        let Value::Object(object) = entry else {
            section.refuse(&setting, "expected an object with `upstream`, `static`, `redirect` or `respond`");
            continue;
        };
        let label = format!("{}, a route", section.label);
        let route = section.inside(object, place(&setting), label, |inner| one(inner, around));
        let Some(route) = route else { continue };
        let same =
            |other: &RouteSpec| (&other.host, &other.path, other.exact) == (&route.host, &route.path, route.exact);
        if routes.iter().any(same) {
            section.refuse(&setting, "another route is for the same host and path");
        }
        routes.push(route);
    }
    let plain = |route: &RouteSpec| *route == RouteSpec::to(route.action.clone());
    let leads_on = |route: &RouteSpec| matches!(route.action, RouteAction::Upstream(_));
    if mode == Mode::Tcp && (routes.len() > 1 || !routes.iter().all(|route| plain(route) && leads_on(route))) {
        section.refuse(&setting, "in `tcp` mode nothing is read that routes could look at; expected `upstream` alone");
    }
    routes
}

fn one(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Option<RouteSpec> {
    let action = action(section, around);
    let host =
        section.read("host", "a host name such as \"example.com\" or \"*.example.com\"", |value| host(value.as_str()?));
    let path = section.read("path", "a path that begins with /", |value| {
        value.as_str().filter(|path| path.starts_with('/') && !path.contains(['?', '#', ' '])).map(str::to_owned)
    });
    let exact = section.flag("exact").unwrap_or(false);
    let strip_prefix = section.flag("strip_prefix").unwrap_or(false);
    let request_headers = edits(section, "request_headers");
    let response_headers = edits(section, "response_headers");
    action.map(|action| RouteSpec {
        host: host.flatten(),
        path: path.unwrap_or_else(|| "/".into()),
        exact,
        action,
        strip_prefix,
        request_headers,
        response_headers,
    })
}

/// Reads a host; `*` and `_` are every host.
fn host(text: &str) -> Option<Option<String>> {
    if matches!(text, "*" | "_") {
        return Some(None);
    }
    let plain = text.strip_prefix("*.").unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    (!plain.is_empty() && plain.chars().all(fits)).then(|| Some(text.to_ascii_lowercase()))
}

fn action(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Option<RouteAction> {
    const ACTIONS: [&str; 4] = ["upstream", "static", "redirect", "respond"];
    let given = ACTIONS.into_iter().filter(|key| section.has(key)).count();
    if given != 1 {
        let reason = if given == 0 { "it leads nowhere" } else { "it leads to several places" };
        section.refuse_whole(reason, "expected one of `upstream`, `static`, `redirect` and `respond`");
    }
    let upstream = section.find("upstream").and_then(|(value, setting)| match value.as_str() {
        Some(name) => {
            known_upstream(section, name, &setting, around);
            Some(RouteAction::Upstream(name.to_owned()))
        }
        None => {
            section.refuse(&setting, "expected the name of an upstream");
            None
        }
    });
    let files = files(section, around);
    let redirect = redirect(section);
    let respond = respond(section);
    upstream.or(files).or(redirect).or(respond)
}

fn known_upstream(section: &mut Section<'_, '_>, name: &str, setting: &Setting, around: &Surroundings<'_>) {
    if !around.upstreams.contains(&name) {
        let near = nearest(name, around.upstreams.iter().copied());
        section.refuse_name(setting, "there is no upstream of this name in the file", near);
    }
}

fn files(section: &mut Section<'_, '_>, around: &Surroundings<'_>) -> Option<RouteAction> {
    let (value, setting) = section.find("static")?;
    let (root, spa) = match value {
        Value::String(root) => (root.clone(), false),
        Value::Object(object) => {
            let label = format!("{}, `static`", section.label);
            section.inside(object, place(&setting), label, |inner| {
                let root = inner.text("root");
                if !inner.has("root") {
                    inner.refuse_whole("it has no directory", "expected `root`");
                }
                Some((root?, inner.flag("spa").unwrap_or(false)))
            })?
        }
        _ => {
            section.refuse(&setting, "expected a directory, or an object with `root` and `spa`");
            return None;
        }
    };
    let root = around.path(&root);
    if !root.is_dir() {
        section.refuse(&setting, &format!("there is no directory {}", root.display()));
    }
    Some(RouteAction::Static { root, spa })
}

fn redirect(section: &mut Section<'_, '_>) -> Option<RouteAction> {
    let (value, setting) = section.find("redirect")?;
    let (to, status) = match value {
        Value::String(to) => (to.clone(), 302),
        Value::Object(object) => {
            let label = format!("{}, `redirect`", section.label);
            section.inside(object, place(&setting), label, |inner| {
                let to = inner.text("to");
                if !inner.has("to") {
                    inner.refuse_whole("it does not say where to", "expected `to`");
                }
                let status = inner.read("status", "301, 302, 303, 307 or 308", |value| {
                    values::number(value).filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308))
                });
                Some((to?, status.unwrap_or(302) as u16))
            })?
        }
        _ => {
            section.refuse(&setting, "expected where to, or an object with `to` and `status`");
            return None;
        }
    };
    Some(RouteAction::Redirect { to, status })
}

fn respond(section: &mut Section<'_, '_>) -> Option<RouteAction> {
    let (value, setting) = section.find("respond")?;
    if let Some(status) = values::number(value).and_then(status) {
        return Some(RouteAction::Respond { status, body: String::new() });
    }
    let Value::Object(object) = value else {
        section.refuse(&setting, "expected a status, 200 to 599, or an object with `status` and `body`");
        return None;
    };
    let label = format!("{}, `respond`", section.label);
    section.inside(object, place(&setting), label, |inner| {
        let code = inner.read("status", "a status, 200 to 599", |value| values::number(value).and_then(status));
        let body = inner.read("body", "text", |value| value.as_str().map(str::to_owned));
        Some(RouteAction::Respond { status: code.unwrap_or(200), body: body.unwrap_or_default() })
    })
}

fn status(number: u32) -> Option<u16> {
    u16::try_from(number).ok().filter(|status| (200..=599).contains(status))
}

/// Reads `request_headers` or `response_headers`: `{set: {Name: value}, add: {…}, remove: [Name]}`.
fn edits(section: &mut Section<'_, '_>, key: &'static str) -> HeaderEdits {
    let Some((Some(object), at)) = section.object(key, "an object with `set`, `add` and `remove`", false) else {
        return HeaderEdits::default();
    };
    let label = format!("{}, `{key}`", section.label);
    section.inside(object, at, label, |inner| {
        let remove = inner.read("remove", "names of header fields", |value| {
            values::texts(value).filter(|names| names.iter().all(|name| is_field_name(name)))
        });
        HeaderEdits { remove: remove.unwrap_or_default(), set: fields(inner, "set"), add: fields(inner, "add") }
    })
}

fn fields(section: &mut Section<'_, '_>, key: &'static str) -> Vec<(String, String)> {
    let Some((Some(object), at)) = section.object(key, "an object of header fields", false) else {
        return Vec::new();
    };
    let object: &Map<String, Value> = object;
    let mut fields = Vec::new();
    for (name, value) in object {
        let setting =
            Setting { value: value.clone(), origin: Origin::File { at: at.key(name), written: name.clone() } };
        match values::text(value) {
            Some(text) if is_field_name(name) && !text.contains(['\r', '\n', '\0']) => {
                fields.push((name.clone(), text));
            }
            _ => section.refuse(&setting, "expected the name of a header field, and one line of text"),
        }
    }
    fields
}
