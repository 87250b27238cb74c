use rpm_model::{AppId, AppSpec, ExecMode, Status, WorkerId};
use rpm_supervise::{Cause, Command, Effect, FailureCause, Outcome, Refusal};

use crate::stage::{Stage, cluster, fork, ids, life, ms, spec};

#[test]
fn a_restart_stops_and_starts_all_in_parallel_and_keeps_the_sockets() {
    let mut stage = Stage::with(cluster(2));
    let restart = stage.ask(Command::Restart { workers: ids([0, 1]), specs: vec![] });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }, Effect::Ask { life: life(1, 1) }]);
    stage.exited(life(0, 1), 0);
    assert!(matches!(stage.effects[..], [Effect::Spawn { .. }]), "nothing is closed in between");
    stage.exited(life(1, 1), 0).spawned(life(0, 2)).spawned(life(1, 2)).listening(life(0, 2));
    stage.listening(life(1, 2)).done(restart, [0, 1]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn a_restart_of_a_stopped_worker_does_not_count() {
    let mut stage = Stage::with(fork());
    stage.ask(Command::Stop { workers: ids([0]) });
    stage.exited(life(0, 1), 0);
    let restart = stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    stage.spawned(life(0, 2)).settled(life(0, 2)).done(restart, [0]);
    assert_eq!(stage.worker(0).restarts, 0);
}

#[test]
fn a_restart_brings_a_new_spec_and_leaves_the_workers_not_named_alone() {
    let mut stage = Stage::with(cluster(2));
    let new = spec(ExecMode::Cluster, 2, |spec| spec.version = Some("2".into()));
    stage.ask(Command::Restart { workers: ids([1]), specs: vec![(AppId(0), new)] });
    stage.exited(life(1, 1), 0);
    assert_eq!(stage.worker(1).spec.version.as_deref(), Some("2"));
    assert_eq!(stage.worker(0).spec.version, None);
    // A crash brings back what ran.
    stage.exited(life(0, 1), 1);
    assert_eq!(stage.worker(0).spec.version, None);
}

#[test]
fn a_restart_with_more_instances_adds_workers() {
    let mut stage = Stage::with(cluster(1));
    let restart = stage.ask(Command::Restart { workers: ids([0]), specs: vec![(AppId(0), cluster(3))] });
    assert_eq!(stage.spawns(), [life(1, 1), life(2, 1)]);
    stage.exited(life(0, 1), 0);
    for life in [life(0, 2), life(1, 1), life(2, 1)] {
        stage.spawned(life).listening(life);
    }
    stage.done(restart, [0, 1, 2]);
}

#[test]
fn scaling_up_uses_the_lowest_free_instance_numbers() {
    let mut stage = Stage::with(cluster(3));
    stage.ask(Command::Delete { workers: ids([1]) });
    stage.exited(life(1, 1), 0);
    let scale = stage.ask(Command::Scale { app: AppId(0), instances: 4 });
    assert_eq!(stage.spawns(), [life(3, 1), life(4, 1)]);
    assert_eq!((stage.worker(3).instance, stage.worker(4).instance), (1, 3));
    stage.spawned(life(3, 1)).spawned(life(4, 1)).listening(life(3, 1)).listening(life(4, 1)).done(scale, [3, 4]);
    assert_eq!(stage.supervisor.app(AppId(0)).expect("it is there").spec.instances, 4);
}

#[test]
fn scaling_down_drains_the_lowest_ids_first() {
    let mut stage = Stage::with(cluster(3));
    let scale = stage.ask(Command::Scale { app: AppId(0), instances: 2 });
    let until = stage.now + ms(10_000);
    assert_eq!(stage.effects, [Effect::Drain { life: life(0, 1), until }]);
    assert_eq!(stage.status(0), Status::Stopping);
    stage.tell(rpm_supervise::Event::Drained { life: life(0, 1) });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0).done(scale, [0]);
    assert!(stage.supervisor.worker(WorkerId(0)).is_none());
}

#[test]
fn a_drain_that_does_not_end_is_cut() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Scale { app: AppId(0), instances: 1 });
    assert_eq!(stage.pass(ms(10_000)).effects, [Effect::Ask { life: life(0, 1) }]);
}

#[test]
fn a_restart_passes_a_leaving_worker_over() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Scale { app: AppId(0), instances: 1 });
    stage.ask(Command::Restart { workers: ids([0, 1]), specs: vec![] });
    assert_eq!(stage.effects, [Effect::Ask { life: life(1, 1) }]);
    let refused = stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    assert_eq!(stage.replies(), [(refused, &Outcome::Refused(Refusal::UnknownWorker(WorkerId(0))))]);
}

