//! Large pools: for some tens of bottlenecks, replicas are filled with the offers that take most within it, and each is
//! closed with the smallest that completes it. Each set is then worth what its exact bottleneck says.
//!
//! The joint choice of the sets is strongly NP-hard (3-partition); filling and improving came within one per cent of the
//! optimum where that could be computed.

use crate::{
    even::{Even, Line, Lines},
    period::{Gauge, PERIOD_MS_MIN},
    pool::{Pool, index, keep_unused},
    positional,
    search::is_large,
    sorting,
};

/// Bottlenecks that are tried first, and then between the neighbours of the best.
const TARGETS: u32 = 48;
const REFINED: u32 = 8;
/// Bottlenecks that tell whether a plan in force is far from what filling comes to.
const TARGETS_BRIEF: u32 = 8;

/// Bottlenecks of a cascade, and the shares of them for which an offer must be busy.
const CASCADE: u32 = 24;
const USED_MIN: [f64; 3] = [0.9, 0.95, 0.8];

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

/// The best groupings, the very best first, at most `kept`. With `brief` only a few bottlenecks are tried.
pub fn groupings(gauge: &mut Gauge<'_, '_, '_>, kept: usize, brief: bool) -> Vec<Grouping> {
    let offers = gauge.pool().usable();
    let (low, high) = span(gauge.pool(), &offers);
    let ratio = (high / low).max(1.0);
    let unlike = gauge.pool().even().is_none() && is_large(gauge.pool());
    let targets = if brief || unlike { TARGETS_BRIEF } else { TARGETS };
    let target = |step: f64| low * ratio.powf(step / f64::from(targets - 1));
    let mut found: Vec<(f64, Grouping)> = Vec::new();
    for step in 0..targets {
        try_target(gauge, &offers, f64::from(step), target(f64::from(step)), &mut found);
    }
    let best = found.iter().reduce(|a, b| if b.1.throughput > a.1.throughput { b } else { a }).map(|found| found.0);
    if let Some(best) = best.filter(|_| !brief) {
        for step in 1..=REFINED {
            let step = best - 1.0 + 2.0 * f64::from(step) / f64::from(REFINED + 1);
            try_target(gauge, &offers, step, target(step), &mut found);
        }
    }
    for (number, used_min) in USED_MIN.into_iter().enumerate().take(if brief { 1 } else { USED_MIN.len() }) {
        let groups = cascade(gauge, &offers, (low, ratio), used_min);
        note(rated(gauge, groups), f64::from(targets) + number as f64, &mut found);
    }
    best_of(found, kept, f64::from(targets))
}

/// The best of the groupings that were found; those of a step below `several` are of one bottleneck.
fn best_of(mut found: Vec<(f64, Grouping)>, kept: usize, several: f64) -> Vec<Grouping> {
    let throughput = |number: u32| found[number as usize].1.throughput;
    let most = |number: u32| sorting::falling(throughput(number));
    let mut order: Vec<u32> = (0..index(found.len())).collect();
    sorting::sort_by(&mut order, &|number| sorting::rising(found[number as usize].0));
    sorting::sort_stable_by(&mut order, &most);
    order.dedup_by(|a, b| throughput(*a) == throughput(*b));
    // Half of those that are kept are of one bottleneck each: what is better at first is not always better in the end.
    let (single, several): (Vec<u32>, Vec<u32>) = order.into_iter().partition(|&number| found[number as usize].0 < several);
    let half = |numbers: &[u32]| numbers[..numbers.len().min(kept.div_ceil(2))].to_vec();
    let mut best = [half(&several), half(&single)].concat();
    sorting::sort_stable_by(&mut best, &most);
    best.truncate(kept);
    best.into_iter().map(|number| std::mem::take(&mut found[number as usize].1)).collect()
}

