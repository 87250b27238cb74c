//! PM2's remote calls, turned into requests of ours.
//!
//! Each call is a task of its own: one that takes long (a stop, a reload) delays no other, on the same connection
//! neither, as PM2's client expects. Its answer is sent when the thing is done.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures_util::StreamExt;
use interprocess::os::unix::uds_local_socket::tokio::Stream;
use rpm_axon::{Answer, Call, Message, app, process};
use rpm_ipc::{AppInfo, List, Request, Respec};
use rpm_model::worker::signal_number;
use rpm_model::{Environment, Status, WorkerId};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::codec::FramedRead;

use crate::door;
use crate::guests::{Guests, Visit};
use crate::pm2::News;
use crate::pm2::inside::{Inside, describe, find};
use crate::pm2::order::{self, Order, UnderWay};
use crate::pm2::wire::Messages;

/// Calls that one connection may have under way; the next ones wait.
const UNDER_WAY: usize = 256;

/// Events that PM2's client announces by itself after an action, and that the bus has told by then.
const TOLD_BY_US: [&str; 7] = ["start", "stop", "restart", "reload", "graceful reload", "delete", "online"];

/// Calls to which apps reply.
const SAID_TO_APPS: [&str; 3] = ["msgProcess", "sendDataToProcessId", "sendLineToStdin"];

/// Serves calls on `socket`.
pub(super) fn serve(socket: OwnedFd, inside: Inside, news: mpsc::Sender<News>, order: Order) -> io::Result<()> {
    let room = Arc::new(Calls { inside, news, order, rolls: Mutex::new(()) });
    let guests = Guests::new();
    door::open(socket, move |stream| {
        if let Some(visit) = guests.welcome() {
            tokio::spawn(converse(stream, room.clone(), Arc::new(visit)));
        }
    })
}

struct Calls {
    inside: Inside,
    news: mpsc::Sender<News>,
    order: Order,
    /// PM2's client reloads worker by worker, some of one app at the same time; an app has one roll at a time.
    rolls: Mutex<()>,
}

