//! The least bottleneck of a set of offers, as fast as a local search needs it.
//!
//! For an even model it is exact: blocks are counted at a time that is nearly right, then given out one by one to whoever
//! would be done first, or taken back from whoever was done last. For other models the set is put into an order and
//! cut by halving; that is exact for this order.

use crate::{
    even::{Even, Line, Lines},
    pool::Pool,
};

/// Steps towards a time in which nearly as many blocks are done as there are.
const RAISES: u32 = 3;
/// Pairs of head and tail that are looked at, each the best for the time of the one before.
const LOOKS: u32 = 3;
/// Largest set of which all pairs are tried where those do not hold the model.
const PAIRED_MAX: usize = 12;
/// Halvings of the time in which a chain in a given order is possible.
const HALVINGS: u32 = 24;

/// A model that takes no time at all still has a rate that can be added up.
pub const PERIOD_MS_MIN: f64 = 1e-100;

/// Measures sets. Counts what that takes, so that searches end after the same work on every machine.
#[derive(Debug)]
pub struct Gauge<'p, 'r, 'a> {
    pool: &'p Pool<'r, 'a>,
    lines: Vec<Line>,
    work: Vec<Work>,
    /// Offers looked at so far.
    pub steps: u64,
}

/// How many blocks an offer takes, and when it is done with the one that counts next: the next one, or the last one.
#[derive(Clone, Copy, Debug)]
struct Work {
    count: u32,
    at_ms: f64,
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
    /// For a pool.
    pub fn new(pool: &'p Pool<'r, 'a>) -> Self {
        Self { pool, lines: Vec::new(), work: Vec::new(), steps: 0 }
    }

    /// The pool behind it.
    pub fn pool(&self) -> &'p Pool<'r, 'a> {
        self.pool
    }

    /// The bottleneck of a chain over these offers, hops included; infinite if there is none.
    pub fn period_ms(&mut self, members: &[u32]) -> f64 {
        let limits = self.pool.limits();
        if members.len() < limits.stages_min as usize || members.len() > limits.stages_max as usize {
            return f64::INFINITY;
        }
        match self.pool.even() {
            Some(even) if members.len() == 1 => even.lines(members[0]).whole_ms,
            Some(even) => self.layout(members).period_ms.max(even.slowest_hop_ms(members)),
            None => self.cut_ms(members),
        }
    }

    /// Whether a chain over these offers could have a bottleneck below a limit. A quick look, which errs only by saying yes.
    pub fn may_stay_below(&mut self, members: &[u32], limit_ms: f64) -> bool {
        let Some(even) = self.pool.even() else { return true };
        self.steps += members.len() as u64 / 4;
        if members.len() == 1 {
            return even.lines(members[0]).whole_ms < limit_ms;
        }
        let most = |lines: &Lines| lines.inner.count(limit_ms).max(lines.head.count(limit_ms)).max(lines.tail.count(limit_ms));
        let count = |&member: &u32| if even.is_plain() { even.line(member, false, false).count(limit_ms) } else { most(even.lines(member)) };
        let mut missing = even.blocks();
        members.iter().any(|member| {
            missing = missing.saturating_sub(count(member));
            missing == 0
        })
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
        let Some(even) = self.pool.even() else { return Layout { head: 0, tail: 0, period_ms: f64::INFINITY } };
        self.steps += members.len() as u64;
        self.lines.clear();
        self.lines.extend(members.iter().map(|&member| *even.line(member, false, false)));
        let needed = even.blocks();
        let start_ms = forced_ms(&self.lines, even.stages().0);
        if even.is_plain() {
            return Layout { head: 0, tail: members.len() - 1, period_ms: least_ms(&self.lines, needed, start_ms, &mut self.work) };
        }
        self.steps += members.len() as u64 * u64::from(LOOKS);
        let inner = least_ms(&self.lines, needed, start_ms, &mut self.work);
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
        let period_ms = if takes { least_ms(&self.lines, even.blocks(), start_ms, &mut self.work) } else { f64::INFINITY };
        for position in [head, tail] {
            self.lines[position] = even.lines(members[position]).inner;
        }
        if period_ms < known.period_ms { Layout { head, tail, period_ms } } else { known }
    }

    /// Of models that are not even: the shortest time, to 1 part in 10^6, in which the set holds the model in the order given,
    /// or in that of their memory.
    fn cut_ms(&mut self, members: &[u32]) -> f64 {
        let pool = self.pool;
        let mut least = self.cut_in_order_ms(members, f64::INFINITY);
        for mut order in by_size(pool, members) {
            seat_ends(pool, &mut order);
            least = least.min(self.cut_in_order_ms(&order, least));
        }
        least
    }

    fn cut_in_order_ms(&mut self, order: &[u32], known_ms: f64) -> f64 {
        let most = order.iter().map(|&offer| self.pool.whole_ms(offer)).fold(0.0, f64::max);
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
        self.steps += order.len() as u64;
        order.iter().fold(0, |start, &offer| self.pool.end_within(self.pool.kind_of(offer), start, limit_ms)) == self.pool.blocks()
    }

    /// The slowest that a hop between two offers can be at any border.
    fn slowest_hop_ms(&self, from: u32, to: u32) -> f64 {
        let middle = self.pool.blocks() / 2;
        self.pool.ranges().hop_ms(from, to, middle.max(1))
    }
}

