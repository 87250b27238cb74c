//! Requests there and answers back.

use std::sync::atomic::Ordering::SeqCst;

use rpm_model::balance::{
    AccessLog, AccessLogFormat, HeaderEdits, RateLimit, RouteAction, RouteSpec, Sticky, UpstreamSpec,
};

use crate::stage::{Client, Edge, Reply, Server, ok, until};

#[test]
fn a_request_is_passed_on_and_its_answer_back() {
    let server = Server::answering(|request| {
        format!("HTTP/1.1 201 Made\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\n{:>5}", request.body.len())
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    client.send("POST /a?b HTTP/1.1\r\nHost: example.com\r\nX-Two: 2\r\nContent-Length: 3\r\n\r\nabc");
    let reply = client.reply();
    assert_eq!((reply.status(), reply.field("x-own"), reply.text().trim()), (201, Some("1"), "3"));
    assert!(reply.head.starts_with("HTTP/1.1 201 Made\r\n") && reply.field("date").is_some());
    let request = server.last();
    assert!(request.head.starts_with("POST /a?b HTTP/1.1\r\nHost: example.com\r\n"), "{}", request.head);
    assert_eq!(request.field("x-two"), Some("2"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("example.com"));
    assert_eq!(request.body, b"abc");
}

#[test]
fn both_sides_keep_their_connections() {
    let server = Server::named("a");
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().text(), "a");
    }
    assert_eq!(server.connections.load(SeqCst), 1);
    assert_eq!(edge.stats().balancers[0].connections_total, 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::answering(|request| ok(request.head.split(' ').nth(1).unwrap()));
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    let post = "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET ";
    let chunked = "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.send(format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n{post}{chunked}GET /4 HTTP/1.1\r\nHost: a\r\n\r\n"));
    let paths: Vec<_> = (0..4).map(|_| client.reply().text()).collect();
    assert_eq!(paths, ["/1", "/2", "/3", "/4"]);
    assert_eq!(server.requests.lock().unwrap()[2].body, b"abc");
}

#[test]
fn requests_in_small_pieces_are_whole_in_the_end() {
    let server = Server::answering(|request| ok(&request.text()));
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    let text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n\
                GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for byte in text.as_bytes() {
        client.send([*byte]);
        std::thread::yield_now();
    }
    assert_eq!((client.reply().text(), client.reply().text()), ("abcde".into(), String::new()));
}

#[test]
fn long_bodies_pass_both_ways() {
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message(false) {
            let body = request.body;
            client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.send(body);
        }
    });
    let edge = Edge::before(&[&server]);
    let body: Vec<u8> = (0..3_000_000u32).map(|number| (number * 7 % 251) as u8).collect();
    let mut client = edge.connect();
    for _ in 0..3 {
        let mut sender = Client::new(client.stream.try_clone().unwrap());
        let bytes = body.clone();
        let sending = std::thread::spawn(move || {
            sender.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", bytes.len()));
            sender.send(&bytes);
        });
        assert!(client.reply().body == body);
        sending.join().unwrap();
    }
}

#[test]
fn bodies_of_every_kind_end_where_they_should() {
    let server = Server::raw(|mut client, _| {
        while let Some(request) = client.message(false) {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            let close = path == "/close";
            client.send(match path.as_str() {
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\nX: 1\r\n\r\n",
                "/none" => "HTTP/1.1 204 No\r\n\r\n",
                "/close" => "HTTP/1.1 200 OK\r\n\r\nuntil the end",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            });
            if close {
                return;
            }
        }
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    for (path, body) in [("/chunked", "abc"), ("/none", ""), ("/close", "until the end"), ("/", "ok")] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let reply = client.message(path == "/none").unwrap();
        assert_eq!(reply.text(), body, "{path}");
    }
    let mut old = edge.connect();
    old.send("GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n");
    let reply = old.reply();
    assert_eq!((reply.text().as_str(), reply.field("connection")), ("abc", Some("close")));
    assert_eq!(reply.field("transfer-encoding"), None);
    let mut kept = edge.connect();
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        let reply = kept.reply();
        assert_eq!((reply.text().as_str(), reply.field("connection")), ("ok", Some("keep-alive")));
    }
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let server = Server::raw(|mut client, _| {
        while client.message(true).is_some() {
            client.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        }
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.message(true).unwrap().field("content-length"), Some("100"));
    }
}

