//! The top line: how all of it fares.

use super::canvas::{Canvas, width_of};
use crate::state::State;
use crate::state::rows::Sum;
use crate::text::{age, count, percent, short};
use crate::traffic::together;

pub(crate) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    let style = state.theme.title;
    canvas.paint(0, style);
    let Some(list) = &state.list else {
        canvas.put(0, 0, " rpm monit", style);
        return;
    };
    let workers = || list.apps.iter().flat_map(|app| &app.workers);
    let sum = Sum::of(workers());
    let mut parts = vec![
        format!("rpm {}", list.daemon.version),
        count(list.apps.len(), "app"),
        format!("{}/{} online", sum.online, sum.workers),
    ];
    if sum.errored > 0 {
        parts.push(format!("{} errored", sum.errored));
    }
    parts.push(format!("cpu {}", percent(sum.cpu)));
    parts.push(format!("memory {}", sum.memory));
    if let Some(traffic) = together(&state.traffic, workers().map(|worker| worker.id)) {
        parts.push(format!("{} req/s", short(traffic.requests_per_second)));
    }
    if state.read_only {
        parts.push("read-only".into());
    }
    let mut end = 0;
    for part in &parts {
        if end + 1 + width_of(part) > canvas.width() {
            break;
        }
        end = canvas.put(end + 1, 0, part, style) + 1;
    }
    let up = age(state.now_ms.saturating_sub(list.daemon.started_at_ms));
    let right = match &state.source_error {
        _ if state.silent.is_some() => "daemon silent ".to_owned(),
        Some(_) => "daemon away ".to_owned(),
        None => format!("daemon {} up {up} ", list.daemon.pid),
    };
    if width_of(&right) < canvas.width().saturating_sub(end) {
        canvas.put(canvas.width() - width_of(&right), 0, &right, style);
    }
}
