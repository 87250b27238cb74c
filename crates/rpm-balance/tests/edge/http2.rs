//! HTTP/2 to clients, and to servers that speak it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use rpm_model::balance::{Protocol, Sticky};

use crate::stage::{Edge, PATIENCE, Server, ok, until};

/// Runs a client.
fn run<T>(main: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, main).await.expect("within the time") })
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    send
}

/// Sends a request with a body, where there is one.
async fn ask(
    send: &SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&[u8]>,
) -> Result<(Response<()>, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut send = send.clone().ready().await?;
    let (answer, mut stream) = send.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(Bytes::copy_from_slice(body), true)?;
    }
    let (parts, mut body) = answer.await?.into_parts();
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        bytes.extend_from_slice(&part);
    }
    let trailers = body.trailers().await?;
    Ok((Response::from_parts(parts, ()), bytes, trailers))
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.example{path}")).body(()).unwrap()
}

#[test]
fn a_request_is_passed_on_as_http_1_and_its_answer_back() {
    let server = Server::answering(|request| {
        let body = request.text();
        format!("HTTP/1.1 201 Made\r\nConnection: x-hop\r\nX-Own: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let edge = Edge::before(&[&server]);
    run(async {
        let send = connect(edge.address).await;
        let request = Request::post("http://a.example/p?q=1").header("x-two", "2").header("cookie", "a=1");
        let request = request.header("cookie", "b=2").header("te", "trailers").body(()).unwrap();
        let (answer, body, _) = ask(&send, request, Some(b"abc")).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["x-own"].to_str().unwrap()), (201, "1"));
        assert!(answer.headers().get("connection").is_none() && answer.headers().contains_key("date"));
        assert_eq!(body, b"abc");
        let request = server.last();
        assert!(request.head.starts_with("POST /p?q=1 HTTP/1.1\r\nHost: a.example\r\n"), "{}", request.head);
        assert_eq!(request.field("cookie"), Some("a=1; b=2"));
        assert_eq!((request.field("x-two"), request.field("te")), (Some("2"), None));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        // With a length, without a body, and HEAD.
        let sized = Request::post("http://a.example/").header("content-length", "3").body(()).unwrap();
        assert_eq!(ask(&send, sized, Some(b"xyz")).await.unwrap().1, b"xyz");
        assert_eq!(server.last().field("content-length"), Some("3"));
        let head = Request::head("http://a.example/").body(()).unwrap();
        assert_eq!(ask(&send, head, None).await.unwrap().0.status(), 201);
    });
    let stats = edge.stats();
    assert_eq!((stats.balancers[0].connections_total, stats.balancers[0].answers.success), (1, 3));
}

#[test]
fn many_requests_share_one_connection_and_long_bodies_pass() {
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message(false) {
            let body = request.body;
            client.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()));
            client.send(body);
            client.send("\r\n0\r\nX-Sum: 7\r\n\r\n");
        }
    });
    let edge = Edge::before(&[&server]);
    run(async {
        let send = connect(edge.address).await;
        let long: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        let mut all = Vec::new();
        for number in 0..20 {
            let (send, long) = (send.clone(), long.clone());
            all.push(tokio::spawn(async move {
                let mut ready = send.ready().await.unwrap();
                let (answer, mut stream) =
                    ready.send_request(Request::post(format!("http://a/{number}")).body(()).unwrap(), false).unwrap();
                let upload = async move {
                    let mut rest = Bytes::from(long);
                    while !rest.is_empty() {
                        stream.reserve_capacity(rest.len());
                        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                        let part = rest.split_to(room.min(rest.len()));
                        stream.send_data(part, rest.is_empty()).unwrap();
                    }
                };
                let download = async move {
                    let (_, mut body) = answer.await.unwrap().into_parts();
                    let mut bytes = Vec::new();
                    while let Some(part) = body.data().await {
                        let part = part.unwrap();
                        body.flow_control().release_capacity(part.len()).unwrap();
                        bytes.extend_from_slice(&part);
                    }
                    (bytes, body.trailers().await.unwrap().unwrap())
                };
                tokio::join!(upload, download).1
            }));
        }
        for one in all {
            let (bytes, trailers) = one.await.unwrap();
            assert!(bytes == long);
            assert_eq!(trailers["x-sum"], "7");
        }
    });
}

