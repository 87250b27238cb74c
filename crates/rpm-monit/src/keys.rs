//! Keys become commands, in one table.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Fold,
    Unfold,
    FoldOrUnfold,
    FoldAll,
    Reload,
    Restart,
    StopOrStart,
    ScaleUp,
    ScaleDown,
    Delete,
    /// Filters the table; searches in the log.
    Find,
    FindOlder,
    FindNewer,
    /// A command is typed.
    Line,
    Pane,
    Logs,
    Events,
    Details,
    Help,
    Follow,
    Wrap,
    ErrorsOnly,
    Order,
    OrderReversed,
    Theme,
    Mouse,
    Redraw,
    /// Leaves a view; in the main view clears the filter, or quits.
    Back,
    Quit,
}

/// Where the help lists a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Acting,
    Looking,
    Logs,
    Moving,
}

/// One line of the table, of the help, and perhaps of the footer.
pub(crate) struct Binding {
    pub(crate) command: Command,
    pub(crate) section: Section,
    /// The keys, without regard to Shift, which the character already shows.
    keys: &'static [KeyCode],
    /// The keys as the help writes them.
    pub(crate) name: &'static str,
    /// Key and word of the footer, most important first; it is cut where the screen ends.
    pub(crate) footer: Option<(&'static str, &'static str)>,
    /// What the help says.
    pub(crate) help: &'static str,
}

use Command as C;
use KeyCode::Char;
use Section::{Acting, Logs, Looking, Moving};

/// Every command and its keys. Ctrl-C quits from everywhere and stands in [`command`], as do the few others with Ctrl.
#[rustfmt::skip]
pub(crate) const BINDINGS: &[Binding] = &[
    bind(C::Reload, Acting, &[Char('r')], "r", Some(("r", "reload")), "replace without losing a request"),
    bind(C::Restart, Acting, &[Char('R')], "R", Some(("R", "restart")), "stop and start again"),
    bind(C::StopOrStart, Acting, &[Char('s')], "s", Some(("s", "stop/start")), "stop; start what is down"),
    bind(C::ScaleUp, Acting, &[Char('+'), Char('=')], "+", Some(("+/-", "scale")), "one worker more for the app"),
    bind(C::ScaleDown, Acting, &[Char('-')], "-", None, "one worker less for the app"),
    bind(C::Delete, Acting, &[Char('D'), KeyCode::Delete], "D, Del", None, "stop and forget"),
    bind(C::Line, Acting, &[Char(':')], ":", Some((":", "command")), "a command; Tab completes it"),
    bind(C::Find, Looking, &[Char('/')], "/", Some(("/", "filter")), "show only what matches; search in the log"),
    bind(C::Logs, Looking, &[Char('l')], "l", Some(("l", "logs")), "the log, full screen"),
    bind(C::Events, Looking, &[Char('e')], "e", Some(("e", "events")), "what has happened, full screen"),
    bind(C::Details, Looking, &[Char('d'), KeyCode::Enter], "d, Enter", Some(("d", "details")), "charts and all facts, full screen"),
    bind(C::Pane, Looking, &[KeyCode::Tab], "Tab", Some(("Tab", "pane")), "log, events or details below the table"),
    bind(C::Order, Looking, &[Char('o')], "o", Some(("o", "sort")), "sort by the next column"),
    bind(C::OrderReversed, Looking, &[Char('O')], "O", None, "sort the other way round"),
    bind(C::Theme, Looking, &[Char('t')], "t", None, "the next theme"),
    bind(C::Mouse, Looking, &[Char('m')], "m", None, "leave the mouse to the terminal, to select text; take it again"),
    bind(C::Help, Looking, &[Char('?'), Char('h'), KeyCode::F(1)], "? h", Some(("?", "help")), "this page"),
    bind(C::Quit, Looking, &[Char('q')], "q, Ctrl-C", Some(("q", "quit")), "leave; everything goes on running"),
    bind(C::Follow, Logs, &[Char('f')], "f", Some(("f", "follow")), "follow the end of the log, or hold it still"),
    bind(C::Wrap, Logs, &[Char('w')], "w", Some(("w", "wrap")), "wrap long lines, or cut them"),
    bind(C::ErrorsOnly, Logs, &[Char('E')], "E", Some(("E", "errors")), "only lines of standard error, or all"),
    bind(C::FindOlder, Logs, &[Char('n')], "n", Some(("n/N", "older/newer match")), "the match before, further up"),
    bind(C::FindNewer, Logs, &[Char('N')], "N", None, "the match after, further down"),
    bind(C::Up, Moving, &[KeyCode::Up, Char('k')], "Up, k", None, "select or scroll up"),
    bind(C::Down, Moving, &[KeyCode::Down, Char('j')], "Down, j", None, "select or scroll down"),
    bind(C::PageUp, Moving, &[KeyCode::PageUp], "PgUp", None, "a page up (Ctrl-B)"),
    bind(C::PageDown, Moving, &[KeyCode::PageDown], "PgDn", None, "a page down (Ctrl-F)"),
    bind(C::First, Moving, &[KeyCode::Home, Char('g')], "Home, g", None, "to the beginning"),
    bind(C::Last, Moving, &[KeyCode::End, Char('G')], "End, G", None, "to the end"),
    bind(C::FoldOrUnfold, Moving, &[Char(' ')], "Space", None, "show or hide the workers of an app"),
    bind(C::Unfold, Moving, &[KeyCode::Right], "Right", None, "show the workers of an app"),
    bind(C::Fold, Moving, &[KeyCode::Left], "Left", None, "hide them; from a worker to its app"),
    bind(C::FoldAll, Moving, &[Char('x')], "x", None, "show or hide the workers of all apps"),
    bind(C::Back, Moving, &[KeyCode::Esc], "Esc", None, "back; in the main view clear the filter, or leave"),
    bind(C::Redraw, Moving, &[], "Ctrl-L", None, "draw the screen anew"),
];

