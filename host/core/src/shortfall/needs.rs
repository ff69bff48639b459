//! The memory that any range of a model takes, worked out once so that many ranges can be asked about.

use crate::{model::ModelProfile, plan::OfferCapacity, units::Bytes};

/// Sums over the blocks before each border, and the largest workspaces.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    weights: Vec<Bytes>,
    per_token: Vec<Bytes>,
    /// By power of two: the largest workspace of so many blocks from each one on.
    workspaces: Vec<Vec<Bytes>>,
    /// Each shared weight with the blocks that read it, ascending.
    shared: Vec<(Bytes, Vec<u32>)>,
    tokens: u64,
}

impl Needs {
    pub(super) fn of(model: &ModelProfile) -> Self {
        let sums = |size: fn(&crate::model::Block) -> Bytes| {
            let running = model.blocks().iter().scan(Bytes::ZERO, |sum, block| {
                *sum += size(block);
                Some(*sum)
            });
            std::iter::once(Bytes::ZERO).chain(running).collect::<Vec<_>>()
        };
        let mut workspaces = vec![model.blocks().iter().map(|block| block.workspace).collect::<Vec<_>>()];
        while let Some(last) = workspaces.last().filter(|last| last.len() > 1 << (workspaces.len() - 1)) {
            let step = 1 << (workspaces.len() - 1);
            let next = last.iter().zip(&last[step..]).map(|(one, other)| *one.max(other)).collect();
            workspaces.push(next);
        }
        Self {
            weights: sums(|block| block.weights),
            per_token: sums(|block| block.kv_per_token),
            workspaces,
            shared: model.shared().iter().map(|weight| (weight.size, weight.blocks.clone())).collect(),
            tokens: u64::from(model.sequences()) * u64::from(model.tokens()),
        }
    }

    /// Blocks of the model.
    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.weights.len() - 1).unwrap_or(u32::MAX)
    }

    /// What a range that is not empty takes on an offer, as `OfferCapacity::need` has it.
    pub(super) fn need(&self, capacity: &OfferCapacity, start: u32, end: u32) -> Bytes {
        let (first, last) = (start as usize, end as usize);
        let is_read = |blocks: &Vec<u32>| blocks.get(blocks.partition_point(|&block| block < start)).is_some_and(|&block| block < end);
        let shared: Bytes = self.shared.iter().filter(|(_, blocks)| is_read(blocks)).map(|(size, _)| *size).sum();
        let weights = self.weights[last] - self.weights[first] + shared;
        let cache = (self.per_token[last] - self.per_token[first]).times(self.tokens);
        weights.scaled(capacity.weight_factor) + cache + self.workspace(first, last) + capacity.fixed
    }

    fn workspace(&self, first: usize, last: usize) -> Bytes {
        let power = (last - first).ilog2() as usize;
        let row = &self.workspaces[power];
        row[first].max(row[last - (1 << power)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        device::Roles,
        model::{Block, SharedWeight},
        shard::BlockRange,
        testing::model_id,
    };

    proptest! {
        #[test]
        fn any_range_takes_what_a_plan_is_proved_with(sizes in prop::collection::vec((0_u64..1_000, 0_u64..100, 0_u64..1_000), 1..20), readers in prop::collection::vec(0_u32..20, 0..5), factor in 0.5_f64..3.0) {
            let block = |&(weights, kv, workspace): &(u64, u64, u64)| Block { weights: Bytes(weights), kv_per_token: Bytes(kv), workspace: Bytes(workspace), ..Block::default() };
            let blocks: Vec<Block> = sizes.iter().map(block).collect();
            let mut readers: Vec<u32> = readers.into_iter().map(|reader| reader % u32::try_from(sizes.len()).expect("few")).collect();
            readers.sort_unstable();
            let shared = vec![SharedWeight { size: Bytes(77), blocks: readers }];
            let model = ModelProfile::new(model_id("m"), blocks, shared, Bytes(1)).expect("a sound model").with_sequences(3, 5);
            let capacity = OfferCapacity { pool: 0, memory: Bytes::ZERO, weight_factor: factor, fixed: Bytes(9), roles: Roles::ALL };
            let needs = Needs::of(&model);
            for start in 0..needs.blocks() {
                for end in start + 1..=needs.blocks() {
                    let range = BlockRange::new(start, end).expect("not empty");
                    prop_assert_eq!(needs.need(&capacity, start, end), capacity.need(&model, range), "{}", range);
                }
            }
        }
    }
}
