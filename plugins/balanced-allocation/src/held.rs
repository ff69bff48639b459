//! What is loaded already, so that a plan can leave it where it is: the stages of the plan in force, and what the host says
//! of offers whose chain broke.
//!
//! `current` names whole replicas only. What the other offers of a chain still hold after one of them left comes as the
//! attribute `holds` of an offer, once for each shard, with the value `START..END`.

use shardhost_sdk::{
    allocation::{Problem, Replica, Stage},
    problem::Ranges,
};

/// The attribute of an offer that names a shard which it has loaded.
pub const HOLDS: &str = "holds";

/// What each offer has loaded.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// By offer; those after the last that has something are left out.
    ranges: Vec<Vec<(u32, u32)>>,
    /// Whether something is loaded that no replica in force uses: a chain broke.
    broken: bool,
}

impl Held {
    /// Of a problem; what is not a range of the model counts as nothing.
    pub fn of(problem: &Problem) -> Self {
        let blocks = problem.blocks.len() as u32;
        let mut held = Self::in_force(&problem.current, blocks);
        for (offer, known) in (0..).zip(&problem.offers) {
            for (_, value) in known.attributes.iter().filter(|(name, _)| name == HOLDS) {
                let range = value.split_once('.').and_then(|(start, end)| Some((start.trim().parse().ok()?, end.strip_prefix('.')?.trim().parse().ok()?)));
                if let Some(range) = range {
                    held.broken |= held.note(offer, range, blocks);
                }
            }
        }
        held
    }

    /// Of a plan in force alone.
    pub fn in_force(replicas: &[Replica], blocks: u32) -> Self {
        let mut held = Self::default();
        for stage in replicas.iter().flat_map(|replica| &replica.stages) {
            held.note(stage.offer, (stage.start, stage.end), blocks);
        }
        held
    }

    /// True if it is new.
    fn note(&mut self, offer: u32, (start, end): (u32, u32), blocks: u32) -> bool {
        let new = start < end && end <= blocks && !self.ranges(offer).contains(&(start, end));
        if new {
            let offer = offer as usize;
            self.ranges.resize_with(self.ranges.len().max(offer + 1), Vec::new);
            self.ranges[offer].push((start, end));
        }
        new
    }

    /// Whether something is loaded that the plan in force does not use.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether a shard is there.
    pub fn has(&self, stage: &Stage) -> bool {
        self.ranges(stage.offer).contains(&(stage.start, stage.end))
    }

    /// Where the first range of an offer begins.
    pub fn start(&self, offer: u32) -> Option<u32> {
        self.ranges(offer).iter().map(|range| range.0).min()
    }

    /// The ranges that an offer has.
    pub fn ranges(&self, offer: u32) -> &[(u32, u32)] {
        self.ranges.get(offer as usize).map_or(&[], Vec::as_slice)
    }

    /// Bytes of weights of the blocks that no offer holds beside those in use.
    pub fn bytes_missing(&self, ranges: &Ranges<'_>, in_use: &[u32]) -> f64 {
        let mut others = vec![true; self.ranges.len()];
        for &offer in in_use {
            others.get_mut(offer as usize).into_iter().for_each(|is_other| *is_other = false);
        }
        let loaded: Vec<(u32, u32)> = self.ranges.iter().zip(others).filter(|(_, is_other)| *is_other).flat_map(|(loaded, _)| loaded.iter().copied()).collect();
        let nowhere = (0..ranges.blocks()).filter(|block| !loaded.iter().any(|range| (range.0..range.1).contains(block)));
        nowhere.map(|block| ranges.weight_bytes(block, block + 1)).sum()
    }

    /// Bytes of weights that a plan has to load.
    pub fn bytes_to_load(&self, ranges: &Ranges<'_>, replicas: &[Replica]) -> f64 {
        let stages = replicas.iter().flat_map(|replica| &replica.stages);
        stages.filter(|stage| !self.has(stage)).map(|stage| ranges.weight_bytes(stage.start, stage.end)).sum()
    }
}
