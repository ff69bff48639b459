//! Large pools: for some tens of bottlenecks, replicas are filled with the offers that take most within it, and each is
//! closed with the smallest that completes it. Each set is then worth what its exact bottleneck says.
//!
//! The joint choice of the sets is strongly NP-hard (3-partition); filling and improving came within one per cent of the
//! optimum where that could be computed.

use crate::{
    even::Even,
    period::Gauge,
    pool::{Pool, index},
    positional,
};

/// Bottlenecks that are tried first, and then between the neighbours of the best.
const TARGETS: u32 = 48;
const REFINED: u32 = 8;

/// Sets of offers, each of which holds the model; and what they answer together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Grouping {
    /// One set for each replica.
    pub groups: Vec<Vec<u32>>,
    /// Requests per millisecond.
    pub throughput: f64,
}

/// How far filling looks for the offers of one replica.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Reach {
    /// Within a device, then a site, then anywhere, as far as hops allow.
    Near,
    /// As far as hops allow.
    Far,
}

/// The best groupings, the very best first, at most `kept`.
pub fn groupings(gauge: &mut Gauge<'_, '_, '_>, kept: usize) -> Vec<Grouping> {
    let offers = gauge.pool().usable();
    let (low, high) = span(gauge.pool(), gauge.even(), &offers);
    let ratio = (high / low).max(1.0);
    let target = |step: f64| low * ratio.powf(step / f64::from(TARGETS - 1));
    let mut found: Vec<(f64, Grouping)> = Vec::new();
    for step in 0..TARGETS {
        try_target(gauge, &offers, f64::from(step), target(f64::from(step)), &mut found);
    }
    let best = found.iter().reduce(|a, b| if b.1.throughput > a.1.throughput { b } else { a }).map(|found| found.0);
    if let Some(best) = best {
        for step in 1..=REFINED {
            let step = best - 1.0 + 2.0 * f64::from(step) / f64::from(REFINED + 1);
            try_target(gauge, &offers, step, target(step), &mut found);
        }
    }
    found.sort_by(|a, b| b.1.throughput.total_cmp(&a.1.throughput).then(a.0.total_cmp(&b.0)));
    found.dedup_by(|a, b| a.1.throughput == b.1.throughput);
    found.into_iter().map(|(_, grouping)| grouping).take(kept).collect()
}

/// Groups of some offers at the bottleneck that suits them best; for what a plan leaves idle.
pub fn fill_up(gauge: &mut Gauge<'_, '_, '_>, offers: &[u32], targets: u32) -> Grouping {
    let (low, high) = span(gauge.pool(), gauge.even(), offers);
    let ratio = (high / low).max(1.0);
    let mut found = Vec::new();
    for step in 0..targets {
        let target = low * ratio.powf(f64::from(step) / f64::from(targets.saturating_sub(1).max(1)));
        try_target(gauge, offers, f64::from(step), target, &mut found);
    }
    let best = found.into_iter().map(|(_, grouping)| grouping);
    best.reduce(|a, b| if b.throughput > a.throughput { b } else { a }).unwrap_or_default()
}

fn try_target(gauge: &mut Gauge<'_, '_, '_>, offers: &[u32], step: f64, limit_ms: f64, found: &mut Vec<(f64, Grouping)>) {
    let several = gauge.even().is_some_and(|even| {
        let first = offers.first().map(|&offer| even.place(offer));
        offers.iter().any(|&offer| first.is_some_and(|first| first.site != even.place(offer).site))
    });
    let reaches: &[Reach] = if several { &[Reach::Far, Reach::Near] } else { &[Reach::Far] };
    for &reach in reaches {
        let groups = match gauge.even() {
            Some(even) => fill(even, offers, limit_ms, reach, gauge.pool().limits().replicas_max as usize),
            None => positional::fill(gauge.pool(), offers, limit_ms),
        };
        gauge.steps += offers.len() as u64;
        let mut grouping = Grouping::default();
        for group in groups {
            let rate = gauge.rate(&group);
            if rate > f64::MIN_POSITIVE {
                grouping.throughput += rate;
                grouping.groups.push(group);
            }
        }
        if !grouping.groups.is_empty() {
            found.push((step, grouping));
        }
    }
}

/// The bottlenecks that can matter: from what all offers together would need, to where memory is all that limits.
fn span(pool: &Pool<'_, '_>, even: Option<&Even>, offers: &[u32]) -> (f64, f64) {
    let blocks = f64::from(pool.blocks());
    let (mut speed, mut high) = (0.0, 0.0_f64);
    for &offer in offers {
        let whole = pool.ranges().run_ms(offer, 0, pool.blocks());
        let most = even.map_or(whole, |even| {
            let lines = even.lines(offer);
            if lines.whole_ms.is_finite() { lines.whole_ms } else { lines.inner.ms(lines.inner.most).max(lines.head.ms(lines.head.most)) }
        });
        speed += 1.0 / whole.max(f64::MIN_POSITIVE);
        high = high.max(most);
    }
    let low = (1.0 / speed).max(high / 1e9).max(f64::MIN_POSITIVE);
    // A single offer with a block is never faster than its share; below it nothing is filled.
    (low.min(high.max(f64::MIN_POSITIVE)), high.max(low * (1.0 + 1.0 / blocks)))
}

