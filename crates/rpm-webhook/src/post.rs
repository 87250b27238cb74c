//! One POST over HTTP/1.1, with TLS for `https`. The answer's status is all that is read of it.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// As much of an answer's head as is read.
const HEAD_MAX: usize = 16 << 10;

/// Where the systems keep the certificates that they trust, beside SSL_CERT_FILE.
const TRUSTED: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A request that is made as often as needed.
pub(crate) struct Post {
    host: String,
    port: u16,
    tls: bool,
    bytes: Vec<u8>,
    timeout: Duration,
}

/// Why a request was not taken.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: String,
    /// Whether another attempt may have more luck.
    pub(crate) may_help: bool,
}

impl Post {
    /// Makes a request for an address.
    ///
    /// # Errors
    /// When it is no address.
    pub(crate) fn new(
        url: &str,
        headers: Vec<(&str, String)>,
        body: String,
        timeout: Duration,
    ) -> Result<Self, String> {
        let no_address = || "the address is none: expected http:// or https:// and a host".to_owned();
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(no_address()),
        };
        if rest.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(no_address());
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| no_address())?),
            _ => (authority, if tls { 443 } else { 80 }),
        };
        if host.is_empty() || host.contains('@') {
            return Err(no_address());
        }
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: rpm/{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n",
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port, tls, bytes: [head.into_bytes(), body.into_bytes()].concat(), timeout })
    }

    /// Makes the request once.
    pub(crate) fn send(&self) -> Result<(), Failed> {
        let status = self.ask().map_err(|error| Failed {
            may_help: error.kind() != io::ErrorKind::InvalidInput,
            why: match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    format!("no answer within {} ms", self.timeout.as_millis())
                }
                _ => error.to_string(),
            },
        })?;
        match status {
            200..300 => Ok(()),
            // What the receiver may yet take: it is busy, or broken.
            408 | 425 | 429 | 500.. => Err(Failed { why: format!("status {status}"), may_help: true }),
            _ => Err(Failed { why: format!("status {status}"), may_help: false }),
        }
    }

    fn ask(&self) -> io::Result<u16> {
        let until = Instant::now() + self.timeout;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(until)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let mut stream = Timed { stream, until };
                    return if self.tls {
                        self.exchange(&mut self.secured(stream)?, until)
                    } else {
                        self.exchange(&mut stream, until)
                    };
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn secured(&self, stream: Timed) -> io::Result<StreamOwned<ClientConnection, Timed>> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?
            .with_root_certificates(trusted()?)
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone()).map_err(|error| invalid(error.to_string()))?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| invalid(error.to_string()))?;
        Ok(StreamOwned::new(connection, stream))
    }

    fn exchange(&self, stream: &mut (impl Read + Write), until: Instant) -> io::Result<u16> {
        stream.write_all(&self.bytes)?;
        stream.flush()?;
        let (mut head, mut part) = (Vec::new(), [0u8; 2048]);
        loop {
            left(until)?;
            let count = stream.read(&mut part)?;
            head.extend_from_slice(&part[..count]);
            if let Some(status) = status_of(&head)? {
                return Ok(status);
            }
            if count == 0 || head.len() > HEAD_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer broke off"));
            }
        }
    }
}

/// Reads the status of the last head; interim answers (100 to 199) are passed over.
fn status_of(mut bytes: &[u8]) -> io::Result<Option<u16>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        let no_http = |_| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP");
        match answer.parse(bytes).map_err(no_http)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => match answer.code {
                Some(100..200) => bytes = &bytes[length..],
                code => return Ok(code),
            },
        }
    }
}

/// A stream whose reads and writes end in time all together.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Returns the time that is left.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn trusted() -> io::Result<RootCertStore> {
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let paths = named.into_iter().chain(TRUSTED.map(std::path::PathBuf::from));
    let mut store = RootCertStore::empty();
    for path in paths {
        let Ok(certificates) = CertificateDer::pem_file_iter(&path) else { continue };
        // One that cannot be read makes nobody else less trustworthy.
        store.add_parsable_certificates(certificates.flatten());
        if !store.is_empty() {
            return Ok(store);
        }
    }
    let why = "no certificates are trusted here: install ca-certificates, or name a file in SSL_CERT_FILE";
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(url: &str) -> Result<Post, String> {
        Post::new(url, Vec::new(), "{}".to_owned(), Duration::from_secs(1))
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (url, host, port, tls, line) in [
            ("http://a", "a", 80, false, "POST / HTTP/1.1"),
            ("https://a/x?y=1#z", "a", 443, true, "POST /x?y=1 HTTP/1.1"),
            ("http://[::1]:8080/h", "::1", 8080, false, "POST /h HTTP/1.1"),
            ("http://[::1]?q", "::1", 80, false, "POST /?q HTTP/1.1"),
        ] {
            let post = post(url).expect(url);
            assert_eq!((post.host.as_str(), post.port, post.tls), (host, port, tls), "{url}");
            assert!(post.bytes.starts_with(line.as_bytes()), "{url}");
        }
        for bad in ["a", "ftp://a", "http://", "http://a:b/", "http://me@a/", "http://a/ HTTP/1.1", "http://a/\r\nX: y"]
        {
            assert!(post(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_is_read_when_its_head_is_whole() {
        assert_eq!(status_of(b"HTTP/1.1 20").expect("so far"), None);
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\n\r\n").expect("fine"), Some(204));
        assert_eq!(status_of(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 X\r\n\r\n").expect("fine"), Some(500));
        assert!(status_of(b"SSH-2.0\r\n\r\n").is_err());
    }
}
