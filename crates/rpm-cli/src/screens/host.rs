//! The machine in one line: what can be read without waiting.

use std::fmt::Write as _;

use crate::say::{GREEN, RED, YELLOW};
use crate::screens::format::{BOLD, HEAD};

/// Returns the line under the table; nothing where the machine does not tell.
///
/// PM2 shows the CPU's share too. That is a difference between two looks, and a list does not wait for the second one:
/// the load average takes its place.
pub fn line() -> Option<String> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let total = system.total_memory();
    if total == 0 {
        return None;
    }
    let used = 100.0 * (total - system.available_memory().min(total)) as f64 / total as f64;
    let style = match used {
        ..50.0 => GREEN,
        50.0..80.0 => YELLOW,
        _ => RED,
    };
    let mut line = format!("{HEAD}host metrics{HEAD:#}");
    if let Ok(load) = sysinfo::System::load_average() {
        let _ = write!(line, " | {BOLD}load{BOLD:#}: {:.2} {:.2} {:.2}", load.one, load.five, load.fifteen);
    }
    let _ = write!(line, " | {BOLD}ram usage{BOLD:#}: {style}{used:.1}%{style:#}");
    line.push('\n');
    Some(line)
}
