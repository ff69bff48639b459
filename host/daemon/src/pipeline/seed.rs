//! The one source of randomness for requests: policies get none of their own.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use host_core::noise;

/// Uniform numbers, one after another: seeded by the system at start, or by a person for a replay.
#[derive(Debug)]
pub struct Randomness {
    seed: u64,
    drawn: AtomicU64,
}

impl Randomness {
    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// Always the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }

    /// Uniform in 0..1.
    pub fn uniform(&self) -> f64 {
        noise::uniform(self.seed, self.drawn.fetch_add(1, Ordering::Relaxed))
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
