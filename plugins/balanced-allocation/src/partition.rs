//! The best choice of disjoint sets, once the best chain of each set is known: a dynamic program over sets for the most
//! throughput, then a bounded search for what an objective prefers among plans that have enough of it.

use shardhost_sdk::allocation::{Objective, Replica};

use crate::{
    chains::{Chain, offers_by_kind},
    lattice::Lattice,
    pool::Pool,
    score::{Score, TIE_RATIO, order},
};

/// Most pairs of a set and a part of it; 3^13 for single offers.
const PAIRS_MAX: f64 = 2.5e6;
/// Most partitions that the last search looks at.
const VISITS_MAX: u32 = 200_000;

/// Whether all choices can be tried with at most so many replicas.
pub fn is_affordable(lattice: &Lattice, replicas_max: u32) -> bool {
    let rows = if replicas_max >= lattice.members(lattice.all()) { 1.0 } else { f64::from(replicas_max) };
    lattice.pairs() * rows <= PAIRS_MAX
}

/// The chains of each set: with the least bottleneck, and with the least latency.
#[derive(Debug)]
pub struct Options {
    /// Least bottleneck.
    pub tight: Vec<Option<Chain>>,
    /// Least latency.
    pub fast: Vec<Option<Chain>>,
}

impl Options {
    fn of(&self, (set, fast): (u32, bool)) -> Option<&Chain> {
        if fast { self.fast[set as usize].as_ref() } else { self.tight[set as usize].as_ref() }
    }
}

/// The plan that an objective prefers, and the most throughput of any; none if no set has a chain.
pub fn best(pool: &Pool<'_, '_>, lattice: &Lattice, options: &Options, given_ratio: f64) -> Option<(Vec<Replica>, f64)> {
    let limits = pool.limits();
    let most = Most::of(lattice, options, limits.replicas_max);
    let all = most.of_set(lattice.all(), most.rows.len() - 1);
    if all <= 0.0 {
        return None;
    }
    // The last factor keeps rounding from ruling the best plan out.
    let floor = all * (1.0 - given_ratio) * (1.0 - TIE_RATIO);
    let mut search =
        Search { lattice, options, most: &most, objective: limits.objective, floor, visits: 0, chosen: most.choice(lattice, options), found: None };
    let sum = search.chosen.iter().filter_map(|&choice| options.of(choice)).fold(Sum::default(), Sum::with);
    search.note(sum);
    // Nothing beats the most throughput at the least latency and with the fewest stages that any set has.
    let least_ms = options.fast.iter().flatten().map(|chain| chain.cost.latency_ms).fold(f64::INFINITY, f64::min);
    let fewest = options.tight.iter().chain(&options.fast).flatten().map(|chain| chain.stages.len()).min().unwrap_or(0);
    let is_least = |score: &Score| score.latency_ms <= least_ms * (1.0 + TIE_RATIO) && score.stages <= fewest;
    if !search.found.as_ref().is_some_and(|(score, _)| is_least(score)) {
        search.chosen.clear();
        search.visit(lattice.all(), Sum::default());
    }
    let (_, chosen) = search.found?;
    let mut free = offers_by_kind(pool);
    let replicas: Option<Vec<Replica>> = chosen.iter().map(|&choice| options.of(choice)?.with_offers(&mut free)).collect();
    Some((replicas?, all))
}

/// The most throughput by set, for up to so many replicas as the number of the row says; one row if they are not limited.
struct Most {
    rows: Vec<Vec<f64>>,
    limited: bool,
}

impl Most {
    fn of(lattice: &Lattice, options: &Options, replicas_max: u32) -> Self {
        let limited = replicas_max < lattice.members(lattice.all());
        let mut most = Self { rows: vec![vec![0.0; lattice.size() as usize]], limited };
        for _ in 0..if limited { replicas_max } else { 1 } {
            let row = most.next(lattice, options);
            most.rows.push(row);
        }
        most
    }

