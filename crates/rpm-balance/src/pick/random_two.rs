//! Of two drawn at random by weight, the one with fewer requests in flight for its weight.
//!
//! As good as `least_conn` where several balancers see only their own requests, and it never sends all of them to one
//! server that just came up.

use crate::pick::{Candidate, lighter, mix};

pub(super) fn choose(candidates: &[Candidate], random: u64) -> Option<usize> {
    let first = draw(candidates, random, None)?;
    let Some(second) = draw(candidates, mix(random), Some(first)) else { return Some(first) };
    Some(if lighter(&candidates[second], &candidates[first]).is_lt() { second } else { first })
}

fn draw(candidates: &[Candidate], random: u64, except: Option<usize>) -> Option<usize> {
    let eligible =
        || candidates.iter().enumerate().filter(|(index, candidate)| candidate.eligible() && Some(*index) != except);
    let sum: u64 = eligible().map(|(_, candidate)| u64::from(candidate.weight)).sum();
    let mut point = random.checked_rem(sum)?;
    for (index, candidate) in eligible() {
        match point.checked_sub(u64::from(candidate.weight)) {
            Some(rest) => point = rest,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::table::busy;

    #[test]
    fn of_two_the_less_busy_one_is_chosen_whatever_is_drawn_first() {
        for random in 0..1000 {
            assert_eq!(choose(&[busy(1, 9), busy(1, 2)], mix(random)), Some(1));
        }
    }

    #[test]
    fn the_busiest_of_three_is_never_chosen() {
        for random in 0..1000 {
            assert_ne!(choose(&[busy(1, 9), busy(1, 2), busy(1, 3)], mix(random)), Some(0));
        }
    }
}
