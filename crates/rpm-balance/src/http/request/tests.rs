use super::*;

fn read(text: &str) -> Result<RequestHead, Refusal> {
    match parse(text.as_bytes(), &Limits::default(), &mut Vec::new())? {
        Parsed::Whole(head) => Ok(head),
        Parsed::Partial => panic!("partial: {text:?}"),
    }
}

fn status(text: &str) -> u16 {
    match parse(text.as_bytes(), &Limits::default(), &mut Vec::new()) {
        Ok(_) => 0,
        Err(refusal) => refusal.status(),
    }
}

#[test]
fn a_plain_request_is_understood() {
    let text = "POST /a/b?c HTTP/1.1\r\nHost: example.com:80\r\nContent-Length: 3\r\nUser-Agent:  curl \r\n\r\nabc";
    let head = read(text).unwrap();
    let bytes = text.as_bytes();
    assert_eq!(head.length, text.len() - 3);
    assert_eq!((head.method, head.method_name.get(bytes)), (Method::Other, &b"POST"[..]));
    assert_eq!((head.target.get(bytes), head.path.get(bytes)), (&b"/a/b?c"[..], &b"/a/b"[..]));
    assert_eq!(head.host.get(bytes), b"example.com:80");
    assert_eq!(head.user_agent.get(bytes), b"curl");
    assert_eq!(head.body, Body::Length(3));
    assert!(head.version_1_1 && head.keep_alive && !head.absolute);
}

#[test]
fn what_is_no_request_is_refused() {
    // The status, and what stands between "HTTP/1.1\r\n" and the empty line, with a Host before it.
    let cases: &[(u16, &str)] = &[
        (0, ""),
        (400, "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (400, "Content-Length: 5\r\nContent-Length: 5"),
        (400, "Content-Length: 5, 5"),
        (400, "Content-Length: +5"),
        (400, "Content-Length: 18446744073709551617"),
        (400, "Content-Length: "),
        (400, "Transfer-Encoding: xchunked"),
        (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        (501, "Transfer-Encoding: gzip, chunked"),
        (501, "Transfer-Encoding: identity"),
        (400, "Transfer-Encoding : chunked"),
        (400, "Transfer-Encoding:\x0bchunked"),
        (400, " folded: 1"),
        (400, "X: a\r\n folded"),
        (400, "X: a\r\n\tfolded"),
        (400, "X: a\nY: b"),
        (400, "X: a\rY: b"),
        (400, "X: a\0b"),
        (400, "X\0: a"),
        (400, ": empty"),
        (400, "no colon"),
        (400, "Host: other"),
        (417, "Expect: something"),
    ];
    for (expected, field) in cases {
        let line = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n");
        assert_eq!(status(&text), *expected, "{field:?}");
    }
}

#[test]
fn request_lines_are_strict() {
    let cases: &[(u16, &str)] = &[
        (0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (0, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (0, "GET / HTTP/1.0\r\n\r\n"),
        (0, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (0, "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        (400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: a\n\n"),
        (400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http:///x HTTP/1.1\r\nHost: \r\n\r\n"),
        (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        (405, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
        (405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ];
    for (expected, text) in cases {
        assert_eq!(status(text), *expected, "{text:?}");
    }
    for host in ["a b", "a/b", "a,b", "a:b", "a@b", ":80", "[::1", "[x]", "a:123456", "a\\b", "a?b"] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 400, "{host}");
    }
    for host in ["", "a", "a:80", "[::1]", "[::1]:80", "a-b.c_d"] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 0, "{host}");
    }
}

#[test]
fn lengths_are_limited() {
    let limits = Limits { header: rpm_model::Bytes(200), header_count: 3, body: None };
    let refused = |text: &str| parse(text.as_bytes(), &limits, &mut Vec::new()).map(|_| ()).map_err(Refusal::status);
    let long = "x".repeat(200);
    assert_eq!(refused(&format!("GET /{long}")), Err(414));
    assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(414));
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")), Err(431));
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n"), Err(431));
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\n\r\n"), Ok(()));
}

#[test]
fn what_connection_names_is_not_passed_on_but_framing_is() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a, close, Content-Length,host\r\nX-A: 1\r\nX-B: 1\r\n\
                Content-Length: 2\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
    let mut fields = Vec::new();
    let Parsed::Whole(head) = parse(text.as_bytes(), &Limits::default(), &mut fields).unwrap() else { panic!() };
    let passed: Vec<_> = fields
        .iter()
        .filter(|field| field.role != Role::Hop)
        .map(|field| std::str::from_utf8(field.name.get(text.as_bytes())).unwrap())
        .collect();
    assert_eq!(passed, ["Host", "X-B", "Content-Length"]);
    assert!(!head.keep_alive);
    assert_eq!(fields[2].line.get(text.as_bytes()), b"X-A: 1\r\n");
    assert_eq!(head.upgrade, None);
}

#[test]
fn upgrades_need_both_fields_and_no_body() {
    let upgrade = |fields: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        read(&text).unwrap().upgrade.map(|span| String::from_utf8_lossy(span.get(text.as_bytes())).into_owned())
    };
    assert_eq!(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").as_deref(), Some("websocket"));
    assert_eq!(upgrade("Upgrade: websocket\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\n"), None);
    assert_eq!(upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n"), None);
}

#[test]
fn compression_is_asked_for_by_name() {
    let accepts = |value: &str| {
        read(&format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {value}\r\n\r\n")).unwrap().accepts_gzip
    };
    assert!(accepts("gzip, deflate, br") && accepts("br;q=1.0, gzip;q=0.8"));
    assert!(!accepts("br") && !accepts("gzip;q=0") && !accepts("gzip; q=0.0"));
}

#[test]
fn a_head_in_pieces_is_partial_until_it_is_whole() {
    let text = "GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for end in 0..text.len() {
        let part = parse(&text.as_bytes()[..end], &Limits::default(), &mut Vec::new());
        assert!(matches!(part, Ok(Parsed::Partial)), "{end}: {part:?}");
    }
}

proptest::proptest! {
    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = parse(&bytes, &Limits::default(), &mut Vec::new());
    }
}
