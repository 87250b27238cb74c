//! Active checks: a connection that opens, or a request that is answered well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpm_model::balance::{Check, CheckSpec, ProxyVersion, StatusRange};
use rpm_model::edge::CheckResult;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::http::{Body, Chunked, Method, response};
use crate::io::stream::Stream;
use crate::pool::{Live, Target};
use crate::proxy;
use crate::serve::client::Client;

/// As much of an answer as is read.
const ANSWER_MAX: usize = 64 << 10;

/// What is checked, and how.
#[derive(Clone, PartialEq)]
pub struct Subject {
    /// How.
    pub spec: CheckSpec,
    /// Where.
    pub target: Target,
    /// What the connection begins with.
    pub send_proxy: Option<ProxyVersion>,
}

/// Checks a server for ever.
pub async fn watch(subject: Subject, live: Arc<Live>) {
    let spec = &subject.spec;
    // Servers are not all asked at once, and the first answers are there soon.
    let spread = crate::pick::mix(Arc::as_ptr(&live).addr() as u64) % 100;
    tokio::time::sleep(spec.interval.min(Duration::from_secs(1)).mul_f64(spread as f64 / 100.0)).await;
    loop {
        let began = Instant::now();
        let found = match tokio::time::timeout(spec.timeout, check(&subject)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {} ms", spec.timeout.as_millis())),
        };
        let (passed, text) = match found {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        live.checked(CheckResult { passed, text, took: began.elapsed(), age: Duration::ZERO });
        let (wavering, down) = live.check_pace();
        let wait = match (wavering, down) {
            (true, _) => spec.fast_interval.unwrap_or(spec.interval),
            (false, true) => spec.down_interval.unwrap_or(spec.interval),
            (false, false) => spec.interval,
        };
        // An interval of nothing would be a loop without rest.
        tokio::time::sleep(wait.max(Duration::from_millis(10)).saturating_sub(began.elapsed())).await;
    }
}

async fn check(subject: &Subject) -> Result<String, String> {
    let mut stream = connect(subject).await.map_err(|error| format!("connection: {error}"))?;
    if let Some(version) = subject.send_proxy {
        let nowhere = Client::nowhere();
        let header = match version {
            ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
            ProxyVersion::V2 => proxy::write_v2(nowhere, nowhere),
        };
        stream.write_all(&header).await.map_err(|error| format!("connection: {error}"))?;
    }
    match &subject.spec.check {
        Check::Tcp => Ok("connected".into()),
        Check::Http { method, path, host, status, body } => {
            let host = host.as_deref().unwrap_or("localhost");
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rpm-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.map_err(|error| format!("request: {error}"))?;
            answer(stream, Method::named(method), status, body.as_deref()).await
        }
    }
}

async fn answer(
    mut stream: Box<dyn Stream>,
    method: Method,
    status: &[StatusRange],
    body: Option<&str>,
) -> Result<String, String> {
    let mut bytes = Vec::new();
    let head = loop {
        match response::parse(&bytes, method, &mut Vec::new()) {
            Ok(Some(head)) if head.status < 200 && head.status != 101 => {
                bytes.drain(..head.length);
            }
            Ok(Some(head)) => break head,
            Ok(None) => {
                if bytes.len() >= ANSWER_MAX || read(&mut stream, &mut bytes).await? == 0 {
                    return Err("the answer broke off".into());
                }
            }
            Err(bad) => return Err(format!("the answer is no HTTP: {}", bad.0)),
        }
    };
    let found = format!("status {}", head.status);
    if !StatusRange::accept(status, head.status) {
        return Err(found);
    }
    let Some(wanted) = body else { return Ok(found) };
    let mut data = bytes.split_off(head.length);
    while data.len() < ANSWER_MAX && !ended(&data, head.body) {
        if read(&mut stream, &mut data).await? == 0 {
            break;
        }
    }
    match head.body {
        Body::None => data.clear(),
        Body::Length(length) => data.truncate(usize::try_from(length).unwrap_or(usize::MAX)),
        Body::Chunked => {
            let passed = Chunked::default().pass(&mut data, true).map_err(|_| "the answer is no HTTP".to_owned())?;
            data.truncate(passed.kept);
        }
        Body::UntilClose => {}
    }
    match memchr::memmem::find(&data, wanted.as_bytes()) {
        Some(_) => Ok(found),
        None => Err(format!("{found}, but {wanted:?} is not in the body")),
    }
}

fn ended(data: &[u8], body: Body) -> bool {
    match body {
        Body::None => true,
        Body::Length(length) => data.len() as u64 >= length,
        Body::Chunked => {
            let mut chunked = Chunked::default();
            let _ = chunked.pass(&mut data.to_vec(), true);
            chunked.is_done()
        }
        Body::UntilClose => false,
    }
}

async fn read(stream: &mut Box<dyn Stream>, into: &mut Vec<u8>) -> Result<usize, String> {
    let mut part = [0; 4096];
    let count = stream.read(&mut part).await.map_err(|error| format!("answer: {error}"))?;
    into.extend_from_slice(&part[..count]);
    Ok(count)
}

async fn connect(subject: &Subject) -> std::io::Result<Box<dyn Stream>> {
    match &subject.target {
        Target::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Target::Tcp(addresses) => {
            let mut addresses = addresses.clone();
            if let Some(port) = subject.spec.port {
                addresses.iter_mut().for_each(|address| address.set_port(port));
            }
            Ok(Box::new(TcpStream::connect(addresses.as_slice()).await?))
        }
        Target::Steered { source, to } => match subject.spec.port {
            Some(port) => Ok(Box::new(TcpStream::connect((to.ip(), port)).await?)),
            None => Ok(Box::new(crate::serve::connect::steered(*source, *to).await?)),
        },
    }
}