const fn bind(
    command: Command,
    section: Section,
    keys: &'static [KeyCode],
    name: &'static str,
    footer: Option<(&'static str, &'static str)>,
    help: &'static str,
) -> Binding {
    Binding { command, section, keys, name, footer, help }
}

/// Returns the keys that were pressed. A terminal sends Esc and a key that comes at once like that key with Alt, which is on a
/// slow line what most users have meant; Alt means nothing here.
pub(crate) fn pressed(key: KeyEvent) -> impl Iterator<Item = KeyEvent> {
    let escape = key.modifiers.contains(KeyModifiers::ALT).then(|| KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
    escape.into_iter().chain([KeyEvent { modifiers: key.modifiers - KeyModifiers::ALT, ..key }])
}

/// Returns what a key asks for while nothing is being typed.
pub(crate) fn command(key: KeyEvent) -> Option<Command> {
    if is_interrupt(key) {
        return Some(Command::Quit);
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            Char('l') => Some(Command::Redraw),
            Char('f') => Some(Command::PageDown),
            Char('b') => Some(Command::PageUp),
            _ => None,
        };
    }
    BINDINGS.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.command)
}

/// What a key means while something is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typing {
    Add(char),
    Erase,
    EraseWord,
    EraseAll,
    Complete,
    Older,
    Newer,
    Done,
    Cancel,
    Quit,
}

/// Returns what a key means while something is being typed.
pub(crate) fn typing(key: KeyEvent) -> Option<Typing> {
    if is_interrupt(key) {
        return Some(Typing::Quit);
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => Some(Typing::Done),
        KeyCode::Esc => Some(Typing::Cancel),
        KeyCode::Backspace => Some(Typing::Erase),
        KeyCode::Tab => Some(Typing::Complete),
        KeyCode::Up => Some(Typing::Older),
        KeyCode::Down => Some(Typing::Newer),
        Char('u') if control => Some(Typing::EraseAll),
        Char('w') if control => Some(Typing::EraseWord),
        Char('h') if control => Some(Typing::Erase),
        Char(character) if !control => Some(Typing::Add(character)),
        _ => None,
    }
}

/// Raw mode turns Ctrl-C into a key.
pub(crate) fn is_interrupt(key: KeyEvent) -> bool {
    key.code == Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_key_asks_for_two_things() {
        let mut seen = HashSet::new();
        for key in BINDINGS.iter().flat_map(|binding| binding.keys) {
            assert!(seen.insert(key), "{key:?}");
        }
    }

    #[test]
    fn shift_is_in_the_character_and_control_asks_for_something_else() {
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        assert_eq!(command(key(Char('R'), KeyModifiers::SHIFT)), Some(Command::Restart));
        assert_eq!(command(key(Char('r'), KeyModifiers::NONE)), Some(Command::Reload));
        assert_eq!(command(key(Char('r'), KeyModifiers::CONTROL)), None);
        assert_eq!(command(key(Char('l'), KeyModifiers::CONTROL)), Some(Command::Redraw));
        assert_eq!(command(key(Char('c'), KeyModifiers::CONTROL)), Some(Command::Quit));
    }
}
