//! The two lines at the bottom: what is going on, and the keys.

use rpm_ipc::AppInfo;

use super::canvas::{Canvas, width_of};
use crate::commandline::WORDS;
use crate::keys::{BINDINGS, Binding, Section};
use crate::state::{Busy, Pane, Prompt, State, View};
use crate::text::{plain, sparkline};

/// Width of the bar of a deed under way.
const BAR: u16 = 20;

/// Draws what is typed, what is under way, what failed, or how the last deed ended.
pub(crate) fn status(state: &State, canvas: &mut Canvas<'_>) {
    let theme = &state.theme;
    match &state.prompt {
        Prompt::Confirm(_) => return,
        Prompt::Filter => return typed(state, canvas, "filter: ", state.filter.text(), ""),
        Prompt::Search(text) => {
            let matches = state.logs.matches();
            let hint = if text.is_empty() { String::new() } else { format!("{matches} found") };
            return typed(state, canvas, "search: ", text, &hint);
        }
        Prompt::Line { text, choices, .. } => return typed(state, canvas, ":", text, &hint(text, choices)),
        Prompt::Nothing => {}
    }
    let silent = state.silent.map(|seconds| format!("the daemon does not answer; as of {seconds} s ago"));
    let (text, style) = match (&state.message, &state.busy, &state.source_error) {
        (Some(Err(message)), _, _) => (message.clone(), theme.bad),
        (_, Some(busy), _) => (under_way(busy), theme.passing),
        (_, None, _) if silent.is_some() => (silent.unwrap_or_default(), theme.bad),
        (_, None, Some(error)) => (format!("{}; trying again", plain(error)), theme.bad),
        (Some(Ok(message)), None, None) => (message.clone(), theme.good),
        (None, None, None) if !state.filter.is_empty() => {
            (format!("filter: {}  (Esc clears it)", plain(state.filter.text())), theme.dim)
        }
        (None, None, None) => match state.list.iter().flat_map(|list| &list.apps).find_map(waiting) {
            Some(text) => (text, theme.passing),
            None => return,
        },
    };
    canvas.put(1, 0, &text, style);
}

/// Says of an app that a new release waits after its first workers.
pub(super) fn waiting(app: &AppInfo) -> Option<String> {
    let (new, all) = (app.canaries.len(), app.workers.len());
    let name = plain(&app.spec.name);
    (new > 0).then(|| format!("{name}: {new} of {all} run the new release; :promote {name} or :abort {name}"))
}

/// Draws a line that is being typed; of one that is too long the end is seen.
fn typed(state: &State, canvas: &mut Canvas<'_>, before: &str, text: &str, hint: &str) {
    let theme = &state.theme;
    let column = canvas.put(1, 0, before, theme.key);
    let text = plain(text);
    let room = canvas.width().saturating_sub(column + 1);
    let mut seen = text.as_str();
    while width_of(seen) > room {
        let mut characters = seen.chars();
        characters.next();
        seen = characters.as_str();
    }
    let column = canvas.put(column, 0, seen, theme.heading);
    let column = canvas.put(column, 0, "▏", theme.heading);
    canvas.put(column + 2, 0, hint, theme.dim);
}

/// Returns what may follow: the words that fit, or what the command takes.
fn hint(text: &str, choices: &[String]) -> String {
    if choices.len() > 1 {
        return choices.iter().map(|choice| plain(choice)).collect::<Vec<_>>().join("  ");
    }
    let begun = text.split_whitespace().next().unwrap_or_default();
    let fitting: Vec<_> = WORDS.iter().filter(|word| word.word.starts_with(begun)).collect();
    match fitting.as_slice() {
        [one] => format!("{} {}: {}", one.word, one.takes, one.help).replace("  ", " ").replace(" :", ":"),
        // What is typed whole is meant, though another word begins with it.
        many => match many.iter().find(|word| word.word == begun) {
            Some(word) => format!("{} {}: {}", word.word, word.takes, word.help),
            None => many.iter().map(|word| word.word).collect::<Vec<_>>().join("  "),
        },
    }
}

fn under_way(busy: &Busy) -> String {
    let Some((done, total)) = busy.progress else { return format!("{} …", busy.deed) };
    let share = if total == 0 { 0.0 } else { f64::from(done) / f64::from(total) };
    let full = (share * f64::from(BAR)) as usize;
    let bar = sparkline(std::iter::repeat_n(1.0, full), 1.0);
    let rest = "░".repeat(usize::from(BAR) - full);
    format!("{} {bar}{rest} {done}/{total}", busy.deed)
}

/// Draws the keys that fit, the most important ones first.
pub(crate) fn keys(state: &State, canvas: &mut Canvas<'_>) {
    let hints: Vec<(&str, &str)> = match &state.prompt {
        Prompt::Filter => vec![("Enter", "keep"), ("Esc", "clear"), ("e.g.", "api !mailer errored cpu>50 memory>100M")],
        Prompt::Search(_) => vec![("Enter", "keep"), ("Esc", "clear"), ("n/N", "older/newer, afterwards")],
        Prompt::Line { .. } => {
            vec![("Enter", "do it"), ("Tab", "complete"), ("Up", "the line before"), ("Esc", "leave")]
        }
        Prompt::Confirm(_) => vec![("y", "yes"), ("any other key", "no")],
        Prompt::Nothing => bindings(state).filter_map(|binding| binding.footer).collect(),
    };
    let theme = &state.theme;
    let back = (state.prompt == Prompt::Nothing && state.view != View::Main).then_some(("Esc", "back"));
    let mut column = 1;
    for (key, word) in back.into_iter().chain(hints) {
        if column + width_of(key) + 1 + width_of(word) > canvas.width() {
            break;
        }
        column = canvas.put(column, 0, key, theme.key) + 1;
        column = canvas.put(column, 0, word, theme.dim) + 2;
    }
}

/// Returns the keys in the order of their use in the present view.
fn bindings(state: &State) -> impl Iterator<Item = &'static Binding> {
    let in_log = state.view == View::Full(Pane::Log);
    let order = match state.view {
        View::Full(Pane::Log) => [Section::Logs, Section::Acting, Section::Looking],
        View::Main | View::Full(_) | View::Help | View::Told => [Section::Acting, Section::Looking, Section::Logs],
    };
    let is_help = |binding: &&Binding| matches!(binding.footer, Some(("?" | "q", _)));
    let help = BINDINGS.iter().filter(is_help);
    let rest = order.into_iter().flat_map(move |section| {
        BINDINGS.iter().filter(move |binding| binding.section == section && !is_help(binding))
    });
    help.chain(rest).filter(move |binding| in_log || binding.section != Section::Logs)
}
