//! Messages over HTTP about what happens: to whom, of what, signed, again where that may help, and never in anybody's way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rpm_tests::{Rpm, app, until};
use serde_json::{Value, json};

/// One request that came.
#[derive(Debug, Clone)]
struct Got {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// A server that answers with these statuses in turn, the last one for ever.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let kept = got.clone();
        std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let status = statuses[count.min(statuses.len() - 1)];
                if let Some(request) = answer(stream, status) {
                    kept.lock().expect("nobody panics with it").push(request);
                }
            }
        });
        Self { port, got }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("nobody panics with it").clone()
    }

    fn events(&self) -> Vec<String> {
        self.got().iter().map(|got| got.header("X-RPM-Event").to_owned()).collect()
    }
}

fn answer(mut stream: TcpStream, status: u16) -> Option<Got> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut got = Got { path, headers, body: String::new() };
    let mut body = vec![0; got.header("Content-Length").parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    got.body = String::from_utf8(body).ok()?;
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    Some(got)
}

fn file(rpm: &Rpm, script: &str, more: &Value) -> String {
    rpm.file_of(json!({ "name": "api", "script": "/bin/sh", "args": ["-c", script] }), more)
}

/// Returns the signature as another program makes it.
fn hmac(key: &str, body: &str) -> String {
    let script = "import hmac,sys; print('sha256='+hmac.new(sys.argv[1].encode(), sys.stdin.buffer.read(), 'sha256').hexdigest())";
    let mut python = Command::new("python3")
        .args(["-c", script, key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    python.stdin.take().expect("piped").write_all(body.as_bytes()).expect("it reads");
    String::from_utf8(python.wait_with_output().expect("it ends").stdout).expect("text").trim().to_owned()
}

#[test]
fn crashes_and_the_end_of_patience_are_told_and_signed() {
    let (rpm, receiver) = (Rpm::new(), Receiver::start(&[200]));
    std::fs::write(rpm.home().join("key"), "hunter2\n").expect("a file");
    let url = format!("http://127.0.0.1:{}/hook?token=T0KEN", receiver.port);
    let webhooks = json!({ "webhooks": [{ "url": url, "secret": "file:key" }] });
    rpm.run(&["start", &file(&rpm, "exit 3", &webhooks)]);
    until("the last word", || receiver.events().iter().any(|event| event == "errored"));
    let got = receiver.got();
    assert_eq!(got.iter().filter(|got| got.header("X-RPM-Event") == "crash").count(), 16, "{:?}", receiver.events());
    for got in &got {
        assert_eq!((got.path.as_str(), got.header("Content-Type")), ("/hook?token=T0KEN", "application/json"));
        assert_eq!(got.header("X-RPM-Signature"), hmac("hunter2", &got.body));
        let body = got.json();
        assert_eq!(
            (&body["app"], &body["worker"], &body["id"]),
            (&json!("api"), &json!(0), &json!(got.header("X-RPM-Delivery")))
        );
        assert_eq!(body["event"], got.header("X-RPM-Event"));
    }
    assert_eq!(got[0].json()["detail"], "exit code 3");
    // Neither the key nor what may be a token in the address is shown to anybody.
    let shown = [
        rpm.ok(&["describe", "api"]),
        rpm.ok(&["describe", "api", "--json"]),
        rpm.ok(&["list", "--json"]),
        rpm.ok(&["jlist"]),
        rpm.ok(&["prettylist"]),
        rpm.ok(&["events"]),
        rpm.daemon_log(),
    ];
    for text in shown {
        assert!(!text.contains("hunter2") && !text.contains("T0KEN"), "{text}");
    }
    assert!(rpm.ok(&["describe", "api"]).contains(&format!("http://127.0.0.1:{}/…", receiver.port)));
}

#[test]
fn what_a_receiver_does_not_take_is_sent_again_under_the_same_name() {
    let (rpm, receiver) = (Rpm::new(), Receiver::start(&[503, 200]));
    let url = format!("http://127.0.0.1:{}/", receiver.port);
    rpm.ok(&["start", &file(&rpm, "exec sleep 1000", &json!({ "webhooks": { "url": url, "events": ["stop"] } }))]);
    rpm.ok(&["stop", "api"]);
    until("the second attempt", || receiver.got().len() == 2);
    let got = receiver.got();
    assert_eq!(got[0].header("X-RPM-Delivery"), got[1].header("X-RPM-Delivery"));
    assert_eq!(receiver.events(), ["stop", "stop"]);
    assert_eq!(got[0].header("X-RPM-Signature"), "");
}

#[test]
fn what_will_never_be_taken_is_told_and_holds_nothing_up() {
    let (rpm, receiver) = (Rpm::new(), Receiver::start(&[404]));
    // One that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("bound").port();
    let webhooks = json!({ "webhooks": [
        { "url": format!("http://127.0.0.1:{silent_port}/"), "events": ["start"], "timeout": "60s" },
        { "url": format!("http://127.0.0.1:{}/", receiver.port), "events": ["start", "restart"] },
    ] });
    rpm.ok(&["start", &file(&rpm, "exec sleep 1000", &webhooks)]);
    let failed = || rpm.ok(&["events"]).matches("webhook failed").count();
    until("the refusal", || failed() == 1);
    rpm.ok(&["restart", "api"]);
    rpm.ok(&["start", &app("idle.sh"), "--name", "other"]);
    until("the next one", || receiver.events() == ["start", "restart"]);
    until("its refusal", || failed() == 2);
    assert!(rpm.daemon_log().contains("status 404"), "{}", rpm.daemon_log());
}

#[test]
fn https_is_checked_against_what_the_machine_trusts() {
    let rpm = Rpm::new();
    let (cert, key) = (rpm.home().join("cert.pem"), rpm.home().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=CA:FALSE",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl runs").success());
    let script = "import http.server,ssl,sys\n\
        class H(http.server.BaseHTTPRequestHandler):\n\
        \x20def do_POST(self):\n\
        \x20\x20print(self.rfile.read(int(self.headers['Content-Length'])).decode(), flush=True)\n\
        \x20\x20self.send_response(204); self.end_headers()\n\
        \x20def log_message(self, *a): pass\n\
        s=http.server.HTTPServer(('127.0.0.1',0),H)\n\
        c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(sys.argv[1],sys.argv[2])\n\
        s.socket=c.wrap_socket(s.socket,server_side=True)\n\
        print(s.server_address[1], flush=True); s.serve_forever()";
    let mut server = Command::new("python3")
        .args(["-c", script])
        .arg(&cert)
        .arg(&key)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut lines = BufReader::new(server.stdout.take().expect("piped")).lines();
    let port = lines.next().expect("a line").expect("read");
    let webhooks = json!({ "webhooks": [{ "url": format!("https://localhost:{port}/"), "events": ["online"] }] });
    let path = file(&rpm, "exec sleep 1000", &webhooks);
    // The daemon's environment is that of the command that starts it.
    let started = rpm.command(&["start", &path]).env("SSL_CERT_FILE", &cert).output().expect("rpm runs");
    assert!(started.status.success(), "{started:?}");
    let body: Value = serde_json::from_str(&lines.next().expect("a line").expect("read")).expect("JSON");
    assert_eq!((&body["event"], &body["app"]), (&json!("online"), &json!("api")));
    let _ = server.kill();
    let _ = server.wait();
}