/// Replicas of an even model at one bottleneck.
fn fill(even: &Even, offers: &[u32], limit_ms: f64, reach: Reach, replicas_max: usize) -> Vec<Vec<u32>> {
    let hops = even.hops();
    let (far, near) = (hops.between_ms <= limit_ms, hops.within_ms <= limit_ms);
    let device = |offer: u32| (even.place(offer).site, even.place(offer).device);
    let site = |offer: u32| (even.place(offer).site, 0);
    let all = |_: u32| (0, 0);
    let mut groups = Vec::new();
    let mut left = offers.to_vec();
    let within = |key: &dyn Fn(u32) -> (u32, u32), left: &mut Vec<u32>, groups: &mut Vec<Vec<u32>>| {
        left.sort_by_key(|&offer| (key(offer), offer));
        let cells: Vec<Vec<u32>> = left.chunk_by(|&a, &b| key(a) == key(b)).map(<[u32]>::to_vec).collect();
        left.clear();
        for cell in cells {
            let mut buckets = Buckets::of(even, &cell, limit_ms);
            while groups.len() < replicas_max {
                let Some(group) = buckets.replica(even.stages()) else { break };
                groups.push(group);
            }
            left.extend(buckets.left());
        }
    };
    if !near || reach == Reach::Near {
        within(&device, &mut left, &mut groups);
    }
    if near && (!far || reach == Reach::Near) {
        within(&site, &mut left, &mut groups);
    }
    if near && far {
        within(&all, &mut left, &mut groups);
    }
    groups
}

/// Offers by the number of blocks that they take.
struct Buckets {
    by_count: Vec<Vec<u32>>,
    /// Blocks that a replica needs: those of the model, and those that the ends lose at least.
    needed: u32,
    unused: Vec<u32>,
}

impl Buckets {
    fn of(even: &Even, offers: &[u32], limit_ms: f64) -> Self {
        let blocks = even.blocks();
        let mut by_count = vec![Vec::new(); blocks as usize + 1];
        let (mut head_loss, mut tail_loss) = (blocks, blocks);
        for &offer in offers {
            let lines = even.lines(offer);
            by_count[lines.count(limit_ms, blocks) as usize].push(offer);
            let inner = lines.inner.count(limit_ms);
            if lines.head.most > 0 {
                head_loss = head_loss.min(inner.saturating_sub(lines.head.count(limit_ms)));
            }
            if lines.tail.most > 0 {
                tail_loss = tail_loss.min(inner.saturating_sub(lines.tail.count(limit_ms)));
            }
        }
        let lost = if even.is_plain() { 0 } else { (head_loss % blocks) + (tail_loss % blocks) };
        let unused = std::mem::take(&mut by_count[0]);
        Self { by_count, needed: blocks + lost, unused }
    }

    /// The next replica; none if what is left completes none.
    fn replica(&mut self, (stages_min, stages_max): (u32, u32)) -> Option<Vec<u32>> {
        let mut group = Vec::new();
        let mut missing = self.needed;
        loop {
            let count = index(group.len()) + 1;
            let later = stages_min.saturating_sub(count);
            let closing = if later == 0 { self.closing(missing, group.is_empty()) } else { None };
            if let Some(offer) = closing {
                group.push(offer);
                return Some(group);
            }
            let largest = if count < stages_max { self.by_count.iter().rposition(|bucket| !bucket.is_empty()) } else { None };
            let Some(offer) = largest.and_then(|largest| self.by_count[largest].pop()) else {
                self.unused.append(&mut group);
                return None;
            };
            group.push(offer);
            missing -= index(largest.unwrap_or(0)).min(missing.saturating_sub(later.max(1)));
        }
    }

    /// The offer with the fewest blocks that still completes a replica. Alone, one that takes all blocks is enough.
    fn closing(&mut self, missing: u32, alone: bool) -> Option<u32> {
        let most = index(self.by_count.len() - 1);
        let from = if alone { most } else { missing.min(most) };
        if !alone && missing > most {
            return None;
        }
        self.by_count[from as usize..].iter_mut().find_map(Vec::pop)
    }

    fn left(self) -> impl Iterator<Item = u32> {
        self.by_count.into_iter().flatten().chain(self.unused)
    }
}
