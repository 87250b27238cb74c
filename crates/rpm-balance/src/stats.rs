//! The counters of all threads, added up.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rpm_model::edge::{BalancerStats, ByClass, EdgeStats, ServerStats, UpstreamStats};

use crate::config::{Balancer, Snapshot};
use crate::count::{BalancerCount, Classes, Counter, Histogram, ServerCount};
use crate::pool::{Server, Upstream};

/// Returns the counters.
pub fn stats(
    snapshot: &Snapshot,
    uptime: Duration,
    threads: usize,
    log_lines_lost: u64,
    connections: u64,
) -> EdgeStats {
    EdgeStats {
        version: snapshot.version,
        uptime,
        threads: threads as u32,
        connections,
        log_lines_lost,
        balancers: snapshot.balancers.iter().map(|balancer| of_balancer(balancer)).collect(),
        upstreams: snapshot.upstreams.iter().map(|upstream| of_upstream(upstream)).collect(),
    }
}

fn of_balancer(balancer: &Balancer) -> BalancerStats {
    let counts = &balancer.live.counts;
    let sum = |of: fn(&BalancerCount) -> &Counter| counts.iter().map(|count| of(count).get()).sum();
    BalancerStats {
        name: balancer.name.clone(),
        connections: balancer.live.connections.load(Relaxed).into(),
        connections_total: sum(|count| &count.connections_total),
        in_flight: sum(|count| &count.in_flight),
        answers: classes(counts.iter().map(|count| &count.answers)),
        refused: sum(|count| &count.refused),
        limited: sum(|count| &count.limited),
        bytes_in: sum(|count| &count.bytes_in),
        bytes_out: sum(|count| &count.bytes_out),
        latency: Histogram::sum(counts.iter().map(|count| &count.latency)),
    }
}

fn of_upstream(upstream: &Upstream) -> UpstreamStats {
    UpstreamStats {
        name: upstream.name.clone(),
        queue: upstream.queue.waiting() as u64,
        queue_max: upstream.queue.most() as u64,
        queue_failed: upstream.queue.failed(),
        servers: upstream.servers.iter().map(of_server).collect(),
    }
}

fn of_server(server: &Server) -> ServerStats {
    let now = crate::pool::now();
    let counts = &server.live.counts;
    let report = server.live.report();
    let sum = |of: fn(&ServerCount) -> &Counter| counts.iter().map(|count| of(count).get()).sum();
    ServerStats {
        name: server.name.clone(),
        address: server.address.clone(),
        app: server.app.clone(),
        state: report.state,
        state_age: now.since(report.since),
        state_reason: report.reason,
        weight: server.weight_shown(now),
        backup: server.backup,
        in_flight: server.live.in_flight.load(Relaxed).into(),
        requests: sum(|count| &count.requests),
        answers: classes(counts.iter().map(|count| &count.answers)),
        connect_errors: sum(|count| &count.connect_errors),
        answer_errors: sum(|count| &count.answer_errors),
        retries: sum(|count| &count.retries),
        connections: sum(|count| &count.connections),
        idle: sum(|count| &count.idle),
        bytes_out: sum(|count| &count.bytes_out),
        bytes_in: sum(|count| &count.bytes_in),
        latency: Histogram::sum(counts.iter().map(|count| &count.latency)),
        check: report.check,
    }
}

fn classes<'c>(all: impl Iterator<Item = &'c Classes>) -> ByClass {
    let mut sum = ByClass::default();
    all.for_each(|classes| classes.add_to(&mut sum));
    sum
}
