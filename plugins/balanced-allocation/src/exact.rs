//! Exact search for small pools. For every set of offers, a dynamic program over (set, last offer, blocks placed) finds
//! the chain that uses exactly the set and has the least bottleneck, and the one with the least latency. A second one
//! over disjoint sets finds the best throughput, and a bounded search with that as its limit finds the best plan.
//!
//! Offers that share a memory pool are never used together; `fill` tries that where nothing else is left.

use shardhost_sdk::{
    allocation::{Objective, Replica, Stage},
    problem::Ranges,
};

use crate::score::{BALANCED_RATIO, Score, order};

/// Most offers that are searched exactly: 3^12 pairs of sets are half a million.
const OFFERS_MAX: u32 = 12;
/// Most steps of the dynamic programs, about a tenth of a second in the sandbox.
const STEPS_MAX: f64 = 3e7;
/// Most partitions that the last search looks at.
const VISITS_MAX: u32 = 200_000;

/// Whether the pool and the model are small enough.
pub fn affordable(ranges: &Ranges<'_>) -> bool {
    let (offers, blocks) = (f64::from(ranges.offers()), f64::from(ranges.blocks()));
    ranges.offers() <= OFFERS_MAX && offers.exp2() * offers * offers * blocks * blocks / 2.0 <= STEPS_MAX
}

/// Candidate plans, the best for the problem's objective among them.
pub fn plans(ranges: &Ranges<'_>) -> Vec<Vec<Replica>> {
    let tables = Tables::new(ranges);
    let fast = tables.chains(Goal::Latency);
    if ranges.problem().placement.objective == Objective::Latency {
        let least = fast.into_iter().flatten().min_by(|a, b| order(Objective::Latency, &a.score(), &b.score()));
        return least.map(|chain| vec![chain.replica]).into_iter().collect();
    }
    let tight = tables.chains(Goal::Bottleneck);
    Partition::new(ranges, &tables, tight, fast).search()
}

/// The latency of the best chain; infinite if there is none.
pub fn least_latency_ms(ranges: &Ranges<'_>) -> f64 {
    Tables::new(ranges).chains(Goal::Latency).iter().flatten().map(|chain| chain.latency_ms).fold(f64::INFINITY, f64::min)
}

/// What a chain should have least of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    Bottleneck,
    Latency,
}

/// The best chain of a set.
#[derive(Clone, Debug)]
struct Chain {
    replica: Replica,
    period_ms: f64,
    latency_ms: f64,
}

impl Chain {
    fn rate(&self) -> f64 {
        if self.period_ms > 0.0 { 1.0 / self.period_ms } else { 0.0 }
    }

    fn score(&self) -> Score {
        Score { throughput: self.rate(), latency_ms: self.latency_ms, stages: self.replica.stages.len() }
    }
}

/// How a state of the dynamic program was reached at best.
#[derive(Clone, Copy)]
struct Reached {
    period_ms: f64,
    latency_ms: f64,
    last: u32,
    start: u32,
}

impl Reached {
    const NOT: Self = Self { period_ms: f64::INFINITY, latency_ms: f64::INFINITY, last: 0, start: 0 };

    fn beats(&self, other: &Self, goal: Goal) -> bool {
        match goal {
            Goal::Bottleneck => (self.period_ms, self.latency_ms) < (other.period_ms, other.latency_ms),
            Goal::Latency => (self.latency_ms, self.period_ms) < (other.latency_ms, other.period_ms),
        }
    }
}

/// Everything that the dynamic programs ask often, computed once.
struct Tables<'r, 'a> {
    ranges: &'r Ranges<'a>,
    offers: u32,
    blocks: u32,
    /// For each offer, those that share its memory pool, itself left out.
    siblings: Vec<u32>,
    /// Run time by offer, start and end; infinite where the range may not be placed.
    run_ms: Vec<f64>,
}

impl<'r, 'a> Tables<'r, 'a> {
    fn new(ranges: &'r Ranges<'a>) -> Self {
        let (offers, blocks) = (ranges.offers(), ranges.blocks());
        let shares = |a: u32, b: u32| a != b && ranges.pool(a) == ranges.pool(b);
        let siblings = (0..offers).map(|a| (0..offers).filter(|&b| shares(a, b)).map(|b| 1 << b).sum()).collect();
        let mut run_ms = vec![f64::INFINITY; (offers * blocks * (blocks + 1)) as usize];
        for offer in 0..offers {
            for start in 0..blocks {
                for end in start + 1..=blocks {
                    if ranges.need(offer, start, end) > ranges.offer(offer).memory_bytes {
                        break;
                    }
                    if ranges.fits(offer, start, end) {
                        run_ms[((offer * blocks + start) * (blocks + 1) + end) as usize] = ranges.run_ms(offer, start, end);
                    }
                }
            }
        }
        Self { ranges, offers, blocks, siblings, run_ms }
    }

