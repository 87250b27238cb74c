//! `list -m`: a few lines for each worker, as PM2 writes them.

use std::fmt::Write as _;
use std::path::Path;

use rpm_ipc::List;

use crate::screens::format;
use crate::screens::sort::{self, Order};
use crate::screens::table;

/// Writes the list.
pub fn mini(list: &List, order: Order, now_ms: u64) -> String {
    let mut out = String::new();
    for (app, worker) in sort::rows(list, order, now_ms) {
        let spec = &app.spec;
        let _ = writeln!(out, "+--- {}", format::one_line(&spec.name));
        let path = |path: Option<&Path>| path.map_or_else(|| "/dev/null".into(), |path| path.display().to_string());
        let lines: [(&str, String); 12] = [
            ("namespace", spec.namespace.clone()),
            ("version", spec.version.clone().unwrap_or_else(|| "N/A".into())),
            ("pid", worker.pid.unwrap_or(0).to_string()),
            ("pm2 id", worker.id.to_string()),
            ("status", worker.status.to_string()),
            ("mode", format::mode(spec.exec_mode).into()),
            ("restarted", worker.restarts.to_string()),
            ("uptime", table::uptime(worker, now_ms)),
            ("memory usage", worker.memory.to_string()),
            ("error log", path(worker.err_log.as_deref())),
            ("watching", if table::watches(app) { "yes" } else { "no" }.into()),
            ("PID file", worker.pid_file.display().to_string()),
        ];
        for (name, value) in lines {
            let _ = writeln!(out, "{name} : {}", format::one_line(&value));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{NOW_MS, app, list};

    #[test]
    fn a_worker_is_a_block_of_lines() {
        let text = mini(&list(vec![app(1, "api", "default", &[0])]), Order::default(), NOW_MS);
        assert!(
            text.starts_with("+--- api\nnamespace : default\nversion : N/A\npid : 8700\npm2 id : 0\nstatus : online\n")
        );
        assert!(text.ends_with("watching : no\nPID file : /home/me/.rpm/pids/api-0.pid\n\n"), "{text}");
    }
}
