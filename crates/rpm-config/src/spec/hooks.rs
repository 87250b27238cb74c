//! `hooks`: commands around the life of each process.

use rpm_model::{AppSpec, Hook, Hooks};

use super::Reader;
use crate::values;

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    if !reader.app.settings.contains_key("hooks") {
        return;
    }
    let Some(mut section) = reader.section("hooks") else {
        // Anything else was reported already.
        spec.hooks = None;
        return;
    };
    let mut command = |hook: Hook| {
        let argv = section.read(hook.name(), "a command: a list of text, or one text", |value| {
            values::words(value).filter(|argv| argv.first().is_some_and(|program| !program.is_empty()))
        });
        argv.unwrap_or_default()
    };
    let [pre_start, post_start, pre_stop, on_exit] = Hook::ALL.map(&mut command);
    let timeout = section.duration("timeout").unwrap_or(Hooks::default().timeout);
    if timeout.is_zero()
        && let Some((_, setting)) = section.find("timeout")
    {
        section.refuse(&setting, "expected a time longer than nothing, for example \"30s\"");
    }
    section.finish();
    let hooks = Hooks { pre_start, post_start, pre_stop, on_exit, timeout };
    let is_empty = Hook::ALL.iter().all(|hook| hooks.command(*hook).is_none());
    spec.hooks = (!is_empty).then(|| Box::new(hooks));
}