#[test]
fn interim_answers_are_passed_on() {
    let server = Server::raw(|mut client, _| {
        while let Some(head) = client.head() {
            assert!(head.contains("Expect: 100-continue"), "{head}");
            client.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = client.exactly(3);
            client.send("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
            client.send(ok(std::str::from_utf8(&body).unwrap()));
        }
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.reply().status(), 100);
    client.send("abc");
    let early = client.reply();
    assert_eq!((early.status(), early.field("link")), (103, Some("x")));
    assert_eq!(client.reply().text(), "abc");
}

#[test]
fn an_answer_may_come_before_the_body_has_gone() {
    let server = Server::raw(|mut client, _| {
        client.head();
        client.send("HTTP/1.1 413 Too Long\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc");
    let reply = client.reply();
    assert_eq!((reply.status(), reply.text().as_str(), reply.field("connection")), (413, "no", Some("close")));
    client.finish();
    assert!(client.is_closed());
}

#[test]
fn upgrades_become_tunnels() {
    let server = Server::raw(|mut client, _| {
        let head = client.head().unwrap();
        assert!(head.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        client.send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        let text = client.exactly(9);
        client.send(text);
        assert_eq!(client.rest(), b"");
        client.send("bye");
    });
    let edge = Edge::before(&[&server]);
    let mut client = edge.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET / ");
    let reply = client.message(true).unwrap();
    assert_eq!((reply.status(), reply.field("upgrade")), (101, Some("websocket")));
    client.send("abc");
    assert_eq!(client.exactly(14), b"helloGET / abc");
    client.finish();
    assert_eq!(client.rest(), b"bye");
}

#[test]
fn routes_choose_edit_redirect_and_answer() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(a.spec());
        spec.upstreams.push(UpstreamSpec { name: "b".into(), servers: vec![b.spec()], ..UpstreamSpec::default() });
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let routes = &mut spec.balancers[0].routes;
        routes.push(RouteSpec {
            path: "/b".into(),
            strip_prefix: true,
            request_headers: HeaderEdits {
                remove: vec!["X-Secret".into()],
                set: vec![text("X-Real-IP", "$remote_addr")],
                add: vec![text("X-Path", "$path$query")],
            },
            response_headers: HeaderEdits { set: vec![text("X-Frame-Options", "DENY")], ..HeaderEdits::default() },
            ..RouteSpec::to(RouteAction::Upstream("b".into()))
        });
        routes.push(RouteSpec {
            host: Some("old.example.com".into()),
            ..RouteSpec::to(RouteAction::Redirect { to: "https://example.com$path$query".into(), status: 301 })
        });
        routes.push(RouteSpec {
            path: "/teapot".into(),
            ..RouteSpec::to(RouteAction::Respond { status: 418, body: "short".into() })
        });
        spec.balancers[0].request_id = Some("X-Request-Id".into());
    });
    assert_eq!(edge.get("/x").text(), "a");
    let mut client = edge.connect();
    client.send("GET /b/x?y HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nX-Real-IP: 6.6.6.6\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.text().as_str(), reply.field("x-frame-options")), ("b", Some("DENY")));
    let request = b.last();
    assert!(request.head.starts_with("GET /x?y HTTP/1.1\r\n"));
    assert_eq!((request.field("x-secret"), request.fields("x-real-ip")), (None, vec!["127.0.0.1"]));
    assert_eq!(request.field("x-path"), Some("/b/x?y"));
    assert_eq!(request.field("x-request-id"), reply.field("x-request-id"));
    assert_eq!(request.field("x-request-id").unwrap().len(), 32);
    client.send("GET /c?d HTTP/1.1\r\nHost: old.example.com\r\n\r\n");
    let reply = client.reply();
    assert_eq!((reply.status(), reply.field("location")), (301, Some("https://example.com/c?d")));
    client.send("GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((client.reply().status(), edge.get("/teapot").text().as_str()), (418, "short"));
}

#[test]
fn clients_stick_by_cookie() {
    let (a, b) = (Server::named("a"), Server::named("b"));
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.extend([a.spec(), b.spec()]);
        spec.upstreams[0].sticky = Some(Sticky::cookie("SRV"));
    });
    let first = edge.get("/");
    let cookie = first.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut client = edge.connect();
    for _ in 0..6 {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; {cookie}\r\n\r\n"));
        let reply = client.reply();
        assert_eq!((reply.text(), reply.field("set-cookie")), (first.text(), None));
    }
}

#[test]
fn a_client_that_asks_too_often_is_told_so() {
    let server = Server::named("a");
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].rate_limit = Some(RateLimit { rate: 0.001, burst: 3 });
    });
    let mut client = edge.connect();
    let statuses: Vec<_> = (0..5)
        .map(|_| {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.reply().status()
        })
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(edge.stats().balancers[0].limited, 2);
}

