//! `examples`: what one types first.

use crate::commands::Invocation;

const EXAMPLES: &[(&str, &[&str])] = &[
    ("Start an app under a name", &["start app.js --name app"]),
    ("One worker for each core, on one port", &["start app.js -i max"]),
    ("Any program, any command line", &["start ./server -- --port 80", "start \"python3 -m http.server\""]),
    ("The apps of an ecosystem file", &["init simple", "start ecosystem.config.js --env production"]),
    ("Look at them", &["list", "monit", "logs app", "describe app"]),
    ("A new release without losing a request", &["reload app"]),
    ("More and fewer workers", &["scale app +2", "scale app 1"]),
    ("Stop, start again, forget", &["stop app", "restart app", "delete app"]),
    ("Come back at boot", &["startup", "save"]),
    ("Serve a directory", &["serve ./public 8080 --spa"]),
    ("In a container", &["runtime app.js"]),
    ("Complete words with the tab key", &["completion install"]),
];

pub(super) fn run(invocation: &Invocation) {
    let program = invocation.voice.program();
    let mut text = String::new();
    for (what, lines) in EXAMPLES {
        text.push_str(&format!("- {what}:\n\n"));
        lines.iter().for_each(|line| text.push_str(&format!("    $ {program} {line}\n")));
        text.push('\n');
    }
    invocation.voice.show(&text);
}
