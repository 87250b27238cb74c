//! The two lines at the bottom: what is going on, and the keys.

use super::Theme;
use super::canvas::{Canvas, width_of};
use crate::keys::{BINDINGS, Command};
use crate::state::{Prompt, State, View};
use crate::text::plain;

/// Draws a question, what is under way, what failed, or how the last deed ended.
pub(crate) fn status(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    match &state.prompt {
        Prompt::Confirm(wish) => {
            canvas.put(1, 0, &format!("{}? (y/N)", wish.deed), theme.passing().patch(theme.heading()));
            return;
        }
        Prompt::Filter => {
            canvas.put(1, 0, &format!("filter: {}▏", plain(&state.filter)), theme.heading());
            return;
        }
        Prompt::Nothing => {}
    }
    let (text, style) = match (&state.message, &state.busy, &state.source_error) {
        (Some(Err(message)), _, _) => (message.clone(), theme.bad()),
        (_, Some(deed), _) => (format!("{deed} …"), theme.passing()),
        (_, None, Some(error)) => (format!("{}; trying again", plain(error)), theme.bad()),
        (Some(Ok(message)), None, None) => (message.clone(), theme.good()),
        (None, None, None) if !state.filter.is_empty() => (format!("filter: {}", plain(&state.filter)), theme.dim()),
        (None, None, None) => return,
    };
    canvas.put(1, 0, &text, style);
}

/// Draws the keys that fit, the most important ones first.
pub(crate) fn keys(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    let mut column = 1;
    for binding in BINDINGS {
        let Some(text) = hint(state, binding.command, binding.footer) else { continue };
        if column + width_of(text) > canvas.width() {
            break;
        }
        column = canvas.put(column, 0, text, theme.dim()) + 2;
    }
}

/// Returns what a key does at this moment.
fn hint(state: &State, command: Command, footer: Option<&'static str>) -> Option<&'static str> {
    match (&state.prompt, command) {
        (Prompt::Filter, Command::Quit) => Some("Enter keep"),
        (Prompt::Filter, Command::Help) => Some("Esc clear"),
        (Prompt::Confirm(_), Command::Quit) => Some("y yes"),
        (Prompt::Confirm(_), Command::Help) => Some("any other key no"),
        (Prompt::Filter | Prompt::Confirm(_), _) => None,
        (Prompt::Nothing, Command::Scope) if state.whole => Some("a one"),
        (Prompt::Nothing, Command::Back) if state.view != View::Main => Some("Esc back"),
        (Prompt::Nothing, _) => footer,
    }
}
