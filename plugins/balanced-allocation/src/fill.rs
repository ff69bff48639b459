//! Search for pools that are too large for `exact`: fill replicas from the fastest offer on so that no stage takes longer
//! than a target, for some tens of targets; then balance each replica over its offers. For latency, a beam search. Valid
//! plans, good ones usually; no claim that they are the best.

use shardhost_sdk::{
    allocation::{Objective, Replica, Stage},
    problem::{Ledger, Ranges},
};

/// Targets that are tried, and fewer of them in large pools, so that a thousand offers stay far below the deadline.
const TARGETS: u32 = 48;
const TARGETS_LARGE: u32 = 8;
const OFFERS_LARGE: u32 = 64;
/// Partial chains kept for each number of blocks and stages, and the fastest offers that extend them.
const BEAM: usize = 8;
const BEAM_OFFERS: usize = 32;
/// Longest model whose replicas are balanced; the work grows with the square.
const BALANCED_BLOCKS_MAX: u32 = 512;

/// Candidate plans. Each must still pass the check.
pub fn plans(ranges: &Ranges<'_>) -> Vec<Vec<Replica>> {
    let orders = orders(ranges);
    let mut plans = Vec::new();
    for target_ms in targets(ranges) {
        plans.push(fill(ranges, &orders[0], target_ms));
    }
    plans.extend(orders.iter().map(|order| fill(ranges, order, f64::INFINITY)));
    let balanced: Vec<_> = plans.iter().map(|plan| plan.iter().map(|replica| balance(ranges, replica)).collect()).collect();
    plans.extend(balanced);
    let beam = beam(ranges, &orders[0]);
    if ranges.problem().placement.objective == Objective::Latency {
        let single: Vec<_> = plans.iter().flatten().map(|replica| vec![replica.clone()]).collect();
        plans.extend(single);
    }
    plans.extend(beam.map(|replica| vec![replica]));
    plans.retain(|plan| !plan.is_empty());
    plans
}

/// The block that filling by memory stops at: where a refusal says that the trouble begins.
pub fn reach(ranges: &Ranges<'_>) -> u32 {
    let mut chain = Chain { ranges, stages: Vec::new(), ledger: Ledger::new(ranges), target_ms: f64::INFINITY };
    chain.extend_over(&by_memory(ranges));
    chain.next()
}

/// Orders in which offers are filled: fastest first, most memory first, and the order of joining.
fn orders(ranges: &Ranges<'_>) -> Vec<Vec<u32>> {
    let mut joined: Vec<u32> = (0..ranges.offers()).collect();
    joined.sort_by_key(|&offer| (ranges.offer(offer).joined, offer));
    vec![ranges.fastest_first(), by_memory(ranges), joined]
}

fn by_memory(ranges: &Ranges<'_>) -> Vec<u32> {
    let holds = |offer: u32| ranges.offer(offer).memory_bytes / ranges.offer(offer).weight_factor;
    let mut order: Vec<u32> = (0..ranges.offers()).collect();
    order.sort_by(|&a, &b| holds(b).total_cmp(&holds(a)).then(a.cmp(&b)));
    order
}

