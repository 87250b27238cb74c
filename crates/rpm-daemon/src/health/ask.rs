//! One question to one worker: does a connection open, is `GET` answered well?
//!
//! The client of HTTP is as small as this needs: it reads the status line, and of the body until what is looked for is
//! found. It follows no redirect, and never reads more than its bound. (The balancer has a whole parser for its own checks;
//! its code is no part of this program, which is to stay small.)

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use memchr::memmem::find;
use rpm_model::Probe;
use rpm_model::balance::StatusRange;
use rpm_supervise::Trouble;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// As much of an answer as is read.
const ANSWER_MAX: usize = 64 << 10;

/// Room for most answers as a whole.
const PIECE: usize = 2048;

/// Where a worker is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp {
        to: SocketAddr,
        /// The address to connect from, which names the worker.
        source: Option<Ipv4Addr>,
    },
    Unix(PathBuf),
}

impl Place {
    pub(crate) fn local(port: u16) -> Self {
        Self::Tcp { to: (Ipv4Addr::LOCALHOST, port).into(), source: None }
    }
}

/// Asks once, and tells what was found, for people; as an error what was wrong. Whoever asks keeps the time: to drop this
/// is to hang up.
///
/// What has been told is not over: the rest of the answer is heard out, since a server that is cut off in its answer
/// writes an error into the app's log.
pub(crate) async fn ask(place: &Place, probe: &Probe, tell: impl FnOnce(Result<String, Trouble>)) {
    let request = request(probe);
    match place {
        Place::Tcp { to, source } => converse(connect(*to, *source, &request).await, &request, probe, tell).await,
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map(|stream| (stream, 0));
            converse(stream, &request, probe, tell).await;
        }
    }
}

/// Returns what is sent; nothing where it is enough that a connection opens.
fn request(probe: &Probe) -> Vec<u8> {
    let Probe::Http { path, host, .. } = probe else { return Vec::new() };
    let host = host.as_deref().unwrap_or("localhost");
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rpm-health\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// Goes on with a connection on which so many bytes of the request are sent.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    opened: io::Result<(S, usize)>,
    request: &[u8],
    probe: &Probe,
    tell: impl FnOnce(Result<String, Trouble>),
) {
    let (mut stream, sent) = match opened {
        Ok(opened) => opened,
        Err(error) => return tell(Err(super::wrong(format!("connection: {}", plain(&error))))),
    };
    let mut answer = Vec::with_capacity(PIECE);
    let found = question(&mut stream, &request[sent..], probe, &mut answer).await;
    tell(found.map_err(super::wrong));
    if matches!(status_of(&answer), Status::Is(_)) {
        while !is_whole(&answer) && matches!(read(&mut stream, &mut answer).await, Ok(true)) {}
    }
}

async fn question<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    probe: &Probe,
    answer: &mut Vec<u8>,
) -> Result<String, String> {
    let Probe::Http { status, body, .. } = probe else { return Ok("connected".to_owned()) };
    stream.write_all(request).await.map_err(|error| format!("request: {}", plain(&error)))?;
    let code = loop {
        match status_of(answer) {
            Status::Is(code) => break code,
            Status::No => return Err("the answer is no HTTP".to_owned()),
            Status::More if !read(stream, answer).await? => return Err("the answer broke off".to_owned()),
            Status::More => {}
        }
    };
    let found = format!("status {code}");
    if !StatusRange::accept(status, code) {
        return Err(found);
    }
    let Some(wanted) = body else { return Ok(found) };
    loop {
        if body_of(answer).is_some_and(|body| find(&body, wanted.as_bytes()).is_some()) {
            return Ok(found);
        }
        if !read(stream, answer).await? {
            return Err(format!("{found}, but {wanted:?} is not in the body"));
        }
    }
}

/// Reads more; returns whether there was any, within the bound.
async fn read(stream: &mut (impl AsyncRead + Unpin), answer: &mut Vec<u8>) -> Result<bool, String> {
    let room = ANSWER_MAX.saturating_sub(answer.len()) as u64;
    let count = stream.take(room).read_buf(answer).await.map_err(|error| format!("answer: {}", plain(&error)))?;
    Ok(count > 0)
}

/// What stands at the beginning of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Status {
    Is(u16),
    More,
    No,
}

/// Reads the status line; interim answers (100 to 199) are passed over.
fn status_of(answer: &[u8]) -> Status {
    const BEGINS: &[u8] = b"HTTP/1.";
    if !answer.starts_with(&BEGINS[..answer.len().min(BEGINS.len())]) {
        return Status::No;
    }
    // The version, a blank, three digits, and what follows them.
    let Some(line) = answer.get(BEGINS.len() + 1..BEGINS.len() + 6) else { return Status::More };
    let digits =
        std::str::from_utf8(&line[1..4]).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let ends = matches!(line[4], b' ' | b'\r' | b'\n');
    match digits.and_then(|digits| digits.parse().ok()).filter(|_| line[0] == b' ' && ends) {
        Some(100..200) => find(answer, b"\r\n\r\n").map_or(Status::More, |end| status_of(&answer[end + 4..])),
        Some(code) => Status::Is(code),
        None => Status::No,
    }
}

/// Returns whether nothing more is to come, as far as the answer itself tells; else its end is the connection's.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = find(answer, b"\r\n\r\n") else { return false };
    let (head, rest) = (answer[..end].to_ascii_lowercase(), &answer[end + 4..]);
    if head.starts_with(b"http/1.1 1") {
        return is_whole(rest);
    }
    const LENGTH: &[u8] = b"\r\ncontent-length:";
    match find(&head, LENGTH) {
        Some(at) => {
            let line = &head[at + LENGTH.len()..];
            let line = &line[..find(line, b"\r\n").unwrap_or(line.len())];
            let length = std::str::from_utf8(line).ok().and_then(|length| length.trim().parse::<usize>().ok());
            length.is_some_and(|length| rest.len() >= length)
        }
        None => rest.ends_with(b"0\r\n\r\n") || head.starts_with(b"http/1.1 204"),
    }
}

