//! `pull`, `forward`, `backward`: an app's directory is moved by git, and the app reloaded.
//!
//! git is called with arguments, never through a shell. Local changes are never thrown away: git refuses where they are
//! in the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rpm_ipc::Request;
use rpm_model::WorkerId;

use crate::acting;
use crate::commands::{Invocation, cwd};
use crate::report::Failure;
use crate::target;

/// Where to.
#[derive(Debug)]
pub(super) enum Step {
    /// The newest commit of the branch, or this one.
    To(Option<String>),
    /// The next commit of the branch that is followed.
    Forward,
    /// The commit before.
    Backward,
}

pub(super) fn run(word: &str, step: &Step, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    let workers = target::resolve_workers(word, &list, &cwd())?;
    let mut places: BTreeMap<PathBuf, (Vec<WorkerId>, Vec<String>)> = BTreeMap::new();
    for app in &list.apps {
        let mine = app.workers.iter().map(|worker| worker.id).filter(|id| workers.contains(id));
        let mine: Vec<WorkerId> = mine.collect();
        if mine.is_empty() {
            continue;
        }
        let (workers, commands) = places.entry(app.spec.cwd.clone()).or_default();
        workers.extend(mine);
        for command in after(app.spec.other.get("post_update")) {
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
    }
    let mut requests = Vec::new();
    for (directory, (workers, commands)) in places {
        let Some((from, to)) = take_step(&directory, step)? else {
            invocation.voice.say(format_args!("{} is up to date", directory.display()));
            continue;
        };
        invocation.voice.say(format_args!("{}: {} → {}", directory.display(), short(&from), short(&to)));
        for command in commands {
            invocation.voice.say(format_args!("post_update: {command}"));
            after_update(&command, &directory)?;
        }
        requests.push(("reload", Request::Reload { workers, specs: Vec::new(), force: false }));
    }
    if requests.is_empty() {
        return Ok(());
    }
    acting::act_and_show(&mut session, invocation, &list, requests)
}

/// Moves the directory; returns from which commit to which, or nothing where it is there already.
fn take_step(directory: &Path, step: &Step) -> Result<Option<(String, String)>, Failure> {
    let from = git(directory, &["rev-parse", "HEAD"]).map_err(|failure| {
        failure.hint(
            "the app's working directory is no git repository, or has no commit yet; apps elsewhere are not moved",
        )
    })?;
    match step {
        Step::To(None) => {
            git(directory, &["pull", "--ff-only", "--quiet"])?;
        }
        Step::To(Some(commit)) => {
            git(directory, &["fetch", "--all", "--tags", "--quiet"])?;
            let wanted = format!("{commit}^{{commit}}");
            let commit = git(directory, &["rev-parse", "--verify", "--end-of-options", &wanted])?;
            git(directory, &["reset", "--keep", &commit])?;
        }
        Step::Forward => {
            git(directory, &["fetch", "--quiet"])?;
            let ahead = git(directory, &["rev-list", "--reverse", "--ancestry-path", "HEAD..@{upstream}"])?;
            if let Some(next) = ahead.lines().next() {
                git(directory, &["reset", "--keep", next])?;
            }
        }
        Step::Backward => {
            let before = git(directory, &["rev-parse", "--verify", "--quiet", "HEAD~1"]);
            let before = before.map_err(|_| Failure::new(format!("{} is at its first commit", directory.display())))?;
            git(directory, &["reset", "--keep", &before])?;
        }
    }
    let to = git(directory, &["rev-parse", "HEAD"])?;
    Ok((from != to).then_some((from, to)))
}

/// Runs git; returns what it prints.
fn git(directory: &Path, words: &[&str]) -> Result<String, Failure> {
    let output = Command::new("git").arg("-C").arg(directory).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::new(format!("git cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let mut failure = Failure::new(format!("git {} failed in {}", words[0], directory.display()));
    for line in String::from_utf8_lossy(&output.stderr).lines().take(8) {
        failure = failure.detail(line);
    }
    Err(failure)
}

/// Returns the commands that the app wants after an update.
fn after(value: Option<&serde_json::Value>) -> Vec<String> {
    use serde_json::Value;
    match value {
        Some(Value::String(command)) => vec![command.clone()],
        Some(Value::Array(commands)) => {
            commands.iter().filter_map(|command| Some(command.as_str()?.to_owned())).collect()
        }
        _ => Vec::new(),
    }
}

/// Runs a command of the configuration, which is written for a shell.
fn after_update(command: &str, directory: &Path) -> Result<(), Failure> {
    let status = Command::new("sh").arg("-c").arg(command).current_dir(directory).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("post_update failed: {command} ({status})"))
            .detail("the files are new, the app was not reloaded")),
        Err(error) => Err(Failure::new(format!("sh cannot be run: {error}"))),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
