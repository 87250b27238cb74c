//! What is run, where, and by which program.

use std::fs::File;
use std::path::{Path, PathBuf};

use rpm_model::{AppSpec, nearest};

use super::interpreter::{self, RunBy};
use super::{Given, Reader, serve};
use crate::context::Context;
use crate::raw::default_name;
use crate::values;

/// The program of an app: everything that must be known before the rest of its spec.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) default_name: String,
    pub(crate) script: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) interpreter: Option<String>,
    pub(crate) interpreter_args: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) version: Option<String>,
}

impl Reader<'_> {
    /// Returns whether a program is on the PATH of the shell, or on the one that the app declares.
    pub(crate) fn find_program(&self, name: &str) -> bool {
        let declared = self.setting("env").and_then(|env| env.value.get("PATH")).and_then(|path| path.as_str());
        let there = |context: &Context| context.find_program(name).is_some();
        there(self.context)
            || declared.is_some_and(|path| {
                let mut context = self.context.clone();
                context.shell_env.insert("PATH".into(), path.into());
                there(&context)
            })
    }
}

/// Finds the program of a new app. `file_directory` is where the ecosystem file is, if there is one.
///
/// Relative paths hang on the directory that the command was given in, as in PM2; where the script is not there but
/// beside the file, on the directory of the file (where PM2 gives up).
pub(crate) fn find(reader: &mut Reader<'_>, file_directory: Option<&Path>) -> Option<Program> {
    let Some(script) = reader.setting("script").and_then(|setting| setting.value.as_str()) else {
        // A script of the wrong kind was reported when it was read.
        if !reader.app.has_bad("script") {
            let at = reader.app.at.as_ref();
            reader.report.mistake_of_app(at, format!("{} has no `script`", reader.app.label));
        }
        return None;
    };
    if script.trim().is_empty() {
        reader.refuse("script", "expected the path of a script, a program, or a command line");
        return None;
    }
    let cwd = working_directory(reader, script, file_directory)?;
    let args = reader.read("args", values::words).value().unwrap_or_default();
    let path = reader.context.resolve(&cwd, script);
    if script == serve::SCRIPT && !path.is_file() && !reader.context.program.as_os_str().is_empty() {
        return Some(serve::program(reader, cwd));
    }
    let (script, run_by, args) = if path.is_file() {
        if let Err(error) = File::open(&path)
            && !crate::context::is_executable(&path)
        {
            reader.refuse("script", &format!("{} cannot be read: {error}", path.display()));
            return None;
        }
        let run_by = run_by(reader, &path, &cwd)?;
        (path, run_by, args)
    } else if path.is_dir() {
        let help = format!("name the script in it, for example {}", path.join("index.js").display());
        reader.refuse_with_help("script", "is a directory", &help);
        return None;
    } else if script.contains(char::is_whitespace) {
        let Some(shell) = ["bash", "sh"].iter().find_map(|shell| reader.context.find_program(shell)) else {
            reader.refuse("script", "a command line is run by bash, which is not found on PATH");
            return None;
        };
        (shell, RunBy::default(), command_line(script, args))
    } else if let Some(program) = on_path(reader, script) {
        let run_by = run_by(reader, &program, &cwd)?;
        (program, run_by, args)
    } else {
        missing(reader, script, &path);
        return None;
    };
    let mut interpreter_args = run_by.arguments;
    if run_by.interpreter.is_some() {
        interpreter_args.extend(reader.read("node_args", values::words).value().unwrap_or_default());
    }
    Some(Program {
        default_name: default_name(reader.setting("script")?.value.as_str()?),
        version: version(&script, &cwd),
        script,
        cwd,
        interpreter: run_by.interpreter,
        interpreter_args,
        args,
    })
}

/// Applies what a change says about the program of a running app.
pub(crate) fn change(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    if let Given::Value(cwd) = reader.read("cwd", values::text) {
        let cwd = reader.context.resolve(&reader.context.cwd, &cwd);
        if cwd.is_dir() {
            spec.cwd = cwd;
        } else {
            reader.refuse("cwd", &format!("{} is not a directory", cwd.display()));
        }
    }
    match reader.read("exec_interpreter", values::text) {
        Given::Absent => {}
        Given::Default => match interpreter::by_nature(reader, &spec.script) {
            Ok(run_by) => spec.interpreter = run_by.interpreter,
            Err(why) => reader.report.mistake_of_app(None, format!("{}: {why}", reader.app.label)),
        },
        Given::Value(name) => {
            if let Some(run_by) = interpreter::asked(reader, &name, &spec.cwd.clone()) {
                spec.interpreter = run_by.interpreter;
            }
        }
    }
    let node_args = reader.read("node_args", values::words);
    // PM2's list has no `node_args` at all after `null`, and an empty list where nothing was ever said.
    match &node_args {
        Given::Absent => {}
        Given::Default => {
            spec.other.insert("node_args".into(), serde_json::Value::Null);
        }
        Given::Value(_) => {
            spec.other.shift_remove("node_args");
        }
    }
    node_args.put(&mut spec.interpreter_args, Vec::new());
    let mut args = spec.args.clone();
    let given = reader.read("args", values::words);
    if !matches!(given, Given::Absent) {
        given.put(&mut args, Vec::new());
        spec.args = match line_of(spec) {
            Some(line) => command_line(&line, args),
            None => args,
        };
    }
}

