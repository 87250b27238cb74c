use std::sync::Arc;
use std::time::Duration;

use rpm_model::{AppId, AppSpec, ExecMode, Exit, Status};
use rpm_supervise::{Cause, Command, Effect, Event, FailureCause, Happening, Outcome, Refusal, Taken};

use crate::stage::{Stage, cluster, ids, life, ms, spec};

fn version(version: &str, instances: u32) -> Arc<AppSpec> {
    spec(ExecMode::Cluster, instances, |spec| spec.version = Some(version.into()))
}

/// Lets the replacement of a worker become ready and the old one go.
fn replace(stage: &mut Stage, worker: u32, old: u64, new: u64) {
    stage.spawned(life(worker, new)).listening(life(worker, new));
    stage.tell(Event::Drained { life: life(worker, old) }).exited(life(worker, old), 0);
}

#[test]
fn a_reload_replaces_one_after_another_and_drains_before_it_asks() {
    let mut stage = Stage::with(cluster(2));
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert!(stage.supervisor.app(AppId(0)).expect("it is there").rolling);
    stage.spawned(life(0, 2));
    assert_eq!(stage.worker(0).life, Some(life(0, 1)), "the old one is shown while it serves");
    stage.listening(life(0, 2));
    let until = stage.now + ms(10_000);
    assert_eq!(stage.effects, [Effect::Admit { life: life(0, 2) }, Effect::Drain { life: life(0, 1), until }]);
    assert_eq!(stage.worker(0).life, Some(life(0, 2)));
    assert!(stage.supervisor.is_current(life(0, 1)));
    stage.tell(Event::Drained { life: life(0, 1) });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.effects[0], Effect::Progress { command: reload, done: 1, total: 2 });
    assert_eq!(stage.spawns(), [life(1, 2)]);
    replace(&mut stage, 1, 1, 2);
    stage.done(reload, [0, 1]);
    assert_eq!((stage.worker(0).restarts, stage.worker(1).restarts), (1, 1));
    assert!(!stage.supervisor.app(AppId(0)).expect("it is there").rolling);
}

#[test]
fn reload_parallel_says_how_many_at_a_time() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 5, |spec| spec.reload_parallel = 2));
    stage.ask(Command::Reload { workers: ids(0..5), specs: vec![], force: false });
    assert_eq!(stage.spawns(), [life(0, 2), life(1, 2)]);
    replace(&mut stage, 1, 1, 2);
    assert_eq!(stage.spawns(), [life(2, 2)]);
}

#[test]
fn a_deaf_old_worker_is_killed_after_its_drain_and_its_grace() {
    let mut stage = Stage::with(cluster(1));
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.spawned(life(0, 2)).listening(life(0, 2));
    assert_eq!(stage.pass(ms(10_000)).effects, [Effect::Ask { life: life(0, 1) }]);
    assert_eq!(stage.pass(ms(1600)).effects, [Effect::Kill { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0).done(reload, [0]);
}

#[test]
fn a_release_that_crashes_at_boot_never_stops_the_old_worker() {
    let mut stage = Stage::with(cluster(2));
    let reload =
        stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), version("bad", 2))], force: false });
    stage.spawned(life(0, 2)).pass(ms(80)).exited(life(0, 2), 1);
    stage.failed(reload, &[(0, FailureCause::Exited { exit: Exit::Code(1), uptime: ms(80) })], true);
    assert!(stage.spawns().is_empty());
    for worker in [0, 1] {
        assert_eq!((stage.status(worker), stage.worker(worker).life), (Status::Online, Some(life(worker, 1))));
        assert_eq!(stage.worker(worker).restarts, 0);
    }
    assert_eq!(stage.supervisor.app(AppId(0)).expect("it is there").spec.version, None, "the good spec is back");
}

