use rpm_model::{ExecMode, Exit, Status};
use rpm_supervise::{Cause, Command, Effect, Event, FailureCause, Happening, Resurrected, Taken, Warning};

use crate::stage::{Stage, cluster, fork, ids, life, ms, spec};

fn taken() -> Taken {
    Taken { address: "[::]:80".into(), owner: Some("nginx (pid 7)".into()), error: "address already in use".into() }
}

#[test]
fn all_workers_of_all_apps_spawn_in_one_turn() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![cluster(3), spec(ExecMode::Fork, 1, |spec| spec.name = "other".into())] });
    assert_eq!(stage.spawns(), [life(0, 1), life(1, 1), life(2, 1), life(3, 1)]);
    assert_eq!(stage.worker(2).instance, 2);
    assert_eq!(stage.worker(3).instance, 0);
}

#[test]
fn a_start_is_done_when_each_worker_is_ready() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![cluster(2)] });
    stage.spawned(life(0, 1)).spawned(life(1, 1));
    assert_eq!(stage.effects, [Effect::WatchSettling { life: life(1, 1) }]);
    stage.listening(life(0, 1));
    assert_eq!(
        stage.effects,
        [Effect::Admit { life: life(0, 1) }, Effect::Progress { command: start, done: 1, total: 2 }]
    );
    assert_eq!(stage.happenings, [(0, Happening::Online)]);
    assert_eq!((stage.status(0), stage.status(1)), (Status::Online, Status::Launching));
    stage.listening(life(1, 1)).done(start, [0, 1]);
}

#[test]
fn a_plain_process_is_ready_when_it_has_settled() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![fork()] });
    stage.spawned(life(0, 1)).pass(ms(200)).settled(life(0, 1)).done(start, [0]);
}

#[test]
fn a_busy_plain_process_is_ready_after_min_uptime() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![fork()] });
    stage.spawned(life(0, 1)).pass(ms(999));
    assert_eq!(stage.status(0), Status::Launching);
    stage.pass(ms(1)).done(start, [0]);
}

#[test]
fn a_cluster_worker_that_never_listens_is_ready_when_settled_and_alive() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![cluster(1)] });
    stage.spawned(life(0, 1)).pass(ms(100)).settled(life(0, 1));
    assert_eq!(stage.status(0), Status::Launching);
    stage.pass(ms(900)).done(start, [0]);
}

#[test]
fn wait_ready_waits_for_the_apps_own_word() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![spec(ExecMode::Cluster, 1, |spec| spec.wait_ready = true)] });
    stage.spawned(life(0, 1)).listening(life(0, 1)).settled(life(0, 1)).pass(ms(1500));
    assert_eq!(stage.status(0), Status::Launching);
    stage.tell(Event::AppReady { life: life(0, 1) }).done(start, [0]);
}

#[test]
fn an_app_that_does_not_say_ready_is_online_after_its_time_with_a_warning() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![spec(ExecMode::Fork, 1, |spec| spec.wait_ready = true)] });
    stage.spawned(life(0, 1)).pass(ms(3000)).done(start, [0]);
    let warning = Warning::NotReadyInTime { worker: ids([0])[0], waited_ms: 3000 };
    assert!(stage.has(&Effect::Warn { command: start, warning }));
    assert_eq!(stage.status(0), Status::Online);
}

#[test]
fn a_start_fails_at_the_first_exit_and_the_seat_goes_on() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![fork()] });
    stage.spawned(life(0, 1)).pass(ms(120)).exited(life(0, 1), 3);
    let cause = FailureCause::Exited { exit: Exit::Code(3), uptime: ms(120) };
    stage.failed(start, &[(0, cause)], false);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn a_job_that_ends_well_before_it_is_ready_is_a_success() {
    let mut stage = Stage::new();
    let job = spec(ExecMode::Fork, 1, |spec| spec.restart.autorestart = false);
    let start = stage.ask(Command::Start { specs: vec![job] });
    stage.spawned(life(0, 1)).pass(ms(50)).exited(life(0, 1), 0).done(start, [0]);
    assert_eq!(stage.status(0), Status::Stopped);
    assert_eq!(stage.worker(0).why.as_deref(), Some("exit code 0 after 50 ms"));
}

#[test]
fn a_job_that_ends_as_agreed_is_a_success() {
    let mut stage = Stage::new();
    let job = spec(ExecMode::Fork, 1, |spec| spec.restart.stop_exit_codes = vec![2]);
    let start = stage.ask(Command::Start { specs: vec![job] });
    stage.spawned(life(0, 1)).pass(ms(50)).exited(life(0, 1), 2).done(start, [0]);
    assert_eq!(stage.status(0), Status::Stopped);
}

