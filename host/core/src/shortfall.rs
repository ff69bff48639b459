//! Why a problem has no plan, as far as memory, roles and refused loads go: which constraint fails, and by how much where it fails
//! least. For `host plan explain`; a policy that refuses may have had other reasons, and is believed for its own.

mod needs;

use std::{cmp::Reverse, fmt};

use crate::{
    ids::OfferId,
    problem::{Problem, ProblemOffer},
    units::Bytes,
};
use needs::Needs;

/// Most offers among which every order of a chain is tried; with more, the roomiest come first.
const EXACT_OFFERS_MAX: usize = 10;
/// Of how many it is worked out, the roomiest first, what they lack.
const LACKING_MAX: usize = 16;

/// What one offer could hold of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Room {
    /// Which offer.
    pub offer: OfferId,
    /// The memory that is left of its pool for this model.
    pub free: Bytes,
    /// What the whole model would take there.
    pub whole: Bytes,
    /// The most consecutive blocks that fit, from whichever block on.
    pub blocks: u32,
    /// Places in a chain that it does not take.
    pub missing_roles: Vec<&'static str>,
}

/// A constraint that no chain of stages meets.
#[derive(Clone, PartialEq, Debug)]
pub enum Shortfall {
    /// There is nothing to place it on.
    NoOffers,
    /// A place in the chain that no offer takes.
    Role {
        /// `head` or `tail`.
        role: &'static str,
        /// How many offers there are.
        offers: usize,
    },
    /// Fewer offers can hold any block than the model must have stages.
    Stages {
        /// The fewest stages by the model's placement.
        min: u32,
        /// Offers that can hold a block.
        usable: u32,
    },
    /// Memory: with so much more on this offer there would be room for a chain, and no other offer needs less.
    Memory {
        /// The offer that is nearest to being enough.
        nearest: OfferId,
        /// What it lacks.
        short: Bytes,
        /// What it has for this model.
        free: Bytes,
        /// Blocks that can be placed from the first on, over all offers.
        covered: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// There is room, but what would use it was refused on loading.
    Exclusions {
        /// Refused loads that stand in the way.
        count: usize,
    },
    /// There is memory enough, but not where the places in a chain are taken that it is for.
    Places {
        /// Blocks that can be placed from the first on.
        covered: u32,
        /// Blocks of the model.
        blocks: u32,
    },
}

impl Problem {
    /// What each offer could hold, in the order of the problem.
    pub fn rooms(&self) -> Vec<Room> {
        let needs = Needs::of(&self.model);
        let room = |offer: &ProblemOffer| {
            let roles = offer.capacity.roles;
            let missing = [("head", roles.head), ("body", roles.body), ("tail", roles.tail)].into_iter().filter(|(_, takes)| !takes);
            Room {
                offer: offer.id.clone(),
                free: offer.capacity.memory,
                whole: needs.need(&offer.capacity, 0, needs.blocks()),
                blocks: Span::of(&needs, offer, offer.capacity.memory, &|_, _| false).longest(),
                missing_roles: missing.map(|(role, _)| role).collect(),
            }
        };
        self.offers.iter().map(room).collect()
    }

