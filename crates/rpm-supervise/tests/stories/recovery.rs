use rpm_model::{AppId, ExecMode, Exit, Life, Moment, Status, WorkerId};
use rpm_supervise::{Cause, Command, Effect, Event, Fact, Happening, Note};

use crate::stage::{Stage, cluster, fact, fork, ids, life, ms, spec};

fn ended(life: Life, exit: Exit, at: Moment) -> Fact {
    Fact { exit: Some((exit, at)), ..fact(life) }
}

#[test]
fn nothing_is_restarted_when_the_daemon_dies() {
    let mut stage = Stage::with(cluster(2));
    stage.pass(ms(5000)).exited(life(0, 1), 1).spawned(life(0, 2)).listening(life(0, 2));
    let saved = stage.supervisor.saved();
    stage.reborn(saved.clone(), &[fact(life(0, 2)), fact(life(1, 1))]);
    assert_eq!(stage.effects, [Effect::Admit { life: life(0, 2) }, Effect::Admit { life: life(1, 1) }]);
    assert_eq!((stage.status(0), stage.worker(0).restarts, stage.worker(0).pid), (Status::Online, 1, Some(1002)));
    assert!(stage.worker(0).listened);
}

#[test]
fn an_exit_that_nobody_saw_is_handled_like_any_other() {
    let mut stage = Stage::with(fork());
    let saved = stage.supervisor.saved();
    let died_at = stage.now + ms(3000);
    stage.pass(ms(9000)).reborn(saved, &[ended(life(0, 1), Exit::Code(7), died_at)]);
    assert!(matches!(stage.effects[..], [Effect::Spawn { restarts: 1, unstable: 0, .. }]));
    assert_eq!(stage.worker(0).last_exit, Some((Exit::Code(7), died_at)));
}

/// A job that ran while no daemon did had an end on record, and no start.
#[test]
fn a_start_that_nobody_saw_is_told_before_its_end() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![spec(ExecMode::Fork, 1, |spec| spec.restart.autorestart = false)] });
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[ended(life(0, 1), Exit::Code(0), Moment(1_500_000))]);
    let told = [Happening::Started { cause: Cause::Start }, Happening::Exited { exit: Exit::Code(0) }];
    assert!(stage.happenings.starts_with(&told.map(|happening| (0, happening))), "{:?}", stage.happenings);
}

#[test]
fn a_life_that_the_keeper_does_not_know_has_ended_unknown() {
    let mut stage = Stage::with(fork());
    let saved = stage.supervisor.saved();
    stage.pass(ms(9000)).reborn(saved, &[]);
    assert_eq!(stage.worker(0).last_exit, Some((Exit::Unknown, stage.now)));
    assert_eq!(stage.spawns().len(), 1);
}

#[test]
fn a_life_started_after_the_last_write_is_adopted_with_its_note() {
    let mut stage = Stage::with(cluster(1));
    let saved = stage.supervisor.saved();
    let note = Note { restarts: 5, unstable: 2, created_at: Moment(77) };
    let newer = Fact { note: Some(note), ..fact(life(0, 2)) };
    stage.pass(ms(500)).reborn(saved, &[ended(life(0, 1), Exit::Code(1), Moment(2_000_000)), newer]);
    assert_eq!(stage.effects[..], [Effect::WatchSettling { life: life(0, 2) }]);
    let worker = stage.worker(0);
    assert_eq!((worker.life, worker.pid), (Some(life(0, 2)), Some(42)));
    assert_eq!((worker.restarts, worker.unstable, worker.created_at), (5, 2, Moment(77)));
    assert_eq!(worker.status, Status::Launching);
    assert_eq!(stage.listening(life(0, 2)).status(0), Status::Online);
}

#[test]
fn what_no_app_knows_is_killed() {
    let mut stage = Stage::with(fork());
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(8, 3)), ended(life(9, 1), Exit::Code(0), Moment(5))]);
    assert!(stage.has(&Effect::Kill { life: life(8, 3) }));
    assert!(!stage.has(&Effect::Kill { life: life(9, 1) }), "the dead are left in peace");
}