async fn converse(stream: Stream, room: Arc<Calls>, visit: Arc<Visit>) {
    let mut reader = FramedRead::new(&stream, Messages);
    let mut writer = &stream;
    let (answers, mut answered) = mpsc::channel::<(Message, Option<UnderWay>)>(UNDER_WAY);
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let write = async {
        while let Some((message, under_way)) = answered.recv().await {
            let Some(bytes) = bytes_of(message) else { continue };
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
            if under_way.is_some() {
                order::read(&stream).await;
            }
        }
    };
    let read = async {
        while let Some(message) = reader.next().await {
            let call = match message.map(Call::read) {
                Ok(Ok(call)) => call,
                Ok(Err(no_call)) => {
                    tracing::warn!("a PM2 client was cut off: {no_call}");
                    return;
                }
                Err(error) => {
                    tracing::warn!("a PM2 client was cut off: {error}");
                    return;
                }
            };
            visit.greeted();
            let Ok(permit) = under_way.clone().acquire_owned().await else { return };
            let (room, answers, visit) = (room.clone(), answers.clone(), visit.clone());
            visit.asked();
            // A task, because what was asked for is done even if nobody waits for the answer.
            tokio::spawn(async move {
                let id = call.id.clone();
                let under_way = match SAID_TO_APPS.contains(&call.method.as_str()) {
                    true => Some(room.order.begin().await),
                    false => None,
                };
                if let Some(answer) = room.answer(call).await {
                    // A client that left wants no answer.
                    let _ = answers.send((answer.message(id), under_way)).await;
                }
                visit.answered();
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
        () = visit.over() => {}
    }
}

fn bytes_of(message: Message) -> Option<Vec<u8>> {
    let id = message.0.last().cloned();
    match message.bytes() {
        Ok(bytes) => Some(bytes),
        Err(error) => Answer::Error(format!("the answer cannot be sent: {error}")).message(id?).bytes().ok(),
    }
}

type Done = Result<Answer, String>;

impl Calls {
    /// Carries out a call; `None` for the one that is answered by the end of the connection.
    async fn answer(&self, mut call: Call) -> Option<Answer> {
        let first = call.take(0);
        let done = match call.method.as_str() {
            "ping" => Ok(Answer::Value(json!({ "msg": "pong" }))),
            "getVersion" => Ok(Answer::Value(env!("CARGO_PKG_VERSION").into())),
            "getReport" => self.report().await,
            // As PM2 answers where it measures no host.
            "getSystemData" => Ok(Answer::Value(json!({}))),
            "getMonitorData" => Ok(Answer::Value(process::list_value(&self.inside.list().await))),
            "prepare" => self.prepare(first).await,
            "startProcessId" => self.start(&first).await,
            "stopProcessId" => self.stop(&first).await,
            "restartProcessId" => self.restart(first).await,
            "reloadProcessId" | "softReloadProcessId" => self.reload(first).await,
            "deleteProcessId" => self.delete(&first).await,
            "duplicateProcessId" => self.duplicate(&first).await,
            "resetMetaProcessId" => self.reset(&first).await,
            "sendSignalToProcessId" => self.signal_id(&first).await,
            "sendSignalToProcessName" => self.signal_name(&first).await,
            "sendLineToStdin" => self.send_line(first).await,
            "sendDataToProcessId" => self.send_data(first).await,
            "msgProcess" => self.message(first).await,
            "reloadLogs" => self.inside.act(Request::ReopenLogs).await.map(|_| Answer::Value(json!({}))),
            // An app that is stopped or gone is not watched; PM2's client says so each time.
            "stopWatch" if is_part_of_stop(&first) => Ok(Answer::Value(json!({ "success": true }))),
            "notifyByProcessId" => self.note(&first).await,
            "notifyKillPM2" => {
                let payload = json!({ "status": "killed", "msg": "pm2 has been killed via CLI" });
                let _ = self.news.send(News::Custom { topic: "pm2:kill", payload }).await;
                Ok(Answer::Nothing)
            }
            "killMe" => {
                let _ = self.inside.ask(Request::Kill).await;
                return None;
            }
            "startWatch" => self.watch(&first, &call.take(1), |_| true).await,
            "stopWatch" => self.watch(&first, &call.take(1), |_| false).await,
            "toggleWatch" => self.watch(&first, &call.take(1), |watched| !watched).await,
            "monitor" => self.mark(&first, true).await,
            "unmonitor" => self.mark(&first, false).await,
            known @ ("profileCPU" | "profileMEM") => {
                Err(format!("rpm {} does not have PM2's {known}", env!("CARGO_PKG_VERSION")))
            }
            unknown => Err(format!("method {unknown:?} does not exist")),
        };
        Some(done.unwrap_or_else(Answer::Error))
    }

    async fn report(&self) -> Done {
        let daemon = self.inside.list().await.daemon;
        Ok(Answer::Value(json!({
            "pm2_version": daemon.version,
            "started_at": daemon.started_at_ms,
            "uid": rustix::process::geteuid().as_raw(),
            "gid": rustix::process::getegid().as_raw(),
            "pid": daemon.pid,
        })))
    }

    async fn prepare(&self, app: Value) -> Done {
        let Value::Object(app) = app else { return Err("prepare takes the description of an app".into()) };
        let spec = app::spec(&app, &surroundings())?;
        let workers = self.inside.act(Request::Start { specs: vec![spec] }).await?;
        let list = self.inside.list().await;
        let app = workers.first().and_then(|id| find(&list, *id)).map(|(app, _)| app);
        let workers = app.into_iter().flat_map(|app| app.workers.iter().map(move |worker| (app, worker)));
        Ok(Answer::Value(workers.map(|(app, worker)| process::process(app, worker)).collect()))
    }

    async fn start(&self, argument: &Value) -> Done {
        let (id, list) = self.worker(argument, |id| format!("process {id} unknown")).await?;
        let status = find(&list, id).map(|(_, worker)| worker.status);
        if matches!(status, Some(Status::Online | Status::Launching)) {
            return Err("process already online".into());
        }
        self.act_on(id, Request::Restart { workers: vec![id], specs: Vec::new() }).await
    }

    async fn stop(&self, argument: &Value) -> Done {
        let (id, _) = self.worker(argument, |id| format!("{id} : id unknown")).await?;
        self.act_on(id, Request::Stop { workers: vec![id] }).await
    }

    async fn restart(&self, argument: Value) -> Done {
        let (id, list) = self.worker(&argument, |_| "God db process id unknown".into()).await?;
        let specs = changes(&argument, id, &list)?;
        self.act_on(id, Request::Restart { workers: vec![id], specs }).await
    }

    async fn reload(&self, argument: Value) -> Done {
        let _one_at_a_time = self.rolls.lock().await;
        let (id, list) = self.worker(&argument, |id| format!("pm_id {id} not available in {id}")).await?;
        let specs = changes(&argument, id, &list)?;
        self.act_on(id, Request::Reload { workers: vec![id], specs, force: false }).await
    }

    async fn delete(&self, argument: &Value) -> Done {
        let (id, list) = self.worker(argument, |id| format!("{id} : id unknown")).await?;
        self.inside.act(Request::Delete { workers: vec![id] }).await?;
        let mut last = describe(&list, id).unwrap_or_default();
        last["pid"] = 0.into();
        last["pm2_env"]["status"] = Status::Stopped.as_str().into();
        Ok(Answer::Value(last))
    }

    async fn duplicate(&self, argument: &Value) -> Done {
        let (id, list) = self.worker(argument, |id| format!("process {id} unknown")).await?;
        let Some((app, _)) = find(&list, id) else { return Err(format!("process {id} unknown")) };
        let instances = u32::try_from(app.workers.len()).unwrap_or(u32::MAX).saturating_add(1);
        let workers = self.inside.act(Request::Scale { app: app.id, instances }).await?;
        let list = self.inside.list().await;
        Ok(Answer::Value(workers.last().and_then(|id| describe(&list, *id)).unwrap_or_default()))
    }

    async fn reset(&self, argument: &Value) -> Done {
        let (id, _) = self.worker(argument, |id| format!("{id} id unknown")).await?;
        self.inside.act(Request::Reset { workers: vec![id] }).await?;
        Ok(Answer::Value(process::list_value(&self.inside.list().await)))
    }

    async fn signal_id(&self, argument: &Value) -> Done {
        let (id, list) = self.worker(&argument["process_id"], |id| format!("{id} id unknown")).await?;
        self.signal(vec![id], &argument["signal"], &list).await
    }

    async fn signal_name(&self, argument: &Value) -> Done {
        let list = self.inside.list().await;
        let workers = named(&list, &argument["process_name"]);
        if workers.is_empty() {
            return Err("Unknown process name".into());
        }
        self.signal(workers, &argument["signal"], &list).await
    }

    async fn signal(&self, workers: Vec<WorkerId>, signal: &Value, list: &List) -> Done {
        let number = match signal {
            Value::Number(number) => number.as_i64().and_then(|number| i32::try_from(number).ok()),
            Value::String(name) => signal_number(name),
            _ => None,
        };
        let signal = number.ok_or_else(|| format!("{signal} is no signal; expected a name like SIGUSR2"))?;
        self.inside.act(Request::Signal { workers, signal }).await?;
        Ok(Answer::Value(process::list_value(list)))
    }

    async fn send_line(&self, argument: Value) -> Done {
        let unknown = |id| format!("Process with ID <{id}> unknown.");
        let (worker, _) = self.worker(&argument["pm_id"], unknown).await?;
        let Value::String(line) = &argument["line"] else { return Err("PM_ID or LINE field is missing".into()) };
        self.inside.act(Request::Write { worker, text: line.clone() }).await?;
        Ok(Answer::Value(argument))
    }

    async fn send_data(&self, packet: Value) -> Done {
        if ["id", "data", "topic"].iter().any(|key| packet.get(key).is_none()) {
            return Err("ID, DATA or TOPIC field is missing".into());
        }
        let (id, _) = self.worker(&packet, |id| format!("Process with ID <{id}> unknown.")).await?;
        self.inside.act(Request::Send { workers: vec![id], message: packet.clone() }).await?;
        Ok(Answer::Value(json!({ "success": true, "data": packet })))
    }

    /// `msgProcess`: an action for one worker, or for all of a name. The app answers over the bus.
    async fn message(&self, packet: Value) -> Done {
        let workers = if packet.get("id").is_some() {
            vec![self.worker(&packet, |id| format!("{id} id unknown")).await?.0]
        } else {
            named(&self.inside.list().await, &packet["name"])
        };
        let count = workers.len();
        let message = if packet.get("opts").is_some() { packet } else { packet["msg"].clone() };
        if count > 0 {
            self.inside.act(Request::Send { workers, message }).await?;
        }
        Ok(Answer::Value(json!({ "process_count": count, "success": true })))
    }

    /// `startWatch` and its like: the method that comes with it says whether one process is meant or all.
    async fn watch(&self, method: &Value, argument: &Value, next: impl Fn(bool) -> bool) -> Done {
        let list = self.inside.list().await;
        let is_all = method.as_str().is_some_and(|method| method.ends_with("All"));
        let one = match is_all {
            true => None,
            false => Some(self.worker(argument, |id| format!("{id} : id unknown")).await?.0),
        };
        let apps = list.apps.iter().filter(|app| one.is_none_or(|id| app.workers.iter().any(|worker| worker.id == id)));
        let specs = apps.map(|app| {
            let mut spec = app.spec.clone();
            spec.watch.enabled = next(spec.watch.enabled);
            Respec { app: app.id, spec }
        });
        // Without workers the spec is noted, and nothing is restarted.
        self.inside.act(Request::Restart { workers: Vec::new(), specs: specs.collect() }).await?;
        Ok(Answer::Value(json!({ "success": true })))
    }

    /// `monitor`: the mark of PM2's online service, which has no effect but to be seen.
    async fn mark(&self, argument: &Value, monitored: bool) -> Done {
        let (id, list) = self.worker(argument, |id| format!("{id} : id unknown")).await?;
        let Some((app, _)) = find(&list, id) else { return Err(format!("{id} : id unknown")) };
        let mut spec = app.spec.clone();
        let marks = spec.other.entry(process::MONITORED.to_owned()).or_insert_with(|| json!({}));
        if !marks.is_object() {
            *marks = json!({});
        }
        marks[id.to_string()] = monitored.into();
        let specs = vec![Respec { app: app.id, spec }];
        self.act_on(id, Request::Restart { workers: Vec::new(), specs }).await
    }

    async fn note(&self, argument: &Value) -> Done {
        let event = argument["action_name"].as_str().ok_or("notifyByProcessId without action_name")?;
        if !TOLD_BY_US.contains(&event) {
            let (worker, _) = self.worker(argument, |_| "process id doesnt exists".into()).await?;
            let manually = argument["manually"].as_bool().unwrap_or_default();
            let _ = self.news.send(News::Noted { worker, event: event.to_owned(), manually }).await;
        }
        Ok(Answer::Nothing)
    }

    /// Acts on a worker, and describes it afterwards.
    async fn act_on(&self, id: WorkerId, request: Request) -> Done {
        self.inside.act(request).await?;
        Ok(describe(&self.inside.list().await, id).map_or(Answer::Nothing, Answer::Value))
    }

    /// Returns the worker that an argument names, and the list it is in.
    async fn worker(&self, argument: &Value, unknown: impl Fn(String) -> String) -> Result<(WorkerId, List), String> {
        let given = argument.get("id").unwrap_or(argument);
        let text = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
        let id = text.parse().map(WorkerId).map_err(|_| unknown(text.clone()))?;
        let list = self.inside.list().await;
        if find(&list, id).is_none() {
            return Err(unknown(text));
        }
        Ok((id, list))
    }
}

/// Returns whether this `stopWatch` comes before a stop that follows.
fn is_part_of_stop(method: &Value) -> bool {
    matches!(method.as_str(), Some("stopProcessId" | "deleteProcessId" | "stopAll" | "deleteAll"))
}

fn named(list: &List, name: &Value) -> Vec<WorkerId> {
    let apps = list.apps.iter().filter(|app| *name == app.spec.name.as_str());
    apps.flat_map(|app| app.workers.iter().map(|worker| worker.id)).collect()
}

/// Returns what a restart changes: `env` has variables, the configuration in `current_conf`, and rubbish.
fn changes(argument: &Value, id: WorkerId, list: &List) -> Result<Vec<Respec>, String> {
    let (Some((AppInfo { id: app, spec: current, .. }, _)), Some(given)) =
        (find(list, id), argument.get("env").and_then(Value::as_object))
    else {
        return Ok(Vec::new());
    };
    let mut change = given.get("current_conf").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut env = change.get("env").and_then(Value::as_object).cloned().unwrap_or_default();
    // Beside the variables there is what the client says to itself.
    let is_variable = |key: &str| !matches!(key, "current_conf" | "updateEnv");
    env.extend(given.iter().filter(|(key, _)| is_variable(key)).map(|(key, value)| (key.clone(), value.clone())));
    change.insert("env".into(), env.into());
    let spec = app::change(current, &change, &surroundings())?;
    Ok(if spec == *current { Vec::new() } else { vec![Respec { app: *app, spec }] })
}

/// Returns the daemon's own environment: what an app's client has in common with it was not declared for the app.
fn surroundings() -> Environment {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