    /// The constraint that keeps the model from being placed; none if there is room for a chain, so that the policy had a reason
    /// of its own. Offers of one memory pool are taken as alternatives to each other.
    pub fn shortfall(&self) -> Option<Shortfall> {
        if self.offers.is_empty() {
            return Some(Shortfall::NoOffers);
        }
        let lacks_role = |takes: fn(&ProblemOffer) -> bool| !self.offers.iter().any(takes);
        let roles = [("head", lacks_role(|offer| offer.capacity.roles.head)), ("tail", lacks_role(|offer| offer.capacity.roles.tail))];
        if let Some((role, _)) = roles.into_iter().find(|(_, is_missing)| *is_missing) {
            return Some(Shortfall::Role { role, offers: self.offers.len() });
        }
        let search = Search::new(self, Exclusions::Kept);
        let (covered, blocks) = (search.covered(), search.needs.blocks());
        if covered == blocks {
            let usable = search.spans.iter().filter(|span| span.longest() > 0).count();
            let usable = u32::try_from(usable).unwrap_or(u32::MAX);
            return (usable < self.placement.stages_min).then_some(Shortfall::Stages { min: self.placement.stages_min, usable });
        }
        let free = Search::new(self, Exclusions::Ignored);
        if free.covered() == blocks {
            return Some(Shortfall::Exclusions { count: self.exclusions.len() });
        }
        let least = free.by_room().into_iter().take(LACKING_MAX).filter_map(|index| Some((free.lacks(index)?, index))).min();
        Some(match least {
            Some((short, index)) => {
                let offer = &self.offers[index];
                Shortfall::Memory { nearest: offer.id.clone(), short, free: offer.capacity.memory, covered, blocks }
            }
            None => Shortfall::Places { covered, blocks },
        })
    }
}

/// How far an offer gets from each block on.
#[derive(Clone, Debug)]
struct Span {
    /// By first block: one past the last block that fits; the first block itself if none does.
    ends: Vec<u32>,
}

impl Span {
    /// With so much memory. The end never goes back when the start goes forward, so each step begins where the last one ended.
    fn of(needs: &Needs, offer: &ProblemOffer, memory: Bytes, is_excluded: &dyn Fn(u32, u32) -> bool) -> Self {
        let blocks = needs.blocks();
        let mut furthest = 0;
        let ends = (0..blocks).map(|start| {
            furthest = furthest.max(start);
            while furthest < blocks && needs.need(&offer.capacity, start, furthest + 1) <= memory {
                furthest += 1;
            }
            (start + 1..=furthest).rev().find(|&end| !is_excluded(start, end)).unwrap_or(start)
        });
        Self { ends: ends.collect() }
    }

    fn longest(&self) -> u32 {
        (0..).zip(&self.ends).map(|(start, end)| end - start).max().unwrap_or(0)
    }

    /// How far the offer gets from a block on; no further than that block if it holds nothing or the model ends there.
    fn end(&self, start: u32) -> u32 {
        self.ends.get(start as usize).copied().unwrap_or(start)
    }
}

/// What becomes of loads that were refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exclusions {
    /// They are not tried again.
    Kept,
    /// As if they had succeeded.
    Ignored,
}