#[test]
fn a_roll_goes_on_where_it_was() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    stage.spawned(life(0, 2));
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(0, 2)), fact(life(1, 1))]);
    assert_eq!(stage.worker(0).life, Some(life(0, 1)));
    stage.listening(life(0, 2));
    assert!(stage.effects.iter().any(|effect| matches!(effect, Effect::Drain { life: l, .. } if *l == life(0, 1))));
    stage.tell(Event::Drained { life: life(0, 1) }).exited(life(0, 1), 0);
    assert_eq!(stage.spawns().len(), 1);
    assert_eq!(stage.spawns()[0].worker, WorkerId(1));
}

#[test]
fn a_drain_is_asked_for_again() {
    let mut stage = Stage::with(cluster(1));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.spawned(life(0, 2)).listening(life(0, 2));
    let saved = stage.supervisor.saved();
    let until = stage.now + ms(10_000);
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(0, 2))]);
    assert!(stage.has(&Effect::Admit { life: life(0, 2) }));
    assert!(stage.has(&Effect::Drain { life: life(0, 1), until }));
}

#[test]
fn a_replacement_that_nobody_remembers_is_killed_and_the_old_worker_serves() {
    let mut stage = Stage::with(cluster(1));
    let saved = stage.supervisor.saved();
    // The reload had begun, and was not written down.
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(0, 2))]);
    assert!(stage.has(&Effect::Kill { life: life(0, 2) }));
    assert!(stage.has(&Effect::Admit { life: life(0, 1) }));
    assert_eq!((stage.status(0), stage.worker(0).life), (Status::Online, Some(life(0, 1))));
}

#[test]
fn a_failed_replacement_found_dead_rolls_back() {
    let mut stage = Stage::with(cluster(1));
    let new = spec(ExecMode::Cluster, 1, |spec| spec.version = Some("2".into()));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), new)], force: false });
    stage.spawned(life(0, 2));
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1)), ended(life(0, 2), Exit::Code(1), stage.now)]);
    let app = stage.supervisor.app(AppId(0)).expect("it is there");
    assert_eq!((app.rolling, app.spec.version.as_deref()), (false, None));
    assert_eq!(stage.worker(0).life, Some(life(0, 1)));
}

#[test]
fn a_stop_that_was_under_way_is_finished() {
    let mut stage = Stage::with(fork());
    stage.ask(Command::Stop { workers: ids([0]) });
    let saved = stage.supervisor.saved();
    stage.pass(ms(100)).reborn(saved, &[fact(life(0, 1))]);
    assert_eq!(stage.status(0), Status::Stopping);
    assert_eq!(stage.pass(ms(1600)).effects, [Effect::Kill { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.status(0), Status::Stopped);
}

#[test]
fn a_waiting_worker_is_started_in_time() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.restart_delay = ms(5000)));
    stage.exited(life(0, 1), 1);
    let saved = stage.supervisor.saved();
    stage.pass(ms(100)).reborn(saved, &[]);
    assert_eq!(stage.status(0), Status::WaitingRestart);
    assert_eq!(stage.pass(ms(5000)).spawns().len(), 1);
}

#[test]
fn after_a_shutdown_what_ran_is_started_and_what_was_stopped_is_not() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Stop { workers: ids([1]) });
    stage.exited(life(1, 1), 0).ask(Command::Shutdown);
    stage.exited(life(0, 1), 0);
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[]);
    assert_eq!(stage.spawns().iter().map(|life| life.worker.0).collect::<Vec<_>>(), [0]);
    assert_eq!((stage.worker(0).restarts, stage.status(1)), (0, Status::Stopped));
}

#[test]
fn after_a_reboot_no_deadline_lies_in_a_far_future() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.restart_delay = ms(5000)));
    stage.now = Moment(1 << 40);
    stage.exited(life(0, 1), 1);
    let saved = stage.supervisor.saved();
    stage.now = Moment(3_000_000);
    stage.reborn(saved, &[]);
    assert!(stage.supervisor.next_deadline().expect("it waits") <= stage.now + ms(15_000));
}

