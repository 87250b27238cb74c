//! Why a worker is as it is: a sentence, and the evidence. Pure.

use std::fmt::Write as _;

use rpm_ipc::WorkerInfo;
use rpm_model::{Health, Status};
use rpm_records::{EventRecord, ExitRecord};
use serde_json::{Value, json};

use crate::say::GREY;
use crate::screens::format::{self, BOLD};
use crate::screens::history::{core, ending, figures, spell};

/// Lines of the last process that are shown.
const LINES: usize = 8;

const HOUR_MS: u64 = 3_600_000;

/// What is said of one worker.
#[derive(Debug)]
pub struct Answer<'a> {
    worker: &'a WorkerInfo,
    sentence: String,
    /// The end that says most: of the process before the present one.
    last: Option<&'a ExitRecord>,
    crashes_last_hour: usize,
}

/// Says why a worker is as it is.
pub fn answer<'a>(app: &str, worker: &'a WorkerInfo, exits: &'a [ExitRecord], now_ms: u64) -> Answer<'a> {
    // Ids begin anew with a new daemon: an end from before the seat was made is another's.
    let of_seat = |exit: &&ExitRecord| exit.worker == worker.id && exit.at_ms + 2_000 >= worker.created_at_ms;
    let own: Vec<&ExitRecord> = exits.iter().filter(of_seat).collect();
    let last = own.last().copied();
    let recent = |exit: &&&ExitRecord| exit.is_crash() && now_ms.saturating_sub(exit.at_ms) < HOUR_MS;
    let crashes_last_hour = own.iter().filter(recent).count();
    let name = format::one_line(app);
    let sentence = format!("{name}, worker {}, {}", worker.id, state(worker, last, now_ms));
    Answer { worker, sentence, last, crashes_last_hour }
}

fn state(worker: &WorkerInfo, last: Option<&ExitRecord>, now_ms: u64) -> String {
    let ago = |at: u64| format!("{} ago", format::uptime(at, now_ms));
    let ended = |exit: &ExitRecord| format!("{} ({})", ending(exit), ago(exit.at_ms));
    let why = worker.why.as_deref().map(format::one_line);
    match worker.status {
        Status::Online | Status::Launching => {
            let word = if worker.status == Status::Online { "is online" } else { "is starting" };
            let since = worker.started_at_ms.map(|at| format!(" since {}", ago(at))).unwrap_or_default();
            let word = match (worker.health, &worker.check) {
                (Some(Health::Unhealthy), Some(check)) => {
                    format!("{word} but unhealthy ({})", format::one_line(&check.text))
                }
                _ => word.to_owned(),
            };
            let cause = worker.cause.as_deref().unwrap_or("start");
            match last {
                Some(exit) if cause != "start" => {
                    format!("{word}{since}, started because of {}; the process before: {}", noun(cause), ended(exit))
                }
                _ => format!("{word}{since}, started because of {}", noun(cause)),
            }
        }
        Status::Stopping => "is being stopped".to_owned(),
        Status::Stopped => match last {
            Some(exit) => format!("is stopped: {}", ended(exit)),
            None => "is stopped and has not run".to_owned(),
        },
        Status::Errored => match (why, last) {
            (Some(why), _) => format!("is down and is not tried again: {why}"),
            (None, Some(exit)) => format!("is down and is not tried again: {}", ended(exit)),
            (None, None) => "is down and is not tried again".to_owned(),
        },
        Status::WaitingRestart => match (why, last) {
            (Some(why), _) => format!("waits to be started again: {why}"),
            (None, Some(exit)) => format!("waits to be started again: {}", ended(exit)),
            (None, None) => "waits to be started again".to_owned(),
        },
    }
}

/// Returns a cause as a noun.
fn noun(cause: &str) -> String {
    match cause {
        "start" => "a start".to_owned(),
        "memory" => "too much memory".to_owned(),
        "watch" => "a changed file".to_owned(),
        "cron" => "its cron pattern".to_owned(),
        "schedule" => "its schedule".to_owned(),
        "run" => "`run`".to_owned(),
        "health" => "a failed health check".to_owned(),
        "hang" => "a hang".to_owned(),
        "autoscale" => "the load".to_owned(),
        other => format!("a {}", format::one_line(other)),
    }
}

