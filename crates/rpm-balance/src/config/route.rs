//! Which request goes where: the most exact host first, then the longest path.

use std::borrow::Cow;
use std::collections::HashMap;

use rpm_model::balance::{HeaderEdits, RouteAction, RouteSpec};

use crate::config::template::Template;

/// A route, ready.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Route {
    pub path: Vec<u8>,
    pub exact: bool,
    pub strip_prefix: bool,
    pub action: Action,
    pub request: Edits,
    pub response: Edits,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Action {
    /// By index.
    Upstream(usize),
    Static(Box<rpm_static::Site>),
    Redirect {
        to: Template,
        status: u16,
    },
    Respond {
        status: u16,
        body: Vec<u8>,
    },
}

/// Changes of a header, ready.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// Lower-case names of fields that are not passed on.
    drop: Vec<Vec<u8>>,
    /// Fields that are added.
    add: Vec<(Vec<u8>, Template)>,
}

impl Edits {
    /// Makes changes ready.
    ///
    /// # Errors
    /// With a sentence, for what may not stand in a header.
    pub fn new(spec: &HeaderEdits) -> Result<Self, String> {
        let mut edits = Self::default();
        for name in spec.remove.iter().chain(spec.set.iter().map(|(name, _)| name)) {
            edits.drop.push(check_name(name)?.to_ascii_lowercase());
        }
        for (name, value) in spec.set.iter().chain(&spec.add) {
            edits.add.push((check_name(name)?.to_vec(), Template::parse(value)?));
        }
        Ok(edits)
    }

    /// Returns whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.add.is_empty()
    }

    /// Returns whether a field is not passed on.
    pub fn drops(&self, name: &[u8]) -> bool {
        self.drop.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
    }

    /// Returns the fields that are added.
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &Template)> {
        self.add.iter().map(|(name, value)| (name.as_slice(), value))
    }
}

fn check_name(name: &str) -> Result<&[u8], String> {
    const OURS: [&str; 4] = ["connection", "transfer-encoding", "content-length", "upgrade"];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is no name of a header field"));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name} belongs to the connection, and cannot be set or removed"));
    }
    Ok(name.as_bytes())
}

/// Routes by host and path.
#[derive(Debug, Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
    hosts: HashMap<Vec<u8>, Vec<usize>>,
    /// By suffix with its dot, the longest first.
    wild: Vec<(Vec<u8>, Vec<usize>)>,
    any: Vec<usize>,
}

impl Router {
    /// Makes routes ready; `upstream` finds the index of a name.
    ///
    /// # Errors
    /// With a sentence for each mistake.
    pub fn new(specs: &[RouteSpec], upstream: impl Fn(&str) -> Option<usize>) -> Result<Self, Vec<String>> {
        let mut router = Self::default();
        let mut mistakes = Vec::new();
        for spec in specs {
            match route(spec, &upstream) {
                Ok(route) => {
                    let index = router.routes.len();
                    router.routes.push(route);
                    router.index(spec.host.as_deref(), index);
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let Self { routes, hosts, wild, any } = &mut router;
        wild.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        for list in hosts.values_mut().chain(wild.iter_mut().map(|(_, list)| list)).chain([any]) {
            // The longest first, an exact one before one that is not; else in the order of the file.
            list.sort_by_key(|index| (std::cmp::Reverse(routes[*index].path.len()), !routes[*index].exact));
        }
        if mistakes.is_empty() { Ok(router) } else { Err(mistakes) }
    }

    /// Returns the index of the route of a request. `host` may have a port; `path` is as it came.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        // "OPTIONS *" is for the server, whatever else there is below it.
        let path = normal(if path == b"*" { b"/" } else { path });
        if !(self.hosts.is_empty() && self.wild.is_empty()) {
            let host = without_port(host).to_ascii_lowercase();
            if let Some(route) = self.hosts.get(&host).and_then(|list| self.among(list, &path)) {
                return Some(route);
            }
            for (suffix, list) in &self.wild {
                let under = host.len() > suffix.len() && host.ends_with(suffix);
                if let Some(route) = under.then(|| self.among(list, &path)).flatten() {
                    return Some(route);
                }
            }
        }
        self.among(&self.any, &path)
    }

    /// Returns all of them, in the order of the file.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn among(&self, list: &[usize], path: &[u8]) -> Option<usize> {
        list.iter().copied().find(|index| self.routes[*index].is_for(path))
    }

    fn index(&mut self, host: Option<&str>, index: usize) {
        match host.map(str::to_ascii_lowercase) {
            None => self.any.push(index),
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => match self.wild.iter_mut().find(|(known, _)| known == suffix.as_bytes()) {
                    Some((_, list)) => list.push(index),
                    None => self.wild.push((suffix.into(), vec![index])),
                },
                None => self.hosts.entry(host.into_bytes()).or_default().push(index),
            },
        }
    }
}

impl Route {
    fn is_for(&self, path: &[u8]) -> bool {
        if self.exact {
            return path == self.path;
        }
        match path.strip_prefix(self.path.as_slice()) {
            Some(rest) => rest.is_empty() || self.path.ends_with(b"/") || rest[0] == b'/',
            None => false,
        }
    }
}

