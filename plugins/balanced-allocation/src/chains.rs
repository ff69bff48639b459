//! The best chain over every set of a small pool, by a dynamic program over (set, place of the last offer, blocks placed).
//! Exact for any model and any links in one criterion; the other decides between equals as far as it is known.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{
    cut::{Cost, Goal},
    lattice::Lattice,
    pool::{Pool, index},
};

/// Most entries of the table; each takes 20 bytes, and a guest has 64 MiB.
const ENTRIES_MAX: f64 = 1.6e6;
/// Most steps, about a fifth of a second in the sandbox.
const STEPS_MAX: f64 = 5e7;

/// A stage whose offer is any of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KindStage {
    /// Index of the kind.
    pub kind: u32,
    /// First block.
    pub start: u32,
    /// One past the last block.
    pub end: u32,
}

/// The best chain of a set.
#[derive(Clone, Debug)]
pub struct Chain {
    /// What it takes.
    pub cost: Cost,
    /// Its stages in order.
    pub stages: Vec<KindStage>,
}

impl Chain {
    /// With offers that are still to be had of each kind, which are taken.
    pub fn with_offers(&self, free: &mut [Vec<u32>]) -> Option<Replica> {
        let stage = |stage: &KindStage| Some(Stage { offer: free.get_mut(stage.kind as usize)?.pop()?, start: stage.start, end: stage.end });
        Some(Replica { stages: self.stages.iter().map(stage).collect::<Option<_>>()? })
    }
}

/// Offers of each kind, so that the last of a list is the one with the least id.
pub fn offers_by_kind(pool: &Pool<'_, '_>) -> Vec<Vec<u32>> {
    pool.kinds().iter().map(|kind| kind.members.iter().rev().copied().collect()).collect()
}

/// What the program asks often, computed once.
#[derive(Debug)]
pub struct Tables<'l> {
    lattice: &'l Lattice,
    blocks: u32,
    stages_min: u32,
    stages_max: u32,
    /// By kind: index of its place. Offers of one place reach every other place alike.
    places: Vec<u32>,
    places_count: u32,
    /// By place, place and border; the diagonal is for two offers of one place.
    hops_ms: Vec<f64>,
    /// By kind, start and end; infinite where the range may not be put there.
    runs_ms: Vec<f64>,
    /// By kind and start: the largest end that fits in memory.
    ends: Vec<u32>,
}

/// How an entry was reached: the place before it, the kind of its last stage, and where that starts.
#[derive(Clone, Copy)]
struct Step {
    place: u8,
    kind: u8,
    start: u16,
}

impl<'l> Tables<'l> {
    /// For a small pool; none if the program would take too long or too much memory.
    pub fn of(pool: &Pool<'_, '_>, lattice: &'l Lattice) -> Option<Self> {
        let (blocks, kinds) = (pool.blocks(), lattice.kinds());
        let first: Vec<u32> = pool.kinds().iter().map(|kind| kind.members[0]).collect();
        let (places, shown) = places(pool, &first);
        let places_count = index(shown.len());
        let entries = f64::from(lattice.size()) * f64::from(places_count) * f64::from(blocks + 1);
        if entries > ENTRIES_MAX || kinds > u32::from(u8::MAX) || blocks > u32::from(u16::MAX) {
            return None;
        }
        let ends: Vec<u32> = (0..kinds).flat_map(|kind| (0..blocks).map(move |start| pool.end(kind, start))).collect();
        let lengths: f64 = ends.iter().zip((0..blocks).cycle()).map(|(&end, start)| f64::from(end - start)).sum();
        let steps = f64::from(lattice.size()) * (lengths + f64::from(kinds) * f64::from(places_count) * f64::from(blocks)) / 2.0;
        if steps > STEPS_MAX {
            return None;
        }
        let limits = pool.limits();
        let mut tables = Self {
            lattice,
            blocks,
            stages_min: limits.stages_min,
            stages_max: limits.stages_max,
            places,
            places_count,
            hops_ms: Vec::new(),
            runs_ms: vec![f64::INFINITY; (kinds * blocks * (blocks + 1)) as usize],
            ends,
        };
        for (kind, &offer) in (0..).zip(&first) {
            for start in 0..blocks {
                for end in start + 1..=tables.ends[(kind * blocks + start) as usize] {
                    if pool.fits(offer, start, end) {
                        let entry = tables.run(kind, start, end);
                        tables.runs_ms[entry] = pool.ranges().run_ms(offer, start, end);
                    }
                }
            }
        }
        for &(one, other) in &shown {
            for &(next, _) in &shown {
                let target = if one == next { other.unwrap_or(next) } else { next };
                tables.hops_ms.extend((0..blocks).map(|border| pool.ranges().hop_ms(one, target, border)));
            }
        }
        Some(tables)
    }

    fn run(&self, kind: u32, start: u32, end: u32) -> usize {
        ((kind * self.blocks + start) * (self.blocks + 1) + end) as usize
    }

