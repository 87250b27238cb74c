//! Compression on the way back, and answers from a directory.

use std::io::Read;

use rpm_model::balance::{Gzip, RouteAction, RouteSpec};

use crate::stage::{Client, Edge, Reply, Server};

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn ask(client: &mut Client, path: &str, more: &str) -> Reply {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
    client.reply()
}

const ASKS: &str = "Accept-Encoding: br, gzip\r\n";

#[test]
fn texts_are_compressed_for_those_who_ask() {
    let text = "hello world ".repeat(1000);
    let server = Server::answering(move |request| {
        let path = request.head.split(' ').nth(1).unwrap();
        let length = format!("Content-Length: {}\r\n", text.len());
        match path {
            "/chunks" => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\nT: 1\r\n\r\n",
                text.len()
            ),
            "/png" => format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n{length}\r\n{text}"),
            "/br" => {
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: br\r\n{length}\r\n{text}")
            }
            "/short" => "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi".into(),
            _ => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nETag: \"x\"\r\nAccept-Ranges: bytes\r\n{length}\r\n{text}"
            ),
        }
    });
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].gzip = Some(Gzip::default());
    });
    let plain = "hello world ".repeat(1000);
    let mut client = edge.connect();
    for path in ["/", "/chunks"] {
        let reply = ask(&mut client, path, ASKS);
        assert_eq!((reply.field("content-encoding"), reply.field("content-length")), (Some("gzip"), None), "{path}");
        assert_eq!((reply.field("vary"), unzipped(&reply.body) == plain), (Some("Accept-Encoding"), true));
        assert!(reply.body.len() < 200, "{}", reply.body.len());
    }
    let reply = ask(&mut client, "/", ASKS);
    assert_eq!((reply.field("etag"), reply.field("accept-ranges")), (Some("W/\"x\""), None));
    let reply = ask(&mut client, "/", "");
    assert_eq!((reply.field("content-encoding"), reply.field("etag")), (None, Some("\"x\"")));
    assert_eq!((reply.field("vary"), reply.text() == plain), (Some("Accept-Encoding"), true));
    assert_eq!(ask(&mut client, "/", "Accept-Encoding: gzip;q=0\r\n").field("content-encoding"), None);
    for path in ["/png", "/short"] {
        let reply = ask(&mut client, path, ASKS);
        assert_eq!((reply.field("content-encoding"), reply.field("vary")), (None, None), "{path}");
    }
    assert_eq!(ask(&mut client, "/br", ASKS).field("content-encoding"), Some("br"));
    // HTTP/1.0 has no chunks: the end is the end.
    let mut old = edge.connect();
    old.send(format!("GET / HTTP/1.0\r\n{ASKS}\r\n"));
    let head = old.head().unwrap();
    assert!(head.contains("Content-Encoding: gzip") && !head.contains("chunked"), "{head}");
    assert!(unzipped(&old.rest()) == plain);
}

#[test]
fn what_is_compressed_is_not_held_back() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = Server::raw(move |mut client, _| {
        client.head();
        client.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nfirst");
        wait.lock().unwrap().recv().unwrap();
        client.send("second");
    });
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].gzip = Some(Gzip::default());
    });
    let mut client = edge.connect();
    client.send(format!("GET / HTTP/1.0\r\n{ASKS}\r\n"));
    client.head();
    let mut bytes = Vec::new();
    let mut text = [0; 5];
    while flate2::read::GzDecoder::new(bytes.as_slice()).read_exact(&mut text).is_err() {
        bytes.extend(client.exactly(1));
    }
    assert_eq!(&text, b"first");
    go.send(()).unwrap();
    bytes.extend(client.rest());
    assert_eq!(unzipped(&bytes), "firstsecond");
}

#[test]
fn a_path_is_answered_from_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let page = "<p>hello</p>".repeat(100);
    std::fs::create_dir(at("sub")).unwrap();
    for (name, text) in [("index.html", "<h1>home</h1>"), ("a.txt", "0123456789"), ("sub/index.html", page.as_str())] {
        std::fs::write(at(name), text).unwrap();
    }
    std::fs::write(directory.path().with_extension("secret"), "secret").unwrap();
    let (root, above) = (directory.path().to_owned(), directory.path().file_name().unwrap().to_owned());
    let server = Server::named("app");
    let edge = Edge::start(|spec| {
        spec.upstreams[0].servers.push(server.spec());
        spec.balancers[0].gzip = Some(Gzip::default());
        let files = |path: &str, spa| RouteSpec {
            path: path.into(),
            ..RouteSpec::to(RouteAction::Static { root: root.clone(), spa })
        };
        spec.balancers[0].routes.extend([files("/files", false), files("/spa", true)]);
    });
    let mut client = edge.connect();
    assert_eq!(ask(&mut client, "/", "").text(), "app");
    let reply = ask(&mut client, "/files/", "");
    assert_eq!((reply.text().as_str(), reply.field("content-type")), ("<h1>home</h1>", Some("text/html")));
    assert_eq!(reply.field("access-control-allow-origin"), None);
    let moved = ask(&mut client, "/files?x", "");
    assert_eq!((moved.status(), moved.field("location")), (301, Some("/files/?x")));
    let moved = ask(&mut client, "/files/sub", "");
    assert_eq!((moved.status() / 100, moved.field("location")), (3, Some("/files/sub/")));
    let part = ask(&mut client, "/files/a.txt", "Range: bytes=2-4\r\nAccept-Encoding: gzip\r\n");
    assert_eq!((part.status(), part.text().as_str(), part.field("content-encoding")), (206, "234", None));
    let date = ask(&mut client, "/files/a.txt", "").field("last-modified").unwrap().to_owned();
    client.send(format!("GET /files/a.txt HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: {date}\r\n\r\n"));
    assert_eq!(client.message(true).unwrap().status(), 304);
    client.send("HEAD /files/a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.message(true).unwrap();
    assert_eq!((head.status(), head.field("content-length")), (200, Some("10")));
    let squeezed = ask(&mut client, "/files/sub/", ASKS);
    assert_eq!((squeezed.field("content-encoding"), unzipped(&squeezed.body) == page), (Some("gzip"), true));
    assert_eq!(ask(&mut client, "/files/none", "").status(), 404);
    assert_eq!(ask(&mut client, "/spa/any/where", "").text(), "<h1>home</h1>");
    client.send("POST /files/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.reply().status(), 405);
    let above = above.to_string_lossy();
    for path in [
        format!("/files/../{above}.secret"),
        format!("/files/%2e%2e/{above}.secret"),
        "/files/..%2f..%2fetc%2fpasswd".into(),
    ] {
        let reply = ask(&mut client, &path, "");
        assert!(!reply.text().contains("secret") && !reply.text().contains("root:"), "{path}: {reply:?}");
    }
}
