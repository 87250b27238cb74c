//! The first one that has room, in the order of the file: the others can be switched off in the quiet hours.

use crate::pick::Candidate;

pub(super) fn choose(candidates: &[Candidate]) -> Option<usize> {
    candidates.iter().position(Candidate::eligible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::table::{closed, open};

    #[test]
    fn the_order_of_the_file_decides() {
        assert_eq!(choose(&[open(1), open(9)]), Some(0));
        assert_eq!(choose(&[closed(1), open(9), open(1)]), Some(1));
    }
}
