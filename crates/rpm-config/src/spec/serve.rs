//! `script: "serve"` and `static: […]`: a directory over HTTP, by our own static file server.

use rpm_model::{AppSpec, ExecMode};
use serde_json::{Map, Value, json};

use super::program::Program;
use super::{Reader, workers};
use crate::values;

/// The word that stands for our server.
pub(crate) const SCRIPT: &str = "serve";

/// The hidden command of our program that is the server.
const COMMAND: &str = "static-server";

/// PM2's port.
const PORT: &str = "8080";

/// Keys of an entry of `static`, and the variables that say the same.
const VARIABLES: &[(&str, &str)] = &[
    ("path", "PM2_SERVE_PATH"),
    ("port", "PM2_SERVE_PORT"),
    ("host", "PM2_SERVE_HOST"),
    ("spa", "PM2_SERVE_SPA"),
    ("ftp", "PM2_SERVE_FTP"),
    ("directory", "PM2_SERVE_DIRECTORY"),
    ("homepage", "PM2_SERVE_HOMEPAGE"),
    ("monitor", "PM2_SERVE_MONITOR"),
];

/// Returns an entry of `static` as an app.
pub(crate) fn app(entry: &Map<String, Value>) -> Map<String, Value> {
    let mut app = Map::new();
    let mut env = Map::new();
    for (key, value) in entry {
        match (VARIABLES.iter().find(|(known, _)| known == key), value) {
            (Some((_, variable)), value) => {
                env.insert((*variable).to_owned(), value.clone());
            }
            (None, Value::Object(login)) if key == "basic_auth" => {
                env.insert("PM2_SERVE_BASIC_AUTH".into(), json!("true"));
                for part in ["username", "password"] {
                    let value = login.get(part).cloned().unwrap_or_default();
                    env.insert(format!("PM2_SERVE_BASIC_AUTH_{}", part.to_uppercase()), value);
                }
            }
            (None, value) => {
                app.insert(key.clone(), value.clone());
            }
        }
    }
    app.insert("script".into(), json!(SCRIPT));
    app.insert("env".into(), Value::Object(env));
    app
}

/// Returns our server as the program of an app.
pub(super) fn program(reader: &Reader<'_>, cwd: std::path::PathBuf) -> Program {
    let env = reader.setting("env").map(|env| &env.value);
    let port = env.and_then(|env| env.get("PM2_SERVE_PORT")).and_then(values::text);
    Program {
        default_name: format!("static-page-server-{}", port.as_deref().unwrap_or(PORT)),
        script: reader.context.program.clone(),
        cwd,
        interpreter: None,
        interpreter_args: Vec::new(),
        args: vec![COMMAND.to_owned()],
        version: None,
    }
}

/// Lets the server of an app get its listening socket from us, so that a taken port is told at the start and a reload
/// loses no request; where the address needs to be looked up, the server binds it itself.
pub(crate) fn pass_its_socket(reader: &Reader<'_>, spec: &mut AppSpec) {
    if spec.script != reader.context.program || spec.args.first().is_none_or(|first| first != COMMAND) {
        return;
    }
    let variable = |name: &str| spec.env.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let port = variable("PM2_SERVE_PORT").unwrap_or(PORT);
    let host = variable("PM2_SERVE_HOST").unwrap_or("0.0.0.0");
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    if workers::is_address(&address) {
        spec.exec_mode = ExecMode::Socket;
        spec.listen = vec![address];
    }
    let path = spec.env.get("PM2_SERVE_PATH").map_or(".", String::as_str);
    let path = reader.context.resolve(&spec.cwd, path).to_string_lossy().into_owned();
    spec.env.insert("PM2_SERVE_PATH".into(), path);
}