#[test]
fn workers_replaced_before_the_failure_are_rolled_back_without_a_gap() {
    let mut stage = Stage::with(cluster(3));
    let reload =
        stage.ask(Command::Reload { workers: ids([0, 1, 2]), specs: vec![(AppId(0), version("2", 3))], force: false });
    replace(&mut stage, 0, 1, 2);
    stage.spawned(life(1, 2)).exited(life(1, 2), 1);
    assert_eq!(stage.replies(), [], "the answer comes when the old release is back");
    assert_eq!(stage.spawns(), [life(0, 3)]);
    stage.spawned(life(0, 3));
    assert_eq!(stage.happenings, [(0, Happening::Started { cause: Cause::Rollback })]);
    stage.listening(life(0, 3));
    assert_eq!(stage.worker(0).spec.version, None);
    stage.tell(Event::Drained { life: life(0, 2) }).exited(life(0, 2), 0);
    stage.failed(reload, &[(1, FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) })], true);
    assert_eq!(stage.worker(2).life, Some(life(2, 1)), "those not reached are not touched");
}

#[test]
fn a_failed_reload_of_the_same_release_rolls_nothing_back() {
    let mut stage = Stage::with(cluster(2));
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    replace(&mut stage, 0, 1, 2);
    stage.spawned(life(1, 2)).exited(life(1, 2), 1);
    stage.failed(reload, &[(1, FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) })], true);
    assert_eq!(stage.worker(0).life, Some(life(0, 2)));
}

#[test]
fn a_rollback_that_fails_too_is_told() {
    let mut stage = Stage::with(cluster(2));
    let reload =
        stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), version("2", 2))], force: false });
    replace(&mut stage, 0, 1, 2);
    stage.spawned(life(1, 2)).exited(life(1, 2), 1);
    stage.spawned(life(0, 3)).exited(life(0, 3), 1);
    let cause = FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) };
    stage.failed(reload, &[(1, cause.clone()), (0, cause)], false);
    assert_eq!(stage.status(0), Status::Online);
}

#[test]
fn an_unready_replacement_fails_the_roll_after_60_s() {
    let mut stage = Stage::with(cluster(1));
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    // The old one listened, so it is not enough to be there.
    stage.spawned(life(0, 2)).settled(life(0, 2));
    assert!(stage.pass(ms(59_999)).effects.is_empty());
    assert_eq!(stage.pass(ms(1)).effects, [Effect::Ask { life: life(0, 2) }]);
    assert_eq!(stage.pass(ms(1600)).effects, [Effect::Kill { life: life(0, 2) }]);
    stage.exited(life(0, 2), 0);
    stage.failed(reload, &[(0, FailureCause::NotReady { waited: Duration::from_secs(60) })], true);
    assert_eq!((stage.status(0), stage.worker(0).life), (Status::Online, Some(life(0, 1))));
}

#[test]
fn a_listen_timeout_that_is_set_is_the_limit_in_a_roll() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 1, |spec| spec.listen_timeout = Some(ms(500))));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    assert_eq!(stage.spawned(life(0, 2)).pass(ms(500)).effects, [Effect::Ask { life: life(0, 2) }]);
}

#[test]
fn a_worker_that_never_listened_is_replaced_by_one_that_settles() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![cluster(1)] });
    stage.spawned(life(0, 1)).settled(life(0, 1)).pass(ms(1000));
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.spawned(life(0, 2)).settled(life(0, 2)).pass(ms(1000));
    assert_eq!(stage.worker(0).life, Some(life(0, 2)));
    stage.tell(Event::Drained { life: life(0, 1) }).exited(life(0, 1), 0).done(reload, [0]);
}

#[test]
fn an_address_taken_in_a_roll_fails_it() {
    let mut stage = Stage::with(cluster(1));
    let reload =
        stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("2", 1))], force: false });
    let taken = Taken { address: "[::]:81".into(), owner: None, error: "address already in use".into() };
    stage.spawned(life(0, 2)).tell(Event::BindFailed { life: life(0, 2), taken: taken.clone() });
    stage.exited(life(0, 2), 1).failed(reload, &[(0, FailureCause::Taken(taken))], true);
    assert_eq!(stage.worker(0).life, Some(life(0, 1)));
}

