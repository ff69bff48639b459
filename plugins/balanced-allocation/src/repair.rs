//! What is changed of a plan instead of making a new one: chains that broke are closed again with what is loaded already,
//! and the rest stays where it is.
//!
//! Offers that still hold shards of a broken chain are put into the order of these, idle offers into the gap between them. A
//! dynamic program over this order finds the chain with the fewest bytes to load, in which any offer may be left out, and
//! halving finds the least bottleneck for which no more than the allowed multiple of that is loaded.

use std::collections::BTreeSet;

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{held::Held, pool::Pool};

/// Idle offers that are put into a gap: the fastest, and those with most memory.
const IDLE_TRIED: usize = 8;
/// Halvings between the bottleneck of the repair with the fewest bytes and the fastest possible.
const HALVINGS: u32 = 8;

/// New replicas from offers that the kept ones leave, each with something that is loaded already.
pub fn repaired(pool: &Pool<'_, '_>, held: &Held, kept: &[Replica], bytes_ratio_max: f64) -> Vec<Replica> {
    let used: BTreeSet<u32> = kept.iter().flat_map(|replica| &replica.stages).map(|stage| stage.offer).collect();
    let mut free: Vec<u32> = pool.usable().into_iter().filter(|offer| !used.contains(offer)).collect();
    let mut repaired = Vec::new();
    while kept.len() + repaired.len() < pool.limits().replicas_max as usize && free.iter().any(|&offer| held.start(offer).is_some()) {
        let Some(replica) = repair(pool, held, &free, bytes_ratio_max) else { break };
        if !replica.stages.iter().any(|stage| held.has(stage)) {
            break;
        }
        free.retain(|offer| replica.stages.iter().all(|stage| stage.offer != *offer));
        repaired.push(replica);
    }
    repaired
}

/// The fewest bytes that a replica from these offers has to load; none if there is no such replica.
pub fn fewest_bytes(pool: &Pool<'_, '_>, held: &Held, free: &[u32]) -> Option<f64> {
    cheapest(pool, held, &order(pool, held, free), f64::INFINITY).map(|(bytes, _)| bytes)
}

fn repair(pool: &Pool<'_, '_>, held: &Held, free: &[u32], bytes_ratio_max: f64) -> Option<Replica> {
    let order = order(pool, held, free);
    let (fewest, mut found) = cheapest(pool, held, &order, f64::INFINITY)?;
    let period_ms = |replica: &Replica| crate::cut::cost_of(pool, &replica.stages).period_ms;
    let (mut low, mut high) = (0.0, period_ms(&found));
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        match cheapest(pool, held, &order, middle) {
            Some((bytes, replica)) if bytes <= fewest * bytes_ratio_max => {
                high = period_ms(&replica).min(middle);
                found = replica;
            }
            _ => low = middle,
        }
    }
    Some(found)
}

/// Offers in the order of what they hold, and idle ones where the first gap is.
fn order(pool: &Pool<'_, '_>, held: &Held, free: &[u32]) -> Vec<u32> {
    let mut holding: Vec<(u32, u32)> = free.iter().filter_map(|&offer| Some((held.start(offer)?, offer))).collect();
    holding.sort_unstable();
    let idle: Vec<u32> = free.iter().copied().filter(|&offer| held.start(offer).is_none()).collect();
    let (mut place, mut covered) = (holding.len(), 0);
    for (position, &(start, offer)) in holding.iter().enumerate() {
        if start > covered {
            place = position;
            break;
        }
        covered = held.ranges(offer).iter().map(|range| range.1).max().unwrap_or(covered).max(covered);
    }
    let mut order: Vec<u32> = holding.into_iter().map(|(_, offer)| offer).collect();
    order.splice(place..place, chosen(pool, idle));
    order
}

