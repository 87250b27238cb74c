//! A scenario as it is written: a file of `scenarios/` holds those of one subject.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// One scenario: what is laid out, what is done, and thereby what is compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Unique; the name of the file with what PM2 did.
    pub(crate) name: String,
    /// Files in the directory it runs in, beside those of `apps/`.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// Variables of every command.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// See [`Step`].
    pub(crate) steps: Vec<String>,
    /// A daemon of its own: the scenario ends it, or gives it another environment.
    #[serde(default)]
    pub(crate) fresh: bool,
    /// Only root can play it.
    #[serde(default)]
    pub(crate) root: bool,
    /// Whether the list and the names of the files are compared at the end.
    #[serde(default = "yes")]
    pub(crate) ending: bool,
}

/// One step. The first word says which; whatever is none of them is a command for `sh`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `pm2 start x`: its exit code is compared.
    Command(String),
    /// `= pm2 id x`: so is what it prints on stdout.
    Printing(String),
    /// `until status NAME=online*2`: waits until so many processes of that name have this status.
    Status { name: String, status: String, count: usize },
    /// `until restarts NAME=3`: waits until the first process of that name was restarted at least so often.
    Restarts { name: String, least: u64 },
    /// `until file PATH has TEXT`
    FileHas { path: String, text: String },
    /// `until file PATH gone`
    FileGone { path: String },
    /// `until lines PATH=3`: waits for so many lines or more.
    Lines { path: String, least: usize },
    /// `show PATH`: the lines of a file are compared.
    Show(String),
    /// `json PATH`: a JSON document, or one per line, is compared.
    Json(String),
    /// `jlist`: the whole list; `jlist a b`: these keys of each process.
    List(Vec<String>),
    /// `counts a|b`: how often each word stands in `prettylist`.
    Counts(Vec<String>),
    /// `names PATH`: the names of the files in a directory are compared.
    Names(String),
}

impl Step {
    /// Reads a step.
    ///
    /// # Panics
    /// When it says `until` something unknown.
    pub(crate) fn parse(text: &str) -> Self {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        match word {
            "=" => Self::Printing(rest.to_owned()),
            "until" => Self::wait(rest).unwrap_or_else(|| panic!("not understood: {text}")),
            "show" => Self::Show(rest.to_owned()),
            "json" => Self::Json(rest.to_owned()),
            "jlist" => Self::List(rest.split_whitespace().map(str::to_owned).collect()),
            "counts" => Self::Counts(rest.split('|').map(str::to_owned).collect()),
            "names" => Self::Names(rest.to_owned()),
            _ => Self::Command(text.to_owned()),
        }
    }

    fn wait(text: &str) -> Option<Self> {
        let (what, rest) = text.split_once(' ')?;
        match what {
            "status" => {
                let (name, status) = rest.split_once('=')?;
                let (status, count) = status.split_once('*').unwrap_or((status, "1"));
                Some(Self::Status { name: name.into(), status: status.into(), count: count.parse().ok()? })
            }
            "restarts" => {
                let (name, least) = rest.split_once('=')?;
                Some(Self::Restarts { name: name.into(), least: least.parse().ok()? })
            }
            "lines" => {
                let (path, least) = rest.split_once('=')?;
                Some(Self::Lines { path: path.into(), least: least.parse().ok()? })
            }
            "file" => match rest.split_once(" has ") {
                Some((path, text)) => Some(Self::FileHas { path: path.into(), text: text.into() }),
                None => Some(Self::FileGone { path: rest.strip_suffix(" gone")?.into() }),
            },
            _ => None,
        }
    }
}

/// Reads every scenario in the order of its file and place.
///
/// # Panics
/// When a file cannot be read or understood, or two scenarios share a name.
pub(crate) fn read_all(directory: &Path) -> Vec<Scenario> {
    #[derive(Deserialize)]
    struct File {
        scenario: Vec<Scenario>,
    }
    let entries = directory.read_dir().expect("the directory of scenarios");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut all: Vec<Scenario> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a file of scenarios");
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for scenario in file.scenario {
            assert!(all.iter().all(|other| other.name != scenario.name), "two scenarios: {}", scenario.name);
            scenario.steps.iter().for_each(|step| drop(Step::parse(step)));
            all.push(scenario);
        }
    }
    all
}

fn yes() -> bool {
    true
}
