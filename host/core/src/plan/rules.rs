//! The rules that every plan keeps. They do not care how offers are named: a plan names them by id, a proposal by index, and
//! comparing indexes is most of what makes proving a proposal for a thousand devices cheap.

use std::collections::BTreeMap;

use super::OfferCapacity;
use crate::{
    error::{Error, Fault},
    ids::OfferId,
    model::ModelProfile,
    shard::{BlockRange, ShardId},
    units::Bytes,
};

/// The offers that a plan may use.
pub(crate) trait Offers {
    /// Names an offer. Names are in the order of ids.
    type Name: Copy + Ord;
    /// Names a memory.
    type Pool: Ord;

    /// What the offer can hold. The error says that there is no such offer.
    fn capacity(&self, name: Self::Name) -> Result<&OfferCapacity, Error>;

    /// The memory that it counts on, which it may share with other offers of its device.
    fn pool(&self, name: Self::Name, capacity: &OfferCapacity) -> Self::Pool;

    /// Its id, for errors.
    fn id(&self, name: Self::Name) -> OfferId;
}

/// Every block once and in order, and each stage at a place in the chain that its offer takes.
pub(crate) fn check_chain<O: Offers>(
    model: &ModelProfile,
    stages: impl ExactSizeIterator<Item = (O::Name, BlockRange)> + Clone,
    offers: &O,
) -> Result<(), Error> {
    let blocks = model.whole().end();
    let mut next = 0;
    for (_, range) in stages.clone() {
        if range.start() != next {
            return Err(Fault::Gap { model: model.id().clone(), expected: next, found: range.start() }.into());
        }
        next = range.end();
    }
    if next != blocks {
        return Err(Fault::Length { model: model.id().clone(), blocks, covered: next }.into());
    }
    let count = stages.len();
    for (index, (name, range)) in stages.enumerate() {
        if let Some(role) = offers.capacity(name)?.roles.missing_at(index, count) {
            let shard = ShardId { model: model.id().clone(), range };
            return Err(Fault::Role { shard, offer: offers.id(name), role }.into());
        }
    }
    Ok(())
}

/// What stages of all models need together fits in every memory. Stages that are the same share one shard.
pub(crate) fn check_memory<'m, O: Offers>(stages: impl Iterator<Item = (O::Name, &'m ModelProfile, BlockRange)>, offers: &O) -> Result<(), Error> {
    let mut shards: Vec<(O::Name, &ModelProfile, BlockRange)> = stages.collect();
    let key = |shard: &(O::Name, &'m ModelProfile, BlockRange)| (shard.0, shard.1.id(), shard.2);
    shards.sort_unstable_by(|one, other| key(one).cmp(&key(other)));
    shards.dedup_by(|one, other| key(one) == key(other));
    let mut used: BTreeMap<O::Pool, Bytes> = BTreeMap::new();
    for (name, model, range) in shards {
        let offer = offers.capacity(name)?;
        let pool = used.entry(offers.pool(name, offer)).or_default();
        *pool += offer.need(model, range);
        if *pool > offer.memory {
            return Err(Fault::Memory { offer: offers.id(name), range, need: *pool, have: offer.memory }.into());
        }
    }
    Ok(())
}
