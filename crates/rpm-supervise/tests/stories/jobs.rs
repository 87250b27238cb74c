use std::sync::Arc;

use rpm_model::{AppId, AppSpec, Dependency, ExecMode, Exit, JobSpec, Overlap, Status};
use rpm_supervise::{Cause, Command, CommandId, Effect, Event, FailureCause, Happening, Outcome, Refusal};

use crate::stage::{Stage, fact, ids, life, ms, spec};

fn job(on_overlap: Overlap) -> Arc<AppSpec> {
    spec(ExecMode::Fork, 1, |spec| {
        spec.restart.autorestart = false;
        spec.job = Some(JobSpec { schedule: "@daily".into(), time_zone: None, on_overlap, catch_up: false });
    })
}

fn registered(on_overlap: Overlap) -> Stage {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![job(on_overlap)] });
    stage.done(start, [0]);
    stage
}

impl Stage {
    fn time_comes(&mut self) -> CommandId {
        self.ask(Command::Run { workers: ids([0]), cause: Cause::Schedule })
    }

    fn run(&mut self) -> CommandId {
        self.ask(Command::Run { workers: ids([0]), cause: Cause::Run })
    }
}

#[test]
fn a_job_runs_at_its_times_to_its_end_and_not_again() {
    let mut stage = registered(Overlap::Skip);
    assert!(stage.spawns().is_empty(), "it waits for its time");
    let time = stage.time_comes();
    stage.done(time, []);
    assert_eq!(stage.spawns(), [life(0, 1)]);
    stage.spawned(life(0, 1)).settled(life(0, 1));
    assert_eq!(stage.worker(0).cause, Some(Cause::Schedule));
    stage.exited(life(0, 1), 3);
    assert_eq!((stage.status(0), stage.worker(0).restarts), (Status::Stopped, 0));
    assert_eq!(stage.worker(0).last_exit.map(|(exit, _)| exit), Some(Exit::Code(3)));
    assert!(stage.pass(ms(100_000)).spawns().is_empty());
    stage.time_comes();
    assert_eq!(stage.spawns(), [life(0, 2)]);
}

#[test]
fn a_time_that_finds_it_running_is_skipped_and_told() {
    let mut stage = registered(Overlap::Skip);
    stage.time_comes();
    stage.spawned(life(0, 1));
    stage.time_comes();
    assert!(stage.spawns().is_empty());
    assert_eq!(stage.happenings, [(0, Happening::Skipped)]);
    stage.exited(life(0, 1), 0);
    assert!(stage.spawns().is_empty());
}

#[test]
fn or_it_is_queued_once() {
    let mut stage = registered(Overlap::Queue);
    stage.time_comes();
    stage.spawned(life(0, 1));
    stage.time_comes();
    assert_eq!(stage.happenings, [(0, Happening::Queued)]);
    stage.time_comes();
    assert_eq!(stage.happenings, [(0, Happening::Skipped)]);
    stage.exited(life(0, 1), 1);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    stage.spawned(life(0, 2)).exited(life(0, 2), 0);
    assert!(stage.spawns().is_empty());
}

#[test]
fn or_the_run_before_is_replaced() {
    let mut stage = registered(Overlap::Replace);
    stage.time_comes();
    stage.spawned(life(0, 1)).settled(life(0, 1));
    stage.time_comes();
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }) && stage.spawns().is_empty());
    // One that will not leave is replaced once.
    stage.time_comes();
    assert!(!stage.has(&Effect::Ask { life: life(0, 1) }));
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.spawns(), [life(0, 2)]);
}

#[test]
fn a_queued_run_follows_descendants_that_are_left_too() {
    let mut stage = registered(Overlap::Queue);
    stage.time_comes();
    stage.spawned(life(0, 1));
    stage.time_comes();
    stage.tell(Event::Exited { life: life(0, 1), exit: Exit::Code(0), leftovers: true });
    assert!(stage.spawns().is_empty());
    stage.tell(Event::TreeGone { life: life(0, 1) });
    assert_eq!(stage.spawns(), [life(0, 2)]);
}

#[test]
fn who_runs_it_by_hand_is_told_how_that_run_ended() {
    let mut stage = registered(Overlap::Queue);
    let first = stage.run();
    stage.spawned(life(0, 1)).settled(life(0, 1));
    assert!(stage.replies().is_empty(), "being up is not enough");
    let second = stage.run();
    stage.pass(ms(500)).exited(life(0, 1), 0);
    stage.done(first, [0]);
    stage.spawned(life(0, 2)).pass(ms(20)).exited(life(0, 2), 4);
    let cause = FailureCause::Exited { exit: Exit::Code(4), uptime: ms(20) };
    stage.failed(second, &[(0, cause)], false);
    let third = stage.run();
    stage.tell(Event::SpawnFailed { life: life(0, 3), why: "no such file".into() });
    stage.failed(third, &[(0, FailureCause::SpawnFailed("no such file".into()))], false);
}

