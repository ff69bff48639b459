//! Filling where blocks differ: replicas are built block by block from the start, each stage on the offer that takes most
//! of the work within the target, the last on the one that is slowest and still completes the chain.

use crate::{pool::Pool, sorting};

/// Offers from each end of the order that are looked at for a stage.
const LOOKED_AT: usize = 24;

/// Sets of offers whose chains stay within a bottleneck, as far as filling finds them, each with the bottleneck that it has.
pub fn fill(pool: &Pool<'_, '_>, offers: &[u32], limit_ms: f64) -> Vec<(Vec<u32>, f64)> {
    let mut free = Free { order: fastest_first(pool, offers), used: vec![false; pool.ranges().offers() as usize], first: 0, last: offers.len() };
    let mut groups = Vec::new();
    while groups.len() < pool.limits().replicas_max as usize {
        let Some(group) = replica(pool, &mut free, limit_ms) else { break };
        groups.push(group);
    }
    groups
}

/// Offers that are in no replica yet, fastest first.
struct Free {
    order: Vec<u32>,
    used: Vec<bool>,
    first: usize,
    last: usize,
}

impl Free {
    fn take(&mut self, offer: u32) {
        self.used[offer as usize] = true;
        while self.first < self.last && self.used[self.order[self.first] as usize] {
            self.first += 1;
        }
        while self.first < self.last && self.used[self.order[self.last - 1] as usize] {
            self.last -= 1;
        }
    }

    /// The fastest that may come next, and the slowest, each from its end of the order on.
    fn looked_at(&self, may_come: impl Fn(u32) -> bool) -> (Vec<u32>, Vec<u32>) {
        let open = |offer: &&u32| !self.used[**offer as usize] && may_come(**offer);
        let left = &self.order[self.first..self.last];
        (left.iter().filter(open).take(LOOKED_AT).copied().collect(), left.iter().rev().filter(open).take(LOOKED_AT).copied().collect())
    }
}

/// One chain from the free offers; none if they do not complete one.
fn replica(pool: &Pool<'_, '_>, free: &mut Free, limit_ms: f64) -> Option<(Vec<u32>, f64)> {
    let (limits, blocks) = (pool.limits(), pool.blocks());
    let mut group: Vec<u32> = Vec::new();
    let (mut next, mut period_ms) = (0, 0.0_f64);
    while next < blocks {
        let count = group.len() as u32 + 1;
        let later = limits.stages_min.saturating_sub(count);
        let last = group.last().copied();
        let hop_ms = |offer: u32| last.map_or(0.0, |last| pool.ranges().hop_ms(last, offer, next));
        let (fast, slow) = free.looked_at(|offer| hop_ms(offer) <= limit_ms);
        let reach = |offer: u32| pool.end_within(pool.kind_of(offer), next, limit_ms);
        let completes = |offer: &u32| reach(*offer) == blocks && pool.is_allowed(*offer, next, blocks);
        let closing = if later == 0 { slow.iter().chain(fast.iter().rev()).copied().find(completes) } else { None };
        if closing.is_none() && count >= limits.stages_max {
            return None;
        }
        let longest = |offer: u32| {
            let end = reach(offer).min(blocks - later.max(1).min(blocks));
            (next + 1..=end).rev().find(|&end| pool.is_allowed(offer, next, end)).unwrap_or(next)
        };
        let stage = closing.map(|offer| (blocks, offer)).or_else(|| {
            let stages = fast.iter().chain(&slow).map(|&offer| (longest(offer), offer));
            stages.reduce(|best, one| if one.0 > best.0 { one } else { best }).filter(|stage| stage.0 > next)
        });
        let (end, offer) = stage?;
        period_ms = period_ms.max(hop_ms(offer)).max(pool.run_ms(pool.kind_of(offer), next, end));
        free.take(offer);
        group.push(offer);
        next = end;
    }
    Some((group, period_ms))
}

/// Offers from the one that would run the whole model fastest to the slowest; equals in order of their ids.
fn fastest_first(pool: &Pool<'_, '_>, offers: &[u32]) -> Vec<u32> {
    let mut order = offers.to_vec();
    sorting::sort_by(&mut order, &|offer| sorting::rising(pool.whole_ms(offer)));
    order
}
