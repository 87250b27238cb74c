//! A script of OpenRC.

use super::{Recipe, Service, quoted, words};

pub(super) fn recipe(service: &Service) -> Recipe {
    let Service { name, program, home_variable, home, user, user_home, path, wait_ip } = service;
    let program = quoted(&program.to_string_lossy());
    let assignments =
        [("HOME", &*user_home.to_string_lossy()), ("PATH", path), (home_variable, &*home.to_string_lossy())]
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .concat();
    let need = if *wait_ip { "need net\n    " } else { "" };
    // start-stop-daemon has no part in it: `resurrect` returns when the apps are up.
    let text = format!(
        "#!/sbin/openrc-run\n# Apps of {user}, kept up by rpm.\n\ndescription=\"Apps of {user}, kept up by rpm\"\n\
         extra_started_commands=\"reload\"\n\n{assignments}\n\
         depend() {{\n    {need}use net logger\n    after bootmisc\n}}\n\n\
         as_user() {{\n    su -s /bin/sh {user} -c \"{program} $1\"\n}}\n\n\
         start() {{\n    ebegin \"Starting the apps of {user}\"\n    as_user resurrect\n    eend $?\n}}\n\n\
         stop() {{\n    ebegin \"Stopping the apps of {user}\"\n    as_user kill\n    eend $?\n}}\n\n\
         reload() {{\n    ebegin \"Reloading the apps of {user}\"\n    as_user 'reload all'\n    eend $?\n}}\n"
    );
    Recipe {
        file: format!("/etc/init.d/{name}").into(),
        text,
        mode: 0o755,
        enable: vec![words(&format!("rc-update add {name} default"))],
        disable: vec![words(&format!("rc-update delete {name} default"))],
    }
}
