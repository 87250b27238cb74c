use std::sync::Arc;

use rpm_model::{AppSpec, ExecMode, Hooks};
use rpm_supervise::{Command, Effect, Event, FailureCause};

use crate::stage::{Stage, fact, ids, life, ms, spec};

fn hooked() -> Arc<AppSpec> {
    let hooks = Hooks { pre_stop: vec!["./leave.sh".into()], timeout: ms(5000), ..Hooks::default() };
    spec(ExecMode::Fork, 1, |spec| spec.hooks = Some(Box::new(hooks)))
}

#[test]
fn the_grace_begins_when_what_is_run_before_the_stop_has_ended() {
    let mut stage = Stage::with(hooked());
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }));
    stage.pass(ms(4000)).tell(Event::Asked { life: life(0, 1) });
    assert!(!stage.pass(ms(1500)).has(&Effect::Kill { life: life(0, 1) }));
    assert!(stage.pass(ms(101)).has(&Effect::Kill { life: life(0, 1) }));
    stage.exited(life(0, 1), 0).done(stop, [0]);
}

#[test]
fn whoever_never_says_that_it_asked_is_not_waited_for_without_end() {
    let mut stage = Stage::with(hooked());
    stage.ask(Command::Stop { workers: ids([0]) });
    assert!(!stage.pass(ms(6500)).has(&Effect::Kill { life: life(0, 1) }));
    assert!(stage.pass(ms(101)).has(&Effect::Kill { life: life(0, 1) }));
}

#[test]
fn the_next_daemon_asks_again_since_nobody_knows_whether_that_was_done() {
    let mut stage = Stage::with(hooked());
    stage.ask(Command::Stop { workers: ids([0]) });
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1))]);
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }));
}

#[test]
fn a_start_whose_hook_fails_fails_with_its_reason() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![hooked()] });
    let why = "its pre_start hook failed: exit code 3".to_owned();
    stage.tell(Event::SpawnFailed { life: life(0, 1), why: why.clone() });
    stage.failed_for(start, 0, &FailureCause::SpawnFailed(why));
}
