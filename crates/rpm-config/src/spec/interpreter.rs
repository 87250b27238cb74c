//! Which program runs a script, when the file does not say.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::Reader;
use crate::context::is_executable;
use crate::node;

/// Programs by extension; the first that is there is taken.
const BY_EXTENSION: &[(&str, &[&str])] = &[
    ("js", &["node"]),
    ("cjs", &["node"]),
    ("mjs", &["node"]),
    ("jsx", &["node"]),
    ("py", &["python3", "python"]),
    ("sh", &["bash", "sh"]),
    ("rb", &["ruby"]),
    ("php", &["php"]),
    ("pl", &["perl"]),
    ("coffee", &["coffee"]),
    ("ls", &["lsc"]),
    ("lua", &["lua"]),
];

const TYPESCRIPT: &[&str] = &["ts", "tsx", "mts", "cts"];

/// How a script is run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RunBy {
    /// The interpreter; `None` runs the script itself.
    pub(crate) interpreter: Option<String>,
    /// Arguments that this choice needs.
    pub(crate) arguments: Vec<String>,
}

impl RunBy {
    fn program(name: &str) -> Self {
        Self { interpreter: Some(name.to_owned()), arguments: Vec::new() }
    }
}

/// Returns whether a program speaks Node's cluster protocol.
pub(crate) fn speaks_cluster(interpreter: &str) -> bool {
    let name = Path::new(interpreter).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ["node", "nodejs", "bun"].contains(&name.split('@').next().unwrap_or(name))
}

/// Returns the interpreter that was asked for; `None` when it cannot be used, which is reported.
pub(crate) fn asked(reader: &mut Reader<'_>, name: &str, cwd: &Path) -> Option<RunBy> {
    const KEY: &str = "exec_interpreter";
    if name == "none" || name.is_empty() {
        return Some(RunBy::default());
    }
    if name.contains('/') {
        let path = reader.context.resolve(cwd, name);
        if is_executable(&path) {
            return Some(RunBy::program(&path.to_string_lossy()));
        }
        let why = if path.exists() { "is not an executable file" } else { "does not exist" };
        reader.refuse(KEY, &format!("{} {why}", path.display()));
        return None;
    }
    if reader.find_program(name) {
        return Some(RunBy::program(name));
    }
    match name.split_once('@') {
        Some((program, version)) => {
            let help = format!("install {program} {version} (nvm, fnm, ...) and give the path of its binary");
            reader.refuse_with_help(KEY, "versions are not installed on the way", &help);
        }
        None => {
            let known = BY_EXTENSION.iter().flat_map(|(_, programs)| programs.iter().copied()).chain(["bun", "deno"]);
            let near = rpm_model::nearest(name, known);
            if let Some(setting) = reader.setting(KEY) {
                reader.report.mistake_because(&reader.app.label, setting, "not found on PATH", near);
            }
        }
    }
    None
}

/// Returns what runs a script by its extension, else by its first bytes; `Err` says why nothing does.
pub(crate) fn by_nature(reader: &Reader<'_>, script: &Path) -> Result<RunBy, String> {
    let extension = script.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if TYPESCRIPT.contains(&extension) {
        return typescript(reader);
    }
    if let Some((_, programs)) = BY_EXTENSION.iter().find(|(known, _)| *known == extension) {
        let there = programs.iter().find(|program| reader.find_program(program));
        let missing = || format!("a .{extension} file is run by {}, which is not found on PATH", programs.join(" or "));
        return there.map(|program| RunBy::program(program)).ok_or_else(missing);
    }
    match (Nature::of(script), is_executable(script)) {
        (Nature::Binary | Nature::Script { .. }, true) => Ok(RunBy::default()),
        (Nature::Script { node: true } | Nature::Other, _) => by_node(reader),
        (Nature::Binary | Nature::Script { node: false }, false) => {
            Err(format!("it is not executable; `chmod +x {}` makes it so", script.display()))
        }
    }
}

fn by_node(reader: &Reader<'_>) -> Result<RunBy, String> {
    if reader.find_program("node") {
        return Ok(RunBy::program("node"));
    }
    Err("it is no executable program and would be run by node, which is not found on PATH".into())
}

fn typescript(reader: &Reader<'_>) -> Result<RunBy, String> {
    if reader.find_program("bun") {
        return Ok(RunBy::program("bun"));
    }
    let flags = node::typescript_flags(reader.context).ok_or(node::TYPESCRIPT_NEEDS)?;
    Ok(RunBy { arguments: flags.iter().map(|&flag| flag.to_owned()).collect(), ..RunBy::program("node") })
}

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
enum Nature {
    /// ELF.
    Binary,
    /// A `#!` line; `node` tells whether it names Node.
    Script { node: bool },
    /// Neither, or not to be read.
    Other,
}

impl Nature {
    fn of(path: &Path) -> Self {
        let mut head = Vec::new();
        if let Ok(file) = File::open(path) {
            // A `#!` line longer than this is cut by the kernel too.
            let _ = file.take(256).read_to_end(&mut head);
        }
        if head.starts_with(b"\x7fELF") {
            return Nature::Binary;
        }
        match head.strip_prefix(b"#!") {
            Some(rest) => {
                let line = String::from_utf8_lossy(rest.split(|byte| *byte == b'\n').next().unwrap_or_default());
                Nature::Script { node: line.contains("node") }
            }
            None => Nature::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_bun_speak_cluster() {
        for yes in ["node", "/usr/bin/node", "nodejs", "bun", "node@20"] {
            assert!(speaks_cluster(yes), "{yes}");
        }
        for no in ["python3", "deno", "none", ""] {
            assert!(!speaks_cluster(no), "{no}");
        }
    }
}
