//! From what the user named to specs, and from specs to what the daemon is asked.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use rpm_config::{AppOptions, Context, Format, Loaded};
use rpm_ipc::{AppInfo, List, Respec};
use rpm_model::{AppSpec, Environment, Flavour, Home, WorkerId};

use crate::report::Failure;
use crate::say::{self, Voice};
use crate::session::Session;
use crate::target::Target;

/// More JSON than this on standard input is not an ecosystem file.
const STDIN_MAX: u64 = 16 * 1024 * 1024;

/// Returns where the request comes from.
///
/// # Errors
/// When the working directory is gone.
pub fn context(home: &Home) -> Result<Context, Failure> {
    let cwd = std::env::current_dir().map_err(|error| {
        Failure::new(format!("the working directory cannot be read: {error}")).hint("cd to a directory that exists")
    })?;
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let mut shell_env: Environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    if home.flavour() == Flavour::Pm2 {
        // PM2 exports it to itself, so its apps have it from their shell.
        shell_env.insert("PM2_HOME".into(), home.root().to_string_lossy().into_owned());
        // So it does when it starts its daemon.
        if Session::nothing_is_there(home).is_ok_and(|nothing| nothing) {
            shell_env.insert("PM2_INTERACTOR_PROCESSING".into(), "true".into());
        }
    }
    // Where our own program cannot be found, only `serve` is missing.
    let program = std::env::current_exe().unwrap_or_default();
    Ok(Context { cwd, shell_env, cpus: cpus(), home: home.root().to_owned(), program })
}

/// Returns how many CPUs this program may use.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Returns the apps of a file or of standard input; shows the warnings.
///
/// # Errors
/// When there are mistakes.
pub fn of_file(
    target: &Target,
    options: &AppOptions,
    context: &Context,
    voice: &Voice,
) -> Result<Vec<AppSpec>, Failure> {
    let mut context = context.clone();
    if voice.flavour == Flavour::Pm2 {
        // PM2 notes down in the environment that an app came from a file.
        context.shell_env.insert("PM2_JSON_PROCESSING".into(), "true".into());
    }
    let context = &context;
    let loaded = match target {
        Target::File(path) => rpm_config::load(&shown(path, &context.cwd), options, context)?,
        Target::Stdin => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(STDIN_MAX).read_to_string(&mut text);
            read.map_err(|error| Failure::new(format!("standard input could not be read: {error}")))?;
            rpm_config::load_text(&text, Format::Json, "stdin", options, context)?
        }
        Target::Workers(_) => Loaded { specs: Vec::new(), warnings: Vec::new() },
    };
    let mut specs = warned(loaded, voice);
    for spec in &mut specs {
        // PM2 lists an app's own variables under its name, and those of an app of a file twice: scripts count the name.
        spec.other.entry(spec.name.clone()).or_insert_with(|| "{}".into());
    }
    Ok(specs)
}

/// Returns the app of a script, a program or a command line; shows the warnings.
///
/// # Errors
/// When there are mistakes.
pub fn of_script(word: &str, options: &AppOptions, context: &Context, voice: &Voice) -> Result<Vec<AppSpec>, Failure> {
    Ok(warned(rpm_config::from_script(word, options, context)?, voice))
}

fn warned(loaded: Loaded, voice: &Voice) -> Vec<AppSpec> {
    if !voice.silent {
        let colour = say::stderr_takes_colour();
        for warning in &loaded.warnings {
            voice.raw_error(&format!("{}\n", warning.render(colour).trim_end()));
        }
    }
    loaded.specs
}

/// Messages name the file as the user did.
fn shown(path: &Path, cwd: &Path) -> std::path::PathBuf {
    path.strip_prefix(cwd).unwrap_or(path).to_owned()
}

/// What a command does: new specs for apps that are there, and new apps.
#[derive(Debug, Default)]
pub struct Plan {
    /// Workers to restart or reload.
    pub workers: Vec<WorkerId>,
    /// Specs that take effect with it.
    pub respecs: Vec<Respec>,
    /// Apps that are not there yet.
    pub missing: Vec<AppSpec>,
}

impl Plan {
    /// Adds workers that keep their spec.
    pub fn again(&mut self, workers: impl IntoIterator<Item = WorkerId>) {
        self.workers.extend(workers);
    }

    /// Adds the apps of a file: those that are there get the file's word, the others are new.
    pub fn apply(&mut self, specs: Vec<AppSpec>, list: &List, update_env: bool) {
        for spec in specs {
            match list.apps.iter().find(|app| app.spec.name == spec.name) {
                Some(app) => self.change(app, succeed(spec, &app.spec, update_env)),
                None => self.missing.push(spec),
            }
        }
    }

    /// Adds an app that is there, with a new spec.
    pub fn change(&mut self, app: &AppInfo, spec: AppSpec) {
        // A job that stays one runs at its times, and one that runs is left alone.
        let stays_job = app.spec.job.is_some() && spec.job.is_some();
        let workers = app.workers.iter().filter(|_| !stays_job);
        self.respecs.retain(|respec| respec.app != app.id);
        self.respecs.push(Respec { app: app.id, spec });
        self.workers.extend(workers.map(|worker| worker.id));
    }

