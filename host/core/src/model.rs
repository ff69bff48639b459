//! What planning knows of a model: its blocks and what each costs. Where it is cut, not what it computes.

use crate::{
    cost::CostModel,
    error::{Error, Fault},
    ids::ModelId,
    shard::BlockRange,
    units::{Bytes, Millis},
};

/// Most blocks a model may have; larger numbers come from broken files.
pub const BLOCKS_MAX: usize = 65_536;
/// Most that timing may make of a block's work, or least: what is further off is no operator but a disturbed measurement.
const TIMED_SCALE_MAX: f64 = 64.0;

/// The smallest piece a model may be cut at.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Block {
    /// The name of the value that leaves it, for people.
    pub name: String,
    /// Floating point operations at the planned batch; of a model that was timed, as many as take the time that it took.
    pub flops: f64,
    /// Weights that no other block reads.
    pub weights: Bytes,
    /// Bytes read and written inside the block, without weights.
    pub activations: Bytes,
    /// Bytes that leave for the next block; for the last block, the model's outputs.
    pub border: Bytes,
    /// Attention cache for one token of one sequence.
    pub kv_per_token: Bytes,
    /// Scratch memory while it runs.
    pub workspace: Bytes,
}

/// Weights that several blocks read, such as a tied embedding. Whoever holds any of them holds the weights once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedWeight {
    /// Size of the weights.
    pub size: Bytes,
    /// The blocks that read them, ascending.
    pub blocks: Vec<u32>,
}

/// What a range of blocks costs, ready for the cost model.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// Floating point operations.
    pub flops: f64,
    /// Weights that are read once per run.
    pub weights: Bytes,
    /// Activations read and written.
    pub activations: Bytes,
}

/// A model as planning sees it. Made only by `new`, which proves that the numbers make sense.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelProfile {
    id: ModelId,
    blocks: Vec<Block>,
    shared: Vec<SharedWeight>,
    input: Bytes,
    sequences: u32,
    tokens: u32,
}

