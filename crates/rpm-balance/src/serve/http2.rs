//! The streams of one connection that speaks HTTP/2, many at a time.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use h2::Reason;

use crate::config::Balancer;
use crate::http2::client::{Meter, Stream};
use crate::io::prefixed::Prefixed;
use crate::io::{Buffer, Deadline, Io};
use crate::serve::client::Client;
use crate::serve::http1::Connection;
use crate::thread::{Sleeper, Thread};

/// Requests of one client at a time; as nginx.
const STREAMS_MAX: u32 = 128;

/// What a client may send of one body, and of all bodies of a connection, before a server takes it.
const WINDOW_STREAM: u32 = 128 << 10;
const WINDOW_CONNECTION: u32 = 256 << 10;

/// What waits in h2 of one answer for a client that does not take it.
const SEND_MAX: usize = 64 << 10;

/// How long a client that was told to leave has for it.
const LEAVE: Duration = Duration::from_secs(2);

/// Serves a connection until the client leaves, or has to. `first` holds bytes that were read already.
pub async fn serve(io: Io, first: Buffer, thread: &Rc<Thread>, client: &Client, balancer: &Arc<Balancer>) {
    let counts = &balancer.live.counts[thread.index];
    let stream = Prefixed::new(first, io.into_stream());
    let header_max = u32::try_from(balancer.limits.header.0).unwrap_or(u32::MAX);
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(header_max)
        .initial_window_size(WINDOW_STREAM)
        .initial_connection_window_size(WINDOW_CONNECTION)
        .max_send_buffer_size(SEND_MAX)
        .enable_connect_protocol();
    let shaken = tokio::time::timeout(balancer.timeouts.header, builder.handshake(stream)).await;
    let Ok(Ok(mut connection)) = shaken else { return counts.refused.add(1) };
    let meter = Rc::new(Meter::default());
    let sleeper = Rc::new(Sleeper::default());
    thread.remember(&sleeper);
    let deadline = Deadline::after(balancer.timeouts.header);
    let (mut leaving, mut ending, mut idle) = (false, false, true);
    loop {
        let accepted = poll_fn(|cx| {
            loop {
                if thread.quitting.get() && !leaving {
                    // Those under way are answered.
                    connection.graceful_shutdown();
                    leaving = true;
                }
                if meter.is_abused() && !ending {
                    counts.refused.add(1);
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    deadline.set(LEAVE);
                    (leaving, ending) = (true, true);
                }
                if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
                sleeper.sleep(cx.waker());
                meter.watch(cx.waker());
                let busy = meter.open.get() > 0;
                if busy && !ending {
                    idle = false;
                    return Poll::Pending;
                }
                if !idle && !ending {
                    deadline.set(balancer.timeouts.keep_alive);
                    idle = true;
                }
                if deadline.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if leaving {
                    return Poll::Ready(None);
                }
                connection.graceful_shutdown();
                deadline.set(LEAVE);
                (leaving, ending) = (true, true);
            }
        })
        .await;
        let Some(Ok((request, answer))) = accepted else { return };
        let random = || {
            let halves = [thread.random().to_be_bytes(), thread.random().to_be_bytes()].concat();
            halves.try_into().unwrap_or_default()
        };
        let Some(stream) = Stream::new(request, answer, &meter, random) else {
            counts.refused.add(1);
            continue;
        };
        let one = Connection::stream(Io::through(stream), thread.clone(), client.clone(), balancer.clone());
        tokio::task::spawn_local(async move {
            one.serve(Buffer::default()).await;
        });
    }
}
