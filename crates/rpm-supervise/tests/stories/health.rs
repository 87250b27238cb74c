use std::sync::Arc;

use rpm_model::{AppSpec, ExecMode, Health, HealthSpec, Life, StackDump, Status};
use rpm_supervise::{Cause, Command, Effect, Event, FailureCause, Happening, Trouble};

use crate::stage::{Stage, fact, ids, life, ms, spec};

/// A check every second with 10 s to start in: two failures make ill.
fn checked(mode: ExecMode, instances: u32, change: impl FnOnce(&mut AppSpec)) -> Arc<AppSpec> {
    spec(mode, instances, |spec| {
        spec.health = Some(HealthSpec {
            interval: ms(1000),
            timeout: ms(500),
            start_period: ms(10_000),
            fall: 2,
            ..HealthSpec::default()
        });
        change(spec);
    })
}

fn passes(stage: &mut Stage, life: Life) {
    stage.tell(Event::Probed { life, found: Ok(()) });
}

fn fails(stage: &mut Stage, life: Life) {
    stage.tell(Event::Probed { life, found: Err(Trouble { why: "status 500".into(), is_silent: false }) });
}

fn unhealthy() -> FailureCause {
    FailureCause::Unhealthy { why: "status 500".into() }
}

/// Returns a stage where an app with checks is ready.
fn ready(spec: Arc<AppSpec>) -> Stage {
    let mut stage = Stage::new();
    let instances = spec.instances;
    stage.ask(Command::Start { specs: vec![spec] });
    for worker in 0..instances {
        stage.spawned(life(worker, 1));
        passes(&mut stage, life(worker, 1));
        assert_eq!(stage.worker(worker).health, Some(Health::Ready));
    }
    stage
}

#[test]
fn a_worker_is_ready_when_it_passes_and_not_before() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![checked(ExecMode::Cluster, 1, |_| {})] });
    stage.spawned(life(0, 1)).listening(life(0, 1)).settled(life(0, 1));
    assert_eq!((stage.status(0), stage.worker(0).health), (Status::Launching, Some(Health::Starting)));
    stage.pass(ms(9000));
    // Failures are forgiven while it boots.
    (0..5).for_each(|_| fails(&mut stage, life(0, 1)));
    assert_eq!(stage.status(0), Status::Launching);
    passes(&mut stage, life(0, 1));
    assert_eq!(stage.effects[0], Effect::Admit { life: life(0, 1) });
    stage.done(start, [0]);
}

#[test]
fn rise_says_how_many_passes_in_a_row_are_wanted() {
    let mut stage = Stage::new();
    let three = checked(ExecMode::Fork, 1, |spec| spec.health.as_mut().expect("it is there").rise = 3);
    stage.ask(Command::Start { specs: vec![three] });
    stage.spawned(life(0, 1));
    for passed in [true, true, false, true, true] {
        if passed { passes(&mut stage, life(0, 1)) } else { fails(&mut stage, life(0, 1)) }
    }
    assert_eq!(stage.status(0), Status::Launching);
    passes(&mut stage, life(0, 1));
    assert_eq!(stage.status(0), Status::Online);
}

#[test]
fn with_wait_ready_both_are_wanted() {
    let mut stage = Stage::new();
    stage.ask(Command::Start { specs: vec![checked(ExecMode::Fork, 1, |spec| spec.wait_ready = true)] });
    stage.spawned(life(0, 1));
    passes(&mut stage, life(0, 1));
    assert_eq!(stage.status(0), Status::Launching);
    stage.tell(Event::AppReady { life: life(0, 1) });
    assert_eq!(stage.status(0), Status::Online);
}

#[test]
fn a_start_that_never_passes_fails_and_is_tried_again() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![checked(ExecMode::Fork, 1, |_| {})] });
    stage.spawned(life(0, 1)).pass(ms(10_000));
    fails(&mut stage, life(0, 1));
    assert!(stage.effects.is_empty());
    fails(&mut stage, life(0, 1));
    stage.failed(start, &[(0, unhealthy())], false);
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }));
    assert_eq!(stage.worker(0).why.as_deref(), Some("did not pass its health check: status 500"));
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).cause, Some(Cause::Health));
}

