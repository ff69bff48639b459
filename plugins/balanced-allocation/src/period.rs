//! The least bottleneck of a set of offers, as fast as a local search needs it.
//!
//! For an even model it is exact: a bound that never exceeds the answer is raised as long as that is cheap, then the blocks
//! that are still missing go one by one to whoever would be done first. For other models the set is put into an order and
//! cut by halving; that is exact for this order.

use crate::{
    even::{Even, Line},
    pool::Pool,
    score::TIE_RATIO,
};

/// Raises of the bound before blocks are given out one by one.
const RAISES: u32 = 4;
/// Pairs of head and tail that are looked at, each the best for the time of the one before.
const LOOKS: u32 = 3;
/// Largest set of which all pairs are tried where those do not hold the model.
const PAIRED_MAX: usize = 12;
/// Halvings of the time in which a chain in a given order is possible.
const HALVINGS: u32 = 24;

/// A model that takes no time at all still has a rate that can be added up.
const PERIOD_MS_MIN: f64 = 1e-100;

/// Measures sets. Counts what that takes, so that searches end after the same work on every machine.
#[derive(Debug)]
pub struct Gauge<'p, 'r, 'a> {
    pool: &'p Pool<'r, 'a>,
    even: Option<&'p Even>,
    lines: Vec<Line>,
    counts: Vec<u32>,
    /// Offers looked at so far.
    pub steps: u64,
}

/// How an even model lies on a set: the offers of the first and last block by position in the set, and the time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Layout {
    /// Position of the offer with the first block.
    pub head: usize,
    /// Position of the offer with the last block.
    pub tail: usize,
    /// The bottleneck in milliseconds, hops left out; infinite if the set does not hold the model.
    pub period_ms: f64,
}

impl<'p, 'r, 'a> Gauge<'p, 'r, 'a> {
    /// For a pool, and the even view of it if there is one.
    pub fn new(pool: &'p Pool<'r, 'a>, even: Option<&'p Even>) -> Self {
        Self { pool, even, lines: Vec::new(), counts: Vec::new(), steps: 0 }
    }

