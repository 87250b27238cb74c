//! `attach`: a worker's output on the terminal, and the terminal's lines as its input.
//!
//! The output is read from the log files, so it is there whichever way it is written; the input ends with ours, and the
//! worker's stays open.

use std::io::{self, BufRead as _, Write as _};

use rpm_logs::Follower;
use rpm_logs::follow::Begin;

use crate::args::One;
use crate::commands::Invocation;
use crate::commands::send::{only_worker, write};
use crate::report::Failure;
use crate::target;

pub(super) fn run(args: &One, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let worker = only_worker(&args.target, &mut session)?;
    let list = session.list(false)?;
    let failed = |error: io::Error| Failure::new(format!("the output cannot be followed: {error}"));
    let mut follower = Follower::new().map_err(failed)?;
    if let Some((_, info)) = target::find(&list, worker) {
        for (path, is_error) in [(&info.out_log, false), (&info.err_log, true)] {
            if let Some(path) = path {
                follower.add(is_error, path, Begin::End);
            }
        }
    }
    invocation.voice.note(format_args!("attached to worker {worker}; Ctrl-D or Ctrl-C leaves"));
    let handle = follower.handle();
    let output = std::thread::spawn(move || -> io::Result<()> {
        while let Some(line) = follower.next()? {
            let mut bytes = line.bytes;
            bytes.push(b'\n');
            if line.label { io::stderr().write_all(&bytes)? } else { io::stdout().write_all(&bytes)? }
        }
        Ok(())
    });
    let mut outcome = Ok(());
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        outcome = write(&mut session, worker, format!("{line}\n"));
        if outcome.is_err() {
            break;
        }
    }
    handle.close();
    match output.join() {
        // A reader that left ends it quietly.
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => outcome.and(Err(failed(error))),
        _ => outcome,
    }
}
