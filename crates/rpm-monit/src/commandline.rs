//! What is typed after `:`.

use rpm_ipc::{List, Request};
use rpm_model::nearest;
use rpm_model::worker::{signal_name, signal_names, signal_number};

use crate::Errand;
use crate::request::{self, Deed, Wish};
use crate::state::rows::By;
use crate::state::{Key, Pane, View};
use crate::target::{self, Target};
use crate::text::plain;
use crate::theme::Theme;

/// One command: its word, what may follow, what it does.
pub(crate) struct Word {
    pub(crate) word: &'static str,
    pub(crate) takes: &'static str,
    pub(crate) help: &'static str,
}

/// Every command. `TARGET` is an app, an id, a namespace or `all`; without one it is what is selected.
#[rustfmt::skip]
pub(crate) const WORDS: &[Word] = &[
    Word { word: "reload", takes: "[TARGET]", help: "replace without losing a request" },
    Word { word: "restart", takes: "[TARGET]", help: "stop and start again" },
    Word { word: "stop", takes: "[TARGET]", help: "stop, and keep in the list" },
    Word { word: "start", takes: "[TARGET]", help: "start what is down" },
    Word { word: "scale", takes: "[APP] N|+N|-N", help: "another number of workers" },
    Word { word: "delete", takes: "[TARGET]", help: "stop and forget" },
    Word { word: "signal", takes: "SIGNAL [TARGET]", help: "send a signal to the main processes" },
    Word { word: "reset", takes: "[TARGET]", help: "set the restart counters to zero" },
    Word { word: "run", takes: "[TARGET]", help: "run a job now" },
    Word { word: "promote", takes: "[APP]", help: "let a release that waits go on" },
    Word { word: "abort", takes: "[APP]", help: "put the old release back where the new one waits" },
    Word { word: "rollback", takes: "[APP] [N]", help: "have an earlier release again" },
    Word { word: "autoscale", takes: "[APP] on|off", help: "let the load decide on the number of workers" },
    Word { word: "flush", takes: "[TARGET]", help: "empty the logs" },
    Word { word: "why", takes: "[TARGET]", help: "tell why it is as it is" },
    Word { word: "crashes", takes: "[TARGET]", help: "show the crashes on record" },
    Word { word: "save", takes: "", help: "save the list for resurrect" },
    Word { word: "logs", takes: "[TARGET]", help: "show the log" },
    Word { word: "details", takes: "[TARGET]", help: "show charts and all facts" },
    Word { word: "events", takes: "", help: "show what has happened" },
    Word { word: "filter", takes: "[WORDS]", help: "api, !api, errored, cpu>50, memory>100M, restarts>3" },
    Word { word: "sort", takes: "[COLUMN]", help: "id, name, status, since, cpu, memory, restarts" },
    Word { word: "theme", takes: "[NAME]", help: "terminal, dark, light, contrast, plain" },
    Word { word: "help", takes: "", help: "the keys and these commands" },
    Word { word: "quit", takes: "", help: "leave" },
];

/// Words that mean the same.
const ALIASES: [(&str, &str); 9] = [
    ("q", "quit"),
    ("exit", "quit"),
    ("del", "delete"),
    ("rm", "delete"),
    ("describe", "details"),
    ("log", "logs"),
    ("kill", "signal"),
    ("h", "help"),
    ("dump", "save"),
];

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Something is done.
    Wish(Wish),
    /// Something is looked at; perhaps something else is selected first.
    Show(View, Option<Key>),
    Filter(String),
    Sort(Option<By>),
    Theme(Option<Theme>),
    Quit,
    Nothing,
}

