//! How things look. Nothing is told by colour alone.

use ratatui::style::{Color, Modifier, Style};
use rpm_model::{Status, nearest};

use crate::text::plain;

/// The styles of every role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    /// The top line.
    pub(crate) title: Style,
    pub(crate) text: Style,
    pub(crate) dim: Style,
    pub(crate) heading: Style,
    pub(crate) selected: Style,
    pub(crate) good: Style,
    pub(crate) passing: Style,
    pub(crate) bad: Style,
    /// Keys in the footer and the help, tabs.
    pub(crate) key: Style,
    /// What was searched for.
    pub(crate) found: Style,
    /// Charts, from little to much.
    pub(crate) chart: [Style; 3],
    /// Workers in a log of several.
    workers: [Style; 6],
}

impl Theme {
    /// The themes, in the order in which a key goes through them.
    pub(crate) const NAMES: [&str; 5] = ["terminal", "dark", "light", "contrast", "plain"];

    /// Returns a theme by name.
    ///
    /// # Errors
    /// A sentence without a full stop.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "terminal" => Ok(Self::terminal()),
            "dark" => Ok(Self::dark()),
            "light" => Ok(Self::light()),
            "contrast" => Ok(Self::contrast()),
            "plain" => Ok(Self::plain()),
            _ => {
                let near = nearest(name, Self::NAMES);
                let hint = near.map(|near| format!("is it {near}? ")).unwrap_or_default();
                Err(format!("no theme is called {}: {hint}there are {}", plain(name), Self::NAMES.join(", ")))
            }
        }
    }

    /// Returns the theme after this one.
    pub(crate) fn next(self) -> Self {
        let place = Self::NAMES.iter().position(|name| *name == self.name).unwrap_or_default();
        Self::named(Self::NAMES[(place + 1) % Self::NAMES.len()]).unwrap_or(self)
    }

    /// No colours: reverse, bold and dim only.
    pub(crate) fn plain() -> Self {
        let (text, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
        let reversed = Style::new().add_modifier(Modifier::REVERSED);
        Self {
            name: "plain",
            title: reversed,
            text,
            dim: Style::new().add_modifier(Modifier::DIM),
            heading: bold,
            selected: reversed,
            good: text,
            passing: text,
            bad: bold,
            key: bold,
            found: reversed,
            chart: [text; 3],
            workers: [text; 6],
        }
    }

    /// The sixteen colours, as the terminal has them.
    pub(crate) fn terminal() -> Self {
        let colour = |colour| Style::new().fg(colour);
        Self {
            name: "terminal",
            good: colour(Color::Green),
            passing: colour(Color::Yellow),
            bad: colour(Color::Red).add_modifier(Modifier::BOLD),
            key: colour(Color::Cyan).add_modifier(Modifier::BOLD),
            found: Style::new().fg(Color::Black).bg(Color::Yellow),
            chart: [colour(Color::Green), colour(Color::Yellow), colour(Color::Red)],
            workers: [Color::Cyan, Color::Green, Color::Magenta, Color::Yellow, Color::Blue, Color::Red].map(colour),
            ..Self::plain()
        }
    }

    fn dark() -> Self {
        let colour = |index| Style::new().fg(Color::Indexed(index));
        let bold = |index| colour(index).add_modifier(Modifier::BOLD);
        Self {
            name: "dark",
            title: bold(255).bg(Color::Indexed(24)),
            text: colour(252),
            dim: colour(244),
            heading: bold(117),
            selected: bold(255).bg(Color::Indexed(238)),
            good: colour(114),
            passing: colour(221),
            bad: bold(203),
            key: bold(117),
            found: colour(16).bg(Color::Indexed(221)),
            chart: [colour(114), colour(221), colour(203)],
            workers: [117, 114, 176, 221, 111, 209].map(colour),
        }
    }

    fn light() -> Self {
        let colour = |index| Style::new().fg(Color::Indexed(index));
        let bold = |index| colour(index).add_modifier(Modifier::BOLD);
        Self {
            name: "light",
            title: bold(231).bg(Color::Indexed(25)),
            text: colour(235),
            dim: colour(243),
            heading: bold(25),
            selected: bold(16).bg(Color::Indexed(153)),
            good: colour(28),
            passing: colour(130),
            bad: bold(160),
            key: bold(25),
            found: colour(16).bg(Color::Indexed(220)),
            chart: [colour(28), colour(130), colour(160)],
            workers: [25, 28, 90, 130, 24, 124].map(colour),
        }
    }

    fn contrast() -> Self {
        let bold = |colour| Style::new().fg(colour).add_modifier(Modifier::BOLD);
        Self {
            name: "contrast",
            title: bold(Color::Black).bg(Color::White),
            text: Style::new().fg(Color::White),
            dim: Style::new().fg(Color::White),
            heading: bold(Color::White).add_modifier(Modifier::UNDERLINED),
            selected: bold(Color::Black).bg(Color::LightYellow),
            good: bold(Color::LightGreen),
            passing: bold(Color::LightYellow),
            bad: bold(Color::LightRed),
            key: bold(Color::LightCyan),
            found: bold(Color::Black).bg(Color::LightCyan),
            chart: [bold(Color::LightGreen), bold(Color::LightYellow), bold(Color::LightRed)],
            workers: [bold(Color::White); 6],
        }
    }

    /// Returns the style of a status.
    pub(crate) fn status(&self, status: Status) -> Style {
        match status {
            Status::Online => self.good,
            Status::Launching | Status::Stopping | Status::WaitingRestart => self.passing,
            Status::Errored => self.bad,
            Status::Stopped => self.dim,
        }
    }

    /// Returns the style of one worker among several.
    pub(crate) fn worker(&self, number: u32) -> Style {
        self.workers[number as usize % self.workers.len()]
    }

    /// Returns the style of a part of a chart, by its share of the whole height.
    pub(crate) fn level(&self, share: f64) -> Style {
        match share {
            _ if share < 0.5 => self.chart[0],
            _ if share < 0.8 => self.chart[1],
            _ => self.chart[2],
        }
    }
}

impl Default for Theme {
    fn default() -> Self {
        Self::terminal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_through_all_themes_and_plain_has_no_colour() {
        let mut theme = Theme::terminal();
        for name in Theme::NAMES {
            assert_eq!(theme.name, name);
            theme = theme.next();
        }
        assert_eq!(theme, Theme::terminal());
        let plain = Theme::plain();
        let styles = [plain.title, plain.text, plain.dim, plain.bad, plain.found, plain.key, plain.worker(7)];
        assert!(styles.iter().chain(&plain.chart).all(|style| style.fg.is_none() && style.bg.is_none()));
    }
}
