//! Which release of an app runs, where its directory is a link that is moved from one to the next (`/srv/api/current`).
//!
//! The directory that the link leads to is a part of the spec from the command on that starts, restarts or reloads the app. So
//! a release that fails is rolled back to the files it replaced, although the link has been moved; and a crash does not
//! bring in what nobody has reloaded yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpm_model::{AppId, AppSpec, WorkerId};
use rpm_supervise::Command;

use crate::daemon::Daemon;

/// Returns the directory that an app's directory leads to at present; nothing where there is no link on the way.
///
/// What is watched, and what runs at its times, always means the link: nobody reloads it.
pub fn release_of(spec: &AppSpec) -> Option<PathBuf> {
    if spec.watch.enabled || spec.job.is_some() || spec.is_balancer() {
        return None;
    }
    spec.cwd.canonicalize().ok().filter(|real| *real != spec.cwd)
}

/// Returns where an app runs: the directory of its release, unless that was removed meanwhile.
pub(crate) fn directory(spec: &AppSpec) -> &Path {
    spec.release.as_deref().filter(|release| release.is_dir()).unwrap_or(&spec.cwd)
}

/// Returns the script of an app, in its release where it lies in the app's directory.
pub(crate) fn script(spec: &AppSpec) -> PathBuf {
    match spec.script.strip_prefix(&spec.cwd) {
        Ok(inside) if spec.release.is_some() => directory(spec).join(inside),
        Ok(_) | Err(_) => spec.script.clone(),
    }
}

impl Daemon {
    /// Notes in the specs of a command which releases they mean.
    pub(crate) fn with_releases(&self, command: Command) -> Command {
        let pinned = |mut spec: Arc<AppSpec>, anew: bool| {
            // A spec of the history brings its own.
            if anew || spec.release.is_none() {
                let release = release_of(&spec);
                if release != spec.release {
                    Arc::make_mut(&mut spec).release = release;
                }
            }
            spec
        };
        match command {
            Command::Start { specs } => {
                Command::Start { specs: specs.into_iter().map(|spec| pinned(spec, false)).collect() }
            }
            Command::Resurrect { mut apps } => {
                for app in &mut apps {
                    app.spec = pinned(app.spec.clone(), true);
                }
                Command::Resurrect { apps }
            }
            Command::Restart { workers, specs } => {
                let specs = specs.into_iter().map(|(app, spec)| (app, pinned(spec, false))).collect();
                let specs = self.with_moved(&workers, specs);
                Command::Restart { workers, specs }
            }
            Command::Reload { workers, specs, force } => {
                let specs = specs.into_iter().map(|(app, spec)| (app, pinned(spec, false))).collect();
                let specs = self.with_moved(&workers, specs);
                Command::Reload { workers, specs, force }
            }
            other => other,
        }
    }

    /// Adds the apps of these workers whose link has been moved, but for those of which there is a word already.
    fn with_moved(&self, workers: &[WorkerId], mut specs: Vec<(AppId, Arc<AppSpec>)>) -> Vec<(AppId, Arc<AppSpec>)> {
        let mut apps: Vec<AppId> = workers.iter().filter_map(|worker| self.core.app_of(*worker)).collect();
        apps.sort_unstable();
        apps.dedup();
        for app in apps {
            let Some(spec) = self.core.spec(app).filter(|_| !specs.iter().any(|(known, _)| *known == app)) else {
                continue;
            };
            let release = release_of(spec);
            if release != spec.release {
                specs.push((app, Arc::new(AppSpec { release, ..(**spec).clone() })));
            }
        }
        specs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_means_the_directory_that_it_leads_to() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("1")).unwrap();
        std::os::unix::fs::symlink("1", root.join("current")).unwrap();
        let mut spec = AppSpec::new("api", root.join("current/app.js"), root.join("current"));
        assert_eq!((script(&spec), directory(&spec)), (root.join("current/app.js"), &*root.join("current")));
        spec.release = release_of(&spec);
        assert_eq!((script(&spec), directory(&spec)), (root.join("1/app.js"), &*root.join("1")));
        // A script elsewhere stays where it is.
        spec.script = "/usr/bin/env".into();
        assert_eq!(script(&spec), Path::new("/usr/bin/env"));
        std::fs::remove_dir(root.join("1")).unwrap();
        assert_eq!(directory(&spec), root.join("current"));
        let plain = AppSpec::new("api", root.join("app.js"), &root);
        assert_eq!(release_of(&plain), None);
    }
}