#[test]
fn a_job_that_ends_badly_is_a_failure() {
    let mut stage = Stage::new();
    let job = spec(ExecMode::Fork, 1, |spec| spec.restart.autorestart = false);
    let start = stage.ask(Command::Start { specs: vec![job] });
    stage.spawned(life(0, 1)).pass(ms(50)).exited(life(0, 1), 1);
    stage.failed(start, &[(0, FailureCause::Exited { exit: Exit::Code(1), uptime: ms(50) })], false);
    assert_eq!(stage.status(0), Status::Stopped);
}

#[test]
fn a_program_that_cannot_be_started_is_errored_at_once() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![fork()] });
    let why = "no such file: /srv/app.js".to_owned();
    stage.tell(Event::SpawnFailed { life: life(0, 1), why: why.clone() });
    stage.failed(start, &[(0, FailureCause::SpawnFailed(why))], false);
    assert_eq!(stage.status(0), Status::Errored);
    assert_eq!(stage.worker(0).why.as_deref(), Some("could not be started: no such file: /srv/app.js"));
    assert!(stage.spawns().is_empty());
}

#[test]
fn an_address_that_is_taken_leaves_nothing_of_the_new_app() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![cluster(2)] });
    stage.spawned(life(0, 1)).spawned(life(1, 1));
    stage.tell(Event::BindFailed { life: life(0, 1), taken: taken() });
    assert!(stage.has(&Effect::Kill { life: life(0, 1) }) && stage.has(&Effect::Kill { life: life(1, 1) }));
    // The other worker says the same; once is enough.
    stage.tell(Event::BindFailed { life: life(1, 1), taken: taken() });
    stage.exited(life(0, 1), 1).exited(life(1, 1), 1);
    stage.failed(start, &[(0, FailureCause::Taken(taken()))], true);
    assert!(stage.has(&Effect::Forget { worker: ids([1])[0] }));
    assert_eq!(stage.supervisor.apps().count(), 0);
    assert_eq!(stage.supervisor.next_deadline(), None);
}

#[test]
fn an_app_without_autostart_is_registered_as_stopped() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![spec(ExecMode::Fork, 1, |spec| spec.autostart = false)] });
    stage.done(start, [0]);
    assert_eq!(stage.status(0), Status::Stopped);
}

#[test]
fn what_was_saved_comes_back_as_it_was_whatever_its_autostart() {
    let mut stage = Stage::new();
    let idle = spec(ExecMode::Fork, 1, |spec| spec.autostart = false);
    let as_saved = |spec, is_stopped| Resurrected { spec, is_stopped, is_scaled_by_hand: false };
    let resurrect = stage.ask(Command::Resurrect { apps: vec![as_saved(fork(), true), as_saved(idle, false)] });
    assert_eq!(stage.spawns(), [life(1, 1)]);
    stage.spawned(life(1, 1)).pass(ms(3000)).done(resurrect, [0, 1]);
    assert_eq!(stage.status(0), Status::Stopped);
    assert!(stage.worker(0).spec.autostart);
    assert!(!stage.worker(1).spec.autostart);
}

#[test]
fn apps_of_one_name_share_the_numbers_of_their_instances() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![cluster(2), cluster(1)] });
    let instances: Vec<u32> = (0..3).map(|id| stage.worker(id).instance).collect();
    assert_eq!(instances, [0, 1, 2]);
}

#[test]
fn every_start_tells_its_cause() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![fork()] });
    stage.spawned(life(0, 1));
    assert_eq!(stage.happenings, [(0, Happening::Started { cause: Cause::Start })]);
    stage.exited(life(0, 1), 1).spawned(life(0, 2));
    assert_eq!(stage.happenings, [(0, Happening::Started { cause: Cause::Crash })]);
}

#[test]
fn ids_count_from_0_again_when_the_list_is_empty_but_lives_are_never_reused() {
    let mut stage = Stage::with(cluster(2));
    stage.ask(Command::Delete { workers: ids([0, 1]) });
    stage.exited(life(0, 1), 0).exited(life(1, 1), 0);
    stage.ask(Command::Start { specs: vec![fork()] });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.app().0, 1, "numbers of apps are never used again");
    // Late news of the old worker 0 is not the new one's.
    stage.exited(life(0, 1), 1);
    assert_eq!(stage.status(0), Status::Launching);
}
