//! What no plan exceeds: the certificate that goes with each proposal.
//!
//! Blocks get shares x of the work that sum up to 1. An offer that takes at least `c` milliseconds for all of the work by
//! these shares, and `d` besides, holds at most a share `m` in memory. Then in each request it does at most `m`, and a
//! replica that it belongs to takes at least `d + c * x` for it; so it adds at most `m / (d + c * m)` to the throughput.
//! That holds for every choice of shares; the least of a few choices is taken. With equal offers and blocks it is the
//! sum of 1/t over L.

use shardhost_sdk::{allocation::Roles, problem::Ranges};

use crate::{
    pool::{Kind, Pool, index},
    sorting,
};

/// What is proved of throughput, in requests per millisecond.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// No plan answers more.
    pub any: f64,
    /// No plan does in which an offer has one stage at most, as all plans of this plugin.
    pub disjoint: f64,
}

/// An offer under a choice of shares.
struct Part {
    fixed_ms: f64,
    work_ms: f64,
    most: f64,
    offers: f64,
}

impl Part {
    /// Milliseconds for as much as it holds.
    fn full_ms(&self) -> f64 {
        self.fixed_ms + self.work_ms * self.most
    }

    /// The share that it does within a time.
    fn within(&self, limit_ms: f64) -> f64 {
        if limit_ms >= self.full_ms() { self.most } else { ((limit_ms - self.fixed_ms) / self.work_ms).max(0.0) }
    }
}

/// Halvings of the least bottleneck.
const HALVINGS: u32 = 30;

/// For throughput; 0 if nothing is proved. The pool must give each offer all of its memory.
pub fn throughput(pool: &Pool<'_, '_>) -> Bounds {
    let ranges = pool.ranges();
    let shown = shown(pool);
    let time_of = |kind: &Kind| shown.iter().map(|&block| block_ms(ranges, kind.members[0], block)).collect();
    let times: Vec<Vec<f64>> = pool.kinds().iter().map(time_of).collect();
    let none = Bounds { any: f64::INFINITY, disjoint: f64::INFINITY };
    let found = shares(pool, &times, &shown).iter().fold(none, |least, shares| {
        let bounds = of_shares(pool, &times, shares);
        Bounds { any: least.any.min(bounds.any), disjoint: least.disjoint.min(bounds.disjoint) }
    });
    let known = |value: f64| if value.is_finite() { value } else { 0.0 };
    Bounds { any: known(found.any), disjoint: known(found.disjoint) }
}

/// Blocks that stand for all: each for itself, or the first, the second for all between, and the last.
fn shown(pool: &Pool<'_, '_>) -> Vec<u32> {
    let blocks = pool.blocks();
    if pool.even().is_some() { vec![0, 1, blocks - 1] } else { (0..blocks).collect() }
}

/// Where a block stands in the list of those that are shown.
fn position(shown: usize, blocks: u32, block: u32) -> usize {
    match block {
        _ if shown == blocks as usize => block as usize,
        0 => 0,
        _ => 1 + usize::from(block + 1 == blocks),
    }
}

/// Milliseconds that a block adds to a stage at least: weights that blocks share may be there already.
fn block_ms(ranges: &Ranges<'_>, offer: u32, block: u32) -> f64 {
    let known = ranges.offer(offer);
    let (cost, block) = (&known.cost, &ranges.problem().blocks[block as usize]);
    let free = 1.0 - known.busy_ratio.clamp(0.0, 0.99);
    (cost.gflop_ms * block.flops / 1e9 + cost.weight_mb_ms * block.weight_bytes / 1e6 + cost.activation_mb_ms * block.activation_bytes / 1e6) / free
}

/// Choices of shares, for each block that is shown: by what it takes on all offers together, on the fastest for it, and
/// equal ones.
fn shares(pool: &Pool<'_, '_>, times: &[Vec<f64>], shown: &[u32]) -> Vec<Vec<f64>> {
    let together = |block: usize| {
        let speed: f64 = times.iter().zip(pool.kinds()).map(|(times, kind)| kind.members.len() as f64 / times[block].max(f64::MIN_POSITIVE)).sum();
        1.0 / speed
    };
    let fastest = |block: usize| times.iter().map(|times| times[block]).fold(f64::INFINITY, f64::min);
    let all = 0..shown.len();
    let mut choices = vec![all.clone().map(together).collect::<Vec<f64>>(), all.clone().map(fastest).collect(), all.map(|_| 1.0).collect()];
    for choice in &mut choices {
        let sum: f64 = (0..pool.blocks()).map(|block| choice[position(shown.len(), pool.blocks(), block)]).sum();
        choice.iter_mut().for_each(|share| *share /= sum);
    }
    choices.retain(|choice| choice.iter().all(|share| share.is_finite()));
    choices
}

