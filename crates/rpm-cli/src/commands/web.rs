//! `web`: metrics, dashboard and HTTP API by a managed process; and the hidden role that is that process.

use std::path::Path;

use rpm_ipc::{AppInfo, List, Request};
use rpm_model::{AppSpec, Flavour, Home, Status};
use rpm_web::{Listen, Options, WebError};

use crate::args::{Compat, Export, Web, WebHow, WebServer, WebVerb};
use crate::commands::{Invocation, cwd, why};
use crate::report::{Failure, chain};
use crate::{modules, target, web};

/// The loopback only; the port is the one that exporters of PM2's metrics use.
const LISTEN: &str = "127.0.0.1:9615";

pub(super) fn run(args: &Web, invocation: &Invocation) -> Result<(), Failure> {
    match args.verb {
        WebVerb::Start => start(&args.how, invocation),
        WebVerb::Stop => stop(invocation),
        WebVerb::Token => {
            crate::home::prepare(&invocation.home)?;
            let token = if args.metrics { rpm_web::metrics_token } else { rpm_web::token };
            let token = token(&invocation.home).map_err(failed)?;
            invocation.voice.data(&format!("{token}\n"));
            Ok(())
        }
        WebVerb::Url => {
            let list = invocation.session()?.list(false)?;
            let app = web::find(&list).filter(|app| is_up(app)).ok_or_else(|| {
                Failure::new("it does not run").hint(format!("`{} web` starts it", invocation.voice.program()))
            })?;
            invocation.voice.data(&format!("{}\n", address(&app.spec)));
            Ok(())
        }
    }
}

fn start(how: &WebHow, invocation: &Invocation) -> Result<(), Failure> {
    let listen = listen(how)?;
    let words = words(how, &listen);
    let spec = web::spec(words.clone(), &invocation.home)?;
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    let before = web::find(&list).map(|app| (app.spec.clone(), is_up(app)));
    // The one that runs is not given up for one that could not listen; where it listens itself nobody else could.
    if !before.as_ref().is_some_and(|(spec, is_up)| *is_up && address(spec) == listen.to_string()) {
        rpm_web::probe(&listen).map_err(failed)?;
    }
    rpm_web::token(&invocation.home).map_err(failed)?;
    remove(&mut session, &list)?;
    if let Err(failure) = modules::start(&mut session, spec) {
        let list = session.list(false)?;
        remove(&mut session, &list)?;
        if let Some((spec, true)) = before {
            modules::start(&mut session, spec)?;
        }
        return Err(failure);
    }
    web::want(&words, &invocation.home)?;
    invocation.voice.say(format_args!("Serving dashboard, metrics and API on {listen}"));
    invocation.voice.say(format_args!("`{} web token` prints the token that it asks for", invocation.voice.program()));
    Ok(())
}

fn is_up(app: &AppInfo) -> bool {
    app.workers.iter().any(|worker| worker.status == Status::Online)
}

fn stop(invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    web::want_no_more(&invocation.home)?;
    if !remove(&mut session, &list)? {
        return Err(Failure::new("it does not run"));
    }
    invocation.voice.say(format_args!("Stopped"));
    Ok(())
}

fn remove(session: &mut crate::session::Session, list: &List) -> Result<bool, Failure> {
    let workers = target::ids(list, |app| app.spec.is_module() && app.spec.name == web::NAME);
    if workers.is_empty() {
        return Ok(false);
    }
    session.act(Request::Delete { workers }, |_| {})?;
    Ok(true)
}

/// Returns where a server listens, as it was started.
fn address(spec: &AppSpec) -> String {
    let after = |option: &str| {
        let at = spec.args.iter().position(|word| word == option)?;
        spec.args.get(at + 1).cloned()
    };
    match after("--socket") {
        Some(path) => Listen::Unix(path.into()).to_string(),
        None => Listen::Tcp(after("--listen").unwrap_or_else(|| LISTEN.to_owned())).to_string(),
    }
}

fn listen(how: &WebHow) -> Result<Listen, Failure> {
    if let Some(path) = &how.socket {
        return Ok(Listen::Unix(cwd().join(path)));
    }
    let text = how.listen.as_deref().unwrap_or(LISTEN);
    let whole = if text.contains(':') { text.to_owned() } else { format!("127.0.0.1:{text}") };
    let port = whole.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return Err(Failure::new(format!("--listen is `{text}`: expected an address and a port, such as {LISTEN}")));
    }
    Ok(Listen::Tcp(whole))
}

/// Returns the words of a command line that say the same, whatever the directory.
fn words(how: &WebHow, listen: &Listen) -> Vec<String> {
    let mut words = match listen {
        Listen::Tcp(address) => vec!["--listen".to_owned(), address.clone()],
        Listen::Unix(path) => vec!["--socket".to_owned(), path.to_string_lossy().into_owned()],
    };
    if how.read_only {
        words.push("--read-only".into());
    }
    if how.compat == Some(Compat::Pm2) {
        words.extend(["--compat", "pm2"].map(str::to_owned));
    }
    words.extend(["--max-instances".to_owned(), how.max_instances.to_string()]);
    words.extend(how.allow_host.iter().flat_map(|host| ["--allow-host".to_owned(), host.clone()]));
    words
}

/// Serves.
pub fn server(args: WebServer) -> Result<(), Failure> {
    let listen = listen(&args.how)?;
    let flavour = if args.pm2 { Flavour::Pm2 } else { Flavour::Rpm };
    let variable = |name: &str| std::env::var_os(name).map(std::path::PathBuf::from);
    let home = Home::new(args.home, flavour).with_variables(variable);
    let WebHow { read_only, max_instances, allow_host, compat, .. } = args.how;
    let as_pm2 = compat == Some(Compat::Pm2);
    let (instances_max, hosts) = (max_instances, allow_host);
    rpm_web::run(Options { home, listen, read_only, instances_max, hosts, as_pm2, why: why::document }).map_err(failed)
}

/// Writes a dashboard for Grafana.
pub(super) fn grafana(args: &Export, invocation: &Invocation) -> Result<(), Failure> {
    if let Some(file) = &args.file {
        return Err(Failure::new(format!("`export grafana` reads no file, and {} was named", file.display()))
            .hint("`-o FILE` writes to a file"));
    }
    let text = format!("{:#}\n", rpm_web::grafana::dashboard());
    let Some(path) = &args.output else {
        invocation.voice.data(&text);
        return Ok(());
    };
    let path: &Path = &cwd().join(path);
    std::fs::write(path, text).map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
}

fn failed(error: WebError) -> Failure {
    Failure::new(chain(&error))
}
