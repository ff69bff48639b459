//! What a device is like, so that another one can be simulated on this machine: how fast it computes, how that varies, what
//! it can hold, how far its network is and when it drops out. Everything is a pure function of the profile and a moment.
//! The daemon reads profiles from files and sleeps as long as they say; whoever sends and receives holds messages back.

mod debt;
mod fluctuation;
mod outages;
mod outlet;
mod throttle;

pub use debt::Debt;
pub use fluctuation::Fluctuation;
pub use outages::{Outage, Outages};
pub use outlet::Outlet;
pub use throttle::Throttle;

use crate::{
    cost::CostModel,
    device::Roles,
    ids::AcceleratorName,
    link::Speed,
    units::{Bytes, Millis},
};

/// The numbers of one device.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceProfile {
    /// What people call it.
    pub name: String,
    /// How fast it computes.
    pub compute: ComputeSpeed,
    /// How that varies.
    pub fluctuation: Fluctuation,
    /// What it can hold; none means as much as the machine that simulates it would offer.
    pub memory: Option<Bytes>,
    /// Its accelerator; none means the name that the adapter gives.
    pub accelerator: Option<AcceleratorName>,
    /// Places in a chain of stages that it takes.
    pub roles: Roles,
    /// The way between it and the network that it shares with the others; both directions are as fast.
    pub network: Speed,
    /// When it drops its connections.
    pub outages: Outages,
}

/// How fast a device computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ComputeSpeed {
    /// So many times slower than the machine that simulates it.
    Slowdown(f64),
    /// So many 10^9 operations a second, sustained.
    Gflops(f64),
}

impl ComputeSpeed {
    /// How many times slower than this machine. Below 1 for what is faster, infinite where the machine's own speed is not
    /// known: its cost has no part that grows with operations.
    pub fn slowdown(self, machine: &CostModel) -> f64 {
        match self {
            Self::Slowdown(slowdown) => slowdown,
            Self::Gflops(gflops) => 1e3 / (machine.gflop_ms * gflops),
        }
    }
}

impl DeviceProfile {
    /// The same device in a slower world, where everything but memory takes `ratio` times as long. Devices faster than
    /// the machine that simulates them keep their proportions to each other and to the network that way.
    #[must_use]
    pub fn dilated(self, ratio: f64) -> Self {
        let compute = match self.compute {
            ComputeSpeed::Slowdown(slowdown) => ComputeSpeed::Slowdown(slowdown * ratio),
            ComputeSpeed::Gflops(gflops) => ComputeSpeed::Gflops(gflops / ratio),
        };
        let network = Speed { latency: Millis(self.network.latency.0 * ratio), bytes_per_ms: self.network.bytes_per_ms / ratio };
        Self { compute, network, fluctuation: self.fluctuation.dilated(ratio), outages: self.outages.dilated(ratio), ..self }
    }

    /// The device's line to the network: what carries all that it sends, and what carries all that comes to it. Their bandwidths
    /// wander as much as its computing, each in its own way.
    pub fn lines(&self) -> [Throttle; 2] {
        [1, 2].map(|way| {
            let seed = self.fluctuation.seed.wrapping_add(way);
            Throttle::new(self.network).varying(Fluctuation { seed, ..self.fluctuation })
        })
    }
}

/// How many times slower than the machine it runs on a simulated device computes, moment by moment.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    slowdown: f64,
    fluctuation: Fluctuation,
}

impl Pace {
    /// As fast as the machine, always.
    pub const FULL: Self = Self { slowdown: 1.0, fluctuation: Fluctuation::NONE };
    /// Slower than this is of no use.
    pub const SLOWDOWN_MAX: f64 = 10_000.0;

    /// A slowdown that varies. What cannot be had becomes the nearest that can: nothing is faster than the machine.
    pub fn new(slowdown: f64, fluctuation: Fluctuation) -> Self {
        Self { slowdown: slowdown.clamp(1.0, Self::SLOWDOWN_MAX), fluctuation }
    }

    /// What plans reckon with.
    pub fn nominal(&self) -> f64 {
        self.slowdown
    }