    fn siblings_of(&self, set: u32) -> u32 {
        (0..self.offers).filter(|offer| set & (1 << offer) != 0).fold(0, |siblings, offer| siblings | self.siblings[offer as usize])
    }

    fn state(&self, set: u32, last: u32, blocks: u32) -> usize {
        ((set * self.offers + last) * (self.blocks + 1) + blocks) as usize
    }

    /// The best chain of each set that has one with an allowed number of stages.
    fn chains(&self, goal: Goal) -> Vec<Option<Chain>> {
        let placement = &self.ranges.problem().placement;
        let mut reached = vec![Reached::NOT; (1_usize << self.offers) * (self.offers * (self.blocks + 1)) as usize];
        for offer in 0..self.offers {
            let start = Reached { period_ms: 0.0, latency_ms: 0.0, last: offer, start: 0 };
            self.extend(&mut reached, &start, (0, 0, offer), goal);
        }
        for set in 1_u32..1 << self.offers {
            if set.count_ones() >= placement.stages_max {
                continue;
            }
            let taken = set | self.siblings_of(set);
            // From the last offer down, so that of equal chains the one in the order of ids is found.
            for last in (0..self.offers).rev().filter(|last| set & (1 << last) != 0) {
                for blocks in 1..self.blocks {
                    let from = reached[self.state(set, last, blocks)];
                    if from.latency_ms.is_finite() {
                        let here = Reached { last, start: blocks, ..from };
                        (0..self.offers).filter(|next| taken & (1 << next) == 0).for_each(|next| self.extend(&mut reached, &here, (set, blocks, next), goal));
                    }
                }
            }
        }
        let allowed = |set: &u32| (placement.stages_min..=placement.stages_max).contains(&set.count_ones());
        (0..1 << self.offers).map(|set| allowed(&set).then(|| self.chain(&reached, set, goal)).flatten()).collect()
    }

    /// Adds a stage of every possible length on `next` to a state.
    fn extend(&self, reached: &mut [Reached], from: &Reached, (set, start, next): (u32, u32, u32), goal: Goal) {
        let hop = if start == 0 { 0.0 } else { self.ranges.hop_ms(from.last, next, start) };
        let row = ((next * self.blocks + start) * (self.blocks + 1)) as usize;
        for end in start + 1..=self.blocks {
            let run = self.run_ms[row + end as usize];
            if run.is_infinite() {
                continue;
            }
            let candidate = Reached { period_ms: from.period_ms.max(run).max(hop), latency_ms: from.latency_ms + run + hop, last: from.last, start };
            let state = self.state(set | 1 << next, next, end);
            if candidate.beats(&reached[state], goal) {
                reached[state] = candidate;
            }
        }
    }

    fn chain(&self, reached: &[Reached], set: u32, goal: Goal) -> Option<Chain> {
        let members = (0..self.offers).filter(|offer| set & (1 << offer) != 0);
        let end = |last: &u32| reached[self.state(set, *last, self.blocks)];
        let mut last = members.filter(|last| end(last).latency_ms.is_finite()).reduce(|a, b| if end(&a).beats(&end(&b), goal) { a } else { b })?;
        let Reached { period_ms, latency_ms, .. } = end(&last);
        let mut stages = Vec::new();
        let (mut rest, mut blocks) = (set, self.blocks);
        while blocks > 0 {
            let step = reached[self.state(rest, last, blocks)];
            stages.push(Stage { offer: last, start: step.start, end: blocks });
            (rest, blocks, last) = (rest & !(1 << last), step.start, step.last);
        }
        stages.reverse();
        Some(Chain { replica: Replica { stages }, period_ms, latency_ms })
    }
}

/// The search for disjoint sets.
struct Partition<'r, 'a> {
    objective: Objective,
    replicas_max: usize,
    /// Offers that a set rules out: its own and those that share a pool with one of them.
    ruled_out: Vec<u32>,
    tight: Vec<Option<Chain>>,
    fast: Vec<Option<Chain>>,
    /// By replicas left and offers left: the most throughput that can be had.
    most: Vec<Vec<f64>>,
    floor: f64,
    visits: u32,
    chosen: Vec<(u32, bool)>,
    found: Option<(Score, Vec<(u32, bool)>)>,
    _ranges: &'r Ranges<'a>,
}

