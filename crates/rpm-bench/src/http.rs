//! One request and its answer, strictly.
//!
//! A client for loopback measurements: GET only, HTTP/1.1, bodies by length or in chunks. An answer that is cut short
//! is an error even when its status line said 200.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest head of an answer; more is an error, not memory.
const HEAD_MAX: u64 = 64 * 1024;
/// The longest body.
const BODY_MAX: u64 = 16 * 1024 * 1024;

/// An answer that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the connection may carry another request.
    pub reusable: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Lost {
    /// No connection.
    Connect(io::Error),
    /// The connection ended or broke before the first byte of the answer: on a reused connection the request may be
    /// sent again (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
    BeforeAnswer(io::Error),
    /// It ended or broke within the answer, or the answer is not HTTP.
    WithinAnswer(io::Error),
}

impl Lost {
    /// Returns whether the server closed the connection before it answered; silence is something else.
    pub fn is_closed_before_answer(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let Lost::BeforeAnswer(error) = self else { return false };
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    }

    /// Returns a short name, the same for all failures of one kind.
    pub fn kind(&self) -> String {
        let (place, error) = match self {
            Lost::Connect(error) => ("connect", error),
            Lost::BeforeAnswer(error) => ("before the answer", error),
            Lost::WithinAnswer(error) => ("within the answer", error),
        };
        match error.kind() {
            // What a read timeout is called depends on the system.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("{place}: timed out"),
            kind => format!("{place}: {kind}"),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// Whether it has carried a request before.
    pub used: bool,
}

impl Connection {
    /// Connects; every later wait is bounded by `patience` too.
    ///
    /// # Errors
    /// When nobody listens or nobody answers in time.
    pub fn open(address: SocketAddr, patience: Duration) -> Result<Self, Lost> {
        let open = || {
            let stream = TcpStream::connect_timeout(&address, patience)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Ok(stream)
        };
        Ok(Self { stream: BufReader::new(open().map_err(Lost::Connect)?), used: false })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the answer does not arrive complete.
    pub fn ask(&mut self, request: &[u8]) -> Result<Answer, Lost> {
        self.used = true;
        self.stream.get_mut().write_all(request).map_err(Lost::BeforeAnswer)?;
        match self.stream.fill_buf() {
            Ok([]) => return Err(Lost::BeforeAnswer(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(error) => return Err(Lost::BeforeAnswer(error)),
        }
        read_answer(&mut self.stream).map_err(Lost::WithinAnswer)
    }
}

/// Returns the bytes of a GET request.
pub fn request(host: &str, path: &str, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n").into_bytes()
}

fn read_answer(stream: &mut impl BufRead) -> io::Result<Answer> {
    loop {
        let answer = read_one(stream)?;
        // An interim answer announces another one.
        if !(100..200).contains(&answer.status) {
            return Ok(answer);
        }
    }
}

fn read_one(stream: &mut impl BufRead) -> io::Result<Answer> {
    let mut head = stream.take(HEAD_MAX);
    let line = read_line(&mut head)?;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid(format!("`{line}` is no status line")))?;
    let mut reusable = line.starts_with("HTTP/1.1");
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = read_line(&mut head)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("`{line}` is no header")))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<u64>().map_err(|_| invalid(format!("`{value}` is no length")))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            reusable = !value.eq_ignore_ascii_case("close");
        }
    }
    let mut body = Vec::new();
    match length {
        _ if (100..200).contains(&status) || status == 204 || status == 304 => {}
        _ if chunked => read_chunks(stream, &mut body)?,
        Some(length) => read_exactly(stream, length, &mut body)?,
        None => {
            reusable = false;
            stream.take(BODY_MAX).read_to_end(&mut body)?;
        }
    }
    Ok(Answer { status, body, reusable })
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(&mut stream.take(HEAD_MAX))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid(format!("`{line}` is no chunk size")))?;
        read_exactly(stream, size, body)?;
        // After the last chunk there may be trailers; the empty line ends either.
        while !read_line(&mut stream.take(HEAD_MAX))?.is_empty() {
            if size > 0 {
                return Err(invalid("a chunk is longer than its size".into()));
            }
        }
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_exactly(stream: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if length + body.len() as u64 > BODY_MAX {
        return Err(invalid(format!("a body of {length} bytes is too long")));
    }
    if stream.take(length).read_to_end(body)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let Some(text) = line.strip_suffix('\n') else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Answer> {
        read_answer(&mut text.as_bytes())
    }

    #[test]
    fn bodies_end_by_length_by_chunks_or_with_the_connection() {
        let answer = |body: &str, reusable| Answer { status: 200, body: body.into(), reusable };
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", answer("hi", true)),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", answer("hi", false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=y\r\n ho\r\n0\r\n\r\n",
                answer("hi ho", true),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nhi", answer("hi", false)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", answer("", true)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error() {
        for whole in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ] {
            for cut in 0..whole.len() {
                assert!(read(&whole[..cut]).is_err(), "cut at {cut}: {whole}");
            }
        }
    }
}