fn route(spec: &RouteSpec, upstream: impl Fn(&str) -> Option<usize>) -> Result<Route, String> {
    let action = match &spec.action {
        RouteAction::Upstream(name) => {
            Action::Upstream(upstream(name).ok_or_else(|| format!("there is no upstream {name:?}"))?)
        }
        RouteAction::Static { root, spa } => {
            let options = rpm_static::Options::files(root.clone(), *spa);
            Action::Static(Box::new(rpm_static::Site::new(options)))
        }
        RouteAction::Redirect { to, status } => {
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(format!("{status} is no redirect; there are 301, 302, 303, 307 and 308"));
            }
            Action::Redirect { to: Template::parse(to)?, status: *status }
        }
        RouteAction::Respond { status, body } => {
            if !(200..=599).contains(status) {
                return Err(format!("{status} is no status of an answer; there are 200 to 599"));
            }
            Action::Respond { status: *status, body: body.clone().into_bytes() }
        }
    };
    if !spec.path.starts_with('/') {
        return Err(format!("the path {:?} of a route does not begin with /", spec.path));
    }
    Ok(Route {
        path: spec.path.clone().into_bytes(),
        exact: spec.exact,
        strip_prefix: spec.strip_prefix,
        action,
        request: Edits::new(&spec.request_headers)?,
        response: Edits::new(&spec.response_headers)?,
    })
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host.last() != Some(&b']') => &host[..colon],
        _ => host,
    }
}

/// Returns a path as servers understand it: escapes undone, `.` and `..` and empty segments resolved. Only for choosing
/// a route: `/public/%2e%2e/admin` must not pass for something below `/public`.
fn normal(path: &[u8]) -> Cow<'_, [u8]> {
    let odd = memchr::memchr(b'%', path).is_some()
        || memchr::memmem::find(path, b"/.").is_some()
        || memchr::memmem::find(path, b"//").is_some();
    if !odd {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| (*byte as char).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                decoded.push((hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut whole = Vec::with_capacity(decoded.len());
    for segment in &segments {
        whole.push(b'/');
        whole.extend_from_slice(segment);
    }
    if segments.is_empty() || [&b"/"[..], b"/.", b"/.."].iter().any(|end| decoded.ends_with(end)) {
        whole.push(b'/');
    }
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(Option<&str>, &str, bool)]) -> Router {
        let specs: Vec<_> = routes
            .iter()
            .enumerate()
            .map(|(index, (host, path, exact))| RouteSpec {
                host: host.map(Into::into),
                path: (*path).into(),
                exact: *exact,
                ..RouteSpec::to(RouteAction::Respond { status: 200 + index as u16, body: String::new() })
            })
            .collect();
        Router::new(&specs, |_| None).unwrap()
    }

    fn found(router: &Router, host: &str, path: &str) -> Option<u16> {
        router.find(host.as_bytes(), path.as_bytes()).map(|index| match router.routes[index].action {
            Action::Respond { status, .. } => status - 200,
            _ => unreachable!("all routes of these tests respond"),
        })
    }

    #[test]
    fn the_most_exact_host_then_the_longest_path() {
        let router = router(&[
            (None, "/", false),
            (Some("*.example.com"), "/", false),
            (Some("www.example.com"), "/", false),
            (Some("www.example.com"), "/api", false),
            (Some("www.example.com"), "/api/old", true),
            (None, "/status", false),
        ]);
        for (host, path, expected) in [
            ("other", "/", 0),
            ("x.example.com", "/api", 1),
            ("example.com", "/", 0),
            ("WWW.Example.com:8080", "/x", 2),
            ("www.example.com", "/api", 3),
            ("www.example.com", "/api/x", 3),
            ("www.example.com", "/apis", 2),
            ("www.example.com", "/api/old", 4),
            ("www.example.com", "/api/old/x", 3),
            ("[::1]:80", "/status/x", 5),
            ("www.example.com", "/status", 2),
        ] {
            assert_eq!(found(&router, host, path), Some(expected), "{host}{path}");
        }
    }

    #[test]
    fn a_path_is_chosen_by_what_servers_make_of_it() {
        let router = router(&[(None, "/public", false), (None, "/admin", false)]);
        for (path, expected) in [
            ("/public/../admin", Some(1)),
            ("/public/%2e%2E/admin/x", Some(1)),
            ("//admin", Some(1)),
            ("/./public", Some(0)),
            ("/%61dmin", Some(1)),
            ("/x/../../public/", Some(0)),
            ("/public%2fx", Some(0)),
            ("/publi", None),
            ("/..", None),
        ] {
            assert_eq!(found(&router, "a", path), expected, "{path}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let mistakes = |action| Router::new(&[RouteSpec::to(action)], |_| None).unwrap_err().join("\n");
        assert!(mistakes(RouteAction::Upstream("api".into())).contains("no upstream \"api\""));
        assert!(mistakes(RouteAction::Redirect { to: "/".into(), status: 200 }).contains("200 is no redirect"));
        let edits = HeaderEdits { remove: vec!["Connection".into()], ..HeaderEdits::default() };
        assert!(Edits::new(&edits).unwrap_err().contains("belongs to the connection"));
    }
}
