//! The chain of least latency in pools that are too large for every set of offers.
//!
//! Without the rule that an offer has one stage at most, the fastest way through the blocks is a shortest path. That is a
//! lower bound, and the estimate of a best-first search (A*) over chains that keep the rule. If the shortest path keeps it
//! anyway, the search ends at once; what it ends with is proved to be the fastest. It gives up after a given amount of work.

use std::{cmp::Ordering, collections::BinaryHeap};

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{
    chains::{Chain, KindStage, offers_by_kind},
    cut::Cost,
    exact::best_of,
    pool::{Kind, Pool, index},
    relaxed::Relaxed,
    score::TIE_RATIO,
    sites, sorting,
};

/// A chain this close to what is proved is proved to be the fastest: rounding.
const PROVED_RATIO: f64 = 1e-8;
/// Most kinds of offers that the search looks at.
const KINDS_MAX: usize = 1_024;
/// Most stages that the search tries to add, about a third of a second in the sandbox.
const STEPS_MAX: u64 = 3_000_000;
/// Most partial chains that the search remembers: they take 28 MiB, and as much again while the lists grow.
const NODES_MAX: usize = 1 << 19;
/// Partial chains kept for each number of blocks and stages, and the kinds that extend them.
const BEAM: usize = 8;
const BEAM_KINDS: usize = 32;
/// Longest chains that the beam looks at, unless more stages are asked for.
const BEAM_STAGES: u32 = 8;

/// A chain and the latency that none goes below.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// The chain.
    pub replica: Replica,
    /// Proved lower bound in milliseconds.
    pub bound_ms: f64,
}

/// The fastest chain that was found, and what is proved of it.
pub fn fastest(pool: &Pool<'_, '_>) -> Option<Found> {
    let mut found: Vec<Replica> = single(pool).into_iter().collect();
    let mut proved = pool.ranges().latency_bound();
    let least_ms = |found: &[Replica]| found.iter().map(|replica| pool.ranges().latency_ms(replica)).fold(f64::INFINITY, f64::min);
    if let Some(by_site) = pool.even().and_then(|even| sites::fastest(pool, even)) {
        if by_site.complete && is_by_site(pool) {
            proved = proved.max(by_site.latency_ms.min(least_ms(&found)) * (1.0 - TIE_RATIO));
        }
        found.push(by_site.replica);
    }
    let holds = |replica: &Replica| pool.ranges().check(std::slice::from_ref(replica)).is_ok() || pool.is_relaxed();
    found.retain(holds);
    if least_ms(&found) > proved * (1.0 + PROVED_RATIO) {
        let kinds = kinds(pool);
        let all = kinds.len() == pool.kinds().len();
        let relaxed = Relaxed::of(pool, &kinds);
        proved = if all { proved.max(relaxed.least_ms()) } else { proved };
        found.extend(beam(pool, &kinds).filter(holds));
        let known_ms = least_ms(&found);
        if known_ms > proved * (1.0 + PROVED_RATIO) {
            let mut search = Search { pool, kinds: &kinds, relaxed: &relaxed, nodes: Vec::new(), open: BinaryHeap::new(), steps: 0, known_ms };
            let (better, bound_ms) = search.run();
            proved = if all { proved.max(bound_ms.min(known_ms)) } else { proved };
            found.extend(better);
        }
    }
    let best = best_of(pool, found.into_iter().map(|replica| vec![replica]).collect())?;
    Some(Found { replica: best.into_iter().next()?, bound_ms: proved })
}

/// Whether hops depend on sites alone.
fn is_by_site(pool: &Pool<'_, '_>) -> bool {
    pool.kinds().iter().all(|kind| !pool.is_crowded(kind.members[0]))
}

/// The kinds that the search looks at: the fastest, if there are many.
fn kinds(pool: &Pool<'_, '_>) -> Vec<u32> {
    let time = |kind: u32| pool.whole_ms(pool.kinds()[kind as usize].members[0]);
    let mut kinds: Vec<u32> = (0..index(pool.kinds().len())).collect();
    sorting::keep_least_by(&mut kinds, KINDS_MAX, &|kind| sorting::rising(time(kind)));
    kinds
}

/// The fastest offer that takes the whole model.
fn single(pool: &Pool<'_, '_>) -> Option<Replica> {
    let whole = |kind: &Kind| Replica { stages: vec![Stage { offer: kind.members[0], start: 0, end: pool.blocks() }] };
    let takes = |replica: &Replica| pool.limits().stages_min <= 1 && pool.fits(replica.stages[0].offer, 0, pool.blocks());
    let all = pool.kinds().iter().map(whole).filter(takes);
    all.min_by(|a, b| pool.ranges().latency_ms(a).total_cmp(&pool.ranges().latency_ms(b)))
}

/// A partial chain.
struct Node {
    cost: Cost,
    border: u32,
    kind: u32,
    start: u32,
    count: u32,
    before: Option<u32>,
}

/// A partial chain in line: the least that it can become.
#[derive(Clone, Copy, PartialEq)]
struct Open {
    estimate_ms: f64,
    node: u32,
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    /// The heap gives out the largest, which must be the least estimate, and of equals what was found first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.estimate_ms.total_cmp(&self.estimate_ms).then(other.node.cmp(&self.node))
    }
}

struct Search<'s, 'r, 'a> {
    pool: &'s Pool<'r, 'a>,
    kinds: &'s [u32],
    relaxed: &'s Relaxed,
    nodes: Vec<Node>,
    open: BinaryHeap<Open>,
    steps: u64,
    known_ms: f64,
}