#[test]
fn scaling_to_0_deletes() {
    let mut stage = Stage::with(cluster(2));
    let scale = stage.ask(Command::Scale { app: AppId(0), instances: 0 });
    stage.exited(life(0, 1), 0).exited(life(1, 1), 0).done(scale, [0, 1]);
    assert_eq!(stage.supervisor.apps().count(), 0);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let mut stage = Stage::with(cluster(2));
    let cases = [
        (Command::Stop { workers: ids([0, 9]) }, Refusal::UnknownWorker(WorkerId(9))),
        (Command::Restart { workers: vec![], specs: vec![(AppId(9), fork())] }, Refusal::UnknownApp(AppId(9))),
        (Command::Scale { app: AppId(9), instances: 1 }, Refusal::UnknownApp(AppId(9))),
        (Command::Scale { app: AppId(0), instances: 2 }, Refusal::SameScale { app: "api".into(), instances: 2 }),
    ];
    for (command, refusal) in cases {
        let id = stage.ask(command);
        assert_eq!(stage.effects, [Effect::Reply { command: id, outcome: Outcome::Refused(refusal) }]);
    }
}

#[test]
fn a_reset_forgets_the_counters() {
    let mut stage = Stage::with(fork());
    stage.pass(ms(5000)).exited(life(0, 1), 1);
    let reset = stage.ask(Command::Reset { workers: ids([0]) });
    stage.done(reset, [0]);
    assert_eq!((stage.worker(0).restarts, stage.worker(0).created_at), (0, stage.now));
}

#[test]
fn a_spec_that_was_taken_up_moves_nothing_and_counts_from_then_on() {
    let mut stage = Stage::with(fork());
    let mut other = AppSpec::clone(stage.supervisor.app(AppId(0)).expect("the app").spec);
    other.version = Some("2".into());
    let adopt = stage.ask(Command::Adopt { specs: vec![(AppId(0), other.into())] });
    stage.done(adopt, [0]);
    assert_eq!((stage.spawns(), stage.status(0)), (vec![], Status::Online));
    assert_eq!(stage.worker(0).spec.version.as_deref(), Some("2"));
}

#[test]
fn a_restart_of_an_errored_worker_gives_it_a_fresh_chance() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.max_restarts = 1));
    stage.exited(life(0, 1), 1);
    assert_eq!(stage.status(0), Status::Errored);
    let restart = stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).why, None);
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.failed(restart, &[(0, FailureCause::Superseded)], false);
    assert_eq!(stage.exited(life(0, 2), 0).spawns(), [life(0, 3)]);
    stage.spawned(life(0, 3)).settled(life(0, 3)).done(reload, [0]);
}

#[test]
fn a_command_without_workers_is_done() {
    let mut stage = Stage::new();
    let stop = stage.ask(Command::Stop { workers: vec![] });
    stage.done(stop, []);
}

#[test]
fn a_renewal_names_its_cause_and_starts_what_is_down() {
    let mut stage = Stage::with(fork());
    let renewal = stage.ask(Command::Renew { workers: ids([0]), cause: Cause::Watch, roll: false });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0).spawned(life(0, 2)).settled(life(0, 2)).done(renewal, [0]);
    assert_eq!(stage.worker(0).cause, Some(Cause::Watch));
    stage.ask(Command::Stop { workers: ids([0]) });
    stage.exited(life(0, 2), 0);
    let renewal = stage.ask(Command::Renew { workers: ids([0]), cause: Cause::Cron, roll: true });
    stage.spawned(life(0, 3)).settled(life(0, 3)).done(renewal, [0]);
    assert_eq!(stage.worker(0).cause, Some(Cause::Cron));
}

#[test]
fn a_renewal_of_workers_that_share_sockets_leaves_no_gap() {
    let mut stage = Stage::with(cluster(1));
    let renewal = stage.ask(Command::Renew { workers: ids([0]), cause: Cause::Cron, roll: true });
    assert_eq!(stage.spawns(), [life(0, 2)], "the old one serves meanwhile");
    stage.spawned(life(0, 2)).listening(life(0, 2)).tell(rpm_supervise::Event::Drained { life: life(0, 1) });
    stage.exited(life(0, 1), 0).done(renewal, [0]);
    assert_eq!(stage.worker(0).cause, Some(Cause::Cron));
}

#[test]
fn a_stop_of_the_last_worker_ends_the_watching_of_files() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 2, |spec| spec.watch.enabled = true));
    let watches = |stage: &Stage| stage.supervisor.app(AppId(0)).expect("it is there").spec.watch.enabled;
    stage.ask(Command::Stop { workers: ids([0]) });
    assert!(watches(&stage), "the other one is still watched");
    stage.ask(Command::Stop { workers: ids([1]) });
    assert!(!watches(&stage));
    stage.exited(life(0, 1), 0).exited(life(1, 1), 0).ask(Command::Restart { workers: ids([0, 1]), specs: vec![] });
    assert!(!watches(&stage), "PM2 does not watch again by itself either");
}

#[test]
fn a_restart_by_the_clock_leaves_a_start_its_worker() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![spec(ExecMode::Fork, 1, |_| {})] });
    stage.spawned(life(0, 1));
    let renewal = stage.ask(Command::Renew { workers: ids([0]), cause: Cause::Cron, roll: false });
    assert_eq!(stage.exited(life(0, 1), 0).spawns(), [life(0, 2)]);
    stage.spawned(life(0, 2)).settled(life(0, 2));
    let done = &Outcome::Done { workers: ids([0]) };
    assert_eq!(stage.replies(), [(start, done), (renewal, done)]);
}
