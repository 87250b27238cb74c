//! What a worker wants to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use rpm_sys::net::Address;
use rpm_sys::net::listen::BACKLOG;
use serde_json::Value;

/// What a worker wants to listen on, in the words of Node's cluster protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// IP address or path; `None` is every address of the machine.
    pub address: Option<String>,
    /// The port; 0 for a free one, -1 for paths.
    pub port: i32,
    /// Which sort of socket.
    pub kind: Kind,
    /// Counts the worker's requests for the same address, from 0.
    pub index: u32,
    /// libuv's flags: 1 refuses IPv4 on an IPv6 socket, 4 lets other programs share a UDP port.
    pub flags: u32,
    /// How many connections may wait; 0 is Node's default.
    pub backlog: u32,
    /// The number of a descriptor that the primary is asked to share (`listen({fd})`).
    pub fd: Option<i32>,
    /// Permissions of a socket file; `None` leaves what the umask gives.
    pub mode: Option<u32>,
    /// Whether the socket must not wait. Node sets no mode on a socket that it is given: it would block in `accept` where
    /// another worker was faster, and in every read of a UDP socket.
    pub nonblocking: bool,
    /// What the first worker of an app sends is given to all (the keys of TLS session tickets).
    pub data: Value,
}

/// UV_TCP_IPV6ONLY and UV_UDP_IPV6ONLY.
const V6_ONLY: u32 = 1;
/// UV_UDP_REUSEADDR.
const UDP_REUSE: u32 = 4;

/// Sorts of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// TCP over IPv4; without an address, over both.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// A socket file.
    Unix,
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// A descriptor of the primary, by number.
    Descriptor,
}

impl Kind {
    /// Returns whether this is a UDP socket, which Node wants by another name.
    pub fn is_udp(self) -> bool {
        matches!(self, Kind::Udp4 | Kind::Udp6)
    }

    /// Returns whether this is TCP, of which every worker can have a slot.
    pub fn is_tcp(self) -> bool {
        matches!(self, Kind::Tcp4 | Kind::Tcp6)
    }

    /// Returns Node's `addressType` as it stands in keys.
    fn node(self) -> &'static str {
        match self {
            Kind::Tcp4 => "4",
            Kind::Tcp6 => "6",
            Kind::Unix => "-1",
            Kind::Udp4 => "udp4",
            Kind::Udp6 => "udp6",
            Kind::Descriptor => "null",
        }
    }

    fn from_node(text: &str) -> Option<Self> {
        [Kind::Tcp4, Kind::Tcp6, Kind::Unix, Kind::Udp4, Kind::Udp6, Kind::Descriptor]
            .into_iter()
            .find(|kind| kind.node() == text)
    }
}

