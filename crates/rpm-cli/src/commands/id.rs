//! `id`: the ids of an app's workers, as a list; for scripts.

use serde_json::Value;

use crate::args::One;
use crate::commands::Invocation;
use crate::report::Failure;
use crate::screens::inspect::inspect;
use crate::target;

pub(super) fn run(args: &One, invocation: &Invocation) -> Result<(), Failure> {
    let list = invocation.session()?.list(false)?;
    // PM2 answers an unknown name with an empty list and success; scripts rely on it.
    let ids = target::ids(&list, |app| app.spec.name == args.target);
    let ids: Value = ids.iter().map(|id| id.0).collect();
    invocation.voice.data(&format!("{}\n", inspect(&ids)));
    Ok(())
}
