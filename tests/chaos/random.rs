//! Random numbers that a seed gives again: splitmix64.

/// A source of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a seed that differs from run to run.
    pub(crate) fn fresh_seed() -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // Short, because people copy it.
        Self(now.map_or(1, |now| now.as_nanos() as u64)).next() % 1_000_000_000
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Returns a number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns one of them.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }

    /// Returns a moment of at most `longest_ms`: half of them are in the first tenth, where most things happen.
    pub(crate) fn instant(&mut self, longest_ms: u64) -> std::time::Duration {
        let bound = if self.below(2) == 0 { longest_ms * 100 } else { longest_ms * 1000 };
        std::time::Duration::from_micros(self.below(bound.max(1)))
    }
}
