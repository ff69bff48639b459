//! Ranges of blocks, and the shards that they name.

use std::fmt;

use crate::{
    error::{Error, Fault},
    ids::ModelId,
};

/// A contiguous range of blocks, never empty: `[start..end)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockRange {
    start: u32,
    end: u32,
}

impl BlockRange {
    /// Refuses an empty or reversed range.
    pub fn new(start: u32, end: u32) -> Result<Self, Error> {
        if start < end { Ok(Self { start, end }) } else { Err(Fault::EmptyRange { start, end }.into()) }
    }

    /// All of `count` blocks; models are proved to have one at least.
    pub(crate) fn whole(count: usize) -> Self {
        Self { start: 0, end: u32::try_from(count).unwrap_or(u32::MAX).max(1) }
    }

    /// First block.
    pub fn start(self) -> u32 {
        self.start
    }

    /// One past the last block.
    pub fn end(self) -> u32 {
        self.end
    }

    /// How many blocks; at least one.
    pub fn count(self) -> u32 {
        self.end - self.start
    }

    /// Whether a block lies inside.
    pub fn contains(self, block: u32) -> bool {
        (self.start..self.end).contains(&block)
    }
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..{})", self.start, self.end)
    }
}

/// A shard: which blocks of which model. The file behind it has a digest besides.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId {
    /// The model that was cut.
    pub model: ModelId,
    /// Its blocks in this shard.
    pub range: BlockRange,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.model, self.range)
    }
}
