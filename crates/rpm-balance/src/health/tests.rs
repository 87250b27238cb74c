use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;

fn at(seconds: u64) -> Moment {
    Moment(seconds * SECOND)
}

fn terms() -> Terms {
    Terms {
        max_fails: 3,
        fail_timeout: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        disabled: false,
        checks: Some((2, 3)),
        outlier: Some((5, Duration::from_secs(30))),
    }
}

fn fresh() -> Health {
    Health::new(terms(), MemberState::Ready)
}

const PASS: Seen = Seen::Check { passed: true };
const FAIL: Seen = Seen::Check { passed: false };
const GOOD: Seen = Seen::Answer { bad: false, may_eject: true };
const BAD: Seen = Seen::Answer { bad: true, may_eject: true };

#[test]
fn checks_need_fall_in_a_row_and_rise_in_a_row() {
    let mut health = fresh();
    for seen in [FAIL, FAIL, PASS, FAIL, FAIL] {
        health.see(at(1), seen);
        assert_eq!(health.state(at(1)), ServerState::Up);
    }
    health.see(at(1), FAIL);
    assert_eq!(health.state(at(1)), ServerState::Down);
    for seen in [PASS, FAIL, PASS] {
        health.see(at(2), seen);
        assert_eq!(health.state(at(2)), ServerState::Down);
    }
    assert!(health.wavering());
    health.see(at(2), PASS);
    assert_eq!(health.state(at(2)), ServerState::Up);
}

#[test]
fn failures_count_within_their_window() {
    let mut health = fresh();
    health.see(at(20), Seen::Failure);
    health.see(at(25), Seen::Failure);
    health.see(at(31), Seen::Failure);
    assert_eq!(health.state(at(31)), ServerState::Up, "the window was over");
    health.see(at(32), Seen::Failure);
    health.see(at(33), Seen::Failure);
    assert_eq!(health.state(at(33)), ServerState::Failed);
}

#[test]
fn a_failed_server_is_tried_by_one_request_at_a_time() {
    let mut health = fresh();
    (0..3).for_each(|_| health.see(at(1), Seen::Failure));
    assert!(!health.probe(at(10)));
    assert!(health.probe(at(11)));
    assert!(!health.probe(at(11)), "one request has it");
    health.see(at(12), Seen::Failure);
    assert!(!health.probe(at(21)));
    assert!(health.probe(at(22)));
    health.see(at(23), GOOD);
    assert_eq!(health.state(at(23)), ServerState::Up);
    health.see(at(23), Seen::Failure);
    assert_eq!(health.state(at(23)), ServerState::Up, "the count began anew");
}

#[test]
fn a_server_that_answers_badly_is_ejected_longer_each_time() {
    let mut health = fresh();
    (0..4).for_each(|_| health.see(at(1), BAD));
    health.see(at(1), GOOD);
    (0..4).for_each(|_| health.see(at(1), BAD));
    assert_eq!(health.state(at(1)), ServerState::Up);
    health.see(at(1), BAD);
    assert_eq!(health.state(at(30)), ServerState::Ejected);
    assert_eq!(health.next_change(at(30)), Some(at(31)));
    assert_eq!(health.state(at(31)), ServerState::Up);
    (0..5).for_each(|_| health.see(at(40), BAD));
    assert_eq!(health.state(at(99)), ServerState::Ejected);
    assert_eq!(health.state(at(100)), ServerState::Up);
}

#[test]
fn nobody_is_ejected_where_too_many_are() {
    let mut health = fresh();
    (0..50).for_each(|_| health.see(at(1), Seen::Answer { bad: true, may_eject: false }));
    assert_eq!(health.state(at(1)), ServerState::Up);
}

#[test]
fn weight_grows_after_coming_up_and_not_after_the_start() {
    let mut health = Health::new(Terms { slow_start: Duration::from_secs(10), ..terms() }, MemberState::Ready);
    assert_eq!((health.state(at(1)), health.share(at(1))), (ServerState::Up, 100));
    health.see(at(2), Seen::Supervisor(MemberState::Unhealthy));
    assert_eq!(health.state(at(2)), ServerState::Down);
    health.see(at(20), Seen::Supervisor(MemberState::Ready));
    assert_eq!((health.state(at(20)), health.share(at(20))), (ServerState::SlowStart, 1));
    assert_eq!(health.share(at(25)), 50);
    assert_eq!((health.state(at(30)), health.share(at(30))), (ServerState::Up, 100));
}

#[test]
fn a_person_overrules_checks_and_the_configuration_everyone() {
    let mut health = fresh();
    health.see(at(1), Seen::Drain);
    health.see(at(1), PASS);
    assert_eq!(health.state(at(1)), ServerState::Draining);
    (0..3).for_each(|_| health.see(at(1), FAIL));
    health.see(at(1), Seen::Ready);
    assert_eq!(health.state(at(1)), ServerState::Up);
    health.set_terms(Terms { disabled: true, ..terms() });
    assert_eq!(health.state(at(1)), ServerState::Disabled);
}

fn any_seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::Failure),
        Just(GOOD),
        Just(BAD),
        Just(PASS),
        Just(FAIL),
        Just(Seen::Drain),
        Just(Seen::Ready),
        prop_oneof![
            Just(MemberState::Starting),
            Just(MemberState::Ready),
            Just(MemberState::Draining),
            Just(MemberState::Unhealthy)
        ]
        .prop_map(Seen::Supervisor),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_a_ready_server_comes_back(
        story in prop::collection::vec((any_seen(), 0u64..20), 0..60),
        slow in 0u64..20,
    ) {
        let mut health =
            Health::new(Terms { slow_start: Duration::from_secs(slow), ..terms() }, MemberState::Ready);
        let mut now = 0;
        for (seen, wait) in story {
            now += wait;
            health.see(at(now), seen);
            let share = health.share(at(now));
            prop_assert!((1..=100).contains(&share));
            if let Some(change) = health.next_change(at(now)) {
                prop_assert!(change > at(now));
                prop_assert_ne!(health.state(change), health.state(at(now)));
            }
        }
        health.see(at(now), Seen::Supervisor(MemberState::Ready));
        health.see(at(now), Seen::Ready);
        prop_assert!(in_use(health.state(at(now))));
        prop_assert_eq!(health.state(at(now + 20)), ServerState::Up);
    }

    #[test]
    fn passes_alone_always_bring_a_server_up(fails in 0usize..9) {
        let mut health = fresh();
        (0..fails).for_each(|_| health.see(at(1), FAIL));
        (0..2).for_each(|_| health.see(at(2), PASS));
        prop_assert_eq!(health.state(at(2)), ServerState::Up);
    }
}
