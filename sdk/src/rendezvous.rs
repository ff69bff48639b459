//! Rendezvous hashing: each key has a draw for each replica, and goes where its draw wins. When a replica comes or goes, only
//! the keys that it wins move. Source: D. Thaler and C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
//! Transactions on Networking 6(1), 1998. The weighted draw is the logarithmic method of C. Schindelhauer and G. Schomaker,
//! "Weighted distributed hash tables", SPAA 2005.

use crate::routing::{ServedModel, Topology};

impl Topology {
    /// A number for a replica that stays the same for as long as the same devices hold the same blocks for it, whatever the
    /// plan's number for it is and whatever else is in the topology.
    pub fn replica_identity(&self, model: &ServedModel, path: &[u32]) -> u64 {
        let mut identity = FNV_BASIS;
        for &index in path {
            let segment = &model.segments[index as usize];
            let id = self.devices.get(segment.device as usize).map_or("", |device| device.id.as_str());
            // No id holds the byte 0xff, so that ids and blocks do not run into each other.
            for part in [id.as_bytes(), &[0xff], &segment.start.to_le_bytes(), &segment.end.to_le_bytes()] {
                identity = fnv(identity, part);
            }
        }
        identity
    }
}

/// What a key draws for a replica: uniform, above 0 and below 1, the same whenever it is asked.
pub fn draw(key: u32, identity: u64) -> f64 {
    let bits = mixed(identity ^ mixed(u64::from(key)));
    // The middle of one of 2^52 equal parts: no rounding makes it 0 or 1.
    ((bits >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The draw of a key for a replica of a weight: among replicas, each wins as large a share of the keys as its share of the
/// weights. 0 for one that has no weight; the highest wins.
pub fn weighted_draw(key: u32, identity: u64, weight: f64) -> f64 {
    if weight > 0.0 { weight / -draw(key, identity).ln() } else { 0.0 }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a with 64 bits.
fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of SplitMix64: each bit of the argument changes about half of the bits of the result.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Device, Segment};

    #[test]
    fn a_replica_keeps_its_identity_whatever_its_number_and_whatever_is_beside_it() {
        let device = |id: &str| Device { id: id.into(), site: 0, attributes: Vec::new() };
        let segment = |device, replica, start, end| Segment { device, replica, stage: start, start, end, run_ms: 1.0, divisible: false };
        let identity = |devices: &[&str], segments: Vec<Segment>, path: &[u32]| {
            let model = ServedModel { id: "m@1".into(), blocks: 2, border_bytes: vec![0.0; 2], segments };
            let topology = Topology { devices: devices.iter().map(|id| device(id)).collect(), ..Topology::empty() };
            topology.replica_identity(&model, path)
        };
        let first = identity(&["a", "b"], vec![segment(0, 0, 0, 1), segment(1, 0, 1, 2)], &[0, 1]);
        assert_eq!(first, identity(&["0", "a", "b"], vec![segment(0, 0, 0, 2), segment(1, 7, 0, 1), segment(2, 7, 1, 2)], &[1, 2]));
        assert_ne!(first, identity(&["a", "c"], vec![segment(0, 0, 0, 1), segment(1, 0, 1, 2)], &[0, 1]));
        assert_ne!(first, identity(&["a", "b"], vec![segment(1, 0, 0, 1), segment(0, 0, 1, 2)], &[0, 1]));
        assert_ne!(identity(&["a", "b"], vec![segment(0, 0, 0, 2)], &[0]), identity(&["a", "b"], vec![segment(0, 0, 0, 1)], &[0]));
    }

    #[test]
    fn draws_are_spread_and_weights_are_the_shares_that_they_win() {
        let mut deciles = [0_u32; 10];
        let mut won = 0_u32;
        for key in 1..=20_000 {
            let drawn = draw(key, 42);
            assert!(drawn > 0.0 && drawn < 1.0);
            deciles[(drawn * 10.0) as usize] += 1;
            won += u32::from(weighted_draw(key, 1, 3.0) > weighted_draw(key, 2, 1.0));
        }
        // Four standard deviations of a fair spread: 170 of a tenth, 245 of three quarters.
        assert!(deciles.iter().all(|count| (1_830..2_170).contains(count)), "{deciles:?}");
        assert!((14_755..15_245).contains(&won), "{won} of 20000");
        assert_eq!(weighted_draw(7, 7, 0.0), 0.0);
    }
}
