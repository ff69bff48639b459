//! What stages really take, learned from measurements that are noisy: an exponentially weighted mean over runs that strays do
//! not move, and from the means of one offer the bias of its cost model for one model. Nothing here knows a cluster; it says when a
//! measurement comes and asks for the biases.

mod bias;

use std::collections::BTreeMap;

pub use bias::Bias;
use bias::Sample;

use crate::{
    ids::{DeviceId, OfferId},
    shard::ShardId,
    units::Millis,
};

/// Most shards of one model that are remembered for one offer; those that weigh least are forgotten first.
const SHARDS_MAX: usize = 16;

/// How measured stage times are taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RefiningSettings {
    /// How many runs a mean remembers: the weight of older ones fades with each that comes.
    pub memory_runs: u32,
    /// Runs behind a mean before anything is predicted by it.
    pub runs_min: u32,
    /// A measurement so many times above or below the mean is a stray. It counts only once strays that agree with each other
    /// outweigh the mean, because then the stage has changed.
    pub stray_ratio: f64,
    /// A factor is at most so large, and at least one over it.
    pub factor_max: f64,
    /// Expected times of what serves are told to routing policies again when they differ by this share.
    pub retell_ratio: f64,
}

impl Default for RefiningSettings {
    fn default() -> Self {
        Self { memory_runs: 64, runs_min: 8, stray_ratio: 2.0, factor_max: 64.0, retell_ratio: 0.1 }
    }
}

/// What one stage takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StageTime {
    mean: Millis,
    /// Runs behind the mean.
    believed: u32,
    /// All runs.
    runs: u32,
    /// In runs: how much the mean counts beside those of other shards on its offer.
    weight: f64,
    strays: Option<(Millis, u32)>,
}

impl StageTime {
    fn first(run: Millis, runs: u32, settings: &RefiningSettings) -> Self {
        Self { mean: run, believed: runs, runs, weight: f64::from(runs.min(settings.memory_runs)), strays: None }
    }

    /// The mean time of a run.
    pub fn mean(&self) -> Millis {
        self.mean
    }

    /// All runs that were measured, those that have faded and those that were disturbed included.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Whether enough is behind the mean to go by it.
    pub fn is_believed(&self, settings: &RefiningSettings) -> bool {
        self.believed >= settings.runs_min
    }

    /// Takes the typical time of so many runs.
    fn note(&mut self, run: Millis, runs: u32, settings: &RefiningSettings) {
        let memory = settings.memory_runs.max(1);
        self.runs = self.runs.saturating_add(runs);
        if !is_near(run, self.mean, settings.stray_ratio) {
            return self.note_stray(run, runs, settings);
        }
        self.strays = None;
        self.mean = blended((self.mean, self.believed.min(memory)), (run, runs.min(memory)));
        self.believed = self.believed.saturating_add(runs);
        self.weight = (self.weight + f64::from(runs)).min(f64::from(memory));
    }

    fn note_stray(&mut self, run: Millis, runs: u32, settings: &RefiningSettings) {
        let (mean, count) = match self.strays {
            Some((mean, count)) if is_near(run, mean, settings.stray_ratio) => (blended((mean, count), (run, runs)), count.saturating_add(runs)),
            _ => (run, runs),
        };
        if count >= self.believed.min(settings.memory_runs.max(1)) {
            *self = Self { runs: self.runs, ..Self::first(mean, count, settings) };
        } else {
            self.strays = Some((mean, count));
        }
    }

    /// Counts less, because another shard of the same offer has run so often since.
    fn fade(&mut self, runs: u32, settings: &RefiningSettings) {
        let memory = f64::from(settings.memory_runs.max(1));
        self.weight *= memory / (memory + f64::from(runs));
    }
}

/// Two means of so many runs each.
fn blended((one, runs): (Millis, u32), (other, more): (Millis, u32)) -> Millis {
    let share = f64::from(more) / (f64::from(runs) + f64::from(more)).max(1.0);
    Millis(one.0 + share * (other.0 - one.0))
}

fn is_near(run: Millis, mean: Millis, ratio: f64) -> bool {
    run.0 <= mean.0 * ratio && mean.0 <= run.0 * ratio
}

/// The measured stages of one model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StageTimes(BTreeMap<(OfferId, ShardId), StageTime>);

impl StageTimes {
    /// Takes the typical time of so many runs of a shard. What is no time above zero, or of no runs, is no measurement.
    pub fn note(&mut self, offer: OfferId, shard: ShardId, run: Millis, runs: u32, settings: &RefiningSettings) {
        if !(run.0.is_finite() && run.0 > 0.0) || runs == 0 {
            return;
        }
        for ((_, other), time) in self.of_mut(&offer) {
            if *other != shard {
                time.fade(runs, settings);
            }
        }
        let key = (offer, shard);
        match self.0.get_mut(&key) {
            Some(time) => time.note(run, runs, settings),
            None => {
                self.make_room(&key.0);
                self.0.insert(key, StageTime::first(run, runs, settings));
            }
        }
    }

    /// What is known of a shard on an offer.
    pub fn get(&self, offer: &OfferId, shard: &ShardId) -> Option<&StageTime> {
        self.0.get(&(offer.clone(), shard.clone()))
    }

    /// Forgets what was measured on these devices.
    pub fn forget(&mut self, is_gone: impl Fn(&DeviceId) -> bool) {
        self.0.retain(|(offer, _), _| !is_gone(&offer.device));
    }

    /// How the costs of each offer are off for the model, where enough was measured.
    pub fn biases(&self, predict: impl Fn(&OfferId, &ShardId) -> Option<Millis>, settings: &RefiningSettings) -> BTreeMap<OfferId, Bias> {
        let mut samples: BTreeMap<&OfferId, (Vec<Sample>, u32)> = BTreeMap::new();
        for ((offer, shard), time) in &self.0 {
            let Some(predicted) = predict(offer, shard).filter(|predicted| predicted.0.is_finite() && predicted.0 > 0.0) else { continue };
            let (samples, runs) = samples.entry(offer).or_default();
            samples.push(Sample { predicted, measured: time.mean, weight: time.weight / f64::from(settings.memory_runs.max(1)) });
            *runs = runs.saturating_add(time.believed);
        }
        let known = samples.into_iter().filter(|(_, (_, runs))| *runs >= settings.runs_min);
        known.filter_map(|(offer, (samples, _))| Some((offer.clone(), Bias::of(&samples, settings.factor_max.max(1.0))?))).collect()
    }

    fn of_mut(&mut self, offer: &OfferId) -> impl Iterator<Item = (&(OfferId, ShardId), &mut StageTime)> {
        self.0.iter_mut().filter(move |((known, _), _)| known == offer)
    }

    fn make_room(&mut self, offer: &OfferId) {
        let of_offer = || self.0.iter().filter(|((known, _), _)| known == offer);
        if of_offer().count() < SHARDS_MAX {
            return;
        }
        let least = of_offer().min_by(|(_, one), (_, other)| one.weight.total_cmp(&other.weight)).map(|(key, _)| key.clone());
        if let Some(key) = least {
            self.0.remove(&key);
        }
    }
}

/// The middle one of some numbers; between two, what lies half way by ratio. None of none.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers.get(numbers.len().checked_sub(1)? / 2)?, numbers.get(numbers.len() / 2)?);
    Some((low * high).sqrt())
}

#[cfg(test)]
mod tests;
