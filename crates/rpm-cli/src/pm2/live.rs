//! A PM2 daemon that runs: asked for its list, and told to leave.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rpm_axon::{Argument, Message};
use rpm_model::Home;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

/// PM2 answers at once; a thousand processes take it some seconds.
const ANSWER_AT_MOST: Duration = Duration::from_secs(20);

/// PM2 stops its apps one after another, each within its `kill_timeout`.
const LEAVES_WITHIN: Duration = Duration::from_secs(120);

/// A PM2 daemon that runs.
#[derive(Debug)]
pub struct Pm2 {
    pid: Pid,
    process: OwnedFd,
}

impl Pm2 {
    /// Returns the daemon of a state directory, if it runs.
    pub fn find(home: &Home) -> Option<Self> {
        let text = std::fs::read_to_string(home.daemon_pid()).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The pid may be somebody else's by now. PM2 calls itself `PM2 v7.0.3: God Daemon (/home/me/.pm2)`.
        let title = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let title = String::from_utf8_lossy(&title);
        (title.contains("PM2") && title.contains("God Daemon")).then_some(Self { pid, process })
    }

    /// Returns its pid.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Returns its processes, as they would be saved.
    ///
    /// # Errors
    /// When it does not answer: a sentence.
    pub fn processes(&self, home: &Home) -> Result<Vec<Value>, String> {
        let failed = |why: &dyn std::fmt::Display| format!("PM2 (pid {}) did not tell its list: {why}", self.pid());
        let answer = call(&home.pm2_rpc(), "getMonitorData").map_err(|error| failed(&error))?;
        let Value::Array(processes) = answer else { return Err(failed(&"no list came")) };
        Ok(processes.into_iter().map(|mut process| process["pm2_env"].take()).collect())
    }

    /// Tells it to save its list, stop its apps and leave; waits until it has.
    ///
    /// # Errors
    /// When it stays: a sentence.
    pub fn leave(&self) -> Result<(), String> {
        pidfd_send_signal(&self.process, Signal::TERM)
            .map_err(|error| format!("PM2 (pid {}) cannot be told to leave: {error}", self.pid()))?;
        let mut polled = [PollFd::new(&self.process, PollFlags::IN)];
        match poll(&mut polled, Timespec::try_from(LEAVES_WITHIN).ok().as_ref()) {
            Ok(0) => Err(format!("PM2 (pid {}) did not leave within {} s", self.pid(), LEAVES_WITHIN.as_secs())),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("PM2 (pid {}) cannot be waited for: {error}", self.pid())),
        }
    }
}

/// Calls a method of PM2's without arguments, and returns what it answers.
fn call(socket: &Path, method: &str) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = UnixStream::connect(socket).map_err(text)?;
    stream.set_read_timeout(Some(ANSWER_AT_MOST)).map_err(text)?;
    let call = json!({ "type": "call", "method": method, "args": [{}] });
    let message = Message(vec![Argument::Json(call), Argument::Text("rpm:1".into())]);
    stream.write_all(&message.bytes().map_err(|error| error.to_string())?).map_err(text)?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if let Some((message, _)) = Message::read(&bytes).map_err(|error| error.to_string())? {
            return answer(message);
        }
        match stream.read(&mut chunk).map_err(text)? {
            0 => return Err("it closed the connection".into()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn answer(message: Message) -> Result<Value, String> {
    let Some(Argument::Json(mut answer)) = message.0.into_iter().next() else { return Err("no answer came".into()) };
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        return Err(crate::settings::text(error));
    }
    // Node's convention: some methods put the error first.
    let mut values = match answer["args"].take() {
        Value::Array(values) => values.into_iter(),
        _ => return Err("no answer came".into()),
    };
    Ok(values.next_back().unwrap_or_default())
}
