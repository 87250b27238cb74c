//! Server-sent events: what is seen, what happens, what is logged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use hyper::body::{Body, Bytes, Frame};
use rpm_ipc::AppInfo;
use rpm_logs::follow::Begin;
use rpm_logs::{Follower, FollowerHandle};
use rpm_model::WorkerId;
use rpm_records::EventRecord;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::happenings::Happenings;
use crate::logs::{self, Source};
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

/// Streams `apps` whenever there is something newer to see, and `happened`, until it is `over`.
pub(crate) fn everything(
    watch: Arc<Watch>,
    happenings: &Happenings,
    over: impl Future<Output = ()> + Send + 'static,
) -> Events {
    let (sender, receiver) = mpsc::channel(DEPTH);
    let mut news = watch.news.subscribe();
    let mut happened = happenings.subscribe();
    watch.somebody_watches();
    let told = async move {
        loop {
            let bytes = tokio::select! {
                news = news.recv() => match news {
                    // What was missed is in the next look.
                    Ok(News::Looked) | Err(RecvError::Lagged(_)) => match watch.latest() {
                        Some(snapshot) => event("apps", &view::all(&snapshot)),
                        None => continue,
                    },
                    Err(RecvError::Closed) => return,
                },
                happened = happened.recv() => match happened {
                    Ok(happened) => event("happened", &*happened),
                    Err(RecvError::Lagged(count)) => event("lagged", &json!({ "count": count })),
                    Err(RecvError::Closed) => return,
                },
            };
            if sender.send(bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = told => {}
            () = over => {}
        }
    });
    Events(receiver)
}

/// The files of one stream of lines: those of workers that come later are added.
#[derive(Debug)]
struct Followed {
    began: SystemTime,
    handle: FollowerHandle<(&'static str, Arc<PathBuf>)>,
    /// Whose a file is; nobody's where several write to it.
    whose: Arc<Mutex<BTreeMap<PathBuf, Option<WorkerId>>>>,
    workers: Vec<WorkerId>,
}

impl Followed {
    fn add(&mut self, app: &AppInfo) {
        self.workers = app.workers.iter().map(|worker| worker.id).collect();
        let mut whose = self.whose.lock().unwrap_or_else(PoisonError::into_inner);
        for Source { worker, stream, path } in logs::sources(app) {
            if whose.insert(path.clone(), worker).is_some() {
                continue;
            }
            // A file that has come since then says nothing that is old.
            let made = path.metadata().and_then(|meta| meta.created());
            let begin = if made.is_ok_and(|made| made >= self.began) { Begin::Start } else { Begin::End };
            self.handle.add((stream, Arc::new(path.clone())), path, begin);
        }
    }

    /// Returns whether something happened to a worker of the app that was not there before.
    fn is_new(&self, happened: &EventRecord, app: &AppInfo) -> bool {
        let stranger = happened.worker.is_some_and(|worker| !self.workers.contains(&worker));
        stranger && happened.app.as_ref() == Some(&app.spec.name)
    }
}

/// Streams `line` for each line that an app writes from now on, until it is `over`; `None` when too many logs are
/// followed already.
pub(crate) fn log(
    app: AppInfo,
    watch: Arc<Watch>,
    happenings: &Happenings,
    over: impl Future<Output = ()> + Send + 'static,
) -> Option<Events> {
    if FOLLOWED.fetch_add(1, Ordering::Relaxed) >= FOLLOWED_MAX {
        FOLLOWED.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let began = SystemTime::now();
    let Ok(mut follower) = Follower::new() else {
        FOLLOWED.fetch_sub(1, Ordering::Relaxed);
        return None;
    };
    let (sender, receiver) = mpsc::channel(DEPTH);
    let whose: Arc<Mutex<BTreeMap<PathBuf, Option<WorkerId>>>> = Arc::default();
    let mut followed = Followed { began, handle: follower.handle(), whose: whose.clone(), workers: Vec::new() };
    let mut happened = happenings.subscribe();
    followed.add(&app);
    let gone = sender.clone();
    let newcomers = async move {
        loop {
            match happened.recv().await {
                Ok(happened) if !followed.is_new(&happened, &app) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            let (watch, id) = (watch.clone(), app.id);
            let whole = tokio::task::spawn_blocking(move || watch.whole(id)).await;
            if let Ok(Ok(Some(now))) = whole {
                followed.add(&now);
            }
        }
    };
    let handle = follower.handle();
    tokio::spawn(async move {
        tokio::select! {
            () = gone.closed() => {}
            () = over => {}
            () = newcomers => {}
        }
        handle.close();
    });
    std::thread::spawn(move || {
        while let Ok(Some(line)) = follower.next() {
            let (stream, path) = line.label;
            let worker = whose.lock().unwrap_or_else(PoisonError::into_inner).get(&*path).copied().flatten();
            let text = String::from_utf8_lossy(&line.bytes);
            let line = logs::line(stream, worker, text.trim_end_matches(['\r', '\n']));
            if sender.blocking_send(event("line", &line)).is_err() {
                break;
            }
        }
        FOLLOWED.fetch_sub(1, Ordering::Relaxed);
    });
    Some(Events(receiver))
}
