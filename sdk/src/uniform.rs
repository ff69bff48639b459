//! The uniform view of a problem: a model of equal blocks, something more in the first and in the last of them (an
//! embedding, an output head), and offers that each have a speed and room for so many blocks. Systems that know only
//! layers see a model so; a policy that computes as they do starts here. What it plans must still be proved on the real
//! blocks, which [`Uniform::filled`] and [`Ranges::prove`] do.

mod filling;
mod joining;

use std::collections::BTreeMap;

use crate::{
    allocation::{Refusal, Replica, Roles, Stage},
    problem::Ranges,
};

pub use filling::{Unfilled, water_fill};
pub use joining::{Held, join};

/// More blocks than any model has; sums over all offers stay far from overflowing.
const ROOM_MAX: f64 = 4_294_967_296.0;
/// The least time of a whole model, in milliseconds, that is told apart from none.
const TIME_MS_MIN: f64 = 1e-9;
/// The longest that is told apart from for ever.
const TIME_MS_MAX: f64 = 1e15;

/// How many blocks an offer holds, by what it holds besides. 0 or less where that alone leaves no room for a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Blocks from the middle of the model.
    pub plain: i64,
    /// With what the first block has more than those.
    pub first: i64,
    /// With what the last block has more than those.
    pub last: i64,
    /// With both; weights that both read count once.
    pub whole: i64,
}

/// An offer in the uniform view.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Member {
    /// Index into the problem's offers.
    pub offer: u32,
    /// What it holds.
    pub room: Room,
    /// How fast it is: whole models per millisecond.
    pub rate: f64,
    /// Bytes that the model may use of its memory.
    pub memory_bytes: f64,
}

/// A problem in the uniform view.
#[derive(Debug)]
pub struct Uniform<'r, 'a> {
    ranges: &'r Ranges<'a>,
    members: Vec<Member>,
}

/// One offer of each memory pool, the fastest, in the order of joining. Offers of one device joined together; among them
/// the order is that of their ids.
pub fn join_order(ranges: &Ranges<'_>) -> Vec<u32> {
    let mut fastest: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for offer in 0..ranges.offers() {
        let best = fastest.entry(ranges.pool(offer)).or_insert(offer);
        if rate(ranges, offer) > rate(ranges, *best) {
            *best = offer;
        }
    }
    let mut order: Vec<u32> = fastest.into_values().collect();
    order.sort_by_key(|&offer| (ranges.offer(offer).joined, offer));
    order
}

/// Whole models per millisecond on an offer, with what other models leave of its time.
pub fn rate(ranges: &Ranges<'_>, offer: u32) -> f64 {
    1.0 / ranges.run_ms(offer, 0, ranges.blocks()).clamp(TIME_MS_MIN, TIME_MS_MAX)
}

impl<'r, 'a> Uniform<'r, 'a> {
    /// The members are the offers of [`join_order`] that take every place in a chain and have room for a block.
    pub fn new(ranges: &'r Ranges<'a>) -> Self {
        let offers = if ranges.blocks() == 0 { Vec::new() } else { join_order(ranges) };
        let everywhere = Roles::HEAD | Roles::BODY | Roles::TAIL;
        let member = |offer| Member { offer, room: room(ranges, offer), rate: rate(ranges, offer), memory_bytes: ranges.offer(offer).memory_bytes };
        let members = offers.into_iter().filter(|&offer| ranges.offer(offer).roles.contains(everywhere)).map(member);
        Self { ranges, members: members.filter(|member| member.room.plain > 0).collect() }
    }

    /// In the order of joining.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many blocks the model has.
    pub fn blocks(&self) -> i64 {
        i64::from(self.ranges.blocks())
    }

    /// Stages one after another, by indexes of members and the blocks that each takes; those that take none are left out.
    pub fn stages(&self, counts: &[(usize, i64)]) -> Vec<Stage> {
        let mut next = 0;
        let mut stages = Vec::new();
        for &(member, count) in counts {
            let count = u32::try_from(count).unwrap_or(0);
            if count > 0 {
                stages.push(Stage { offer: self.members[member].offer, start: next, end: next + count });
                next += count;
            }
        }
        stages
    }

