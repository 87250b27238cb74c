//! Configuration that is a program: run by Node (else bun or deno) in a child, never here.
//!
//! The child has ten seconds. It prints the exported value as JSON between two marks; everything else it prints is
//! passed over. A failure comes back as a message with the place in the file, without the runtime's own frames.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::context::Context;
use crate::diagnostic::{ConfigError, Diagnostic, Source};
use crate::node;

/// Long enough for a cold start and a slow disk, short enough for a person who waits.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A configuration larger than this is none.
const OUTPUT_MAX: u64 = 16 << 20;

const BEGIN: &str = "\u{1}rpm-config-begin\u{1}";
const END: &str = "\u{1}rpm-config-end\u{1}";
const BOOTSTRAP: &str = include_str!("bootstrap.js");

/// Returns what a file exports: its default export, else its named ones; functions are called, promises awaited.
pub(super) fn evaluate_file(path: &Path, source: &Arc<Source>, context: &Context) -> Result<Value, ConfigError> {
    let file = Value::from(path.to_string_lossy().into_owned());
    let load = format!(
        "const load = async () => {{
           const {{ pathToFileURL }} = await import('node:url');
           const module = await import(pathToFileURL({file}).href);
           const value = module.default ?? module;
           return value.__esModule && value.default !== undefined ? value.default : value;
         }};"
    );
    let typescript = matches!(path.extension().and_then(|e| e.to_str()), Some("ts" | "cts" | "mts"));
    let directory = path.parent().unwrap_or(Path::new("/"));
    let value = Evaluation { load, directory, typescript, context }.run(source, Some(path))?;
    if value.is_null() {
        let mistake = Diagnostic::mistake(format!("{} exports nothing", source.name));
        return Err(mistake.help("end it with `module.exports = { apps: [ ... ] }`").at(source, None).into());
    }
    Ok(value)
}

/// Returns the value of a text that is one JavaScript expression.
pub(super) fn evaluate_text(source: &Arc<Source>, context: &Context) -> Result<Value, ConfigError> {
    let expression = Value::from(format!("return (\n{}\n)", source.text));
    let load = format!("const load = async () => new Function({expression})();");
    Evaluation { load, directory: &context.cwd, typescript: false, context }.run(source, None)
}

/// One run of a runtime.
struct Evaluation<'a> {
    load: String,
    directory: &'a Path,
    typescript: bool,
    context: &'a Context,
}

impl Evaluation<'_> {
    fn run(&self, source: &Arc<Source>, file: Option<&Path>) -> Result<Value, ConfigError> {
        let name = &source.name;
        let failed = |reason: String| Diagnostic::mistake(format!("{name} could not be evaluated: {reason}"));
        let (runtime, arguments) = self.runtime().ok_or_else(|| {
            let missing = "none of node, bun or deno is on PATH";
            let (reason, help) = match self.typescript {
                true => (node::TYPESCRIPT_NEEDS, "write the configuration as .js, JSON, YAML or TOML"),
                false => (missing, "install Node, or write the configuration as JSON, YAML or TOML"),
            };
            failed(reason.into()).help(help).at(source, None)
        })?;
        let code =
            format!("const BEGIN = {BEGIN:?}, END = {END:?};\n{}\n{BOOTSTRAP}", self.load).replace("\\u{1}", "\\u0001");
        let mut child = self
            .command(&runtime)
            .args(arguments)
            .arg(code)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("{} could not be started: {error}", runtime.display())))?;
        let answer = match collect(&mut child, TIMEOUT) {
            Ended::Answer(answer) => answer,
            Ended::Late => {
                let seconds = TIMEOUT.as_secs();
                return Err(failed(format!("it did not finish within {seconds} s")).at(source, None).into());
            }
            Ended::Silent(said) => {
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
                return Err(failed(format!("the program ended early: {last}")).at(source, None).into());
            }
        };
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| failed(error.to_string()).at(source, None))?;
        match answer.get("error").and_then(Value::as_str) {
            None => Ok(answer.get_mut("value").map(Value::take).unwrap_or_default()),
            Some(error) => {
                let stack = answer.get("stack").and_then(Value::as_str).unwrap_or_default();
                let place = file.and_then(|file| {
                    Frame::find(stack, file).or_else(|| Frame::find(&self.check(&runtime, error, file)?, file))
                });
                let mut lines = error.lines();
                let mistake = Diagnostic::mistake(format!("{name} could not be evaluated"));
                let mistake = mistake.label(lines.next().unwrap_or(error));
                // Node explains why it takes a file for a module.
                let mistake = match lines.find(|line| line.starts_with("This file is being treated as")) {
                    Some(explanation) => mistake.help(explanation),
                    None => mistake,
                };
                Err(mistake.at(source, place.and_then(|frame| frame.span(&source.text))).into())
            }
        }
    }

    fn command(&self, runtime: &Path) -> Command {
        let mut command = Command::new(runtime);
        command.env_clear().envs(self.context.inheritable()).current_dir(self.directory).stdin(Stdio::null());
        command
    }

    /// Returns what Node says about the syntax of a file. An error of a module keeps its place to itself; this tells.
    fn check(&self, runtime: &Path, error: &str, file: &Path) -> Option<String> {
        if !error.starts_with("SyntaxError") || !runtime.ends_with("node") {
            return None;
        }
        let output = self.command(runtime).arg("--check").arg(file).output().ok()?;
        Some(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Returns the program that runs it, and the arguments that come before the code.
    fn runtime(&self) -> Option<(PathBuf, Vec<&'static str>)> {
        // Old Nodes cannot read types; then the others are asked, which always could.
        let types = if self.typescript { node::typescript_flags(self.context) } else { Some(&[][..]) };
        let node = types.map(|flags| ("node", [flags, &["--no-warnings", "-e"]].concat()));
        let candidates = node.into_iter().chain([("bun", vec!["-e"]), ("deno", vec!["eval"])]);
        candidates.into_iter().find_map(|(name, arguments)| Some((self.context.find_program(name)?, arguments)))
    }
}

enum Ended {
    /// With this JSON between the marks.
    Answer(String),
    /// Without an answer; this stood on its standard error.
    Silent(String),
    /// Not in time.
    Late,
}

/// Waits for the answer, and ends the child.
fn collect(child: &mut Child, timeout: Duration) -> Ended {
    let (send, receive) = mpsc::channel();
    let mut stdout = child.stdout.take().expect("stdout is piped").take(OUTPUT_MAX);
    let stderr = child.stderr.take().expect("stderr is piped").take(OUTPUT_MAX);
    // The threads end with the pipes, which end with the child; a grandchild that keeps them keeps a thread, no more.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut chunk = [0; 64 << 10];
        while let Ok(count @ 1..) = stdout.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
            // The end mark may straddle two chunks.
            let recent = bytes.len().saturating_sub(count + END.len());
            if bytes[recent..].windows(END.len()).any(|window| window == END.as_bytes()) {
                break;
            }
        }
        let _ = send.send(bytes);
    });
    let (send_said, receive_said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let mut stderr = stderr;
        let _ = stderr.read_to_end(&mut said);
        let _ = send_said.send(said);
    });
    let printed = receive.recv_timeout(timeout);
    let _ = child.kill();
    let _ = child.wait();
    let Ok(printed) = printed else { return Ended::Late };
    let printed = String::from_utf8_lossy(&printed);
    match printed.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)) {
        Some((answer, _)) => Ended::Answer(answer.to_owned()),
        None => {
            let said = receive_said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
            Ended::Silent(String::from_utf8_lossy(&said).into_owned())
        }
    }
}

