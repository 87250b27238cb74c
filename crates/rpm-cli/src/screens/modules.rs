//! The second table of the list: modules.

use rpm_ipc::List;

use crate::screens::boxes::{self, Cell};
use crate::screens::format::{self, BOLD, HEAD};

/// Columns, as in PM2.
const COLUMNS: [&str; 8] = ["id", "module", "version", "pid", "status", "↺", "cpu", "mem"];

/// Draws the table of modules; nothing where there are none.
pub fn modules(list: &List) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut workers: Vec<_> =
        list.apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker))).collect();
    workers.sort_by_key(|(_, worker)| worker.id);
    for (app, worker) in workers {
        rows.push(vec![
            Cell::styled(worker.id.to_string(), HEAD),
            Cell::plain(format::one_line(&app.spec.name)),
            Cell::plain(format::one_line(app.spec.version.as_deref().unwrap_or("N/A"))),
            Cell::plain(worker.pid.unwrap_or(0).to_string()),
            Cell::styled(worker.status.as_str(), format::status_style(worker.status)),
            Cell::plain(worker.restarts.to_string()),
            Cell::plain(format::cpu(worker.cpu)),
            Cell::plain(worker.memory.to_string()),
        ]);
    }
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<Cell> = COLUMNS.iter().map(|name| Cell::styled(*name, HEAD)).collect();
    let widest = |column: usize| rows.iter().chain([&head]).map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|column| widest(column) + 2).collect();
    format!("{BOLD}Module{BOLD:#}\n{}", boxes::draw(Some(&head), &rows, &widths))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{app, list};

    #[test]
    fn modules_have_a_table_of_their_own() {
        let drawn =
            anstream::adapter::strip_str(&modules(&list(vec![app(1, "pm2-logrotate", "default", &[0])]))).to_string();
        assert!(drawn.starts_with("Module\n┌"), "{drawn}");
        assert!(drawn.contains("│ 0  │ pm2-logrotate │"), "{drawn}");
        assert_eq!(modules(&list(Vec::new())), "");
    }
}
