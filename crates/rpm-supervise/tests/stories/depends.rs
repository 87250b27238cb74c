use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use rpm_model::{AppId, AppSpec, Bytes, Dependency, ExecMode, Status};
use rpm_supervise::{Command, Effect, Event, FailureCause, Outcome, Refusal};

use crate::stage::{Stage, fact, ids, life, ms, spec};

fn app(name: &str, depends_on: &[(&str, Dependency)], change: impl FnOnce(&mut AppSpec)) -> Arc<AppSpec> {
    spec(ExecMode::Fork, 1, |spec| {
        spec.name = name.into();
        spec.depends_on = depends_on.iter().map(|(name, wants)| ((*name).to_owned(), *wants)).collect();
        change(spec);
    })
}

#[test]
fn an_app_starts_when_what_it_depends_on_is_started() {
    let mut stage = Stage::new();
    let specs = vec![app("web", &[("db", Dependency::Started)], |_| {}), app("db", &[], |_| {})];
    let start = stage.ask(Command::Start { specs });
    assert_eq!(stage.spawns(), [life(1, 1)]);
    assert_eq!(
        (stage.status(0), stage.worker(0).why.as_deref()),
        (Status::WaitingRestart, Some("waits for db to be started"))
    );
    stage.spawned(life(1, 1));
    assert_eq!(stage.spawns(), [life(0, 1)]);
    stage.settled(life(1, 1)).spawned(life(0, 1)).settled(life(0, 1));
    stage.done(start, [0, 1]);
}

#[test]
fn healthy_means_ready() {
    let mut stage = Stage::new();
    let web = app("web", &[("db", Dependency::Healthy)], |_| {});
    stage.ask(Command::Start { specs: vec![app("db", &[], |spec| spec.wait_ready = true), web] });
    stage.spawned(life(0, 1)).settled(life(0, 1));
    assert!(stage.spawns().is_empty());
    stage.tell(Event::AppReady { life: life(0, 1) });
    assert_eq!(stage.spawns(), [life(1, 1)]);
}

#[test]
fn completed_means_ended_well() {
    for (code, starts) in [(0, true), (1, false)] {
        let mut stage = Stage::new();
        let job = app("migrate", &[], |spec| spec.restart.autorestart = false);
        let web = app("web", &[("migrate", Dependency::Completed)], |_| {});
        let start = stage.ask(Command::Start { specs: vec![job, web] });
        stage.spawned(life(0, 1)).settled(life(0, 1));
        assert!(stage.spawns().is_empty());
        stage.exited(life(0, 1), code);
        assert_eq!(stage.spawns().len(), usize::from(starts), "{code}");
        if !starts {
            let why = "waits for migrate to be completed, which is down".to_owned();
            stage.failed_for(start, 1, &FailureCause::Dependency { why });
        }
    }
}

#[test]
fn what_depends_on_something_that_fails_is_told_and_starts_when_it_comes_up() {
    let mut stage = Stage::new();
    let db = app("db", &[], |spec| spec.restart.autorestart = false);
    let start = stage.ask(Command::Start { specs: vec![db, app("web", &[("db", Dependency::Healthy)], |_| {})] });
    stage.spawned(life(0, 1)).exited(life(0, 1), 1);
    let why = "waits for db to be healthy, which is down".to_owned();
    stage.failed_for(start, 1, &FailureCause::Dependency { why });
    stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    stage.spawned(life(0, 2)).settled(life(0, 2));
    assert_eq!(stage.spawns(), [life(1, 1)]);
}

#[test]
fn a_circle_and_a_stranger_are_refused_by_name() {
    let mut stage = Stage::new();
    let circle = [("a", "b"), ("b", "c"), ("c", "a")].map(|(name, on)| app(name, &[(on, Dependency::Started)], |_| {}));
    stage.ask(Command::Start { specs: circle.into() });
    let apps = ["a", "b", "c", "a"].map(str::to_owned).into();
    assert!(
        matches!(&stage.replies()[..], [(_, Outcome::Refused(refusal))] if *refusal == Refusal::DependencyCircle { apps })
    );
    stage.ask(Command::Start { specs: vec![app("a", &[("nobody", Dependency::Started)], |_| {})] });
    assert!(
        matches!(&stage.replies()[..], [(_, Outcome::Refused(Refusal::UnknownDependency { missing, .. }))] if missing == "nobody")
    );
    stage.ask(Command::Start { specs: vec![app("a", &[("a", Dependency::Started)], |_| {})] });
    assert!(matches!(&stage.replies()[..], [(_, Outcome::Refused(Refusal::DependencyCircle { .. }))]));
}