/// An address that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no address to listen on: {why}; allowed are PORT, :PORT, ADDRESS:PORT, [IPv6]:PORT and an absolute path"
)]
pub struct NoAddress {
    /// What was found.
    pub found: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Want {
    /// Reads an address as users write it: `8002`, `:8002`, `0.0.0.0:8002`, `[::]:80`, `/run/x.sock`.
    pub fn parse(text: &str) -> Result<Self, NoAddress> {
        let refuse = |why| NoAddress { found: text.to_owned(), why };
        let trimmed = text.trim();
        let path = trimmed.strip_prefix("unix:").unwrap_or(trimmed);
        if path.starts_with('/') {
            return Ok(Self::new(Some(path.to_owned()), -1, Kind::Unix));
        }
        let rest = trimmed.strip_prefix("tcp://").unwrap_or(trimmed);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None => ("", rest),
        };
        let port: u16 = port.parse().map_err(|_| refuse("the port is no number from 0 to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip: IpAddr = match (bare, host) {
            (None, "" | "*") => return Ok(Self::new(None, port.into(), Kind::Tcp4)),
            (None, "localhost") => Ipv4Addr::LOCALHOST.into(),
            (Some(host), _) => {
                host.parse::<Ipv6Addr>().map_err(|_| refuse("what stands in brackets is no IPv6 address"))?.into()
            }
            (None, host) => host.parse::<Ipv4Addr>().map_err(|_| refuse("the host is no IP address"))?.into(),
        };
        let kind = if ip.is_ipv4() { Kind::Tcp4 } else { Kind::Tcp6 };
        Ok(Self::new(Some(ip.to_string()), port.into(), kind))
    }

    /// Returns a want with nothing but an address: a blocking socket, as programs expect that are started with one.
    pub fn new(address: Option<String>, port: i32, kind: Kind) -> Self {
        Self {
            address,
            port,
            kind,
            index: 0,
            flags: 0,
            backlog: 0,
            fd: None,
            mode: None,
            nonblocking: false,
            data: Value::Null,
        }
    }

    /// Reads what a worker sends: `queryServer`, `listening`.
    pub(crate) fn from_message(message: &Value) -> Self {
        let number = |name: &str| message.get(name).and_then(Value::as_i64);
        let small = |name: &str| number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let kind = match message.get("addressType") {
            Some(Value::Number(number)) => Kind::from_node(&number.to_string()),
            Some(Value::String(text)) => Kind::from_node(text),
            _ => Some(Kind::Descriptor),
        };
        Self {
            address: message.get("address").and_then(Value::as_str).map(str::to_owned),
            port: number("port").and_then(|port| i32::try_from(port).ok()).unwrap_or(-1),
            kind: kind.unwrap_or(Kind::Descriptor),
            index: small("index"),
            flags: small("flags"),
            backlog: small("backlog"),
            fd: number("fd").and_then(|fd| i32::try_from(fd).ok()).filter(|fd| *fd >= 0),
            mode: None,
            nonblocking: true,
            data: message.get("data").cloned().unwrap_or(Value::Null),
        }
    }

    /// Returns the key under which the worker knows the socket: unique within the worker, as Node demands.
    pub fn key(&self) -> String {
        let address = self.address.as_deref().unwrap_or("null");
        let fd = self.fd.map_or_else(|| "undefined".to_owned(), |fd| fd.to_string());
        format!("{address}:{}:{}:{fd}:{}:{}", self.port, self.kind.node(), self.flags, self.index)
    }

    /// Reads a key back.
    pub fn from_key(key: &str) -> Option<Self> {
        let mut parts = key.rsplitn(6, ':');
        let index = parts.next()?.parse().ok()?;
        let flags = parts.next()?.parse().ok()?;
        let fd = parts.next()?.parse().ok();
        let kind = Kind::from_node(parts.next()?)?;
        let port = parts.next()?.parse().ok()?;
        let address = parts.next().filter(|address| *address != "null").map(str::to_owned);
        Some(Self { index, flags, fd, nonblocking: true, ..Self::new(address, port, kind) })
    }

    /// Returns how many connections may wait.
    pub(crate) fn backlog_or_default(&self) -> u32 {
        if self.backlog == 0 { BACKLOG } else { self.backlog }
    }

    /// Returns what makes two wants the same socket; `None` when it is not ours to make.
    pub(crate) fn place(&self) -> Option<Place> {
        let port = match self.kind {
            Kind::Descriptor => return None,
            Kind::Unix => 0,
            _ => u16::try_from(self.port).ok()?,
        };
        let chosen_by_kernel = port == 0 && self.kind != Kind::Unix;
        Some(Place {
            kind: self.kind,
            port,
            ordinal: if chosen_by_kernel { self.index } else { 0 },
            v6only: self.flags & V6_ONLY != 0,
            address: self.address.clone(),
        })
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, self.kind) {
            (_, Kind::Descriptor) => write!(f, "descriptor {}", self.fd.unwrap_or(-1)),
            (address, Kind::Unix) => f.write_str(address.as_deref().unwrap_or("")),
            (None, Kind::Udp4) => write!(f, "0.0.0.0:{}", self.port),
            (None, _) => write!(f, "[::]:{}", self.port),
            (Some(address), _) if address.contains(':') => write!(f, "[{address}]:{}", self.port),
            (Some(address), _) => write!(f, "{address}:{}", self.port),
        }
    }
}

/// What makes two wants of one app the same socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    /// With port 0: the how-many-eth of the worker's random ports.
    pub(crate) ordinal: u32,
    pub(crate) v6only: bool,
    pub(crate) address: Option<String>,
}

impl Place {
    /// Returns where to bind; `None` when the address is none.
    pub(crate) fn to_bind(&self, want: &Want) -> Option<Address> {
        let at = |unspecified: IpAddr| {
            let ip = match &self.address {
                None => unspecified,
                Some(text) => parse_ip(text)?,
            };
            Some(SocketAddr::new(ip, self.port))
        };
        let v6only = self.v6only;
        let reuse = want.flags & UDP_REUSE != 0;
        match self.kind {
            Kind::Tcp4 | Kind::Tcp6 if self.address.is_none() && !v6only => Some(Address::TcpAny { port: self.port }),
            Kind::Tcp4 | Kind::Tcp6 => Some(Address::Tcp { at: at(Ipv6Addr::UNSPECIFIED.into())?, v6only }),
            Kind::Udp4 => Some(Address::Udp { at: at(Ipv4Addr::UNSPECIFIED.into())?, v6only, reuse }),
            Kind::Udp6 => Some(Address::Udp { at: at(Ipv6Addr::UNSPECIFIED.into())?, v6only, reuse }),
            Kind::Unix => Some(Address::Unix { path: PathBuf::from(self.address.as_deref()?), mode: want.mode }),
            Kind::Descriptor => None,
        }
    }

