//! What can be served now, as a routing policy sees it, and the proof that a path it names is one.

use std::sync::Arc;

use crate::{
    error::{Error, Fault},
    ids::{DeviceId, ModelId, OfferId, PlanNumber},
    link::{Links, Speed},
    plan::Stage,
    shard::BlockRange,
    units::{Bytes, Millis},
};

/// A range of blocks that a device holds ready.
#[derive(Clone, PartialEq, Debug)]
pub struct Segment {
    /// Where it is.
    pub stage: Stage,
    /// Index of the device in the topology.
    pub device: u32,
    /// Replica of the plan that it came from, and its position there.
    pub replica: u32,
    /// Position in the replica.
    pub position: u32,
    /// Time of the whole segment for one request.
    pub run: Millis,
    /// Whether a request may enter it after its first block.
    pub divisible: bool,
}

impl Segment {
    /// Its blocks.
    pub fn range(&self) -> BlockRange {
        self.stage.range
    }

    /// The offer that holds it.
    pub fn offer(&self) -> &OfferId {
        &self.stage.offer
    }
}

/// One model as it can be served.
#[derive(Clone, PartialEq, Debug)]
pub struct ServedModel {
    /// Name and version.
    pub id: ModelId,
    /// How many blocks a path must cover.
    pub blocks: u32,
    /// Bytes that leave each block.
    pub borders: Vec<Bytes>,
    /// All that is ready, sorted by replica and position.
    pub segments: Vec<Segment>,
}

/// A device that holds segments.
#[derive(Clone, PartialEq, Debug)]
pub struct TopologyDevice {
    /// Its id.
    pub id: DeviceId,
    /// Index of its site.
    pub site: u32,
}

/// Everything that can be served, numbered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Topology {
    /// Grows with each topology; the first is 1.
    pub number: u32,
    /// The plan that it serves.
    pub plan: PlanNumber,
    /// Sorted by id.
    pub models: Vec<ServedModel>,
    /// Sorted by id.
    pub devices: Vec<TopologyDevice>,
    /// What is known of the ways between them.
    pub links: Links,
}

/// A proved path: indexes of a model's segments, covering every block once and in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    segments: Vec<u32>,
}

impl Path {
    /// Indexes into the model's segments, in order.
    pub fn segments(&self) -> &[u32] {
        &self.segments
    }
}

impl Topology {
    /// The index of a model, if it can be served.
    pub fn model(&self, id: &ModelId) -> Option<u32> {
        let index = self.models.binary_search_by(|model| model.id.cmp(id)).ok()?;
        u32::try_from(index).ok()
    }

    /// The way from one device of the topology to another.
    pub fn speed(&self, source: u32, target: u32) -> Speed {
        let (Some(from), Some(to)) = (self.devices.get(source as usize), self.devices.get(target as usize)) else {
            return self.links.between_sites;
        };
        let measured = self.links.measured.get(&(from.id.clone(), to.id.clone())).copied();
        match measured {
            _ if source == target => Speed::FREE,
            Some(speed) => speed,
            None if from.site == to.site => self.links.within_site,
            None => self.links.between_sites,
        }
    }
}

impl ServedModel {
    /// Proves a path that a guest named: indexes exist, and each segment goes on where the one before ended.
    pub fn check(&self, indexes: &[u32]) -> Result<Path, Error> {
        let mut next = 0;
        for &index in indexes {
            let missing = || Fault::Index { what: "segment", index, count: self.segments.len() };
            let segment = self.segments.get(index as usize).ok_or_else(missing)?;
            let range = segment.range();
            let enters = range.start() == next || (segment.divisible && range.contains(next));
            if !enters {
                return Err(Fault::Gap { model: self.id.clone(), expected: next, found: range.start() }.into());
            }
            next = range.end();
        }
        if next != self.blocks {
            return Err(Fault::Length { model: self.id.clone(), blocks: self.blocks, covered: next }.into());
        }
        Ok(Path { segments: indexes.to_vec() })
    }
}

/// How hard devices work now, numbered so that each instance of a policy knows what it has been told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PressureTable {
    /// Grows with each change.
    pub number: u64,
    /// By index of the topology's devices.
    pub devices: Vec<(u32, crate::device::Pressures)>,
}

/// One request to route.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteRequest {
    /// Index into the topology's models.
    pub model: u32,
    /// Counts the requests of this model and wraps at 2^31.
    pub ordinal: u32,
    /// Uniform in 0..1.
    pub random: f64,
    /// Equal for the requests of one sequence, 0 for none.
    pub sequence_key: u32,
    /// Bytes of the inputs.
    pub input: Bytes,
    /// By segment of the model: requests sent there and not yet answered.
    pub outstanding: Vec<u32>,
}

/// What a routing policy is given besides the request: shared, so that handing it on costs nothing.
#[derive(Clone, Debug, Default)]
pub struct RoutingSnapshot {
    /// What can be served.
    pub topology: Arc<Topology>,
    /// How hard the devices work.
    pub pressures: Arc<PressureTable>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{model_id, offer_id, range};

    fn served(divisible: bool) -> ServedModel {
        let segment = |device: &str, start, end| Segment {
            stage: Stage { offer: offer_id(device), range: range(start, end) },
            device: 0,
            replica: 0,
            position: 0,
            run: Millis(1.0),
            divisible,
        };
        let segments = vec![segment("a", 0, 2), segment("b", 2, 4), segment("c", 1, 4), segment("d", 0, 4)];
        ServedModel { id: model_id("m"), blocks: 4, borders: vec![Bytes(1); 4], segments }
    }

    #[test]
    fn a_path_covers_every_block_once_and_in_order() {
        for path in [&[0, 1][..], &[3]] {
            assert_eq!(served(false).check(path).map(|path| path.segments().len()), Ok(path.len()));
        }
        let cases: [(&[u32], &str); 6] = [
            (&[], "m@1 has 4 blocks, but the stages cover 0"),
            (&[0], "m@1 has 4 blocks, but the stages cover 2"),
            (&[1, 0], "m@1: block 0 should come next, but the stage starts at block 2"),
            (&[0, 2], "m@1: block 2 should come next, but the stage starts at block 1"),
            (&[0, 1, 3], "m@1: block 4 should come next, but the stage starts at block 0"),
            (&[0, u32::MAX], "segment 4294967295 does not exist, there are 4"),
        ];
        for (path, error) in cases {
            assert_eq!(served(false).check(path).expect_err(error).to_string(), error);
        }
    }

    #[test]
    fn a_divisible_segment_may_be_entered_in_the_middle() {
        assert!(served(true).check(&[0, 2]).is_ok());
        assert!(served(true).check(&[2]).is_err());
    }
}
