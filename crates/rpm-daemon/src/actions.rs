//! Actions of apps: asked over the IPC channel, answered over it, some time later.
//!
//! An app registers actions with PM2's metrics library (`@pm2/io`, `tx2`), or answers `axm:reply` by itself. Nothing in a
//! reply but the action's name says what it answers, so two askers of the same action both get the first.

use std::time::Duration;

use rpm_ipc::{ActionAnswer, Reply};
use rpm_model::{Life, Moment, WorkerId};
use rpm_supervise::Refusal;
use serde_json::{Value, json};

use crate::clients::Line;
use crate::daemon::Daemon;
use crate::view;

/// How long an app may take over an action. A heap snapshot of a large app takes several seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Actions that may be waited for at a time; more are refused.
const WAITING_MAX: usize = 256;

/// Actions that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    waiting: Vec<Waiting>,
}

/// One request for an action.
#[derive(Debug)]
struct Waiting {
    action: String,
    /// Who has not answered.
    lives: Vec<Life>,
    answers: Vec<ActionAnswer>,
    silent: Vec<WorkerId>,
    until: Moment,
    line: Line,
    id: u64,
}

impl Waiting {
    fn finish(self) {
        let mut silent = self.silent;
        silent.extend(self.lives.iter().map(|life| life.worker));
        silent.sort_unstable();
        self.line.reply(self.id, Reply::Answers { answers: self.answers, silent });
    }
}

impl Actions {
    /// Returns when the next one has waited long enough.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Takes an app's answer.
    pub(crate) fn answered(&mut self, life: Life, data: &Value) {
        let action = data.get("action_name").and_then(Value::as_str);
        for waiting in &mut self.waiting {
            let is_asked = action.is_none_or(|action| action == waiting.action);
            if let Some(at) = waiting.lives.iter().position(|asked| is_asked && *asked == life) {
                waiting.lives.remove(at);
                let value = data.get("return").cloned().unwrap_or_default();
                waiting.answers.push(ActionAnswer { worker: life.worker, value });
            }
        }
        self.finish_those(|waiting| waiting.lives.is_empty());
    }

    /// Takes the end of a life: it answers nothing any more.
    pub(crate) fn ended(&mut self, life: Life) {
        for waiting in &mut self.waiting {
            if let Some(at) = waiting.lives.iter().position(|asked| *asked == life) {
                waiting.lives.remove(at);
                waiting.silent.push(life.worker);
            }
        }
        self.finish_those(|waiting| waiting.lives.is_empty());
    }

    /// Lets go of those that have waited long enough.
    pub(crate) fn expire(&mut self, now: Moment) {
        self.finish_those(|waiting| waiting.until <= now);
    }

    fn finish_those(&mut self, done: impl Fn(&Waiting) -> bool) {
        for waiting in self.waiting.extract_if(.., |waiting| done(waiting)) {
            waiting.finish();
        }
    }
}

impl Daemon {
    /// Asks workers for an action.
    pub(crate) fn trigger(
        &mut self,
        workers: &[WorkerId],
        action: String,
        params: Option<Value>,
        (line, id): (Line, u64),
    ) {
        if self.actions.waiting.len() >= WAITING_MAX {
            let message = format!("{WAITING_MAX} actions are waited for already");
            return line.reply(id, Reply::Refused { message, hint: None });
        }
        if let Some((message, hint)) = self.lacking(workers, &action) {
            return line.reply(id, Reply::Refused { message, hint });
        }
        // PM2's form: the bare name, or an object where there is something to give.
        let message = match params {
            None => Value::String(action.clone()),
            Some(params) => json!({ "msg": action, "opts": params }),
        };
        match self.send(workers, &message) {
            Err(message) => line.reply(id, Reply::Refused { message, hint: None }),
            Ok(lives) => {
                let until = view::now() + PATIENCE;
                let (answers, silent) = (Vec::new(), Vec::new());
                self.actions.waiting.push(Waiting { action, lives, answers, silent, until, line, id });
                self.actions.finish_those(|waiting| waiting.lives.is_empty());
            }
        }
    }

    /// Returns why an action cannot be asked for, if a worker has not registered it: a sentence, and a hint.
    fn lacking(&self, workers: &[WorkerId], action: &str) -> Option<(String, Option<String>)> {
        for worker in workers {
            let process = self.core.worker(*worker)?.life.and_then(|life| self.processes.get(&life))?;
            let actions = process.contact.get("axm_actions").and_then(Value::as_array);
            let names = || actions.into_iter().flatten().filter_map(|action| action.get("action_name")?.as_str());
            if !names().any(|name| name == action) {
                let message = format!("worker {worker} has no action {action}");
                let near = rpm_model::nearest(action, names()).map(|near| format!("did you mean `{near}`?"));
                let all = names().collect::<Vec<_>>().join(", ");
                let none = "an app registers actions with @pm2/io or tx2".to_owned();
                let hint = near.unwrap_or(if all.is_empty() { none } else { format!("its actions are {all}") });
                return Some((message, Some(hint)));
            }
        }
        None
    }

