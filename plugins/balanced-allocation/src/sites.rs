//! The chain of least latency for an even model, where the order of offers does not matter: a dynamic program over offers,
//! grouped by site, with a flag that says whether the site was opened. Exact for links of two levels, if no other links were
//! measured and no device makes two offers.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{
    even::{Even, Line},
    pool::{Kind, Pool, index},
    sorting,
};

/// Most entries that remember a choice; each takes 4 bytes.
const CHOICES_MAX: usize = 4_000_000;
/// Stages of the chains that are looked at first.
const DEPTHS: [usize; 4] = [4, 8, 16, 32];
/// Most offers that are looked at after those that others beat in all respects are gone.
const OFFERS_MAX: usize = 256;

/// A chain and whether none is faster.
#[derive(Clone, PartialEq, Debug)]
pub struct Fastest {
    /// The chain.
    pub replica: Replica,
    /// What the program says that it takes; a lower bound for its model of the links.
    pub latency_ms: f64,
    /// Whether every chain was considered.
    pub complete: bool,
}

/// What an entry was reached by: the ends that were taken before, whether the site was open, and the blocks.
#[derive(Clone, Copy, Default)]
struct Choice {
    count: u16,
    ends: u8,
    open: bool,
    taken: bool,
}

const HEAD: usize = 1;
const TAIL: usize = 2;

/// The fastest chain of two stages or more, or of `stages_min`; none if memory holds none. Chains of few stages are looked at
/// first: mostly they prove that deeper ones are slower.
pub fn fastest(pool: &Pool<'_, '_>, even: &Even) -> Option<Fastest> {
    let wanted = (even.stages().1 as usize).min(even.blocks() as usize).min(pool.usable().len());
    let mut best = None;
    for depth in DEPTHS.into_iter().filter(|&depth| depth < wanted).chain([wanted]) {
        let Some(found) = of_depth(pool, even, depth, wanted) else { continue };
        let complete = found.complete;
        best = Some(found);
        if complete {
            break;
        }
    }
    best
}

fn of_depth(pool: &Pool<'_, '_>, even: &Even, depth: usize, wanted: usize) -> Option<Fastest> {
    let stages_min = even.stages().0 as usize;
    let (offers, all_offers) = candidates(pool, even, depth);
    let end_states = if even.is_plain() { 1 } else { 4 };
    let room = CHOICES_MAX / (offers.len().max(1) * end_states * 2 * (even.blocks() as usize + 1));
    let stages = depth.min(offers.len()).min(room.saturating_sub(1));
    if stages < 2.max(stages_min) {
        return None;
    }
    let mut program = Program::new(even, stages, end_states);
    let mut choices = Vec::new();
    let mut site = None;
    for &offer in &offers {
        let here = even.place(offer).site;
        if site.replace(here) != Some(here) {
            choices.push((None, program.close_site()));
        }
        choices.push((Some(offer), program.offer(even, offer)));
    }
    let (state, latency_ms) = program.best(stages_min)?;
    let replica = program.unwind(even, &choices, state);
    let deep_enough = stages == wanted || program.deeper_is_slower(pool, even, latency_ms);
    Some(Fastest { replica, latency_ms, complete: all_offers && deep_enough })
}

/// Offers that a chain of so many stages may need, by site: one that as many others of its site beat in all respects is
/// never needed.
fn candidates(pool: &Pool<'_, '_>, even: &Even, stages: usize) -> (Vec<u32>, bool) {
    let mut offers = pool.usable();
    let speed = |offer: u32| even.lines(offer).inner;
    sorting::sort_by(&mut offers, &|offer| sorting::rising(speed(offer).base_ms));
    sorting::sort_stable_by(&mut offers, &|offer| sorting::rising(speed(offer).block_ms));
    sorting::sort_stable_by(&mut offers, &|offer| u64::from(even.place(offer).site));
    let beats = |one: &Line, two: &Line| one.block_ms <= two.block_ms && one.base_ms <= two.base_ms && one.most >= two.most;
    let mut kept: Vec<u32> = Vec::new();
    for offer in offers {
        let lines = even.lines(offer);
        let better = kept.iter().filter(|&&other| {
            let others = even.lines(other);
            even.place(other).site == even.place(offer).site
                && beats(&others.inner, &lines.inner)
                && beats(&others.head, &lines.head)
                && beats(&others.tail, &lines.tail)
        });
        if better.take(stages).count() < stages {
            kept.push(offer);
        }
    }
    let complete = kept.len() <= OFFERS_MAX;
    if !complete {
        let mut fastest = kept.clone();
        sorting::keep_least_by(&mut fastest, OFFERS_MAX, &|offer| sorting::rising(speed(offer).block_ms));
        kept.retain(|offer| fastest.contains(offer));
    }
    (kept, complete)
}

