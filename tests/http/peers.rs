//! The same requests through nginx and HAProxy. Where both of them agree and we do not, `known.toml` says why.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rpm_tests::{free_port, until};

use crate::requests::{Became, all, try_one};
use crate::stage::{Server, Stage};

/// A rival that runs while this is kept.
struct Peer {
    port: u16,
    process: Child,
}

impl Peer {
    fn start(program: &str, args: &[&str], config: &Path, text: &str, port: u16) -> Self {
        std::fs::write(config, text).expect("written");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.args(args).arg(config).env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let peer = Self { port, process };
        until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        peer
    }

    fn nginx(home: &Path, server: u16) -> Self {
        let (port, at) = (free_port(), home.display());
        let text = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{port};\n\
             location / {{ proxy_pass http://127.0.0.1:{server}; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
             proxy_request_buffering off; }} }} }}\n"
        );
        Self::start("nginx", &["-e", "/dev/null", "-c"], &home.join("nginx.conf"), &text, port)
    }

    fn haproxy(home: &Path, server: u16) -> Self {
        let port = free_port();
        let text = format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 2s\n timeout server 2s\n\
             frontend f\n bind 127.0.0.1:{port}\n default_backend b\n\
             backend b\n server s 127.0.0.1:{server}\n"
        );
        Self::start("haproxy", &["-q", "-f"], &home.join("haproxy.cfg"), &text, port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns whether a server got to see any of it.
fn passed(became: &Became) -> bool {
    became.seen.iter().any(|message| message.target() != "/sentinel")
}

#[test]
#[ignore = "takes a while, and needs nginx and HAProxy: make conformance-http"]
fn differences_from_nginx_and_haproxy_are_known() {
    let known: BTreeMap<String, String> = toml::from_str(include_str!("known.toml")).expect("known.toml");
    let stage = Stage::recording();
    let home = stage.rpm.home().to_owned();
    let (for_nginx, for_haproxy) = (Server::recording(), Server::recording());
    let (nginx, haproxy) = (Peer::nginx(&home, for_nginx.port), Peer::haproxy(&home, for_haproxy.port));
    let (mut unknown, mut met) = (Vec::new(), Vec::new());
    let mut table = vec![format!("{:<55} {:<22} {:<22} {}", "", "rpm", "nginx", "HAProxy")];
    for (name, request, _) in all() {
        // A body is passed on while it comes: whether its beginning reaches a server before its end is read is chance.
        let mut differs = false;
        for _ in 0..3 {
            let ours = try_one(stage.port, &stage.server, &request);
            let theirs = [try_one(nginx.port, &for_nginx, &request), try_one(haproxy.port, &for_haproxy, &request)];
            let shown: Vec<_> = [&ours, &theirs[0], &theirs[1]].iter().map(|became| became.shown()).collect();
            differs = passed(&theirs[0]) == passed(&theirs[1]) && passed(&ours) != passed(&theirs[0]);
            table.push(format!("{name:<55} {:<22} {:<22} {}", shown[0], shown[1], shown[2]));
            if differs {
                break;
            }
        }
        match known.contains_key(&name) {
            true if differs => met.push(name),
            false if differs => unknown.push(table.last().cloned().unwrap_or_default()),
            true | false => {}
        }
    }
    table.dedup();
    println!("{}", table.join("\n"));
    assert!(unknown.is_empty(), "not in known.toml:\n{}", unknown.join("\n"));
    // Of chunks it stays chance.
    let gone: Vec<_> = known.keys().filter(|name| !met.contains(name) && !name.starts_with("chunks")).collect();
    assert!(gone.is_empty(), "in known.toml, but no difference any more: {gone:?}");
}