#[test]
fn an_answer_that_breaks_off_is_no_end() {
    let server = Server::raw(|mut client, _| {
        if client.message(false).is_some() {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        }
    });
    let edge = Edge::before(&[&server]);
    run(async {
        let send = connect(edge.address).await;
        let error = ask(&send, get("/"), None).await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
        // The connection is none the worse.
        let error = ask(&send, get("/"), None).await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    });
}

#[test]
fn what_http_1_cannot_say_is_refused() {
    let server = Server::named("a");
    let edge = Edge::before(&[&server]);
    run(async {
        let send = connect(edge.address).await;
        let differ = Request::get("http://a/").header("host", "b").body(()).unwrap();
        assert!(ask(&send, differ, None).await.is_err());
        let long = Request::get("http://a/").header("x", "y".repeat(40_000)).body(()).unwrap();
        assert_eq!(ask(&send, long, None).await.unwrap().0.status(), 431);
        let mut many = get("/");
        for number in 0..150 {
            many.headers_mut().append("x-many", number.into());
        }
        assert_eq!(ask(&send, many, None).await.unwrap().0.status(), 431);
        assert_eq!(ask(&send, get("/"), None).await.unwrap().1, b"a");
    });
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[test]
fn a_client_that_leaves_frees_its_server() {
    let server = Server::raw(|mut client, _| {
        let _ = client.message(false);
        // Never answers; notices when the balancer lets go.
        assert!(client.is_closed());
    });
    let edge = Edge::before(&[&server]);
    let flies = || edge.stats().upstreams[0].servers[0].in_flight;
    let (tell, told) = tokio::sync::oneshot::channel();
    let address = edge.address;
    let client = std::thread::spawn(move || {
        run(async {
            let mut send = connect(address).await.ready().await.unwrap();
            let (_answer, mut stream) = send.send_request(get("/"), true).unwrap();
            told.await.unwrap();
            stream.send_reset(h2::Reason::CANCEL);
            // The connection stays: it is the reset that counts.
            ask(&send, get("/"), None).await.unwrap_err();
        });
    });
    until("it flies", || flies() == 1);
    tell.send(()).unwrap();
    until("only the second one flies", || edge.stats().upstreams[0].servers[0].requests == 2 && flies() == 1);
    drop(client);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    until("it flies", || flies() == 2);
    drop(client);
    until("its server is free", || flies() == 1);
}

#[test]
fn grpc_passes_both_ways_with_its_trailers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    std::thread::spawn(move || {
        run(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut answer))) = connection.accept().await {
                        assert_eq!(request.headers()["te"], "trailers");
                        tokio::spawn(async move {
                            let head = Response::builder().header("content-type", "application/grpc");
                            let refused = request.uri().path() == "/refused";
                            if refused {
                                let only = head.header("grpc-status", "12").body(()).unwrap();
                                answer.send_response(only, true).unwrap();
                                return;
                            }
                            let mut stream = answer.send_response(head.body(()).unwrap(), false).unwrap();
                            let mut body = request.into_body();
                            // Each message is answered when it comes.
                            while let Some(part) = body.data().await {
                                let part = part.unwrap();
                                body.flow_control().release_capacity(part.len()).unwrap();
                                stream.send_data(part, false).unwrap();
                            }
                            let mut trailers = HeaderMap::new();
                            trailers.insert("grpc-status", 0.into());
                            stream.send_trailers(trailers).unwrap();
                        });
                    }
                });
            }
        });
    });
    let edge = Edge::start(|spec| {
        spec.upstreams[0].protocol = Protocol::H2c;
        spec.upstreams[0].servers.push(rpm_model::balance::ServerSpec::at(address.to_string().parse().unwrap()));
    });
    run(async {
        let send = connect(edge.address).await;
        let call = |path: &str| {
            let request = Request::post(format!("http://a.example{path}")).header("content-type", "application/grpc");
            request.header("te", "trailers").body(()).unwrap()
        };
        let (answer, body, trailers) = ask(&send, call("/echo"), Some(b"hello")).await.unwrap();
        assert_eq!((answer.status().as_u16(), body.as_slice()), (200, &b"hello"[..]));
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
        let (answer, _, _) = ask(&send, call("/refused"), Some(b"")).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "12");
        assert!(answer.headers().get("content-length").is_none());
        // Both ways at once: the answer to a message comes while the request goes on.
        let mut ready = send.clone().ready().await.unwrap();
        let (answer, mut stream) = ready.send_request(call("/echo"), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        for message in ["one", "two"] {
            stream.send_data(Bytes::from(message), false).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), message);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
    // HTTP/1.1 in front of HTTP/2.
    let mut client = edge.connect();
    client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.reply().text(), "abc");
    assert_eq!(connections.load(SeqCst), edge.stats().upstreams[0].servers[0].connections as usize);
}

