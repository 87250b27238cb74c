//! The PROXY protocol, versions 1 and 2: who the client is, said before the first byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read: 107 bytes in version 1; in version 2 the fixed part and as much as anybody sends.
pub const HEADER_MAX: usize = 16 + 2048;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length.
    pub length: usize,
    /// Source and destination; `None` where it says that the connection is the proxy's own (health checks).
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// It is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadHeader;

/// Reads the header at the beginning of `bytes`; `None` when more are needed.
///
/// # Errors
/// When it is none.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let begins = |text: &[u8]| bytes.starts_with(text) || text.starts_with(bytes);
    if bytes.starts_with(SIGNATURE) {
        parse_v2(bytes)
    } else if bytes.starts_with(b"PROXY ") {
        parse_v1(bytes)
    } else if begins(SIGNATURE) || begins(b"PROXY ") {
        Ok(None)
    } else {
        Err(BadHeader)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    const LINE_MAX: usize = 107;
    let Some(end) = memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE_MAX)]) else {
        return if bytes.len() >= LINE_MAX { Err(BadHeader) } else { Ok(None) };
    };
    let line = bytes[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok()).ok_or(BadHeader)?;
    let words: Vec<_> = line.split(' ').collect();
    let addresses = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let address = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().map_err(|_| BadHeader)?;
                let right = ip.is_ipv4() == (*family == "TCP4") && !port.starts_with('+');
                let port = port.parse().map_err(|_| BadHeader)?;
                if right { Ok(SocketAddr::new(ip, port)) } else { Err(BadHeader) }
            };
            Some((address(from, from_port)?, address(to, to_port)?))
        }
        _ => return Err(BadHeader),
    };
    Ok(Some(Header { length: end + 1, addresses }))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(&[version_command, family, high, low]) = bytes.get(12..16) else { return Ok(None) };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || length > HEADER_MAX {
        return Err(BadHeader);
    }
    let Some(body) = bytes.get(16..length) else { return Ok(None) };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let addresses = match (version_command & 15, family >> 4) {
        (0, _) => None,
        (1, 1) if body.len() >= 12 => {
            let ip = |at: usize| Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]).into();
            Some((SocketAddr::new(ip(0), port(8)), SocketAddr::new(ip(4), port(10))))
        }
        (1, 2) if body.len() >= 36 => {
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[at..at + 16]);
                Ipv6Addr::from(octets).into()
            };
            Some((SocketAddr::new(ip(0), port(32)), SocketAddr::new(ip(16), port(34))))
        }
        // Unix sockets and what is unspecified have no addresses for us.
        (1, 0 | 3) => None,
        _ => return Err(BadHeader),
    };
    Ok(Some(Header { length, addresses }))
}

/// Writes a header of version 1.
pub fn write_v1(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (from, to) = same_family(from, to);
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
}

/// Writes a header of version 2.
pub fn write_v2(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (from, to) = same_family(from, to);
    let mut header = SIGNATURE.to_vec();
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let body =
        [octets(from), octets(to), from.port().to_be_bytes().to_vec(), to.port().to_be_bytes().to_vec()].concat();
    header.extend([0x21, if from.is_ipv4() { 0x11 } else { 0x21 }]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

/// Both ends of a header are of one family; IPv4 is written as IPv6 where the other end is.
fn same_family(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from), mapped(to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (from, to) in [("1.2.3.4:5", "6.7.8.9:80"), ("[fe80::1]:5", "[::1]:80"), ("1.2.3.4:5", "[::1]:80")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            for header in [write_v1(from, to), write_v2(from, to)] {
                let read = parse(&header).unwrap().unwrap();
                assert_eq!(read.length, header.len());
                assert_eq!(read.addresses, Some(same_family(from, to)));
                for end in 0..header.len() {
                    assert_eq!(parse(&header[..end]), Ok(None), "{end}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bad in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ] {
            assert_eq!(parse(bad), Err(BadHeader), "{bad:?}");
        }
        let unknown = parse(b"PROXY UNKNOWN\r\nGET").unwrap().unwrap();
        assert_eq!(unknown, Header { length: 15, addresses: None });
    }
}
