//! `report`: what belongs into a bug report, to be copied. No environments: they hold secrets.

use std::fmt::Write as _;

use crate::acting::now_ms;
use crate::commands::{Invocation, logs};
use crate::report::Failure;
use crate::screens::format;
use crate::screens::sort::Order;
use crate::screens::table;
use crate::session::Session;

/// Enough for what led to a failure.
const LINES: usize = 20;

/// A terminal's usual width: the text will be read elsewhere.
const WIDTH: usize = 134;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    let mut text = String::new();
    let mut section = |name: &str, rows: &[(&str, String)]| {
        let _ = writeln!(text, "--- {name} {}", "-".repeat(60usize.saturating_sub(name.len())));
        for (key, value) in rows {
            let _ = writeln!(text, "{key:<20} : {value}");
        }
    };
    section("report", &[("date", format::date(now_ms()))]);
    let mut session = Session::open_existing(&invocation.home)?;
    match &mut session {
        Some(session) => {
            let daemon = session.ping()?;
            let rows = [
                ("version", daemon.version),
                ("pid", daemon.pid.to_string()),
                ("keeper's pid", daemon.keeper_pid.to_string()),
                ("started", format::date(daemon.started_at_ms)),
            ];
            section("daemon", &rows);
        }
        None => section("daemon", &[("state", "not running".into())]),
    }
    let program = std::env::current_exe().map_or_else(|error| error.to_string(), |path| path.display().to_string());
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("program", program),
        ("home", invocation.home.root().display().to_string()),
        ("uid", rustix::process::geteuid().as_raw().to_string()),
    ];
    section("command line", &rows);
    let kernel =
        |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default().trim().to_owned();
    let mut system = sysinfo::System::new().ok();
    system.as_mut().map(sysinfo::System::refresh_memory);
    let memory = |read: fn(&sysinfo::System) -> u64| system.as_ref().map_or(0, read).to_string();
    let rows = [
        ("system", format!("{} {}", kernel("ostype"), kernel("osrelease"))),
        ("machine", std::env::consts::ARCH.to_owned()),
        ("cpus", crate::specs::cpus().to_string()),
        ("memory", memory(sysinfo::System::total_memory)),
        ("memory available", memory(sysinfo::System::available_memory)),
    ];
    section("system", &rows);
    if let Some(session) = &mut session {
        section("list", &[]);
        let list = session.list(false)?;
        text.push_str(&table::table(&list, Order::default(), WIDTH, now_ms()));
    }
    let _ = writeln!(text, "--- last lines of {}", invocation.home.daemon_log().display());
    for line in logs::last_lines(&invocation.home.daemon_log(), LINES) {
        let _ = writeln!(text, "{line}");
    }
    invocation.voice.data(&format!("```\n{}```\n", anstream::adapter::strip_str(&text)));
    Ok(())
}