/// Reads a line. A refusal is a sentence without a full stop.
pub(crate) fn read(line: &str, list: Option<&List>, selected: Option<Key>) -> Result<Meaning, String> {
    let mut words = line.split_whitespace();
    let Some(typed) = words.next() else { return Ok(Meaning::Nothing) };
    let words: Vec<&str> = words.collect();
    let empty = List { apps: Vec::new(), daemon: rpm_ipc::DaemonInfo::default() };
    let list = list.unwrap_or(&empty);
    let word = ALIASES.iter().find(|(alias, _)| *alias == typed).map_or(typed, |(_, word)| word);
    let deed = |deed: Deed| request::wish(deed, &at_most_one(word, &words, list, selected)?).map(Meaning::Wish);
    let show = |view: View| {
        let Some(word) = words.first() else { return Ok(Meaning::Show(view, None)) };
        Ok(Meaning::Show(view, Some(row_of(list, word)?)))
    };
    match word {
        "reload" => deed(Deed::Reload),
        "restart" => deed(Deed::Restart),
        "stop" => deed(Deed::Stop),
        "start" => deed(Deed::Start),
        "delete" => deed(Deed::Delete),
        "reset" => deed(Deed::Reset),
        "run" => deed(Deed::Run),
        "flush" => deed(Deed::Flush),
        "why" => deed(Deed::Why),
        "crashes" => deed(Deed::Crashes),
        "promote" | "abort" | "rollback" | "autoscale" => of_app(word, &words, list, selected).map(Meaning::Wish),
        "signal" => signal(&words, list, selected).map(Meaning::Wish),
        "scale" => scale(&words, list, selected).map(Meaning::Wish),
        "save" | "events" | "help" | "quit" if !words.is_empty() => {
            Err(format!("{word} takes nothing; {} is too much", plain(words[0])))
        }
        "save" => {
            let request = Request::Save { force: false, files: None };
            Ok(Meaning::Wish(Wish { errand: request.into(), deed: "save the list".into(), cost: None }))
        }
        "logs" => show(View::Full(Pane::Log)),
        "details" => show(View::Full(Pane::Details)),
        "events" => Ok(Meaning::Show(View::Full(Pane::Events), None)),
        "filter" => Ok(Meaning::Filter(words.join(" "))),
        "sort" => Ok(Meaning::Sort(words.first().map(|word| column(word)).transpose()?)),
        "theme" => Ok(Meaning::Theme(words.first().map(|word| Theme::named(word)).transpose()?)),
        "help" => Ok(Meaning::Show(View::Help, None)),
        "quit" => Ok(Meaning::Quit),
        _ => {
            let near = nearest(typed, WORDS.iter().map(|word| word.word));
            let hint = near.map_or_else(|| "? lists them".to_owned(), |near| format!("is it {near}?"));
            Err(format!("no command is called {}; {hint}", plain(typed)))
        }
    }
}

/// Returns the line with its last word completed as far as it is certain, and what that word may become.
pub(crate) fn complete(line: &str, list: Option<&List>) -> (String, Vec<String>) {
    let (before, begun) = match line.rfind(char::is_whitespace) {
        Some(place) => line.split_at(place + 1),
        None => ("", line),
    };
    let candidates: Vec<String> = match before.split_whitespace().next() {
        None => WORDS.iter().map(|word| word.word.to_owned()).collect(),
        Some("sort") => By::ALL.iter().map(|by| by.name().to_owned()).collect(),
        Some("theme") => Theme::NAMES.iter().map(|name| (*name).to_owned()).collect(),
        Some("signal" | "kill") if before.split_whitespace().count() == 1 => {
            signal_names().iter().map(|name| (*name).to_owned()).collect()
        }
        Some("events" | "save" | "help" | "quit" | "q" | "filter") => Vec::new(),
        // A name with a space could not be typed.
        Some(_) => {
            let names = list.into_iter().flat_map(|list| &list.apps).map(|app| app.spec.name.clone());
            names.chain(["all".to_owned()]).filter(|name| !name.contains(char::is_whitespace)).collect()
        }
    };
    let fitting: Vec<String> = candidates.into_iter().filter(|candidate| candidate.starts_with(begun)).collect();
    let Some(first) = fitting.first() else { return (line.to_owned(), fitting) };
    let shared = fitting.iter().fold(first.as_str(), |shared, candidate| shared_start(shared, candidate));
    let end = if fitting.len() == 1 { " " } else { "" };
    (format!("{before}{shared}{end}"), fitting)
}

fn shared_start<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other);
    &one[..same.map(|(character, _)| character.len_utf8()).sum()]
}

/// Returns what a deed is done to: what was named, or what is selected.
fn at_most_one<'a>(word: &str, words: &[&str], list: &'a List, selected: Option<Key>) -> Result<Target<'a>, String> {
    match words {
        [] => of_row(list, selected),
        [one] => target::named(list, one),
        [_, more, ..] => Err(format!("{word} takes one target; {} is too much", plain(more))),
    }
}

/// Returns what a row stands for.
pub(crate) fn of_row(list: &List, selected: Option<Key>) -> Result<Target<'_>, String> {
    let app = |id| list.apps.iter().find(|app| app.id == id && !app.workers.is_empty());
    let found = match selected {
        Some(Key::App(id)) => app(id).map(target::app),
        Some(Key::Worker(id, worker)) => app(id)
            .and_then(|app| app.workers.iter().find(|one| one.id == worker).map(|worker| target::worker(app, worker))),
        None => None,
    };
    found.ok_or_else(|| "nothing is selected".to_owned())
}

