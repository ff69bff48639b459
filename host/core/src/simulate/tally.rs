//! Counts what happens while it counts.

use super::{
    outcome::{Failed, Latencies, PolicyCalls, Requests, Shed, Stretch},
    scenario::Scenario,
};
use crate::units::{Bytes, Millis};

/// Into how many parts the time that counts is divided.
const STRETCHES: usize = 240;

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Served,
    Shed(Shed),
    Failed(Failed),
}

/// Requests of one class, before their latencies are sorted.
#[derive(Clone, Debug, Default)]
struct Class {
    requests: Requests,
    queued_sum: f64,
    turns: u64,
}

/// All counts.
#[derive(Debug)]
pub(super) struct Tally {
    classes: Vec<Class>,
    pub stretches: Vec<Stretch>,
    /// The time that counts.
    from: Millis,
    until: Millis,
    answers: u64,
    pub replays: u64,
    pub fetched: Bytes,
    pub fetched_from_peers: Bytes,
    pub activations: Bytes,
    pub calls: PolicyCalls,
    pub rejected: Vec<String>,
}

impl Tally {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            classes: vec![Class::default(); scenario.settings.classes as usize],
            stretches: vec![Stretch::default(); STRETCHES],
            from: Millis(f64::INFINITY),
            until: Millis(f64::INFINITY),
            answers: 0,
            replays: 0,
            fetched: Bytes::ZERO,
            fetched_from_peers: Bytes::ZERO,
            activations: Bytes::ZERO,
            calls: PolicyCalls::default(),
            rejected: Vec::new(),
        }
    }

    /// Counts between these moments.
    pub(super) fn open(&mut self, from: Millis, until: Millis) {
        (self.from, self.until) = (from, until);
    }

    /// Whether a moment counts.
    pub(super) fn counts(&self, at: Millis) -> bool {
        at >= self.from && at < self.until
    }

    /// The stretch that a moment lies in.
    pub(super) fn stretch(&mut self, at: Millis) -> Option<&mut Stretch> {
        if !self.counts(at) {
            return None;
        }
        let share = (at - self.from).0 / (self.until - self.from).0;
        let last = self.stretches.len() - 1;
        self.stretches.get_mut(((share * STRETCHES as f64) as usize).min(last))
    }

    pub(super) fn arrived(&mut self, class: u32, at: Millis) {
        self.class(class).requests.arrived += 1;
        if let Some(stretch) = self.stretch(at) {
            stretch.arrived += 1;
        }
    }

    /// A request got its turn.
    pub(super) fn turned(&mut self, class: u32, waited: Millis) {
        let class = self.class(class);
        class.queued_sum += waited.0;
        class.turns += 1;
    }

    /// An answer was given, whenever its request came.
    pub(super) fn answered(&mut self, at: Millis) {
        self.answers += u64::from(self.counts(at));
    }

    /// A request that counts has ended.
    pub(super) fn ended(&mut self, class: u32, end: End, latency: Millis, at: Millis) {
        let requests = &mut self.class(class).requests;
        match end {
            End::Served => {
                requests.served += 1;
                requests.latencies.0.push(latency.0);
            }
            End::Shed(why) => *requests.shed.entry(why).or_default() += 1,
            End::Failed(why) => *requests.failed.entry(why).or_default() += 1,
        }
        let Some(stretch) = self.stretch(at) else { return };
        match end {
            End::Served => {
                stretch.served += 1;
                stretch.latency_sum = stretch.latency_sum + latency;
                if latency > stretch.latency_max {
                    stretch.latency_max = latency;
                }
            }
            End::Shed(_) => stretch.shed += 1,
            End::Failed(_) => stretch.failed += 1,
        }
    }

    /// Answers per second in the time that counted.
    pub(super) fn throughput_per_s(&self) -> f64 {
        self.answers as f64 / ((self.until - self.from).0 / 1e3)
    }

    /// The sums of all classes, and each.
    pub(super) fn requests(&mut self) -> (Requests, Vec<Requests>) {
        let classes: Vec<Class> = std::mem::take(&mut self.classes);
        let mut all = Class::default();
        for class in &classes {
            let Requests { arrived, served, shed, failed, latencies, .. } = &class.requests;
            all.requests.arrived += arrived;
            all.requests.served += served;
            shed.iter().for_each(|(&why, count)| *all.requests.shed.entry(why).or_default() += count);
            failed.iter().for_each(|(&why, count)| *all.requests.failed.entry(why).or_default() += count);
            all.requests.latencies.0.extend(&latencies.0);
            (all.queued_sum, all.turns) = (all.queued_sum + class.queued_sum, all.turns + class.turns);
        }
        (all.finished(), classes.into_iter().map(Class::finished).collect())
    }

    fn class(&mut self, class: u32) -> &mut Class {
        let last = self.classes.len() - 1;
        &mut self.classes[(class as usize).min(last)]
    }
}

impl Class {
    fn finished(mut self) -> Requests {
        let Latencies(times) = &mut self.requests.latencies;
        times.sort_unstable_by(f64::total_cmp);
        self.requests.queued = Millis(if self.turns > 0 { self.queued_sum / self.turns as f64 } else { 0.0 });
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let latencies = Latencies((1..=100).map(f64::from).collect());
        let at = |share| latencies.percentile(share).map(|time| time.0);
        assert_eq!([0.0, 0.5, 0.95, 0.99, 1.0].map(at), [1.0, 50.0, 95.0, 99.0, 100.0].map(Some));
        assert_eq!(latencies.mean(), Some(Millis(50.5)));
        assert_eq!((Latencies::default().percentile(0.5), Latencies::default().mean()), (None, None));
    }
}
