//! What is changed of a plan instead of making a new one: chains that broke are closed again with what is loaded already,
//! and the rest stays where it is.
//!
//! Offers that still hold shards of a broken chain are put into the order of these, idle offers into the gap between them. A
//! dynamic program over this order, or over all orders of a few offers, finds the chain with the fewest bytes to load, in which any
//! offer may be left out, and halving finds the least bottleneck for which no more than the allowed multiple of that is loaded.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{cut::cost_of, delta::groups_of, held::Held, pool::Pool, sorting};

/// Idle offers that are put into a gap: the fastest, and those with most memory.
const IDLE_TRIED: usize = 6;
/// As many offers are tried in any order.
const FEW: usize = 7;
/// Halvings between the bottleneck of the repair with the fewest bytes and the fastest possible.
const HALVINGS: u32 = 6;

/// New replicas from offers that the kept ones leave, each with something that is loaded already. After the first, only those that
/// together with it still load no more than the allowed multiple of the fewest bytes: what there was no room for before is for a review to
/// weigh, and not made good at the next loss.
pub fn repaired(pool: &Pool<'_, '_>, held: &Held, kept: &[Replica], bytes_ratio_max: f64) -> Vec<Replica> {
    let mut free = pool.unused(&groups_of(kept));
    let mut repaired = Vec::new();
    let (mut loaded, mut bytes_max) = (0.0, f64::INFINITY);
    while kept.len() + repaired.len() < pool.limits().replicas_max as usize && free.iter().any(|&offer| held.start(offer).is_some()) {
        let Some(Repair { replica, bytes, fewest }) = repair(pool, held, &free, bytes_ratio_max, bytes_max - loaded) else { break };
        if !replica.stages.iter().any(|stage| held.has(stage)) {
            break;
        }
        if repaired.is_empty() {
            bytes_max = fewest * bytes_ratio_max;
        }
        loaded += bytes;
        free.retain(|offer| replica.stages.iter().all(|stage| stage.offer != *offer));
        repaired.push(replica);
    }
    repaired
}

/// The fewest bytes that a replica from these offers has to load; none if there is no such replica.
pub fn fewest_bytes(pool: &Pool<'_, '_>, held: &Held, free: &[u32]) -> Option<f64> {
    Program::of(pool, held, free).cheapest(Limits::NONE).map(|(bytes, _)| bytes)
}

/// A chain that was closed again.
struct Repair {
    replica: Replica,
    /// What it loads.
    bytes: f64,
    /// The least that any chain from the same offers would load.
    fewest: f64,
}

/// The fastest chain that loads at most the given multiple of the fewest bytes possible, and at most `bytes_max`.
fn repair(pool: &Pool<'_, '_>, held: &Held, free: &[u32], bytes_ratio_max: f64, bytes_max: f64) -> Option<Repair> {
    let program = Program::of(pool, held, free);
    let (fewest, replica) = program.cheapest(Limits { bytes_max, ..Limits::NONE })?;
    let bytes_max = bytes_max.min(fewest * bytes_ratio_max);
    let period_ms = |replica: &Replica| cost_of(pool, &replica.stages).period_ms;
    let (mut low, mut high) = (0.0, period_ms(&replica));
    let mut found = Repair { replica, bytes: fewest, fewest };
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        match program.cheapest(Limits { period_ms: middle, bytes_max }) {
            Some((bytes, replica)) => {
                high = period_ms(&replica).min(middle);
                found = Repair { replica, bytes, fewest };
            }
            None => low = middle,
        }
    }
    Some(found)
}

/// Offers in the order of what they hold, and idle ones where the first gap is.
fn order(pool: &Pool<'_, '_>, held: &Held, free: &[u32]) -> Vec<u32> {
    let (mut order, idle): (Vec<u32>, Vec<u32>) = free.iter().partition(|&&offer| held.start(offer).is_some());
    let start = |offer: u32| held.start(offer).unwrap_or(0);
    sorting::sort_by(&mut order, &|offer| u64::from(start(offer)));
    let (mut place, mut covered) = (order.len(), 0);
    for (position, &offer) in order.iter().enumerate() {
        if start(offer) > covered {
            place = position;
            break;
        }
        covered = held.ranges(offer).iter().map(|range| range.1).max().unwrap_or(covered).max(covered);
    }
    let later = order.split_off(place);
    [order, chosen(pool, &idle), later].concat()
}