#[test]
fn a_crash_during_a_reload_lets_the_replacement_take_the_seat() {
    let mut stage = Stage::with(cluster(1));
    let reload =
        stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("2", 1))], force: false });
    stage.spawned(life(0, 2)).pass(ms(100)).exited(life(0, 1), 1);
    assert!(stage.spawns().is_empty(), "the replacement is there already");
    assert_eq!(stage.status(0), Status::Launching);
    stage.listening(life(0, 2)).done(reload, [0]);
    assert_eq!((stage.status(0), stage.worker(0).restarts), (Status::Online, 1));
}

#[test]
fn if_both_crash_the_old_release_is_started() {
    let mut stage = Stage::with(cluster(1));
    let reload =
        stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("2", 1))], force: false });
    stage.spawned(life(0, 2)).pass(ms(1100)).exited(life(0, 1), 1).exited(life(0, 2), 1);
    assert_eq!(stage.spawns(), [life(0, 3)]);
    assert_eq!(stage.worker(0).spec.version, None);
    stage.spawned(life(0, 3)).listening(life(0, 3));
    stage.failed(reload, &[(0, FailureCause::Exited { exit: Exit::Code(1), uptime: ms(1100) })], true);
}

#[test]
fn a_plain_app_is_restarted() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |_| {}));
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0).spawned(life(0, 2)).settled(life(0, 2)).done(reload, [0]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn workers_that_are_down_are_started() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Stop { workers: ids([1]) });
    stage.exited(life(1, 1), 0);
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    assert_eq!(stage.spawns(), [life(1, 2)]);
    stage.spawned(life(1, 2)).listening(life(1, 2));
    assert_eq!(stage.spawns(), [life(0, 2)]);
    replace(&mut stage, 0, 1, 2);
    stage.done(reload, [0, 1]);
}

#[test]
fn a_second_reload_is_refused_while_the_first_goes_on() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    let second = stage.ask(Command::Reload { workers: ids([1]), specs: vec![], force: false });
    let refusal = Refusal::AlreadyReloading { app: "api".into() };
    assert_eq!(stage.effects, [Effect::Reply { command: second, outcome: Outcome::Refused(refusal) }]);
}

#[test]
fn a_forced_reload_takes_the_place_of_the_one_in_progress() {
    let mut stage = Stage::with(cluster(2));
    let first =
        stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), version("bad", 2))], force: false });
    stage.spawned(life(0, 2));
    let good = vec![(AppId(0), version("good", 2))];
    let second = stage.ask(Command::Reload { workers: ids([0, 1]), specs: good, force: true });
    stage.failed(first, &[(0, FailureCause::Superseded), (1, FailureCause::Superseded)], false);
    assert!(stage.has(&Effect::Ask { life: life(0, 2) }), "the replacement of the first is not wanted any more");
    assert!(!stage.has(&Effect::Ask { life: life(0, 1) }), "the old worker serves on");
    assert_eq!(stage.spawns(), [life(1, 2)], "the other seat is free");
    stage.exited(life(0, 2), 0);
    replace(&mut stage, 1, 1, 2);
    replace(&mut stage, 0, 1, 3);
    stage.done(second, [0, 1]);
}

#[test]
fn a_forced_reload_that_fails_goes_back_to_what_was_good_before_both() {
    let mut stage = Stage::with(cluster(1));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("bad", 1))], force: false });
    stage.spawned(life(0, 2));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: true });
    stage.exited(life(0, 2), 0);
    stage.spawned(life(0, 3)).exited(life(0, 3), 1);
    assert_eq!(stage.supervisor.app(AppId(0)).expect("the app").spec.version, None);
}

