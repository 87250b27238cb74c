//! The order of the rows.

use std::cmp::Ordering;
use std::str::FromStr;

use rpm_ipc::{AppInfo, List, WorkerInfo};
use rpm_model::nearest;

/// What the rows are ordered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    field: Field,
    descending: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Name,
    Namespace,
    Pid,
    Id,
    Cpu,
    Memory,
    Uptime,
    Status,
}

const FIELDS: [(&str, Field); 8] = [
    ("name", Field::Name),
    ("namespace", Field::Namespace),
    ("pid", Field::Pid),
    ("id", Field::Id),
    ("cpu", Field::Cpu),
    ("memory", Field::Memory),
    ("uptime", Field::Uptime),
    ("status", Field::Status),
];

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, direction) = text.split_once(':').unwrap_or((text, "asc"));
        let descending = match direction {
            "asc" => false,
            "desc" => true,
            _ => return Err(format!("{direction:?} is no direction: asc or desc")),
        };
        let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == word) else {
            let names = FIELDS.map(|(name, _)| name);
            let near = nearest(word, names).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            return Err(format!("cannot sort by {word:?}{near}; there is: {}", names.join(", ")));
        };
        Ok(Self { field: *field, descending })
    }
}

/// Returns apps and workers in order; equal ones by name, then by id.
pub fn rows(list: &List, order: Order, now_ms: u64) -> Vec<(&AppInfo, &WorkerInfo)> {
    let mut rows: Vec<_> =
        list.apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker))).collect();
    let up = |worker: &WorkerInfo| worker.pid.and(worker.started_at_ms).map_or(0, |since| now_ms.saturating_sub(since));
    rows.sort_by(|(app, worker), (other_app, other)| {
        let by_field = match order.field {
            Field::Name => Ordering::Equal,
            Field::Namespace => app.spec.namespace.cmp(&other_app.spec.namespace),
            Field::Pid => worker.pid.cmp(&other.pid),
            Field::Id => worker.id.cmp(&other.id),
            Field::Cpu => worker.cpu.total_cmp(&other.cpu),
            Field::Memory => worker.memory.cmp(&other.memory),
            Field::Uptime => up(worker).cmp(&up(other)),
            Field::Status => worker.status.as_str().cmp(other.status.as_str()),
        };
        let by_name = app.spec.name.cmp(&other_app.spec.name);
        let (by_field, by_name) = match (order.descending, order.field) {
            (false, _) => (by_field, by_name),
            (true, Field::Name) => (by_field, by_name.reverse()),
            (true, _) => (by_field.reverse(), by_name),
        };
        by_field.then(by_name).then(worker.id.cmp(&other.id))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::samples::{NOW_MS, app, list};

    #[test]
    fn rows_come_by_name_unless_asked_otherwise() {
        let mut sample = list(vec![app(1, "web", "b", &[0]), app(2, "api", "c", &[1, 2])]);
        sample.apps[1].workers[1].cpu = 50.0;
        let ids = |order: &str| -> Vec<u32> {
            rows(&sample, order.parse().unwrap(), NOW_MS).iter().map(|(_, worker)| worker.id.0).collect()
        };
        assert_eq!(ids("name"), [1, 2, 0]);
        assert_eq!(ids("name:desc"), [0, 1, 2]);
        assert_eq!(ids("namespace"), [0, 1, 2]);
        assert_eq!(ids("cpu:desc"), [2, 1, 0]);
        assert_eq!(ids("id:desc"), [2, 1, 0]);
    }

    #[test]
    fn an_unknown_field_names_its_neighbour() {
        assert!("memry".parse::<Order>().unwrap_err().contains("did you mean `memory`"));
        assert!("cpu:down".parse::<Order>().unwrap_err().contains("asc or desc"));
    }
}
