//! What is to become of a request: decided once, without waiting.

use std::net::IpAddr;
use std::sync::Arc;

use rpm_model::balance::{Balance, HashKey, Sticky};

use crate::config::{Action, Balancer, Route, Snapshot, Values};
use crate::http::request::{Field, Role};
use crate::http::{Method, Refusal, RequestHead};
use crate::io::Text;
use crate::pick::{client_key, hash_bytes, network_key};
use crate::serve::client::Client;
use crate::serve::{files, forward};
use crate::thread::Thread;

/// What is to become of a request.
pub struct Plan {
    /// The request.
    pub head: RequestHead,
    /// By index.
    pub route: usize,
    /// What happens.
    pub deed: Deed,
    /// Where it really comes from.
    pub origin: IpAddr,
    /// Its id, where ids are wanted.
    pub request_id: Option<String>,
}

/// What happens to a request.
pub enum Deed {
    /// It is passed on.
    Forward {
        /// By index.
        upstream: usize,
        /// The head that is passed on.
        out: Text,
        /// What hashing looks at.
        key: Option<u64>,
        /// The seat that its client sticks to.
        seat: Option<u64>,
    },
    /// It is redirected there.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        to: Vec<u8>,
    },
    /// It is answered with the text of the route.
    Respond,
    /// It is answered with a file; `None` where there is none of such a name.
    Static(Option<Box<http::Request<()>>>),
    /// `OPTIONS` that may go no further (RFC 9110 §7.6.2).
    OptionsHere,
}

impl Plan {
    /// Returns its route.
    pub fn route<'b>(&self, balancer: &'b Balancer) -> &'b Route {
        &balancer.router.routes()[self.route]
    }
}

/// Decides.
///
/// # Errors
/// What the client is told instead.
pub fn plan(
    thread: &Thread,
    balancer: &Arc<Balancer>,
    snapshot: &Snapshot,
    client: &Client,
    bytes: &[u8],
    head: RequestHead,
    fields: &[Field],
) -> Result<Plan, Refusal> {
    let trusted = client.is_trusted(&balancer.trusted);
    let origin = if trusted {
        let values = fields.iter().filter(|field| field.role == Role::ForwardedFor);
        client.origin(&balancer.trusted, values.map(|field| field.value.get(bytes)))
    } else {
        client.address.ip()
    };
    if balancer.rate.as_ref().is_some_and(|rate| !rate.admits(origin, crate::pool::now())) {
        return Err(Refusal::TooMany);
    }
    let request_id = balancer.request_id.as_ref().map(|name| {
        let given = fields.iter().find(|field| field.name.get(bytes).eq_ignore_ascii_case(name.as_bytes()));
        match given.map(|field| field.value.get(bytes)) {
            Some(id) if (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic) => {
                String::from_utf8_lossy(id).into_owned()
            }
            _ => format!("{:016x}{:016x}", thread.random(), thread.random()),
        }
    });
    let (host, path) = (head.host.get(bytes), head.path.get(bytes));
    if let (Some(port), false) = (balancer.tls_redirect, client.tls) {
        let to = https(host, port, head.target.get(bytes));
        return Ok(Plan { head, route: 0, deed: Deed::Redirect { status: 308, to }, origin, request_id });
    }
    let index = balancer.router.find(host, path).ok_or(Refusal::NoRoute)?;
    let route = &balancer.router.routes()[index];
    let values = Values {
        scheme: client.scheme().as_bytes(),
        host,
        path,
        query: &head.target.get(bytes)[path.len()..],
        remote_addr: client.text.as_bytes(),
        request_id: request_id.as_deref().unwrap_or_default().as_bytes(),
    };
    if head.max_forwards == Some(0) && head.method == Method::Options {
        return Ok(Plan { head, route: index, deed: Deed::OptionsHere, origin, request_id });
    }
    let deed = match &route.action {
        Action::Upstream(upstream) => {
            let target = &snapshot.upstreams[*upstream];
            let mut out = Text::new();
            let work = forward::Work { balancer, route, upstream: target, client, values: &values, trusted };
            forward::request(&work, bytes, &head, fields, &mut out);
            let key = match &target.balance {
                Balance::IpHash => Some(network_key(origin)),
                Balance::Hash(what) => hash_key(what, bytes, &head, fields, origin),
                Balance::RoundRobin | Balance::LeastConn | Balance::RandomTwo | Balance::First => None,
            };
            let seat = match &target.sticky {
                Some(Sticky::Cookie { name, .. }) => cookie(bytes, fields, name.as_bytes())
                    .and_then(|value| u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()),
                Some(Sticky::Address) => target.stick.as_ref().and_then(|stick| stick.get(origin, crate::pool::now())),
                None => None,
            };
            Deed::Forward { upstream: *upstream, out, key, seat }
        }
        Action::Redirect { to, status } => {
            let mut written = Vec::new();
            to.write(&values, &mut written);
            Deed::Redirect { status: *status, to: written }
        }
        Action::Respond { .. } => Deed::Respond,
        // Relative links of its index would lead beside the directory.
        Action::Static(_) if path == route.path && path != b"/" && !path.ends_with(b"/") && !route.exact => {
            let query = &head.target.get(bytes)[path.len()..];
            Deed::Redirect { status: 301, to: [path, b"/", query].concat() }
        }
        Action::Static(_) => Deed::Static(files::request(route, bytes, &head, fields).map(Box::new)),
    };
    Ok(Plan { head, route: index, deed, origin, request_id })
}

fn https(host: &[u8], port: u16, target: &[u8]) -> Vec<u8> {
    let colon = host.iter().rposition(|byte| *byte == b':').filter(|_| host.last() != Some(&b']'));
    let name = &host[..colon.unwrap_or(host.len())];
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    [b"https://", name, port.as_bytes(), target].concat()
}

fn hash_key(what: &HashKey, bytes: &[u8], head: &RequestHead, fields: &[Field], origin: IpAddr) -> Option<u64> {
    Some(match what {
        HashKey::Path => hash_bytes(head.path.get(bytes)),
        HashKey::Uri => hash_bytes(head.target.get(bytes)),
        HashKey::Address => client_key(origin),
        HashKey::Header(name) => {
            let field = fields.iter().find(|field| field.name.get(bytes).eq_ignore_ascii_case(name.as_bytes()))?;
            hash_bytes(field.value.get(bytes))
        }
        HashKey::Cookie(name) => hash_bytes(cookie(bytes, fields, name.as_bytes())?),
    })
}

/// Returns the value of a cookie.
fn cookie<'b>(bytes: &'b [u8], fields: &[Field], name: &[u8]) -> Option<&'b [u8]> {
    let values = fields.iter().filter(|field| field.role == Role::Cookie).map(|field| field.value.get(bytes));
    values.flat_map(|value| value.split(|byte| *byte == b';')).find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}
