//! A dashboard for Grafana that works with our metrics.

use serde_json::{Value, json};

/// Panels stand in two columns of Grafana's 24.
const WIDTH: usize = 12;

const HEIGHT: usize = 8;

/// Title, unit, and queries with the name of their lines.
type Panel = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PANELS: [Panel; 12] = [
    (
        "Workers",
        "short",
        &[
            ("rpm_app_instances_ready{app=~\"$app\"}", "{{app}} ready"),
            ("rpm_app_instances_desired{app=~\"$app\"}", "{{app}} wanted"),
        ],
    ),
    ("Restarts", "short", &[("sum by (app) (increase(rpm_worker_restarts_total{app=~\"$app\"}[5m]))", "{{app}}")]),
    ("CPU", "percentunit", &[("sum by (app) (rpm_worker_cpu_ratio{app=~\"$app\"})", "{{app}}")]),
    ("Memory", "bytes", &[("sum by (app) (rpm_worker_memory_resident_bytes{app=~\"$app\"})", "{{app}}")]),
    ("Requests", "reqps", &[("sum by (balancer, code) (rate(rpm_lb_requests_total[1m]))", "{{balancer}} {{code}}")]),
    (
        "Duration",
        "s",
        &[
            (
                "histogram_quantile(0.5, sum by (balancer, le) (rate(rpm_lb_request_duration_seconds_bucket[1m])))",
                "{{balancer}} p50",
            ),
            (
                "histogram_quantile(0.99, sum by (balancer, le) (rate(rpm_lb_request_duration_seconds_bucket[1m])))",
                "{{balancer}} p99",
            ),
        ],
    ),
    (
        "In flight and waiting",
        "short",
        &[("rpm_lb_requests_in_flight", "{{balancer}} in flight"), ("rpm_lb_queue", "{{upstream}} waiting")],
    ),
    (
        "Requests by worker",
        "reqps",
        &[("sum by (server) (rate(rpm_lb_server_requests_total{app=~\"$app\"}[1m]))", "{{server}}")],
    ),
    (
        "Events",
        "short",
        &[("sum by (app, event) (increase(rpm_app_events_total{app=~\"$app\"}[5m]))", "{{app}} {{event}}")],
    ),
    ("Open descriptors", "short", &[("sum by (app) (rpm_worker_open_fds{app=~\"$app\"})", "{{app}}")]),
    (
        "Measured by the apps",
        "short",
        &[("rpm_custom_metric{app=~\"$app\"}", "{{app}}:{{instance}} {{name}} {{unit}}")],
    ),
    ("Host", "short", &[("rpm_host_load_average{minutes=\"1\"}", "load"), ("rpm_host_cpus", "processors")]),
];

/// Returns every query of the dashboard.
pub fn queries() -> impl Iterator<Item = &'static str> {
    PANELS.iter().flat_map(|(_, _, queries)| queries.iter().map(|(query, _)| *query))
}

/// Returns the dashboard, to be imported.
pub fn dashboard() -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let panels = PANELS.iter().enumerate().map(|(index, (title, unit, queries))| {
        let targets = queries.iter().enumerate().map(|(at, (query, legend))| {
            let letter = char::from(b'A' + at as u8).to_string();
            json!({ "refId": letter, "datasource": source, "expr": query, "legendFormat": legend })
        });
        json!({
            "id": index + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": { "x": index % 2 * WIDTH, "y": index / 2 * HEIGHT, "w": WIDTH, "h": HEIGHT },
            "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
            "options": { "tooltip": { "mode": "multi" } },
            "targets": targets.collect::<Vec<_>>(),
        })
    });
    json!({
        "title": "rpm",
        "uid": "rpm-apps",
        "tags": ["rpm"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "15s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "prometheus" },
            {
                "name": "app", "type": "query", "datasource": source, "multi": true, "includeAll": true,
                "allValue": ".*", "current": { "text": "All", "value": "$__all" }, "refresh": 2,
                "query": { "query": "label_values(rpm_app_instances_desired, app)", "refId": "app" },
            },
        ] },
        "panels": panels.collect::<Vec<_>>(),
    })
}
