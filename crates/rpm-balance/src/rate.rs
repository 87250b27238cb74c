//! How many requests one client address may send: a bucket for each, shared by all threads.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use rpm_model::Moment;
use rpm_model::balance::RateLimit;

/// Locks that clients are spread over, so that threads seldom meet.
const SHARDS: usize = 16;

/// So many clients are remembered by each shard; a flood of addresses makes it forget those whose bucket is full, and
/// when there are none, all: it must not eat the memory it protects.
const CLIENTS_MAX: usize = 16 << 10;

/// Buckets by client.
#[derive(Debug)]
pub struct Rate {
    limit: RateLimit,
    shards: [Mutex<HashMap<IpAddr, Bucket>>; SHARDS],
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Moment,
}

impl Rate {
    /// Returns buckets that are all full.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, shards: Default::default() }
    }

    /// Returns whether these are the buckets of that limit.
    pub fn is_for(&self, limit: RateLimit) -> bool {
        self.limit == limit
    }

    /// Takes a token; `false` when there is none.
    pub fn admits(&self, client: IpAddr, now: Moment) -> bool {
        let client = network(client);
        let most = f64::from(self.limit.burst.max(1));
        let mut shard = self.shards[shard(client)].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= CLIENTS_MAX && !shard.contains_key(&client) {
            let limit = self.limit;
            shard.retain(|_, bucket| refilled(*bucket, limit, now) < most);
            if shard.len() >= CLIENTS_MAX {
                shard.clear();
            }
        }
        let bucket = shard.entry(client).or_insert(Bucket { tokens: most, at: now });
        bucket.tokens = refilled(*bucket, self.limit, now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn refilled(bucket: Bucket, limit: RateLimit, now: Moment) -> f64 {
    (bucket.tokens + now.since(bucket.at).as_secs_f64() * limit.rate).min(f64::from(limit.burst.max(1)))
}

/// Whoever has one IPv6 address has its /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

fn shard(client: IpAddr) -> usize {
    let hash = match client {
        IpAddr::V4(address) => crate::pick::mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => crate::pick::mix((address.to_bits() >> 64) as u64),
    };
    hash as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let rate = Rate::new(RateLimit { rate: 2.0, burst: 3 });
        let client = "10.0.0.1".parse().unwrap();
        let admitted = |ms: u64| rate.admits(client, Moment(ms * 1000));
        assert_eq!([0, 0, 0, 0].map(admitted), [true, true, true, false]);
        assert_eq!([499, 500, 500, 1000].map(admitted), [false, true, false, true]);
        assert!(rate.admits("10.0.0.2".parse().unwrap(), Moment(0)), "others have their own");
        assert_eq!([60_000; 4].map(admitted), [true, true, true, false], "never more than the burst");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_a_flood_is_forgotten() {
        let rate = Rate::new(RateLimit { rate: 1.0, burst: 1 });
        assert!(rate.admits("fe80::1".parse().unwrap(), Moment(0)));
        assert!(!rate.admits("fe80::2".parse().unwrap(), Moment(0)));
        for number in 0..1_000_000u32 {
            rate.admits(IpAddr::from(number.to_be_bytes()), Moment(0));
        }
        assert!(rate.shards.iter().all(|shard| shard.lock().unwrap().len() <= CLIENTS_MAX));
    }
}