#[test]
fn every_request_is_logged() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("logs/access.log");
    let server = Server::named("a");
    for format in [AccessLogFormat::Combined, AccessLogFormat::Json] {
        let edge = Edge::start(|spec| {
            spec.upstreams[0].servers.push(server.spec());
            spec.balancers[0].access_log = Some(AccessLog { path: path.clone(), format });
        });
        let mut client = edge.connect();
        client.send("GET /a?\"b HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\n\r\n");
        client.reply();
        let lines = || std::fs::read_to_string(&path).unwrap_or_default();
        until("a line", || lines().ends_with('\n'));
        let line = lines();
        match format {
            AccessLogFormat::Combined => {
                assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
                assert!(line.ends_with("] \"GET /a?\\x22b HTTP/1.1\" 200 1 \"-\" \"test\"\n"), "{line}");
            }
            AccessLogFormat::Json => {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(
                    (&value["target"], &value["status"], &value["bytes"]),
                    (&"/a?\"b".into(), &200.into(), &1.into())
                );
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_proxies_say_counts_only_where_they_are_trusted() {
    let server = Server::named("a");
    let told = |trusted: bool| -> Reply {
        let edge = Edge::start(|spec| {
            spec.upstreams[0].servers.push(server.spec());
            spec.balancers[0].forwarded.forwarded = true;
            if trusted {
                spec.balancers[0].trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            }
        });
        let mut client = edge.connect();
        client.send(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: b\r\nForwarded: for=9.9.9.9\r\n\r\n",
        );
        client.reply();
        server.last()
    };
    let request = told(false);
    assert_eq!(request.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.fields("x-forwarded-proto"), ["http"]);
    assert_eq!(request.fields("forwarded"), ["for=127.0.0.1;proto=http;host=\"a\""]);
    let request = told(true);
    assert_eq!(request.fields("x-forwarded-for"), ["9.9.9.9, 127.0.0.1"]);
    assert_eq!(request.fields("x-forwarded-proto"), ["https"]);
    assert_eq!(request.fields("x-forwarded-host"), ["b"]);
    assert_eq!(request.fields("forwarded").len(), 2);
}

#[test]
fn addresses_stick_to_what_load_has_chosen() {
    let servers = [Server::named("a"), Server::named("b"), Server::named("c")];
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.extend(servers.iter().map(Server::spec));
        spec.upstreams[0].balance = rpm_model::balance::Balance::LeastConn;
        spec.upstreams[0].sticky = Some(Sticky::Address);
        spec.balancers[0].trusted_proxies.push("127.0.0.0/8".parse().unwrap());
    });
    let mut client = edge.connect();
    let mut ask = |from: usize| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.{from}\r\n\r\n"));
        client.reply().text()
    };
    let first: Vec<_> = (0..9).map(&mut ask).collect();
    for name in ["a", "b", "c"] {
        assert_eq!(first.iter().filter(|own| *own == name).count(), 3, "load has chosen: {first:?}");
    }
    for _ in 0..3 {
        assert_eq!((0..9).map(&mut ask).collect::<Vec<_>>(), first);
    }
}