/// Returns what has come of the body, without the marks of its chunks.
fn body_of(answer: &[u8]) -> Option<Vec<u8>> {
    let end = find(answer, b"\r\n\r\n")?;
    let (head, mut rest) = (&answer[..end], &answer[end + 4..]);
    if matches!(status_of(answer), Status::Is(_)) && head.starts_with(b"HTTP/1.1 1") {
        return body_of(rest);
    }
    let head = head.to_ascii_lowercase();
    let chunked = find(&head, b"\r\ntransfer-encoding:").is_some_and(|at| {
        let line = &head[at + 2..];
        find(&line[..find(line, b"\r\n").unwrap_or(line.len())], b"chunked").is_some()
    });
    if !chunked {
        return Some(rest.to_vec());
    }
    let mut body = Vec::new();
    while let Some(line) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()).unwrap_or(0);
        rest = &rest[line + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        // The end of a chunk is a line end of its own.
        match rest.get(size.saturating_add(2)..) {
            Some(next) if size > 0 => rest = next,
            _ => break,
        }
    }
    Some(body)
}

/// Connects, and sends the request in the same breath where that is possible; returns how much of it is sent.
async fn connect(to: SocketAddr, source: Option<Ipv4Addr>, request: &[u8]) -> io::Result<(TcpStream, usize)> {
    match open(to, source, request).await {
        // A worker may listen on ::1 alone.
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused
                && source.is_none()
                && to.ip() == Ipv4Addr::LOCALHOST =>
        {
            open((Ipv6Addr::LOCALHOST, to.port()).into(), None, request).await.map_err(|_| error)
        }
        other => other,
    }
}

async fn open(to: SocketAddr, source: Option<Ipv4Addr>, request: &[u8]) -> io::Result<(TcpStream, usize)> {
    let failed = |error: rpm_sys::SysError| io::Error::from_raw_os_error(error.errno);
    let socket = rpm_sys::net::begin_connection(source, to).map_err(failed)?;
    let sent = match request {
        [] => None,
        // Over the loopback it is open already: that spares a wait, and the way through the runtime.
        request => rpm_sys::net::send_now(&socket, request).map_err(failed)?,
    };
    let stream = TcpStream::from_std(socket.into())?;
    if let Some(sent) = sent {
        return Ok((stream, sent));
    }
    stream.writable().await?;
    stream.take_error()?.map_or(Ok((stream, 0)), Err)
}

/// Writes an error without the number that the system has for it.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_line_is_read_when_it_is_whole() {
        assert_eq!(status_of(b""), Status::More);
        assert_eq!(status_of(b"HTTP/1.1 20"), Status::More);
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\n"), Status::Is(204));
        assert_eq!(status_of(b"HTTP/1.0 500\r\n"), Status::Is(500));
        assert_eq!(status_of(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), Status::Is(200));
        assert_eq!(status_of(b"HTTP/1.1 103 Early\r\n"), Status::More);
        for bad in [&b"SSH-2.0-OpenSSH"[..], b"HTTP/2 200 OK\r\n", b"HTTP/1.1 2000 \r\n", b"HTTP/1.1 x00 \r\n"] {
            assert_eq!(status_of(bad), Status::No, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn chunks_are_put_together() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhea\r\n4;x=y\r\nlthy\r\n0\r\n\r\n";
        assert_eq!(body_of(answer).as_deref(), Some(&b"healthy"[..]));
        // As far as it has come.
        assert_eq!(body_of(&answer[..answer.len() - 9]).as_deref(), Some(&b"healt"[..]));
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nplain").as_deref(), Some(&b"plain"[..]));
        assert_eq!(body_of(b"HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn an_answer_says_where_it_ends() {
        for whole in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..],
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\ncontent-length:0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ] {
            assert!(is_whole(whole));
            assert!(!is_whole(&whole[..whole.len() - 1]), "{}", String::from_utf8_lossy(whole));
        }
        assert!(!is_whole(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"));
    }

    #[test]
    fn a_server_is_heard_out() {
        use std::io::{Read, Write};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::local(listener.local_addr().unwrap().port());
        let (told, is_told) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let count = stream.read(&mut asked).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").unwrap();
            let found: Result<String, Trouble> = is_told.recv().unwrap();
            assert_eq!(found.unwrap(), "status 200");
            stream.write_all(b"fine").unwrap();
            // Closed by an asker who has read everything: nothing is reset.
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        let (path, host, body, port) = ("/health".to_owned(), None, None, None);
        let probe = Probe::Http { path, host, status: Vec::new(), body, port };
        runtime.block_on(ask(&place, &probe, |found| told.send(found).unwrap()));
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET /health HTTP/1.1\r\nHost: localhost\r\n"), "{asked}");
    }

    #[test]
    fn who_does_not_listen_refuses() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut why = None;
        runtime.block_on(ask(&Place::local(port), &Probe::Tcp { port: None }, |found| why = found.err()));
        assert_eq!(why.unwrap().why, "connection: refused");
    }

    proptest! {
        #[test]
        fn no_answer_is_too_odd(answer in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (status_of(&answer), body_of(&answer), is_whole(&answer));
            let mut odd = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            odd.extend(answer);
            let _ = body_of(&odd);
        }
    }
}
