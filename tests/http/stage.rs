//! The balancer, a server that records what reaches it, and raw clients.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpm_tests::{Rpm, free_port};
use serde_json::{Value, json};

/// Nothing here takes longer, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A balancer in front of a server.
pub(crate) struct Stage {
    pub(crate) rpm: Rpm,
    pub(crate) port: u16,
    pub(crate) server: Server,
}

impl Stage {
    /// Starts it; `more` are keys of the balancer.
    pub(crate) fn start(server: Server, more: &Value) -> Self {
        let (rpm, port) = (Rpm::new(), free_port());
        let mut balancer = json!({ "name": "web", "listen": format!("127.0.0.1:{port}"), "upstream": "backend" });
        let keys = balancer.as_object_mut().expect("an object");
        keys.extend(more.as_object().cloned().unwrap_or_default());
        let file = json!({
            "upstreams": [{ "name": "backend", "servers": [format!("127.0.0.1:{}", server.port)] }],
            "balancers": [balancer],
        });
        let path = rpm.home().join("ecosystem.json");
        std::fs::write(&path, file.to_string()).expect("written");
        rpm.ok(&["start", &path.to_string_lossy()]);
        Self { rpm, port, server }
    }

    /// Starts one in front of a server that answers everything with `ok`.
    pub(crate) fn recording() -> Self {
        Self::start(Server::recording(), &json!({}))
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// Fails unless a well-behaved client is answered.
    pub(crate) fn still_serves(&self) {
        let mut client = self.connect();
        client.send("GET /well HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.message().expect("an answer").status(), 200);
    }

    /// Returns the counters of the server in the balancer.
    pub(crate) fn counters(&self) -> Value {
        let list: Value = serde_json::from_str(&self.rpm.ok(&["list", "--json"])).expect("JSON");
        list["balancers"][0]["stats"]["upstreams"][0]["servers"][0].clone()
    }

    /// Returns the pid of the balancer's process.
    pub(crate) fn edge(&self) -> i32 {
        let list: Value = serde_json::from_str(&self.rpm.ok(&["list", "--json"])).expect("JSON");
        let apps = list["apps"].as_array().expect("apps");
        let web = apps.iter().find(|app| app["spec"]["name"] == "web").expect("the balancer");
        web["workers"][0]["pid"].as_i64().expect("it runs") as i32
    }

    /// Returns how much memory the balancer's process has, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.edge())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
    }
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// One end of a connection, read and written raw.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    have: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::new(TcpStream::connect(("127.0.0.1", port)).expect("it listens"))
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, have: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other end may have closed already, which is then what the test looks for.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Reads more; returns whether there was any.
    pub(crate) fn more(&mut self) -> bool {
        let mut part = [0; 16384];
        match self.stream.read(&mut part) {
            Ok(count) => {
                self.have.extend(&part[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came for a long time; so far {:?}", String::from_utf8_lossy(&self.have))
            }
            Err(_) => false,
        }
    }

    /// Reads one message that ends by its length or its chunks; `None` when the connection ends before.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let end = loop {
            match self.have.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more() => {}
                None => return None,
            }
        };
        let rest = self.have.split_off(end);
        let head = String::from_utf8_lossy(&std::mem::replace(&mut self.have, rest)).into_owned();
        let mut message = Message { head, body: Vec::new() };
        if message.head.starts_with("HTTP/1.1 1") || message.head.starts_with("HTTP/1.1 304") {
            return Some(message);
        }
        if !message.fields("transfer-encoding").is_empty() {
            message.body = self.chunks()?;
        } else if let Some(length) = message.fields("content-length").first().and_then(|text| text.parse().ok()) {
            message.body = self.exactly(length)?;
        }
        Some(message)
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.have.len() < count {
            if !self.more() {
                return None;
            }
        }
        let rest = self.have.split_off(count);
        Some(std::mem::replace(&mut self.have, rest))
    }

    /// Returns everything up to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.have)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.exactly(1)?);
            }
            let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
            if size == 0 {
                let mut trailers = line;
                while !trailers.ends_with(b"\r\n\r\n") {
                    trailers.extend(self.exactly(1)?);
                }
                return Some(body);
            }
            body.extend(self.exactly(size)?);
            self.exactly(2)?;
        }
    }
}

/// A server: each connection is given to a function.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Server {
    pub(crate) fn raw(serve: impl Fn(Client, &Mutex<Vec<Message>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let (serve, record) = (Arc::new(serve), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (serve, record) = (serve.clone(), record.clone());
                std::thread::spawn(move || {
                    // A connection may idle for as long as the test takes.
                    let client = Client::new(stream);
                    client.stream.set_read_timeout(None).expect("no timeout");
                    serve(client, &record);
                });
            }
        });
        Self { port, seen }
    }

    /// Returns a server that records every request and answers it with `ok`.
    pub(crate) fn recording() -> Self {
        Self::raw(|mut client, seen| {
            while let Some(request) = client.message() {
                let is_head = request.head.starts_with("HEAD ");
                seen.lock().expect("a record").push(request);
                client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", if is_head { "" } else { "ok" }));
            }
        })
    }

    /// Returns what came since it was last asked.
    pub(crate) fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.seen.lock().expect("a record"))
    }
}