#[test]
fn a_stop_takes_its_seats_out_of_a_roll() {
    let mut stage = Stage::with(cluster(2));
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    stage.spawned(life(0, 2));
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }) && stage.has(&Effect::Ask { life: life(0, 2) }));
    assert_eq!(stage.spawns(), [life(1, 2)], "the roll goes on with the others");
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.replies(), [], "a seat is down when both processes are gone");
    stage.exited(life(0, 2), 0).done(stop, [0]);
    replace(&mut stage, 1, 1, 2);
    stage.failed(reload, &[(0, FailureCause::Superseded)], false);
}

#[test]
fn a_reload_with_fewer_instances_removes_the_surplus_after_the_roll() {
    let mut stage = Stage::with(cluster(3));
    let reload =
        stage.ask(Command::Reload { workers: ids(0..3), specs: vec![(AppId(0), version("2", 2))], force: false });
    replace(&mut stage, 1, 1, 2);
    replace(&mut stage, 2, 1, 2);
    assert!(stage.effects.iter().any(|effect| matches!(effect, Effect::Drain { life: l, .. } if *l == life(0, 1))));
    stage.tell(Event::Drained { life: life(0, 1) }).exited(life(0, 1), 0).done(reload, [0, 1, 2]);
    assert_eq!(stage.supervisor.apps().next().expect("it is there").workers.len(), 2);
}

#[test]
fn a_single_instance_is_replaced_without_a_gap() {
    let mut stage = Stage::with(cluster(1));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.spawned(life(0, 2));
    assert_eq!(stage.status(0), Status::Online);
    stage.listening(life(0, 2));
    assert_eq!(stage.status(0), Status::Online);
}

#[test]
fn an_app_that_changes_how_it_gets_its_sockets_is_restarted() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |_| {}));
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), cluster(1))], force: false });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0).spawned(life(0, 2)).listening(life(0, 2)).done(reload, [0]);
    assert_eq!(stage.worker(0).spec.exec_mode, ExecMode::Cluster);
}

#[test]
fn a_restart_in_the_middle_of_a_roll_keeps_to_the_release_that_serves_until_its_turn() {
    // Who was restarted left the roll, and kept the old release for ever beside the others' new one.
    let mut stage = Stage::with(cluster(2));
    let reload =
        stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), version("2", 2))], force: false });
    let restart = stage.ask(Command::Restart { workers: ids([1]), specs: vec![] });
    stage.exited(life(1, 1), 0);
    assert_eq!(stage.worker(1).spec.version, None, "version 2 has not proved itself yet");
    stage.spawned(life(1, 2)).listening(life(1, 2)).done(restart, [1]);
    replace(&mut stage, 0, 1, 2);
    assert_eq!(stage.spawns(), [life(1, 3)]);
    replace(&mut stage, 1, 2, 3);
    stage.done(reload, [0, 1]);
    assert_eq!(versions(&stage), [Some("2"), Some("2")]);
}

#[test]
fn a_restart_of_all_by_a_changed_file_lets_a_roll_go_on() {
    // With `watch`, every deploy touched files and was overtaken by the restart that this brought about.
    let mut stage = Stage::with(cluster(2));
    let reload =
        stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), version("2", 2))], force: false });
    stage.spawned(life(0, 2));
    let renew = stage.ask(Command::Renew { workers: ids([0, 1]), cause: Cause::Watch, roll: false });
    stage.exited(life(0, 2), 0).exited(life(0, 1), 0).exited(life(1, 1), 0);
    stage.spawned(life(0, 3)).listening(life(0, 3));
    stage.spawned(life(1, 2)).listening(life(1, 2)).done(renew, [0, 1]);
    assert_eq!(stage.spawns(), [life(0, 4)], "its trial was cut off, and it has its turn once more");
    replace(&mut stage, 0, 3, 4);
    stage.done(reload, [0, 1]);
    assert_eq!(versions(&stage), [Some("2"), Some("2")]);
}

