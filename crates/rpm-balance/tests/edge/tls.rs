//! TLS to clients. The certificates beside this file are for `one.test` and `two.test`, and good for a hundred years.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpm_model::balance::{CertificateSpec, ListenSpec, TlsSpec};
use rpm_model::edge::{Answer, Ask};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::stage::{Edge, PATIENCE, Server};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/certs").join(name)
}

fn certificate(name: &str) -> CertificateSpec {
    CertificateSpec { cert: file(&format!("{name}.crt")), key: file(&format!("{name}.key")), names: Vec::new() }
}

/// Starts an edge with one more port, with TLS.
fn edge(server: &Server, certificates: Vec<CertificateSpec>) -> (Edge, SocketAddr) {
    let edge = Edge::before(&[server]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut spec = edge.spec.clone();
    spec.balancers[0].tls = Some(TlsSpec {
        listen: vec![ListenSpec { address: address.to_string().parse().unwrap(), proxy_protocol: false }],
        certificates,
        redirect: true,
    });
    spec.listeners = vec![address.to_string()];
    assert_eq!(edge.ask_with(Ask::Configure(spec), &[listener.into()]), Answer::Done);
    (edge, address)
}

/// Asks over TLS as `host`, and trusts only that certificate; returns what came.
fn get(address: SocketAddr, host: &str, trusted: &Path) -> Result<String, std::io::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::StreamOwned::new(connection, stream);
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn each_name_is_shown_its_own_certificate() {
    let server = Server::named("a");
    let (_edge, address) = edge(&server, vec![certificate("one"), certificate("two")]);
    for (host, shown) in [("one.test", "one"), ("two.test", "two"), ("www.two.test", "two"), ("WWW.one.test", "one")] {
        let text = get(address, host, &file(&format!("{shown}.crt"))).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\na"), "{text}");
    }
    assert_eq!(server.last().field("x-forwarded-proto"), Some("https"));
    assert!(get(address, "one.test", &file("two.crt")).is_err());
    let mut plain = crate::stage::Client::connect(address);
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!plain.rest().starts_with(b"HTTP"));
}

#[test]
fn plain_requests_are_redirected() {
    let server = Server::named("a");
    let (edge, address) = edge(&server, vec![certificate("one")]);
    let mut client = edge.connect();
    client.send("GET /x?y HTTP/1.1\r\nHost: one.test:80\r\n\r\n");
    let reply = client.reply();
    let to = format!("https://one.test:{}/x?y", address.port());
    assert_eq!((reply.status(), reply.field("location")), (308, Some(to.as_str())));
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let own = CertificateSpec { cert: home.path().join("c"), key: home.path().join("k"), names: vec!["x.test".into()] };
    let put = |name: &str| {
        std::fs::copy(file(&format!("{name}.crt")), &own.cert).unwrap();
        std::fs::copy(file(&format!("{name}.key")), &own.key).unwrap();
    };
    put("one");
    let server = Server::named("a");
    let (edge, address) = edge(&server, vec![own.clone()]);
    assert!(get(address, "one.test", &file("one.crt")).is_ok());
    put("two");
    assert_eq!(edge.ask(Ask::ReloadFiles), Answer::Done);
    assert!(get(address, "two.test", &file("two.crt")).is_ok());
    std::fs::copy(file("one.key"), &own.key).unwrap();
    let Answer::Refused(mistakes) = edge.ask(Ask::ReloadFiles) else { panic!("it was taken") };
    assert!(mistakes[0].contains("do not go together"), "{mistakes:?}");
    assert!(get(address, "two.test", &file("two.crt")).is_ok());
}