#[test]
fn a_stop_goes_the_other_way_round() {
    let mut stage = Stage::new();
    let specs = vec![app("db", &[], |_| {}), app("web", &[("db", Dependency::Started)], |_| {})];
    stage.ask(Command::Start { specs });
    stage.spawned(life(0, 1)).settled(life(0, 1)).spawned(life(1, 1)).settled(life(1, 1));
    let stop = stage.ask(Command::Stop { workers: ids([0, 1]) });
    assert!(stage.has(&Effect::Ask { life: life(1, 1) }) && !stage.has(&Effect::Ask { life: life(0, 1) }));
    stage.exited(life(1, 1), 0);
    assert!(stage.has(&Effect::Ask { life: life(0, 1) }));
    stage.exited(life(0, 1), 0);
    stage.done(stop, [0, 1]);
    // Alone it is stopped at once.
    stage.ask(Command::Restart { workers: ids([0, 1]), specs: vec![] });
    stage.spawned(life(0, 2)).settled(life(0, 2)).spawned(life(1, 2)).settled(life(1, 2));
    stage.ask(Command::Stop { workers: ids([0]) });
    assert!(stage.has(&Effect::Ask { life: life(0, 2) }));
}

/// The replacement came up in a worker that was to go, and took its place with a release that the worker did not know of:
/// after a crash it was another one.
#[test]
fn a_roll_lets_go_of_what_is_stopped_after_others() {
    for deletes in [false, true] {
        let mut stage = Stage::new();
        let db = |version: &str| {
            app("db", &[], |spec| (spec.exec_mode, spec.version) = (ExecMode::Cluster, Some(version.into())))
        };
        stage.ask(Command::Start { specs: vec![db("1"), app("web", &[("db", Dependency::Started)], |_| {})] });
        stage.spawned(life(0, 1)).listening(life(0, 1)).spawned(life(1, 1)).settled(life(1, 1));
        stage.ask(Command::Reload { workers: ids([0]), specs: vec![(AppId(0), db("2"))], force: false });
        stage.spawned(life(0, 2));
        let workers = ids([0, 1]);
        let stop = stage.ask(if deletes { Command::Delete { workers } } else { Command::Stop { workers } });
        assert!(stage.has(&Effect::Ask { life: life(0, 2) }) && !stage.has(&Effect::Ask { life: life(0, 1) }));
        stage.listening(life(0, 2));
        assert_eq!((stage.effects.len(), stage.worker(0).life), (0, Some(life(0, 1))), "web needs it");
        stage.exited(life(0, 2), 0).exited(life(1, 1), 0);
        assert_eq!(stage.effects.last(), Some(&Effect::Ask { life: life(0, 1) }));
        stage.exited(life(0, 1), 0).done(stop, [0, 1]);
    }
}

/// It was stopped with its trial, and the next reload waited for ever for the end of that.
#[test]
fn what_is_replaced_before_its_turn_to_be_stopped_comes_is_reloaded_as_ever() {
    let mut stage = Stage::new();
    let db = app("db", &[], |spec| (spec.exec_mode, spec.max_memory_restart) = (ExecMode::Cluster, Some(Bytes(100))));
    stage.ask(Command::Start { specs: vec![db, app("web", &[("db", Dependency::Started)], |_| {})] });
    stage.spawned(life(0, 1)).listening(life(0, 1)).spawned(life(1, 1)).settled(life(1, 1));
    let stop = stage.ask(Command::Stop { workers: ids([0, 1]) });
    stage.tell(Event::Memory { life: life(0, 1), used: Bytes(101) });
    assert_eq!(stage.spawns(), [life(0, 2)]);
    stage.spawned(life(0, 2)).exited(life(1, 1), 0).exited(life(0, 2), 0).exited(life(0, 1), 0).done(stop, [0, 1]);
    let reload = stage.ask(Command::Reload { workers: ids([0]), specs: vec![], force: false });
    stage.spawned(life(0, 3)).listening(life(0, 3)).done(reload, [0]);
}

