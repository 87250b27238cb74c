//! Which version of Node the apps run on. PM2 lists it, from a script of its own around each app; here the program itself
//! is asked, once, when somebody first looks at the list.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rpm_ipc::AppInfo;
use rpm_keeper::client::{Request, SpawnRequest};
use rpm_model::AppSpec;

use crate::daemon::Daemon;
use crate::tasks::Purpose;

/// Node says it within a tenth of this on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A version is a dozen letters; what says more is no Node.
const ANSWER_MAX: u64 = 64;

/// The programs that were asked.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    /// What each said; nothing where it said no version.
    known: BTreeMap<Program, Option<String>>,
    /// Where those that have not ended write what they say.
    asked: BTreeMap<Program, OwnedFd>,
}

/// A program as it is now: one that is replaced is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    path: PathBuf,
    modified: SystemTime,
}

impl Program {
    /// Returns the one that an app's workers are started with.
    fn of(spec: &AppSpec) -> Option<Self> {
        let name = Path::new(spec.interpreter.as_deref()?);
        let path = if name.components().count() > 1 {
            spec.cwd.join(name)
        } else {
            let variable = spec.env.get("PATH").or_else(|| spec.env_shell.get("PATH"))?;
            std::env::split_paths(variable).map(|directory| directory.join(name)).find(|path| path.is_file())?
        };
        let modified = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok()?;
        Some(Self { path, modified })
    }
}

impl Daemon {
    /// Tells the version of Node where it is known, and asks where it is not: the next list has it.
    pub(crate) fn tell_node_versions(&mut self, apps: &mut [AppInfo]) {
        let specs: Vec<_> = self.core.apps().map(|app| app.spec.clone()).collect();
        for (spec, app) in specs.iter().zip(apps) {
            let Some(program) = spec.is_run_by_node().then(|| Program::of(spec)).flatten() else { continue };
            let version = match self.nodes.known.get(&program) {
                Some(version) => version.clone(),
                None if self.nodes.asked.contains_key(&program) => None,
                None => {
                    self.ask_node(program, spec);
                    None
                }
            };
            let Some(version) = version else { continue };
            for worker in &mut app.workers {
                worker.contact.entry("node_version").or_insert_with(|| version.as_str().into());
            }
        }
    }

    fn ask_node(&mut self, program: Program, spec: &AppSpec) {
        let key = self.tasks.new_key();
        match self.start_node(&key, &program, spec) {
            Ok(answer) => {
                self.nodes.asked.insert(program.clone(), answer);
                self.tasks.track(key, Purpose::NodeVersion { program }, ANSWER_WITHIN);
            }
            Err(why) => {
                tracing::warn!("{} was not asked for its version: {why}", program.path.display());
                self.nodes.known.insert(program, None);
            }
        }
    }

    fn start_node(&mut self, key: &str, program: &Program, spec: &AppSpec) -> Result<OwnedFd, String> {
        let answer = rpm_sys::fd::memory_file("rpm-node-version").map_err(|error| error.to_string())?;
        // A version manager's stand-in looks at both.
        let env = spec.env_shell.iter().chain(&spec.env).map(|(name, value)| format!("{name}={value}").into());
        let env: Vec<OsString> = env.collect();
        let args = [OsString::from("--version")];
        let path = program.path.clone().into_os_string();
        let mut request = SpawnRequest::new(key, &path);
        request.args = &args;
        request.env = &env;
        request.cwd = &spec.cwd;
        request.user = spec.user;
        request.inherit = vec![(answer.as_fd(), 1)];
        self.keeper.send(&Request::Spawn(request)).map_err(|error| error.to_string())?;
        Ok(answer)
    }

    /// Takes in that a program has said its version, or has not.
    pub(crate) fn node_answered(&mut self, program: Program, found: Result<String, String>) {
        let Some(answer) = self.nodes.asked.remove(&program) else { return };
        let mut said = String::new();
        let read = || {
            use std::io::Seek as _;
            let mut file = std::fs::File::from(answer);
            file.rewind()?;
            file.take(ANSWER_MAX).read_to_string(&mut said)
        };
        let version = match (found, read()) {
            (Ok(_), Ok(_)) => version(&said),
            (Err(_), _) | (_, Err(_)) => None,
        };
        self.nodes.known.insert(program, version);
    }
}

/// Reads `v20.11.1`; PM2 tells it without the letter.
fn version(said: &str) -> Option<String> {
    let version = said.trim().strip_prefix('v')?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_no_letter_before_it() {
        assert_eq!(version("v20.11.1\n").as_deref(), Some("20.11.1"));
        for other in ["", "20.11.1", "vnext", "Python 3.11"] {
            assert_eq!(version(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_is_found_as_the_worker_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("node");
        std::fs::write(&node, "").unwrap();
        let mut spec = AppSpec::new("a", "/a.js", "/");
        spec.interpreter = Some("node".into());
        assert_eq!(Program::of(&spec), None, "there is no PATH");
        spec.env_shell.insert("PATH".into(), format!("/nowhere:{}", directory.path().display()));
        let found = Program::of(&spec).expect("it is in the PATH");
        assert_eq!(found.path, node);
        spec.interpreter = Some(node.to_string_lossy().into_owned());
        assert_eq!(Program::of(&spec), Some(found));
    }
}