impl Search<'_, '_, '_> {
    /// A chain that is faster than what is known, if there is one, and the latency that none goes below.
    fn run(&mut self) -> (Option<Replica>, f64) {
        if !self.expand(None) {
            return (None, 0.0);
        }
        while let Some(Open { estimate_ms, node }) = self.open.pop() {
            if estimate_ms >= self.known_ms * (1.0 - TIE_RATIO) {
                return (None, self.known_ms);
            }
            if self.nodes[node as usize].border == self.pool.blocks() {
                return (self.chain(node), estimate_ms);
            }
            if self.steps > STEPS_MAX || !self.expand(Some(node)) {
                return (None, estimate_ms);
            }
        }
        (None, self.known_ms)
    }

    /// Adds every stage that may follow; false if there were more than it may remember.
    fn expand(&mut self, before: Option<u32>) -> bool {
        let (blocks, limits) = (self.pool.blocks(), self.pool.limits());
        let (cost, border, count) = before.map_or((Cost::NONE, 0, 0), |node| {
            let node = &self.nodes[node as usize];
            (node.cost, node.border, node.count)
        });
        if count >= limits.stages_max {
            return true;
        }
        for &kind in self.kinds {
            self.steps += 1;
            let Some((offer, hop_ms)) = self.next_of(kind, before, border) else { continue };
            let arrived = cost.then(hop_ms, 0.0);
            if arrived.latency_ms + self.relaxed.from(kind, border) >= self.known_ms {
                continue;
            }
            for end in border + 1..=self.pool.end(kind, border) {
                self.steps += 1;
                let early = end == blocks && count + 1 < limits.stages_min;
                if early || !self.pool.is_allowed(offer, border, end) {
                    continue;
                }
                let cost = arrived.then(0.0, self.pool.run_ms(kind, border, end));
                let estimate_ms = cost.latency_ms + self.relaxed.after(kind, end);
                if estimate_ms < self.known_ms {
                    if self.nodes.len() == NODES_MAX {
                        return false;
                    }
                    let node = index(self.nodes.len());
                    self.nodes.push(Node { cost, border: end, kind, start: border, count: count + 1, before });
                    self.open.push(Open { estimate_ms, node });
                }
            }
        }
        true
    }

    /// An offer of a kind that the partial chain does not use yet, and the hop to it.
    fn next_of(&self, kind: u32, before: Option<u32>, border: u32) -> Option<(u32, f64)> {
        let members = &self.pool.kinds()[kind as usize].members;
        let mut used = 0;
        let mut at = before;
        while let Some(node) = at {
            let node = &self.nodes[node as usize];
            used += usize::from(node.kind == kind);
            at = node.before;
        }
        let offer = *members.get(used)?;
        let last = before.map(|node| &self.nodes[node as usize]);
        let hop_ms = last.map_or(0.0, |last| {
            // Any member of the last kind stands for it, but not the one that comes next.
            let members = &self.pool.kinds()[last.kind as usize].members;
            let other = if last.kind == kind { members[used - 1] } else { members[0] };
            self.pool.ranges().hop_ms(other, offer, border)
        });
        Some((offer, hop_ms))
    }

    fn chain(&self, node: u32) -> Option<Replica> {
        let mut stages = Vec::new();
        let mut at = Some(node);
        while let Some(node) = at {
            let node = &self.nodes[node as usize];
            stages.push(KindStage { kind: node.kind, start: node.start, end: node.border });
            at = node.before;
        }
        stages.reverse();
        Chain { cost: Cost::NONE, stages }.with_offers(&mut offers_by_kind(self.pool))
    }
}

/// Partial chains with their latency, the best first.
type Partial = Vec<(f64, Vec<KindStage>)>;

/// A chain of low latency: for each number of blocks and stages the few best partial chains are extended.
fn beam(pool: &Pool<'_, '_>, kinds: &[u32]) -> Option<Replica> {
    let (limits, blocks) = (pool.limits(), pool.blocks());
    let stages_max = limits.stages_max.min(BEAM_STAGES.max(limits.stages_min)) as usize;
    let mut beams: Vec<Vec<Partial>> = vec![vec![Vec::new(); stages_max + 1]; blocks as usize + 1];
    beams[0][0].push((0.0, Vec::new()));
    for start in 0..blocks {
        for count in 0..stages_max {
            for (latency_ms, stages) in std::mem::take(&mut beams[start as usize][count]) {
                for &kind in kinds.iter().take(BEAM_KINDS) {
                    let members = &pool.kinds()[kind as usize].members;
                    let used = stages.iter().filter(|stage: &&KindStage| stage.kind == kind).count();
                    let Some(&offer) = members.get(used) else { continue };
                    let other = |last: &KindStage| if last.kind == kind { members[used - 1] } else { pool.kinds()[last.kind as usize].members[0] };
                    let hop_ms = stages.last().map_or(0.0, |last| pool.ranges().hop_ms(other(last), offer, start));
                    for end in start + 1..=pool.end(kind, start) {
                        let early = end == blocks && count + 1 < limits.stages_min as usize;
                        if !early && pool.is_allowed(offer, start, end) {
                            let total_ms = latency_ms + hop_ms + pool.run_ms(kind, start, end);
                            note(&mut beams[end as usize][count + 1], total_ms, &stages, KindStage { kind, start, end });
                        }
                    }
                }
            }
        }
    }
    let complete = beams[blocks as usize].iter().flatten().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let chain = Chain { cost: Cost::NONE, stages: complete.1.clone() };
    chain.with_offers(&mut offers_by_kind(pool))
}

fn note(beam: &mut Partial, latency_ms: f64, stages: &[KindStage], stage: KindStage) {
    let place = beam.partition_point(|known| known.0 <= latency_ms);
    if place >= BEAM {
        return;
    }
    let mut chain = stages.to_vec();
    chain.push(stage);
    beam.insert(place, (latency_ms, chain));
    beam.truncate(BEAM);
}
