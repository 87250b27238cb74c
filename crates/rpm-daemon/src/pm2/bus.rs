//! The bus: everything that PM2's `launchBus` hears.
//!
//! One task makes the messages, each once for all subscribers. Each subscriber has a bounded queue; one that does not
//! read loses messages, and nobody waits for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use interprocess::os::unix::uds_local_socket::tokio::Stream;
use rpm_axon::{Exceptions, process, publication};
use rpm_ipc::List;
use rpm_supervise::{Cause, Happening};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use crate::door;
use crate::pm2::News;
use crate::pm2::inside::Inside;
use crate::pm2::order::Order;
use crate::pm2::output::{Chunk, Label, Output};

/// Messages that may wait for one subscriber.
const WAITING: usize = 1024;

/// Subscribers of the bus: each costs a descriptor and a queue. At the bound a newcomer is turned away.
const SUBSCRIBERS_MAX: usize = 512;

/// Subscribers that may knock at the same time.
const KNOCKING: usize = 64;

/// News taken together: they share one look at the list.
const TOGETHER: usize = 256;

/// The pm_id under which the daemon's own log is told.
const DAEMON: u32 = u32::MAX;

/// Opens the bus on `socket`; the task ends when the daemon leaves.
pub(super) fn serve(
    socket: OwnedFd,
    inside: Inside,
    news: mpsc::Receiver<News>,
    count: Arc<AtomicUsize>,
    daemon_log: PathBuf,
    order: Order,
) -> io::Result<tokio::task::JoinHandle<()>> {
    let (knock, knocking) = mpsc::channel(KNOCKING);
    let leaving = knock.clone();
    door::open(socket, move |stream| {
        if knock.try_send(Visit::Came(stream)).is_err() {
            tracing::warn!("too many subscribers at the same time: one was turned away");
        }
    })?;
    let (subscribers, processes, exceptions) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let bus = Bus { inside, count, daemon_log, order, leaving, subscribers, processes, exceptions, output: None };
    Ok(tokio::spawn(bus.run(knocking, news)))
}

enum Visit {
    Came(Stream),
    Left,
}

struct Subscriber {
    messages: mpsc::Sender<Bytes>,
    feed: tokio::task::JoinHandle<()>,
}

struct Bus {
    inside: Inside,
    count: Arc<AtomicUsize>,
    daemon_log: PathBuf,
    order: Order,
    leaving: mpsc::Sender<Visit>,
    subscribers: Vec<Subscriber>,
    /// The workers as they were when last looked at, by id: `pm2_env`. One that was deleted is told as it was.
    processes: BTreeMap<u32, Value>,
    /// What the workers say on standard error, for the exceptions in it.
    exceptions: BTreeMap<u32, Exceptions>,
    /// Nothing while nobody listens.
    output: Option<Output>,
}

