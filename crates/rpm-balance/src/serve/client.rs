//! Who the client is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rpm_model::balance::Cidr;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address; of a socket file, 127.0.0.1 with port 0.
    pub address: SocketAddr,
    /// The address as text.
    pub text: String,
    /// Where it connected to.
    pub local: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl Client {
    /// Returns the client at this address.
    pub fn new(address: SocketAddr, local: SocketAddr, tls: bool) -> Self {
        // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d; nobody wants to read that.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        Self { address, text: address.ip().to_string(), local, tls }
    }

    /// Returns what stands for an address where there is none.
    pub fn nowhere() -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)
    }

    /// Returns `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Returns whether it is a proxy that is believed.
    pub fn is_trusted(&self, trusted: &[Cidr]) -> bool {
        is_trusted(self.address.ip(), trusted)
    }

    /// Returns the address the request really comes from: of what trusted proxies say (each `X-Forwarded-For` value in
    /// its order), the last one that is not a trusted proxy itself.
    pub fn origin<'v>(&self, trusted: &[Cidr], values: impl DoubleEndedIterator<Item = &'v [u8]>) -> IpAddr {
        let mut origin = self.address.ip();
        if !self.is_trusted(trusted) {
            return origin;
        }
        for value in values.rev() {
            for part in value.rsplit(|byte| *byte == b',') {
                let Some(address) = parse(part.trim_ascii()) else { return origin };
                origin = address;
                if !is_trusted(address, trusted) {
                    return origin;
                }
            }
        }
        origin
    }
}

fn is_trusted(address: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|range| range.contains(address))
}

/// Reads an address, with or without a port.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.parse().ok().or_else(|| text.trim_matches(['[', ']']).parse().ok());
    plain.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let origin = |peer: &str, values: &[&str]| {
            let client = Client::new(peer.parse().unwrap(), Client::nowhere(), false);
            client.origin(&trusted, values.iter().map(|value| value.as_bytes())).to_string()
        };
        assert_eq!(origin("1.2.3.4:5", &["9.9.9.9"]), "1.2.3.4");
        assert_eq!(origin("10.0.0.1:5", &["9.9.9.9"]), "9.9.9.9");
        assert_eq!(origin("10.0.0.1:5", &["6.6.6.6, 9.9.9.9, 10.0.0.2"]), "9.9.9.9");
        assert_eq!(origin("10.0.0.1:5", &["6.6.6.6", "9.9.9.9:80,10.0.0.2"]), "9.9.9.9");
        assert_eq!(origin("10.0.0.1:5", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(origin("10.0.0.1:5", &["unknown"]), "10.0.0.1");
        assert_eq!(origin("10.0.0.1:5", &["[fe80::1]:80"]), "fe80::1");
        assert_eq!(origin("[::ffff:10.0.0.1]:5", &[]), "10.0.0.1");
    }
}
