//! The line that is being typed: a filter, a search or a command.

use super::{Order, Prompt, State, View};
use crate::commandline::{self, Meaning};
use crate::event::Action;
use crate::keys::Typing;
use crate::text::plain;

/// The longest line that can be typed: what is typed beyond it is dropped.
const TYPED_MAX: usize = 128;

/// Lines that were typed and can be had again.
const LINES_KEPT: usize = 50;

impl State {
    /// Takes pasted text into the line that is being typed; elsewhere it would be a row of commands.
    pub(super) fn pasted(&mut self, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        for character in line.chars().filter(|character| !character.is_control()) {
            if !matches!(self.prompt, Prompt::Nothing | Prompt::Confirm(_)) {
                self.typing(Typing::Add(character));
            }
        }
    }

    pub(super) fn typing(&mut self, typing: Typing) -> Option<Action> {
        if typing == Typing::Quit {
            return Some(Action::Quit);
        }
        match std::mem::take(&mut self.prompt) {
            Prompt::Filter => {
                self.prompt = if is_end(typing) { Prompt::Nothing } else { Prompt::Filter };
                let mut text = self.filter.text().to_owned();
                edit(&mut text, typing);
                self.set_filter(text);
            }
            Prompt::Search(mut text) => {
                edit(&mut text, typing);
                self.logs.set_search(&text);
                if !is_end(typing) {
                    self.prompt = Prompt::Search(text);
                } else if !text.is_empty() && self.logs.matches() == 0 {
                    self.message = Some(Err(format!("{} is not in the log", plain(&text))));
                }
            }
            Prompt::Line { text, older, .. } => return self.typing_line(typing, text, older),
            prompt @ (Prompt::Nothing | Prompt::Confirm(_)) => self.prompt = prompt,
        }
        None
    }

    fn typing_line(&mut self, typing: Typing, mut text: String, older: usize) -> Option<Action> {
        let mut choices = Vec::new();
        let mut place = older;
        match typing {
            Typing::Cancel => return None,
            // Erasing from an empty line leaves it, as in vi.
            Typing::Erase if text.is_empty() => return None,
            Typing::Done => return self.line(&text),
            Typing::Complete => (text, choices) = commandline::complete(&text, self.list.as_ref()),
            Typing::Older | Typing::Newer => {
                place =
                    if typing == Typing::Older { (older + 1).min(self.typed.len()) } else { older.saturating_sub(1) };
                text = match place {
                    0 => String::new(),
                    place => self.typed[self.typed.len() - place].clone(),
                };
            }
            Typing::Add(_) | Typing::Erase | Typing::EraseWord | Typing::EraseAll | Typing::Quit => {
                edit(&mut text, typing);
            }
        }
        self.prompt = Prompt::Line { text, older: place, choices };
        None
    }

    /// Does what a line says.
    fn line(&mut self, text: &str) -> Option<Action> {
        let text = text.trim();
        if !text.is_empty() && self.typed.last().is_none_or(|last| last != text) {
            self.typed.push(text.to_owned());
            let excess = self.typed.len().saturating_sub(LINES_KEPT);
            self.typed.drain(..excess);
        }
        match commandline::read(text, self.list.as_ref(), self.selected) {
            Err(refusal) => self.message = Some(Err(refusal)),
            Ok(Meaning::Wish(wish)) => return self.wanted(Ok(wish)),
            Ok(Meaning::Show(view, key)) => {
                if let Some(key) = key {
                    self.select(key);
                }
                self.show(view);
            }
            Ok(Meaning::Filter(filter)) => {
                self.show(View::Main);
                self.set_filter(filter);
            }
            Ok(Meaning::Sort(by)) => {
                self.sort(Order { by: by.unwrap_or_else(|| self.order.by.next()), reversed: false });
            }
            Ok(Meaning::Theme(theme)) => self.set_theme(theme.unwrap_or_else(|| self.theme.next())),
            Ok(Meaning::Quit) => return Some(Action::Quit),
            Ok(Meaning::Nothing) => {}
        }
        None
    }
}

fn is_end(typing: Typing) -> bool {
    matches!(typing, Typing::Done | Typing::Cancel)
}

/// Changes a line that is being typed; what does not change it is passed over.
fn edit(text: &mut String, typing: Typing) {
    match typing {
        Typing::Add(character) if text.chars().count() < TYPED_MAX => text.push(character),
        Typing::Erase => drop(text.pop()),
        Typing::EraseWord => {
            let kept = text.trim_end().rfind(char::is_whitespace).map_or(0, |place| place + 1);
            text.truncate(kept);
        }
        Typing::EraseAll | Typing::Cancel => text.clear(),
        Typing::Add(_) | Typing::Complete | Typing::Older | Typing::Newer | Typing::Done | Typing::Quit => {}
    }
}