#[test]
fn who_is_stopped_in_the_middle_of_a_roll_is_started_with_what_the_others_have() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), version("2", 2))], force: false });
    stage.ask(Command::Stop { workers: ids([1]) });
    stage.exited(life(1, 1), 0);
    replace(&mut stage, 0, 1, 2);
    assert!(stage.spawns().is_empty(), "what was stopped stays so");
    stage.ask(Command::Restart { workers: ids([1]), specs: vec![] });
    assert_eq!(versions(&stage), [Some("2"), Some("2")]);
}

#[test]
fn a_worker_added_in_the_middle_of_a_roll_begins_with_the_release_that_serves() {
    let mut stage = Stage::with(cluster(1));
    let reload =
        stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("2", 1))], force: false });
    let scale = stage.ask(Command::Scale { app: AppId(0), instances: 2 });
    assert_eq!(stage.worker(1).spec.version, None, "version 2 has not proved itself yet");
    stage.spawned(life(1, 1)).listening(life(1, 1)).done(scale, [1]);
    stage.spawned(life(0, 2)).exited(life(0, 2), 1);
    stage.failed(reload, &[(0, FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) })], true);
    assert_eq!(versions(&stage), [None, None]);
    assert_eq!(stage.supervisor.app(AppId(0)).expect("it is there").spec.instances, 2);
    // When the release is good, it has its turn.
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("3", 2))], force: false });
    stage.ask(Command::Scale { app: AppId(0), instances: 3 });
    stage.spawned(life(2, 1)).listening(life(2, 1));
    replace(&mut stage, 0, 1, 3);
    replace(&mut stage, 2, 1, 2);
    assert_eq!(stage.worker(2).spec.version.as_deref(), Some("3"));
}

/// Returns the releases of the first two workers.
fn versions(stage: &Stage) -> [Option<&str>; 2] {
    [0, 1].map(|worker| stage.worker(worker).spec.version.as_deref())
}

/// Returns what was told of reloads in the last step.
fn told(stage: &Stage) -> Vec<String> {
    let told = stage.effects.iter().filter_map(|effect| match effect {
        Effect::PublishApp { event: "reload", detail, .. } => Some(detail.clone()),
        _ => None,
    });
    told.collect()
}

#[test]
fn the_end_of_a_reload_is_told_with_the_time_it_took() {
    let mut stage = Stage::with(version("1", 1));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.pass(ms(700));
    replace(&mut stage, 0, 1, 2);
    assert_eq!(told(&stage), ["done after 700 ms"]);
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), version("2", 1))], force: false });
    stage.spawned(life(0, 3)).exited(life(0, 3), 1);
    assert_eq!(told(&stage), ["failed after 0 ms"]);
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.pass(ms(30)).ask(Command::Reload { workers: ids([0]), specs: vec![], force: true });
    assert_eq!(told(&stage), ["superseded after 30 ms"]);
    // A new spec takes its place.
    stage.ask(Command::Restart { workers: ids([0]), specs: vec![(AppId(0), version("3", 1))] });
    assert_eq!(told(&stage), ["superseded after 0 ms"]);
}

fn fork_version(version: &str) -> Arc<AppSpec> {
    spec(ExecMode::Fork, 1, |spec| spec.version = Some(version.into()))
}

fn version_of(stage: &Stage) -> Option<String> {
    stage.supervisor.app(AppId(0)).expect("it is there").spec.version.clone()
}

