use std::sync::Arc;

use rpm_model::{AppSpec, AutoscaleSpec, ExecMode, Load};
use rpm_supervise::{Cause, Command, Effect, Event, Happening, Outcome, Refusal, Resurrected, Standing};

use crate::stage::{Stage, fact, ids, life, ms, spec};

fn scaled(instances: u32) -> Arc<AppSpec> {
    spec(ExecMode::Cluster, instances, |spec| {
        let targets = Load { rate: Some(100.0), ..Load::default() };
        spec.autoscale = Some(Box::new(AutoscaleSpec::new(1, 4, targets)));
    })
}

/// Looks once a second for so long; the effects of the last look are kept.
fn look(stage: &mut Stage, seconds: u32, rate: f64) {
    let app = stage.app();
    for _ in 0..seconds {
        stage.pass(ms(1000));
        stage.tell(Event::Load { app, load: Load { rate: Some(rate), ..Load::default() } });
    }
}

fn told(stage: &Stage) -> Option<&str> {
    stage.effects.iter().find_map(|effect| match effect {
        Effect::PublishApp { event: "autoscale", detail, .. } => Some(detail.as_str()),
        _ => None,
    })
}

fn standing(stage: &Stage) -> Standing {
    let view = stage.supervisor.app(stage.app()).expect("it is there");
    view.scaling.expect("it scales itself").standing
}

#[test]
fn a_load_brings_workers_with_its_name_on_them() {
    let mut stage = Stage::with(scaled(1));
    look(&mut stage, 3, 250.0);
    assert_eq!(told(&stage), Some("1 → 3 workers: rate 250/s for each, 100/s wanted"));
    assert_eq!(stage.spawns(), [life(1, 1), life(2, 1)]);
    stage.spawned(life(1, 1)).spawned(life(2, 1));
    assert_eq!(stage.happenings, [(2, Happening::Started { cause: Cause::Autoscale })]);
    assert_eq!(stage.supervisor.spec(stage.app()).expect("it is there").instances, 3);
    // Nobody counts on those that are not ready.
    look(&mut stage, 2, 1000.0);
    assert_eq!((told(&stage), standing(&stage)), (None, Standing::NotReady));
}

#[test]
fn on_the_way_down_they_finish_their_requests() {
    let mut stage = Stage::with(scaled(2));
    look(&mut stage, 60, 50.0);
    assert_eq!(told(&stage), None);
    look(&mut stage, 1, 50.0);
    assert_eq!(told(&stage), Some("2 → 1 workers: rate 25/s for each, 100/s wanted"));
    assert!(stage.effects.iter().any(|effect| matches!(effect, Effect::Drain { life, .. } if life.worker.0 == 0)));
    assert_eq!(stage.happenings, [(0, Happening::Stopping { cause: Cause::Autoscale })]);
    stage.tell(Event::Drained { life: life(0, 1) }).exited(life(0, 1), 0);
    look(&mut stage, 200, 0.0);
    assert_eq!(stage.supervisor.app(stage.app()).expect("it is there").workers.len(), 1, "one is the least");
}

#[test]
fn whoever_scales_by_hand_takes_over_until_it_is_turned_on() {
    let mut stage = Stage::with(scaled(1));
    let app = stage.app();
    let scale = stage.ask(Command::Scale { app, instances: 2 });
    stage.spawned(life(1, 1)).listening(life(1, 1));
    stage.done(scale, [1]);
    look(&mut stage, 100, 900.0);
    assert_eq!((told(&stage), standing(&stage)), (None, Standing::Paused));
    assert_eq!(stage.supervisor.autoscaled().count(), 0);
    // The next daemon knows.
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(1, 1))]);
    assert_eq!(standing(&stage), Standing::Paused);
    let on = stage.ask(Command::Autoscale { app, on: true });
    stage.done(on, []);
    look(&mut stage, 3, 900.0);
    assert_eq!(told(&stage), Some("2 → 4 workers: rate 450/s for each, 100/s wanted"));
}

#[test]
fn what_was_scaled_by_hand_when_it_was_saved_comes_back_so() {
    for (is_scaled_by_hand, expected) in [(true, Standing::Paused), (false, Standing::Unseen)] {
        let mut stage = Stage::new();
        let app = Resurrected { spec: scaled(2), is_stopped: false, is_scaled_by_hand };
        stage.ask(Command::Resurrect { apps: vec![app] });
        assert_eq!(standing(&stage), expected);
    }
}

#[test]
fn an_app_without_it_cannot_be_turned_on() {
    let mut stage = Stage::with(spec(ExecMode::Fork, 1, |_| {}));
    let app = stage.app();
    stage.ask(Command::Autoscale { app, on: true });
    assert!(matches!(stage.replies()[..], [(_, Outcome::Refused(Refusal::NotAutoscaled { .. }))]));
}

#[test]
fn what_crashes_gets_no_company_for_a_while() {
    let mut stage = Stage::with(scaled(1));
    stage.pass(ms(5000)).exited(life(0, 1), 1);
    stage.spawned(life(0, 2)).listening(life(0, 2));
    look(&mut stage, 29, 900.0);
    assert_eq!((told(&stage), standing(&stage)), (None, Standing::Crashing));
    look(&mut stage, 4, 900.0);
    assert_eq!(stage.supervisor.app(stage.app()).expect("it is there").workers.len(), 4);
}

#[test]
fn nothing_is_changed_in_the_middle_of_a_reload_and_its_number_stays() {
    let mut stage = Stage::with(scaled(1));
    stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    look(&mut stage, 10, 900.0);
    assert_eq!((told(&stage), standing(&stage)), (None, Standing::Rolling));
}
