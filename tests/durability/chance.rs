//! Chance that can be repeated.

use std::ops::Range;

/// Choices from a seed: splitmix64.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of this run, from `IDEMPROXY_SEED` or else of the clock; printed.
    pub fn of_this_run(what: &str) -> Self {
        let seed = std::env::var("IDEMPROXY_SEED").map_or_else(
            |_| u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()),
            |text| text.parse().unwrap(),
        );
        println!("{what}: IDEMPROXY_SEED={seed}");
        Self(seed)
    }

    /// Another one, whose choices do not depend on how many are taken from this.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    /// True in so many of a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