fn run_by(reader: &mut Reader<'_>, script: &Path, cwd: &Path) -> Option<RunBy> {
    if let Given::Value(name) = reader.read("exec_interpreter", values::text) {
        return interpreter::asked(reader, &name, cwd);
    }
    match interpreter::by_nature(reader, script) {
        Ok(run_by) => Some(run_by),
        Err(why) => {
            reader.refuse("script", &why);
            None
        }
    }
}

/// Returns the working directory; reports one that is not there.
fn working_directory(reader: &mut Reader<'_>, script: &str, file_directory: Option<&Path>) -> Option<PathBuf> {
    let context = reader.context;
    let asked = reader.read("cwd", values::text).value().unwrap_or_default();
    let bases = std::iter::once(context.cwd.as_path()).chain(file_directory);
    let candidates: Vec<_> =
        bases.map(|base| context.resolve(base, &asked)).filter(|directory| directory.is_dir()).collect();
    let holds_script = |directory: &&PathBuf| context.resolve(directory, script).is_file();
    let found = candidates.iter().find(holds_script).or_else(|| candidates.first());
    if found.is_none() {
        let wanted = context.resolve(&context.cwd, &asked);
        reader.refuse("cwd", &format!("{} is not a directory", wanted.display()));
    }
    found.cloned()
}

fn on_path(reader: &Reader<'_>, script: &str) -> Option<PathBuf> {
    if script.contains('/') { None } else { reader.context.find_program(script) }
}

fn missing(reader: &mut Reader<'_>, script: &str, path: &Path) {
    let reason = format!("{} does not exist", path.display());
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let entries = path.parent().and_then(|directory| directory.read_dir().ok());
    let mut names: Vec<_> =
        entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    // Directories come in any order; the same mistake shall give the same message.
    names.sort_unstable();
    let near = nearest(&wanted, names.iter().map(String::as_str));
    let meant = near.map(|near| match script.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/{near}"),
        None => near.to_owned(),
    });
    if let Some(setting) = reader.setting("script") {
        reader.report.mistake_because(&reader.app.label, setting, &reason, meant.as_deref());
    }
}

/// Hands the arguments of the app on to a command line.
const PASS_ON: &str = r#" "$@""#;

/// Returns the arguments with which a shell runs a command line.
fn command_line(line: &str, args: Vec<String>) -> Vec<String> {
    if args.is_empty() {
        return vec!["-c".into(), line.into()];
    }
    // What follows the line is `$0`, then `$1` and on.
    ["-c".to_owned(), format!("{line}{PASS_ON}"), "bash".to_owned()].into_iter().chain(args).collect()
}

/// Returns the command line of an app that is one.
fn line_of(spec: &AppSpec) -> Option<String> {
    let is_shell = spec.interpreter.is_none() && (spec.script.ends_with("bash") || spec.script.ends_with("sh"));
    let line = spec.args.get(1).filter(|_| is_shell && spec.args[0] == "-c")?;
    Some(line.strip_suffix(PASS_ON).unwrap_or(line).to_owned())
}

/// Returns the version that the nearest package.json above the script names.
fn version(script: &Path, cwd: &Path) -> Option<String> {
    // A system program (the shell of a command line, gunicorn, npm) is not the app; the directory it works in is.
    let is_system = ["/usr", "/bin"].iter().any(|root| script.starts_with(root)) && !script.starts_with(cwd);
    let start = if is_system { cwd } else { script.parent()? };
    let text = start.ancestors().find_map(|directory| std::fs::read_to_string(directory.join("package.json")).ok())?;
    let package: serde_json::Value = serde_json::from_str(&text).ok()?;
    package.get("version")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_a_command_line_can_be_changed() {
        let mut spec = AppSpec::new("line", "/bin/bash", "/");
        spec.args = command_line("node a.js", Vec::new());
        assert_eq!(spec.args, ["-c", "node a.js"]);
        assert_eq!(line_of(&spec).as_deref(), Some("node a.js"));
        spec.args = command_line("node a.js", vec!["it's".into(), "$x".into()]);
        assert_eq!(spec.args, ["-c", r#"node a.js "$@""#, "bash", "it's", "$x"]);
        assert_eq!(line_of(&spec).as_deref(), Some("node a.js"));
        spec.script = "/bin/cat".into();
        assert_eq!(line_of(&spec), None);
    }
}
