//! What is written to the terminal, and where: answers to standard output, everything else to standard error.
//!
//! Colours are decided once, by anstream: none in a pipe, none with NO_COLOR or `--no-color`. A reader that left
//! (`rpm list | head -1`) ends the program quietly.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use rpm_model::Flavour;

/// Errors.
pub const RED: Style = AnsiColor::Red.on_default();
/// Our name before a message, and everything that is well.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Warnings.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Words that matter less.
pub const GREY: Style = AnsiColor::BrightBlack.on_default();

/// The word before an error: that of a mistake in a file and of one in the command line, so that all look alike.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word before a warning.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// Speaks to the user.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    /// Nothing but errors and data that was asked for by name.
    pub silent: bool,
    /// Whose name stands before the messages.
    pub flavour: Flavour,
}

impl Voice {
    /// Returns the name of the program, as the user calls it.
    pub fn program(&self) -> &'static str {
        match self.flavour {
            Flavour::Rpm => "rpm",
            Flavour::Pm2 => "pm2",
        }
    }

    /// Tells what was done.
    pub fn say(&self, message: impl Display) {
        if !self.silent {
            out(&format!("{GREEN}[{}]{GREEN:#} {message}\n", self.label()));
        }
    }

    /// Shows a screen.
    pub fn show(&self, screen: &str) {
        if !self.silent {
            out(screen);
        }
    }

    /// Writes data that somebody will read by program: never muted.
    pub fn data(&self, text: &str) {
        out(text);
    }

    /// Tells something on the way, on standard error.
    pub fn note(&self, message: impl Display) {
        if !self.silent {
            err(&format!("{GREEN}[{}]{GREEN:#} {message}\n", self.label()));
        }
    }

    /// Tells something that is no failure but should be known.
    pub fn warn(&self, message: impl Display) {
        if !self.silent {
            err(&format!("{WARNING}warning{WARNING:#}: {message}\n"));
        }
    }

    /// Tells a failure.
    pub fn error(&self, message: impl Display) {
        err(&format!("{ERROR}error{ERROR:#}: {message}\n"));
    }

    /// Writes a text that was formatted elsewhere to standard error.
    pub fn raw_error(&self, text: &str) {
        err(text);
    }

    fn label(&self) -> &'static str {
        match self.flavour {
            Flavour::Rpm => "rpm",
            Flavour::Pm2 => "PM2",
        }
    }
}

/// Returns how many columns a screen may use; unbounded in a pipe that does not say.
pub fn width() -> usize {
    let stdout = io::stdout();
    if stdout.is_terminal()
        && let Ok(size) = rustix::termios::tcgetwinsize(&stdout)
        && size.ws_col > 0
    {
        return usize::from(size.ws_col);
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

/// Returns whether standard error takes colours.
pub fn stderr_takes_colour() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// What is done before the program ends because its reader left.
static WHEN_NOBODY_READS: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Has something done before the program ends because its reader left. Only the first call counts.
pub fn when_nobody_reads(act: impl Fn() + Send + Sync + 'static) {
    let _ = WHEN_NOBODY_READS.set(Box::new(act));
}

/// Writes to standard output, in colour where it takes colours.
pub fn out(text: &str) {
    // Stripped as a whole and written at once: a table of a thousand rows is one call, not thousands.
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => out_bytes(anstream::adapter::strip_str(text).to_string().as_bytes()),
        _ => out_bytes(text.as_bytes()),
    }
}

/// Writes bytes to standard output as they are.
pub fn out_bytes(bytes: &[u8]) {
    let mut stream = io::stdout().lock();
    written(stream.write_all(bytes).and_then(|()| stream.flush()));
}

/// Writes bytes to standard error as they are.
pub fn err_bytes(bytes: &[u8]) {
    // With standard error gone there is nobody left to tell.
    let _ = io::stderr().lock().write_all(bytes);
}

fn written(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        // Nobody reads any more. The command itself has done its work or will not be missed.
        if error.kind() == io::ErrorKind::BrokenPipe {
            if let Some(act) = WHEN_NOBODY_READS.get() {
                act();
            }
            std::process::exit(0);
        }
        err(&format!("{ERROR}error{ERROR:#}: failed to write to standard output: {error}\n"));
        std::process::exit(1);
    }
}

fn err(text: &str) {
    // With standard error gone there is nobody left to tell.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}
