//! Offers that run only what was converted for them: which ranges of which model there are for them, and what that means for a
//! problem. A model of which nothing was converted for an offer is planned without that offer; one of which something was may use
//! it for exactly those ranges. Who converts, and where the results are, is the daemon's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Cluster, Reason};
use crate::{
    ids::{ModelId, OfferId},
    problem::Exclusion,
    shard::{BlockRange, ShardId},
};

/// The ranges of one model that were converted, by target.
pub type Converted = BTreeMap<String, BTreeSet<BlockRange>>;

/// How a problem takes offers that run only what was converted for them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Conversions<'a> {
    /// As things are: for planning.
    AsTheyAre,
    /// As if everything had been converted: for explaining what is in force.
    All,
    /// As if everything had been converted for this target: for finding out what is worth converting.
    AllFor(&'a str),
}

/// An offer that takes no part in a plan, because too little was converted for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// Which offer.
    pub offer: OfferId,
    /// Which model.
    pub model: ModelId,
    /// What its shards must be converted for.
    pub target: String,
    /// Why it is left out.
    pub why: Lack,
}

/// Why an offer is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// Nothing of the model was converted for it.
    Nothing,
    /// More ranges would have to be ruled out, over all offers of the problem, than a problem may name.
    TooManyRanges {
        /// The most.
        max: usize,
    },
}

/// What a problem gets of this.
#[derive(Debug, Default)]
pub(super) struct Able {
    /// Ranges that were not converted for an offer that takes part.
    pub(super) unconverted: Vec<Exclusion>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Cluster {
    /// Notes what of a model was converted, and has it placed again.
    pub(super) fn note_converted(&mut self, model: ModelId, converted: Converted) {
        let refused = self.models.get(&model).map_or(&[][..], |record| &record.exclusions).iter();
        let is_moot = |exclusion: &Exclusion| self.target_of(&exclusion.offer).is_some_and(|target| converted.contains_key(target));
        let kept = refused.filter(|exclusion| !is_moot(exclusion)).cloned().collect();
        self.converted.insert(model.clone(), converted);
        let Some(record) = self.models.get_mut(&model) else { return };
        // What was refused there may have been refused for want of what was converted since.
        record.exclusions = kept;
        if !self.rejoin.as_ref().is_some_and(|rejoin| rejoin.waits_for(&model)) {
            self.to_place.insert(model.clone(), Reason::Converted(model));
        }
    }

    /// What an offer runs nothing but conversions for, if it is one of those.
    pub fn target_of(&self, offer: &OfferId) -> Option<&str> {
        let offers = &self.devices.get(&offer.device)?.device.offers;
        offers.iter().find(|known| known.accelerator == offer.accelerator)?.needs_artefacts.as_deref()
    }

    /// The offers that take no part in plans of a model now, because too little of it was converted for them.
    pub fn left_out(&self, model: &ModelId) -> Vec<LeftOut> {
        let Some(record) = self.models.get(model) else { return Vec::new() };
        let devices = self.devices.values().filter(|record| record.takes_work()).map(|record| &record.device);
        let offers: Vec<OfferId> = devices.flat_map(|device| device.offers.iter().map(|offer| device.offer_id(offer))).collect();
        self.able(model, record.profile.whole().end(), &offers, Conversions::AsTheyAre).left_out
    }

    /// Whether an offer can run a range of a model, as far as conversion goes.
    pub(super) fn is_converted(&self, model: &ModelId, offer: &OfferId, range: BlockRange) -> bool {
        self.target_of(offer).is_none_or(|target| self.ranges(model, target).is_some_and(|ranges| ranges.contains(&range)))
    }

    /// Sorts out which of these offers take no part, and which ranges are ruled out for the others.
    pub(super) fn able(&self, model: &ModelId, blocks: u32, offers: &[OfferId], conversions: Conversions<'_>) -> Able {
        let (mut able, max) = (Able::default(), self.settings.unconverted_max);
        for offer in offers {
            let needed = self.target_of(offer).filter(|target| match conversions {
                Conversions::AsTheyAre => true,
                Conversions::All => false,
                Conversions::AllFor(other) => *target != other,
            });
            let Some(target) = needed else { continue };
            let left_out = |why| LeftOut { offer: offer.clone(), model: model.clone(), target: target.to_owned(), why };
            match self.ranges(model, target) {
                None => able.left_out.push(left_out(Lack::Nothing)),
                Some(ranges) if able.unconverted.len() + count_ranges(blocks) > max + ranges.len() => able.left_out.push(left_out(Lack::TooManyRanges { max })),
                Some(ranges) => able.unconverted.extend(others(model, blocks, offer, target, ranges)),
            }
        }
        able
    }

    fn ranges(&self, model: &ModelId, target: &str) -> Option<&BTreeSet<BlockRange>> {
        self.converted.get(model)?.get(target).filter(|ranges| !ranges.is_empty())
    }
}

/// How many ranges so many blocks have.
fn count_ranges(blocks: u32) -> usize {
    let blocks = blocks as usize;
    blocks * (blocks + 1) / 2
}

/// Every range but the converted ones, as ruled out for an offer.
fn others<'a>(model: &'a ModelId, blocks: u32, offer: &'a OfferId, target: &'a str, ranges: &'a BTreeSet<BlockRange>) -> impl Iterator<Item = Exclusion> + 'a {
    let all = (0..blocks).flat_map(move |start| (start + 1..=blocks).filter_map(move |end| BlockRange::new(start, end).ok()));
    all.filter(|range| !ranges.contains(range)).map(move |range| Exclusion {
        offer: offer.clone(),
        shard: ShardId { model: model.clone(), range },
        reason: format!("it was not converted for {target}"),
    })
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offer, model, target, why } = self;
        match why {
            Lack::Nothing => write!(f, "{offer} is left out: no artefacts of {model} for {target}"),
            Lack::TooManyRanges { max } => {
                write!(f, "{offer} is left out: more than {max} ranges of {model} would have to be named as not converted for {target}")
            }
        }
    }
}
