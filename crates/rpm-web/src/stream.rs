//! Server-sent events: what is seen, what happens, what is logged.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use rpm_ipc::AppInfo;
use rpm_logs::Follower;
use rpm_logs::follow::Begin;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::view;
use crate::watch::{News, Watch};

/// Events on their way to one client; a client slower than that makes its stream wait, nobody else.
const DEPTH: usize = 64;

/// Logs that are followed at once: each takes a thread.
const FOLLOWED_MAX: usize = 32;

static FOLLOWED: AtomicUsize = AtomicUsize::new(0);

/// A body that ends with its sender, or when the client leaves.
#[derive(Debug)]
pub(crate) struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    // JSON has no line ends of its own, so it is one line of `data`.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// Streams `apps` whenever there is something newer to see, and `happened`.
pub(crate) fn everything(watch: Arc<Watch>) -> Events {
    let (sender, receiver) = mpsc::channel(DEPTH);
    let mut news = watch.news.subscribe();
    watch.somebody_watches();
    tokio::spawn(async move {
        loop {
            let bytes = match news.recv().await {
                Ok(News::Looked) => match watch.latest() {
                    Some(snapshot) => event("apps", &view::all(&snapshot)),
                    None => continue,
                },
                Ok(News::Happened(happened)) => event("happened", &*happened),
                Err(RecvError::Lagged(count)) => event("lagged", &json!({ "count": count })),
                Err(RecvError::Closed) => return,
            };
            if sender.send(bytes).await.is_err() {
                return;
            }
        }
    });
    Events(receiver)
}

/// Streams `line` for each line that an app writes from now on; `None` when too many logs are followed already.
pub(crate) fn log(app: &AppInfo) -> Option<Events> {
    if FOLLOWED.fetch_add(1, Ordering::Relaxed) >= FOLLOWED_MAX {
        FOLLOWED.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let (sender, receiver) = mpsc::channel(DEPTH);
    let mut paths = Vec::new();
    for worker in &app.workers {
        let streams = [("out", &worker.out_log), ("err", &worker.err_log)];
        for (stream, path) in streams.into_iter().filter_map(|(stream, path)| Some((stream, path.clone()?))) {
            if !paths.iter().any(|(_, known)| *known == path) {
                paths.push((stream, path));
            }
        }
    }
    let followed = Follower::new().map(|mut follower| {
        for (stream, path) in paths {
            follower.add(stream, path, Begin::End);
        }
        let handle = follower.handle();
        let gone = sender.clone();
        tokio::spawn(async move {
            gone.closed().await;
            handle.close();
        });
        std::thread::spawn(move || {
            while let Ok(Some(line)) = follower.next() {
                let text = String::from_utf8_lossy(&line.bytes);
                let line = json!({ "stream": line.label, "text": text.trim_end_matches(['\r', '\n']) });
                if sender.blocking_send(event("line", &line)).is_err() {
                    break;
                }
            }
            FOLLOWED.fetch_sub(1, Ordering::Relaxed);
        });
    });
    if followed.is_err() {
        FOLLOWED.fetch_sub(1, Ordering::Relaxed);
    }
    followed.ok().map(|()| Events(receiver))
}
