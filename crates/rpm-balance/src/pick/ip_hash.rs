//! The same one for the same client network, as nginx does it.
//!
//! A candidate that is not open keeps its place in the count, so that the clients of the others stay where they are;
//! its own clients are hashed again, and spread over the rest.

use std::net::IpAddr;

use crate::pick::{Candidate, hash_bytes, mix};

/// nginx's: after so many tries something is wrong with all of them, and turns are taken.
const TRIES: usize = 20;

pub(super) fn choose(candidates: &[Candidate], key: u64) -> Option<usize> {
    let sum: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    let mut key = key;
    for _ in 0..TRIES {
        let mut point = key.checked_rem(sum)?;
        for (index, candidate) in candidates.iter().enumerate() {
            match point.checked_sub(u64::from(candidate.weight)) {
                Some(rest) => point = rest,
                None if candidate.eligible() => return Some(index),
                None => break,
            }
        }
        key = mix(key);
    }
    None
}

/// Returns the key of a client: its /24 for IPv4, the whole address for IPv6.
pub fn network_key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => hash_bytes(&address.octets()[..3]),
        IpAddr::V6(address) => hash_bytes(&address.octets()),
    }
}

/// Returns the key of a client's whole address.
pub fn client_key(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(address) => hash_bytes(&address.octets()),
        IpAddr::V6(address) => hash_bytes(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::table::{closed, open};

    #[test]
    fn a_network_stays_and_only_the_clients_of_a_closed_one_move() {
        let all = [open(1), open(1), open(2)];
        let without = [open(1), closed(1), open(2)];
        for client in 0..1000 {
            let key = mix(client);
            let at = choose(&all, key).unwrap();
            assert_eq!(choose(&all, key), Some(at));
            match at {
                1 => assert_ne!(choose(&without, key), Some(1)),
                _ => assert_eq!(choose(&without, key), Some(at)),
            }
        }
    }

    #[test]
    fn neighbours_share_a_key() {
        let key = |text: &str| network_key(text.parse().unwrap());
        assert_eq!(key("10.1.2.3"), key("10.1.2.200"));
        assert_eq!(key("10.1.2.3"), key("::ffff:10.1.2.9"));
        assert_ne!(key("10.1.2.3"), key("10.1.3.3"));
        assert_ne!(key("fe80::1"), key("fe80::2"));
    }
}