/// A place in the file that a stack names.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    line: usize,
    /// First column and width, from the carets or the frame.
    columns: Option<(usize, usize)>,
}

impl Frame {
    /// Finds the first line of `stack` that names `file`: `FILE:3` with carets below (syntax errors), or `FILE:3:7`.
    fn find(stack: &str, file: &Path) -> Option<Self> {
        let file = file.to_str()?;
        let mut lines = stack.lines();
        let after = lines.by_ref().find_map(|line| {
            let (_, after) = line.split_once(file)?;
            after.strip_prefix(':')
        })?;
        let mut numbers = after.split(':').map(|part| part.trim_end_matches(')').parse::<usize>());
        let line = numbers.next()?.ok()?;
        if let Some(Ok(column)) = numbers.next() {
            return Some(Self { line, columns: Some((column.saturating_sub(1), 1)) });
        }
        let carets = lines.take(4).find(|line| {
            let marks = line.trim();
            !marks.is_empty() && marks.bytes().all(|byte| byte == b'^')
        });
        Some(Self { line, columns: carets.and_then(|carets| Some((carets.find('^')?, carets.trim().len()))) })
    }

    fn span(&self, text: &str) -> Option<std::ops::Range<usize>> {
        let index = self.line.checked_sub(1)?;
        let start: usize = text.split_inclusive('\n').take(index).map(str::len).sum();
        let line = text.lines().nth(index)?;
        let (column, width) = self.columns.unwrap_or((0, line.len()));
        // A frame tells where a name begins; the mark goes to its end.
        let rest = line.chars().skip(column);
        let width = width.max(rest.take_while(|c| c.is_alphanumeric() || "_$".contains(*c)).count());
        let offset = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(offset, _)| offset);
        Some(start + offset(column)..start + offset(column + width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_answers_is_ended() {
        let spawn = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("sh is there")
        };
        assert!(matches!(collect(&mut spawn("exec sleep 60"), Duration::from_millis(50)), Ended::Late));
        let silent = collect(&mut spawn("echo no >&2"), TIMEOUT);
        assert!(matches!(silent, Ended::Silent(said) if said == "no\n"));
        // The answer is enough; nobody waits for the program to end.
        let mut child = spawn(&format!("printf '%s' 'noise{BEGIN}42{END}'; exec sleep 60"));
        assert!(matches!(collect(&mut child, TIMEOUT), Ended::Answer(answer) if answer == "42"));
    }

    #[test]
    fn the_place_is_taken_from_the_stack() {
        let file = Path::new("/srv/e.config.js");
        let syntax = "/srv/e.config.js:2\n  apps: [ oops oops ]\n               ^^^^\n\nSyntaxError: Unexpected";
        assert_eq!(Frame::find(syntax, file), Some(Frame { line: 2, columns: Some((15, 4)) }));
        let runtime = "ReferenceError: x\n    at Object.<anonymous> (/srv/e.config.js:3:7)\n    at node:internal";
        assert_eq!(Frame::find(runtime, file), Some(Frame { line: 3, columns: Some((6, 1)) }));
        let module = "ReferenceError: x\n    at file:///srv/e.config.js:3:7\n";
        assert_eq!(Frame::find(module, file), Some(Frame { line: 3, columns: Some((6, 1)) }));
        assert_eq!(Frame::find("Error\n    at node:internal/x:1:2", file), None);
        assert_eq!(Frame { line: 2, columns: Some((1, 1)) }.span("ab\nc.d_e+f\n"), Some(4..5));
        assert_eq!(Frame { line: 9, columns: None }.span("ab\n"), None);
    }
}