/// The idle offers that are worth a try.
fn chosen(pool: &Pool<'_, '_>, idle: &[u32]) -> Vec<u32> {
    let mut fast = idle.to_vec();
    sorting::keep_least_by(&mut fast, IDLE_TRIED, &|offer| sorting::rising(pool.whole_ms(offer)));
    let mut large: Vec<u32> = idle.iter().copied().filter(|offer| !fast.contains(offer)).collect();
    sorting::keep_least_by(&mut large, IDLE_TRIED, &|offer| !pool.size_key(offer));
    [fast, large].concat()
}

/// What a chain may not exceed.
#[derive(Clone, Copy)]
struct Limits {
    /// The slowest stage or hop in milliseconds.
    period_ms: f64,
    /// Bytes to load. Most ways load more early on, and are not followed further.
    bytes_max: f64,
}

impl Limits {
    const NONE: Self = Self { period_ms: f64::INFINITY, bytes_max: f64::INFINITY };
}

/// How a number of blocks was reached with so many stages: the bytes, the last offer by position, and the blocks before it.
#[derive(Clone, Copy)]
struct Reached {
    bytes: f64,
    period_ms: f64,
    last: usize,
    start: u32,
}

/// A way to an entry with the stages that it takes.
type Entry = Option<(Reached, u32)>;

/// The way to so many blocks; rows that nothing leads to are empty.
fn at(row: &[Entry], blocks: u32) -> Entry {
    row.get(blocks as usize).copied().flatten()
}

/// The program over offers in an order, and how far each reaches in memory.
struct Program<'p, 'r, 'a> {
    pool: &'p Pool<'r, 'a>,
    held: &'p Held,
    order: Vec<u32>,
    ends: Vec<Vec<u32>>,
}

impl<'p, 'r, 'a> Program<'p, 'r, 'a> {
    fn of(pool: &'p Pool<'r, 'a>, held: &'p Held, free: &[u32]) -> Self {
        let order = order(pool, held, free);
        let ends = order.iter().map(|&offer| pool.ends_of(offer)).collect();
        Self { pool, held, order, ends }
    }

    /// The chain with the fewest bytes to load within limits, and of equals the one with the least bottleneck.
    fn cheapest(&self, limits: Limits) -> Option<(f64, Replica)> {
        if self.order.len() <= FEW { self.cheapest_in_any_order(limits) } else { self.cheapest_in_order(limits) }
    }

    fn cheapest_in_order(&self, limits: Limits) -> Option<(f64, Replica)> {
        let blocks = self.pool.blocks();
        // By position of the last offer: the best way to each number of blocks.
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        for position in 0..self.order.len() {
            let mut row = vec![None; blocks as usize + 1];
            for start in 0..blocks {
                if let Some(before) = self.arrival(&rows, position, start, limits.period_ms) {
                    self.extend(&mut row, position, start, before, limits);
                }
            }
            rows.push(row);
        }
        let complete = (0..self.order.len()).filter_map(|position| rows[position][blocks as usize].map(|(reached, _)| (reached, position)));
        let (best, mut position) = complete.reduce(|a, b| if (b.0.bytes, b.0.period_ms) < (a.0.bytes, a.0.period_ms) { b } else { a })?;
        let (mut stages, mut end) = (Vec::new(), blocks);
        while end > 0 {
            let (reached, _) = rows[position][end as usize]?;
            stages.push(Stage { offer: self.order[position], start: reached.start, end });
            (end, position) = (reached.start, reached.last);
        }
        stages.reverse();
        Some((best.bytes, Replica { stages }))
    }

