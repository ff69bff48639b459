//! What may befall a device, drawn from a seed, so that a run can be repeated.

use std::time::Duration;

use host_engine::Seed;

/// Something that befalls a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It is killed, and started again on the same data directory after a while.
    Kill {
        /// Until it is started again.
        down: Duration,
    },
    /// Its process is suspended for a while.
    Suspend {
        /// Until it goes on.
        lasting: Duration,
    },
    /// Its connections are cut.
    Cut,
    /// Nothing flows on its connections for a while, and nobody is told.
    Freeze {
        /// Until it flows again.
        lasting: Duration,
    },
}

/// Trouble for one of several devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Index of the device.
    pub device: usize,
    /// What befalls it.
    pub trouble: Trouble,
    /// How long all is left alone before.
    pub pause: Duration,
}

/// How long things may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest time that trouble lasts.
    pub lasting_max: Duration,
    /// Longest pause before it.
    pub pause_max: Duration,
}

/// Events without end; the same seed gives the same ones. In each round of four a device is killed, suspended, cut off and frozen,
/// in an order that is drawn.
#[derive(Clone, Debug)]
pub struct Events {
    seed: Seed,
    devices: usize,
    limits: Limits,
    /// What is left of the round.
    round: Vec<Trouble>,
}

impl Trouble {
    /// What it is called in a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Suspend { .. } => "suspend",
            Self::Cut => "cut",
            Self::Freeze { .. } => "freeze",
        }
    }
}

impl Events {
    /// For so many devices.
    pub fn new(seed: u64, devices: usize, limits: Limits) -> Self {
        Self { seed: Seed::new(seed), devices, limits, round: Vec::new() }
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        // Thousandths are fine enough, and never nothing: no trouble is over before it has begun.
        let thousandths = u32::try_from(self.seed.below(1_000)).unwrap_or(0) + 1;
        most * thousandths / 1_000
    }

    fn draw(&mut self) -> Trouble {
        if self.round.is_empty() {
            let most = self.limits.lasting_max;
            let (down, suspended, frozen) = (self.up_to(most), self.up_to(most), self.up_to(most));
            self.round = vec![Trouble::Kill { down }, Trouble::Suspend { lasting: suspended }, Trouble::Cut, Trouble::Freeze { lasting: frozen }];
        }
        let index = self.seed.below(self.round.len());
        self.round.swap_remove(index)
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (trouble, device) = (self.draw(), self.seed.below(self.devices));
        Some(Event { device, trouble, pause: self.up_to(self.limits.pause_max) })
    }
}
