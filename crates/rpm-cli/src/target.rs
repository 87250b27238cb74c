//! What the user's words point at. Pure: words and the list in, workers out.
//!
//! PM2's order: `all`, then `/regex/` on the name; a number is a name, a namespace, then an id; other words are a name or
//! a script's path, then a namespace; then a file by its name; `-` is standard input. All words are resolved before
//! anything is sent, so one wrong word means that nothing is done.

use std::path::{Path, PathBuf};

use regex_lite::Regex;
use rpm_ipc::{AppInfo, List, WorkerInfo};
use rpm_model::{WorkerId, nearest};

use crate::report::Failure;

/// What one word points at.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// These workers, by id.
    Workers(Vec<WorkerId>),
    /// The apps of this file.
    File(PathBuf),
    /// The apps that standard input describes.
    Stdin,
}

/// Resolves one word; `is_config` says whether a word names an ecosystem file.
///
/// # Errors
/// When it points at nothing; names the words that are near.
pub fn resolve(word: &str, list: &List, is_config: impl Fn(&str) -> bool, cwd: &Path) -> Result<Target, Failure> {
    if word == "-" {
        return Ok(Target::Stdin);
    }
    let workers = workers(word, list, Some(cwd))?;
    if !workers.is_empty() {
        return Ok(Target::Workers(workers));
    }
    if is_config(word) {
        return Ok(Target::File(cwd.join(word)));
    }
    Err(unknown(word, list))
}

/// Resolves a word to workers only: no file, no standard input.
///
/// # Errors
/// When it points at no worker.
pub fn resolve_workers(word: &str, list: &List, cwd: &Path) -> Result<Vec<WorkerId>, Failure> {
    let workers = workers(word, list, Some(cwd))?;
    if workers.is_empty() { Err(unknown(word, list)) } else { Ok(workers) }
}

/// Returns the workers that a word points at, scripts' paths left out; none when it is no word for workers.
///
/// # Errors
/// When it is a regular expression that cannot be read, or `all` of nothing.
pub fn workers_by_name(word: &str, list: &List) -> Result<Vec<WorkerId>, Failure> {
    workers(word, list, None)
}

fn workers(word: &str, list: &List, cwd: Option<&Path>) -> Result<Vec<WorkerId>, Failure> {
    if word == "all" {
        let all = ids(list, |app| !app.spec.is_module());
        return if all.is_empty() { Err(Failure::new("no app is there")) } else { Ok(all) };
    }
    if let Some(pattern) = word.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'))
        && !pattern.is_empty()
        // A directory's path looks the same; a regular expression is what PM2 takes it for.
        && !pattern.contains('/')
    {
        let regex =
            Regex::new(pattern).map_err(|error| Failure::new(format!("{word} is no regular expression: {error}")))?;
        return Ok(ids(list, |app| regex.is_match(&app.spec.name)));
    }
    let number = word.parse::<u32>().ok();
    let by_name = match number {
        Some(_) => ids(list, |app| app.spec.name == word),
        None => {
            let path = cwd.map(|cwd| cwd.join(word));
            ids(list, |app| app.spec.name == word || path.as_ref() == Some(&app.spec.script))
        }
    };
    if !by_name.is_empty() {
        return Ok(by_name);
    }
    let by_namespace = ids(list, |app| app.spec.namespace == word);
    if !by_namespace.is_empty() {
        return Ok(by_namespace);
    }
    let by_id = number.map(WorkerId).filter(|id| find(list, *id).is_some());
    Ok(by_id.into_iter().collect())
}

/// Returns the ids of every worker of the apps that match, in order.
pub fn ids(list: &List, matches: impl Fn(&AppInfo) -> bool) -> Vec<WorkerId> {
    let apps = list.apps.iter().filter(|app| matches(app));
    let mut ids: Vec<WorkerId> = apps.flat_map(|app| &app.workers).map(|worker| worker.id).collect();
    ids.sort_unstable();
    ids
}

/// Returns a worker and its app.
pub fn find(list: &List, id: WorkerId) -> Option<(&AppInfo, &WorkerInfo)> {
    list.apps.iter().find_map(|app| app.workers.iter().find(|worker| worker.id == id).map(|worker| (app, worker)))
}

/// Says that a word points at nothing, with the words that are near.
pub fn unknown(word: &str, list: &List) -> Failure {
    let kind = if word.parse::<u32>().is_ok() { "Process" } else { "Process or Namespace" };
    let failure = Failure::new(format!("{kind} {word} not found"));
    let names = || list.apps.iter().flat_map(|app| [app.spec.name.as_str(), app.spec.namespace.as_str()]);
    if let Some(near) = nearest(word, names()) {
        return failure.hint(format!("did you mean `{near}`?"));
    }
    let mut names: Vec<&str> = list.apps.iter().map(|app| app.spec.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => failure.detail("no app is there"),
        // More names than this are a wall of words.
        names if names.len() <= 12 => failure.hint(format!("there is: {}", names.join(", "))),
        _ => failure.hint("`rpm list` shows what there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list};

    fn sample() -> List {
        list(vec![
            app(1, "api", "prod", &[0, 1]),
            app(2, "web", "prod", &[2]),
            app(3, "7", "default", &[3]),
            app(4, "job", "1", &[4]),
        ])
    }

    fn of(word: &str) -> Result<Target, Failure> {
        resolve(word, &sample(), |word| word.ends_with(".json"), Path::new("/srv"))
    }

    fn workers_of(word: &str) -> Vec<u32> {
        match of(word) {
            Ok(Target::Workers(workers)) => workers.into_iter().map(|id| id.0).collect(),
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn words_point_at_workers_in_pm2s_order() {
        assert_eq!(workers_of("all"), [0, 1, 2, 3, 4]);
        assert_eq!(workers_of("/^(a|w)/"), [0, 1, 2]);
        assert_eq!(workers_of("api"), [0, 1]);
        assert_eq!(workers_of("prod"), [0, 1, 2]);
        assert_eq!(workers_of("2"), [2], "an id");
        assert_eq!(workers_of("7"), [3], "a name that is a number comes before an id");
        assert_eq!(workers_of("1"), [4], "a namespace that is a number comes before an id");
        assert_eq!(workers_of("api.js"), [0, 1], "the path of a script");
        assert_eq!(workers_of("/srv/web.js"), [2]);
    }

    #[test]
    fn files_and_standard_input_come_last() {
        assert_eq!(of("e.json").unwrap(), Target::File("/srv/e.json".into()));
        assert_eq!(of("-").unwrap(), Target::Stdin);
    }

    #[test]
    fn an_unknown_word_names_its_neighbour() {
        let text = of("ap").unwrap_err().text();
        assert!(text.starts_with("Process or Namespace ap not found"), "{text}");
        assert!(text.contains("did you mean `api`?"), "{text}");
        let text = of("zebra").unwrap_err().text();
        assert!(text.contains("there is: 7, api, job, web"), "{text}");
        assert!(of("99").unwrap_err().text().starts_with("Process 99 not found"));
    }

    #[test]
    fn a_pattern_that_matches_nothing_or_cannot_be_read_is_an_error() {
        assert!(of("/nothing/").is_err());
        assert!(of("/(/").unwrap_err().text().contains("no regular expression"));
        assert!(resolve("all", &list(Vec::new()), |_| false, Path::new("/")).is_err());
    }
}