    /// The slowdown at a moment, 1 or more.
    pub fn at(&self, now: Millis) -> f64 {
        (self.slowdown / self.fluctuation.speed(now)).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn profile() -> DeviceProfile {
        DeviceProfile {
            name: "board".into(),
            compute: ComputeSpeed::Gflops(50.0),
            fluctuation: Fluctuation { ratio: 0.25, period: Millis(100.0), seed: 1 },
            memory: Some(Bytes(1_000)),
            accelerator: None,
            roles: Roles::ALL,
            network: Speed { latency: Millis(0.5), bytes_per_ms: 1_000.0 },
            outages: Outages::Repeated { every: Millis(1_000.0), lasting: Millis(100.0), seed: 2 },
        }
    }

    #[test]
    fn a_sustained_speed_becomes_a_slowdown_against_the_calibrated_machine() {
        // 10 ms for 10^9 operations are 100 GFLOP/s.
        let machine = CostModel { gflop_ms: 10.0, ..CostModel::UNCALIBRATED };
        assert_eq!(ComputeSpeed::Gflops(50.0).slowdown(&machine), 2.0);
        assert_eq!(ComputeSpeed::Gflops(200.0).slowdown(&machine), 0.5);
        assert_eq!(ComputeSpeed::Slowdown(3.0).slowdown(&machine), 3.0);
        assert_eq!(ComputeSpeed::Gflops(50.0).slowdown(&CostModel { gflop_ms: 0.0, ..machine }), f64::INFINITY);
    }

    #[test]
    fn in_a_slower_world_all_but_memory_keeps_its_proportions() {
        let slower = profile().dilated(4.0);
        assert_eq!(slower.compute, ComputeSpeed::Gflops(12.5));
        assert_eq!(slower.network, Speed { latency: Millis(2.0), bytes_per_ms: 250.0 });
        assert_eq!(slower.memory, Some(Bytes(1_000)));
        assert_eq!(DeviceProfile { compute: ComputeSpeed::Slowdown(2.0), ..profile() }.dilated(4.0).compute, ComputeSpeed::Slowdown(8.0));
        for step in 0..10_000 {
            let (real, dilated) = (Millis(f64::from(step)), Millis(f64::from(step) * 4.0));
            assert_eq!(slower.fluctuation.speed(dilated), profile().fluctuation.speed(real));
            assert_eq!(slower.outages.connected(dilated), profile().outages.connected(real), "{real}");
        }
    }

    #[test]
    fn both_directions_of_a_line_are_as_fast_and_wander_in_ways_of_their_own() {
        let times = |line: &mut Throttle| -> Vec<f64> { (0..100).map(|_| line.delay(Bytes(10_000), Millis::ZERO).0).collect() };
        let [mut up, mut down] = profile().lines();
        assert_eq!((up.latency(), up.portion()), (down.latency(), down.portion()));
        assert_ne!(times(&mut up), times(&mut down));
        let [mut up, mut down] = DeviceProfile { fluctuation: Fluctuation::NONE, ..profile() }.lines();
        assert_eq!(times(&mut up), times(&mut down));
    }

    #[test]
    fn nothing_is_faster_than_the_machine_nor_slower_than_is_of_use() {
        assert_eq!(Pace::new(0.2, Fluctuation::NONE), Pace::FULL);
        assert_eq!(Pace::new(f64::INFINITY, Fluctuation::NONE).nominal(), Pace::SLOWDOWN_MAX);
        assert_eq!(Pace::FULL.at(Millis(5.0)), 1.0);
    }

    proptest! {
        #[test]
        fn a_pace_stays_within_the_ratio_around_its_nominal_value(slowdown in 1.0..100.0_f64, ratio in 0.0..0.9_f64, seed: u64, now in 0.0..1e7_f64) {
            let pace = Pace::new(slowdown, Fluctuation { ratio, period: Millis(500.0), seed });
            let at = pace.at(Millis(now));
            prop_assert!(at >= 1.0);
            prop_assert!(at >= slowdown / (1.0 + ratio) - 1e-9 && at <= (slowdown / (1.0 - ratio)).max(1.0) + 1e-9, "{at}");
        }
    }
}
