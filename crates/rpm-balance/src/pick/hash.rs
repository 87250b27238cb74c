//! The same one for the same key, with few keys moving when a server comes or goes: weighted rendezvous hashing.
//!
//! Every candidate draws a number from the key and its seat, stretched by its weight, and the highest wins. No ring to
//! build or to keep: a candidate that leaves takes only its own keys with it, and gets exactly them back.

use crate::pick::Candidate;

pub(super) fn choose(candidates: &[Candidate], key: u64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if !candidate.eligible() {
            continue;
        }
        let score = score(key, candidate);
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

fn score(key: u64, candidate: &Candidate) -> f64 {
    // 53 bits are what a float holds; the half keeps it off 0 and 1, where the logarithm has no use.
    let drawn = ((mix(key ^ candidate.seat) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(candidate.weight) / -drawn.ln()
}

/// Returns another number for each number, with all bits mixed (the finalizer of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns a hash that is the same in every process and version: FNV-1a, mixed once more.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::table::open;

    fn seated(weight: u32, name: &str) -> Candidate {
        Candidate { seat: hash_bytes(name.as_bytes()), ..open(weight) }
    }

    #[test]
    fn a_server_that_leaves_takes_only_its_own_keys() {
        let all = [seated(1, "a"), seated(1, "b"), seated(1, "c")];
        let without = [all[0], all[2]];
        for key in (0..1000).map(mix) {
            let at = all[choose(&all, key).unwrap()].seat;
            let then = without[choose(&without, key).unwrap()].seat;
            assert!(at == all[1].seat || at == then);
        }
    }

    #[test]
    fn the_order_of_servers_means_nothing() {
        let (a, b) = (seated(1, "a"), seated(2, "b"));
        for key in (0..1000).map(mix) {
            assert_ne!(choose(&[a, b], key), choose(&[b, a], key));
        }
    }
}