/// Returns the row of what a word stands for: of several apps the first.
fn row_of(list: &List, word: &str) -> Result<Key, String> {
    let target = target::named(list, word)?;
    let first = target.workers.first().map(|worker| worker.id);
    let app = list.apps.iter().find(|app| app.workers.iter().any(|worker| Some(worker.id) == first));
    let app = app.ok_or_else(|| format!("{} has no worker", target.name))?;
    Ok(match (first, app.workers.len()) {
        (Some(worker), 2..) if target.workers.len() == 1 => Key::Worker(app.id, worker),
        _ => Key::App(app.id),
    })
}

fn signal(words: &[&str], list: &List, selected: Option<Key>) -> Result<Wish, String> {
    let [name, rest @ ..] = words else { return Err("signal needs one: signal USR2 api".to_owned()) };
    let Some(number) = signal_number(name) else {
        let upper = name.to_ascii_uppercase();
        let near = nearest(&upper, signal_names().iter().map(|name| &name[3..]));
        let hint = near.map(|near| format!("; is it {near}?")).unwrap_or_default();
        return Err(format!("no signal is called {}{hint}", plain(name)));
    };
    debug_assert!(number > 31 || signal_name(number).is_some());
    request::wish(Deed::Signal(number), &at_most_one("signal", rest, list, selected)?)
}

fn scale(words: &[&str], list: &List, selected: Option<Key>) -> Result<Wish, String> {
    let (app, number) = match words {
        [number] => {
            let id = selected.map(Key::app).ok_or_else(|| "nothing is selected".to_owned())?;
            (list.apps.iter().find(|app| app.id == id), number)
        }
        [name, number] => {
            let target = target::named(list, name)?;
            let first = target.workers.first().map(|worker| worker.id);
            (list.apps.iter().find(|app| app.workers.iter().any(|worker| Some(worker.id) == first)), number)
        }
        _ => return Err("scale needs a number: scale api 4, scale +1".to_owned()),
    };
    let app = app.ok_or_else(|| "nothing is selected".to_owned())?;
    let present = app.workers.len();
    let refused = || format!("{} is no number of workers: 4, +1 or -1", plain(number));
    let wanted = match number.strip_prefix('+') {
        Some(more) => present.checked_add(more.parse::<usize>().map_err(|_| refused())?),
        None => match number.strip_prefix('-') {
            Some(less) => present.checked_sub(less.parse::<usize>().map_err(|_| refused())?),
            None => Some(number.parse::<usize>().map_err(|_| refused())?),
        },
    };
    request::scale(app, wanted.ok_or_else(refused)?)
}

/// Reads what is done to an app as a whole.
fn of_app(word: &str, words: &[&str], list: &List, selected: Option<Key>) -> Result<Wish, String> {
    let (named, last) = match (word, words) {
        ("autoscale", [named @ .., switch @ ("on" | "off")]) => (named, *switch),
        ("autoscale", _) => return Err("autoscale needs on or off: autoscale api off".to_owned()),
        ("rollback", [named @ .., back]) if back.parse::<usize>().is_ok_and(|back| back > 0) => (named, *back),
        _ => (words, "1"),
    };
    let target = at_most_one(word, named, list, selected)?;
    let first = target.workers.first().map(|worker| worker.id);
    let app = list.apps.iter().find(|app| app.workers.iter().any(|worker| Some(worker.id) == first));
    let app = app.ok_or_else(|| "nothing is selected".to_owned())?;
    let (name, app) = (plain(&app.spec.name), app.id);
    let (errand, deed, cost) = match word {
        "promote" => (
            Request::Promote { app }.into(),
            format!("promote {name}"),
            Some("the workers of the old release are replaced, too"),
        ),
        "abort" => (Request::Abort { app }.into(), format!("abort {name}"), Some("the old release is put back")),
        "autoscale" => (Request::Autoscale { app, on: last == "on" }.into(), format!("autoscale {name} {last}"), None),
        _ => (
            Errand::RollBack(app, last.parse().unwrap_or(1)),
            format!("roll back {name}"),
            Some("an earlier release takes its place"),
        ),
    };
    Ok(Wish { errand, deed, cost: cost.map(str::to_owned) })
}

