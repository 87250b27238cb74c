//! Balancers, and the servers they reach: the second table of `list`, and the last of `describe`.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rpm_ipc::{AppInfo, BalancerInfo};
use rpm_model::edge::{BalancerStats, EdgeStats, ServerState, ServerStats, UpstreamStats};

use unicode_width::UnicodeWidthStr;

use crate::say::{GREEN, GREY, RED};
use crate::screens::boxes::{self, Cell};
use crate::screens::format::{self, HEAD};
use crate::screens::table;

/// Draws the balancers and their servers; nothing where there are no balancers.
pub fn tables(apps: &[AppInfo], infos: &[BalancerInfo], width: usize, now_ms: u64) -> String {
    if apps.is_empty() {
        return String::new();
    }
    let mut rows = Vec::new();
    for app in apps {
        let stats = stats_of(app, infos);
        let counted = stats.and_then(|stats| stats.balancers.first()).cloned().unwrap_or_default();
        rows.extend(app.workers.iter().map(|worker| {
            let status = Cell::styled(worker.status.as_str(), format::status_style(worker.status));
            let own = [
                Cell::styled(worker.id.to_string(), HEAD),
                Cell::plain(format::one_line(&app.spec.name)),
                Cell::plain(app.spec.listen.join(", ")),
                Cell::plain(table::uptime(worker, now_ms)),
                Cell::plain(worker.restarts.to_string()),
                status,
            ];
            own.into_iter().chain(counters(&counted)).chain([Cell::plain(worker.memory.to_string())]).collect()
        }));
    }
    const BALANCER: [&str; 11] =
        ["id", "balancer", "listen", "uptime", "↺", "status", "conns", "requests", "5xx", "p99", "mem"];
    let mut out = draw(&BALANCER, rows, width);
    let upstreams: Vec<&UpstreamStats> =
        apps.iter().filter_map(|app| stats_of(app, infos)).flat_map(|stats| &stats.upstreams).collect();
    let servers: Vec<Vec<Cell>> = upstreams
        .iter()
        .flat_map(|upstream| upstream.servers.iter().map(|server| server_row(&upstream.name, server)))
        .collect();
    if !servers.is_empty() {
        out.push_str(&draw(&SERVER, servers, width));
    }
    out
}

/// Draws what `describe` adds for a balancer.
pub fn details(app: &AppInfo, infos: &[BalancerInfo], width: usize) -> String {
    let Some(arrangement) = &app.spec.balancer else { return String::new() };
    let title = Style::new().bold().invert();
    let mut out = String::new();
    let _ = writeln!(out, "{title} Routes {title:#}");
    let routes = arrangement.balancer.routes.iter().map(|route| {
        let action = match &route.action {
            rpm_model::balance::RouteAction::Upstream(name) => format!("upstream {name}"),
            rpm_model::balance::RouteAction::Static { root, .. } => format!("files of {}", root.display()),
            rpm_model::balance::RouteAction::Redirect { to, status } => format!("{status} to {to}"),
            rpm_model::balance::RouteAction::Respond { status, .. } => format!("answer {status}"),
        };
        let path = if route.exact { format!("= {}", route.path) } else { route.path.clone() };
        vec![
            Cell::plain(format::one_line(route.host.as_deref().unwrap_or("*"))),
            Cell::plain(format::one_line(&path)),
            Cell::plain(format::one_line(&action)),
        ]
    });
    out.push_str(&draw(&["host", "path", "leads to"], routes.collect(), width));
    let Some(stats) = stats_of(app, infos) else {
        let _ = writeln!(out, "{GREY}it does not run, so there are no counters{GREY:#}");
        return out;
    };
    for upstream in &stats.upstreams {
        let _ = writeln!(out, "{title} Upstream {} {title:#}", format::one_line(&upstream.name));
        let _ = writeln!(
            out,
            "waiting {} (at most {} so far), given up {}",
            upstream.queue, upstream.queue_max, upstream.queue_failed
        );
        let rows: Vec<Vec<Cell>> = upstream.servers.iter().map(|server| server_row(&upstream.name, server)).collect();
        out.push_str(&draw(&SERVER, rows, width));
        for server in upstream.servers.iter().filter(|server| !server.state_reason.is_empty()) {
            let reason = format::one_line(&server.state_reason);
            let _ = writeln!(out, "{GREY}{}: {reason}{GREY:#}", format::one_line(&server.name));
        }
    }
    out
}

/// What is shown of a server.
const SERVER: [&str; 9] = ["upstream", "server", "address", "state", "weight", "now", "requests", "5xx", "p99"];