    /// Sends a message to workers over their IPC channels; none gets it unless all can.
    pub(crate) fn send(&mut self, workers: &[WorkerId], message: &Value) -> Result<Vec<Life>, String> {
        let mut lives = Vec::with_capacity(workers.len());
        for worker in workers {
            let view = self.core.worker(*worker).ok_or_else(|| Refusal::UnknownWorker(*worker).to_string())?;
            let status = view.status;
            let life = view.life.filter(|life| {
                self.processes.get(life).is_some_and(|process| process.running.is_some() && process.channel.is_some())
            });
            lives.push(life.ok_or_else(|| format!("worker {worker} is {status} and has no channel for messages"))?);
        }
        for life in &lives {
            let Some(channel) = self.processes.get_mut(life).and_then(|process| process.channel.as_mut()) else {
                continue;
            };
            channel.send_app(message).map_err(|error| format!("worker {}: {error}", life.worker))?;
            self.flush_channel(*life);
        }
        Ok(lives)
    }

    /// Writes to a worker's standard input.
    pub(crate) fn write_input(&mut self, worker: WorkerId, text: &str) -> Reply {
        let refused = |message: String| Reply::Refused { message, hint: None };
        let Some(view) = self.core.worker(worker) else {
            return refused(Refusal::UnknownWorker(worker).to_string());
        };
        let Some(process) = view.life.and_then(|life| self.processes.get(&life)) else {
            return refused(format!("worker {worker} is {} and reads nothing", view.status));
        };
        let Some(input) = &process.input else {
            return refused(format!("worker {worker} has no standard input; only apps in fork mode have"));
        };
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(input, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let done = text.len() - rest.len();
                    return refused(format!("worker {worker} does not read its input; {done} bytes fitted"));
                }
                Err(error) => return refused(format!("the input of worker {worker} cannot be written: {error}")),
            }
        }
        Reply::Done { workers: vec![worker] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpm_ipc::FromDaemon;

    fn wait(actions: &mut Actions, lives: &[Life], until: u64) -> tokio::sync::mpsc::Receiver<FromDaemon> {
        let (line, replies) = Line::new();
        actions.waiting.push(Waiting {
            action: "gc".into(),
            lives: lives.to_vec(),
            answers: Vec::new(),
            silent: Vec::new(),
            until: Moment(until),
            line,
            id: 1,
        });
        replies
    }

    fn reply(replies: &mut tokio::sync::mpsc::Receiver<FromDaemon>) -> Option<Reply> {
        match replies.try_recv() {
            Ok(FromDaemon::Reply { reply, .. }) => Some(*reply),
            _ => None,
        }
    }

    #[test]
    fn an_action_is_answered_when_everybody_has_answered_or_ended() {
        let mut actions = Actions::default();
        let lives = [Life::new(WorkerId(1), 1), Life::new(WorkerId(2), 1), Life::new(WorkerId(3), 1)];
        let mut replies = wait(&mut actions, &lives, 100);
        actions.answered(lives[1], &json!({"action_name": "gc", "return": {"ok": 1}}));
        actions.answered(lives[0], &json!({"action_name": "other", "return": 2}));
        actions.ended(lives[2]);
        assert_eq!(reply(&mut replies), None);
        actions.answered(lives[0], &json!({"return": 3}));
        let answers = vec![
            ActionAnswer { worker: WorkerId(2), value: json!({"ok": 1}) },
            ActionAnswer { worker: WorkerId(1), value: json!(3) },
        ];
        assert_eq!(reply(&mut replies), Some(Reply::Answers { answers, silent: vec![WorkerId(3)] }));
        assert_eq!(actions.next_due(), None);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut actions = Actions::default();
        let mut replies = wait(&mut actions, &[Life::new(WorkerId(1), 1)], 100);
        actions.expire(Moment(99));
        assert_eq!((actions.next_due(), reply(&mut replies)), (Some(Moment(100)), None));
        actions.expire(Moment(100));
        assert_eq!(reply(&mut replies), Some(Reply::Answers { answers: Vec::new(), silent: vec![WorkerId(1)] }));
    }
}
