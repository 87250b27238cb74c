//! `tcp` mode: bytes are passed on as they come.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rpm_model::balance::{AccessLogFormat, Balance};
use tokio::time::Instant;

use crate::config::{Action, Balancer};
use crate::health::Seen;
use crate::io::{Buffer, Io};
use crate::pick::{hash_bytes, network_key};
use crate::pool::Asked;
use crate::serve::acquire::acquire;
use crate::serve::client::Client;
use crate::serve::connect::connect;
use crate::serve::tunnel::{Tunnelled, tunnel};
use crate::thread::Thread;

/// Connects the client with a server, and passes bytes both ways.
pub async fn serve(io: Io, thread: &Rc<Thread>, client: &Client, balancer: &Arc<Balancer>, first: Buffer) {
    let counts = &balancer.live.counts[thread.index];
    let Some(Action::Upstream(upstream)) = balancer.router.routes().first().map(|route| &route.action) else {
        return counts.refused.add(1);
    };
    let origin = client.address.ip();
    if balancer.rate.as_ref().is_some_and(|rate| !rate.admits(origin, crate::pool::now())) {
        return counts.limited.add(1);
    }
    let local = thread.local();
    let shared = &local.snapshot.upstreams[*upstream];
    let key = match &shared.balance {
        Balance::IpHash => Some(network_key(origin)),
        Balance::Hash(_) => Some(hash_bytes(client.text.as_bytes())),
        Balance::RoundRobin | Balance::LeastConn | Balance::RandomTwo | Balance::First => None,
    };
    let seat = shared.stick.as_ref().and_then(|stick| stick.get(origin, crate::pool::now()));
    let mut asked = Asked { key, seat, ..Asked::default() };
    let began = Instant::now();
    let mut came = Came { status: 503, ..Came::default() };
    counts.in_flight.add(1);
    for attempt in 0..=shared.retries {
        let Ok(taken) = acquire(thread, &local, *upstream, &mut asked).await else { break };
        let count = taken.lease.count();
        count.requests.add(1);
        count.connections.add(1);
        if let Some(stick) = &shared.stick {
            stick.put(origin, taken.server().seat, crate::pool::now());
        }
        came.server = taken.server().name.clone();
        match connect(taken.server(), client, balancer.timeouts.connect).await {
            Ok(server) => {
                taken.lease.live().see(Seen::Answer { bad: false, may_eject: false }, "");
                count.latency.count(began.elapsed());
                let passed = tunnel(&io, &server, first, Buffer::default(), balancer.timeouts.tunnel).await;
                count.bytes_out.add(passed.up);
                count.bytes_in.add(passed.down);
                counts.bytes_in.add(passed.up);
                counts.bytes_out.add(passed.down);
                (came.status, came.passed) = (200, passed);
                break;
            }
            Err(error) => {
                came.status = 502;
                count.connect_errors.add(1);
                taken.lease.live().see(Seen::Failure, &format!("connection: {error}"));
                if attempt < shared.retries {
                    count.retries.add(1);
                }
                asked.tried.push(taken.lease.live().clone());
            }
        }
    }
    counts.in_flight.sub(1);
    counts.latency.count(began.elapsed());
    log(thread, client, balancer, &came, began.elapsed());
}

/// What became of a connection.
#[derive(Default)]
struct Came {
    /// As in nginx's streams: 200, 502 where no server could be reached, 503 where there was none.
    status: u16,
    passed: Tunnelled,
    server: String,
}

/// Writes a line of the access log: the format that nginx's manual gives for streams.
fn log(thread: &Thread, client: &Client, balancer: &Balancer, came: &Came, took: Duration) {
    let Some(log) = &balancer.log else { return };
    let Came { status, passed: Tunnelled { up, down }, server } = came;
    let (from, seconds) = (&client.text, took.as_secs_f64());
    thread.log(log, |out| match log.format() {
        AccessLogFormat::Combined => thread.with_time(|_, time| {
            let _ = writeln!(out, "{from} [{time}] TCP {status} {down} {up} {seconds:.3} \"{server}\"");
        }),
        AccessLogFormat::Json => {
            let value = serde_json::json!({
                "time": format!("{:.3}", jiff::Timestamp::now()),
                "client": from,
                "protocol": "TCP",
                "status": status,
                "bytes": down,
                "bytes_in": up,
                "seconds": seconds,
                "balancer": balancer.name,
                "server": server,
            });
            let _ = writeln!(out, "{value}");
        }
    });
}
