//! How long the blocks of a model take on an engine, measured once when the model is loaded. What operators cost on an engine is not in
//! their number of operations; blocks that were run say it, before any request has come.

use std::sync::Barrier;

use host_core::{cost::CostModel, model::ModelProfile, shard::BlockRange, units::Millis};

use crate::{
    calibrate::{Runs, Take, measure},
    clock::Stopwatch,
    engine::{Engine, LoadOptions},
    error::Error,
    inspect::Inspection,
    spec::Dimension,
};

/// Most pieces that a model is timed in: more would take long to cut, and a stage has several blocks of a long model anyway.
const PIECES_MAX: u32 = 32;
/// Most time for the runs of one piece, unless the fewest that must be take longer.
const PIECE_MS_MAX: f64 = 10.0;

/// Times of consecutive ranges, in order.
pub type PieceTimes = Vec<(BlockRange, Millis)>;

impl Inspection {
    /// Runs each block as a shard of its own, on the golden inputs: the fastest run of some, because whatever made the others slower
    /// is not the block's. Of a model with very many blocks, some at a time. None before `with_golden`; none where requests
    /// choose lengths, because the golden ones are not those that costs are planned for; and none if cutting, loading and running
    /// all of it takes more than the budget, because the blocks that were not timed would look cheap beside the others.
    pub fn time_blocks(&self, engine: &dyn Engine, budget: Millis) -> Result<Option<PieceTimes>, Error> {
        if self.golden.get().is_none() || self.has_open_lengths() {
            return Ok(None);
        }
        let all = Stopwatch::start();
        let pieces = pieces(self.profile().whole().end());
        let share = Millis((budget.0 / (2 * pieces.len()) as f64).min(PIECE_MS_MAX));
        let mut times = Vec::with_capacity(pieces.len());
        for range in pieces {
            let shard = self.shard(range)?;
            let Some(golden) = &shard.golden else { return Ok(None) };
            let graph = engine.load(&shard, &LoadOptions::default())?;
            times.push((range, measure(graph, &golden.inputs, Runs::within(share), &Barrier::new(1), Take::Fastest)?));
            if all.elapsed().0 > budget.0 {
                return Ok(None);
            }
        }
        Ok(Some(times))
    }

    /// The profile with the work that blocks do according to their times, on a machine of this cost.
    pub fn timed_profile(&self, reference: &CostModel, times: &[(BlockRange, Millis)]) -> ModelProfile {
        ModelProfile::clone(self.profile()).timed(reference, times)
    }

    /// Whether an axis other than the first is as long as a request wants.
    fn has_open_lengths(&self) -> bool {
        let is_open = |dimension: &Dimension| dimension.fixed().is_none();
        self.inputs().iter().any(|spec| spec.shape.iter().skip(1).any(is_open))
    }
}

/// One range for each block, or as many blocks in each as it takes.
fn pieces(blocks: u32) -> Vec<BlockRange> {
    let count = blocks.clamp(1, PIECES_MAX);
    let border = |piece: u32| u32::try_from(u64::from(blocks) * u64::from(piece) / u64::from(count)).unwrap_or(blocks);
    (0..count).filter_map(|piece| BlockRange::new(border(piece), border(piece + 1)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_block_once_and_are_not_too_many() {
        for blocks in [1, 2, 31, 32, 33, 64, 1_000, 65_536] {
            let pieces = pieces(blocks);
            assert!(pieces.len() <= PIECES_MAX as usize && (pieces.len() as u32 == blocks || blocks > PIECES_MAX), "{blocks}: {}", pieces.len());
            let ends: Vec<u32> = pieces.iter().map(|range| range.end()).collect();
            let starts: Vec<u32> = pieces.iter().map(|range| range.start()).collect();
            assert_eq!((starts[0], *ends.last().expect("one at least")), (0, blocks));
            assert_eq!(starts[1..], ends[..ends.len() - 1]);
        }
    }
}