    /// Splits the blocks over each chain of members by water-filling, and keeps the replicas that the host would accept:
    /// one that does not fit takes only itself down. Refuses if a chain has too little room or no replica is left.
    pub fn filled(&self, chains: &[Vec<usize>]) -> Result<Vec<Replica>, Refusal> {
        let mut replicas = Vec::new();
        let mut refused = None;
        for chain in chains {
            let counts = water_fill(&self.members, chain, self.blocks()).map_err(|unfilled| self.unfilled(&unfilled))?;
            match self.ranges.prove(self.stages(&counts)) {
                Ok(replica) => replicas.push(replica),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        if replicas.is_empty() { Err(refused.unwrap_or_else(|| self.short(1))) } else { Ok(replicas) }
    }

    /// A refusal for want of room for so many blocks: names the member with the most room, and the bytes for them on it.
    pub fn short(&self, missing: i64) -> Refusal {
        let roomiest = (0..self.members.len()).rev().max_by_key(|&member| self.members[member].room.plain);
        roomiest.map_or_else(|| self.ranges.shortfall(0), |member| self.unfilled(&Unfilled { member, missing }))
    }

    /// The refusal for a chain that cannot be filled.
    fn unfilled(&self, unfilled: &Unfilled) -> Refusal {
        let offer = self.members[unfilled.member].offer;
        let (model, id) = (&self.ranges.problem().model, &self.ranges.offer(offer).id);
        let short_bytes = (block_bytes(self.ranges, offer) * f64::from(i32::try_from(unfilled.missing).unwrap_or(i32::MAX))).ceil();
        let reason = if unfilled.missing > 0 {
            let (missing, blocks, offers) = (unfilled.missing, self.blocks(), self.members.len());
            format!("{missing} of the {blocks} blocks of {model} find no room in a chain of {offers} offers: {id} would need {short_bytes:.0} bytes more")
        } else {
            format!("the blocks of {model} cannot be split by speed: {id} and the others of its chain are too unlike")
        };
        Refusal { reason, nearest: Some(offer), short_bytes }
    }

    /// Lets the members that no replica uses join as [`join`] says. One whose blocks are just those of a stage makes
    /// another replica with the other stages there, while the placement allows more; a plan cannot say the others, which
    /// are returned as attributes.
    pub fn join(&self, replicas: &mut Vec<Replica>) -> Vec<(String, String)> {
        let index: BTreeMap<u32, usize> = self.members.iter().enumerate().map(|(index, member)| (member.offer, index)).collect();
        let stages = replicas.iter().flat_map(|replica| &replica.stages);
        let held: Vec<Held> = stages.map(|stage| Held { member: index[&stage.offer], start: stage.start.into(), end: stage.end.into() }).collect();
        let mut left_over = Vec::new();
        for joined in join(&self.members, self.blocks(), &held) {
            let offer = self.members[joined.member].offer;
            match self.beside(replicas, offer, &joined) {
                Some(replica) => replicas.push(replica),
                None => left_over.push(("left-over".to_owned(), format!("{} [{}..{})", self.ranges.offer(offer).id, joined.start, joined.end))),
            }
        }
        left_over
    }

    /// A replica that is there already with another offer for the stage of just these blocks.
    fn beside(&self, replicas: &[Replica], offer: u32, joined: &Held) -> Option<Replica> {
        let same = |stage: &Stage| (i64::from(stage.start), i64::from(stage.end)) == (joined.start, joined.end);
        let like = replicas.iter().find(|replica| replica.stages.iter().any(same))?;
        let stages = like.stages.iter().map(|stage| if same(stage) { Stage { offer, ..*stage } } else { *stage }).collect();
        let allowed = replicas.len() < self.ranges.problem().placement.replicas_max as usize;
        allowed.then(|| self.ranges.prove(stages).ok()).flatten()
    }
}

/// Bytes of one block of the middle on an offer, the mean; of all blocks where the model has no middle.
fn block_bytes(ranges: &Ranges<'_>, offer: u32) -> f64 {
    let blocks = ranges.blocks();
    let (start, end) = if blocks > 2 { (1, blocks - 1) } else { (0, blocks) };
    own_bytes(ranges, offer, start, end) / f64::from(end - start)
}

/// Bytes of blocks start..end on an offer without workspace and what a shard takes besides.
fn own_bytes(ranges: &Ranges<'_>, offer: u32, start: u32, end: u32) -> f64 {
    ranges.need(offer, start, end) - ranges.workspace_bytes(start, end) - ranges.offer(offer).fixed_bytes
}

fn room(ranges: &Ranges<'_>, offer: u32) -> Room {
    let blocks = ranges.blocks();
    let block = block_bytes(ranges, offer);
    let free = ranges.offer(offer).memory_bytes - ranges.offer(offer).fixed_bytes - ranges.workspace_bytes(0, blocks);
    let more = |index: u32| (own_bytes(ranges, offer, index, index + 1) - block).max(0.0);
    let (first, last) = (more(0), more(blocks - 1));
    let tied = ranges.problem().shared_weights.iter().filter(|weight| weight.blocks.contains(&0) && weight.blocks.contains(&(blocks - 1)));
    let tied = tied.map(|weight| weight.bytes).sum::<f64>() * ranges.offer(offer).weight_factor;
    let both = (first + last - tied).max(first).max(last);
    let count = |bytes: f64| {
        // Blocks without weights take no room: any number fits where anything does.
        let blocks = if block > 0.0 { (bytes / block).floor() } else { ROOM_MAX.copysign(bytes) };
        blocks.clamp(-ROOM_MAX, ROOM_MAX) as i64
    };
    Room { plain: count(free), first: count(free - first), last: count(free - last), whole: count(free - both) }
}

#[cfg(test)]
mod tests;