    /// Where no offer is idle, those that are left may have to change places.
    fn cheapest_in_any_order(&self, limits: Limits) -> Option<(f64, Replica)> {
        let (blocks, count) = (self.pool.blocks(), self.order.len());
        // By the offers that are used, a bit for each, and the last of them: the best way to each number of blocks.
        let mut rows: Vec<Vec<Vec<Entry>>> = vec![vec![Vec::new(); count]; 1 << count];
        for used in 0..rows.len() {
            let starts = if used == 0 { 0..1 } else { 1..blocks };
            for position in (0..count).filter(|position| used & (1 << position) == 0) {
                let mut row = vec![None; blocks as usize + 1];
                for start in starts.clone() {
                    if let Some(before) = self.arrival(&rows[used], position, start, limits.period_ms) {
                        self.extend(&mut row, position, start, before, limits);
                    }
                }
                rows[used | (1 << position)][position] = row;
            }
        }
        let ways = (0..rows.len()).flat_map(|used| (0..count).map(move |position| (used, position)));
        let complete = ways.filter_map(|(used, position)| Some((at(&rows[used][position], blocks)?.0, used, position)));
        let (best, mut used, mut position) = complete.reduce(|a, b| if (b.0.bytes, b.0.period_ms) < (a.0.bytes, a.0.period_ms) { b } else { a })?;
        let (mut stages, mut end) = (Vec::new(), blocks);
        while end > 0 {
            let (reached, _) = at(&rows[used][position], end)?;
            stages.push(Stage { offer: self.order[position], start: reached.start, end });
            used &= !(1 << position);
            (end, position) = (reached.start, reached.last);
        }
        stages.reverse();
        Some((best.bytes, Replica { stages }))
    }

    /// Notes the stage from a start to each end. Both bytes and time grow with it, but for what is loaded already.
    fn extend(&self, row: &mut [Entry], position: usize, start: u32, (before, count, last): (Reached, u32, usize), most: Limits) {
        let (pool, limits, offer) = (self.pool, self.pool.limits(), self.order[position]);
        if count >= limits.stages_max {
            return;
        }
        let held = self.held.ranges(offer);
        let held_end = held.iter().filter(|range| range.0 == start).map(|range| range.1).max().unwrap_or(0);
        for end in start + 1..=self.ends[position][start as usize] {
            let loads = if held.contains(&(start, end)) { 0.0 } else { pool.ranges().weight_bytes(start, end) };
            let bytes = before.bytes + loads;
            if bytes > most.bytes_max && end > held_end {
                return;
            }
            let known = &mut row[end as usize];
            if bytes > most.bytes_max || known.is_some_and(|(known, _)| bytes > known.bytes) {
                continue;
            }
            let run_ms = pool.ranges().run_ms(offer, start, end);
            if run_ms > most.period_ms {
                return;
            }
            let early = end == pool.blocks() && count + 1 < limits.stages_min;
            if early || !pool.is_allowed(offer, start, end) {
                continue;
            }
            let period_ms = before.period_ms.max(run_ms);
            if known.is_none_or(|(known, _)| (bytes, period_ms) < (known.bytes, known.period_ms)) {
                *known = Some((Reached { bytes, period_ms, last, start }, count + 1));
            }
        }
    }

    /// The best way to have so many blocks on offers before a position, with the stages that it takes and its last position.
    fn arrival(&self, rows: &[Vec<Entry>], position: usize, start: u32, limit_ms: f64) -> Option<(Reached, u32, usize)> {
        if start == 0 {
            return Some((Reached { bytes: 0.0, period_ms: 0.0, last: 0, start: 0 }, 0, 0));
        }
        let mut best: Option<(Reached, u32, usize)> = None;
        for (before, row) in rows.iter().enumerate() {
            let Some((reached, count)) = at(row, start) else { continue };
            if best.is_some_and(|(known, _, _)| (known.bytes, known.period_ms) <= (reached.bytes, reached.period_ms)) {
                continue;
            }
            let hop_ms = self.pool.ranges().hop_ms(self.order[before], self.order[position], start);
            let period_ms = reached.period_ms.max(hop_ms);
            if hop_ms <= limit_ms && best.is_none_or(|(known, _, _)| (reached.bytes, period_ms) < (known.bytes, known.period_ms)) {
                best = Some((Reached { period_ms, ..reached }, count, before));
            }
        }
        best
    }
}
