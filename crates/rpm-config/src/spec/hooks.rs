//! `hooks`: commands around the life of each process.

use rpm_model::{AppSpec, Hook, Hooks};
use serde_json::Value;

use super::Reader;
use crate::balance::section::{Section, place};
use crate::values;

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    let Some(setting) = reader.app.settings.get("hooks") else { return };
    // Anything else was reported already.
    let Value::Object(object) = &setting.value else {
        spec.hooks = None;
        return;
    };
    let label = format!("{}, `hooks`", reader.app.label);
    let mut section = Section::new(object, place(setting), label, reader.report);
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
