//! `serve`: a directory over HTTP, by a managed app; and the hidden role that is that app.

use std::path::PathBuf;

use rpm_config::Format;
use rpm_ipc::Request;
use rpm_static::Options;
use serde_json::{Map, Value, json};

use crate::args::Serve;
use crate::commands::{Invocation, start};
use crate::report::{Failure, chain};
use crate::{acting, specs};

pub(super) fn run(args: &Serve, invocation: &Invocation) -> Result<(), Failure> {
    if let Some(monitor) = &args.monitor {
        invocation
            .voice
            .warn(format_args!("--monitor {monitor} has no effect: it belongs to a service of PM2's makers"));
    }
    let context = specs::context(&invocation.home)?;
    // `serve 9000`: PM2 takes the first word for the directory, so do we, and say so where it is none.
    let variable = |name: &str| {
        let value = std::env::var(format!("PM2_SERVE_{name}")).ok();
        value.filter(|value| !value.is_empty())
    };
    let path = args.path.clone().or_else(|| variable("PATH").map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."));
    let path = context.cwd.join(path);
    if !path.is_dir() {
        return Err(Failure::new(format!("{} is not a directory", path.display()))
            .hint(format!("`{} serve DIRECTORY PORT`", invocation.voice.program())));
    }
    if let Some(name) = args.basic_auth_username.as_ref().filter(|name| name.contains(':')) {
        return Err(Failure::new(format!("--basic-auth-username `{name}` has a colon, which ends a name in HTTP")));
    }
    let mut env = Map::new();
    let mut set = |name: &str, value: Option<String>| {
        value.map(|value| env.insert(format!("PM2_SERVE_{name}"), value.into()));
    };
    let port = match (args.port.or(args.port_option), variable("PORT")) {
        (Some(port), _) => port,
        (None, None) => Options::PORT,
        (None, Some(text)) => text
            .parse()
            .map_err(|_| Failure::new(format!("PM2_SERVE_PORT is {text:?}: expected a port, 0 to 65535")))?,
    };
    set("PATH", Some(path.to_string_lossy().into_owned()));
    set("PORT", Some(port.to_string()));
    for name in ["HOST", "SPA", "FTP", "HOMEPAGE", "BASIC_AUTH", "BASIC_AUTH_USERNAME", "BASIC_AUTH_PASSWORD"] {
        set(name, variable(name));
    }
    set("HOST", args.host.clone());
    set("SPA", args.spa.then(|| "true".into()));
    set("FTP", args.ftp.then(|| "true".into()));
    set("BASIC_AUTH", args.basic_auth_username.as_ref().map(|_| "true".into()));
    set("BASIC_AUTH_USERNAME", args.basic_auth_username.clone());
    set("BASIC_AUTH_PASSWORD", args.basic_auth_password.clone());
    let file = json!({ "apps": [{ "script": "serve", "env": Value::Object(env) }] });
    let options = args.app.options(&[]);
    let loaded = rpm_config::load_text(&file.to_string(), Format::Json, "serve", &options, &context)?;

    let mut session = invocation.session()?;
    let before = session.list(false)?;
    let taken = |name: &str| before.apps.iter().any(|app| app.spec.name == name);
    if let Some(spec) = loaded.specs.iter().find(|spec| taken(&spec.name) && !args.app.force) {
        return Err(start::already(spec, invocation));
    }
    invocation.voice.say(format_args!("Serving {} on port {port}", path.display()));
    acting::act_and_show(&mut session, invocation, &before, vec![("start", Request::Start { specs: loaded.specs })])
}

/// Runs the server itself.
pub fn server() -> Result<(), Failure> {
    let options = Options::from_variables(|name| std::env::var(name).ok()).map_err(Failure::new)?;
    rpm_static::run(options).map_err(|error| Failure::new(chain(&error)))
}
