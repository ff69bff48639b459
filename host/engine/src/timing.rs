//! How long the blocks of a model take on an engine, measured once when the model is loaded. What operators cost on an engine is not in
//! their number of operations; blocks that were run say it, before any request has come.

use std::sync::Barrier;

use host_core::{
    cost::CostModel,
    model::ModelProfile,
    shard::BlockRange,
    units::{Bytes, Millis},
};

use crate::{
    calibrate::{Runs, TIME_MIN_MS, Take, measure},
    clock::Stopwatch,
    engine::{Engine, Graph, LoadOptions},
    error::Error,
    inspect::Inspection,
    passes,
    spec::Dimension,
    tensor::Tensor,
};

/// Most pieces that a model is timed in: more would take long to cut, and a stage has several blocks of a long model anyway.
const PIECES_MAX: u32 = 32;
/// How often the pieces take turns, as the models of a calibration do and for the same reason.
const TURNS: usize = 3;
/// Most weights of a model whose pieces stay loaded between turns. The pieces of a larger one have one turn: loading each of them
/// again would take longer than running it, and all at once may not fit beside what the device holds.
const KEPT_MAX: Bytes = Bytes::mib(256);
/// Most time for the runs of one piece in one turn, unless the fewest that must be take longer.
const PIECE_MS_MAX: f64 = 0.5;

/// Times of consecutive ranges, in order.
pub type PieceTimes = Vec<(BlockRange, Millis)>;

/// Blocks that are timed as one, and what is kept of them for another turn.
struct Piece {
    range: BlockRange,
    loaded: Option<(Box<dyn Graph>, Vec<Tensor>)>,
}

impl Inspection {
    /// Runs each block as a shard of its own, on the golden inputs: the fastest run of some, because whatever made the others slower
    /// is not the block's, and what several turns of all blocks say together. Of a model with very many blocks, some at a time. None
    /// before `with_golden`; none where requests choose lengths, because the golden ones are not those that costs are planned for; and
    /// none if cutting, loading and running all of it takes more than the budget, because the blocks that were not timed would look
    /// cheap beside the others.
    pub fn time_blocks(&self, engine: &dyn Engine, budget: Millis) -> Result<Option<PieceTimes>, Error> {
        if self.golden.get().is_none() || self.has_open_lengths() {
            return Ok(None);
        }
        let whole = self.profile().whole();
        let turns = if self.profile().weights(whole) <= KEPT_MAX { TURNS } else { 1 };
        let mut pieces: Vec<Piece> = pieces(whole.end()).into_iter().map(|range| Piece { range, loaded: None }).collect();
        let share = Millis((budget.0 / (2 * turns * pieces.len()) as f64).min(PIECE_MS_MAX));
        let mut passes: Vec<Vec<f64>> = Vec::with_capacity(turns);
        let all = Stopwatch::start();
        for turn in 1..=turns {
            match self.time_once(engine, &mut pieces, share, turn < turns, Millis(budget.0 - all.elapsed().0))? {
                Some(times) => passes.push(times),
                None if passes.is_empty() => return Ok(None),
                None => break,
            }
        }
        let times = passes::together(&passes).into_iter().map(Millis);
        Ok(Some(pieces.into_iter().map(|piece| piece.range).zip(times).collect()))
    }

    /// One turn of all pieces, in milliseconds; none if it takes more than the budget.
    fn time_once(&self, engine: &dyn Engine, pieces: &mut [Piece], share: Millis, is_kept: bool, budget: Millis) -> Result<Option<Vec<f64>>, Error> {
        let all = Stopwatch::start();
        let mut times = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let Some(time) = self.time_piece(engine, piece, share, is_kept)? else { return Ok(None) };
            times.push(time);
            if all.elapsed().0 > budget.0 {
                return Ok(None);
            }
        }
        Ok(Some(times))
    }

    /// The milliseconds of one run; none of a shard without golden inputs.
    fn time_piece(&self, engine: &dyn Engine, piece: &mut Piece, share: Millis, is_kept: bool) -> Result<Option<f64>, Error> {
        let (graph, inputs) = match piece.loaded.take() {
            Some(loaded) => loaded,
            None => {
                let shard = self.shard(piece.range)?;
                let Some(golden) = &shard.golden else { return Ok(None) };
                (engine.load(&shard, &LoadOptions::default())?, golden.inputs.clone())
            }
        };
        let time = measure(graph.share()?, &inputs, Runs::within(share), &Barrier::new(1), Take::Fastest)?;
        piece.loaded = is_kept.then_some((graph, inputs));
        Ok(Some(time.0.max(TIME_MIN_MS)))
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
