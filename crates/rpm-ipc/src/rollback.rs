//! Going back to what an app was before: the request, made from its releases.

use rpm_model::AppSpec;

use crate::reply::{AppInfo, Release};
use crate::request::{Request, Respec};

/// Returns the request that makes an app what it was `back` releases before, 1 being the one before.
///
/// # Errors
/// How far one can go back, when that is not so far.
pub fn roll_back(app: &AppInfo, releases: &[Release], back: usize) -> Result<Request, usize> {
    // What has failed is no place to go back to.
    let good: Vec<&Release> = releases.iter().rev().filter(|release| !release.rolled_back).collect();
    let Some(release) = back.checked_sub(1).and_then(|at| good.get(at)) else { return Err(good.len()) };
    // As many workers as there are now: that was not what was wrong with it.
    let spec = AppSpec { instances: app.spec.instances, ..release.spec.clone() };
    let workers = app.workers.iter().map(|worker| worker.id).collect();
    Ok(Request::Reload { workers, specs: vec![Respec { app: app.id, spec }], force: false })
}

/// Says how far one can go back: completes "could not roll back: …".
pub fn how_far(name: &str, good: usize) -> String {
    match good {
        0 => format!("{name} has no earlier release"),
        1 => format!("{name} has one earlier release"),
        count => format!("{name} has {count} earlier releases"),
    }
}
