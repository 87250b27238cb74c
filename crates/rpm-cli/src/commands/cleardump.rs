//! `cleardump`: nothing is started by the next `resurrect`.

use rpm_daemon::dump;

use crate::commands::Invocation;
use crate::home;
use crate::report::Failure;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    home::prepare(&invocation.home)?;
    let path = invocation.home.dump();
    dump::write(&path, &invocation.home.dump_backup(), Vec::new())
        .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))?;
    invocation.voice.say(format_args!("Successfully created {}", path.display()));
    Ok(())
}