/// Says what is known of an app that is not there.
pub fn of_the_gone(app: &str, exits: &[ExitRecord], now_ms: u64) -> String {
    let name = format::one_line(app);
    match exits.last() {
        Some(exit) => format!(
            "{BOLD}{name} is not there; its last process ended {} ago: {}{BOLD:#}\n{}{}",
            format::uptime(exit.at_ms, now_ms),
            ending(exit),
            core(exit),
            words(exit)
        ),
        None => format!("{BOLD}{name} is not there, and none of its processes has ended{BOLD:#}\n"),
    }
}

impl Answer<'_> {
    /// Writes the sentence and the evidence.
    pub fn screen(&self, now_ms: u64) -> String {
        let mut text = format!("{BOLD}{}{BOLD:#}\n", self.sentence);
        let worker = self.worker;
        if worker.restarts > 0 || self.crashes_last_hour > 0 {
            let _ =
                writeln!(text, "  restarts {}, crashes in the last hour {}", worker.restarts, self.crashes_last_hour);
        }
        if let Some(exit) = self.last {
            let _ = writeln!(
                text,
                "  the last end, {} ago: {} (pid {}, {})",
                format::uptime(exit.at_ms, now_ms),
                ending(exit),
                exit.pid,
                figures(exit)
            );
            text.push_str(&core(exit));
            // What one said that was meant to leave explains nothing.
            if exit.is_crash() {
                text.push_str(&words(exit));
            }
        }
        text
    }
}

/// Writes the last lines of the stream that says most.
fn words(exit: &ExitRecord) -> String {
    let (stream, said) =
        if exit.err.is_empty() { ("standard output", &exit.out) } else { ("standard error", &exit.err) };
    let mut text = String::new();
    if !said.is_empty() {
        let _ = writeln!(text, "  its last lines on {stream}:");
    }
    for line in &said[said.len().saturating_sub(LINES)..] {
        let _ = writeln!(text, "  {GREY}|{GREY:#} {}", format::one_line(line));
    }
    text
}

/// Returns the same as one JSON document.
pub fn document(app: &str, answers: &[Answer<'_>], exits: &[ExitRecord], events: &[EventRecord]) -> Value {
    let workers: Vec<Value> = answers
        .iter()
        .map(|answer| {
            json!({
                "id": answer.worker.id,
                "status": answer.worker.status,
                "sentence": answer.sentence,
                "restarts": answer.worker.restarts,
                "crashes_last_hour": answer.crashes_last_hour,
                "last_exit": answer.last,
                "last_exit_text": answer.last.map(ending),
                "uptime": answer.last.map(|exit| spell(exit.uptime_ms)),
            })
        })
        .collect();
    json!({ "app": app, "workers": workers, "last_exit": exits.last(), "events": events })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screens::history::samples::crash;
    use crate::screens::samples::{NOW_MS, app};

    #[test]
    fn a_worker_that_gave_up_says_why_and_shows_its_last_words() {
        let mut api = app(1, "api", "default", &[0]);
        api.workers[0].status = Status::Errored;
        api.workers[0].why = Some("exit code 3 after 78 ms; 16 unstable restarts in a row".into());
        let exits = [crash(NOW_MS - 5_000), crash(NOW_MS - 3_000)];
        let answer = answer("api", &api.workers[0], &exits, NOW_MS);
        let text = anstream::adapter::strip_str(&answer.screen(NOW_MS)).to_string();
        let expected = "api, worker 0, is down and is not tried again: exit code 3 after 78 ms; 16 unstable restarts \
                        in a row\n  restarts 0, crashes in the last hour 2\n  the last end, 3s ago: exit code 3 after \
                        78 ms, by itself (pid 42, memory 0b (at most 40mb), cpu 0%, 60 ms of CPU time)\n  its last \
                        lines on standard error:\n  | Error: no database\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_end_from_before_the_seat_was_made_is_anothers() {
        let api = app(1, "api", "default", &[0]);
        let exits = [crash(NOW_MS - 60_000)];
        let answer = answer("api", &api.workers[0], &exits, NOW_MS);
        assert_eq!(answer.sentence, "api, worker 0, is online since 12s ago, started because of a start");
    }
}
