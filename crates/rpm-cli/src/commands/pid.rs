//! `pid`: process ids, a line each; for scripts.

use std::fmt::Write as _;

use crate::args::Optional;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::target;

pub(super) fn run(args: &Optional, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let list = session.list(false)?;
    let workers = match &args.target {
        Some(word) => target::workers_by_name(word, &list).unwrap_or_default(),
        None => target::ids(&list, |_| true),
    };
    let mut out = String::new();
    for (_, worker) in workers.iter().filter_map(|id| target::find(&list, *id)) {
        let _ = writeln!(out, "{}", worker.pid.unwrap_or(0));
    }
    if out.is_empty() {
        // PM2 answers an unknown name with an empty line and success; scripts rely on it.
        out.push('\n');
    }
    invocation.voice.data(&out);
    Ok(())
}
