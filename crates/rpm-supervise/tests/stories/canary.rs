use std::sync::Arc;

use rpm_model::{AppSpec, CanaryRule, ExecMode, Status};
use rpm_supervise::judge::Tally;
use rpm_supervise::{Command, CommandId, Effect, Event, FailureCause, Fate, Outcome, Refusal, Warning};

use crate::stage::{Stage, fact, ids, life, ms, spec};

fn version(version: &str, change: impl FnOnce(&mut AppSpec)) -> Arc<AppSpec> {
    spec(ExecMode::Cluster, 3, |spec| {
        spec.version = Some(version.into());
        change(spec);
    })
}

fn replace(stage: &mut Stage, worker: u32, old: u64, new: u64) {
    stage.spawned(life(worker, new)).listening(life(worker, new));
    stage.tell(Event::Drained { life: life(worker, old) }).exited(life(worker, old), 0);
}

/// Returns a stage where one of three workers runs ahead.
fn ahead() -> (Stage, CommandId) {
    let mut stage = Stage::with(version("1", |_| {}));
    let app = stage.app();
    let two = version("2", |spec| spec.canary = 1);
    let reload = stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![(app, two)], force: false });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    replace(&mut stage, 0, 1, 2);
    (stage, reload)
}

fn versions(stage: &Stage) -> Vec<&str> {
    (0..3).map(|worker| stage.worker(worker).spec.version.as_deref().expect("a version")).collect()
}

#[test]
fn a_canary_is_answered_and_waits() {
    let (mut stage, reload) = ahead();
    stage.done(reload, [0, 1, 2]);
    assert!(stage.spawns().is_empty());
    let app = stage.app();
    assert_eq!(stage.supervisor.app(app).expect("it is there").canaries, ids([0]));
    assert_eq!(versions(&stage), ["2", "1", "1"]);
    stage.ask(Command::Reload { workers: ids([1]), specs: vec![], force: false });
    assert!(matches!(stage.replies()[..], [(_, Outcome::Refused(Refusal::CanaryWaits { .. }))]));
}

#[test]
fn promoted_it_is_followed_by_the_others() {
    let (mut stage, _) = ahead();
    let app = stage.app();
    let promote = stage.ask(Command::Promote { app });
    assert_eq!(stage.spawns(), [life(1, 2)]);
    replace(&mut stage, 1, 1, 2);
    replace(&mut stage, 2, 1, 2);
    stage.done(promote, [1, 2]);
    assert_eq!(versions(&stage), ["2", "2", "2"]);
    stage.ask(Command::Promote { app });
    assert!(matches!(stage.replies()[..], [(_, Outcome::Refused(Refusal::NoCanary { .. }))]));
}

#[test]
fn aborted_it_goes_back() {
    let (mut stage, _) = ahead();
    let app = stage.app();
    let abort = stage.ask(Command::Abort { app });
    assert_eq!(stage.spawns(), [life(0, 3)]);
    replace(&mut stage, 0, 2, 3);
    stage.done(abort, [0]);
    assert_eq!(versions(&stage), ["1", "1", "1"]);
    assert_eq!(stage.supervisor.app(app).expect("it is there").spec.version.as_deref(), Some("1"));
}

#[test]
fn stop_restart_and_scale_leave_it_to_be_decided() {
    // A restart took its workers out of the roll: a mixture for ever, that nobody could promote or abort.
    let (mut stage, _) = ahead();
    let app = stage.app();
    let restart = stage.ask(Command::Restart { workers: ids([0, 1, 2]), specs: vec![] });
    for (worker, old) in [(0, 2), (1, 1), (2, 1)] {
        stage.exited(life(worker, old), 0);
        stage.spawned(life(worker, old + 1)).listening(life(worker, old + 1));
    }
    stage.done(restart, [0, 1, 2]);
    assert_eq!(versions(&stage), ["2", "1", "1"]);
    // Added workers, and those that are stopped and started again, are no canaries.
    stage.ask(Command::Scale { app, instances: 4 });
    stage.spawned(life(3, 1)).listening(life(3, 1));
    assert_eq!(stage.worker(3).spec.version.as_deref(), Some("1"));
    stage.ask(Command::Stop { workers: ids([1, 2]) });
    stage.exited(life(1, 2), 0).exited(life(2, 2), 0);
    stage.ask(Command::Restart { workers: ids([1]), specs: vec![] });
    stage.spawned(life(1, 3)).listening(life(1, 3));
    assert_eq!(versions(&stage), ["2", "1", "1"]);
    let view = stage.supervisor.app(app).expect("it is there");
    assert_eq!((view.canaries, view.proven.version.as_deref()), (ids([0]), Some("1")));
    // What is stopped is not started by a word on the release.
    let promote = stage.ask(Command::Promote { app });
    replace(&mut stage, 1, 3, 4);
    replace(&mut stage, 3, 1, 2);
    stage.done(promote, [1, 2, 3]);
    assert_eq!((versions(&stage), stage.status(2)), (vec!["2", "2", "2"], Status::Stopped));
    assert_eq!(stage.worker(3).spec.version.as_deref(), Some("2"));
}

