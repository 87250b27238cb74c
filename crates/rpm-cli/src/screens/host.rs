//! The machine in one line: what can be read without waiting.
//!
//! Every list ends with it, so it takes two system calls; sysinfo, which `report` asks, reads all of /proc/stat first.

use std::fmt::Write as _;

use rpm_sys::proc;

use crate::say::{GREEN, RED, YELLOW};
use crate::screens::format::{BOLD, HEAD};

/// Returns the line under the table; nothing where the machine does not tell.
///
/// PM2 shows the CPU's share too. That is a difference between two looks, and a list does not wait for the second one:
/// the load average takes its place.
pub fn line() -> Option<String> {
    let (total, available) = (proc::total_memory(), proc::available_memory()?);
    if total == 0 {
        return None;
    }
    let used = 100.0 * (total - available.min(total)) as f64 / total as f64;
    let style = match used {
        ..50.0 => GREEN,
        50.0..80.0 => YELLOW,
        _ => RED,
    };
    let mut line = format!("{HEAD}host metrics{HEAD:#}");
    let [one, five, fifteen] = proc::load_average();
    let _ = write!(line, " | {BOLD}load{BOLD:#}: {one:.2} {five:.2} {fifteen:.2}");
    let _ = write!(line, " | {BOLD}ram usage{BOLD:#}: {style}{used:.1}%{style:#}");
    line.push('\n');
    Some(line)
}
