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
    Reload,
    Restart,
    StopOrStart,
    ScaleUp,
    ScaleDown,
    Scope,
    Filter,
    Logs,
    Details,
    Help,
    /// Leaves a view; in the main view clears the filter, or quits.
    Back,
    Quit,
}

/// One line of the table, of the help, and perhaps of the footer.
pub(crate) struct Binding {
    pub(crate) command: Command,
    /// The keys, without regard to Shift, which the character already shows.
    keys: &'static [KeyCode],
    /// The keys as the help writes them.
    pub(crate) name: &'static str,
    /// What the footer says, most important first; it is cut where the screen ends.
    pub(crate) footer: Option<&'static str>,
    /// What the help says.
    pub(crate) help: &'static str,
}

use KeyCode::Char;

/// Every command and its keys. Ctrl-C quits from everywhere and stands in [`command`].
pub(crate) const BINDINGS: &[Binding] = &[
    bind(Command::Quit, &[Char('q')], "q, Ctrl-C", Some("q quit"), "leave the dashboard; everything goes on running"),
    bind(Command::Help, &[Char('?'), Char('h')], "? h", Some("? help"), "this page"),
    bind(Command::Reload, &[Char('r')], "r", Some("r reload"), "replace without losing a request"),
    bind(Command::Restart, &[Char('R')], "R", Some("R restart"), "stop and start again"),
    bind(Command::StopOrStart, &[Char('s')], "s", Some("s stop/start"), "stop; start what is down"),
    bind(Command::ScaleUp, &[Char('+'), Char('=')], "+", Some("+/- scale"), "one more worker for the app"),
    bind(Command::ScaleDown, &[Char('-')], "-", None, "one worker less for the app"),
    bind(Command::Filter, &[Char('/')], "/", Some("/ filter"), "show only what matches; Enter keeps it, Esc clears it"),
    bind(Command::Logs, &[Char('l')], "l", Some("l logs"), "the selected worker's log, full screen"),
    bind(
        Command::Details,
        &[Char('d'), KeyCode::Enter],
        "d, Enter",
        Some("d details"),
        "all about the selected worker",
    ),
    bind(Command::Scope, &[Char('a')], "a", Some("a all"), "r, R and s act on the whole app, or on one worker again"),
    bind(Command::Up, &[KeyCode::Up, Char('k')], "Up, k", None, "select or scroll up"),
    bind(Command::Down, &[KeyCode::Down, Char('j')], "Down, j", None, "select or scroll down"),
    bind(Command::PageUp, &[KeyCode::PageUp], "PgUp", None, "ten lines up"),
    bind(Command::PageDown, &[KeyCode::PageDown], "PgDn", None, "ten lines down"),
    bind(Command::First, &[KeyCode::Home, Char('g')], "Home, g", None, "to the beginning"),
    bind(Command::Last, &[KeyCode::End, Char('G')], "End, G", None, "to the end"),
    bind(Command::Back, &[KeyCode::Esc], "Esc", None, "back; in the main view: clear the filter, or leave"),
];

const fn bind(
    command: Command,
    keys: &'static [KeyCode],
    name: &'static str,
    footer: Option<&'static str>,
    help: &'static str,
) -> Binding {
    Binding { command, keys, name, footer, help }
}

/// Returns what a key asks for while nothing is being typed.
pub(crate) fn command(key: KeyEvent) -> Option<Command> {
    if is_interrupt(key) {
        return Some(Command::Quit);
    }
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    BINDINGS.iter().find(|binding| binding.keys.contains(&key.code)).map(|binding| binding.command)
}

/// What a key means while the filter is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typing {
    Add(char),
    Erase,
    Keep,
    Clear,
    Quit,
}

/// Returns what a key means while the filter is being typed.
pub(crate) fn typing(key: KeyEvent) -> Option<Typing> {
    if is_interrupt(key) {
        return Some(Typing::Quit);
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => Some(Typing::Keep),
        KeyCode::Esc => Some(Typing::Clear),
        KeyCode::Backspace => Some(Typing::Erase),
        Char('u') if control => Some(Typing::Clear),
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
        assert_eq!(command(key(Char('c'), KeyModifiers::CONTROL)), Some(Command::Quit));
    }
}