/// The app was down for good, and the history said that the release had been replaced.
#[test]
fn a_release_that_crashes_in_the_place_of_the_old_one_makes_room_for_it() {
    for uptime in [80, 900] {
        let mut stage = Stage::with(fork_version("good"));
        let (workers, specs) = (ids([0]), vec![(AppId(0), fork_version("bad"))]);
        let reload = stage.ask(Command::Reload { workers, specs, force: false });
        assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
        stage.exited(life(0, 1), 0).spawned(life(0, 2)).settled(life(0, 2)).pass(ms(uptime)).exited(life(0, 2), 1);
        assert_eq!(stage.spawns(), [life(0, 3)], "{uptime}");
        assert_eq!(version_of(&stage).as_deref(), Some("good"));
        assert_eq!(stage.worker(0).spec.version.as_deref(), Some("good"));
        assert_eq!(stage.spawned(life(0, 3)).replies(), [], "the answer comes when the old release is up");
        stage.settled(life(0, 3));
        let cause = FailureCause::Exited { exit: Exit::Code(1), uptime: ms(uptime) };
        stage.failed(reload, &[(0, cause)], true);
        assert_eq!(stage.status(0), Status::Online);
    }
}

#[test]
fn that_the_release_before_does_not_come_up_is_told_too() {
    let mut stage = Stage::with(fork_version("good"));
    let (workers, specs) = (ids([0]), vec![(AppId(0), fork_version("bad"))]);
    let reload = stage.ask(Command::Reload { workers, specs, force: false });
    stage.exited(life(0, 1), 0).spawned(life(0, 2)).exited(life(0, 2), 1).spawned(life(0, 3)).exited(life(0, 3), 2);
    let ended = |code| FailureCause::Exited { exit: Exit::Code(code), uptime: ms(0) };
    stage.failed(reload, &[(0, ended(1)), (0, FailureCause::NotBack(Box::new(ended(2))))], false);
}

#[test]
fn a_good_release_in_the_place_of_the_old_one_has_to_live_for_a_while() {
    let mut stage = Stage::with(fork_version("good"));
    let (workers, specs) = (ids([0]), vec![(AppId(0), fork_version("better"))]);
    let reload = stage.ask(Command::Reload { workers, specs, force: false });
    stage.exited(life(0, 1), 0).spawned(life(0, 2)).settled(life(0, 2));
    assert!(stage.replies().is_empty());
    stage.pass(ms(1000)).done(reload, [0]);
    assert_eq!((version_of(&stage).as_deref(), stage.worker(0).restarts), (Some("better"), 1));
}

#[test]
fn without_rollback_and_by_a_restart_a_release_stays_what_it_is() {
    for by_restart in [false, true] {
        let mut stage = Stage::with(fork_version("good"));
        let bad = spec(ExecMode::Fork, 1, |spec| (spec.version, spec.rollback) = (Some("bad".into()), by_restart));
        let (workers, specs) = (ids([0]), vec![(AppId(0), bad)]);
        match by_restart {
            true => stage.ask(Command::Restart { workers, specs }),
            false => stage.ask(Command::Reload { workers, specs, force: false }),
        };
        stage.exited(life(0, 1), 0).spawned(life(0, 2)).exited(life(0, 2), 1).spawned(life(0, 3));
        assert_eq!(stage.worker(0).spec.version.as_deref(), Some("bad"));
    }
}

#[test]
fn a_release_in_another_mode_that_crashes_makes_room_for_all_of_the_old_one() {
    let mut stage = Stage::with(version("good", 2));
    let bad = spec(ExecMode::Fork, 2, |spec| spec.version = Some("bad".into()));
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(AppId(0), bad)], force: false });
    stage.exited(life(0, 1), 0).exited(life(1, 1), 0);
    stage.spawned(life(0, 2)).settled(life(0, 2)).spawned(life(1, 2)).exited(life(1, 2), 1);
    stage.exited(life(0, 2), 0);
    for worker in [0, 1] {
        assert_eq!(stage.replies(), []);
        stage.spawned(life(worker, 3)).listening(life(worker, 3));
        assert_eq!((stage.status(worker), stage.worker(worker).spec.exec_mode), (Status::Online, ExecMode::Cluster));
    }
    stage.failed_for(reload, 1, &FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) });
}