#[test]
fn where_it_is_all_there_is_it_waits_all_the_same() {
    let one =
        |version: &str| spec(ExecMode::Cluster, 1, |spec| (spec.version, spec.canary) = (Some(version.into()), 1));
    let mut stage = Stage::with(one("1"));
    let app = stage.app();
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![(app, one("2"))], force: false });
    replace(&mut stage, 0, 1, 2);
    stage.done(reload, [0]);
    assert_eq!(stage.supervisor.app(app).expect("it is there").canaries, ids([0]));
    let abort = stage.ask(Command::Abort { app });
    replace(&mut stage, 0, 2, 3);
    stage.done(abort, [0]);
    assert_eq!(stage.worker(0).spec.version.as_deref(), Some("1"));
    // Nobody waits where nobody served.
    stage.ask(Command::Stop { workers: ids([0]) });
    stage.exited(life(0, 3), 0);
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![(app, one("2"))], force: false });
    stage.spawned(life(0, 4)).listening(life(0, 4)).done(reload, [0]);
    assert!(stage.supervisor.app(app).expect("it is there").canaries.is_empty());
}

#[test]
fn one_of_the_same_spec_is_not_said_to_be_taken_back() {
    // Files changed in place: the abort changed nothing, and said that the old workers serve.
    for by_hand in [true, false] {
        let rule = (!by_hand).then(CanaryRule::default);
        let one = version("1", |spec| (spec.canary, spec.canary_rule) = (1, rule));
        let mut stage = Stage::with(one);
        let app = stage.app();
        let reload = stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![], force: false });
        replace(&mut stage, 0, 1, 2);
        if by_hand {
            let abort = stage.ask(Command::Abort { app });
            stage.failed(abort, &[(0, FailureCause::NothingBefore)], false);
        } else {
            stage.pass(ms(2000)).tell(Event::Canary { app, seen: seen((40, 4), (120, 0)) });
            stage.failed_for(reload, 0, &FailureCause::NothingBefore);
        }
        assert!(stage.spawns().is_empty() && !stage.supervisor.app(app).expect("it is there").rolling);
    }
}

#[test]
fn where_workers_cannot_serve_beside_each_other_it_is_said_that_there_is_none() {
    let one = |mode, version: &str| spec(mode, 1, |spec| (spec.version, spec.canary) = (Some(version.into()), 1));
    for (next, is_said) in [
        (None, true),
        // Who read the file of the new spec has said so.
        (Some(one(ExecMode::Fork, "2")), false),
        // Nothing is wrong with the new one: the workers that run are in its way.
        (Some(one(ExecMode::Cluster, "2")), true),
    ] {
        let mut stage = Stage::with(one(ExecMode::Fork, "1"));
        let app = stage.app();
        let specs = next.into_iter().map(|spec| (app, spec)).collect();
        let reload = stage.ask(Command::Reload { workers: ids([0]), specs, force: false });
        let text = "is left out: its workers cannot serve beside each other".to_owned();
        let warning = Effect::Warn { command: reload, warning: Warning::Canary { app, text } };
        assert_eq!(stage.has(&warning), is_said);
    }
}

#[test]
fn a_shutdown_while_it_waits_leaves_the_release_that_has_proven_itself() {
    let (mut stage, _) = ahead();
    stage.ask(Command::Shutdown);
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[]);
    assert_eq!(versions(&stage), ["1", "1", "1"]);
    assert_eq!(stage.supervisor.app(stage.app()).expect("it is there").spec.version.as_deref(), Some("1"));
}