impl ModelProfile {
    /// Checks that there is a block, that every number is finite and that shared weights name blocks that exist.
    pub fn new(id: ModelId, blocks: Vec<Block>, shared: Vec<SharedWeight>, input: Bytes) -> Result<Self, Error> {
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            return Err(Fault::BlockCount { model: id, count: blocks.len(), max: BLOCKS_MAX }.into());
        }
        if let Some((index, block)) = blocks.iter().enumerate().find(|(_, block)| !block.flops.is_finite() || block.flops < 0.0) {
            return Err(Fault::BlockFlops { model: id, block: index, flops: block.flops }.into());
        }
        let beyond = shared.iter().flat_map(|weight| &weight.blocks).find(|&&block| block as usize >= blocks.len());
        if let Some(&block) = beyond {
            return Err(Fault::SharedWeightBlock { model: id, block, count: blocks.len() }.into());
        }
        Ok(Self { id, blocks, shared, input, sequences: 1, tokens: 0 })
    }

    /// Plans for this many sequences at once, each of this many tokens. Without cache in the model it changes nothing.
    #[must_use]
    pub fn with_sequences(mut self, sequences: u32, tokens: u32) -> Self {
        self.sequences = sequences.max(1);
        self.tokens = tokens;
        self
    }

    /// The same model, whose blocks work as much as an engine took for them on a machine of that cost: operations and
    /// activations of each piece are scaled until its predicted time is the measured one. What operators cost in truth, which
    /// four coefficients for all of them cannot say, so becomes part of the model and holds on any machine with such an engine.
    /// Weights stay, because memory is counted by them. A scale is at most 64, and at least one over it; a piece that takes no
    /// longer than its weights and the run alone, or that does nothing, tells nothing and stays.
    #[must_use]
    pub fn timed(mut self, reference: &CostModel, pieces: &[(BlockRange, Millis)]) -> Self {
        for &(range, time) in pieces {
            let counted = self.work(range);
            let rest = reference.predict(Work { flops: 0.0, activations: Bytes::ZERO, ..counted });
            let variable = reference.predict(counted) - rest;
            let scale = (time - rest).0 / variable.0;
            if !(scale.is_finite() && scale > 0.0) {
                continue;
            }
            let scale = scale.clamp(1.0 / TIMED_SCALE_MAX, TIMED_SCALE_MAX);
            for block in self.blocks.get_mut(range.start() as usize..range.end() as usize).unwrap_or_default() {
                block.flops *= scale;
                block.activations = block.activations.scaled(scale);
            }
        }
        self
    }

    /// Name and version.
    pub fn id(&self) -> &ModelId {
        &self.id
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Weights that more than one block reads.
    pub fn shared(&self) -> &[SharedWeight] {
        &self.shared
    }

    /// Bytes of one request's inputs.
    pub fn input(&self) -> Bytes {
        self.input
    }

    /// Sequences that each replica serves at once.
    pub fn sequences(&self) -> u32 {
        self.sequences
    }

    /// Tokens planned for each sequence.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// All blocks.
    pub fn whole(&self) -> BlockRange {
        BlockRange::whole(self.blocks.len())
    }

    /// The borders between blocks: a cut at `n` separates block n-1 from block n.
    pub fn legal_cuts(&self) -> impl Iterator<Item = u32> + use<> {
        1..self.whole().end()
    }

    /// Weights of a range, shared ones counted once.
    pub fn weights(&self, range: BlockRange) -> Bytes {
        let own: Bytes = self.slice(range).iter().map(|block| block.weights).sum();
        let shared: Bytes = self.shared.iter().filter(|weight| weight.blocks.iter().any(|&block| range.contains(block))).map(|weight| weight.size).sum();
        own + shared
    }

    /// What one run over a range costs.
    pub fn work(&self, range: BlockRange) -> Work {
        let blocks = self.slice(range);
        Work {
            flops: blocks.iter().map(|block| block.flops).sum(),
            weights: self.weights(range),
            activations: blocks.iter().map(|block| block.activations).sum(),
        }
    }

    /// Cache of all planned sequences over a range.
    pub fn cache(&self, range: BlockRange) -> Bytes {
        let per_token: Bytes = self.slice(range).iter().map(|block| block.kv_per_token).sum();
        per_token.times(u64::from(self.sequences) * u64::from(self.tokens))
    }

    /// The largest scratch memory of any block in a range; blocks run one after another.
    pub fn workspace(&self, range: BlockRange) -> Bytes {
        self.slice(range).iter().map(|block| block.workspace).max().unwrap_or_default()
    }

    /// Bytes that leave a range.
    pub fn border_after(&self, range: BlockRange) -> Bytes {
        self.slice(range).last().map(|block| block.border).unwrap_or_default()
    }

    fn slice(&self, range: BlockRange) -> &[Block] {
        self.blocks.get(range.start() as usize..range.end() as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{model_id, uniform_model};

    #[test]
    fn a_tied_weight_counts_once_wherever_it_is_held() {
        let block = |weights| Block { weights: Bytes(weights), ..Block::default() };
        let shared = vec![SharedWeight { size: Bytes(100), blocks: vec![0, 2] }];
        let model = ModelProfile::new(model_id("tied"), vec![block(1), block(2), block(3)], shared, Bytes(4)).expect("a sound model");
        let weights = |start, end| model.weights(BlockRange::new(start, end).expect("not empty"));
        assert_eq!(weights(0, 3), Bytes(106));
        assert_eq!(weights(0, 1), Bytes(101));
        assert_eq!(weights(1, 2), Bytes(2));
        assert_eq!(weights(2, 3), Bytes(103));
    }

    #[test]
    fn a_model_has_one_cut_less_than_blocks() {
        assert_eq!(uniform_model("m", 4).legal_cuts().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(uniform_model("m", 1).legal_cuts().count(), 0);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let not_finite = Block { flops: f64::NAN, ..Block::default() };
        assert!(ModelProfile::new(model_id("m"), vec![not_finite], vec![], Bytes(0)).is_err());
        assert!(ModelProfile::new(model_id("m"), vec![], vec![], Bytes(0)).is_err());
        let shared = vec![SharedWeight { size: Bytes(1), blocks: vec![7] }];
        let error = ModelProfile::new(model_id("m"), vec![Block::default()], shared, Bytes(0)).expect_err("block 7 does not exist");
        assert_eq!(error.to_string(), "model m@1: a shared weight names block 7, but there are 1 blocks");
    }

    #[test]
    fn blocks_that_were_timed_are_predicted_as_they_were_measured_and_weigh_the_same() {
        let cost = CostModel { gflop_ms: 2.0, weight_mb_ms: 0.5, activation_mb_ms: 0.25, fixed_ms: 0.125 };
        let block = Block { flops: 1e9, weights: Bytes(1_000_000), activations: Bytes(4_000_000), ..Block::default() };
        let nothing = Block { weights: Bytes(1_000_000), ..Block::default() };
        let model = ModelProfile::new(model_id("timed"), vec![block.clone(), block.clone(), block, nothing], Vec::new(), Bytes(4)).expect("a sound model");
        let range = |start, end| BlockRange::new(start, end).expect("not empty");
        let timed = model.clone().timed(&cost, &[(range(0, 1), Millis(10.0)), (range(1, 3), Millis(4.0)), (range(3, 4), Millis(9.0))]);
        for (part, expected) in [(range(0, 1), 10.0), (range(1, 3), 4.0), (range(3, 4), 0.625)] {
            let predicted = cost.predict(timed.work(part)).0;
            assert!((predicted - expected).abs() < 1e-5, "{part}: {predicted} is not {expected}");
        }
        assert!((cost.slowed(3.0).predict(timed.work(range(0, 1))).0 - 30.0).abs() < 1e-5, "on a device three times as slow");
        assert_eq!(timed.weights(timed.whole()), model.weights(model.whole()));
        // Less than its weights alone take, no time at all, and beyond all measure.
        let silly = model.clone().timed(&cost, &[(range(0, 1), Millis(0.5)), (range(1, 2), Millis(f64::NAN)), (range(2, 3), Millis(1e9))]);
        assert_eq!((&silly.blocks()[..2], silly.blocks()[2].flops), (&model.blocks()[..2], 64e9));
    }
}
