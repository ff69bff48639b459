//! Makes a chain of stages of a set of offers: who comes where, and how many blocks each takes.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{
    cut::{Goal, cost_of, cut},
    even::{Even, Line},
    held::Held,
    period::{Gauge, by_size, seat_ends},
    pool::index,
    score::TIE_RATIO,
    sorting,
};

/// Largest set whose orders are all tried where blocks differ: 24 of them.
const PERMUTED_MAX: usize = 4;
/// Largest set whose order is improved by exchanging two offers.
const EXCHANGED_MAX: usize = 12;

/// A chain over a set with the least bottleneck that was found, slower offers relieved as far as that costs nothing. Members
/// that are left without blocks stay out. With `limit_ms` the bottleneck may be as long as that, and the fastest take most.
pub fn chain(gauge: &mut Gauge<'_, '_, '_>, held: &Held, members: &[u32], limit_ms: Option<f64>) -> Option<Replica> {
    let pool = gauge.pool();
    if let &[only] = members {
        let stage = Stage { offer: only, start: 0, end: pool.blocks() };
        return (pool.limits().stages_min <= 1 && pool.fits(only, 0, stage.end)).then(|| Replica { stages: vec![stage] });
    }
    let counted = gauge.pool().even().and_then(|even| counted(gauge, even, held, members, limit_ms));
    let counted = counted.filter(|replica| replica.stages.iter().all(|stage| pool.fits(stage.offer, stage.start, stage.end)));
    counted.or_else(|| ordered(gauge, held, members, limit_ms))
}

/// For even models: counts of blocks, then an order.
fn counted(gauge: &mut Gauge<'_, '_, '_>, even: &Even, held: &Held, members: &[u32], limit_ms: Option<f64>) -> Option<Replica> {
    let layout = gauge.layout(members);
    let limit_ms = limit_ms.unwrap_or(0.0).max(layout.period_ms);
    if !limit_ms.is_finite() {
        return None;
    }
    let line = |position: usize| *even.line(members[position], position == layout.head, position == layout.tail);
    let lines: Vec<Line> = (0..members.len()).map(line).collect();
    let mut counts: Vec<u32> = lines.iter().map(|line| line.count(limit_ms * (1.0 + TIE_RATIO))).collect();
    let ends: &[usize] = if even.is_plain() { &[] } else { &[layout.head, layout.tail] };
    relieve(&lines, &mut counts, even, ends);
    let mut order: Vec<u32> = (0..index(members.len())).filter(|&position| counts[position as usize] > 0).collect();
    let (first, last) = (even.place(members[layout.head]).site, even.place(members[layout.tail]).site);
    let offer = |position: u32| members[position as usize];
    let place = |position: u32| even.place(offer(position));
    sorting::sort_by(&mut order, &|position| sorting::pair(place(position).device, offer(position)));
    sorting::sort_stable_by(&mut order, &|position| sorting::pair(place(position).site, held.start(offer(position)).unwrap_or(u32::MAX)));
    if !even.is_plain() {
        sorting::sort_stable_by(&mut order, &|position| {
            let (site, position) = (place(position).site, position as usize);
            let end = u32::from(position != layout.head) + u32::from(position == layout.tail);
            sorting::pair(end, u32::from(site != first) + u32::from(site == last && first != last))
        });
    }
    exchange(gauge, &mut order, members, &counts, even.is_plain());
    Some(Replica { stages: stages(&order, members, &counts) })
}

/// Stages of so many blocks in an order.
fn stages(order: &[u32], members: &[u32], counts: &[u32]) -> Vec<Stage> {
    let mut start = 0;
    let stage = |&position: &u32| {
        let stage = Stage { offer: members[position as usize], start, end: start + counts[position as usize] };
        start = stage.end;
        stage
    };
    order.iter().map(stage).collect()
}

/// Takes what is given out too much from the slowest, down to nothing where stages may be fewer.
fn relieve(lines: &[Line], counts: &mut [u32], even: &Even, ends: &[usize]) {
    let mut surplus = counts.iter().map(|&count| u64::from(count)).sum::<u64>().saturating_sub(u64::from(even.blocks()));
    let mut order: Vec<u32> = (0..index(lines.len())).collect();
    sorting::sort_by(&mut order, &|position| sorting::rising(lines[position as usize].base_ms));
    sorting::sort_stable_by(&mut order, &|position| sorting::rising(lines[position as usize].block_ms));
    let mut busy = counts.iter().filter(|&&count| count > 0).count();
    for position in order.into_iter().rev().map(|position| position as usize) {
        let keeps = ends.contains(&position) || busy <= even.stages().0 as usize;
        let spare = counts[position].saturating_sub(u32::from(keeps));
        let taken = u32::try_from(surplus).unwrap_or(u32::MAX).min(spare);
        busy -= usize::from(counts[position] > 0 && taken == counts[position]);
        counts[position] -= taken;
        surplus -= u64::from(taken);
    }
}

/// Where links were measured: exchanges two offers as long as hops get better by it.
fn exchange(gauge: &Gauge<'_, '_, '_>, order: &mut [u32], members: &[u32], counts: &[u32], ends_too: bool) {
    if !gauge.pool().is_measured() || order.len() > EXCHANGED_MAX || order.len() < 2 {
        return;
    }
    let inside = if ends_too { 0..order.len() } else { 1..order.len() - 1 };
    let cost = |order: &[u32]| cost_of(gauge.pool(), &stages(order, members, counts));
    let mut known = cost(order);
    for _ in 0..EXCHANGED_MAX {
        let before = known;
        for one in inside.clone() {
            for two in one + 1..inside.end {
                order.swap(one, two);
                let tried = cost(order);
                if tried.beats(known, Goal::Bottleneck) { known = tried } else { order.swap(one, two) }
            }
        }
        if known == before {
            return;
        }
    }
}

/// For any model: orders, each cut as well as it can be.
fn ordered(gauge: &Gauge<'_, '_, '_>, held: &Held, members: &[u32], limit_ms: Option<f64>) -> Option<Replica> {
    let pool = gauge.pool();
    let orders = if members.len() <= PERMUTED_MAX {
        permutations(members)
    } else {
        let mut orders = by_size(pool, members).to_vec();
        orders.iter_mut().for_each(|order| seat_ends(pool, order));
        let mut order = members.to_vec();
        sorting::sort_by(&mut order, &|offer| sorting::pair(pool.site(offer), held.start(offer).unwrap_or(u32::MAX)));
        orders.push(order);
        orders
    };
    let (limit, goal) = limit_ms.map_or((f64::INFINITY, Goal::Bottleneck), |limit_ms| (limit_ms, Goal::Latency));
    let cuts = orders.iter().filter_map(|order| cut(pool, order, limit, goal));
    cuts.reduce(|best, next| if next.0.beats(best.0, goal) { next } else { best }).map(|(_, replica)| replica)
}

fn permutations(members: &[u32]) -> Vec<Vec<u32>> {
    if members.len() <= 1 {
        return vec![members.to_vec()];
    }
    let mut all = Vec::new();
    for (position, &first) in members.iter().enumerate() {
        let mut rest = members.to_vec();
        rest.remove(position);
        all.extend(permutations(&rest).into_iter().map(|tail| [&[first], tail.as_slice()].concat()));
    }
    all
}