#[test]
fn a_field_that_a_newer_version_wrote_is_kept_for_it() {
    const PLACES: [&str; 4] = ["", "/apps/0", "/apps/0/specs/0", "/apps/0/seats/0"];
    let mut stage = Stage::with(fork());
    let before = serde_json::to_value(stage.supervisor.saved()).expect("it can be written");
    let mut newer = before.clone();
    for place in PLACES {
        newer.pointer_mut(place).expect("it is there")["colour"] = "blue".into();
    }
    stage.reborn(serde_json::from_value(newer).expect("it can be read"), &[fact(life(0, 1))]);
    let mut after = serde_json::to_value(stage.supervisor.saved()).expect("it can be written");
    for place in PLACES {
        let object = after.pointer_mut(place).expect("it is there").as_object_mut().expect("an object");
        assert_eq!(object.remove("colour"), Some("blue".into()), "lost from {place:?}");
    }
    assert_eq!(after["apps"][0]["specs"], before["apps"][0]["specs"]);
}

#[test]
fn a_replacement_that_died_meanwhile_is_not_taken_for_ready() {
    // It had lived for longer than `min_uptime` when it died, which is enough to be ready where nothing else is known;
    // the old worker was drained for a dead one.
    let mut stage = Stage::with(spec(ExecMode::Socket, 1, |_| {}));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    let saved = stage.supervisor.saved();
    let died_at = stage.now + ms(2000);
    stage.pass(ms(5000)).reborn(saved, &[fact(life(0, 1)), ended(life(0, 2), Exit::Code(1), died_at)]);
    let told = Effect::PublishApp { app: AppId(0), event: "reload", detail: "failed after 5000 ms".into() };
    assert_eq!(stage.effects, [Effect::Admit { life: life(0, 1) }, told]);
    assert_eq!(stage.worker(0).life, Some(life(0, 1)));
}

#[test]
fn a_silent_replacement_that_is_alone_is_not_taken_away() {
    // The app had said that it was ready, and the daemon died before it could write that down. Nobody says it twice.
    let mut stage = Stage::new();
    let waits = spec(ExecMode::Cluster, 1, |spec| {
        spec.wait_ready = true;
        spec.listen_timeout = Some(ms(1500));
    });
    stage.ask(Command::Start { specs: vec![waits] });
    stage.spawned(life(0, 1)).tell(Event::AppReady { life: life(0, 1) });
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.spawned(life(0, 2));
    let saved = stage.supervisor.saved();
    let died_at = stage.now;
    stage.pass(ms(3000)).reborn(saved, &[ended(life(0, 1), Exit::Code(0), died_at), fact(life(0, 2))]);
    stage.pass(ms(0));
    assert_eq!((stage.status(0), stage.worker(0).life), (Status::Online, Some(life(0, 2))));
}

#[test]
fn no_life_is_given_out_twice() {
    let mut stage = Stage::with(fork());
    let saved = stage.supervisor.saved();
    // Life 0.2 was started after that, and has ended without a trace.
    stage.pass(ms(5000)).reborn(saved, &[]);
    assert!(stage.spawns()[0].generation.0 > 2);
}

#[test]
fn of_two_lives_that_nobody_knows_the_older_one_serves_and_the_other_is_killed() {
    let mut stage = Stage::with(cluster(1));
    let saved = stage.supervisor.saved();
    let dead = ended(life(0, 1), Exit::Code(1), stage.now);
    stage.reborn(saved, &[dead, fact(life(0, 2)), fact(life(0, 3))]);
    assert_eq!(stage.worker(0).life, Some(life(0, 2)));
    assert!(stage.has(&Effect::Kill { life: life(0, 3) }));
    // While the other one is on its way out there is no room for a third.
    assert!(stage.supervisor.is_current(life(0, 3)));
}
