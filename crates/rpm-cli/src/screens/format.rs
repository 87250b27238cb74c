//! Small values as PM2 writes them.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use rpm_ipc::{AppInfo, BetweenRuns, WorkerInfo};
use rpm_model::{ExecMode, Health, Status};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Bold.
pub const BOLD: Style = Style::new().bold();
/// Heads of columns and ids.
pub const HEAD: Style = AnsiColor::Cyan.on_default().bold();

/// Returns how long ago `since_ms` was, in PM2's form: `12s`, `3m`, `4h`, `2D`.
pub fn uptime(since_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(since_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}D", seconds / 86_400),
    }
}

/// Returns a CPU share in percent with at most one decimal: `0%`, `12.5%`.
pub fn cpu(percent: f32) -> String {
    let text = format!("{percent:.1}");
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// Returns PM2's short word for how workers get their sockets.
pub fn mode(mode: ExecMode) -> &'static str {
    match mode {
        ExecMode::Fork => "fork",
        ExecMode::Cluster => "cluster",
        ExecMode::Socket => "socket",
        ExecMode::Proxy => "proxy",
    }
}

/// Returns PM2's colours of that word.
pub fn mode_style(mode: ExecMode) -> Style {
    match mode {
        ExecMode::Fork => Style::new().bold().invert(),
        ExecMode::Cluster | ExecMode::Socket | ExecMode::Proxy => AnsiColor::Blue.on_default().bold(),
    }
}

/// Returns what is shown of a worker: PM2's word, or for a job between its runs what became of the last one.
pub fn status(app: &AppInfo, worker: &WorkerInfo) -> (&'static str, Style) {
    match app.between_runs(worker) {
        Some(between @ BetweenRuns::Failed) => (between.word(), status_style(Status::Errored)),
        Some(between @ BetweenRuns::Scheduled) => (between.word(), status_style(Status::Online)),
        None => (worker.status.as_str(), status_style(worker.status)),
    }
}

/// Returns PM2's colour of a status.
pub fn status_style(status: Status) -> Style {
    let colour = match status {
        Status::Online => AnsiColor::Green,
        Status::Launching => AnsiColor::Blue,
        Status::WaitingRestart => AnsiColor::Yellow,
        Status::Stopping | Status::Stopped | Status::Errored => AnsiColor::Red,
    };
    colour.on_default().bold()
}

/// Returns the colour of a worker's health.
pub fn health_style(health: Health) -> Style {
    let colour = match health {
        Health::Ready => AnsiColor::Green,
        Health::Starting => AnsiColor::Blue,
        Health::Draining => AnsiColor::Yellow,
        Health::Unhealthy => AnsiColor::Red,
    };
    colour.on_default().bold()
}

/// Returns how many columns the text takes.
pub fn columns(text: &str) -> usize {
    // Nearly every cell of a table, and much quicker than to ask for the width of each character.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) { text.len() } else { text.width() }
}

/// Returns the text in at most `width` columns, its end replaced by `…` where it is longer.
pub fn truncate(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    if width > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// Returns the text on one line, without what would act on the terminal.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns a moment as `2026-11-25T18:09:32.021Z`.
pub fn date(ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| "N/A".into(), |moment| format!("{moment:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_as_in_pm2() {
        let up = |seconds: u64| uptime(1_000, 1_000 + seconds * 1000);
        assert_eq!([up(0), up(59), up(60), up(7_199), up(172_800)], ["0s", "59s", "1m", "1h", "2D"]);
        assert_eq!(uptime(5_000, 1_000), "0s", "a clock set back");
        assert_eq!([cpu(0.0), cpu(12.54), cpu(100.0)], ["0%", "12.5%", "100%"]);
        assert_eq!(date(1_795_630_172_021), "2026-11-25T18:09:32.021Z");
        assert_eq!(date(u64::MAX), "N/A");
    }

    #[test]
    fn a_long_text_ends_with_an_ellipsis() {
        assert_eq!(truncate("short", 5), "short");
        assert_eq!(truncate("longer", 5), "long…");
        assert_eq!(truncate("漢字漢字", 5), "漢字…");
        assert_eq!(truncate("abc", 0), "");
        assert_eq!([columns("short"), columns("漢字"), columns("é")], [5, 4, 1]);
    }
}
