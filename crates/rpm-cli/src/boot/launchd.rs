//! A property list of launchd.

use super::{Recipe, Service, words};

pub(super) fn recipe(service: &Service) -> Recipe {
    let Service { name, program, home_variable, home, user, user_home, path, .. } = service;
    let variables =
        [("HOME", &*user_home.to_string_lossy()), ("PATH", path), (home_variable, &*home.to_string_lossy())]
            .map(|(name, value)| format!("    <key>{}</key>\n    <string>{}</string>\n", escaped(name), escaped(value)))
            .concat();
    let file = format!("/Library/LaunchDaemons/{name}.plist");
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key>\n  <string>{}</string>\n  <key>UserName</key>\n  <string>{}</string>\n  \
         <key>ProgramArguments</key>\n  <array>\n    <string>{}</string>\n    <string>resurrect</string>\n  </array>\n  \
         <key>RunAtLoad</key>\n  <true/>\n  <key>AbandonProcessGroup</key>\n  <true/>\n  \
         <key>EnvironmentVariables</key>\n  <dict>\n{variables}  </dict>\n</dict>\n</plist>\n",
        escaped(name),
        escaped(user),
        escaped(&program.to_string_lossy()),
    );
    Recipe {
        text,
        mode: 0o644,
        enable: vec![words(&format!("launchctl load -w {file}"))],
        disable: vec![words(&format!("launchctl unload -w {file}"))],
        file: file.into(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
