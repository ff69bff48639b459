//! Numbers that look random and are a pure function of a seed and an index: the same on every machine, in any order.

/// SplitMix64 (Steele, Lea and Flood, 2014) takes steps of this size.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number with this index, counted from 0, of the SplitMix64 stream with this seed.
pub fn bits(seed: u64, index: u64) -> u64 {
    let mut bits = seed.wrapping_add(STEP.wrapping_mul(index.wrapping_add(1)));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The same, uniform in 0..1; 1 itself does not come.
pub fn uniform(seed: u64, index: u64) -> f64 {
    // 53 bits are what an f64 holds exactly.
    (bits(seed, index) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_generator() {
        // The first outputs for seed 1234567 of the reference implementation by Vigna.
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423, 4_593_380_528_125_082_431];
        assert_eq!([0, 1, 2, 3].map(|index| bits(1_234_567, index)), expected);
    }

    #[test]
    fn numbers_are_spread_over_the_unit_interval() {
        let mut counts = [0; 10];
        for index in 0..10_000 {
            counts[(uniform(7, index) * 10.0) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