#[test]
fn one_that_crashes_while_it_waits_goes_back_by_itself() {
    let (mut stage, _) = ahead();
    stage.pass(ms(60_000)).exited(life(0, 2), 1);
    assert!(stage.has(&Effect::Ask { life: life(0, 3) }), "the new release is not started again");
    stage.exited(life(0, 3), 0);
    assert_eq!(stage.spawns(), [life(0, 4)]);
    stage.spawned(life(0, 4)).listening(life(0, 4));
    assert_eq!(stage.worker(0).spec.version.as_deref(), Some("1"));
    assert!(stage.supervisor.app(stage.app()).expect("it is there").canaries.is_empty());
}

#[test]
fn a_canary_outlives_the_daemon() {
    let (mut stage, _) = ahead();
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 2)), fact(life(1, 1)), fact(life(2, 1))]);
    let app = stage.app();
    assert_eq!(stage.supervisor.app(app).expect("it is there").canaries, ids([0]));
    stage.ask(Command::Promote { app });
    assert_eq!(stage.spawns().len(), 1);
}

#[test]
fn min_ready_keeps_the_old_worker_until_the_new_one_has_stayed_ready() {
    let mut stage = Stage::with(version("1", |_| {}));
    let app = stage.app();
    let two = version("2", |spec| spec.min_ready = ms(5000));
    let reload = stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![(app, two)], force: false });
    stage.spawned(life(0, 2)).listening(life(0, 2));
    assert_eq!(stage.effects, [Effect::Admit { life: life(0, 2) }], "both serve");
    assert!(stage.pass(ms(4999)).effects.is_empty());
    assert!(stage.pass(ms(1)).effects.iter().any(|effect| matches!(effect, Effect::Drain { .. })));
    // The second dies before its time is up.
    stage.tell(Event::Drained { life: life(0, 1) }).exited(life(0, 1), 0);
    stage.spawned(life(1, 2)).listening(life(1, 2)).pass(ms(3000)).exited(life(1, 2), 7);
    assert_eq!(stage.worker(1).life, Some(life(1, 1)), "the old one never left");
    assert_eq!(stage.spawns(), [life(0, 3)], "what was replaced goes back");
    replace(&mut stage, 0, 2, 3);
    let uptime = ms(3000);
    let cause = FailureCause::Exited { exit: rpm_model::Exit::Code(7), uptime };
    stage.failed(reload, &[(1, cause)], true);
    assert_eq!(versions(&stage), ["1", "1", "1"]);
}

#[test]
fn progress_deadline_says_how_long_a_worker_may_take() {
    let mut stage = Stage::with(version("1", |_| {}));
    let app = stage.app();
    let two = version("2", |spec| {
        (spec.progress_deadline, spec.wait_ready) = (Some(ms(90_000)), true);
    });
    let reload = stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![(app, two)], force: false });
    stage.spawned(life(0, 2)).pass(ms(89_999));
    assert!(stage.effects.is_empty());
    stage.pass(ms(1)).exited(life(0, 2), 0);
    stage.failed(reload, &[(0, FailureCause::NotReady { waited: ms(90_000) })], true);
}

#[test]
fn without_rollback_what_was_replaced_stays() {
    let mut stage = Stage::with(version("1", |_| {}));
    let app = stage.app();
    let two = version("2", |spec| spec.rollback = false);
    stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![(app, two)], force: false });
    replace(&mut stage, 0, 1, 2);
    stage.spawned(life(1, 2)).exited(life(1, 2), 1);
    assert!(stage.spawns().is_empty());
    assert_eq!(versions(&stage), ["2", "1", "1"]);
}

#[test]
fn what_an_app_was_is_remembered_with_its_fate() {
    let (mut stage, _) = ahead();
    let app = stage.app();
    let history = |stage: &Stage| -> Vec<(Option<String>, Fate)> {
        let view = stage.supervisor.app(app).expect("it is there");
        view.history.iter().map(|past| (past.spec.version.clone(), past.fate)).collect()
    };
    assert_eq!(history(&stage), [(Some("1".into()), Fate::Replaced)]);
    stage.ask(Command::Abort { app });
    replace(&mut stage, 0, 2, 3);
    assert_eq!(history(&stage), [(Some("2".into()), Fate::RolledBack)]);
    for number in 3..20 {
        let next = version(&number.to_string(), |_| {});
        stage.ask(Command::Restart { workers: ids([0]), specs: vec![(app, next)] });
    }
    assert_eq!(history(&stage).len(), 5, "not without end");
}

/// What so many requests of the canary and of the others have come to.
fn seen(canary: (u64, u64), others: (u64, u64)) -> Option<(Tally, Tally)> {
    let tally = |(requests, errors)| Tally { requests, errors, p95: None };
    Some((tally(canary), tally(others)))
}