#[test]
fn a_start_of_which_nothing_is_heard_ends_too() {
    let mut stage = Stage::new();
    let start = stage.ask(Command::Start { specs: vec![checked(ExecMode::Fork, 1, |_| {})] });
    stage.spawned(life(0, 1)).pass(ms(13_000));
    stage.failed(start, &[(0, FailureCause::NotReady { waited: ms(13_000) })], false);
}

#[test]
fn an_ill_worker_leaves_the_rotation_before_it_is_replaced() {
    let mut stage = ready(checked(ExecMode::Cluster, 2, |_| {}));
    fails(&mut stage, life(0, 1));
    assert!(stage.effects.is_empty(), "once is not enough");
    fails(&mut stage, life(0, 1));
    assert_eq!(stage.effects[0], Effect::Withhold { life: life(0, 1) });
    assert_eq!(stage.happenings, [(0, Happening::Unhealthy)]);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!((stage.status(0), stage.worker(0).health), (Status::Online, Some(Health::Unhealthy)));
    stage.spawned(life(0, 2));
    passes(&mut stage, life(0, 2));
    let until = stage.now + ms(10_000);
    assert_eq!(stage.effects, [Effect::Admit { life: life(0, 2) }, Effect::Drain { life: life(0, 1), until }]);
    assert_eq!((stage.worker(0).health, stage.worker(0).cause), (Some(Health::Ready), Some(Cause::Health)));
    assert_eq!(stage.worker(0).why, None);
}

#[test]
fn an_ill_worker_that_has_its_port_to_itself_is_restarted() {
    let mut stage = ready(checked(ExecMode::Fork, 1, |_| {}));
    fails(&mut stage, life(0, 1));
    fails(&mut stage, life(0, 1));
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }));
    assert_eq!(stage.happenings[1], (0, Happening::Stopping { cause: Cause::Health }));
    stage.exited(life(0, 1), 0);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).restarts, 1);
}

#[test]
fn when_all_fall_ill_they_are_replaced_one_after_another() {
    let mut stage = ready(checked(ExecMode::Cluster, 3, |_| {}));
    for worker in 0..3 {
        fails(&mut stage, life(worker, 1));
        fails(&mut stage, life(worker, 1));
        assert_eq!(stage.spawns().len(), usize::from(worker == 0));
    }
    // The second recovers meanwhile, and is let in again.
    passes(&mut stage, life(1, 1));
    assert_eq!(stage.effects, [Effect::Admit { life: life(1, 1) }]);
    assert_eq!(stage.happenings, [(1, Happening::Healthy)]);
    stage.spawned(life(0, 2));
    passes(&mut stage, life(0, 2));
    fails(&mut stage, life(2, 1));
    assert_eq!(stage.spawns(), [life(2, 2)]);
}

#[test]
fn a_replacement_that_is_ill_too_is_given_up_and_tried_again_later() {
    let mut stage = ready(checked(ExecMode::Cluster, 1, |_| {}));
    fails(&mut stage, life(0, 1));
    fails(&mut stage, life(0, 1));
    stage.spawned(life(0, 2)).pass(ms(10_000));
    fails(&mut stage, life(0, 2));
    fails(&mut stage, life(0, 2));
    assert!(stage.has(&Effect::Ask { life: life(0, 2) }));
    stage.exited(life(0, 2), 0);
    fails(&mut stage, life(0, 1));
    assert!(stage.spawns().is_empty(), "no hurry");
    stage.pass(ms(30_000));
    fails(&mut stage, life(0, 1));
    assert_eq!(stage.spawns(), [life(0, 3)]);
}

