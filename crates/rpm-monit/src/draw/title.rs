//! The top line: how all of it fares.

use rpm_model::{Bytes, Status};

use super::Theme;
use super::canvas::{Canvas, width_of};
use crate::state::State;
use crate::text::{age, count, percent};

pub(crate) fn draw(state: &State, theme: &Theme, canvas: &mut Canvas<'_>) {
    canvas.paint(0, theme.selected());
    let style = theme.selected();
    let Some(list) = &state.list else {
        canvas.put(0, 0, " rpm monit", style);
        return;
    };
    let workers = || list.apps.iter().flat_map(|app| &app.workers);
    let online = workers().filter(|worker| worker.status == Status::Online).count();
    let cpu: f32 = workers().map(|worker| worker.cpu).sum();
    let memory = Bytes(workers().map(|worker| worker.memory.0).sum());
    let all = workers().count();
    let left = format!(
        " rpm {}  {}  {online}/{all} online  cpu {}  memory {memory}",
        list.daemon.version,
        count(list.apps.len(), "app"),
        percent(cpu)
    );
    let end = canvas.put(0, 0, &left, style);
    let up = age(state.now_ms.saturating_sub(list.daemon.started_at_ms));
    let right = format!("daemon {} up {up} ", list.daemon.pid);
    let room = canvas.width().saturating_sub(end + 2);
    if width_of(&right) <= room {
        let column = canvas.width() - width_of(&right);
        canvas.put(column, 0, &right, style);
    }
}