#[test]
fn a_job_that_is_reloaded_and_ends_well_has_proven_itself() {
    let once = |version: &str| {
        spec(ExecMode::Fork, 1, |spec| (spec.version, spec.restart.autorestart) = (Some(version.into()), false))
    };
    for code in [0, 1] {
        let mut stage = Stage::with(once("good"));
        stage.exited(life(0, 1), 0);
        let (workers, specs) = (ids([0]), vec![(AppId(0), once("better"))]);
        let reload = stage.ask(Command::Reload { workers, specs, force: false });
        stage.spawned(life(0, 2)).exited(life(0, 2), code);
        match code {
            0 => stage.done(reload, [0]),
            code => stage.failed_for(reload, 0, &FailureCause::Exited { exit: Exit::Code(code), uptime: ms(0) }),
        }
        assert_eq!((stage.status(0), version_of(&stage).as_deref() == Some("better")), (Status::Stopped, code == 0));
    }
}

/// The reload was done before the workers that it adds had started: a release that only they could not run stayed.
#[test]
fn workers_that_a_reload_adds_are_a_part_of_it() {
    for is_good in [true, false] {
        let mut stage = Stage::with(version("good", 2));
        let (workers, specs) = (ids([0, 1]), vec![(AppId(0), version("new", 4))]);
        let reload = stage.ask(Command::Reload { workers, specs, force: false });
        replace(&mut stage, 0, 1, 2);
        replace(&mut stage, 1, 1, 2);
        assert!(stage.replies().is_empty());
        assert_eq!(stage.spawns(), [life(2, 1), life(3, 1)]);
        stage.spawned(life(2, 1)).listening(life(2, 1)).spawned(life(3, 1));
        if is_good {
            stage.listening(life(3, 1)).done(reload, 0..4);
            continue;
        }
        stage.exited(life(3, 1), 1);
        assert!(stage.has(&Effect::Drain { life: life(2, 1), until: stage.now + ms(10_000) }));
        assert_eq!(stage.spawns().iter().filter(|life| life.worker.0 < 2).count(), 1, "the others go back");
        replace(&mut stage, 0, 2, 3);
        replace(&mut stage, 1, 2, 3);
        stage.failed_for(reload, 3, &FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) });
        stage.tell(Event::Drained { life: life(2, 1) }).exited(life(2, 1), 0).exited(life(3, 2), 0);
        let app = stage.supervisor.app(AppId(0)).expect("it is there");
        let versions: Vec<_> = app.workers.iter().map(|worker| worker.spec.version.as_deref()).collect();
        assert_eq!((app.spec.instances, versions), (2, vec![Some("good"); 2]));
    }
}

/// One that waited for its restart was forgotten in the same turn, and with it that the others had to go back: the reload was
/// never answered.
#[test]
fn a_worker_that_a_reload_adds_and_that_is_down_at_once_ends_it_all_the_same() {
    let with_delay = |version: &str, instances| {
        spec(ExecMode::Cluster, instances, |spec| {
            spec.version = Some(version.to_owned());
            spec.restart.restart_delay = ms(100);
        })
    };
    let mut stage = Stage::with(with_delay("good", 1));
    let specs = vec![(AppId(0), with_delay("new", 2))];
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs, force: false });
    replace(&mut stage, 0, 1, 2);
    stage.spawned(life(1, 1)).exited(life(1, 1), 1);
    assert_eq!(stage.spawns(), [life(0, 3)], "the other one goes back");
    replace(&mut stage, 0, 2, 3);
    stage.failed_for(reload, 1, &FailureCause::Exited { exit: Exit::Code(1), uptime: ms(0) });
    let app = stage.supervisor.app(AppId(0)).expect("it is there");
    assert_eq!((app.workers.len(), app.rolling, version_of(&stage).as_deref()), (1, false, Some("good")));
}