impl Bus {
    async fn run(mut self, mut visits: mpsc::Receiver<Visit>, mut news: mpsc::Receiver<News>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                visit = visits.recv() => self.visited(visit).await,
                _ = news.recv_many(&mut batch, TOGETHER) => {
                    // Who came before something was said hears it, though this branch was taken first: PM2's `trigger`
                    // comes, asks, and waits for its answer without an end.
                    while let Ok(visit) = visits.try_recv() {
                        self.visited(Some(visit)).await;
                    }
                    if batch.is_empty() || !self.take(&mut batch).await {
                        self.farewell().await;
                        return;
                    }
                }
                chunk = next_chunk(&mut self.output) => match chunk {
                    Some(chunk) => self.publish_output(&chunk),
                    None => self.output = None,
                },
            }
        }
    }

    async fn visited(&mut self, visit: Option<Visit>) {
        match visit {
            Some(Visit::Came(stream)) => self.came(stream).await,
            Some(Visit::Left) | None => self.left(),
        }
    }

    async fn came(&mut self, stream: Stream) {
        if self.subscribers.len() >= SUBSCRIBERS_MAX {
            tracing::warn!("a subscriber was turned away: there are {SUBSCRIBERS_MAX}");
            return;
        }
        let (messages, waiting) = mpsc::channel(WAITING);
        let feed = tokio::spawn(feed(stream, waiting, self.leaving.clone()));
        self.subscribers.push(Subscriber { messages, feed });
        self.count.store(self.subscribers.len(), Ordering::Relaxed);
        if self.output.is_none() {
            self.output = match Output::start() {
                Ok(output) => Some(output),
                Err(error) => {
                    tracing::error!("the bus tells no logs: {error}");
                    None
                }
            };
        }
        self.look().await;
    }

    fn left(&mut self) {
        self.subscribers.retain(|subscriber| !subscriber.messages.is_closed());
        self.count.store(self.subscribers.len(), Ordering::Relaxed);
        if self.subscribers.is_empty() {
            self.output = None;
            self.processes.clear();
            self.exceptions.clear();
        }
    }

    /// Tells what happened; returns whether the daemon stays.
    async fn take(&mut self, batch: &mut Vec<News>) -> bool {
        if self.subscribers.is_empty() {
            return !batch.drain(..).any(|news| matches!(news, News::Leaving));
        }
        let happened = batch.iter().any(|news| matches!(news, News::Happened { .. } | News::Noted { .. }));
        let mut gone = Vec::new();
        // A daemon that leaves answers nothing any more.
        if happened && !batch.iter().any(|news| matches!(news, News::Leaving)) {
            let before = std::mem::take(&mut self.processes);
            self.look().await;
            for (id, process) in before {
                if let Entry::Vacant(place) = self.processes.entry(id) {
                    place.insert(process);
                    gone.push(id);
                }
            }
        }
        if batch.iter().any(|news| matches!(news, News::Said { .. })) {
            self.order.answered().await;
        }
        let mut stays = true;
        for news in batch.drain(..) {
            match news {
                News::Happened { worker, happening, cause } => {
                    for (event, manually) in events(happening, cause) {
                        self.publish_event(worker.0, event, manually);
                    }
                }
                News::Noted { worker, event, manually } => {
                    self.publish_event(worker.0, &event, manually);
                }
                News::Said { worker, message } => self.publish_said(worker.0, message),
                News::Custom { topic, payload } => self.publish(topic, payload),
                News::Leaving => stays = false,
            }
        }
        for id in gone {
            self.processes.remove(&id);
            self.exceptions.remove(&id);
        }
        stays
    }

    /// Looks at the workers, and follows their logs.
    async fn look(&mut self) {
        let list = self.inside.list().await;
        self.processes.clear();
        for (app, worker) in list.apps.iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker))) {
            self.processes.insert(worker.id.0, process::pm2_env(app, worker).into());
        }
        if let Some(output) = &mut self.output {
            output.set(files(&list, &self.daemon_log));
        }
    }

    fn publish_event(&self, worker: u32, event: &str, manually: bool) {
        let Some(process) = self.processes.get(&worker) else { return };
        let mut process = process.clone();
        // The list was looked at a moment later, when the next process may run already.
        if event == "exit" && matches!(process["status"].as_str(), Some("online" | "launching")) {
            process["status"] = "stopped".into();
        }
        self.publish(
            "process:event",
            json!({ "event": event, "manually": manually, "process": process, "at": now_ms() }),
        );
    }

    /// Tells what an app said: under its own topic where it names one.
    fn publish_said(&self, worker: u32, mut message: Value) {
        let Some(process) = self.short(worker) else { return };
        let topic = message.get("type").and_then(Value::as_str).map(str::to_owned);
        match (topic, message.get_mut("data").map(Value::take)) {
            (Some(topic), Some(data)) => {
                self.publish(&topic, json!({ "at": now_ms(), "data": data, "process": process }));
            }
            (_, data) => {
                if let Some(data) = data {
                    message["data"] = data;
                }
                self.publish("process:msg", json!({ "at": now_ms(), "raw": message, "process": process }));
            }
        }
    }

    fn publish_output(&mut self, chunk: &Chunk) {
        let data = String::from_utf8_lossy(&chunk.bytes);
        let process = match chunk.label.worker {
            DAEMON => json!({ "pm_id": "PM2", "name": "PM2", "rev": null }),
            worker => match self.short(worker) {
                Some(process) => process,
                None => return,
            },
        };
        self.publish(chunk.label.topic, json!({ "process": process, "at": now_ms(), "data": data }));
        if chunk.label.topic == "log:err" {
            for exception in self.exceptions.entry(chunk.label.worker).or_default().read(&data) {
                self.publish("process:exception", json!({ "at": now_ms(), "data": exception, "process": process }));
            }
        }
    }

    fn short(&self, worker: u32) -> Option<Value> {
        let process = self.processes.get(&worker)?;
        let (name, namespace) = (&process["name"], &process["namespace"]);
        Some(json!({ "pm_id": worker, "name": name, "rev": null, "namespace": namespace }))
    }

    fn publish(&self, topic: &str, payload: Value) {
        let bytes = match publication(topic, payload).bytes() {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return tracing::warn!("{topic} was not told: {error}"),
        };
        for subscriber in &self.subscribers {
            if let Err(mpsc::error::TrySendError::Full(_)) = subscriber.messages.try_send(bytes.clone()) {
                tracing::debug!("a subscriber is too slow for {topic}");
            }
        }
    }

    /// Tells that the daemon leaves, and waits until that is written.
    async fn farewell(&mut self) {
        self.publish("pm2:kill", json!({ "status": "killed", "msg": "pm2 has been killed via CLI" }));
        for subscriber in self.subscribers.drain(..) {
            // Without a sender the feed ends once its queue is empty.
            drop(subscriber.messages);
            let _ = subscriber.feed.await;
        }
    }
}