/// The longest ranges that an offer holds. Where inner blocks are alike, one from each end and one between.
fn longest(pool: &Pool<'_, '_>, offer: u32) -> impl Iterator<Item = (u32, u32)> {
    let blocks = pool.blocks();
    let kind = pool.kind_of(offer);
    let ranges: Vec<(u32, u32)> = match pool.even() {
        Some(even) => {
            let lines = even.lines(offer);
            let fits = |role: Roles| pool.ranges().offer(offer).roles.contains(role);
            // Places that the offer's roles rule out count as if they did not, which only raises the bound.
            let inner = if fits(Roles::BODY) { lines.inner.most } else { blocks - 2 };
            let head = if fits(Roles::HEAD) { lines.head.most } else { blocks - 1 };
            let tail = if fits(Roles::TAIL) { lines.tail.most } else { blocks - 1 };
            let whole = if pool.holds(offer, 0, blocks) { blocks } else { head };
            vec![(0, whole), (1, 1 + inner), (blocks - tail, blocks)]
        }
        None => (0..blocks).map(|start| (start, pool.end(kind, start))).collect(),
    };
    ranges.into_iter()
}

fn of_shares(pool: &Pool<'_, '_>, times: &[Vec<f64>], shares: &[f64]) -> Bounds {
    let mut sums = vec![0.0];
    (0..pool.blocks()).for_each(|block| sums.push(sums[block as usize] + shares[position(shares.len(), pool.blocks(), block)]));
    let part = |(kind, times): (&Kind, &Vec<f64>)| {
        let offer = kind.members[0];
        let known = pool.ranges().offer(offer);
        let work_ms = shares.iter().zip(times).filter(|(share, _)| **share > 0.0).map(|(share, time)| time / share).fold(f64::INFINITY, f64::min);
        let most = longest(pool, offer).map(|(start, end)| sums[end as usize] - sums[start as usize]).fold(0.0, f64::max);
        let fixed_ms = known.cost.fixed_ms / (1.0 - known.busy_ratio.clamp(0.0, 0.99));
        Part { fixed_ms, work_ms, most: most.min(1.0), offers: kind.members.len() as f64 }
    };
    let parts: Vec<Part> = pool.kinds().iter().zip(times).map(part).collect();
    let least_ms = least_period_ms(&parts, pool.limits().stages_max);
    let chains = f64::from(pool.limits().replicas_max) / least_ms;
    let rate = |part: &Part, at_least: f64| if part.most > 0.0 { part.offers * part.most / part.full_ms().max(at_least) } else { 0.0 };
    let any: f64 = parts.iter().map(|part| rate(part, 0.0)).sum();
    let disjoint: f64 = parts.iter().map(|part| rate(part, least_ms)).sum();
    // Rounding must not make the bound less than what reaches it.
    let safe = |value: f64| value.min(chains) * (1.0 + 1e-9);
    Bounds { any: safe(any), disjoint: safe(disjoint) }
}

/// The bottleneck that no chain goes below: that of the most stages that are allowed, each doing as much as it can.
fn least_period_ms(parts: &[Part], stages: u32) -> f64 {
    let mut among: Vec<u32> = (0..index(parts.len())).collect();
    let (mut low, mut high) = (0.0_f64, parts.iter().map(Part::full_ms).filter(|ms| ms.is_finite()).fold(0.0, f64::max));
    if done(parts, &among, high, stages).0 < 1.0 - 1e-9 {
        // No chain holds the model, so nothing is gained by a tighter bound.
        return 0.0;
    }
    let mut floor = f64::NEG_INFINITY;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        let (share, least) = done(parts, &among, middle, stages);
        if share >= 1.0 - 1e-9 {
            high = middle;
        } else {
            low = middle;
            floor = least * (1.0 - 1e-9);
        }
        // Who does less in the longer time than all that count do in the shorter one never counts between the two.
        among.retain(|&part| parts[part as usize].within(high) >= floor);
    }
    low
}

/// The share of the work that so many stages do within a time, on those that do most, and the least that one of these does:
/// below any if there are fewer than stages.
fn done(parts: &[Part], among: &[u32], limit_ms: f64, stages: u32) -> (f64, f64) {
    let share = |part: u32| parts[part as usize].within(limit_ms);
    let mut order = among.to_vec();
    // Each kind has an offer at least, so no more kinds than stages count.
    sorting::keep_least_by(&mut order, stages as usize, &|part| sorting::falling(share(part)));
    let (mut left, mut sum, mut least) = (f64::from(stages), 0.0, f64::NEG_INFINITY);
    for &part in &order {
        let used = parts[part as usize].offers.min(left);
        sum += share(part) * used;
        left -= used;
        least = share(part);
    }
    (sum, if order.len() == stages as usize { least } else { f64::NEG_INFINITY })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn who_is_not_looked_at_any_more_would_not_have_counted(
            parts in prop::collection::vec((0.0_f64..5.0, 0.1_f64..100.0, 0.01_f64..1.0, 1_u32..4), 1..60),
            stages in 1_u32..20,
        ) {
            let part = |(fixed_ms, work_ms, most, offers): (f64, f64, f64, u32)| Part { fixed_ms, work_ms, most, offers: f64::from(offers) };
            let parts: Vec<Part> = parts.into_iter().map(part).collect();
            let all: Vec<u32> = (0..index(parts.len())).collect();
            let is_done = |limit_ms: f64| done(&parts, &all, limit_ms, stages).0 >= 1.0 - 1e-9;
            let (mut low, mut high) = (0.0, parts.iter().map(Part::full_ms).fold(0.0, f64::max));
            for _ in 0..if is_done(high) { HALVINGS } else { 0 } {
                let middle = f64::midpoint(low, high);
                if is_done(middle) { high = middle } else { low = middle }
            }
            prop_assert_eq!(least_period_ms(&parts, stages), low);
        }
    }
}