#[test]
fn a_run_by_hand_beside_another_is_refused_where_times_are_skipped_and_stops_it_where_it_is_replaced() {
    let mut stage = registered(Overlap::Skip);
    stage.time_comes();
    let run = stage.run();
    assert_eq!(stage.replies(), [(run, &Outcome::Refused(Refusal::RunsAlready { app: "api".into() }))]);
    let mut stage = registered(Overlap::Replace);
    let first = stage.run();
    stage.spawned(life(0, 1)).settled(life(0, 1));
    let second = stage.run();
    stage.pass(ms(10)).tell(Event::Exited {
        life: life(0, 1),
        exit: Exit::Signal { signal: 2, core: false },
        leftovers: false,
    });
    let cause = FailureCause::Exited { exit: Exit::Signal { signal: 2, core: false }, uptime: ms(10) };
    stage.failed(first, &[(0, cause)], false);
    stage.spawned(life(0, 2)).exited(life(0, 2), 0);
    stage.done(second, [0]);
}

#[test]
fn only_jobs_are_run() {
    let mut stage = Stage::with(crate::stage::fork());
    let run = stage.run();
    assert_eq!(stage.replies(), [(run, &Outcome::Refused(Refusal::NoJob { app: "api".into() }))]);
}

#[test]
fn a_job_that_is_stopped_lets_its_times_pass_until_it_is_run_or_defined_anew() {
    let mut stage = registered(Overlap::Queue);
    stage.time_comes();
    stage.spawned(life(0, 1));
    stage.time_comes();
    let stop = stage.ask(Command::Stop { workers: ids([0]) });
    stage.exited(life(0, 1), 0);
    stage.done(stop, [0]);
    stage.time_comes();
    assert!(stage.spawns().is_empty() && stage.worker(0).is_parked);
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[]);
    stage.time_comes();
    assert!(stage.spawns().is_empty(), "the next daemon knows it too");
    let specs = vec![(AppId(0), job(Overlap::Skip))];
    let defined = stage.ask(Command::Restart { workers: vec![], specs });
    stage.done(defined, []);
    assert!(stage.spawns().is_empty() && !stage.worker(0).is_parked);
    stage.time_comes();
    assert_eq!(stage.spawns().len(), 1);
}

#[test]
fn a_new_definition_leaves_a_run_alone() {
    let mut stage = registered(Overlap::Skip);
    stage.time_comes();
    stage.spawned(life(0, 1)).settled(life(0, 1));
    stage.ask(Command::Reload { workers: vec![], specs: vec![(AppId(0), job(Overlap::Queue))], force: false });
    assert!(!stage.has(&Effect::Ask { life: life(0, 1) }));
    stage.time_comes();
    assert_eq!(stage.happenings, [(0, Happening::Queued)]);
}

#[test]
fn what_ran_for_ever_ends_when_it_becomes_a_job_and_a_job_starts_when_it_is_to_run_for_ever() {
    let mut stage = Stage::with(crate::stage::fork());
    let become_job = Command::Restart { workers: ids([0]), specs: vec![(AppId(0), job(Overlap::Skip))] };
    let restart = stage.ask(become_job);
    stage.exited(life(0, 1), 0);
    stage.done(restart, [0]);
    assert!(stage.spawns().is_empty());
    stage.ask(Command::Restart { workers: ids([0]), specs: vec![(AppId(0), crate::stage::fork())] });
    assert_eq!(stage.spawns(), [life(0, 2)]);
}

#[test]
fn what_depends_on_a_job_starts_when_a_run_has_ended_well() {
    let mut stage = registered(Overlap::Skip);
    let web = spec(ExecMode::Fork, 1, |spec| {
        spec.name = "web".into();
        spec.depends_on = [("api".to_owned(), Dependency::Completed)].into();
    });
    stage.ask(Command::Start { specs: vec![web] });
    assert!(stage.spawns().is_empty());
    stage.time_comes();
    stage.spawned(life(0, 1)).exited(life(0, 1), 0);
    assert_eq!(stage.spawns(), [life(1, 1)]);
}

#[test]
fn a_run_that_the_daemon_s_death_cut_in_two_goes_on() {
    let mut stage = registered(Overlap::Skip);
    stage.time_comes();
    stage.spawned(life(0, 1));
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1))]);
    assert!(stage.spawns().is_empty());
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.status(0), Status::Stopped);
}

#[test]
fn a_run_that_has_to_wait_for_another_app_is_started_for_its_own_reason() {
    let mut stage = Stage::new();
    let db = spec(ExecMode::Fork, 1, |spec| {
        spec.name = "db".into();
        spec.autostart = false;
    });
    let job = spec(ExecMode::Fork, 1, |spec| {
        *spec = (*job(Overlap::Skip)).clone();
        spec.depends_on = [("db".to_owned(), Dependency::Started)].into();
    });
    stage.ask(Command::Start { specs: vec![db, job] });
    stage.ask(Command::Run { workers: ids([1]), cause: Cause::Schedule });
    assert!(stage.spawns().is_empty());
    // The next daemon knows why, too.
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[]);
    stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    let db = stage.spawns()[0];
    stage.spawned(db);
    let run = stage.spawns()[0];
    stage.spawned(run);
    assert_eq!(stage.happenings, [(1, Happening::Started { cause: Cause::Schedule })]);
}