/// A search for the chain that gets furthest.
#[derive(Clone, Debug)]
struct Search<'a> {
    problem: &'a Problem,
    needs: Needs,
    /// By offer: a number for its memory pool.
    pools: Vec<usize>,
    spans: Vec<Span>,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, exclusions: Exclusions) -> Self {
        let needs = Needs::of(&problem.model);
        let span = |offer: &ProblemOffer| {
            let of_offer: Vec<(u32, u32)> = match exclusions {
                Exclusions::Ignored => Vec::new(),
                Exclusions::Kept => {
                    let refused = problem.exclusions.iter().filter(|exclusion| exclusion.offer == offer.id);
                    refused.map(|exclusion| (exclusion.shard.range.start(), exclusion.shard.range.end())).collect()
                }
            };
            Span::of(&needs, offer, offer.capacity.memory, &|start, end| of_offer.contains(&(start, end)))
        };
        let spans = problem.offers.iter().map(span).collect();
        let pool = |offer: &ProblemOffer| {
            let shares = |other: &ProblemOffer| other.device == offer.device && other.capacity.pool == offer.capacity.pool;
            problem.offers.iter().position(shares).unwrap_or(0)
        };
        Self { problem, pools: problem.offers.iter().map(pool).collect(), needs, spans }
    }

    /// The most blocks from the first on that a chain can hold, all of them only if its last stage takes that place.
    fn covered(&self) -> u32 {
        if self.spans.len() <= EXACT_OFFERS_MAX { self.covered_exactly() } else { self.covered_by_roomiest() }
    }

    /// By sets of offers: the furthest that all in a set get in some order. To have got further is never worse.
    fn covered_exactly(&self) -> u32 {
        let count = self.spans.len();
        let mut reached: Vec<Option<u32>> = vec![None; 1 << count];
        reached[0] = Some(0);
        let mut best = 0;
        for set in 0_usize..1 << count {
            let Some(start) = reached[set].filter(|_| set.count_ones() < self.problem.placement.stages_max) else { continue };
            let is_free = |offer: &usize| (0..count).all(|used| set & (1 << used) == 0 || self.pools[used] != self.pools[*offer]);
            for offer in (0..count).filter(is_free) {
                let Some((end, goes_on)) = self.step(offer, start) else { continue };
                best = best.max(end);
                let next = &mut reached[set | 1 << offer];
                *next = (*next).max(goes_on);
            }
        }
        best
    }

    /// In one order: those that hold most come first, and one that can finish does.
    fn covered_by_roomiest(&self) -> u32 {
        let (order, blocks) = (self.by_room(), self.needs.blocks());
        let mut is_used = vec![false; self.spans.len()];
        let mut start = 0;
        for _ in 0..self.problem.placement.stages_max.min(blocks) {
            let steps = || order.iter().filter(|&&offer| !is_used[self.pools[offer]]).filter_map(|&offer| Some((offer, self.step(offer, start)?)));
            if steps().any(|(_, (end, _))| end == blocks) {
                return blocks;
            }
            let Some((offer, end)) = steps().find_map(|(offer, (_, goes_on))| Some((offer, goes_on?))) else { break };
            is_used[self.pools[offer]] = true;
            start = end;
        }
        start
    }

    /// Offers, those that hold most blocks first.
    fn by_room(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.spans.len()).collect();
        order.sort_by_key(|&offer| Reverse(self.spans[offer].longest()));
        order
    }

    /// How far a stage on an offer gets from a block on, and how far if others follow; none if it takes neither place.
    fn step(&self, offer: usize, start: u32) -> Option<(u32, Option<u32>)> {
        let (roles, blocks) = (self.problem.offers[offer].capacity.roles, self.needs.blocks());
        let end = self.spans[offer].end(start);
        if end == start || (start == 0 && !roles.head) {
            return None;
        }
        // Others can only follow if a block is left for them.
        let goes_on = (start == 0 || roles.body).then_some(end.min(blocks - 1)).filter(|end| *end > start);
        if end == blocks && roles.tail { Some((end, goes_on)) } else { goes_on.map(|end| (end, Some(end))) }
    }

    /// How much more memory this offer alone would need for a chain to be complete; none if no memory on it were enough.
    fn lacks(&self, index: usize) -> Option<Bytes> {
        let offer = &self.problem.offers[index];
        let mut tried = self.clone();
        let mut completes = |memory: u64| {
            tried.spans[index] = Span::of(&self.needs, offer, Bytes(memory), &|_, _| false);
            tried.covered() == self.needs.blocks()
        };
        let have = offer.capacity.memory;
        let (mut low, mut high) = (have.0, self.needs.need(&offer.capacity, 0, self.needs.blocks()).0);
        if high <= low || !completes(high) {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if completes(middle) { high = middle } else { low = middle }
        }
        Some(Bytes(high) - have)
    }
}

impl Shortfall {
    /// What fails, in a word or two.
    pub fn constraint(&self) -> &'static str {
        match self {
            Self::NoOffers => "devices",
            Self::Role { .. } | Self::Places { .. } => "roles",
            Self::Stages { .. } => "stages_min",
            Self::Memory { .. } => "memory",
            Self::Exclusions { .. } => "exclusions",
        }
    }

    /// The offer that is nearest to being enough, and what it lacks.
    pub fn nearest(&self) -> Option<(&OfferId, Bytes)> {
        if let Self::Memory { nearest, short, .. } = self { Some((nearest, *short)) } else { None }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOffers => f.write_str("no device takes work"),
            Self::Role { role, offers } => write!(f, "none of {offers} offers takes the {role} of a chain"),
            Self::Stages { min, usable } => write!(f, "placement.stages_min is {min}, but {usable} offers can hold a block"),
            Self::Memory { nearest, short, free, covered, blocks } => {
                write!(
                    f,
                    "short of {short} on {}: {covered} of {blocks} blocks find room, {nearest} has {free} for this model and is nearest to being enough",
                    nearest.device
                )
            }
            Self::Exclusions { count } => {
                write!(f, "there is room, but {count} stages that would use it were refused on loading, or need artefacts that are not there")
            }
            Self::Places { covered, blocks } => {
                write!(f, "{covered} of {blocks} blocks find room at offers that take the places in a chain; no memory on one of them alone would be enough")
            }
        }
    }
}

#[cfg(test)]
mod tests;
