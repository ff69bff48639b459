//! Numbers that look random and are the same for the same seed on every machine: for generated weights and golden inputs.

use host_core::noise;

/// A stream of such numbers.
#[derive(Clone, Debug)]
pub struct Seed {
    seed: u64,
    drawn: u64,
}

impl Seed {
    /// A stream of its own for each number.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next 64 bits.
    pub fn next_bits(&mut self) -> u64 {
        let bits = noise::bits(self.seed, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        bits
    }

    /// A float in -1 to 1.
    pub fn signed(&mut self) -> f32 {
        // 24 bits are what an f32 holds exactly.
        (self.next_bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// An index below `count`, or 0 when there is none.
    pub fn below(&mut self, count: usize) -> usize {
        // A 64-bit remainder: the bias is below 2^-40 for any count that fits memory.
        (self.next_bits() % (count.max(1) as u64)) as usize
    }

    /// Floats in -scale to scale.
    pub fn floats(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.signed() * scale).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_range_every_time() {
        let values = Seed::new(7).floats(1000, 2.0);
        assert_eq!(values, Seed::new(7).floats(1000, 2.0));
        assert_ne!(values, Seed::new(8).floats(1000, 2.0));
        assert!(values.iter().all(|value| value.abs() <= 2.0));
        let mean: f32 = values.iter().sum::<f32>() / 1000.0;
        assert!(mean.abs() < 0.15, "mean {mean}");
    }
}
