//! `cleardump`: nothing is started by the next `resurrect`.

use rpm_daemon::dump;
use rpm_model::Flavour;

use crate::commands::Invocation;
use crate::home;
use crate::report::Failure;

pub(super) fn run(invocation: &Invocation) -> Result<(), Failure> {
    home::prepare(&invocation.home)?;
    let path = invocation.home.dump();
    let aside = match invocation.voice.flavour {
        Flavour::Rpm => dump::write(&path, &invocation.home.dump_backup(), Vec::new()),
        Flavour::Pm2 => dump::clear_as_pm2(&path).map(|()| None),
    }
    .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))?;
    if let Some(aside) = aside {
        invocation.voice.warn(aside);
    }
    invocation.voice.say(format_args!("Successfully created {}", path.display()));
    Ok(())
}