impl<'r, 'a> Partition<'r, 'a> {
    fn new(ranges: &'r Ranges<'a>, tables: &Tables<'r, 'a>, tight: Vec<Option<Chain>>, fast: Vec<Option<Chain>>) -> Self {
        let placement = &ranges.problem().placement;
        let replicas_max = placement.replicas_max.min(ranges.offers()) as usize;
        let ruled_out: Vec<u32> = (0..1_u32 << ranges.offers()).map(|set| set | tables.siblings_of(set)).collect();
        let most = most(&tight, &ruled_out, replicas_max);
        let all = most[replicas_max].last().copied().unwrap_or(0.0);
        let given = if placement.objective == Objective::Balanced { BALANCED_RATIO } else { 0.0 };
        // The last factor keeps rounding from ruling the best plan out.
        let floor = all * (1.0 - given) * (1.0 - 1e-9);
        Self { objective: placement.objective, replicas_max, ruled_out, tight, fast, most, floor, visits: 0, chosen: Vec::new(), found: None, _ranges: ranges }
    }

    fn search(mut self) -> Vec<Vec<Replica>> {
        let everything = u32::try_from(self.tight.len() - 1).unwrap_or(u32::MAX);
        self.visit(everything, 0.0);
        let Some((_, chosen)) = &self.found else {
            return Vec::new();
        };
        let mut replicas: Vec<_> = chosen.iter().filter_map(|&(set, fast)| self.chain(set, fast)).map(|chain| chain.replica.clone()).collect();
        replicas.sort_by_key(|replica| replica.stages[0].offer);
        vec![replicas]
    }

    fn chain(&self, set: u32, fast: bool) -> Option<&Chain> {
        if fast { self.fast[set as usize].as_ref() } else { self.tight[set as usize].as_ref() }
    }

    /// Tries every way to use the offers that are left, where it can still reach the floor.
    fn visit(&mut self, left: u32, throughput: f64) {
        self.visits += 1;
        let reachable = throughput + self.most[self.replicas_max - self.chosen.len()][left as usize];
        if reachable < self.floor || self.visits > VISITS_MAX {
            return;
        }
        if throughput >= self.floor && !self.chosen.is_empty() {
            self.note();
        }
        if left == 0 || self.chosen.len() == self.replicas_max {
            return;
        }
        let low = left & left.wrapping_neg();
        let rest = left & !low;
        let mut others = rest;
        loop {
            let set = others | low;
            for fast in [false, true] {
                let Some(rate) = self.chain(set, fast).map(Chain::rate) else { continue };
                self.chosen.push((set, fast));
                self.visit(left & !self.ruled_out[set as usize], throughput + rate);
                self.chosen.pop();
            }
            if others == 0 {
                break;
            }
            others = (others - 1) & rest;
        }
        self.visit(rest, throughput);
    }

    fn note(&mut self) {
        let chains = self.chosen.iter().filter_map(|&(set, fast)| self.chain(set, fast));
        let (mut throughput, mut weighted, mut stages) = (0.0, 0.0, 0);
        for chain in chains {
            throughput += chain.rate();
            weighted += chain.rate() * chain.latency_ms;
            stages = stages.max(chain.replica.stages.len());
        }
        let score = Score { throughput, latency_ms: weighted / throughput, stages };
        if self.found.as_ref().is_none_or(|(best, _)| order(self.objective, &score, best).is_lt()) {
            self.found = Some((score, self.chosen.clone()));
        }
    }
}

/// The most throughput by number of replicas and set of offers.
fn most(tight: &[Option<Chain>], ruled_out: &[u32], replicas_max: usize) -> Vec<Vec<f64>> {
    let rate: Vec<f64> = tight.iter().map(|chain| chain.as_ref().map_or(0.0, Chain::rate)).collect();
    let mut most = vec![vec![0.0; tight.len()]];
    for replicas in 1..=replicas_max {
        let mut row = vec![0.0_f64; tight.len()];
        for left in 1..tight.len() {
            let low = left & left.wrapping_neg();
            let rest = left & !low;
            let mut best = row[rest];
            let mut others = rest;
            loop {
                let set = others | low;
                if rate[set] > 0.0 {
                    best = best.max(rate[set] + most[replicas - 1][left & !(ruled_out[set] as usize)]);
                }
                if others == 0 {
                    break;
                }
                others = (others - 1) & rest;
            }
            row[left] = best;
        }
        most.push(row);
    }
    most
}
