//! A script in /etc/init.d, for System V's init and what came after it.

use super::{Recipe, Service, quoted, words};

pub(super) fn recipe(service: &Service) -> Recipe {
    let Service { name, program, home_variable, home, user, user_home, path, .. } = service;
    let program = quoted(&program.to_string_lossy());
    let assignments =
        [("HOME", &*user_home.to_string_lossy()), ("PATH", path), (home_variable, &*home.to_string_lossy())]
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .concat();
    let text = format!(
        "#!/bin/sh\n### BEGIN INIT INFO\n# Provides:          {name}\n# Required-Start:    $local_fs $remote_fs $network\n\
         # Required-Stop:     $local_fs $remote_fs $network\n# Default-Start:     2 3 4 5\n# Default-Stop:      0 1 6\n\
         # Short-Description: Apps of {user}, kept up by rpm\n### END INIT INFO\n\n{assignments}\n\
         as_user() {{\n    su -s /bin/sh {user} -c \"{program} $1\"\n}}\n\n\
         case \"$1\" in\n    start) as_user resurrect ;;\n    stop) as_user kill ;;\n    reload|force-reload) as_user 'reload all' ;;\n    \
         restart) as_user kill; as_user resurrect ;;\n    status) as_user list ;;\n    \
         *) echo \"usage: $0 start|stop|restart|reload|status\" >&2; exit 2 ;;\nesac\n"
    );
    Recipe {
        file: format!("/etc/init.d/{name}").into(),
        text,
        mode: 0o755,
        enable: vec![words(&format!("update-rc.d {name} defaults"))],
        disable: vec![words(&format!("update-rc.d -f {name} remove"))],
    }
}