#[test]
fn websockets_pass_through_http_2() {
    let server = Server::raw(|mut client, _| {
        let request = client.message(true).unwrap();
        assert_eq!(
            (request.field("upgrade"), request.field("sec-websocket-key").map(str::len)),
            (Some("websocket"), Some(24))
        );
        client.send("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let bytes = client.exactly(4);
        client.send(bytes);
        assert!(client.is_closed());
    });
    let edge = Edge::before(&[&server]);
    run(async {
        let send = connect(edge.address).await;
        // The other side's settings have to be there first.
        until_async(|| send.is_extended_connect_protocol_enabled()).await;
        let mut request = Request::builder().method("CONNECT").uri("http://a.example/ws").body(()).unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from("websocket"));
        let mut ready = send.clone().ready().await.unwrap();
        let (answer, mut stream) = ready.send_request(request, false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "hello");
        stream.send_data(Bytes::from("ping"), false).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "ping");
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none_or(|last| last.unwrap().is_empty()) && body.is_end_stream());
    });
}

async fn until_async(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn cookies_stick_and_a_reload_ends_connections_in_order() {
    let (one, two) = (Server::named("one"), Server::named("two"));
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.extend([one.spec(), two.spec()]);
        spec.upstreams[0].sticky = Some(Sticky::cookie("S"));
    });
    let slow = Server::answering(|_| {
        std::thread::sleep(Duration::from_millis(300));
        ok("slow")
    });
    let address = edge.address;
    let mut spec = edge.spec.clone();
    let (first_done, wait) = std::sync::mpsc::channel();
    let (tell, told) = tokio::sync::oneshot::channel();
    let client = std::thread::spawn(move || {
        run(async {
            let send = connect(address).await;
            let (first, name, _) = ask(&send, get("/"), None).await.unwrap();
            let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
            for _ in 0..4 {
                let mut again = get("/");
                again.headers_mut().insert("cookie", cookie.parse().unwrap());
                assert_eq!(ask(&send, again, None).await.unwrap().1, name);
            }
            first_done.send(()).unwrap();
            told.await.unwrap();
            assert_eq!(ask(&send, get("/"), None).await.unwrap().1, b"slow");
        });
    });
    wait.recv().unwrap();
    spec.upstreams[0].servers = vec![slow.spec()];
    edge.configure(spec);
    tell.send(()).unwrap();
    until("it flies", || edge.stats().balancers[0].in_flight == 1);
    assert_eq!(edge.quit(), 0);
    client.join().unwrap();
}
