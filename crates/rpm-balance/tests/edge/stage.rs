//! What the tests stand on: an edge in a thread of its own, and servers that do as they are told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rpm_balance::{Options, Passed};
use rpm_model::balance::{BalancerSpec, ListenSpec, RouteAction, RouteSpec, ServerSpec, UpstreamSpec};
use rpm_model::edge::{Answer, Ask, Configuration, EdgeStats, FromEdge, Notice, ServerState, ToEdge};

/// Nothing here takes longer, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An edge, driven as the daemon does.
pub(crate) struct Edge {
    control: UnixStream,
    next: AtomicU64,
    pub(crate) notices: Mutex<Vec<Notice>>,
    pub(crate) address: SocketAddr,
    pub(crate) listener: TcpListener,
    thread: Option<std::thread::JoinHandle<u8>>,
    pub(crate) spec: Configuration,
}

impl Edge {
    /// Starts an edge with one balancer `web` on a port of the kernel's choice.
    pub(crate) fn start(change: impl FnOnce(&mut Configuration)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut spec = Configuration { version: 1, ..Configuration::default() };
        spec.balancers.push(BalancerSpec {
            name: "web".into(),
            listen: vec![ListenSpec { address: address.to_string().parse().unwrap(), proxy_protocol: false }],
            routes: vec![RouteSpec::to(RouteAction::Upstream("u".into()))],
            ..BalancerSpec::default()
        });
        spec.upstreams.push(UpstreamSpec { name: "u".into(), ..UpstreamSpec::default() });
        change(&mut spec);
        let passed = vec![Passed { name: address.to_string(), fd: listener.try_clone().unwrap().into() }];
        let thread =
            std::thread::spawn(move || rpm_balance::run(passed, OwnedFd::from(theirs), Options { threads: Some(2) }));
        let edge = Self {
            control: ours,
            next: AtomicU64::new(1),
            notices: Mutex::default(),
            address,
            listener,
            thread: Some(thread),
            spec,
        };
        assert!(matches!(edge.receive(), FromEdge::Hello { protocol: 1, threads: 2, .. }));
        assert_eq!(edge.configure(edge.spec.clone()), Answer::Done);
        edge
    }

    /// Starts an edge in front of these servers.
    pub(crate) fn before(servers: &[&Server]) -> Self {
        Self::start(|spec| spec.upstreams[0].servers.extend(servers.iter().map(|server| server.spec())))
    }

    pub(crate) fn configure(&self, spec: Configuration) -> Answer {
        self.ask(Ask::Configure(spec))
    }

    pub(crate) fn ask(&self, ask: Ask) -> Answer {
        self.ask_with(ask, &[])
    }

    pub(crate) fn ask_with(&self, ask: Ask, fds: &[OwnedFd]) -> Answer {
        let id = self.next.fetch_add(1, SeqCst);
        let body = serde_json::to_vec(&ToEdge { id, ask }).unwrap();
        let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = rpm_sys::fd::send_with_fds(&self.control, &frame, &fds).unwrap();
        (&self.control).write_all(&frame[sent..]).unwrap();
        loop {
            match self.receive() {
                FromEdge::Answer { id: other, answer } if other == id => return answer,
                FromEdge::Notice(notice) => self.notices.lock().unwrap().push(notice),
                other => panic!("not expected: {other:?}"),
            }
        }
    }