async fn next_chunk(output: &mut Option<Output>) -> Option<Chunk> {
    match output {
        Some(output) => output.next().await,
        None => std::future::pending().await,
    }
}

/// Writes to one subscriber. What it sends is not wanted; its end is.
async fn feed(stream: Stream, mut waiting: mpsc::Receiver<Bytes>, leaving: mpsc::Sender<Visit>) {
    let (mut reader, mut writer) = (&stream, &stream);
    let write = async {
        while let Some(bytes) = waiting.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let mut ignored = [0; 1024];
        while matches!(reader.read(&mut ignored).await, Ok(1..)) {}
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    drop(waiting);
    // A bus that is gone, or is about to look, needs no telling.
    let _ = leaving.try_send(Visit::Left);
}

/// Returns PM2's words for what happened, and whether a person did it.
fn events(happening: Happening, cause: Option<Cause>) -> Vec<(&'static str, bool)> {
    let mut events = Vec::new();
    match happening {
        Happening::Online => {
            events.push(("online", false));
            match cause {
                Some(Cause::Start | Cause::Scale | Cause::Run) => events.push(("start", true)),
                Some(Cause::Autoscale) => events.push(("start", false)),
                Some(Cause::Restart) => events.push(("restart", true)),
                Some(Cause::Reload) => events.push(("reload", true)),
                Some(Cause::Schedule) => events.push(("start", false)),
                Some(Cause::Rollback | Cause::Crash | Cause::Stop) | None => {}
                Some(Cause::Memory | Cause::Health | Cause::Hang | Cause::Watch | Cause::Cron) => {
                    events.push(("restart", false))
                }
            }
        }
        Happening::Exited { .. } => events.push(("exit", false)),
        Happening::Stopped => events.push(("stop", true)),
        Happening::Errored => events.push(("restart overlimit", false)),
        Happening::Deleted => events.push(("delete", true)),
        // PM2 has no words for these.
        Happening::Skipped | Happening::Queued => {}
        Happening::Started { .. } | Happening::Stopping { .. } | Happening::Unhealthy | Happening::Healthy => {}
    }
    events
}

/// Returns whose logs are where.
fn files(list: &List, daemon_log: &std::path::Path) -> BTreeMap<PathBuf, Label> {
    let mut files = BTreeMap::new();
    files.insert(daemon_log.to_owned(), Label { worker: DAEMON, topic: "log:PM2" });
    for worker in list.apps.iter().flat_map(|app| &app.workers) {
        for (path, topic) in [(&worker.out_log, "log:out"), (&worker.err_log, "log:err")] {
            if let Some(path) = path {
                files.entry(path.clone()).or_insert(Label { worker: worker.id.0, topic });
            }
        }
    }
    files
}

fn now_ms() -> u64 {
    rpm_sys::proc::wall_clock_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpm_model::Exit;

    #[test]
    fn what_happens_has_pm2_s_words() {
        let told = |happening, cause| events(happening, cause).into_iter().map(|(event, _)| event).collect::<Vec<_>>();
        assert_eq!(told(Happening::Online, Some(Cause::Start)), ["online", "start"]);
        assert_eq!(told(Happening::Online, Some(Cause::Reload)), ["online", "reload"]);
        assert_eq!(told(Happening::Online, Some(Cause::Crash)), ["online"]);
        assert_eq!(events(Happening::Online, Some(Cause::Memory)), [("online", false), ("restart", false)]);
        assert_eq!(told(Happening::Exited { exit: Exit::Code(1) }, None), ["exit"]);
        assert_eq!(told(Happening::Errored, None), ["restart overlimit"]);
        assert!(told(Happening::Stopping { cause: Cause::Stop }, None).is_empty());
    }

    /// A bus with one subscriber, whose messages come out of the receiver.
    fn bus() -> (Bus, mpsc::Receiver<Bytes>) {
        let (messages, received) = mpsc::channel(WAITING);
        let (leaving, _) = mpsc::channel(1);
        let (requests, _) = mpsc::channel(1);
        let feed = tokio::spawn(async {});
        let process = json!({ "name": "api", "namespace": "default", "status": "online" });
        let bus = Bus {
            inside: Inside::new(requests),
            count: Arc::default(),
            daemon_log: PathBuf::new(),
            order: Order::default(),
            leaving,
            subscribers: vec![Subscriber { messages, feed }],
            processes: [(3, process)].into(),
            exceptions: BTreeMap::new(),
            output: None,
        };
        (bus, received)
    }

    fn heard(received: &mut mpsc::Receiver<Bytes>) -> (String, Value) {
        let bytes = received.try_recv().expect("something was told");
        let (message, _) = rpm_axon::Message::read(&bytes).expect("a message").expect("all of it");
        let [rpm_axon::Argument::Text(topic), rpm_axon::Argument::Json(mut payload)] =
            <[_; 2]>::try_from(message.0).expect("a topic and a payload")
        else {
            panic!("a text and a value")
        };
        assert!(payload["at"].take().is_u64());
        (topic, payload)
    }

    #[tokio::test]
    async fn what_apps_say_has_a_topic() {
        let (bus, mut received) = bus();
        let process = json!({ "pm_id": 3, "name": "api", "rev": null, "namespace": "default" });
        bus.publish_said(3, json!({ "type": "my:topic", "data": [1] }));
        assert_eq!(heard(&mut received), ("my:topic".into(), json!({"at": null, "data": [1], "process": process})));
        for raw in [json!("hello"), json!(7), json!({ "data": 1 }), json!({ "type": "lonely" })] {
            bus.publish_said(3, raw.clone());
            assert_eq!(
                heard(&mut received),
                ("process:msg".into(), json!({"at": null, "raw": raw, "process": process}))
            );
        }
        bus.publish_said(4, json!("nobody knows this one"));
        assert!(received.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_read_delays_nobody() {
        let (bus, received) = bus();
        for _ in 0..WAITING + 10 {
            bus.publish("t", json!({}));
        }
        assert_eq!(received.len(), WAITING);
    }

    #[tokio::test]
    async fn an_exit_is_told_as_one_though_the_next_process_runs() {
        let (bus, mut received) = bus();
        bus.publish_event(3, "exit", false);
        assert_eq!(heard(&mut received).1["process"]["status"], "stopped");
        bus.publish_event(3, "online", false);
        assert_eq!(heard(&mut received).1["process"]["status"], "online");
    }
}