#[test]
fn a_release_that_does_not_pass_is_rolled_back() {
    let mut stage = ready(checked(ExecMode::Cluster, 2, |spec| spec.version = Some("1".into())));
    let two = checked(ExecMode::Cluster, 2, |spec| spec.version = Some("2".into()));
    let app = stage.app();
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![(app, two)], force: false });
    stage.spawned(life(0, 2)).listening(life(0, 2));
    assert_eq!(stage.worker(0).life, Some(life(0, 1)), "listening is not enough");
    stage.pass(ms(10_000));
    fails(&mut stage, life(0, 2));
    fails(&mut stage, life(0, 2));
    stage.exited(life(0, 2), 0);
    stage.failed(reload, &[(0, unhealthy())], true);
    assert_eq!(stage.worker(0).spec.version.as_deref(), Some("1"));
    assert_eq!(stage.worker(1).life, Some(life(1, 1)));
}

#[test]
fn counting_is_not_written_down() {
    let mut stage = ready(checked(ExecMode::Cluster, 1, |_| {}));
    let mut effects = Vec::new();
    let now = stage.now;
    let trouble = Trouble { why: "refused".to_owned(), is_silent: false };
    for found in [Ok(()), Err(trouble), Ok(())] {
        stage.supervisor.handle(now, Event::Probed { life: life(0, 1), found }, &mut effects);
    }
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn an_ill_worker_is_ill_to_the_next_daemon() {
    let mut stage = ready(checked(ExecMode::Cluster, 2, |spec| spec.reload_parallel = 1));
    for _ in 0..2 {
        fails(&mut stage, life(0, 1));
    }
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(1, 1)), fact(life(0, 2))]);
    assert!(stage.has(&Effect::Withhold { life: life(0, 1) }));
    assert!(!stage.has(&Effect::Admit { life: life(0, 1) }));
    assert_eq!(stage.worker(0).health, Some(Health::Unhealthy));
}

#[test]
fn a_worker_that_hangs_tells_where_and_is_given_little_time() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 2, |spec| spec.stack_dump = Some(StackDump::Signal(3))));
    let hung = || Event::Hung { life: life(0, 1), why: "no sign of life for 30 s".into() };
    stage.tell(hung());
    assert_eq!(stage.effects[..2], [Effect::Dump { life: life(0, 1) }, Effect::Withhold { life: life(0, 1) }]);
    assert_eq!(stage.spawns(), [life(0, 2)]);
    assert_eq!(stage.worker(0).why.as_deref(), Some("unhealthy: no sign of life for 30 s"));
    stage.tell(hung());
    assert!(stage.effects.is_empty(), "once is enough");
    stage.spawned(life(0, 2)).listening(life(0, 2));
    let until = stage.now + ms(1000);
    assert!(stage.has(&Effect::Drain { life: life(0, 1), until }));
    assert_eq!(stage.worker(0).cause, Some(Cause::Hang));
}

#[test]
fn one_that_did_not_hang_after_all_is_let_in_again() {
    let mut stage = Stage::with(spec(ExecMode::Cluster, 2, |_| {}));
    // The first is being replaced, the second has to wait for it.
    for worker in 0..2 {
        stage.tell(Event::Hung { life: life(worker, 1), why: "no sign of life for 30 s".into() });
    }
    assert!(stage.spawns().is_empty());
    stage.tell(Event::Revived { life: life(1, 1) });
    assert_eq!(stage.effects, [Effect::Admit { life: life(1, 1) }]);
    assert_eq!(stage.worker(1).health, Some(Health::Ready));
    stage.tell(Event::Revived { life: life(1, 1) });
    assert!(stage.effects.is_empty());
}

#[test]
fn a_check_without_an_answer_means_a_hang() {
    let mut stage = ready(checked(ExecMode::Fork, 1, |spec| spec.stack_dump = Some(StackDump::Signal(3))));
    for _ in 0..2 {
        let trouble = Trouble { why: "no answer within 500 ms".into(), is_silent: true };
        stage.tell(Event::Probed { life: life(0, 1), found: Err(trouble) });
    }
    assert!(stage.has(&Effect::Dump { life: life(0, 1) }));
    assert!(!stage.has(&Effect::Ask { life: life(0, 1) }), "it is given the time to tell");
    assert_eq!(stage.happenings[1], (0, Happening::Stopping { cause: Cause::Hang }));
    assert_eq!(stage.pass(ms(1000)).effects, [Effect::Ask { life: life(0, 1) }]);
}
