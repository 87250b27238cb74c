//! `slist`: the machine in numbers, under PM2's names.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sysinfo::{CpuRefreshKind, Disks, Networks, System};

use crate::args::Slist;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::screens::inspect::inspect;

/// Rates are differences between two looks; shorter, and the clock's grain shows.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

const MEGA: f64 = 1e6;
const GIGA: f64 = 1e9;

pub(super) fn run(args: &Slist, invocation: &Invocation) -> Result<(), Failure> {
    let metrics = metrics().map_err(|error| Failure::new(format!("the machine does not tell: {error}")))?;
    let text = match (args.json, args.tree) {
        (true, _) => format!("{metrics}\n"),
        (false, true) => tree(&metrics),
        (false, false) => format!("{}\n", inspect(&metrics)),
    };
    invocation.voice.data(&text);
    Ok(())
}

fn metrics() -> Result<Value, sysinfo::Error> {
    let mut system = System::new()?;
    let mut networks = Networks::new_with_refreshed_list()?;
    system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
    std::thread::sleep(BETWEEN_LOOKS);
    system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
    system.refresh_memory();
    networks.refresh(true);
    let mut metrics = Map::new();
    let mut put = |name: String, value: f64, unit: &str| {
        let value = (value * 100.0).round() / 100.0;
        metrics.insert(name, json!({ "value": value, "unit": unit }));
    };
    let (total, available) = (system.total_memory() as f64, system.available_memory() as f64);
    put("CPU Usage".into(), f64::from(system.global_cpu_usage()), "%");
    put("RAM Usage".into(), if total > 0.0 { 100.0 * (total - available) / total } else { 0.0 }, "%");
    put("RAM Total".into(), total, "b");
    put("RAM Available".into(), available, "b");
    put("Swap Used".into(), system.used_swap() as f64, "b");
    let seconds = BETWEEN_LOOKS.as_secs_f64();
    for (name, data) in &networks {
        let name = name.display();
        put(format!("net:rx:{name}"), data.received() as f64 / MEGA / seconds, "mb/s");
        put(format!("net:tx:{name}"), data.transmitted() as f64 / MEGA / seconds, "mb/s");
        put(format!("net:rx_errors:{name}"), data.total_errors_on_received() as f64, "");
        put(format!("net:tx_errors:{name}"), data.total_errors_on_transmitted() as f64, "");
    }
    for disk in &Disks::new_with_refreshed_list()? {
        let place = disk.mount_point().display();
        let (size, free) = (disk.total_space() as f64, disk.available_space() as f64);
        put(format!("fs:use:{place}"), if size > 0.0 { 100.0 * (size - free) / size } else { 0.0 }, "%");
        put(format!("fs:size:{place}"), size / GIGA, "gb");
    }
    Ok(Value::Object(metrics))
}

fn tree(metrics: &Value) -> String {
    let mut text = String::new();
    for (name, metric) in metrics.as_object().into_iter().flatten() {
        let unit = metric["unit"].as_str().unwrap_or_default();
        text.push_str(&format!("├─ {name}\n│  ├─ value: {}\n│  └─ unit: {unit}\n", metric["value"]));
    }
    text
}
