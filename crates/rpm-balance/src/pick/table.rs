//! What every way of choosing promises.

use proptest::prelude::*;
use rpm_model::balance::{Balance, HashKey};

use super::*;

pub(super) fn open(weight: u32) -> Candidate {
    Candidate { weight, in_flight: 0, seat: 7, open: true }
}

pub(super) fn closed(weight: u32) -> Candidate {
    Candidate { open: false, ..open(weight) }
}

pub(super) fn busy(weight: u32, in_flight: u32) -> Candidate {
    Candidate { in_flight, ..open(weight) }
}

fn methods() -> [Balance; 6] {
    let hash = Balance::Hash(HashKey::Path);
    [Balance::RoundRobin, Balance::LeastConn, Balance::IpHash, hash, Balance::RandomTwo, Balance::First]
}

/// Chooses `count` times with different keys, and returns how often each was chosen.
fn tally(method: &Balance, candidates: &[Candidate], count: u64) -> Vec<u32> {
    let mut turns = Turns::default();
    let mut counts = vec![0; candidates.len()];
    for number in 0..count {
        if let Some(index) = choose(method, &mut turns, candidates, Some(mix(number)), mix(number)) {
            counts[index] += 1;
        }
    }
    counts
}

fn seats(candidates: &[Candidate]) -> Vec<Candidate> {
    let seated = |(index, candidate): (usize, &Candidate)| Candidate { seat: mix(index as u64), ..*candidate };
    candidates.iter().enumerate().map(seated).collect()
}

#[test]
fn the_table_holds_for_every_method() {
    // Candidates, and who may be chosen.
    let cases: &[(&[Candidate], &[usize])] = &[
        (&[], &[]),
        (&[closed(1)], &[]),
        (&[open(0)], &[]),
        (&[open(1)], &[0]),
        (&[closed(1), open(1)], &[1]),
        (&[open(0), open(1), closed(5)], &[1]),
        (&[open(1), closed(1), open(1)], &[0, 2]),
        (&[busy(1, u32::MAX), closed(1)], &[0]),
        (&[open(u32::MAX), open(u32::MAX)], &[0, 1]),
    ];
    for method in methods() {
        for (candidates, allowed) in cases {
            let counts = tally(&method, &seats(candidates), 200);
            let chosen: u32 = counts.iter().sum();
            assert_eq!(chosen, if allowed.is_empty() { 0 } else { 200 }, "{method:?} {candidates:?}");
            for (index, count) in counts.iter().enumerate() {
                assert!(*count == 0 || allowed.contains(&index), "{method:?} {candidates:?}");
            }
        }
    }
}

#[test]
fn shares_follow_weights() {
    let candidates = seats(&[open(1), open(2), open(5)]);
    for method in methods().iter().filter(|method| !matches!(method, Balance::First | Balance::RandomTwo)) {
        let counts = tally(method, &candidates, 8000);
        for (count, expected) in counts.iter().zip([1000.0, 2000.0, 5000.0]) {
            let ratio = f64::from(*count) / expected;
            // least_conn without load goes to the heaviest: it is the share of the load that follows weights there.
            let fair = matches!(method, Balance::LeastConn) || (0.9..1.1).contains(&ratio);
            assert!(fair, "{method:?}: {counts:?}");
        }
    }
}

#[test]
fn the_load_of_least_conn_follows_weights() {
    let mut candidates = seats(&[open(1), open(2), open(5)]);
    let mut turns = Turns::default();
    for _ in 0..800 {
        let index = choose(&Balance::LeastConn, &mut turns, &candidates, None, 0).unwrap();
        candidates[index].in_flight += 1;
    }
    let load: Vec<_> = candidates.iter().map(|candidate| candidate.in_flight).collect();
    assert_eq!(load, [100, 200, 500]);
}

proptest! {
    #[test]
    fn one_is_chosen_exactly_when_one_is_open(
        drawn in prop::collection::vec((0u32..4, 0u32..9, any::<u64>(), any::<bool>()), 0..9),
        key in prop::option::of(any::<u64>()),
        random in any::<u64>(),
        rounds in 1usize..20,
    ) {
        let candidates: Vec<_> = drawn
            .into_iter()
            .map(|(weight, in_flight, seat, open)| Candidate { weight, in_flight, seat, open })
            .collect();
        let any = candidates.iter().any(Candidate::eligible);
        for method in methods() {
            let mut turns = Turns::default();
            for round in 0..rounds {
                let random = mix(random.wrapping_add(round as u64));
                let chosen = choose(&method, &mut turns, &candidates, key, random);
                prop_assert_eq!(chosen.is_some(), any, "{:?}", method);
                prop_assert!(chosen.is_none_or(|index| candidates[index].eligible()), "{:?}", method);
            }
        }
    }

    #[test]
    fn turns_are_exact_over_a_whole_round(weights in prop::collection::vec(1u32..9, 1..6)) {
        let candidates: Vec<_> = weights.iter().map(|weight| open(*weight)).collect();
        let counts = tally(&Balance::RoundRobin, &candidates, weights.iter().map(|w| u64::from(*w)).sum());
        prop_assert_eq!(counts, weights);
    }
}
