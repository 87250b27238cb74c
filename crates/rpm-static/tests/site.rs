//! A site over a real socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rpm_static::Options;

/// The test's own program, run again with this, is the server: a server is a process with signals of its own.
const ROLE: &str = "RPM_STATIC_TEST_SERVER";

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(directory: &Path, more: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "the_server", "--nocapture"])
            .env(ROLE, "1")
            .env("PM2_SERVE_PATH", directory)
            .env("PM2_SERVE_HOST", "127.0.0.1")
            .env("PM2_SERVE_PORT", free.to_string())
            .envs(more.iter().map(|(name, value)| (format!("PM2_SERVE_{name}"), value)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        // It says where it serves when it does.
        let mut said = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        while !said.contains("serving ") {
            said.clear();
            assert!(std::io::BufRead::read_line(&mut out, &mut said).expect("a line") > 0, "the server is gone");
        }
        Self { child, port: free }
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").expect("a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server() {
    if std::env::var_os(ROLE).is_some() {
        let options = Options::from_variables(|name| std::env::var(name).ok()).expect("sound options");
        rpm_static::run(options).expect("it serves");
    }
}

fn site() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("index.html"), "the index").expect("a file");
    std::fs::write(directory.path().join("app.js"), "0123456789").expect("a file");
    std::fs::create_dir(directory.path().join("sub")).expect("a directory");
    std::fs::write(directory.path().join("sub/a b.txt"), "deep").expect("a file");
    directory
}

#[test]
fn files_have_types_dates_ranges_and_are_open_to_other_sites() {
    let directory = site();
    let server = Server::start(directory.path(), &[]);
    let index = server.get("/", "");
    assert!(index.starts_with("HTTP/1.1 200 OK") && index.ends_with("the index"), "{index}");
    let lower = index.to_lowercase();
    assert!(lower.contains("content-type: text/html") && lower.contains("access-control-allow-origin: *"), "{index}");
    let date = index.lines().find_map(|line| line.strip_prefix("last-modified: ")).expect("a date").to_owned();
    let again = server.get("/", &format!("If-Modified-Since: {date}\r\n"));
    assert!(again.starts_with("HTTP/1.1 304"), "{again}");
    let part = server.get("/app.js", "Range: bytes=2-4\r\n");
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n234"), "{part}");
    assert!(server.get("/sub/a%20b.txt", "").ends_with("deep"));
}

#[test]
fn nothing_outside_the_directory_is_served() {
    let directory = site();
    std::fs::write(directory.path().join("secret"), "secret").expect("a file");
    for (name, value) in [("SPA", "true"), ("FTP", "true")] {
        let server = Server::start(&directory.path().join("sub"), &[(name, value)]);
        for path in ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "//secret", "/%2e%2e/", "/..%2f"] {
            let answer = server.get(path, "");
            assert!(!answer.contains("secret") && !answer.contains("the index"), "{path}: {answer}");
        }
    }
}

#[test]
fn what_is_missing_is_the_sites_own_page_or_the_applications() {
    let directory = site();
    let plain = Server::start(directory.path(), &[]);
    assert!(plain.get("/nope", "").starts_with("HTTP/1.1 404"));
    std::fs::write(directory.path().join("404.html"), "not here").expect("a file");
    let missing = plain.get("/nope", "");
    assert!(missing.starts_with("HTTP/1.1 404") && missing.ends_with("not here"), "{missing}");

    let application = Server::start(directory.path(), &[("SPA", "true")]);
    let page = application.get("/some/where", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("the index"), "{page}");
    assert!(application.get("/some/app.js", "").ends_with("0123456789"), "its files, wherever it thinks they are");
}

#[test]
fn a_directory_shows_its_files_when_asked_to() {
    let directory = site();
    assert!(Server::start(directory.path(), &[]).get("/sub/", "").starts_with("HTTP/1.1 404"));
    let server = Server::start(directory.path(), &[("FTP", "true")]);
    let page = server.get("/sub/", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("./a%20b.txt"), "{page}");
    assert!(server.get("/", "").ends_with("the index"), "an index comes first");
}

#[test]
fn a_login_is_asked_for_everything() {
    let directory = site();
    let login = [("BASIC_AUTH_USERNAME", "u"), ("BASIC_AUTH_PASSWORD", "p")];
    let server = Server::start(directory.path(), &login);
    for path in ["/", "/nope", "/sub/"] {
        let answer = server.get(path, "");
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("asic realm="), "{answer}");
    }
    // u:p
    assert!(server.get("/", "Authorization: Basic dTpw\r\n").starts_with("HTTP/1.1 200"));
}