/// The idle offers that are worth a try.
fn chosen(pool: &Pool<'_, '_>, mut idle: Vec<u32>) -> Vec<u32> {
    let time = |offer: u32| pool.ranges().run_ms(offer, 0, pool.blocks());
    let size = |offer: u32| pool.memory(offer) / pool.ranges().offer(offer).weight_factor;
    idle.sort_by(|&a, &b| time(a).total_cmp(&time(b)).then(a.cmp(&b)));
    let fast: Vec<u32> = idle.iter().copied().take(IDLE_TRIED).collect();
    idle.sort_by(|&a, &b| size(b).total_cmp(&size(a)).then(a.cmp(&b)));
    let large: Vec<u32> = idle.into_iter().filter(|offer| !fast.contains(offer)).take(IDLE_TRIED).collect();
    [fast, large].concat()
}

/// How a number of blocks was reached with so many stages: the bytes, the last offer by position, and the blocks before it.
#[derive(Clone, Copy)]
struct Reached {
    bytes: f64,
    period_ms: f64,
    last: usize,
    start: u32,
}

/// The chain with the fewest bytes to load within a bottleneck, and of equals the one with the least bottleneck. Stages
/// follow the order of offers; which hops they need is checked on the way.
fn cheapest(pool: &Pool<'_, '_>, held: &Held, order: &[u32], limit_ms: f64) -> Option<(f64, Replica)> {
    let blocks = pool.blocks();
    let limits = pool.limits();
    // By position of the last offer: the best way to each number of blocks.
    let mut rows: Vec<Vec<Option<(Reached, u32)>>> = Vec::new();
    for (position, &offer) in order.iter().enumerate() {
        let mut row = vec![None; blocks as usize + 1];
        for start in 0..blocks {
            let Some((before, count, last)) = arrival(pool, &rows, order, position, start, limit_ms) else { continue };
            if count >= limits.stages_max {
                continue;
            }
            for end in start + 1..=pool.reach(offer, start, limit_ms) {
                let stage = Stage { offer, start, end };
                let early = end == blocks && count + 1 < limits.stages_min;
                if early || !pool.fits(offer, start, end) {
                    continue;
                }
                let bytes = before.bytes + if held.has(&stage) { 0.0 } else { pool.ranges().weight_bytes(start, end) };
                let period_ms = before.period_ms.max(pool.ranges().run_ms(offer, start, end));
                let known: &mut Option<(Reached, u32)> = &mut row[end as usize];
                if known.is_none_or(|(known, _)| (bytes, period_ms) < (known.bytes, known.period_ms)) {
                    *known = Some((Reached { bytes, period_ms, last, start }, count + 1));
                }
            }
        }
        rows.push(row);
    }
    let complete = (0..order.len()).filter_map(|position| rows[position][blocks as usize].map(|(reached, _)| (reached, position)));
    let (best, mut position) = complete.reduce(|a, b| if (b.0.bytes, b.0.period_ms) < (a.0.bytes, a.0.period_ms) { b } else { a })?;
    let (mut stages, mut end) = (Vec::new(), blocks);
    while end > 0 {
        let (reached, _) = rows[position][end as usize]?;
        stages.push(Stage { offer: order[position], start: reached.start, end });
        (end, position) = (reached.start, reached.last);
    }
    stages.reverse();
    Some((best.bytes, Replica { stages }))
}

/// The best way to have so many blocks on offers before a position, with the stages that it takes and its last position.
fn arrival(
    pool: &Pool<'_, '_>,
    rows: &[Vec<Option<(Reached, u32)>>],
    order: &[u32],
    position: usize,
    start: u32,
    limit_ms: f64,
) -> Option<(Reached, u32, usize)> {
    if start == 0 {
        return Some((Reached { bytes: 0.0, period_ms: 0.0, last: 0, start: 0 }, 0, 0));
    }
    let mut best: Option<(Reached, u32, usize)> = None;
    for (before, row) in rows.iter().enumerate() {
        let Some((reached, count)) = row[start as usize] else { continue };
        let hop_ms = pool.ranges().hop_ms(order[before], order[position], start);
        let period_ms = reached.period_ms.max(hop_ms);
        if hop_ms <= limit_ms && best.is_none_or(|(known, _, _)| (reached.bytes, period_ms) < (known.bytes, known.period_ms)) {
            best = Some((Reached { period_ms, ..reached }, count, before));
        }
    }
    best
}
