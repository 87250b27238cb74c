//! The one with the fewest requests in flight for its weight; in turn among equals.

use std::cmp::Ordering;

use crate::pick::{Candidate, Turns, lighter};

pub(super) fn choose(turns: &mut Turns, candidates: &[Candidate]) -> Option<usize> {
    let best = *candidates.iter().filter(|candidate| candidate.eligible()).min_by(|a, b| lighter(a, b))?;
    turns.among(candidates, |candidate| lighter(candidate, &best) == Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::table::{busy, open};

    #[test]
    fn the_least_busy_for_its_weight_is_chosen() {
        let mut turns = Turns::default();
        assert_eq!(choose(&mut turns, &[busy(1, 3), busy(1, 2), busy(1, 4)]), Some(1));
        assert_eq!(choose(&mut turns, &[busy(1, 2), busy(4, 4)]), Some(1));
        assert_eq!(choose(&mut turns, &[busy(1, 0), busy(4, 4)]), Some(0));
    }

    #[test]
    fn equals_take_turns() {
        let mut turns = Turns::default();
        let order: Vec<_> = (0..4).map(|_| choose(&mut turns, &[open(1), open(1)]).unwrap()).collect();
        assert_eq!(order, [0, 1, 0, 1]);
    }
}