    fn next(&self, lattice: &Lattice, options: &Options) -> Vec<f64> {
        let mut row = vec![0.0_f64; lattice.size() as usize];
        for set in 1..lattice.size() {
            let mut best = lattice.without_first(set).map_or(0.0, |(rest, _)| row[rest as usize]);
            lattice.first_parts(set, |part| {
                if let Some(chain) = &options.tight[part as usize] {
                    let rest = (set - part) as usize;
                    let others = if self.limited { self.rows[self.rows.len() - 1][rest] } else { row[rest] };
                    best = best.max(chain.cost.rate() + others);
                }
                true
            });
            row[set as usize] = best;
        }
        row
    }

    /// With so many replicas left.
    fn of_set(&self, set: u32, replicas: usize) -> f64 {
        let row = if self.limited { replicas } else { 1 };
        self.rows[row.min(self.rows.len() - 1)][set as usize]
    }

    /// One way to have the most throughput.
    fn choice(&self, lattice: &Lattice, options: &Options) -> Vec<(u32, bool)> {
        let (mut chosen, mut left, mut replicas) = (Vec::new(), lattice.all(), self.rows.len() - 1);
        while let Some((rest, _)) = lattice.without_first(left) {
            let goal = self.of_set(left, replicas);
            if goal <= 0.0 {
                break;
            }
            if self.of_set(rest, replicas) >= goal {
                left = rest;
                continue;
            }
            let fewer = if self.limited { replicas - 1 } else { replicas };
            let mut best = (0.0, left);
            lattice.first_parts(left, |part| {
                if let Some(chain) = &options.tight[part as usize] {
                    let sum = chain.cost.rate() + self.of_set(left - part, fewer);
                    // Of parts that differ by rounding alone the first, which is the smallest.
                    best = if sum > best.0 * (1.0 + TIE_RATIO) { (sum, part) } else { best };
                }
                true
            });
            chosen.push((best.1, false));
            (left, replicas) = (left - best.1, fewer);
        }
        chosen
    }
}

/// What the chains that are chosen come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    throughput: f64,
    /// Latencies, each as often as its chain answers.
    weighted: f64,
    stages: usize,
}

impl Sum {
    fn with(self, chain: &Chain) -> Self {
        let rate = chain.cost.rate();
        Self { throughput: self.throughput + rate, weighted: self.weighted + rate * chain.cost.latency_ms, stages: self.stages.max(chain.stages.len()) }
    }
}

struct Search<'o> {
    lattice: &'o Lattice,
    options: &'o Options,
    most: &'o Most,
    objective: Objective,
    floor: f64,
    visits: u32,
    chosen: Vec<(u32, bool)>,
    found: Option<(Score, Vec<(u32, bool)>)>,
}

impl Search<'_> {
    /// Tries every way to use the offers that are left, where it can still reach the floor.
    fn visit(&mut self, left: u32, sum: Sum) {
        self.visits += 1;
        if sum.throughput >= self.floor && !self.chosen.is_empty() {
            self.note(sum);
        }
        let Some((rest, _)) = self.lattice.without_first(left) else { return };
        if !self.is_promising(left, sum, 0) {
            return;
        }
        let mut parts = Vec::new();
        self.lattice.first_parts(left, |part| {
            parts.push(part);
            true
        });
        for part in parts {
            for fast in [false, true] {
                let Some(sum) = self.options.of((part, fast)).map(|chain| sum.with(chain)) else { continue };
                if self.is_promising(left - part, sum, 1) {
                    self.chosen.push((part, fast));
                    self.visit(left - part, sum);
                    self.chosen.pop();
                }
            }
        }
        if self.is_promising(rest, sum, 0) {
            self.visit(rest, sum);
        }
    }

    /// Whether what is left can bring the throughput up to the floor, and the search has time left.
    fn is_promising(&self, left: u32, sum: Sum, more: usize) -> bool {
        let all = self.most.rows.len() - 1;
        let replicas = if self.most.limited { all.checked_sub(self.chosen.len() + more) } else { Some(all) };
        self.visits <= VISITS_MAX && replicas.is_some_and(|replicas| sum.throughput + self.most.of_set(left, replicas) >= self.floor)
    }

    fn note(&mut self, Sum { throughput, weighted, stages }: Sum) {
        if throughput <= 0.0 {
            return;
        }
        let score = Score { throughput, latency_ms: weighted / throughput, stages };
        if self.found.as_ref().is_none_or(|(best, _)| order(self.objective, &score, best).is_lt()) {
            self.found = Some((score, self.chosen.clone()));
        }
    }
}
