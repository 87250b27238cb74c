use rpm_model::{ExecMode, Exit, Status};
use rpm_supervise::{Cause, Command, Effect, Event, FailureCause, Happening, Outcome, Refusal};

use crate::stage::{Stage, cluster, fork, ids, life, ms, spec};

#[test]
fn a_stop_asks_first_and_is_done_when_the_process_is_gone() {
    let mut stage = Stage::with(fork());
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    assert_eq!(stage.happenings, [(0, Happening::Stopping { cause: Cause::Stop })]);
    assert_eq!(stage.status(0), Status::Stopping);
    stage.exited(life(0, 1), 0).done(stop, [0]);
    assert!(stage.has(&Effect::Close { worker: ids([0])[0] }));
    assert_eq!((stage.status(0), stage.worker(0).restarts), (Status::Stopped, 0));
    assert_eq!(stage.supervisor.next_deadline(), None);
}

#[test]
fn a_deaf_worker_is_killed_after_its_grace_and_delays_nobody() {
    let mut stage = Stage::with(cluster(2));
    let stop = stage.ask(Command::Stop { workers: ids([0, 1]) });
    stage.pass(ms(10)).exited(life(1, 1), 0);
    assert_eq!(stage.status(1), Status::Stopped);
    assert!(stage.pass(ms(1589)).effects.is_empty());
    assert_eq!(stage.pass(ms(1)).effects, [Effect::Kill { life: life(0, 1) }]);
    stage.tell(Event::Exited { life: life(0, 1), exit: Exit::Signal { signal: 9, core: false }, leftovers: false });
    stage.done(stop, [0, 1]);
}

#[test]
fn what_sigkill_does_not_end_is_errored_and_the_command_fails() {
    let mut stage = Stage::with(fork());
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    stage.pass(ms(1600 + 1600)).failed(stop, &[(0, FailureCause::Unkillable)], false);
    assert_eq!(stage.status(0), Status::Errored);
    // It may still end one day.
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.status(0), Status::Stopped);
}

/// With a stopped keeper, a stop of an app that had not started yet was "still there after SIGKILL", and later ran unwanted.
#[test]
fn one_that_is_not_started_yet_is_ended_when_it_is_and_the_command_goes_on() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![fork()] });
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    for _ in 0..10 {
        stage.tell(Event::Owed { life: life(0, 1) }).pass(ms(1500));
        assert_eq!((stage.status(0), stage.replies()), (Status::Stopping, vec![]));
    }
    stage.spawned(life(0, 1));
    assert_eq!(stage.effects, [Effect::Kill { life: life(0, 1) }]);
    stage.exited(life(0, 1), 1).done(stop, [0]);
}

#[test]
fn one_that_is_started_after_it_was_asked_to_leave_is_asked_again() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![fork()] });
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    stage.pass(ms(100)).spawned(life(0, 1));
    assert_eq!(stage.effects, [Effect::Ask { life: life(0, 1) }]);
    stage.exited(life(0, 1), 0).done(stop, [0]);
}

#[test]
fn descendants_have_the_same_grace() {
    let mut stage = Stage::with(fork());
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    stage.pass(ms(100)).tell(Event::Exited { life: life(0, 1), exit: Exit::Code(0), leftovers: true });
    assert_eq!(stage.status(0), Status::Stopping);
    assert_eq!(stage.pass(ms(1500)).effects, [Effect::Kill { life: life(0, 1) }]);
    stage.tell(Event::TreeGone { life: life(0, 1) }).done(stop, [0]);
}

#[test]
fn stopping_a_waiting_worker_only_cancels_the_wait() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |spec| spec.restart.restart_delay = ms(5000)));
    stage.exited(life(0, 1), 1);
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    stage.done(stop, [0]);
    assert_eq!(stage.status(0), Status::Stopped);
    assert!(stage.pass(ms(10_000)).spawns().is_empty());
}

#[test]
fn stopping_a_stopped_worker_is_done_at_once() {
    let mut stage = Stage::with(fork());
    stage.ask(Command::Stop { workers: ids([0]) });
    stage.exited(life(0, 1), 0);
    let again = stage.ask(Command::Stop { workers: ids([0]) });
    stage.done(again, [0]);
    assert!(stage.happenings.is_empty());
}

#[test]
fn two_stops_of_the_same_worker_both_succeed() {
    let mut stage = Stage::with(fork());
    let first = stage.ask(Command::Stop { workers: ids([0]) });
    let second = stage.ask(Command::Stop { workers: ids([0]) });
    assert!(stage.effects.is_empty(), "it is asked once");
    stage.exited(life(0, 1), 0);
    let done = Outcome::Done { workers: ids([0]) };
    assert_eq!(stage.replies(), [(first, &done), (second, &done)]);
}

#[test]
fn a_worker_can_be_stopped_before_it_runs() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![fork()] });
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    stage.failed(start, &[(0, FailureCause::Superseded)], false);
    stage.spawned(life(0, 1)).exited(life(0, 1), 0).done(stop, [0]);
}

#[test]
fn a_restart_takes_the_place_of_a_stop() {
    let mut stage = Stage::with(fork());
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    let restart = stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    stage.failed(stop, &[(0, FailureCause::Superseded)], false);
    assert_eq!(stage.exited(life(0, 1), 0).spawns(), [life(0, 2)]);
    stage.spawned(life(0, 2)).settled(life(0, 2)).done(restart, [0]);
}

#[test]
fn delete_closes_and_forgets() {
    let mut stage = Stage::with(cluster(2));
    let delete = stage.ask(Command::Delete { workers: ids([0, 1]) });
    stage.exited(life(0, 1), 0);
    let worker = ids([0])[0];
    assert_eq!(stage.effects[..2], [Effect::Close { worker }, Effect::Forget { worker }]);
    assert_eq!(stage.supervisor.apps().count(), 1);
    stage.exited(life(1, 1), 0).done(delete, [0, 1]);
    assert_eq!(stage.supervisor.apps().count(), 0);
}

#[test]
fn a_shutdown_stops_everything_and_leaves_last() {
    let mut stage = Stage::with(cluster(2));
    let before = stage.supervisor.saved();
    let shutdown = stage.ask(Command::Shutdown);
    assert_ne!(stage.supervisor.saved(), before, "lives are not kept: what is wanted is");
    let late = stage.ask(Command::Start { specs: vec![fork()] });
    assert_eq!(stage.replies(), [(late, &Outcome::Refused(Refusal::ShuttingDown))]);
    stage.exited(life(0, 1), 0).exited(life(1, 1), 0);
    stage.done(shutdown, [0, 1]);
    assert_eq!(stage.effects.last(), Some(&Effect::Leave));
}

#[test]
fn a_shutdown_of_nothing_leaves_at_once() {
    let mut stage = Stage::new();
    let shutdown = stage.ask(Command::Shutdown);
    stage.done(shutdown, []);
    assert_eq!(stage.effects.last(), Some(&Effect::Leave));
}

#[test]
fn a_shutdown_does_not_wait_for_what_cannot_be_killed() {
    let mut stage = Stage::with(fork());
    stage.ask(Command::Shutdown);
    stage.pass(ms(3200));
    assert_eq!(stage.effects.last(), Some(&Effect::Leave));
}