    /// Returns the want that a worker's first request for it is.
    pub(crate) fn want(&self) -> Want {
        let port = if self.kind == Kind::Unix { -1 } else { self.port.into() };
        let flags = if self.v6only { V6_ONLY } else { 0 };
        Want { flags, index: self.ordinal, ..Want::new(self.address.clone(), port, self.kind) }
    }

    /// Returns the form that stands in names: `8000,4,0,0,127.0.0.1`.
    pub(crate) fn encode(&self) -> String {
        let address = match &self.address {
            None => "null".to_owned(),
            Some(address) => escape(address),
        };
        format!("{},{},{},{},{address}", self.port, self.kind.node(), self.ordinal, u8::from(self.v6only))
    }

    /// Reads what [`Place::encode`] wrote.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ',');
        let port = parts.next()?.parse().ok()?;
        let kind = Kind::from_node(parts.next()?)?;
        let ordinal = parts.next()?.parse().ok()?;
        let v6only = parts.next()? == "1";
        let address = match parts.next()? {
            "null" => None,
            text => Some(unescape(text)?),
        };
        Some(Self { kind, port, ordinal, v6only, address })
    }
}

/// Reads an IP address; a zone (`fe80::1%eth0`) is not understood here.
fn parse_ip(text: &str) -> Option<IpAddr> {
    if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() }
}

/// Writes every byte that could disturb a name as `%xx`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b':' | b'-' | b'_' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let read = |text: &str| {
            let want = Want::parse(text).unwrap();
            (want.address, want.port, want.kind)
        };
        assert_eq!(read("8002"), (None, 8002, Kind::Tcp4));
        assert_eq!(read(":8002"), (None, 8002, Kind::Tcp4));
        assert_eq!(read("*:8002"), (None, 8002, Kind::Tcp4));
        assert_eq!(read("0.0.0.0:8002"), (Some("0.0.0.0".into()), 8002, Kind::Tcp4));
        assert_eq!(read("localhost:1"), (Some("127.0.0.1".into()), 1, Kind::Tcp4));
        assert_eq!(read("[::]:80"), (Some("::".into()), 80, Kind::Tcp6));
        assert_eq!(read("unix:/run/x.sock"), (Some("/run/x.sock".into()), -1, Kind::Unix));
        for wrong in ["", "x", "1.2.3.4", "1.2.3.4:70000", "[::1:80", "::1:80", "example.com:80"] {
            assert!(Want::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Want::parse("h:80").unwrap_err().to_string().contains("`h:80`"));
        for text in ["[::]:80", "[::1]:80", "127.0.0.1:80", "/run/x.sock"] {
            assert_eq!(Want::parse(text).unwrap().to_string(), text, "shown as it is written");
        }
        assert_eq!(Want::parse("80").unwrap().to_string(), "[::]:80");
    }

    #[test]
    fn keys_and_places_read_back() {
        let wants = [
            Want { index: 3, ..Want::parse("0").unwrap() },
            Want { flags: 1, ..Want::parse("[::1]:80").unwrap() },
            Want::parse("/tmp/a b,%/ü:1:4:x").unwrap(),
            Want::new(Some("0.0.0.0".into()), 53, Kind::Udp4),
        ];
        for want in wants {
            assert_eq!(Want::from_key(&want.key()), Some(Want { nonblocking: true, ..want.clone() }));
            let place = want.place().unwrap();
            assert_eq!(Place::decode(&place.encode()), Some(place.clone()));
            assert!(!place.encode().contains('/'));
        }
        assert_eq!(Want::from_key("null:9700"), None);
    }

    #[test]
    fn random_ports_are_told_apart_and_others_are_not() {
        let port = |port, index| Want { index, ..Want::new(None, port, Kind::Tcp4) }.place();
        assert_ne!(port(0, 0), port(0, 1));
        assert_eq!(port(80, 0), port(80, 1));
        assert_eq!(Want { fd: Some(5), ..Want::new(None, -1, Kind::Descriptor) }.place(), None);
    }
}
