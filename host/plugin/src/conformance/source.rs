//! Where generated inputs take their numbers from: a seed and the input's number, so that each can be made again alone.

use host_core::{
    error::Error as Broken,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
};
use host_engine::Seed;

/// A stream of choices.
pub(crate) struct Source(Seed);

impl Source {
    /// The stream of one input.
    pub(crate) fn of(seed: u64, number: u32) -> Self {
        // Streams of neighbouring seeds are unrelated once the first number is drawn.
        let mut mixed = Seed::new(seed ^ (u64::from(number) << 32 | 0x5bd1));
        let start = mixed.next_bits();
        Self(Seed::new(start))
    }

    /// A whole number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = (high.saturating_sub(low) as usize).saturating_add(1);
        low + u32::try_from(self.0.below(span)).unwrap_or(0)
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.between(1, times) == 1
    }

    /// Even in its magnitude, from `low` to `high`, both above 0.
    pub(crate) fn scale(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.below(choices.len())]
    }

    /// The numbers below `count`, in another order.
    pub(crate) fn order(&mut self, count: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.0.below(index + 1));
        }
        order
    }
}

pub(crate) fn model_id(name: &str) -> Result<ModelId, Broken> {
    Ok(ModelId { name: ModelName::parse(name)?, version: 1 })
}

/// Names that sort as their indexes do.
pub(crate) fn device_id(index: u32) -> Result<DeviceId, Broken> {
    DeviceId::parse(&format!("device-{index:04}"))
}

pub(crate) fn offer_id(device: u32, accelerator: &str) -> Result<OfferId, Broken> {
    Ok(OfferId { device: device_id(device)?, accelerator: AcceleratorName::parse(accelerator)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_has_the_same_numbers_whenever_it_is_made_and_others_than_its_neighbours() {
        let draw = |seed, number| (0..8).scan(Source::of(seed, number), |source, _| Some(source.between(0, 1_000_000))).collect::<Vec<_>>();
        assert_eq!(draw(1, 5), draw(1, 5));
        assert_ne!(draw(1, 5), draw(1, 6));
        assert_ne!(draw(1, 5), draw(2, 5));
        let mut source = Source::of(3, 0);
        let mut order = source.order(9);
        order.sort_unstable();
        assert_eq!(order, (0..9).collect::<Vec<_>>());
        assert!((0..100).all(|_| (0.5..=2.0).contains(&source.scale(0.5, 2.0)) && (3..=4).contains(&source.between(3, 4))));
    }
}