    pub(crate) fn stats(&self) -> EdgeStats {
        match self.ask(Ask::Stats) {
            Answer::Stats(stats) => stats,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn state_of(&self, server: &str) -> ServerState {
        let stats = self.stats();
        let mut servers = stats.upstreams.iter().flat_map(|upstream| &upstream.servers);
        servers.find(|one| one.name == server).unwrap_or_else(|| panic!("no {server}")).state
    }

    fn receive(&self) -> FromEdge {
        let mut length = [0; 4];
        (&self.control).read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        (&self.control).read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends one request and returns the whole answer.
    pub(crate) fn get(&self, path: &str) -> Reply {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.reply()
    }

    pub(crate) fn quit(mut self) -> u8 {
        assert_eq!(self.ask(Ask::Quit { grace: PATIENCE }), Answer::Done);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            assert_eq!(self.ask(Ask::Quit { grace: Duration::ZERO }), Answer::Done);
            assert_eq!(thread.join().unwrap(), 0);
        }
    }
}

/// One end of a connection, read and written raw.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    have: Vec<u8>,
}

/// An answer, or a request as a server got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, have: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        // The other end may have closed already, which is then what the test looks for.
        let _ = self.stream.write_all(text.as_ref());
    }

    fn more(&mut self) -> bool {
        let mut part = [0; 16384];
        match self.stream.read(&mut part) {
            Ok(count) => {
                self.have.extend(&part[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}; so far {:?}", String::from_utf8_lossy(&self.have)),
        }
    }

    /// Reads a head up to its empty line; `None` when the connection ends before.
    pub(crate) fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.have.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.have.split_off(end + 4);
                let head = std::mem::replace(&mut self.have, rest);
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more() {
                return None;
            }
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.have.len() < count {
            assert!(self.more(), "it ended after {:?}", String::from_utf8_lossy(&self.have));
        }
        let rest = self.have.split_off(count);
        std::mem::replace(&mut self.have, rest)
    }

    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.have)
    }

    /// Reads a whole message, by its fields.
    pub(crate) fn message(&mut self, bodiless: bool) -> Option<Reply> {
        let head = self.head()?;
        let mut reply = Reply { head, body: Vec::new() };
        if bodiless || reply.head.starts_with("HTTP/1.1 1") {
            return Some(reply);
        }
        if reply.field("transfer-encoding").is_some() {
            reply.body = self.chunks();
        } else if let Some(length) = reply.field("content-length").map(|length| length.parse().unwrap()) {
            reply.body = self.exactly(length);
        } else if reply.head.starts_with("HTTP/1.1 2") {
            reply.body = self.rest();
        }
        Some(reply)
    }

    pub(crate) fn reply(&mut self) -> Reply {
        self.message(false).expect("an answer")
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.exactly(1));
            }
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            if size == 0 {
                while !line.ends_with(b"\r\n\r\n") {
                    line.extend(self.exactly(1));
                }
                return body;
            }
            body.extend(self.exactly(size));
            assert_eq!(self.exactly(2), b"\r\n");
        }
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.have.is_empty() && !self.more()
    }

    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A server: each connection is given to a function.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<Mutex<Vec<Reply>>>,
}

impl Server {
    /// Starts a server that gives each connection, with its number from 1, to `serve`.
    pub(crate) fn raw(serve: impl Fn(Client, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, serve)
    }

    pub(crate) fn on(listener: TcpListener, serve: impl Fn(Client, usize) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let number = count.fetch_add(1, SeqCst) + 1;
                let serve = serve.clone();
                std::thread::spawn(move || serve(Client::new(stream), number));
            }
        });
        Self { address, connections, requests: Arc::default() }
    }

    /// Starts a server that answers every request with what `answer` makes of it.
    pub(crate) fn answering(answer: impl Fn(&Reply) -> String + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<Reply>>> = Arc::default();
        let seen = requests.clone();
        let server = Self::raw(move |mut client, _| {
            while let Some(request) = client.message(false) {
                let text = answer(&request);
                seen.lock().unwrap().push(request);
                client.send(text);
            }
        });
        Self { requests, ..server }
    }

    /// Starts a server that answers with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::answering(move |_| ok(name))
    }

    pub(crate) fn spec(&self) -> ServerSpec {
        ServerSpec::at(self.address.to_string().parse().unwrap())
    }

    pub(crate) fn last(&self) -> Reply {
        self.requests.lock().unwrap().last().cloned().expect("a request came")
    }
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An address where nobody listens.
pub(crate) fn nobody() -> ServerSpec {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    ServerSpec::at(listener.local_addr().unwrap().to_string().parse().unwrap())
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