/// Groups of some offers at the bottleneck that suits them best; for what a plan leaves idle.
pub fn fill_up(gauge: &mut Gauge<'_, '_, '_>, offers: &[u32], targets: u32) -> Grouping {
    let (low, high) = span(gauge.pool(), offers);
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
    let several = gauge.pool().even().is_some_and(|even| {
        let first = offers.first().map(|&offer| even.place(offer));
        offers.iter().any(|&offer| first.is_some_and(|first| first.site != even.place(offer).site))
    });
    let reaches: &[Reach] = if several { &[Reach::Far, Reach::Near] } else { &[Reach::Far] };
    gauge.steps += offers.len() as u64;
    let Some(even) = gauge.pool().even() else {
        let groups = positional::fill(gauge.pool(), offers, limit_ms);
        let rated = groups.into_iter().map(|(group, period_ms)| (group, 1.0 / period_ms.max(PERIOD_MS_MIN)));
        note(rated.collect(), step, found);
        return;
    };
    for &reach in reaches {
        let groups = fill(even, offers, limit_ms, reach, gauge.pool().limits().replicas_max as usize);
        note(rated(gauge, groups), step, found);
    }
}

fn rated(gauge: &mut Gauge<'_, '_, '_>, groups: Vec<Vec<u32>>) -> Vec<(Vec<u32>, f64)> {
    groups.into_iter().map(|group| (gauge.rate(&group), group)).map(|(rate, group)| (group, rate)).collect()
}

/// Notes what groups come to. Those that turn out to hold no chain are left out.
fn note(groups: Vec<(Vec<u32>, f64)>, step: f64, found: &mut Vec<(f64, Grouping)>) {
    let mut grouping = Grouping::default();
    for (group, rate) in groups.into_iter().filter(|(_, rate)| *rate > f64::MIN_POSITIVE) {
        grouping.throughput += rate;
        grouping.groups.push(group);
    }
    if !grouping.groups.is_empty() {
        found.push((step, grouping));
    }
}

/// Replicas of several bottlenecks, from small to large: each only with the offers that are busy for a good part of it, so
/// that fast offers with little memory and slow ones with much do not wait for each other. What is left is filled as it is.
fn cascade(gauge: &Gauge<'_, '_, '_>, offers: &[u32], (low, ratio): (f64, f64), used_min: f64) -> Vec<Vec<u32>> {
    let Some(even) = gauge.pool().even() else { return Vec::new() };
    let replicas_max = gauge.pool().limits().replicas_max as usize;
    let (mut left, mut groups): (Vec<u32>, Vec<Vec<u32>>) = (offers.to_vec(), Vec::new());
    for step in 0..CASCADE {
        let limit_ms = low * ratio.powf(f64::from(step) / f64::from(CASCADE - 1));
        let is_busy = |offer: &u32| {
            let lines = even.lines(*offer);
            lines.inner.ms(lines.inner.count(limit_ms)).max(lines.head.ms(lines.head.count(limit_ms))) >= used_min * limit_ms
        };
        let last = step + 1 == CASCADE;
        let busy: Vec<u32> = if last { left.clone() } else { left.iter().copied().filter(is_busy).collect() };
        let new = fill(even, &busy, limit_ms, Reach::Far, replicas_max - groups.len());
        keep_unused(&mut left, &new);
        groups.extend(new);
    }
    groups
}

