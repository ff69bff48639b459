//! The one source of randomness for requests: policies get none of their own.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

/// Uniform numbers from a counter that is mixed (SplitMix64): seeded by the system at start, or by a person for a replay.
#[derive(Debug)]
pub struct Randomness(AtomicU64);

impl Randomness {
    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// Always the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Uniform in 0..1.
    pub fn uniform(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_over_the_unit_interval_and_repeat_for_a_seed() {
        let (one, two) = (Randomness::seeded(7), Randomness::seeded(7));
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let number = one.uniform();
            assert_eq!(number, two.uniform());
            counts[(number * 10.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