    /// The pool behind it.
    pub fn pool(&self) -> &'p Pool<'r, 'a> {
        self.pool
    }

    /// The even view.
    pub fn even(&self) -> Option<&'p Even> {
        self.even
    }

    /// The bottleneck of a chain over these offers, hops included; infinite if there is none.
    pub fn period_ms(&mut self, members: &[u32]) -> f64 {
        let limits = self.pool.limits();
        if members.len() < limits.stages_min as usize || members.len() > limits.stages_max as usize {
            return f64::INFINITY;
        }
        match self.even {
            Some(even) if members.len() == 1 => even.lines(members[0]).whole_ms,
            Some(even) => self.layout(members).period_ms.max(even.slowest_hop_ms(members)),
            None => self.cut_ms(members),
        }
    }

    /// Requests per millisecond of a chain over these offers.
    pub fn rate(&mut self, members: &[u32]) -> f64 {
        if members.is_empty() {
            return 0.0;
        }
        1.0 / self.period_ms(members).max(PERIOD_MS_MIN)
    }

    /// The best layout of an even model on two offers or more.
    pub fn layout(&mut self, members: &[u32]) -> Layout {
        let Some(even) = self.even else { return Layout { head: 0, tail: 0, period_ms: f64::INFINITY } };
        self.steps += members.len() as u64;
        self.lines.clear();
        self.lines.extend(members.iter().map(|&member| *even.line(member, false, false)));
        let needed = even.blocks();
        let start_ms = forced_ms(&self.lines, even.stages().0);
        if even.is_plain() {
            return Layout { head: 0, tail: members.len() - 1, period_ms: least_ms(&self.lines, needed, start_ms, &mut self.counts) };
        }
        let inner = least_ms(&self.lines, needed, start_ms, &mut self.counts);
        let guess = if inner.is_finite() { inner } else { self.lines.iter().map(|line| line.ms(line.most)).fold(0.0, f64::max) };
        let (mut best, mut at) = (Layout { head: 0, tail: 0, period_ms: f64::INFINITY }, guess);
        // The pair that loses least depends on the time, and the time on the pair: a second look is mostly enough.
        for _ in 0..LOOKS {
            let Some(ends) = ends(even, members, at) else { return best };
            best = self.better(even, members, ends, start_ms, best);
            if best.period_ms.is_infinite() {
                break;
            }
            at = best.period_ms;
        }
        if best.period_ms.is_infinite() && members.len() <= PAIRED_MAX {
            let pairs = (0..members.len()).flat_map(|head| (0..members.len()).map(move |tail| (head, tail)));
            best = pairs.filter(|(head, tail)| head != tail).fold(best, |best, ends| self.better(even, members, ends, start_ms, best));
        }
        best
    }

    /// The layout with these ends, if it is better than what is known.
    fn better(&mut self, even: &Even, members: &[u32], (head, tail): (usize, usize), start_ms: f64, known: Layout) -> Layout {
        self.lines[head] = even.lines(members[head]).head;
        self.lines[tail] = even.lines(members[tail]).tail;
        // Whoever is head or tail holds a block at least.
        let takes = self.lines[head].most > 0 && self.lines[tail].most > 0;
        let start_ms = start_ms.max(self.lines[head].ms(1)).max(self.lines[tail].ms(1));
        let period_ms = if takes { least_ms(&self.lines, even.blocks(), start_ms, &mut self.counts) } else { f64::INFINITY };
        for position in [head, tail] {
            self.lines[position] = even.lines(members[position]).inner;
        }
        if period_ms < known.period_ms { Layout { head, tail, period_ms } } else { known }
    }

    /// Of models that are not even: the shortest time, to 1 part in 10^6, in which the set holds the model in the order given,
    /// or in that of their memory.
    fn cut_ms(&mut self, members: &[u32]) -> f64 {
        let mut order = members.to_vec();
        let pool = self.pool;
        let size = |offer: u32| pool.memory(offer) / pool.ranges().offer(offer).weight_factor;
        let mut least = self.cut_in_order_ms(members, f64::INFINITY);
        for turned in [false, true] {
            order.sort_by(|&a, &b| size(a).total_cmp(&size(b)).then(a.cmp(&b)));
            if turned {
                order.reverse();
            }
            seat_ends(pool, &mut order);
            least = least.min(self.cut_in_order_ms(&order, least));
        }
        least
    }

    fn cut_in_order_ms(&mut self, order: &[u32], known_ms: f64) -> f64 {
        let most = order.iter().map(|&offer| self.pool.ranges().run_ms(offer, 0, self.pool.blocks())).fold(0.0, f64::max);
        let hops = order.windows(2).map(|pair| self.slowest_hop_ms(pair[0], pair[1])).fold(0.0, f64::max);
        let (mut low, mut high) = (hops, known_ms.min(most.max(hops)));
        if !self.reaches(order, high) {
            return f64::INFINITY;
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.reaches(order, middle) { high = middle } else { low = middle }
        }
        high
    }

    /// Whether offers that take all they can, one after another, hold the model.
    fn reaches(&mut self, order: &[u32], limit_ms: f64) -> bool {
        self.steps += order.len() as u64 * 8;
        order.iter().fold(0, |start, &offer| self.pool.reach(offer, start, limit_ms)) == self.pool.blocks()
    }

    /// The slowest that a hop between two offers can be at any border.
    fn slowest_hop_ms(&self, from: u32, to: u32) -> f64 {
        let middle = self.pool.blocks() / 2;
        self.pool.ranges().hop_ms(from, to, middle.max(1))
    }
}

/// Puts an offer that takes the head first and one that takes the tail last, where the order has others there.
pub fn seat_ends(pool: &Pool<'_, '_>, order: &mut [u32]) {
    use shardhost_sdk::allocation::Roles;
    let takes = |offer: u32, role: Roles| pool.ranges().offer(offer).roles.contains(role);
    if let Some(head) = order.iter().position(|&offer| takes(offer, Roles::HEAD)) {
        order[..=head].rotate_right(1);
    }
    if let Some(tail) = order.iter().skip(1).rposition(|&offer| takes(offer, Roles::TAIL)) {
        order[tail + 1..].rotate_left(1);
    }
}