/// The bottlenecks that can matter: from what all offers together would need, to where memory is all that limits.
fn span(pool: &Pool<'_, '_>, offers: &[u32]) -> (f64, f64) {
    let blocks = f64::from(pool.blocks());
    let (mut speed, mut high) = (0.0, 0.0_f64);
    for &offer in offers {
        let whole = pool.whole_ms(offer);
        let most = pool.even().map_or(whole, |even| {
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
    let mut counts = Counts { even, limit_ms, of_kinds: vec![u32::MAX; even.kinds() as usize] };
    let mut within = |key: &dyn Fn(u32) -> (u32, u32), left: &mut Vec<u32>, groups: &mut Vec<Vec<u32>>| {
        let key_of = |offer: u32| (key(offer), offer);
        if !left.is_sorted_by_key(|&offer| key_of(offer)) {
            sorting::sort_by(left, &|offer| {
                let (site, device) = key(offer);
                sorting::pair(site, device)
            });
        }
        let offers = std::mem::take(left);
        for cell in offers.chunk_by(|&a, &b| key(a) == key(b)) {
            let mut buckets = Buckets::of(cell, &mut counts);
            while groups.len() < replicas_max {
                let Some(group) = buckets.replica(even.stages()) else { break };
                groups.push(group);
            }
            buckets.leave(left);
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

/// How many blocks offers take within a time at the most, worked out for each kind when it is asked for first.
struct Counts<'e> {
    even: &'e Even,
    limit_ms: f64,
    of_kinds: Vec<u32>,
}

impl Counts<'_> {
    fn of(&mut self, offer: u32) -> u32 {
        let kind = self.even.place(offer).kind;
        let known = &mut self.of_kinds[kind as usize];
        if *known == u32::MAX {
            *known = self.even.lines_of_kind(kind).count(self.limit_ms, self.even.blocks());
        }
        *known
    }
}

/// Offers by the number of blocks that they take.
struct Buckets {
    /// Those that take no block first, then one, and so on.
    sorted: Vec<u32>,
    /// By number of blocks: where they begin, and where those that are left end.
    spans: Vec<(u32, u32)>,
    /// The largest number of blocks that may be left.
    largest: u32,
    /// Blocks that a replica needs: those of the model, and those that the ends lose at least.
    needed: u32,
    unused: Vec<u32>,
}

impl Buckets {
    fn of(offers: &[u32], counts: &mut Counts<'_>) -> Self {
        let (even, blocks) = (counts.even, counts.even.blocks());
        let mut spans = vec![(0, 0); blocks as usize + 1];
        offers.iter().for_each(|&offer| spans[counts.of(offer) as usize].1 += 1);
        let mut begin = 0;
        for span in &mut spans {
            let size = span.1;
            *span = (begin, begin);
            begin += size;
        }
        let mut sorted = vec![0; offers.len()];
        for &offer in offers {
            let end = &mut spans[counts.of(offer) as usize].1;
            sorted[*end as usize] = offer;
            *end += 1;
        }
        Self { sorted, spans, largest: blocks, needed: blocks + lost(even, offers, counts.limit_ms), unused: Vec::new() }
    }

    fn pop(&mut self, count: u32) -> Option<u32> {
        let (begin, end) = &mut self.spans[count as usize];
        if *begin == *end {
            return None;
        }
        *end -= 1;
        Some(self.sorted[*end as usize])
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
            let largest = if count < stages_max { self.pop_largest() } else { None };
            let Some((taken, offer)) = largest else {
                self.unused.append(&mut group);
                return None;
            };
            group.push(offer);
            missing -= taken.min(missing.saturating_sub(later.max(1)));
        }
    }

    fn pop_largest(&mut self) -> Option<(u32, u32)> {
        while self.largest > 0 {
            if let Some(offer) = self.pop(self.largest) {
                return Some((self.largest, offer));
            }
            self.largest -= 1;
        }
        None
    }

    /// The offer with the fewest blocks that still completes a replica. Alone, one that takes all blocks is enough.
    fn closing(&mut self, missing: u32, alone: bool) -> Option<u32> {
        let from = if alone { index(self.spans.len() - 1) } else { missing };
        (from..=self.largest).find_map(|count| self.pop(count))
    }

    /// Gives back what is in no replica.
    fn leave(self, left: &mut Vec<u32>) {
        self.spans.iter().for_each(|&(begin, end)| left.extend_from_slice(&self.sorted[begin as usize..end as usize]));
        left.extend(self.unused);
    }
}

/// Blocks that the first and the last stage lose at least.
fn lost(even: &Even, offers: &[u32], limit_ms: f64) -> u32 {
    if even.is_plain() {
        return 0;
    }
    let least = |end: &dyn Fn(&Lines) -> Line| {
        let lines = offers.iter().map(|&offer| even.lines(offer)).filter(|lines| end(lines).most > 0);
        lines.map(|lines| lines.inner.count(limit_ms).saturating_sub(end(lines).count(limit_ms))).min().unwrap_or(0)
    };
    least(&|lines| lines.head) + least(&|lines| lines.tail)
}
