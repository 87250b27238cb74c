//! The web server as a process that is managed: what is run, and that it is run again with the next daemon.
//!
//! `save` is for apps. That the web server is wanted, and how, stands in a file of its own from `web` until `web stop`, so
//! that it is there again after a reboot, whatever was saved.

use std::fs;
use std::io;
use std::path::PathBuf;

use rpm_ipc::{AppInfo, List};
use rpm_model::{AppSpec, Home};
use serde::{Deserialize, Serialize};

use crate::commands::roles;
use crate::modules;
use crate::report::Failure;
use crate::say::Voice;
use crate::session::Session;

/// Its name in the list of modules.
pub const NAME: &str = "rpm-web";

/// The version that this build writes, and reads.
const VERSION: u32 = 1;

/// How it is wanted.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    version: u32,
    /// The words of the command line.
    args: Vec<String>,
}

/// Returns what is run for these words of the command line.
///
/// # Errors
/// When our own program cannot be found.
pub fn spec(args: Vec<String>, home: &Home) -> Result<AppSpec, Failure> {
    let role = roles::role("web-server", home)?;
    let mut words = role.into_iter().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let mut spec = AppSpec::new(NAME, program, home.root());
    spec.args = words.chain(args).collect();
    spec.instances = 1;
    spec.version = Some(env!("CARGO_PKG_VERSION").to_owned());
    // Listed and managed with the modules, and not meant by `all`.
    spec.other.insert("pmx_module".into(), true.into());
    Ok(spec)
}

/// Returns it in a list, if it is there.
pub fn find(list: &List) -> Option<&AppInfo> {
    list.apps.iter().find(|app| app.spec.is_module() && app.spec.name == NAME)
}

/// Notes that it is wanted from now on.
///
/// # Errors
/// When that cannot be written down.
pub fn want(args: &[String], home: &Home) -> Result<(), Failure> {
    let path = path(home);
    let next = path.with_extension(format!("json.{}", std::process::id()));
    let text = serde_json::to_vec(&Wanted { version: VERSION, args: args.to_vec() }).expect("words are JSON");
    fs::write(&next, text).and_then(|()| fs::rename(&next, &path)).map_err(|error| {
        let _ = fs::remove_file(&next);
        Failure::new(format!("{} cannot be written: {error}", path.display()))
    })
}

/// Notes that it is not wanted any more.
///
/// # Errors
/// When that cannot be written down.
pub fn want_no_more(home: &Home) -> Result<(), Failure> {
    match fs::remove_file(path(home)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::new(format!("{} cannot be removed: {error}", path(home).display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Starts it where it is wanted and not there: under a new daemon.
pub fn start_wanted(session: &mut Session, home: &Home, voice: &Voice) {
    let started = wanted(home).and_then(|wanted| {
        let Some(args) = wanted else { return Ok(false) };
        if find(&session.list(false)?).is_some() {
            return Ok(false);
        }
        modules::start(session, spec(args, home)?).map(|()| true)
    });
    match started {
        Ok(true) => voice.note(format_args!("{NAME} started")),
        Ok(false) => {}
        Err(failure) => voice.warn(format_args!("{NAME} was not started: {}", failure.text())),
    }
}

/// Returns how it is wanted, if it is.
fn wanted(home: &Home) -> Result<Option<Vec<String>>, Failure> {
    let path = path(home);
    let unread = |why: String| Failure::new(format!("{} cannot be read: {why}", path.display()));
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unread(error.to_string())),
    };
    match serde_json::from_slice::<Wanted>(&text) {
        Ok(wanted) if wanted.version == VERSION => Ok(Some(wanted.args)),
        Ok(wanted) => Err(unread(format!("it is of version {}, and this program reads {VERSION}", wanted.version))),
        Err(error) => Err(unread(error.to_string())),
    }
}

fn path(home: &Home) -> PathBuf {
    home.root().join("web.json")
}
