//! Where a request comes from.

use std::path::{Path, PathBuf};

use rpm_model::Environment;

/// Everything that is taken from the surroundings; this crate asks the process for nothing by itself.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The directory the command was given in.
    pub cwd: PathBuf,
    /// The environment of the shell that asked.
    pub shell_env: Environment,
    /// How many CPUs there are; `instances: "max"`.
    pub cpus: u32,
    /// RPM_HOME.
    pub home: PathBuf,
    /// Our own program, which is the server of `script: "serve"`; empty where there is none.
    pub program: PathBuf,
}

impl Context {
    /// Returns `path` as an absolute path: `~/` is the user's home, anything relative hangs on `base`.
    pub(crate) fn resolve(&self, base: &Path, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.shell_env.get("HOME")) {
            (Some(rest), Some(home)) => tidy(&Path::new(home).join(rest)),
            _ => tidy(&base.join(path)),
        }
    }

    /// Returns the shell's variables without those that a child must not take for its own.
    pub(crate) fn inheritable(&self) -> impl Iterator<Item = (&String, &String)> {
        self.shell_env.iter().filter(|(name, _)| rpm_model::is_inheritable(name))
    }

    /// Returns the program called `name` on the shell's PATH.
    pub(crate) fn find_program(&self, name: &str) -> Option<PathBuf> {
        let path = self.shell_env.get("PATH")?;
        path.split(':')
            .filter(|directory| !directory.is_empty())
            .map(|directory| self.resolve(&self.cwd, directory).join(name))
            .find(|candidate| is_executable(candidate))
    }
}

/// Returns whether there is a file that may be run.
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Takes `.` and `..` out of a path by its words alone, as `path.resolve` of Node does.
fn tidy(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut tidied = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                tidied.pop();
            }
            other => tidied.push(other),
        }
    }
    tidied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { shell_env: [("HOME".to_owned(), "/home/me".to_owned())].into(), ..Context::default() }
    }

    #[test]
    fn paths_hang_on_their_base() {
        let resolve = |path| context().resolve(Path::new("/srv/app"), path);
        assert_eq!(resolve("a.js"), Path::new("/srv/app/a.js"));
        assert_eq!(resolve("./lib/../a.js"), Path::new("/srv/app/a.js"));
        assert_eq!(resolve("../../../a.js"), Path::new("/a.js"));
        assert_eq!(resolve("/opt/a.js"), Path::new("/opt/a.js"));
        assert_eq!(resolve("~/a.js"), Path::new("/home/me/a.js"));
    }
}