fn server_row(upstream: &str, server: &ServerStats) -> Vec<Cell> {
    let name = if server.backup { format!("{} (backup)", server.name) } else { server.name.clone() };
    let (word, style) = state(server.state);
    vec![
        Cell::plain(format::one_line(upstream)),
        Cell::plain(format::one_line(&name)),
        Cell::plain(format::one_line(&server.address)),
        Cell::styled(format!("{word} {}", age(server.state_age)), style),
        Cell::plain(server.weight.to_string()),
        Cell::plain(server.in_flight.to_string()),
        Cell::plain(server.requests.to_string()),
        Cell::plain((server.answers.server_error + server.connect_errors + server.answer_errors).to_string()),
        Cell::plain(time(server.latency.p99_us, server.latency.count)),
    ]
}

fn counters(stats: &BalancerStats) -> [Cell; 4] {
    [
        Cell::plain(stats.connections.to_string()),
        Cell::plain(stats.answers.total().to_string()),
        Cell::plain(stats.answers.server_error.to_string()),
        Cell::plain(time(stats.latency.p99_us, stats.latency.count)),
    ]
}

fn state(state: ServerState) -> (&'static str, Style) {
    let yellow = AnsiColor::Yellow.on_default();
    match state {
        ServerState::Up => ("up", GREEN),
        ServerState::SlowStart => ("slow start", GREEN),
        ServerState::Starting => ("starting", yellow),
        ServerState::Draining => ("draining", yellow),
        ServerState::Failed => ("failed", RED),
        ServerState::Ejected => ("ejected", RED),
        ServerState::Down => ("down", RED),
        ServerState::Disabled => ("disabled", GREY),
    }
}

fn time(us: u64, count: u64) -> String {
    match us {
        _ if count == 0 => "-".into(),
        us if us < 1000 => format!("{us}µs"),
        us if us < 1_000_000 => format!("{:.1}ms", us as f64 / 1e3),
        us => format!("{:.1}s", us as f64 / 1e6),
    }
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}D", seconds / 86_400),
    }
}

fn stats_of<'a>(app: &AppInfo, infos: &'a [BalancerInfo]) -> Option<&'a EdgeStats> {
    infos.iter().find(|info| info.app == app.id)?.stats.as_ref()
}

/// Columns that give way on a narrow screen, the first first.
const LEAST: [&str; 8] = ["mem", "↺", "p99", "uptime", "address", "weight", "conns", "5xx"];

/// Draws a grid as wide as its words, but no wider than the screen: columns give way, then the widest words.
fn draw(head: &[&str], mut rows: Vec<Vec<Cell>>, width: usize) -> String {
    // Below this nothing can be read.
    const NARROWEST: usize = 6;
    let mut head = head.to_vec();
    let needed = |head: &[&str], rows: &[Vec<Cell>]| {
        let column = |index: usize| rows.iter().map(|row| row[index].width()).max().unwrap_or(0);
        head.iter().enumerate().map(|(index, word)| column(index).max(word.width()) + 3).sum::<usize>() + 1
    };
    for least in LEAST {
        if needed(&head, &rows) <= width {
            break;
        }
        if let Some(index) = head.iter().position(|word| *word == least) {
            head.remove(index);
            rows.iter_mut().for_each(|row| drop(row.remove(index)));
        }
    }
    let head: Vec<Cell> = head.iter().map(|word| Cell::styled(*word, HEAD)).collect();
    let longest = |index: usize| rows.iter().chain([&head]).map(|row| row[index].width()).max().unwrap_or(0) + 2;
    let mut widths: Vec<usize> = (0..head.len()).map(longest).collect();
    while widths.iter().sum::<usize>() + widths.len() + 1 > width {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > NARROWEST) else { break };
        *widest -= 1;
    }
    boxes::draw(Some(&head), &rows, &widths)
}

#[cfg(test)]
mod tests {
    use rpm_model::AppId;
    use rpm_model::balance::Arrangement;

    use super::*;
    use crate::screens::samples::{NOW_MS, app};

    #[test]
    fn the_tables_name_every_server() {
        let mut web = app(7, "web", "default", &[4]);
        web.spec.listen = vec!["0.0.0.0:80".into()];
        web.spec.balancer = Some(Box::new(Arrangement::default()));
        let server = ServerStats { name: "api:0.1".into(), address: "127.0.0.1:3000".into(), ..Default::default() };
        let upstreams = vec![UpstreamStats { name: "backend".into(), servers: vec![server], ..Default::default() }];
        let infos = [BalancerInfo { app: AppId(7), stats: Some(EdgeStats { upstreams, ..Default::default() }) }];
        for width in [60, 80, 200] {
            let drawn = anstream::adapter::strip_str(&tables(&[web.clone()], &infos, width, NOW_MS)).to_string();
            assert!(drawn.lines().all(|line| line.chars().count() <= width), "{drawn}");
        }
        let drawn = tables(&[web.clone()], &infos, 200, NOW_MS);
        assert!(drawn.contains("backend") && drawn.contains("api:0.1") && drawn.contains("0.0.0.0:80"));
        assert!(tables(&[web], &[], 200, NOW_MS).contains("web"), "one that does not run is listed too");
        assert!(tables(&[], &[], 80, NOW_MS).is_empty());
    }
}