/// The positions of the offers that lose least as head and as tail within a time; none if no two take both.
fn ends(even: &Even, members: &[u32], limit_ms: f64) -> Option<(usize, usize)> {
    let mut heads = [(f64::NEG_INFINITY, 0); 2];
    let mut tails = heads;
    let note = |best: &mut [(f64, usize); 2], gain: f64, position: usize| {
        if gain > best[0].0 {
            *best = [(gain, position), best[0]];
        } else if gain > best[1].0 {
            best[1] = (gain, position);
        }
    };
    // Counts that are not whole tell apart offers that lose the same number of blocks.
    let count = |line: &Line| ((limit_ms - line.base_ms) / line.block_ms).min(f64::from(line.most));
    // An end that takes no block within the time is worse than any that does.
    let end = |line: &Line| count(line) - if count(line) < 1.0 { 1.0 } else { 0.0 };
    for (position, &member) in members.iter().enumerate() {
        let lines = even.lines(member);
        let inner = if lines.inner.most == 0 { 0.0 } else { count(&lines.inner).max(0.0) };
        if lines.head.most > 0 {
            note(&mut heads, end(&lines.head) - inner, position);
        }
        if lines.tail.most > 0 {
            note(&mut tails, end(&lines.tail) - inner, position);
        }
    }
    let pairs = [(0, 0), (0, 1), (1, 0)].map(|(head, tail)| (heads[head], tails[tail]));
    let apart = pairs.into_iter().filter(|(head, tail)| head.1 != tail.1 && (head.0 + tail.0).is_finite());
    let best = apart.reduce(|best, next| if next.0.0 + next.1.0 > best.0.0 + best.1.0 { next } else { best })?;
    Some((best.0.1, best.1.1))
}

/// The least time, not below `start_ms`, in which the lines take so many blocks together; infinite if memory does not hold
/// them.
fn least_ms(lines: &[Line], blocks: u32, start_ms: f64, counts: &mut Vec<u32>) -> f64 {
    if lines.iter().map(|line| u64::from(line.most)).sum::<u64>() < u64::from(blocks) {
        return f64::INFINITY;
    }
    let at_least = raised(lines, blocks).max(start_ms);
    counts.clear();
    // A little below the bound, or rounding could give out a block too many.
    counts.extend(lines.iter().map(|line| line.count(at_least * (1.0 - TIE_RATIO))));
    let mut given: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if given >= u64::from(blocks) {
        // Only where the bound is the start, or counts were rounded up.
        return at_least;
    }
    let mut period_ms = start_ms;
    while given < u64::from(blocks) {
        let next = (0..lines.len()).filter(|&line| counts[line] < lines[line].most);
        let Some(next) = next.min_by(|&a, &b| lines[a].ms(counts[a] + 1).total_cmp(&lines[b].ms(counts[b] + 1))) else { return f64::INFINITY };
        counts[next] += 1;
        given += 1;
        period_ms = period_ms.max(lines[next].ms(counts[next]));
    }
    period_ms
}

/// The time below which fewer than `forced` lines take a block.
fn forced_ms(lines: &[Line], forced: u32) -> f64 {
    if forced <= 1 {
        return 0.0;
    }
    let mut ones: Vec<f64> = lines.iter().filter(|line| line.most > 0).map(|line| line.ms(1)).collect();
    ones.sort_by(f64::total_cmp);
    ones.get(forced as usize - 1).copied().unwrap_or(f64::INFINITY)
}

/// A time that the answer is not below: from any time on, the lines take at most as many blocks more as those that are not
/// full would if they had no start to make. Raised a few times, it is mostly the answer for blocks that can be divided.
fn raised(lines: &[Line], blocks: u32) -> f64 {
    let needed = f64::from(blocks);
    let mut at = 0.0_f64;
    for _ in 0..RAISES {
        let (mut taken, mut speed) = (0.0, 0.0);
        for line in lines {
            let count = (at - line.base_ms) / line.block_ms;
            if count >= f64::from(line.most) {
                taken += f64::from(line.most);
            } else {
                taken += count.max(0.0);
                speed += 1.0 / line.block_ms;
            }
        }
        if taken >= needed || speed <= 0.0 {
            break;
        }
        at += (needed - taken) / speed;
    }
    at
}