/// Returns a stage where one of three workers runs ahead and is judged.
fn judged() -> (Stage, CommandId) {
    let mut stage = Stage::with(version("1", |_| {}));
    let app = stage.app();
    let two = version("2", |spec| (spec.canary, spec.canary_rule) = (1, Some(CanaryRule::default())));
    let reload = stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![(app, two)], force: false });
    replace(&mut stage, 0, 1, 2);
    assert!(stage.replies().is_empty(), "who asked hears what becomes of it");
    assert_eq!(stage.supervisor.watched_canaries().count(), 1);
    (stage, reload)
}

#[test]
fn judged_to_be_good_the_others_follow() {
    let (mut stage, reload) = judged();
    let app = stage.app();
    stage.pass(ms(59_000)).tell(Event::Canary { app, seen: seen((200, 0), (400, 1)) });
    assert!(stage.effects.is_empty(), "{:?}", stage.effects);
    stage.pass(ms(1000)).tell(Event::Canary { app, seen: seen((200, 0), (400, 1)) });
    assert_eq!(stage.spawns(), [life(1, 2)]);
    let told = stage.effects.iter().any(
        |effect| matches!(effect, Effect::PublishApp { detail, .. } if detail.starts_with("promoted: 0.0 % of 200")),
    );
    assert!(told, "{:?}", stage.effects);
    replace(&mut stage, 1, 1, 2);
    replace(&mut stage, 2, 1, 2);
    stage.done(reload, [0, 1, 2]);
    assert_eq!(versions(&stage), ["2", "2", "2"]);
}

#[test]
fn judged_to_be_bad_it_goes_back_and_the_command_fails() {
    let (mut stage, reload) = judged();
    let app = stage.app();
    stage.pass(ms(2000)).tell(Event::Canary { app, seen: seen((40, 4), (120, 0)) });
    assert_eq!(stage.spawns(), [life(0, 3)]);
    assert!(stage.replies().is_empty(), "not before all is as it was");
    replace(&mut stage, 0, 2, 3);
    let why = "10.0 % of 40 requests failed, of the others' 120 0.0 %; at most 1.0 % more may".to_owned();
    stage.failed(reload, &[(0, FailureCause::Judged { why })], true);
    assert_eq!(versions(&stage), ["1", "1", "1"]);
}

#[test]
fn what_cannot_be_judged_waits_for_people_who_are_told_so() {
    for seen in [None, seen((3, 0), (9, 0))] {
        let (mut stage, reload) = judged();
        let app = stage.app();
        stage.pass(ms(60_000)).tell(Event::Canary { app, seen });
        stage.done(reload, [0, 1, 2]);
        stage.tell(Event::Canary { app, seen });
        assert!(stage.effects.is_empty(), "it is said once: {:?}", stage.effects);
        let promote = stage.ask(Command::Promote { app });
        replace(&mut stage, 1, 1, 2);
        replace(&mut stage, 2, 1, 2);
        stage.done(promote, [1, 2]);
    }
}

#[test]
fn people_may_decide_before_it_is_judged() {
    let (mut stage, reload) = judged();
    let app = stage.app();
    let abort = stage.ask(Command::Abort { app });
    stage.failed(reload, &[(0, FailureCause::Superseded)], true);
    replace(&mut stage, 0, 2, 3);
    stage.done(abort, [0]);
    let (mut stage, reload) = judged();
    stage.ask(Command::Promote { app });
    stage.done(reload, [0, 1, 2]);
}

#[test]
fn a_judged_one_that_crashes_fails_its_command_and_the_next_daemon_judges_on() {
    let (mut stage, reload) = judged();
    stage.pass(ms(5000)).exited(life(0, 2), 1);
    stage.exited(life(0, 3), 0);
    stage.spawned(life(0, 4)).listening(life(0, 4));
    let cause = FailureCause::Exited { exit: rpm_model::Exit::Code(1), uptime: ms(5000) };
    stage.failed(reload, &[(0, cause)], true);

    let (mut stage, _) = judged();
    stage.pass(ms(59_000));
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 2)), fact(life(1, 1)), fact(life(2, 1))]);
    let app = stage.app();
    stage.pass(ms(1000)).tell(Event::Canary { app, seen: seen((200, 0), (400, 1)) });
    assert_eq!(stage.spawns().len(), 1, "its time goes on");
}
