//! Where a Node process hangs, by its inspector: what `stack_dump: "inspector"` asks for.
//!
//! Node opens its inspector at SIGUSR1 on a thread of its own, so also while its event loop is held up; told to pause, the
//! program stops at the next statement and tells the calls that led there. This is run by a process of its own
//! (`rpm node-stack`), as the app's user, and may wait: the daemon does not.
//!
//! The client of the WebSocket is as small as this needs: one server, on the loopback, and whole messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rpm_sys::pidfd::Pidfd;
use serde_json::{Value, json};

const SIGUSR1: i32 = 10;

/// The whole of it. What hangs is killed soon after.
const WITHIN: Duration = Duration::from_millis(900);

/// Between two looks for the port, which Node opens some ten milliseconds after the signal.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A message is longer than this only where a program has thousands of calls in one another.
const MESSAGE_MAX: usize = 16 << 20;

/// Calls that are told.
const CALLS_MAX: usize = 64;

/// Makes a Node process tell where it is; returns that as lines for its log.
///
/// # Errors
/// With a sentence, when it does not.
pub fn node_stack(pid: i32) -> Result<String, String> {
    let until = Instant::now() + WITHIN;
    let before = rpm_sys::net::listening_ports(&[pid]);
    let process = Pidfd::open(pid).map_err(|error| error.to_string())?;
    process.signal(SIGUSR1).map_err(|error| error.to_string())?;
    let port = loop {
        let ports = rpm_sys::net::listening_ports(&[pid]);
        match ports.iter().find(|port| !before.contains(port)) {
            Some(port) => break *port,
            None if Instant::now() >= until => return Err("its inspector does not open".to_owned()),
            None => std::thread::sleep(LOOK_EVERY),
        }
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "its inspector does not answer in time".to_owned(),
        _ => format!("its inspector: {error}"),
    };
    let mut inspector = Inspector::open(port, until).map_err(failed)?;
    inspector.ask(1, "Debugger.enable").and_then(|()| inspector.ask(2, "Debugger.pause")).map_err(failed)?;
    let mut files = BTreeMap::new();
    loop {
        match inspector.message() {
            Ok(message) if message["method"] == "Debugger.paused" => return Ok(calls(&message["params"], &files)),
            Ok(message) => {
                // Calls name their files by numbers, which are told before.
                let of = |key: &str| Some(message["params"][key].as_str()?.to_owned());
                files.extend(of("scriptId").zip(of("url")));
            }
            // It is paused when it next does anything.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok("    (it does nothing at all: its event loop waits)\n".to_owned());
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Returns the calls in Node's own words, innermost first.
fn calls(paused: &Value, files: &BTreeMap<String, String>) -> String {
    let frames = paused["callFrames"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for frame in frames.iter().take(CALLS_MAX) {
        let name = frame["functionName"].as_str().filter(|name| !name.is_empty()).unwrap_or("<anonymous>");
        let file = frame["location"]["scriptId"].as_str().and_then(|id| files.get(id)).map_or("?", String::as_str);
        let at = |key: &str| frame["location"][key].as_u64().unwrap_or_default() + 1;
        let _ = writeln!(
            text,
            "    at {name} ({}:{}:{})",
            file.trim_start_matches("file://"),
            at("lineNumber"),
            at("columnNumber")
        );
    }
    if frames.len() > CALLS_MAX {
        let _ = writeln!(text, "    (and {} more)", frames.len() - CALLS_MAX);
    }
    text
}

/// A conversation with an inspector.
struct Inspector {
    stream: TcpStream,
    until: Instant,
}

impl Inspector {
    fn open(port: u16, until: Instant) -> io::Result<Self> {
        let path = Self::path(port, until)?;
        let mut inspector = Self::connect(port, until)?;
        // The key is to be any sixteen bytes; whether the answer fits it tells us nothing about a server that we know.
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        inspector.stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            inspector.read(&mut byte)?;
            answer.extend(byte);
            if answer.len() > 4096 {
                return Err(invalid("no WebSocket"));
            }
        }
        if answer.starts_with(b"HTTP/1.1 101") { Ok(inspector) } else { Err(invalid("no WebSocket")) }
    }

    /// Asks for the path of the process's own conversation.
    fn path(port: u16, until: Instant) -> io::Result<String> {
        let mut inspector = Self::connect(port, until)?;
        let head = format!("GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        inspector.stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        // It does not close by itself: the list ends with its bracket.
        while !answer.trim_ascii_end().ends_with(b"]") {
            let mut piece = [0; 4096];
            inspector.wait()?;
            match inspector.stream.read(&mut piece)? {
                0 => break,
                count => answer.extend_from_slice(&piece[..count]),
            }
            if answer.len() > MESSAGE_MAX {
                return Err(invalid("no list"));
            }
        }
        let text = String::from_utf8_lossy(&answer);
        let (_, body) = text.split_once("\r\n\r\n").ok_or_else(|| invalid("no list"))?;
        let list: Value = serde_json::from_str(body).map_err(|error| invalid(&error.to_string()))?;
        let id = list[0]["id"].as_str().ok_or_else(|| invalid("no id"))?;
        Ok(format!("/{id}"))
    }

    fn connect(port: u16, until: Instant) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, until })
    }

    fn ask(&mut self, id: u32, method: &str) -> io::Result<()> {
        let text = json!({ "id": id, "method": method }).to_string();
        // A whole text, masked as clients must, with a mask that changes nothing.
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).map_err(|_| invalid("too long"))?, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.stream.write_all(&frame)
    }

    /// Reads the next whole message.
    fn message(&mut self) -> io::Result<Value> {
        let mut text = Vec::new();
        loop {
            let mut head = [0; 2];
            self.read(&mut head)?;
            let length = match head[1] & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.bytes()?)),
                127 => u64::from_be_bytes(self.bytes()?),
                short => u64::from(short),
            };
            let length = usize::try_from(length).ok().filter(|length| text.len() + length <= MESSAGE_MAX);
            let mut piece = vec![0; length.ok_or_else(|| invalid("a message is too long"))?];
            self.read(&mut piece)?;
            match head[0] & 0x0f {
                8 => return Err(io::ErrorKind::UnexpectedEof.into()),
                0 | 1 => text.extend(piece),
                // Binary, ping, pong: nothing that we wait for.
                _ => continue,
            }
            if head[0] & 0x80 != 0 {
                return serde_json::from_slice(&text).map_err(|error| invalid(&error.to_string()));
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes).map(|()| bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.wait()?;
        self.stream.read_exact(bytes)
    }

    /// Lets the next read take as long as there is.
    fn wait(&mut self) -> io::Result<()> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => self.stream.set_read_timeout(Some(left)),
        }
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_in_nodes_own_words() {
        let paused = json!({ "callFrames": [
            { "functionName": "spin", "location": { "scriptId": "7", "lineNumber": 11, "columnNumber": 4 } },
            { "functionName": "", "location": { "scriptId": "9", "lineNumber": 0 } },
        ] });
        let files = [("7".to_owned(), "file:///srv/app.js".to_owned())].into();
        assert_eq!(calls(&paused, &files), "    at spin (/srv/app.js:12:5)\n    at <anonymous> (?:1:1)\n");
        assert_eq!(calls(&json!({}), &files), "");
    }
}
