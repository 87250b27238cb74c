//! `history`, `rollback`: what an app was before, and to have it so again.

use std::fmt::Write as _;

use rpm_ipc::rollback::{how_far, roll_back};
use rpm_ipc::{AppInfo, Release, Reply, Request};
use rpm_model::AppSpec;
use serde_json::Value;

use crate::acting::{self, Ask};
use crate::args::{History, Rollback};
use crate::commands::{Invocation, apply, scale};
use crate::report::Failure;
use crate::screens::format::{self, one_line};
use crate::screens::json;
use crate::session::{Session, unexpected};

pub(super) fn show(args: &History, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(true)?;
    let app = scale::find(&args.app, &list)?;
    let mut releases = ask(&mut session, app)?;
    if args.json {
        releases.iter_mut().for_each(|release| json::redact(&mut release.spec));
        let each = (1..).zip(releases.iter().rev()).map(|(back, release)| {
            let fate = if release.rolled_back { "rolled_back" } else { "replaced" };
            serde_json::json!({ "back": back, "until_ms": release.until_ms, "fate": fate, "spec": release.spec })
        });
        invocation.voice.data(&format!("{:#}\n", each.collect::<Value>()));
    } else {
        invocation.voice.show(&text(app, &releases, acting::now_ms()));
    }
    Ok(())
}

pub(super) fn rollback(args: &Rollback, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(true)?;
    let app = scale::find(&args.app, &list)?;
    let releases = ask(&mut session, app)?;
    let name = &app.spec.name;
    let request = roll_back(app, &releases, args.back as usize).map_err(|good| {
        let hint = (good > 0).then(|| format!("`{} history {name}` shows them", invocation.voice.program()));
        Failure::new(format!("could not roll back: {}", how_far(name, good))).maybe_hint(hint)
    })?;
    // It is known to be good: where its first workers are to be looked at before the others, nobody has to.
    let promote = Ask { if_it_waits: true, ..Ask::from(("promote", Request::Promote { app: app.id })) };
    acting::act_and_show(&mut session, invocation, &list, vec![Ask::from(("reload", request)), promote])
}

pub(super) fn ask(session: &mut Session, app: &AppInfo) -> Result<Vec<Release>, Failure> {
    match session.act(Request::History { app: app.id }, |_| {})? {
        Reply::History(releases) => Ok(releases),
        Reply::Refused { message, hint } => Err(Failure::new(message).maybe_hint(hint)),
        other => Err(unexpected(other)),
    }
}

/// Tells the releases, the newest first, and how each differs from the one after it.
fn text(app: &AppInfo, releases: &[Release], now_ms: u64) -> String {
    let mut out = format!("{}: now\n", one_line(&app.spec.name));
    if releases.is_empty() {
        out.push_str("  nothing is known of it before\n");
    }
    let mut later = &app.spec;
    for (back, release) in (1..).zip(releases.iter().rev()) {
        let fate = if release.rolled_back { "failed, rolled back" } else { "replaced" };
        let _ = writeln!(out, "{back}: {fate} {} ago", format::uptime(release.until_ms, now_ms));
        let mut differences = Vec::new();
        let tree = |spec: &AppSpec| serde_json::to_value(spec).unwrap_or_default();
        apply::compare("", &tree(&release.spec), &tree(later), &mut differences);
        for (path, before, after) in differences.iter().filter(|(path, ..)| !path.starts_with("env_shell")) {
            let _ = writeln!(out, "    {path}: {} → {}", apply::shown(path, before), apply::shown(path, after));
        }
        later = &release.spec;
    }
    out
}
