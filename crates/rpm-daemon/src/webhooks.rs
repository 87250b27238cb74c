//! Messages about what happens, on their way to whom an app names.
//!
//! Nothing is sent here: a message waits for its address's turn, and a short-lived process of our own program gets all that wait
//! for one address (`rpm-webhook`), one process at a time for each. What TLS and a slow receiver cost is that process's, and none
//! runs while there is nothing to send. What is on its way when the daemon dies is lost.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rpm_keeper::client::{Request, SpawnRequest};
use rpm_model::Webhook;
use rpm_model::webhook::{Batch, EVENTS, Message};
use rpm_records::EventRecord;
use serde_json::{Map, Value};

use crate::daemon::Daemon;
use crate::launch;
use crate::tasks::Purpose;

/// Messages that wait for one address. At the bound the oldest is dropped, and that is told.
const WAITING_MAX: usize = 256;

/// Messages that one process gets.
const BATCH_MAX: usize = 64;

/// Longer than the sender's own patience.
const SENDER_WITHIN: Duration = Duration::from_secs(150);

/// The room.
#[derive(Default)]
pub(crate) struct Webhooks {
    /// By the name of the app.
    of_apps: BTreeMap<String, Vec<Webhook>>,
    /// By what the sender is told of the address.
    queues: BTreeMap<String, Queue>,
    next: u64,
}

struct Queue {
    webhook: Webhook,
    waiting: VecDeque<Message>,
    dropped: u64,
    is_sending: bool,
}

impl Webhooks {
    fn offer(&mut self, record: &EventRecord) {
        let Some(hooks) = record.app.as_ref().and_then(|app| self.of_apps.get(app)) else { return };
        for event in words(record) {
            for hook in hooks.iter().filter(|hook| hook.events.iter().any(|wanted| wanted == event)) {
                self.next += 1;
                let id = format!("{}-{}-{}", record.at_ms, std::process::id(), self.next);
                let message = Message { body: body(&id, event, record), id, event: event.to_owned() };
                let key = serde_json::to_string(&(&hook.url, &hook.secret, hook.timeout)).unwrap_or_default();
                let queue = self.queues.entry(key).or_insert_with(|| Queue {
                    webhook: hook.clone(),
                    waiting: VecDeque::new(),
                    dropped: 0,
                    is_sending: false,
                });
                if queue.waiting.len() == WAITING_MAX {
                    queue.waiting.pop_front();
                    queue.dropped += 1;
                }
                queue.waiting.push_back(message);
            }
        }
    }
}

impl Daemon {
    /// Learns who is to be told.
    pub(crate) fn fit_webhooks(&mut self) {
        let apps = self.core.apps().filter(|app| !app.spec.webhooks.is_empty());
        self.webhooks.of_apps = apps.map(|app| (app.spec.name.clone(), app.spec.webhooks.clone())).collect();
        self.forensics.keeps_news(!self.webhooks.of_apps.is_empty());
    }

    /// Takes what has happened, and sends what waits for an address that nothing is being sent to.
    pub(crate) fn send_webhooks(&mut self) {
        for record in self.forensics.take_news() {
            self.webhooks.offer(&record);
        }
        let ready = |(_, queue): &(&String, &Queue)| !queue.is_sending && !queue.waiting.is_empty();
        let keys: Vec<String> = self.webhooks.queues.iter().filter(ready).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(queue) = self.webhooks.queues.get_mut(&key) else { continue };
            queue.is_sending = true;
            let count = queue.waiting.len().min(BATCH_MAX);
            let batch = Batch { webhook: queue.webhook.clone(), messages: queue.waiting.drain(..count).collect() };
            let dropped = std::mem::take(&mut queue.dropped);
            if dropped > 0 {
                self.webhook_failed(&key, &format!("{dropped} messages were dropped: it takes them too slowly"));
            }
            let task = self.tasks.new_key();
            match self.start_sender(&task, &batch) {
                Ok(()) => self.tasks.track(task, Purpose::Webhook { key }, SENDER_WITHIN),
                Err(why) => self.webhook_over(&key, Err(why)),
            }
        }
    }

    fn start_sender(&mut self, task: &str, batch: &Batch) -> Result<(), String> {
        let program = launch::own_program().into_os_string();
        let content = serde_json::to_vec(batch).map_err(|error| error.to_string())?;
        let file = rpm_sys::fd::sealed_memory_file("rpm-webhook", &content).map_err(|error| error.to_string())?;
        let args = [OsString::from("webhook")];
        let env: Vec<OsString> = std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect();
        let log = std::io::stderr();
        let mut request = SpawnRequest::new(task, &program);
        request.args = &args;
        request.env = &env;
        request.cwd = Path::new("/");
        request.inherit = vec![(file.as_fd(), 0), (log.as_fd(), 2)];
        self.keeper.send(&Request::Spawn(request)).map_err(|error| format!("it could not be started: {error}"))
    }

    /// Takes the end of a sender.
    pub(crate) fn webhook_over(&mut self, key: &str, found: Result<String, String>) {
        if let Err(why) = found {
            self.webhook_failed(key, &format!("not everything was delivered ({why}): the daemon's log says more"));
        }
        let Some(queue) = self.webhooks.queues.get_mut(key) else { return };
        queue.is_sending = false;
        if queue.waiting.is_empty() {
            self.webhooks.queues.remove(key);
        }
    }

    fn webhook_failed(&self, key: &str, why: &str) {
        let Some(queue) = self.webhooks.queues.get(key) else { return };
        let detail = format!("{}: {why}", queue.webhook.url.shown());
        tracing::warn!("webhook {detail}");
        self.forensics.event(EventRecord {
            at_ms: rpm_sys::proc::wall_clock_millis(),
            event: "webhook failed".to_owned(),
            detail: Some(detail),
            ..EventRecord::default()
        });
    }
}

/// Returns the words by which somebody may have asked for an event.
fn words(record: &EventRecord) -> impl Iterator<Item = &'static str> {
    let by_rollback = record.detail.as_ref().is_some_and(|detail| detail.starts_with("rollback"));
    let word = match record.event.as_str() {
        "restart overlimit" => Some("errored"),
        "hook failed" => Some("hook_failed"),
        other => EVENTS.into_iter().find(|word| *word == other),
    };
    let rollback = (record.event == "restart" && by_rollback).then_some("rollback");
    word.into_iter().chain(rollback)
}

fn body(id: &str, event: &str, record: &EventRecord) -> Value {
    let mut body = Map::new();
    body.insert("id".into(), id.into());
    body.insert("event".into(), event.into());
    body.insert("at_ms".into(), record.at_ms.into());
    body.insert("host".into(), host().into());
    body.extend(record.app.as_ref().map(|app| ("app".to_owned(), app.as_str().into())));
    body.extend(record.worker.map(|worker| ("worker".to_owned(), worker.0.into())));
    body.extend(record.detail.as_ref().map(|detail| ("detail".to_owned(), detail.as_str().into())));
    body.extend(record.by.as_ref().map(|by| ("by".to_owned(), by.as_str().into())));
    Value::Object(body)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}
