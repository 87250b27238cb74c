//! In turn, by weight, evenly mixed: nginx's smooth round robin.
//!
//! Each candidate gains its weight, the richest is chosen and pays the sum of all: weights 5, 1, 1 give A A B A C A A.

use crate::pick::Candidate;

/// Whose turn it is, for one thread. Threads take turns each for itself; nothing is shared.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    credit: Vec<i64>,
}

impl Turns {
    /// Returns turns that do not all begin at the first server: threads that start together would send it all of
    /// their first requests.
    pub fn starting_at(seed: usize, candidates: &[Candidate]) -> Self {
        let mut turns = Self::default();
        for _ in 0..seed {
            turns.next(candidates);
        }
        turns
    }

    /// Returns whose turn it is.
    pub fn next(&mut self, candidates: &[Candidate]) -> Option<usize> {
        self.among(candidates, |_| true)
    }

    /// Returns whose turn it is among those for which `admits` says yes.
    pub(super) fn among(&mut self, candidates: &[Candidate], admits: impl Fn(&Candidate) -> bool) -> Option<usize> {
        self.credit.resize(candidates.len(), 0);
        let mut best = None;
        let mut sum = 0;
        for (index, candidate) in candidates.iter().enumerate() {
            if !candidate.eligible() || !admits(candidate) {
                continue;
            }
            let weight = i64::from(candidate.weight);
            sum += weight;
            self.credit[index] += weight;
            if best.is_none_or(|best: usize| self.credit[index] > self.credit[best]) {
                best = Some(index);
            }
        }
        let best = best?;
        self.credit[best] -= sum;
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::table::open;

    #[test]
    fn weights_are_mixed_not_bunched() {
        let candidates = [open(5), open(1), open(1)];
        let mut turns = Turns::default();
        let order: Vec<_> = (0..14).map(|_| turns.next(&candidates).unwrap()).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn threads_begin_at_different_servers() {
        let candidates = [open(1); 3];
        let firsts: Vec<_> = (0..3).map(|seed| Turns::starting_at(seed, &candidates).next(&candidates)).collect();
        assert_eq!(firsts, [Some(0), Some(1), Some(2)]);
    }
}
