//! The daemon's own log: what happens to workers, one line each, and what it warns of.
//!
//! Called `pm2` it is written in PM2's words, for those who search `pm2.log`, with the time as `PM2_LOG_DATE_FORMAT` wants it.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use rpm_ipc::Happened;
use rpm_logs::{DateFormat, Stamp};
use rpm_model::{ExecMode, Exit, Flavour};
use rpm_supervise::Happening;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// PM2's, where the variable says nothing.
const DATE_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

/// Begins the log, on standard error, which is the file.
pub(crate) fn begin(flavour: Flavour) {
    let log = tracing_subscriber::fmt().with_ansi(false).with_target(false).with_writer(io::stderr);
    // A line that the disk does not take would be told of on standard error again, by a macro that panics when it cannot.
    let log = log.log_internal_errors(false);
    match flavour {
        Flavour::Rpm => log.init(),
        Flavour::Pm2 => {
            let wanted = std::env::var("PM2_LOG_DATE_FORMAT").ok().filter(|format| !format.is_empty());
            let date = DateFormat::local(wanted.as_deref().unwrap_or(DATE_FORMAT));
            log.event_format(AsPm2 { date: Mutex::new(date) }).init();
        }
    }
}

/// Returns the line for what has happened to a worker.
pub(crate) fn line(flavour: Flavour, happened: &Happened, happening: Happening, mode: Option<ExecMode>) -> String {
    let Happened { worker, app, event, detail, .. } = happened;
    let detail = detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    if flavour == Flavour::Pm2 {
        match happening {
            Happening::Started { .. } => {
                let mode = mode.unwrap_or(ExecMode::Fork).name().trim_end_matches("_mode");
                return format!("App [{app}:{worker}] starting in -{mode} mode-{detail}");
            }
            Happening::Stopping { .. } => return format!("Stopping app:{app} id:{worker}{detail}"),
            // Where there was no signal PM2 says SIGINT, and where there was one, that the code was 0.
            Happening::Exited { exit: Exit::Code(code) } => {
                return format!("App [{app}:{worker}] exited with code [{code}] via signal [SIGINT]");
            }
            Happening::Exited { exit: exit @ Exit::Signal { .. } } => {
                return format!("App [{app}:{worker}] exited with code [0] via signal [{exit}]");
            }
            Happening::Errored => {
                return format!("App [{app}:{worker}] had too many unstable restarts. Stopped. \"errored\"");
            }
            Happening::Online
            | Happening::Unhealthy
            | Happening::Healthy
            | Happening::Skipped
            | Happening::Queued
            | Happening::Exited { exit: Exit::Unknown }
            | Happening::Stopped
            | Happening::Deleted => return format!("App [{app}:{worker}] {event}{detail}"),
        }
    }
    format!("app [{app}:{worker}] {event}{detail}")
}

/// `2026-11-22T12:31:08: PM2 log: text`.
struct AsPm2 {
    date: Mutex<DateFormat>,
}

impl<S, N> FormatEvent<S, N> for AsPm2
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let date = self.date.lock().unwrap_or_else(PoisonError::into_inner).text(Stamp::now());
        let kind = if *event.metadata().level() <= Level::WARN { "error" } else { "log" };
        write!(out, "{date}: PM2 {kind}: ")?;
        context.format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;
    use rpm_supervise::Cause;

    use super::*;

    #[test]
    fn the_words_are_pm2s_under_its_name() {
        let said = |flavour, happening| {
            let happened = crate::view::happened("api".into(), WorkerId(3), happening, None);
            line(flavour, &happened, happening, Some(ExecMode::Cluster))
        };
        let started = Happening::Started { cause: Cause::Crash };
        assert_eq!(said(Flavour::Rpm, started), "app [api:3] restart (crash)");
        assert_eq!(said(Flavour::Pm2, started), "App [api:3] starting in -cluster mode- (crash)");
        assert_eq!(said(Flavour::Pm2, Happening::Online), "App [api:3] online");
        assert_eq!(said(Flavour::Pm2, Happening::Stopping { cause: Cause::Stop }), "Stopping app:api id:3 (stop)");
        let code = Happening::Exited { exit: Exit::Code(3) };
        assert_eq!(said(Flavour::Pm2, code), "App [api:3] exited with code [3] via signal [SIGINT]");
        let killed = Happening::Exited { exit: Exit::Signal { signal: 9, core: false } };
        assert_eq!(said(Flavour::Pm2, killed), "App [api:3] exited with code [0] via signal [SIGKILL]");
    }
}