/// Bottlenecks from the fastest offer on one block to the slowest on all, evenly spaced by ratio.
fn targets(ranges: &Ranges<'_>) -> Vec<f64> {
    let count = if ranges.offers() > OFFERS_LARGE { TARGETS_LARGE } else { TARGETS };
    let whole = |offer: u32| ranges.run_ms(offer, 0, ranges.blocks());
    let (least, most) = (0..ranges.offers()).map(whole).fold((f64::INFINITY, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
    let first = (least / f64::from(ranges.blocks())).max(f64::MIN_POSITIVE);
    let ratio = (most / first).max(1.0);
    (0..count).map(|step| first * ratio.powf(f64::from(step) / f64::from(count - 1))).collect()
}

/// Replicas built one after another until the offers that are left complete none.
fn fill(ranges: &Ranges<'_>, order: &[u32], target_ms: f64) -> Vec<Replica> {
    let mut free = order.to_vec();
    let mut ledger = Ledger::new(ranges);
    let mut replicas = Vec::new();
    while replicas.len() < ranges.problem().placement.replicas_max as usize {
        let mut chain = Chain { ranges, stages: Vec::new(), ledger, target_ms };
        chain.extend_over(&free);
        if chain.next() < ranges.blocks() {
            break;
        }
        ledger = chain.ledger;
        free.retain(|offer| chain.stages.iter().all(|stage| stage.offer != *offer));
        replicas.push(Replica { stages: chain.stages });
    }
    replicas
}

/// A chain under construction.
struct Chain<'r, 'a> {
    ranges: &'r Ranges<'a>,
    stages: Vec<Stage>,
    ledger: Ledger<'r, 'a>,
    target_ms: f64,
}

impl Chain<'_, '_> {
    fn next(&self) -> u32 {
        self.stages.last().map_or(0, |stage| stage.end)
    }

    /// Adds stages from free offers in order, each as long as it may be; the last offer in order that completes the chain
    /// does.
    fn extend_over(&mut self, free: &[u32]) {
        while self.next() < self.ranges.blocks() {
            let unused = || free.iter().copied().filter(|offer| self.stages.iter().all(|stage| stage.offer != *offer));
            let completes = |&offer: &u32| self.takes(offer, self.ranges.blocks());
            let closing = unused().rev().find(completes).map(|offer| Stage { offer, start: self.next(), end: self.ranges.blocks() });
            let Some(stage) = closing.or_else(|| unused().find_map(|offer| self.longest(offer))) else {
                return;
            };
            self.ledger.place(&stage);
            self.stages.push(stage);
        }
    }

    /// Whether an offer can hold the blocks up to `end`, within the target and the placement's limits.
    fn takes(&self, offer: u32, end: u32) -> bool {
        let placement = &self.ranges.problem().placement;
        let (start, blocks) = (self.next(), self.ranges.blocks());
        let count = u32::try_from(self.stages.len()).unwrap_or(u32::MAX) + 1;
        let complete = end == blocks;
        let counted = if complete { (placement.stages_min..=placement.stages_max).contains(&count) } else { count < placement.stages_max };
        counted
            && self.holds(offer, start, end)
            && self.ranges.takes_place(offer, start, end)
            && !self.ranges.excluded(offer, start, end)
            && self.in_time(offer, start, end)
    }

    fn holds(&self, offer: u32, start: u32, end: u32) -> bool {
        self.ranges.need(offer, start, end) <= self.ledger.remaining(offer)
    }

    fn in_time(&self, offer: u32, start: u32, end: u32) -> bool {
        let hop = self.stages.last().map_or(0.0, |last| self.ranges.hop_ms(last.offer, offer, start));
        self.ranges.run_ms(offer, start, end).max(hop) <= self.target_ms
    }

    /// The longest stage on an offer that leaves a block for each further stage that must come.
    fn longest(&self, offer: u32) -> Option<Stage> {
        let count = u32::try_from(self.stages.len()).unwrap_or(u32::MAX) + 1;
        let start = self.next();
        let missing = self.ranges.problem().placement.stages_min.saturating_sub(count);
        let end_max = self.ranges.blocks().checked_sub(missing)?;
        // Memory and time grow with the range, so the largest end is found by halving.
        let (mut low, mut high) = (start, end_max);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.holds(offer, start, middle) && self.in_time(offer, start, middle) { low = middle } else { high = middle - 1 }
        }
        (start + 1..=low).rev().find(|&end| self.takes(offer, end)).map(|end| Stage { offer, start, end })
    }
}

/// The same offers in the same order with the least bottleneck, by a dynamic program over (stage, blocks placed).
fn balance(ranges: &Ranges<'_>, replica: &Replica) -> Replica {
    let blocks = ranges.blocks();
    if blocks > BALANCED_BLOCKS_MAX || replica.stages.len() < 2 {
        return replica.clone();
    }
    let offers: Vec<u32> = replica.stages.iter().map(|stage| stage.offer).collect();
    let mut rows: Vec<Vec<(f64, u32)>> = Vec::new();
    for (index, &offer) in offers.iter().enumerate() {
        let mut row = vec![(f64::INFINITY, 0); blocks as usize + 1];
        let later = u32::try_from(offers.len() - index - 1).unwrap_or(u32::MAX);
        let starts = if index == 0 { 0..1 } else { 1..blocks };
        for start in starts {
            let before = if index == 0 { 0.0 } else { rows[index - 1][start as usize].0.max(ranges.hop_ms(offers[index - 1], offer, start)) };
            if before.is_infinite() {
                continue;
            }
            for end in start + 1..=blocks.saturating_sub(later) {
                let period = before.max(ranges.run_ms(offer, start, end));
                if period < row[end as usize].0 {
                    let complete_in_turn = (end == blocks) == (later == 0);
                    if ranges.need(offer, start, end) > ranges.offer(offer).memory_bytes {
                        break;
                    }
                    if complete_in_turn && ranges.fits(offer, start, end) {
                        row[end as usize] = (period, start);
                    }
                }
            }
        }
        rows.push(row);
    }
    unwind(&offers, &rows, blocks).unwrap_or_else(|| replica.clone())
}

fn unwind(offers: &[u32], rows: &[Vec<(f64, u32)>], blocks: u32) -> Option<Replica> {
    let mut end = blocks;
    let mut stages = Vec::new();
    for (row, &offer) in rows.iter().zip(offers).rev() {
        let (period, start) = row[end as usize];
        if period.is_infinite() {
            return None;
        }
        stages.push(Stage { offer, start, end });
        end = start;
    }
    stages.reverse();
    (end == 0).then_some(Replica { stages })
}

/// Partial chains with their latency, the best first.
type Partial = Vec<(f64, Vec<Stage>)>;

/// A chain of low latency: for each number of blocks and stages the few best partial chains are extended.
fn beam(ranges: &Ranges<'_>, fastest: &[u32]) -> Option<Replica> {
    let placement = &ranges.problem().placement;
    let blocks = ranges.blocks();
    let stages_max = placement.stages_max.min(8.max(placement.stages_min)) as usize;
    let mut beams: Vec<Vec<Partial>> = vec![vec![Vec::new(); stages_max + 1]; blocks as usize + 1];
    beams[0][0].push((0.0, Vec::new()));
    for start in 0..blocks {
        for count in 0..stages_max {
            for (latency, stages) in std::mem::take(&mut beams[start as usize][count]) {
                let unused = |offer: &&u32| stages.iter().all(|stage: &Stage| ranges.pool(stage.offer) != ranges.pool(**offer));
                for &offer in fastest.iter().take(BEAM_OFFERS).filter(unused) {
                    let hop = stages.last().map_or(0.0, |last| ranges.hop_ms(last.offer, offer, start));
                    for end in start + 1..=blocks {
                        if ranges.need(offer, start, end) > ranges.offer(offer).memory_bytes {
                            break;
                        }
                        let early = end == blocks && count + 1 < placement.stages_min as usize;
                        if !early && ranges.fits(offer, start, end) {
                            let total = latency + hop + ranges.run_ms(offer, start, end);
                            note(&mut beams[end as usize][count + 1], total, &stages, Stage { offer, start, end });
                        }
                    }
                }
            }
        }
    }
    let complete = beams[blocks as usize].iter().flatten();
    complete.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, stages)| Replica { stages: stages.clone() })
}

fn note(beam: &mut Partial, latency: f64, stages: &[Stage], stage: Stage) {
    let place = beam.partition_point(|known| known.0 <= latency);
    if place >= BEAM {
        return;
    }
    let mut chain = stages.to_vec();
    chain.push(stage);
    beam.insert(place, (latency, chain));
    beam.truncate(BEAM);
}
