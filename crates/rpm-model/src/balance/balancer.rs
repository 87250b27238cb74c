//! Where clients come in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::address::{Cidr, ListenAddress};
use crate::balance::route::RouteSpec;
use crate::bytes::Bytes;
use crate::time::duration_ms;

/// One balancer: addresses, and what becomes of what comes in there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalancerSpec {
    /// What the user calls it.
    pub name: String,
    /// What is spoken on its addresses.
    pub mode: Mode,
    /// Plain addresses.
    pub listen: Vec<ListenSpec>,
    /// Addresses with TLS.
    pub tls: Option<TlsSpec>,
    /// At most this many client connections; more wait in the kernel's queue (HAProxy's `maxconn`).
    pub maxconn: u32,
    /// How long each thing may take.
    pub timeouts: Timeouts,
    /// How large each thing may be.
    pub limits: Limits,
    /// How many requests a client may send; `None` for as many as it likes.
    pub rate_limit: Option<RateLimit>,
    /// Which request goes where: the most exact host first, then the longest path. In `tcp` mode there is one route.
    pub routes: Vec<RouteSpec>,
    /// Who is believed in what `X-Forwarded-*` and `Forwarded` say; from everyone else they are dropped.
    pub trusted_proxies: Vec<Cidr>,
    /// What the servers are told about the client.
    pub forwarded: ForwardedSpec,
    /// Header that carries an id of the request to the server and back, made up where the client sent none.
    pub request_id: Option<String>,
    /// Compression of answers; `None` for none.
    pub gzip: Option<Gzip>,
    /// Files that are sent as the body of our own errors, by status.
    pub error_pages: BTreeMap<u16, PathBuf>,
    /// One line for each request (or connection, in `tcp` mode).
    pub access_log: Option<AccessLog>,
    /// Whether clients may speak HTTP/2: by ALPN on TLS, by prior knowledge elsewhere.
    pub http2: bool,
}

impl Default for BalancerSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            mode: Mode::default(),
            listen: Vec::new(),
            tls: None,
            maxconn: 4096,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            rate_limit: None,
            routes: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded: ForwardedSpec::default(),
            request_id: None,
            gzip: None,
            error_pages: BTreeMap::new(),
            access_log: None,
            http2: true,
        }
    }
}

/// What is spoken on the addresses of a balancer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Requests are read, routed and passed on one by one.
    #[default]
    Http,
    /// Bytes are passed on as they come.
    Tcp,
}

/// One address that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenSpec {
    /// Where.
    pub address: ListenAddress,
    /// Whether each connection begins with a PROXY protocol header (version 1 or 2), and is refused without.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// Addresses with TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsSpec {
    /// The addresses.
    pub listen: Vec<ListenSpec>,
    /// The certificates; at least one. The first serves clients that name no host, or one that no certificate has.
    pub certificates: Vec<CertificateSpec>,
    /// Whether requests on the plain addresses are redirected to `https` (308).
    pub redirect: bool,
}

/// One certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateSpec {
    /// The chain, PEM: an absolute path.
    pub cert: PathBuf,
    /// The private key, PEM: an absolute path.
    pub key: PathBuf,
    /// Host names it is for (`example.com`, `*.example.com`); none means those that the certificate itself names.
    pub names: Vec<String>,
}

/// Version of the PROXY protocol that a server is told about the client with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// The line of text.
    V1,
    /// The binary header.
    V2,
}

/// How long each thing may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// For a connection to a server to open.
    #[serde(with = "duration_ms")]
    pub connect: Duration,
    /// Without a byte from (or taken by) the client within a request.
    #[serde(with = "duration_ms")]
    pub client: Duration,
    /// Without a byte from (or taken by) the server within a request.
    #[serde(with = "duration_ms")]
    pub server: Duration,
    /// Between two requests of a client's connection.
    #[serde(with = "duration_ms")]
    pub keep_alive: Duration,
    /// From the first byte of a request's head to its last, and from the opening of a connection to the first head's
    /// last byte (HAProxy's `timeout http-request`).
    #[serde(with = "duration_ms")]
    pub header: Duration,
    /// Without a byte either way after an upgrade, and in `tcp` mode.
    #[serde(with = "duration_ms")]
    pub tunnel: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // connect, client and server are what HAProxy's manual recommends, keep_alive is nginx's. The tunnel's hour is
        // the manual's for WebSockets.
        Self {
            connect: Duration::from_secs(5),
            client: Duration::from_secs(50),
            server: Duration::from_secs(50),
            keep_alive: Duration::from_secs(75),
            header: Duration::from_secs(10),
            tunnel: Duration::from_secs(3600),
        }
    }
}

/// How large each thing may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The head of a request or answer: its first line and all its header fields. More is 431 (414 for the first
    /// line alone); nginx allows 32 KiB.
    pub header: Bytes,
    /// The number of header fields.
    pub header_count: u32,
    /// The body of a request; more is 413. `None` for any length, as in HAProxy (nginx allows 1 MiB).
    pub body: Option<Bytes>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header: Bytes(32 << 10), header_count: 100, body: None }
    }
}

/// How many requests one client address may send: a bucket that holds `burst` and gains `rate` each second. An IPv6
/// client counts by its /64. What comes on an empty bucket is 429.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Requests a second.
    pub rate: f64,
    /// Requests at once.
    pub burst: u32,
}

/// What servers are told about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardedSpec {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
}

impl Default for ForwardedSpec {
    fn default() -> Self {
        Self { x_forwarded: true, forwarded: false }
    }
}

/// Compression of answers, where the client asks and the server has not done it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gzip {
    /// Media types that are compressed, without parameters; `text/html` always is.
    pub types: Vec<String>,
    /// Shorter answers are left as they are.
    pub min_length: Bytes,
    /// 1 (fast) to 9 (small).
    pub level: u8,
}

impl Default for Gzip {
    fn default() -> Self {
        let types = ["text/html", "text/css", "text/plain", "text/javascript", "application/javascript"];
        let more = ["application/json", "application/xml", "image/svg+xml"];
        // nginx compresses from 20 bytes on, where the answer grows; below about 200 nothing is won.
        Self { types: types.iter().chain(&more).map(ToString::to_string).collect(), min_length: Bytes(256), level: 1 }
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// An absolute path.
    pub path: PathBuf,
    /// How lines are written.
    #[serde(default)]
    pub format: AccessLogFormat,
}

/// How lines of an access log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// Apache's and nginx's `combined`.
    #[default]
    Combined,
    /// One JSON object a line: the same, and times, server, retries.
    Json,
}
