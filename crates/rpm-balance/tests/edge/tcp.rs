//! `tcp` mode, and the PROXY protocol.

use rpm_model::balance::{AccessLog, AccessLogFormat, Mode, ProxyVersion, ServerSpec};

use crate::stage::{Edge, Server, nobody, ok, until};

#[test]
fn bytes_pass_both_ways_and_half_closes_too() {
    let server = Server::raw(|mut client, _| {
        let text = client.rest();
        client.send(text.repeat(2));
    });
    let edge = Edge::start(|spec| {
        spec.balancers[0].mode = Mode::Tcp;
        spec.upstreams[0].servers.extend([nobody(), server.spec()]);
    });
    let directory = tempfile::tempdir().unwrap();
    let mut spec = edge.spec.clone();
    let path = directory.path().join("tcp.log");
    spec.balancers[0].access_log = Some(AccessLog { path: path.clone(), format: AccessLogFormat::Combined });
    edge.configure(spec);
    for length in [3, 1_000_000] {
        let mut client = edge.connect();
        let text: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
        client.send(&text);
        client.finish();
        assert!(client.rest() == text.repeat(2));
    }
    let stats = edge.stats();
    assert_eq!(stats.balancers[0].bytes_in, 1_000_003);
    assert_eq!(stats.upstreams[0].servers[1].bytes_in, 2_000_006);
    let lines = || std::fs::read_to_string(&path).unwrap();
    until("both are in the log", || lines().lines().count() == 2);
    let server = format!("\"{}\"", server.address);
    assert!(lines().lines().all(|line| line.starts_with("127.0.0.1 [") && line.ends_with(&server)), "{}", lines());
    assert!(lines().contains("TCP 200 2000000 1000000 "), "{}", lines());
}

#[test]
fn the_client_is_known_through_proxies() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let server = Server::raw(move |mut client, _| {
            let expected = b"PROXY TCP4 9.8.7.6 5.4.3.2 1234 80\r\n";
            let header = match version {
                ProxyVersion::V1 => client.exactly(expected.len()),
                ProxyVersion::V2 => client.exactly(28),
            };
            match version {
                ProxyVersion::V1 => assert_eq!(header, expected),
                ProxyVersion::V2 => assert_eq!(&header[16..], [9, 8, 7, 6, 5, 4, 3, 2, 4, 210, 0, 80]),
            }
            let request = client.message(false).unwrap();
            client.send(ok(request.field("x-forwarded-for").unwrap()));
        });
        let edge = Edge::start(|spec| {
            spec.balancers[0].listen[0].proxy_protocol = true;
            spec.upstreams[0].servers.push(ServerSpec { send_proxy: Some(version), ..server.spec() });
        });
        let mut client = edge.connect();
        client.send("PROXY TCP4 9.8.7.6 5.4.3.2 1234 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.reply().text(), "9.8.7.6");
        let mut wrong = edge.connect();
        wrong.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(wrong.is_closed());
    }
}