/// Offers from the one that holds least to the one that holds most, and the other way round.
pub fn by_size(pool: &Pool<'_, '_>, members: &[u32]) -> [Vec<u32>; 2] {
    let key = |offer: u32| (pool.size_key(offer), offer);
    let mut rising = Vec::with_capacity(members.len());
    // Searches ask for this more often than for anything else, and sets are small: each offer is put where it belongs at once.
    for &member in members {
        let place = rising.partition_point(|&other| key(other) < key(member));
        rising.insert(place, member);
    }
    let falling = rising.iter().rev().copied().collect();
    [rising, falling]
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
    let count = |line: &Line| line.ideal(limit_ms).min(f64::from(line.most));
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
/// them. It is when as many blocks are done as there are, each line doing one after another: counts at a guess are put right
/// by the blocks that are done next, or were done last. So the guess decides how long this takes, and not what comes out.
fn least_ms(lines: &[Line], blocks: u32, start_ms: f64, work: &mut Vec<Work>) -> f64 {
    if lines.iter().map(|line| u64::from(line.most)).sum::<u64>() < u64::from(blocks) {
        return f64::INFINITY;
    }
    let missing = count(lines, blocks, work);
    let done_ms = if missing < 0 { taken_back_ms(lines, work, -missing) } else { given_out_ms(lines, work, missing) };
    larger(done_ms, start_ms)
}

/// Counts at a guess, and how many blocks are missing then; below 0, how many are too many. The guess is raised from where
/// it would be right if each line began at once and memory never ended, so it is hardly ever too late.
fn count(lines: &[Line], blocks: u32, work: &mut Vec<Work>) -> i64 {
    let speed: f64 = lines.iter().map(|line| line.speed).sum();
    // Half a block more for each line, because counts are whole.
    let mut at = (f64::from(blocks) + 0.5 * lines.len() as f64) / speed;
    let mut missing = 0;
    for _ in 0..RAISES {
        missing = i64::from(blocks);
        let (mut open, mut speed) = (0, 0.0);
        work.clear();
        work.extend(lines.iter().map(|line| {
            let count = line.count(at);
            missing -= i64::from(count);
            if count < line.most {
                (open, speed) = (open + 1, speed + line.speed);
            }
            Work { count, at_ms: 0.0 }
        }));
        if missing <= open {
            break;
        }
        at += missing as f64 / speed;
    }
    missing
}

/// When all is done, after so many blocks more, each by whoever is done with it first.
fn given_out_ms(lines: &[Line], work: &mut [Work], missing: i64) -> f64 {
    let mut done_ms = 0.0;
    for (line, work) in lines.iter().zip(&*work).filter(|(_, work)| work.count > 0) {
        done_ms = larger(done_ms, line.ms(work.count));
    }
    if missing == 0 {
        return done_ms;
    }
    for (line, work) in lines.iter().zip(&mut *work) {
        work.at_ms = line.next_ms(work.count);
    }
    let mut next = (0, 0.0);
    for _ in 0..missing {
        next = (0, f64::INFINITY);
        for (position, work) in work.iter().enumerate() {
            if work.at_ms < next.1 {
                next = (position, work.at_ms);
            }
        }
        let (line, work) = (&lines[next.0], &mut work[next.0]);
        work.count += 1;
        work.at_ms = line.next_ms(work.count);
    }
    larger(done_ms, next.1)
}

/// When all is done, without so many blocks, each taken from whoever was done last.
fn taken_back_ms(lines: &[Line], work: &mut [Work], surplus: i64) -> f64 {
    // Blocks may take no time, but who has none was done before all others.
    let done_ms = |line: &Line, count: u32| if count > 0 { line.ms(count) } else { f64::NEG_INFINITY };
    for (line, work) in lines.iter().zip(&mut *work) {
        work.at_ms = done_ms(line, work.count);
    }
    let latest = |work: &[Work]| {
        let mut last = (0, f64::NEG_INFINITY);
        for (position, work) in work.iter().enumerate() {
            if work.at_ms > last.1 {
                last = (position, work.at_ms);
            }
        }
        last
    };
    for _ in 0..surplus {
        let last = latest(work).0;
        let (line, work) = (&lines[last], &mut work[last]);
        work.count = work.count.saturating_sub(1);
        work.at_ms = done_ms(line, work.count);
    }
    larger(latest(work).1, 0.0)
}

/// The larger of two numbers. In the sandbox `f64::max` is the call of a function, because of what is not a number.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The time below which fewer than `forced` lines take a block.
fn forced_ms(lines: &[Line], forced: u32) -> f64 {
    if forced <= 1 {
        return 0.0;
    }
    let forced = forced as usize;
    // The least times, ascending.
    let mut ones = Vec::with_capacity(forced.min(lines.len()) + 1);
    for one_ms in lines.iter().filter(|line| line.most > 0).map(|line| line.ms(1)) {
        let place = ones.partition_point(|&known| known <= one_ms);
        if place < forced {
            ones.insert(place, one_ms);
            ones.truncate(forced);
        }
    }
    ones.get(forced - 1).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// When the last of so many blocks is done, of all blocks of all lines one after another.
    fn listed_ms(lines: &[Line], blocks: u32) -> f64 {
        let mut all: Vec<f64> = lines.iter().flat_map(|line| (1..=line.most).map(|count| line.ms(count))).collect();
        all.sort_by(f64::total_cmp);
        all.get(blocks as usize - 1).copied().unwrap_or(f64::INFINITY)
    }

    proptest! {
        #[test]
        fn the_least_time_is_when_as_many_blocks_are_done_as_there_are(
            lines in prop::collection::vec((0.0_f64..50.0, 0.01_f64..5.0, 0_u32..60), 1..12),
            blocks in 1_u32..90,
            start_ms in 0.0_f64..20.0,
        ) {
            let line = |(base_ms, block_ms, most): (f64, f64, u32)| Line { base_ms, block_ms, most, speed: 1.0 / block_ms };
            let lines: Vec<Line> = lines.into_iter().map(line).collect();
            prop_assert_eq!(least_ms(&lines, blocks, start_ms, &mut Vec::new()), listed_ms(&lines, blocks).max(start_ms));
        }
    }
}