/// The table: by ends taken, whether the site of the offers at hand is open, stages and blocks.
struct Program {
    cost: Vec<f64>,
    end_states: usize,
    stages: usize,
    blocks: usize,
    /// By count of blocks, from 1 on: milliseconds of the line at hand.
    times: Vec<f64>,
}

impl Program {
    fn new(even: &Even, stages: usize, end_states: usize) -> Self {
        let blocks = even.blocks() as usize;
        let mut program = Self { cost: vec![f64::INFINITY; end_states * 2 * (stages + 1) * (blocks + 1)], end_states, stages, blocks, times: Vec::new() };
        let start = program.entry(0, false, 0, 0);
        program.cost[start] = 0.0;
        program
    }

    fn entry(&self, ends: usize, open: bool, stages: usize, blocks: usize) -> usize {
        ((ends * 2 + usize::from(open)) * (self.stages + 1) + stages) * (self.blocks + 1) + blocks
    }

    /// Leaves the site at hand: what it has open is closed. Remembers which closed entries were open.
    fn close_site(&mut self) -> Vec<Choice> {
        let half = (self.stages + 1) * (self.blocks + 1);
        let mut choices = vec![Choice::default(); self.cost.len()];
        for (pair, choices) in self.cost.chunks_exact_mut(2 * half).zip(choices.chunks_exact_mut(2 * half)) {
            let (closed, open) = pair.split_at_mut(half);
            for ((closed, open), choice) in closed.iter_mut().zip(open).zip(choices) {
                choice.open = *open < *closed;
                *closed = closed.min(*open);
                *open = f64::INFINITY;
            }
        }
        choices
    }

    /// Lets an offer take any number of blocks, or none.
    fn offer(&mut self, even: &Even, offer: u32) -> Vec<Choice> {
        let mut choices = vec![Choice::default(); self.cost.len()];
        let (lines, hops) = (even.lines(offer), even.hops());
        for stages in (1..=self.stages).rev() {
            for ends in 0..self.end_states {
                let mut places = vec![(ends, *even.line(offer, false, false))];
                if self.end_states > 1 {
                    places
                        .extend([(HEAD, lines.head), (TAIL, lines.tail)].into_iter().filter(|(end, _)| ends & end != 0).map(|(end, line)| (ends & !end, line)));
                }
                for (before, line) in places {
                    for open in [false, true] {
                        let hop_ms = if stages == 1 {
                            0.0
                        } else if open {
                            hops.within_ms
                        } else {
                            hops.between_ms
                        };
                        self.take(&mut choices, (ends, before, open, stages), &line, hop_ms);
                    }
                }
            }
        }
        choices
    }

    fn take(&mut self, choices: &mut [Choice], (ends, before, open, stages): (usize, usize, bool, usize), line: &Line, hop_ms: f64) {
        let (from, to) = (self.entry(before, open, stages - 1, 0), self.entry(ends, true, stages, 0));
        let most = (line.most as usize).min(self.blocks);
        self.times.clear();
        self.times.extend((1..=index(most)).map(|count| line.ms(count)));
        for blocks in 0..self.blocks {
            let cost = self.cost[from + blocks] + hop_ms;
            if !cost.is_finite() {
                continue;
            }
            let (first, last) = (to + blocks + 1, to + blocks + most.min(self.blocks - blocks));
            let entries = self.cost[first..=last].iter_mut().zip(&mut choices[first..=last]);
            for ((known, choice), (count, ms)) in entries.zip((1..).zip(&self.times)) {
                let total = cost + ms;
                if total < *known {
                    *known = total;
                    *choice = Choice { count, ends: before as u8, open, taken: true };
                }
            }
        }
    }

