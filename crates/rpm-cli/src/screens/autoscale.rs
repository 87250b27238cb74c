//! How the number of an app's workers follows its load.

use std::fmt::Write as _;

use rpm_ipc::{AppInfo, AutoscaleInfo, LoadFigure};

use crate::screens::format::{self, BOLD};

/// Writes what `autoscale` tells of one app.
pub fn page(app: &AppInfo, now_ms: u64) -> String {
    let (Some(policy), Some(state)) = (&app.spec.autoscale, &app.autoscale) else { return String::new() };
    let name = format::one_line(&app.spec.name);
    let (count, min, max) = (app.workers.len(), policy.min, policy.max);
    let s = if count == 1 { "" } else { "s" };
    let mut out = format!("{BOLD}{name}{BOLD:#}: {count} worker{s}, {min} to {max} may be; {}\n", state.standing);
    for figure in &state.figures {
        let _ = writeln!(out, "  {}", self::figure(*figure));
    }
    if let Some(last) = &state.last {
        let ago = format::uptime(last.at_ms, now_ms);
        let _ = writeln!(out, "  {ago} ago: {}", format::one_line(&last.text));
    }
    out
}

/// Says how it stands in one line, for `describe`: `2 to 8, follows the load; cpu 20 % of 70 %`.
pub fn summary(app: &AppInfo, state: &AutoscaleInfo) -> String {
    let bounds = app.spec.autoscale.as_ref().map_or((0, 0), |policy| (policy.min, policy.max));
    let mut out = format!("{} to {}; {}", bounds.0, bounds.1, state.standing);
    for LoadFigure { kind, seen, target } in &state.figures {
        let seen = seen.map_or_else(|| "unknown".to_owned(), |seen| kind.amount(seen));
        let _ = write!(out, "; {kind} {seen} of {}", kind.amount(*target));
    }
    out
}

fn figure(LoadFigure { kind, seen, target }: LoadFigure) -> String {
    let seen = seen.map_or_else(|| "unknown".to_owned(), |seen| kind.amount(seen));
    format!("{:10} {seen} for each worker, {} wanted", kind.name(), kind.amount(target))
}

#[cfg(test)]
mod tests {
    use rpm_ipc::Decision;
    use rpm_model::{AutoscaleSpec, Load, LoadKind};

    use super::*;
    use crate::screens::samples::{NOW_MS, app};

    #[test]
    fn figures_and_the_last_decision_are_told() {
        let mut api = app(1, "api", "default", &[0, 1]);
        let targets = Load { cpu: Some(70.0), rate: Some(100.0), ..Load::default() };
        api.spec.autoscale = Some(Box::new(AutoscaleSpec::new(1, 8, targets)));
        let figures = vec![
            LoadFigure { kind: LoadKind::Cpu, seen: Some(20.4), target: 70.0 },
            LoadFigure { kind: LoadKind::Rate, seen: None, target: 100.0 },
        ];
        let text = "1 → 2 workers: cpu 90 % for each, 70 % wanted".to_owned();
        let last = Some(Decision { at_ms: NOW_MS - 3_000, from: 1, to: 2, text });
        api.autoscale = Some(AutoscaleInfo { is_on: true, standing: "follows the load".into(), figures, last });
        let page = anstream::adapter::strip_str(&page(&api, NOW_MS)).to_string();
        assert_eq!(
            page,
            "api: 2 workers, 1 to 8 may be; follows the load\n  cpu        20 % for each worker, 70 % wanted\n  \
             rate       unknown for each worker, 100/s wanted\n  3s ago: 1 → 2 workers: cpu 90 % for each, 70 % wanted\n"
        );
        let state = api.autoscale.clone().expect("just put there");
        assert_eq!(summary(&api, &state), "1 to 8; follows the load; cpu 20 % of 70 %; rate unknown of 100/s");
    }
}
