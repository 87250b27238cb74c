//! `serve`: a directory over HTTP, as an app like any other.

use std::net::TcpListener;
use std::path::PathBuf;

use rpm_tests::{Rpm, http, until};

fn site(rpm: &Rpm) -> PathBuf {
    let directory = rpm.home().join("site");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("index.html"), "the index").expect("a file");
    directory
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port()
}

#[test]
fn a_directory_is_served_reloaded_and_stopped() {
    let rpm = Rpm::new();
    let (directory, port) = (site(&rpm), free_port().to_string());
    let name = format!("static-page-server-{port}");
    rpm.ok(&["serve", &directory.to_string_lossy(), &port, "--spa"]);
    assert_eq!(rpm.statuses(&name), ["online"]);
    let get = |path: &str| http::get(port.parse().expect("a number"), path);
    assert!(get("/some/where").expect("an answer").contains("the index"));
    rpm.ok(&["reload", &name]);
    assert!(get("/").expect("an answer").contains("the index"));
    assert!(rpm.fails(&["serve", &directory.to_string_lossy(), &port]).contains("already launched"));
    rpm.ok(&["stop", &name]);
    until("the port is free", || get("/").is_err());
}

#[test]
fn ecosystem_files_serve_directories() {
    let rpm = Rpm::new();
    let (directory, port, other) = (site(&rpm), free_port(), free_port());
    let file = rpm.home().join("eco.json");
    let text = format!(
        r#"{{"apps": [{{"name": "word", "script": "serve", "env": {{"PM2_SERVE_PATH": "{0}", "PM2_SERVE_PORT": {port}}}}}],
            "static": [{{"name": "list", "path": "{0}", "port": {other}}}]}}"#,
        directory.display()
    );
    std::fs::write(&file, text).expect("a file");
    rpm.ok(&["start", &file.to_string_lossy()]);
    for port in [port, other] {
        assert!(http::get(port, "/").expect("an answer").contains("the index"), "{port}");
    }
    assert_eq!(rpm.jlist().len(), 2);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let rpm = Rpm::new();
    let directory = site(&rpm);
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("its number").port().to_string();
    assert!(rpm.fails(&["serve", &directory.to_string_lossy(), &port]).contains(&port));
    assert!(rpm.fails(&["serve", "/nowhere"]).contains("not a directory"));
}
