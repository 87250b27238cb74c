//! Servers, and how one is chosen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::address::ServerAddress;
use crate::balance::balancer::ProxyVersion;
use crate::balance::check::{CheckSpec, OutlierSpec};
use crate::time::duration_ms;

/// Servers that can stand in for one another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamSpec {
    /// What the user calls it.
    pub name: String,
    /// How a server is chosen.
    pub balance: Balance,
    /// Whether a client stays with its server.
    pub sticky: Option<Sticky>,
    /// Active checks; `None` for none.
    pub health_check: Option<CheckSpec>,
    /// When a server that answers badly is left out; `None` for never.
    pub outlier: Option<OutlierSpec>,
    /// The servers.
    pub servers: Vec<ServerSpec>,
    /// How often a request is tried again with another server. Only what may be repeated is: nothing was sent, or the
    /// method is idempotent and not a byte of an answer came.
    pub retries: u32,
    /// Idle connections kept open to each server, for each thread (nginx's `keepalive`).
    pub keepalive: u32,
    /// How long an idle connection is kept; less where the server says so (`Keep-Alive: timeout=`).
    #[serde(with = "duration_ms")]
    pub keepalive_timeout: Duration,
    /// How many requests may wait for a server; more are 503 at once.
    pub queue: u32,
    /// How long a request may wait for a server; then it is 503.
    #[serde(with = "duration_ms")]
    pub timeout_queue: Duration,
    /// What the servers speak.
    pub protocol: Protocol,
    /// The Host that servers see; `None` for the client's.
    pub host: Option<String>,
}

impl Default for UpstreamSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            balance: Balance::default(),
            sticky: None,
            health_check: None,
            outlier: None,
            servers: Vec::new(),
            retries: 1,
            keepalive: 64,
            keepalive_timeout: Duration::from_secs(60),
            queue: 1024,
            timeout_queue: Duration::from_secs(5),
            protocol: Protocol::default(),
            host: None,
        }
    }
}

/// How a server is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight, evenly mixed (nginx's smooth round robin).
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastConn,
    /// The same one for the same client network (IPv4 by /24, as in nginx).
    IpHash,
    /// The same one for the same key; few keys move when a server comes or goes.
    Hash(HashKey),
    /// Of two drawn at random, the one with fewer requests in flight for its weight.
    RandomTwo,
    /// The first one that has room (`maxconn`), in the order of the file.
    First,
}

/// What a consistent hash looks at. A request without it is balanced by round robin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The path, without the query.
    Path,
    /// Path and query.
    Uri,
    /// The client's address.
    Address,
    /// A header field.
    Header(String),
    /// A cookie.
    Cookie(String),
}

/// Whether and how a client stays with its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// By a cookie that we insert.
    Cookie {
        /// Its name.
        name: String,
        /// How long the browser keeps it; `None` for the session.
        #[serde(default, with = "duration_ms::option")]
        ttl: Option<Duration>,
        /// `Secure`: over https only.
        #[serde(default)]
        secure: bool,
        /// `HttpOnly`: hidden from scripts.
        #[serde(default = "yes")]
        http_only: bool,
        /// `SameSite`.
        #[serde(default)]
        same_site: Option<SameSite>,
        /// `Path`.
        #[serde(default = "root")]
        path: String,
        /// `Domain`.
        #[serde(default)]
        domain: Option<String>,
    },
    /// By the client's address.
    Address,
}

fn yes() -> bool {
    true
}

fn root() -> String {
    "/".into()
}

impl Sticky {
    /// Returns a session cookie of this name, hidden from scripts.
    pub fn cookie(name: impl Into<String>) -> Self {
        Self::Cookie {
            name: name.into(),
            ttl: None,
            secure: false,
            http_only: true,
            same_site: None,
            path: root(),
            domain: None,
        }
    }
}

/// Which foreign pages a cookie is sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// None of them.
    Strict,
    /// Those that link here.
    Lax,
    /// All of them; needs `Secure`.
    None,
}

/// What servers speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge: gRPC.
    H2c,
}

/// One server, or the workers of a managed app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// What `rpm drain UPSTREAM SERVER` calls it: unique in its upstream, its address unless given.
    pub name: String,
    /// Where it is.
    pub address: ServerAddress,
    /// Its share, beside the weights of the others; 0 for none but what sticks to it.
    #[serde(default = "one")]
    pub weight: u32,
    /// So many failures within `fail_timeout` take it out for `fail_timeout`; 0 for never.
    #[serde(default = "one")]
    pub max_fails: u32,
    /// See `max_fails`.
    #[serde(default = "fail_timeout", with = "duration_ms")]
    pub fail_timeout: Duration,
    /// At most this many requests (connections, in `tcp` mode) at a time; more wait in the upstream's queue.
    #[serde(default)]
    pub maxconn: Option<u32>,
    /// How long its weight grows to the full one after it came up.
    #[serde(default, with = "duration_ms")]
    pub slow_start: Duration,
    /// Used only while no other server is.
    #[serde(default)]
    pub backup: bool,
    /// Never used; it keeps its place for `ip_hash`.
    #[serde(default)]
    pub down: bool,
    /// Whether each connection to it begins with a PROXY protocol header.
    #[serde(default)]
    pub send_proxy: Option<ProxyVersion>,
}

fn one() -> u32 {
    1
}

fn fail_timeout() -> Duration {
    Duration::from_secs(10)
}

impl ServerSpec {
    /// Returns a server with nginx's defaults, named as its address.
    pub fn at(address: ServerAddress) -> Self {
        Self {
            name: match &address {
                ServerAddress::App(name) => name.clone(),
                other => other.to_string(),
            },
            address,
            weight: one(),
            max_fails: one(),
            fail_timeout: fail_timeout(),
            maxconn: None,
            slow_start: Duration::ZERO,
            backup: false,
            down: false,
            send_proxy: None,
        }
    }
}