    /// Adds what options change in the apps of the workers chosen so far.
    ///
    /// # Errors
    /// When an option has a mistake.
    pub fn update(&mut self, list: &List, options: &AppOptions, context: &Context) -> Result<(), Failure> {
        for app in &list.apps {
            let is_chosen = app.workers.iter().any(|worker| self.workers.contains(&worker.id));
            if is_chosen && !self.respecs.iter().any(|respec| respec.app == app.id) {
                let spec = rpm_config::update(&app.spec, options, context)?;
                self.respecs.push(Respec { app: app.id, spec });
            }
        }
        Ok(())
    }

    /// Adds another plan; what this one says of an app already stands.
    pub fn merge(&mut self, other: Plan) {
        self.workers.extend(other.workers);
        self.missing.extend(other.missing);
        for respec in other.respecs {
            if !self.respecs.iter().any(|known| known.app == respec.app) {
                self.respecs.push(respec);
            }
        }
    }

    /// Tells that `-i` does not decide for apps that are there and scale themselves.
    pub fn tell_of_numbers(&self, list: &List, options: &AppOptions, voice: &Voice) {
        let Some(wanted) = &options.instances else { return };
        for respec in self.respecs.iter().filter(|respec| respec.spec.autoscale.is_some()) {
            let Some(app) = list.apps.iter().find(|app| app.id == respec.app && app.autoscale.is_some()) else {
                continue;
            };
            let (name, program) = (&app.spec.name, voice.program());
            voice.warn(format_args!(
                "{name} scales itself: `-i {wanted}` has no effect; `{program} scale {name} {wanted}` sets the number by hand"
            ));
        }
    }

    /// Brings the workers into order, each once.
    pub fn finish(mut self) -> Self {
        self.workers.sort_unstable();
        self.workers.dedup();
        self
    }
}

/// Returns the spec of a file as it applies to an app that is there.
///
/// The shell's variables stay what they were (PM2's sticky environment) unless asked; a file that does not say how many
/// instances there are leaves the number that `scale` set.
fn succeed(mut spec: AppSpec, current: &AppSpec, update_env: bool) -> AppSpec {
    if !update_env {
        spec.env_shell = current.env_shell.clone();
    }
    if !spec.instances_given || keeps_its_number(&spec, current) {
        spec.instances = current.instances;
        spec.instances_given = current.instances_given;
    }
    spec
}

/// Returns whether an app's number of workers follows its load: a file says only with how many it begins.
pub fn keeps_its_number(wanted: &AppSpec, current: &AppSpec) -> bool {
    wanted.autoscale.is_some() && current.autoscale.is_some()
}

/// Takes jobs out of what `all` means to a command that would run them: their times are not now.
pub fn leave_jobs_out(word: &str, workers: &mut Vec<WorkerId>, list: &List) {
    if word == "all" {
        workers.retain(|worker| crate::target::find(list, *worker).is_none_or(|(app, _)| app.spec.job.is_none()));
    }
}

/// Returns the workers of the apps with these names, and the names that nothing has.
pub fn by_names<'a>(specs: &'a [AppSpec], list: &List) -> (Vec<WorkerId>, Vec<&'a str>) {
    let mut known: BTreeMap<&str, Vec<WorkerId>> = BTreeMap::new();
    for app in &list.apps {
        known.entry(&app.spec.name).or_default().extend(app.workers.iter().map(|worker| worker.id));
    }
    let mut workers = Vec::new();
    let mut absent = Vec::new();
    for spec in specs {
        match known.get(spec.name.as_str()) {
            Some(ids) => workers.extend(ids),
            None => absent.push(spec.name.as_str()),
        }
    }
    (workers, absent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list};

    #[test]
    fn a_file_changes_what_is_there_and_starts_what_is_missing() {
        let mut api = app(1, "api", "default", &[0, 1]);
        api.spec.env_shell.insert("OLD".into(), "1".into());
        let list = list(vec![api]);
        let mut spec = AppSpec::new("api", "/srv/new.js", "/srv");
        spec.env_shell.insert("NEW".into(), "1".into());
        let specs = vec![spec, AppSpec::new("web", "/srv/web.js", "/srv")];

        let mut plan = Plan::default();
        plan.apply(specs.clone(), &list, false);
        let plan = plan.finish();
        assert_eq!(plan.workers, [WorkerId(0), WorkerId(1)]);
        assert_eq!(plan.missing.len(), 1);
        let spec = &plan.respecs[0].spec;
        assert_eq!(spec.script, Path::new("/srv/new.js"));
        assert_eq!(spec.instances, 2, "the file does not say how many: the number stays");
        assert!(spec.env_shell.contains_key("OLD") && !spec.env_shell.contains_key("NEW"));

        let mut plan = Plan::default();
        plan.apply(specs, &list, true);
        assert!(plan.respecs[0].spec.env_shell.contains_key("NEW"));
    }

    #[test]
    fn the_number_in_a_file_is_taken() {
        let list = list(vec![app(1, "api", "default", &[0, 1])]);
        let mut spec = AppSpec::new("api", "/srv/api.js", "/srv");
        (spec.instances, spec.instances_given) = (4, true);
        let mut plan = Plan::default();
        plan.apply(vec![spec], &list, false);
        assert_eq!(plan.respecs[0].spec.instances, 4);
    }
}