    fn entry(&self, set: u32, place: u32, end: u32) -> usize {
        ((set * self.places_count + place) * (self.blocks + 1) + end) as usize
    }

    /// The best chain of each set whose offers all have a stage in it, and as many stages as are allowed.
    pub fn chains(&self, goal: Goal) -> Vec<Option<Chain>> {
        let entries = self.lattice.size() as usize * (self.places_count * (self.blocks + 1)) as usize;
        let mut costs = vec![Cost::ENDLESS; entries];
        let mut steps = vec![Step { place: 0, kind: 0, start: 0 }; entries];
        let mut before = Vec::new();
        for set in 0..self.lattice.size() {
            if self.lattice.members(set) >= self.stages_max {
                continue;
            }
            for kind in 0..self.lattice.kinds() {
                if let Some(next) = self.lattice.with(set, kind) {
                    self.arrivals(&costs, set, kind, goal, &mut before);
                    self.extend((&mut costs, &mut steps), &before, (next, kind), goal);
                }
            }
        }
        let allowed = |set: &u32| (self.stages_min..=self.stages_max).contains(&self.lattice.members(*set));
        (0..self.lattice.size()).map(|set| allowed(&set).then(|| self.chain(&costs, &steps, set, goal)).flatten()).collect()
    }

    /// What it costs at best to have the first blocks on a set and to come to an offer of a kind with them; by border, with
    /// the place that it comes from.
    fn arrivals(&self, costs: &[Cost], set: u32, kind: u32, goal: Goal, before: &mut Vec<(Cost, u8)>) {
        before.clear();
        before.resize(self.blocks as usize, (Cost::ENDLESS, 0));
        if set == 0 {
            before[0].0 = Cost::NONE;
            return;
        }
        for place in 0..self.places_count {
            let row = &costs[self.entry(set, place, 0)..self.entry(set, place, self.blocks)];
            let hops = ((place * self.places_count + self.places[kind as usize]) * self.blocks) as usize;
            for ((cost, known), hop_ms) in row.iter().zip(before.iter_mut()).zip(&self.hops_ms[hops..]) {
                if cost.is_finite() {
                    let arrived = cost.then(*hop_ms, 0.0);
                    if arrived.beats(known.0, goal) {
                        *known = (arrived, place as u8);
                    }
                }
            }
        }
    }

    /// Adds a stage of every possible length on an offer of a kind.
    fn extend(&self, (costs, steps): (&mut [Cost], &mut [Step]), before: &[(Cost, u8)], (next, kind): (u32, u32), goal: Goal) {
        let base = self.entry(next, self.places[kind as usize], 0);
        for (start, &(arrived, place)) in (0..).zip(before).filter(|(_, (cost, _))| cost.is_finite()) {
            let end = self.ends[(kind * self.blocks + start) as usize];
            let runs = self.run(kind, start, 0);
            for end in start + 1..=end {
                let run_ms = self.runs_ms[runs + end as usize];
                let (cost, known) = (arrived.then(0.0, run_ms), &mut costs[base + end as usize]);
                if run_ms.is_finite() && cost.beats(*known, goal) {
                    *known = cost;
                    steps[base + end as usize] = Step { place, kind: kind as u8, start: start as u16 };
                }
            }
        }
    }

    fn chain(&self, costs: &[Cost], steps: &[Step], set: u32, goal: Goal) -> Option<Chain> {
        let at = |place: u32| costs[self.entry(set, place, self.blocks)];
        let mut place = (0..self.places_count).reduce(|best, next| if at(next).beats(at(best), goal) { next } else { best })?;
        let cost = Some(at(place)).filter(|cost| cost.is_finite())?;
        let mut stages = Vec::new();
        let (mut rest, mut end) = (set, self.blocks);
        while end > 0 {
            let step = steps[self.entry(rest, place, end)];
            let kind = u32::from(step.kind);
            stages.push(KindStage { kind, start: u32::from(step.start), end });
            rest -= self.lattice.with(0, kind).unwrap_or(0);
            (place, end) = (u32::from(step.place), u32::from(step.start));
        }
        stages.reverse();
        Some(Chain { cost, stages })
    }
}

/// For each kind its place, and for each place an offer there, and another if it has one.
fn places(pool: &Pool<'_, '_>, first: &[u32]) -> (Vec<u32>, Vec<(u32, Option<u32>)>) {
    let mut keys: Vec<(bool, u32)> = Vec::new();
    let mut shown: Vec<(u32, Option<u32>)> = Vec::new();
    let mut places = Vec::new();
    for (kind, &offer) in pool.kinds().iter().zip(first) {
        let key = if pool.is_crowded(offer) { (true, pool.device(offer)) } else { (false, pool.site(offer)) };
        let known = keys.iter().position(|&other| other == key);
        let place = known.unwrap_or_else(|| {
            keys.push(key);
            shown.push((offer, None));
            keys.len() - 1
        });
        if shown[place].1.is_none() {
            shown[place].1 = if known.is_some() { Some(offer) } else { kind.members.get(1).copied() };
        }
        places.push(index(place));
    }
    (places, shown)
}