    /// The best complete chain with enough stages.
    fn best(&self, stages_min: usize) -> Option<((usize, bool, usize), f64)> {
        let ends = self.end_states - 1;
        let complete = (stages_min.max(1)..=self.stages).flat_map(|stages| [false, true].map(|open| (ends, open, stages)));
        let cost = |&(ends, open, stages): &(usize, bool, usize)| self.cost[self.entry(ends, open, stages, self.blocks)];
        let best = complete.min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        Some((best, cost(&best))).filter(|(_, cost)| cost.is_finite())
    }

    /// Whether chains of more stages than the table has are slower than a latency, whatever they do: all blocks on the
    /// fastest offers as far as these hold them, and the least that so many stages take besides.
    fn deeper_is_slower(&self, pool: &Pool<'_, '_>, even: &Even, latency_ms: f64) -> bool {
        let mut kinds: Vec<u32> = (0..even.kinds()).collect();
        sorting::sort_by(&mut kinds, &|kind| sorting::rising(even.lines_of_kind(kind).inner.block_ms));
        let (mut left, mut blocks_ms) = (self.blocks as f64, 0.0);
        for kind in kinds {
            let lines = even.lines_of_kind(kind);
            let block_ms = lines.inner.block_ms;
            let most = f64::from(lines.inner.most.max(lines.head.most).max(lines.tail.most)) * pool.kinds()[kind as usize].members.len() as f64;
            blocks_ms += most.min(left) * block_ms;
            left -= most.min(left);
        }
        let lines = (0..even.kinds()).map(|kind| even.lines_of_kind(kind));
        let base_ms = lines.map(|lines| lines.inner.base_ms.min(lines.head.base_ms).min(lines.tail.base_ms)).fold(f64::INFINITY, f64::min);
        let site = |kind: &Kind| pool.site(kind.members[0]);
        let one_site = pool.kinds().windows(2).all(|pair| site(&pair[0]) == site(&pair[1]));
        let hops = even.hops();
        let hop_ms = if one_site { hops.within_ms } else { hops.within_ms.min(hops.between_ms) };
        let stages = self.stages as f64;
        blocks_ms + base_ms * (stages + 1.0) + stages * hop_ms >= latency_ms
    }

    fn unwind(&self, even: &Even, choices: &[(Option<u32>, Vec<Choice>)], (mut ends, mut open, mut stages): (usize, bool, usize)) -> Replica {
        let mut blocks = self.blocks;
        let mut taken: Vec<(u32, u32, usize)> = Vec::new();
        for (offer, choices) in choices.iter().rev() {
            let choice = choices[self.entry(ends, open, stages, blocks)];
            let Some(offer) = *offer else {
                open = choice.open;
                continue;
            };
            if choice.taken {
                let (before, count) = (usize::from(choice.ends), usize::from(choice.count));
                taken.push((offer, u32::from(choice.count), ends & !before));
                (ends, open, stages, blocks) = (before, choice.open, stages - 1, blocks - count);
            }
        }
        arrange(even, &taken)
    }
}

/// Head first, tail last, sites together.
fn arrange(even: &Even, taken: &[(u32, u32, usize)]) -> Replica {
    let site_of = |end: usize| taken.iter().find(|(_, _, ends)| ends & end != 0).map(|&(offer, _, _)| even.place(offer).site);
    let (first, last) = (site_of(HEAD), site_of(TAIL));
    let mut order: Vec<u32> = (0..index(taken.len())).collect();
    sorting::sort_by(&mut order, &|position| u64::from(taken[position as usize].0));
    sorting::sort_stable_by(&mut order, &|position| {
        let (offer, _, ends) = taken[position as usize];
        let site = even.place(offer).site;
        let end = 1 + u32::from(ends & TAIL != 0) - u32::from(ends & HEAD != 0);
        let near = 1 + u32::from(Some(site) == last && first != last) - u32::from(Some(site) == first);
        sorting::pair(end * 3 + near, site)
    });
    let mut start = 0;
    let stages = order.into_iter().map(|position| {
        let (offer, count, _) = taken[position as usize];
        let stage = Stage { offer, start, end: start + count };
        start = stage.end;
        stage
    });
    Replica { stages: stages.collect() }
}