#[test]
fn a_shutdown_goes_in_order_past_one_that_cannot_be_killed() {
    let mut stage = Stage::new();
    let specs = vec![app("db", &[], |_| {}), app("web", &[("db", Dependency::Started)], |_| {})];
    stage.ask(Command::Start { specs });
    stage.spawned(life(0, 1)).settled(life(0, 1)).spawned(life(1, 1)).settled(life(1, 1));
    stage.ask(Command::Shutdown);
    assert!(!stage.has(&Effect::Ask { life: life(0, 1) }));
    assert!(stage.pass(ms(5000)).has(&Effect::Ask { life: life(0, 1) }));
    stage.exited(life(0, 1), 0);
    assert!(stage.has(&Effect::Leave));
}

#[test]
fn a_held_app_is_held_by_the_next_daemon_too() {
    let mut stage = Stage::new();
    let specs = vec![app("db", &[], |spec| spec.wait_ready = true), app("web", &[("db", Dependency::Healthy)], |_| {})];
    stage.ask(Command::Start { specs });
    stage.spawned(life(0, 1));
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1))]);
    stage.pass(ms(20_000));
    assert!(stage.spawns().len() <= 1);
    stage.tell(Event::AppReady { life: life(0, 1) });
    assert_eq!(stage.status(1), Status::Launching);
}

fn restart_with(stage: &mut Stage, number: u32, spec: Arc<AppSpec>) -> Option<Refusal> {
    stage.ask(Command::Restart { workers: ids([number]), specs: vec![(AppId(number), spec)] });
    stage.replies().into_iter().find_map(|(_, outcome)| match outcome {
        Outcome::Refused(refusal) => Some(refusal.clone()),
        Outcome::Done { .. } | Outcome::Failed { .. } => None,
    })
}

#[test]
fn a_new_spec_of_an_app_that_is_there_is_refused_like_a_new_app() {
    let mut stage = Stage::new();
    let specs = vec![app("hen", &[("egg", Dependency::Started)], |_| {}), app("egg", &[], |_| {})];
    stage.ask(Command::Start { specs });
    let on_hen = app("egg", &[("hen", Dependency::Started)], |_| {});
    let apps = ["egg", "hen", "egg"].map(str::to_owned).into();
    assert_eq!(restart_with(&mut stage, 1, on_hen.clone()), Some(Refusal::DependencyCircle { apps }));
    let on_nobody = app("egg", &[("cock", Dependency::Started)], |_| {});
    let unknown = Refusal::UnknownDependency { app: "egg".into(), missing: "cock".into() };
    assert_eq!(restart_with(&mut stage, 1, on_nobody), Some(unknown));
    // A spec takes the place of the one before: when the hen needs no egg any more, the egg may need the hen.
    assert_eq!(restart_with(&mut stage, 0, app("hen", &[], |_| {})), None);
    assert_eq!(restart_with(&mut stage, 1, on_hen), None);
    // What was agreed to is not asked about again, even when it has gone since.
    stage.ask(Command::Delete { workers: ids([0]) });
    for generation in 1..4 {
        stage.exited(life(0, generation), 0);
    }
    let on_hen = app("egg", &[("hen", Dependency::Healthy)], |spec| spec.drain_timeout = ms(1));
    assert_eq!(restart_with(&mut stage, 1, on_hen), None);
}

