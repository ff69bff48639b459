//! Filling where blocks differ: replicas are built block by block from the start, each stage on the offer that takes most
//! of the work within the target, the last on the one that is slowest and still completes the chain.

use std::collections::BTreeSet;

use crate::pool::Pool;

/// Offers from each end of the order that are looked at for a stage.
const LOOKED_AT: usize = 24;

/// Sets of offers whose chains stay within a bottleneck, as far as filling finds them.
pub fn fill(pool: &Pool<'_, '_>, offers: &[u32], limit_ms: f64) -> Vec<Vec<u32>> {
    let mut free = fastest_first(pool, offers);
    let mut groups = Vec::new();
    while groups.len() < pool.limits().replicas_max as usize {
        let Some(group) = replica(pool, &free, limit_ms) else { break };
        let taken: BTreeSet<u32> = group.iter().copied().collect();
        free.retain(|offer| !taken.contains(offer));
        groups.push(group);
    }
    groups
}

/// One chain from the free offers, fastest first; none if they do not complete one.
fn replica(pool: &Pool<'_, '_>, free: &[u32], limit_ms: f64) -> Option<Vec<u32>> {
    let (limits, blocks) = (pool.limits(), pool.blocks());
    let mut group: Vec<u32> = Vec::new();
    let mut next = 0;
    while next < blocks {
        let count = group.len() as u32 + 1;
        let later = limits.stages_min.saturating_sub(count);
        let last = group.last().copied();
        let hop_ms = |offer: u32| last.map_or(0.0, |last| pool.ranges().hop_ms(last, offer, next));
        let open = |offer: &&u32| !group.contains(offer) && hop_ms(**offer) <= limit_ms;
        let slow: Vec<u32> = free.iter().rev().filter(open).take(LOOKED_AT).copied().collect();
        let fast: Vec<u32> = free.iter().filter(open).take(LOOKED_AT).copied().collect();
        let completes = |offer: &u32| pool.fits(*offer, next, blocks) && pool.ranges().run_ms(*offer, next, blocks) <= limit_ms;
        let closing = if later == 0 { slow.iter().chain(fast.iter().rev()).copied().find(completes) } else { None };
        if let Some(offer) = closing {
            group.push(offer);
            return Some(group);
        }
        if count >= limits.stages_max {
            return None;
        }
        let longest = |offer: u32| {
            let mut end = pool.reach(offer, next, limit_ms).min(blocks.saturating_sub(later.max(1)));
            while end > next && !pool.fits(offer, next, end) {
                end -= 1;
            }
            end
        };
        let (end, offer) = fast.into_iter().chain(slow).map(|offer| (longest(offer), offer)).reduce(|best, one| if one.0 > best.0 { one } else { best })?;
        if end == next {
            return None;
        }
        group.push(offer);
        next = end;
    }
    Some(group)
}

/// Offers from the one that would run the whole model fastest to the slowest; equals in order of their ids.
fn fastest_first(pool: &Pool<'_, '_>, offers: &[u32]) -> Vec<u32> {
    let mut order: Vec<(f64, u32)> = offers.iter().map(|&offer| (pool.whole_ms(offer), offer)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, offer)| offer).collect()
}