fn column(word: &str) -> Result<By, String> {
    By::ALL.into_iter().find(|by| by.name().starts_with(word)).ok_or_else(|| {
        let all: Vec<&str> = By::ALL.iter().map(|by| by.name()).collect();
        format!("no column is called {}: {}", plain(word), all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::list;
    use rpm_model::{AppId, WorkerId};

    fn ask(line: &str) -> Result<Meaning, String> {
        read(line, Some(&list()), Some(Key::App(AppId(0))))
    }

    fn errand(line: &str) -> Errand {
        match ask(line) {
            Ok(Meaning::Wish(wish)) => wish.errand,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn request(line: &str) -> Request {
        match errand(line) {
            Errand::Ask(request) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_deed_is_done_to_what_is_named_or_else_selected() {
        let ids = |ids: &[u32]| ids.iter().copied().map(WorkerId).collect::<Vec<_>>();
        assert_eq!(request("restart"), Request::Restart { workers: ids(&[0, 1]), specs: vec![] });
        assert_eq!(request("restart 1"), Request::Restart { workers: ids(&[1]), specs: vec![] });
        assert_eq!(request("del all"), Request::Delete { workers: ids(&[0, 1, 2, 3]) });
        assert_eq!(request("stop default"), Request::Stop { workers: ids(&[0, 1]) });
        assert_eq!(request("start all"), Request::Restart { workers: ids(&[2, 3]), specs: vec![] });
        assert_eq!(request("signal usr2 api"), Request::Signal { workers: ids(&[0, 1]), signal: 12 });
        assert_eq!(request("scale 4"), Request::Scale { app: AppId(0), instances: 4 });
        assert_eq!(request("scale api +2"), Request::Scale { app: AppId(0), instances: 4 });
        assert_eq!(request("scale -1"), Request::Scale { app: AppId(0), instances: 1 });
    }

    #[test]
    fn what_is_done_to_an_app_as_a_whole_is_done_to_the_named_or_selected_one() {
        let app = AppId(0);
        assert_eq!(request("promote"), Request::Promote { app });
        assert_eq!(request("abort 1"), Request::Abort { app });
        assert_eq!(request("autoscale api off"), Request::Autoscale { app, on: false });
        assert_eq!(request("autoscale on"), Request::Autoscale { app, on: true });
        assert_eq!(errand("rollback"), Errand::RollBack(app, 1));
        assert_eq!(errand("rollback api 2"), Errand::RollBack(app, 2));
        assert_eq!(errand("flush 1"), Errand::Flush(vec![WorkerId(1)]));
        assert_eq!(errand("why"), Errand::Why(vec![WorkerId(0), WorkerId(1)]));
        assert!(ask("autoscale api").unwrap_err().contains("on or off"));
        assert_eq!(ask("events --since 1m").unwrap_err(), "events takes nothing; --since is too much");
    }

    #[test]
    fn a_mistake_is_named_with_what_is_near() {
        let refusal = |line: &str| ask(line).unwrap_err();
        assert_eq!(refusal("restrat"), "no command is called restrat; is it restart?");
        assert_eq!(refusal("restart apj"), "no app, id or namespace is called apj; is it api?");
        assert_eq!(refusal("restart api 2"), "restart takes one target; 2 is too much");
        assert_eq!(refusal("scale lots"), "lots is no number of workers: 4, +1 or -1");
        assert_eq!(refusal("scale -2"), "api keeps at least one worker; stop or delete ends it");
        assert_eq!(refusal("scale -9"), "-9 is no number of workers: 4, +1 or -1");
        assert_eq!(refusal("scale 2"), "api has 2 workers already");
        assert_eq!(refusal("start"), "api is up already");
        assert!(refusal("signal USR9").starts_with("no signal is called USR9"));
        assert!(refusal("sort size").contains("restarts"));
        assert!(refusal("theme pink").contains("contrast"));
    }

    #[test]
    fn views_filters_and_orders() {
        assert_eq!(ask("logs 1"), Ok(Meaning::Show(View::Full(Pane::Log), Some(Key::Worker(AppId(0), WorkerId(1))))));
        assert_eq!(ask("logs 3"), Ok(Meaning::Show(View::Full(Pane::Log), Some(Key::App(AppId(2))))));
        assert_eq!(ask("filter cpu>50 api"), Ok(Meaning::Filter("cpu>50 api".into())));
        assert_eq!(ask("sort mem"), Ok(Meaning::Sort(Some(By::Memory))));
        assert_eq!(ask("  "), Ok(Meaning::Nothing));
        assert_eq!(ask("q"), Ok(Meaning::Quit));
    }

    #[test]
    fn words_and_names_are_completed() {
        let complete = |line: &str| complete(line, Some(&list())).0;
        assert_eq!(complete("rel"), "reload ");
        assert_eq!(complete("re"), "re");
        assert_eq!(complete("res"), "res");
        assert_eq!(complete("rest"), "restart ");
        assert_eq!(complete("restart a"), "restart a");
        assert_eq!(complete("restart ap"), "restart api ");
        assert_eq!(complete("restart 日"), "restart 日本語の名前 ");
        assert_eq!(complete("theme c"), "theme contrast ");
        assert_eq!(complete("signal SIGU"), "signal SIGU");
        assert_eq!(complete("nothing x"), "nothing x");
    }
}
