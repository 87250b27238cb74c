//! Configurations of nginx and HAProxy: what is understood, what is named as lost, and that the real programs take what
//! is written.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use rpm_config::foreign::{self, Program};
use rpm_config::{AppOptions, Format, load_text};
use rpm_model::AppSpec;

fn cases() -> Vec<(PathBuf, Program)> {
    let directory = common::tests().join("foreign");
    let mut cases: Vec<_> =
        directory.read_dir().expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension != "txt"));
    cases.sort();
    let program = |path: &Path| match path.extension().is_some_and(|extension| extension == "cfg") {
        true => Program::Haproxy,
        false => Program::Nginx,
    };
    cases.into_iter().map(|path| (path.clone(), program(&path))).collect()
}

fn shown(path: &Path) -> PathBuf {
    path.file_name().expect("a name").into()
}

#[test]
fn what_is_read_and_what_is_lost() {
    let mut failures = Vec::new();
    for (path, program) in cases() {
        let told = match foreign::import(program, &path, &shown(&path)) {
            Ok(imported) => {
                let warnings = imported.warnings.iter().map(|warning| format!("\n{warning}\n")).collect::<String>();
                format!("{}{warnings}", imported.text)
            }
            Err(error) => error.to_string(),
        };
        common::compare(&path, &told, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Files that an imported configuration names are not there: they are made, and the text is changed to name them.
fn with_files(text: &str, directory: &Path) -> String {
    let pem = directory.join("site.pem");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"])
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("cert.pem"))
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let both = [directory.join("cert.pem"), directory.join("key.pem")].map(|path| std::fs::read(path).expect("made"));
    std::fs::write(&pem, both.concat()).expect("written");
    let pem = pem.display().to_string();
    let root = directory.display().to_string();
    let text = ["/etc/ssl/example.pem", "/etc/ssl/example.key", "/etc/ssl/site.pem"]
        .iter()
        .fold(text.to_owned(), |text, path| text.replace(path, &pem));
    // Names of the cases that nobody resolves.
    let names =
        (1..=3).fold(text, |text, number| text.replace(&format!("server{number}"), &format!("127.0.0.{number}")));
    ["/var/www/assets/", "/var/www/app", "/var/www"].iter().fold(names, |text, path| text.replace(path, &root))
}

fn loaded(text: &str) -> Vec<AppSpec> {
    let loaded = load_text(text, Format::Json, "imported.json", &AppOptions::default(), &common::context());
    loaded.unwrap_or_else(|error| panic!("{error}\n{text}")).specs
}

/// Asks the real program whether it takes a configuration; `false` where the program is not installed.
fn is_taken(program: Program, text: &str, directory: &Path) -> bool {
    let path = directory.join("exported.conf");
    // In Debian nginx's streams are a module of their own.
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let needs_module = text.contains("\nstream {") && Path::new(module).exists();
    let text = if needs_module { format!("load_module {module};\n{text}") } else { text.to_owned() };
    std::fs::write(&path, &text).expect("written");
    let mut command = match program {
        Program::Nginx => Command::new("nginx"),
        Program::Haproxy => Command::new("haproxy"),
    };
    match program {
        Program::Nginx => command
            .arg("-t")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(&path)
            .args(["-g", "pid nginx.pid; error_log stderr;"]),
        Program::Haproxy => command.args(["-c", "-f"]).arg(&path),
    };
    let Ok(output) = command.output() else {
        eprintln!("{program:?} is not installed, so nothing was tried");
        return true;
    };
    let told = String::from_utf8_lossy(&output.stderr);
    // Only root may bind low ports, and the test of a configuration binds.
    assert!(output.status.success() || told.contains("Permission denied"), "{program:?}: {told}\n{text}");
    output.status.success()
}

#[test]
fn what_is_imported_can_be_started_and_exported_to_the_real_programs() {
    for (path, program) in cases() {
        let Ok(imported) = foreign::import(program, &path, &shown(&path)) else { continue };
        let directory = tempfile::tempdir().expect("a directory");
        // Low and fixed ports may be taken on the machine of the test.
        let text = with_files(&imported.text, directory.path());
        let specs = loaded(&text);
        for to in [Program::Nginx, Program::Haproxy] {
            let exported = foreign::export(to, &specs);
            if exported.text.is_empty() {
                assert!(specs.is_empty());
                continue;
            }
            is_taken(to, &exported.text, directory.path());
        }
    }
}

#[test]
fn apps_are_exported_as_the_addresses_of_their_workers() {
    let text = r#"{
        "apps": [
            { "name": "api", "script": "../valid/beside.js", "instances": 2, "increment_var": "PORT", "env": { "PORT": 3000 } },
            { "name": "sock", "script": "../valid/beside.js", "exec_mode": "socket", "listen": "0.0.0.0:8002" },
            { "name": "own", "script": "../valid/beside.js", "exec_mode": "proxy" }
        ],
        "upstreams": [{ "name": "all", "servers": [{ "app": "api", "weight": 2 }, { "app": "sock" }, { "app": "own" }] }],
        "balancers": [{ "name": "web", "listen": ":8080", "upstream": "all" }]
    }"#;
    let specs = loaded(&text.replace("\"instances\": 2,", "\"instances\": 2, \"exec_mode\": \"fork\","));
    let nginx = foreign::export(Program::Nginx, &specs);
    for wanted in ["server 127.0.0.1:3000 weight=2;", "server 127.0.0.1:3001 weight=2;", "server 127.0.0.1:8002;"] {
        assert!(nginx.text.contains(wanted), "{wanted} is missing in {}", nginx.text);
    }
    assert!(nginx.lost.iter().any(|lost| lost.starts_with("app own:")), "{:?}", nginx.lost);
    let haproxy = foreign::export(Program::Haproxy, &specs);
    assert!(haproxy.text.contains("server api-1 127.0.0.1:3001 weight 2"), "{}", haproxy.text);
}

#[test]
fn a_broken_file_is_told_in_its_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = |program, text: &str| {
        let path = directory.path().join("broken");
        std::fs::write(&path, text).expect("written");
        foreign::import(program, &path, Path::new("broken")).expect_err("it is broken").to_string()
    };
    for (text, why) in [
        ("http { server { listen 80; }", "not closed"),
        ("http { listen 80 }", "expected `;`"),
        ("upstream u { server 'a", "quote is not closed"),
        ("}", "closes nothing"),
        ("events {}", "nothing to balance"),
        ("include broken;", "include itself"),
    ] {
        assert!(told(Program::Nginx, text).contains(why), "{text}: {}", told(Program::Nginx, text));
    }
    assert!(told(Program::Haproxy, "bind :80\n").contains("expected `global`"));
    assert!(told(Program::Haproxy, "global\n maxconn 5\n").contains("nothing to balance"));
}