proptest! {
    #[test]
    fn specs_never_make_a_circle_and_are_refused_for_nothing_else(
        changes in proptest::collection::vec((0usize..5, proptest::collection::btree_set(0usize..6, 0..4)), 1..25),
    ) {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "nobody"];
        let mut stage = Stage::new();
        stage.ask(Command::Start { specs: NAMES[..5].iter().map(|name| app(name, &[], |_| {})).collect() });
        let mut model: [BTreeSet<usize>; 5] = Default::default();
        for (changed, on) in changes {
            let mut next = model.clone();
            next[changed] = on.clone();
            let is_fine = !on.contains(&5) && is_without_circle(&next);
            let on: Vec<_> = on.iter().map(|name| (NAMES[*name], Dependency::Started)).collect();
            let refused = restart_with(&mut stage, changed as u32, app(NAMES[changed], &on, |_| {}));
            prop_assert_eq!(refused.is_none(), is_fine, "{:?} in {:?}", refused, next);
            if let Some(Refusal::DependencyCircle { apps }) = &refused {
                prop_assert_eq!(apps.first(), apps.last());
                for pair in apps.windows(2) {
                    let number = |name: &str| NAMES.iter().position(|known| *known == name).expect("a name");
                    prop_assert!(next[number(&pair[0])].contains(&number(&pair[1])), "{:?} in {:?}", apps, next);
                }
            }
            if is_fine {
                model = next;
            }
        }
    }
}

/// Takes away what depends on nothing that is left, until nothing can be taken.
fn is_without_circle(on: &[BTreeSet<usize>; 5]) -> bool {
    let mut left: BTreeSet<usize> = (0..5).collect();
    while let Some(free) = left.iter().copied().find(|app| on[*app].is_disjoint(&left)) {
        left.remove(&free);
    }
    left.is_empty()
}

/// A command that started the last of a chain was never answered when the first one was down.
#[test]
fn the_whole_chain_behind_something_that_is_down_is_told() {
    let mut stage = Stage::new();
    let db = app("db", &[], |spec| spec.restart.autorestart = false);
    let api = app("api", &[("db", Dependency::Healthy)], |spec| spec.instances = 2);
    let start = stage.ask(Command::Start { specs: vec![db, api, app("web", &[("api", Dependency::Healthy)], |_| {})] });
    stage.spawned(life(0, 1)).exited(life(0, 1), 1);
    let why = "waits for api to be healthy, which is down".to_owned();
    stage.failed_for(start, 3, &FailureCause::Dependency { why });
}

/// All started at once: the job and what needs the database ran before it.
#[test]
fn what_is_started_again_together_starts_in_order() {
    for (is_down, by_reload) in [(true, false), (false, false), (true, true)] {
        let mut stage = Stage::new();
        let web = app("web", &[("db", Dependency::Healthy)], |spec| {
            // What shares its sockets is rolled.
            spec.exec_mode = if by_reload { ExecMode::Cluster } else { ExecMode::Fork };
        });
        stage.ask(Command::Start { specs: vec![web, app("db", &[], |_| {})] });
        stage.spawned(life(1, 1)).settled(life(1, 1)).spawned(life(0, 1)).listening(life(0, 1)).settled(life(0, 1));
        if is_down {
            stage.ask(Command::Stop { workers: ids([0, 1]) });
            stage.exited(life(0, 1), 0).exited(life(1, 1), 0);
        }
        let (workers, specs) = (ids([0, 1]), vec![]);
        let again = match by_reload {
            true => stage.ask(Command::Reload { workers, specs, force: false }),
            false => stage.ask(Command::Restart { workers, specs }),
        };
        if !is_down {
            stage.exited(life(0, 1), 0);
            assert!(stage.spawns().is_empty());
            stage.exited(life(1, 1), 0);
        }
        assert_eq!(stage.spawns(), [life(1, 2)]);
        assert_eq!(stage.worker(0).why.as_deref(), Some("waits for db to be healthy"));
        stage.spawned(life(1, 2)).settled(life(1, 2));
        assert_eq!(stage.spawns(), [life(0, 2)]);
        stage.spawned(life(0, 2));
        let is_up = if by_reload { stage.listening(life(0, 2)) } else { stage.settled(life(0, 2)) };
        is_up.done(again, [0, 1]);
    }
}

