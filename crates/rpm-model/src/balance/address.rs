//! Where one listens and connects.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is no address of the kind that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAddress(&'static str);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl std::error::Error for BadAddress {}

/// Where a balancer takes connections. Written `0.0.0.0:80`, `[::]:80`, `:80` (every address) or `unix:/run/web.sock`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// A port of one address, or of all addresses of a family (`0.0.0.0`, `[::]`).
    Tcp(SocketAddr),
    /// A port of every address, IPv6 and IPv4.
    Any(u16),
    /// A socket file: an absolute path.
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        const WANTED: BadAddress =
            BadAddress("ADDRESS:PORT, :PORT or unix:/PATH, for example 0.0.0.0:80, [::1]:8080 or unix:/run/web.sock");
        if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(WANTED) };
        }
        let port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text);
        if let Ok(port) = port.parse() {
            return Ok(Self::Any(port));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self::Tcp(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)));
        }
        text.parse().map(Self::Tcp).map_err(|_| WANTED)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Any(port) => write!(f, ":{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerAddress {
    /// A name or an address, and a port. Names are resolved when the configuration is applied.
    Tcp {
        /// The name, or the address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket file: an absolute path.
    Unix(PathBuf),
    /// Every worker of a managed app. The daemon tells the edge which there are; see [`crate::edge::Member`].
    App(String),
}

impl FromStr for ServerAddress {
    type Err = BadAddress;

    /// Reads `127.0.0.1:3001`, `[::1]:3001`, `db.internal:3001` or `unix:/run/app.sock`.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        const WANTED: BadAddress =
            BadAddress("HOST:PORT or unix:/PATH, for example 127.0.0.1:3001, [::1]:3001 or unix:/run/app.sock");
        if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(WANTED) };
        }
        if let Ok(at) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp { host: at.ip().to_string(), port: at.port() });
        }
        let (host, port) = text.rsplit_once(':').ok_or(WANTED)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(WANTED);
        }
        Ok(Self::Tcp { host: host.into(), port: port.parse().map_err(|_| WANTED)? })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::App(name) => write!(f, "app {name}"),
        }
    }
}

/// A range of addresses: `10.0.0.0/8`, `::1`, `192.168.1.4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Returns whether the address lies in the range; an IPv4 address inside an IPv6 one counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        const WANTED: BadAddress = BadAddress("an address or a range, for example 10.0.0.0/8 or ::1");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| WANTED)?)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| WANTED)?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(WANTED) } else { Ok(Self { network, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

/// Crosses processes as the text that people write.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(ListenAddress, Cidr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["0.0.0.0:80", "[::]:80", ":80", "unix:/run/web.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!("80".parse(), Ok(ListenAddress::Any(80)));
        assert_eq!("*:80".parse(), Ok(ListenAddress::Any(80)));
        for bad in ["", "unix:web.sock", "0.0.0.0", "0.0.0.0:99999", "example.com:80"] {
            assert!(bad.parse::<ListenAddress>().is_err(), "{bad}");
        }
        for text in ["127.0.0.1:3001", "[::1]:3001", "db.internal:3001", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), text);
        }
        for bad in ["", "3001", "unix:app.sock", "a b:1", "::1:3001", "host:", ":80"] {
            assert!(bad.parse::<ServerAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_holds_its_addresses() {
        let holds = |range: &str, address: &str| range.parse::<Cidr>().unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "11.0.0.1"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "fe80::1"));
        assert!(holds("192.168.1.4", "192.168.1.4"));
        assert!(!holds("192.168.1.4", "192.168.1.5"));
        for bad in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "1.2.3.4/-1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
