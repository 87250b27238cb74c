use std::time::Duration;

use rpm_model::{Bytes, ExecMode, Exit, Status};
use rpm_supervise::{Cause, Command, Effect, Event, Happening};

use crate::stage::{Stage, cluster, fork, ids, life, ms, spec};

#[test]
fn a_crash_is_followed_by_a_start_in_the_same_turn() {
    let mut stage = Stage::with(fork());
    stage.pass(ms(5000)).exited(life(0, 1), 1);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    let worker = stage.worker(0);
    assert_eq!((worker.status, worker.restarts, worker.unstable), (Status::Launching, 1, 0));
    assert_eq!(worker.last_exit, Some((Exit::Code(1), stage.now)));
    assert_eq!(worker.cause, Some(Cause::Crash));
}

#[test]
fn sixteen_unstable_runs_end_in_errored() {
    let mut stage = Stage::with(fork());
    for generation in 1..16 {
        stage.pass(ms(120)).exited(life(0, generation), 3).spawned(life(0, generation + 1));
    }
    assert_eq!(stage.worker(0).unstable, 15);
    stage.pass(ms(120)).exited(life(0, 16), 3);
    assert_eq!(stage.status(0), Status::Errored);
    assert_eq!(stage.effects, [Effect::Close { worker: ids([0])[0] }]);
    assert_eq!(stage.happenings.last(), Some(&(0, Happening::Errored)));
    assert_eq!(stage.worker(0).restarts, 15);
    assert_eq!(stage.worker(0).why.as_deref(), Some("exit code 3 after 120 ms; 16 unstable restarts in a row"));
}

#[test]
fn a_restart_delay_is_kept() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.restart_delay = ms(1500)));
    stage.pass(ms(2000)).exited(life(0, 1), 1);
    assert_eq!(stage.status(0), Status::WaitingRestart);
    assert_eq!(stage.worker(0).why.as_deref(), Some("exit code 1 after 2 s; restarts after 1.5 s"));
    assert!(stage.pass(ms(1499)).spawns().is_empty());
    assert_eq!(stage.pass(ms(1)).spawns(), [life(0, 2)]);
}

#[test]
fn a_restart_asked_for_during_the_wait_counts() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.restart_delay = ms(1500)));
    stage.pass(ms(2000)).exited(life(0, 1), 1);
    assert_eq!(stage.worker(0).restarts, 0);
    stage.ask(Command::Restart { workers: ids([0]), specs: Vec::new() });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn a_backoff_grows_and_is_forgotten_after_30_s_up() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.exp_backoff = Some(ms(100))));
    stage.exited(life(0, 1), 1);
    assert_eq!(stage.worker(0).backoff, Some(ms(100)));
    stage.pass(ms(100)).spawned(life(0, 2)).exited(life(0, 2), 1);
    assert_eq!(stage.worker(0).backoff, Some(ms(150)));
    stage.pass(ms(150)).spawned(life(0, 3)).settled(life(0, 3)).pass(ms(29_999));
    assert_eq!(stage.worker(0).backoff, Some(ms(150)));
    assert_eq!(stage.pass(ms(1)).worker(0).backoff, None);
}

#[test]
fn a_stop_exit_code_means_stopped() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.stop_exit_codes = vec![7]));
    stage.exited(life(0, 1), 7);
    assert_eq!(stage.status(0), Status::Stopped);
    assert!(stage.spawns().is_empty());
}

#[test]
fn children_that_a_crash_leaves_are_killed_before_the_next_start() {
    let mut stage = Stage::with(fork());
    stage.tell(Event::Exited { life: life(0, 1), exit: Exit::Code(1), leftovers: true });
    assert_eq!(stage.effects, [Effect::Kill { life: life(0, 1) }]);
    assert!(stage.supervisor.is_current(life(0, 1)));
    stage.tell(Event::TreeGone { life: life(0, 1) });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn children_that_cannot_be_killed_hold_the_next_start_up_for_one_second_at_most() {
    let mut stage = Stage::with(fork());
    stage.tell(Event::Exited { life: life(0, 1), exit: Exit::Code(1), leftovers: true });
    assert!(stage.pass(ms(999)).spawns().is_empty());
    assert_eq!(stage.pass(ms(1)).spawns(), [life(0, 2)]);
}

#[test]
fn a_failed_spawn_after_a_crash_is_tried_again() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.restart_delay = ms(100)));
    stage.pass(ms(2000)).exited(life(0, 1), 1).pass(ms(100));
    stage.tell(Event::SpawnFailed { life: life(0, 2), why: "no memory".into() });
    assert_eq!(stage.status(0), Status::WaitingRestart);
    assert_eq!(stage.worker(0).unstable, 1);
    assert_eq!(stage.pass(ms(100)).spawns(), [life(0, 3)]);
}

#[test]
fn news_of_a_past_life_is_ignored() {
    let mut stage = Stage::with(fork());
    stage.pass(ms(2000)).exited(life(0, 1), 1).spawned(life(0, 2));
    stage.exited(life(0, 1), 1);
    assert!(stage.effects.is_empty());
    stage.listening(life(0, 9)).settled(life(7, 1));
    assert!(stage.effects.is_empty());
}

#[test]
fn too_much_memory_replaces_a_cluster_worker_without_a_gap() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 1, |spec| spec.max_memory_restart = Some(Bytes(1000))));
    stage.tell(Event::Memory { life: life(0, 1), used: Bytes(1000) });
    assert!(stage.effects.is_empty());
    stage.tell(Event::Memory { life: life(0, 1), used: Bytes(1001) });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.status(0), Status::Online);
    // While the new one boots nothing is begun twice.
    stage.tell(Event::Memory { life: life(0, 1), used: Bytes(2000) });
    assert!(stage.effects.is_empty());
    stage.spawned(life(0, 2)).listening(life(0, 2));
    assert!(matches!(stage.effects[..], [Effect::Admit { .. }, Effect::Drain { .. }]));
    assert_eq!(stage.worker(0).restarts, 1);
    assert_eq!(stage.worker(0).cause, Some(Cause::Memory));
}

#[test]
fn a_failed_memory_replacement_is_tried_again_after_30_s() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 1, |spec| spec.max_memory_restart = Some(Bytes(1000))));
    let memory = Event::Memory { life: life(0, 1), used: Bytes(1001) };
    stage.tell(memory.clone()).spawned(life(0, 2)).exited(life(0, 2), 1);
    assert_eq!(stage.status(0), Status::Online);
    stage.pass(Duration::from_secs(29)).tell(memory.clone());
    assert!(stage.effects.is_empty());
    stage.pass(Duration::from_secs(1)).tell(memory);
    assert_eq!(stage.spawns(), [life(0, 3)]);
}

#[test]
fn too_much_memory_stops_and_starts_a_plain_process() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.max_memory_restart = Some(Bytes(1000))));
    stage.tell(Event::Memory { life: life(0, 1), used: Bytes(1001) });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    assert_eq!(stage.happenings, [(0, Happening::Stopping { cause: Cause::Memory })]);
    assert_eq!(stage.exited(life(0, 1), 0).spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn a_crash_of_one_worker_leaves_the_others_alone() {
    let mut stage = Stage::with(cluster(3));
    stage.pass(ms(2000)).exited(life(1, 1), 1);
    assert_eq!(stage.spawns(), [life(1, 2)]);
    assert_eq!((stage.status(0), stage.status(2)), (Status::Online, Status::Online));
}