#[test]
fn one_that_serves_is_not_taken_down_for_something_that_nobody_starts() {
    let mut stage = Stage::new();
    let specs = vec![app("db", &[], |_| {}), app("web", &[("db", Dependency::Healthy)], |_| {}), app("a", &[], |_| {})];
    stage.ask(Command::Start { specs });
    stage.spawned(life(0, 1)).settled(life(0, 1)).spawned(life(1, 1)).settled(life(1, 1));
    stage.ask(Command::Stop { workers: ids([0]) });
    stage.exited(life(0, 1), 0);
    stage.ask(Command::Restart { workers: ids([1, 2]), specs: vec![] });
    stage.exited(life(1, 1), 0);
    assert_eq!(stage.spawns(), [life(1, 2)]);
    // One that is down waits, and alone it does not.
    stage.ask(Command::Stop { workers: ids([1]) });
    stage.spawned(life(1, 2)).exited(life(1, 2), 0);
    let both = stage.ask(Command::Restart { workers: ids([1, 2]), specs: vec![] });
    let why = "waits for db to be healthy, which is down".to_owned();
    assert!(stage.spawns().iter().all(|life| life.worker != ids([1])[0]));
    stage.spawned(life(2, 1)).exited(life(2, 1), 0).spawned(life(2, 2)).settled(life(2, 2));
    stage.failed_for(both, 1, &FailureCause::Dependency { why });
    stage.ask(Command::Restart { workers: ids([1]), specs: vec![] });
    assert_eq!(stage.spawns(), [life(1, 3)]);
}

#[test]
fn a_restart_in_order_is_gone_on_with_by_the_next_daemon() {
    let mut stage = Stage::new();
    let web = app("web", &[("db", Dependency::Healthy)], |_| {});
    stage.ask(Command::Start { specs: vec![web, app("db", &[], |_| {})] });
    stage.spawned(life(1, 1)).settled(life(1, 1)).spawned(life(0, 1)).settled(life(0, 1));
    stage.ask(Command::Restart { workers: ids([0, 1]), specs: vec![] });
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[fact(life(0, 1)), fact(life(1, 1))]);
    stage.exited(life(0, 1), 0);
    assert!(stage.spawns().is_empty());
    stage.exited(life(1, 1), 0);
    let db = stage.spawns();
    assert!(matches!(db[..], [one] if one.worker == ids([1])[0]));
    stage.spawned(db[0]).settled(db[0]);
    assert!(matches!(stage.spawns()[..], [one] if one.worker == ids([0])[0]));
}

/// A roll waited for ever for a worker that waits for an app that is down.
#[test]
fn a_reload_tells_what_it_waits_for_in_vain() {
    let mut stage = Stage::new();
    let db = app("db", &[], |spec| spec.restart.autorestart = false);
    let web = app("web", &[("db", Dependency::Healthy)], |spec| spec.exec_mode = ExecMode::Cluster);
    stage.ask(Command::Start { specs: vec![db, web] });
    stage.spawned(life(0, 1)).exited(life(0, 1), 1);
    let reload = stage.ask(Command::Reload { workers: ids([0, 1]), specs: vec![], force: false });
    stage.spawned(life(0, 2)).exited(life(0, 2), 1);
    let why = "waits for db to be healthy, which is down".to_owned();
    stage.failed_for(reload, 1, &FailureCause::Dependency { why });
    stage.ask(Command::Restart { workers: ids([0]), specs: vec![] });
    stage.spawned(life(0, 3)).settled(life(0, 3));
    assert_eq!(stage.spawns(), [life(1, 1)]);
}

#[test]
fn what_has_ended_by_itself_is_told_from_what_was_stopped() {
    let mut stage = Stage::with(app("migrate", &[], |spec| spec.restart.autorestart = false));
    stage.exited(life(0, 1), 0);
    let saved = stage.supervisor.saved();
    stage.reborn(saved, &[]);
    assert!(stage.worker(0).has_ended);
    stage.ask(Command::Stop { workers: ids([0]) });
    assert_eq!((stage.status(0), stage.worker(0).has_ended), (Status::Stopped, false));
}
