//! The best plan of a small pool: the best chain of every set of offers, then the best choice of disjoint sets.
//!
//! Chains come from counts where a model is even and all offers take every place, else from the dynamic program over
//! positions, which needs no assumption.

use shardhost_sdk::allocation::{Objective, Replica};

use crate::{
    chains::{Chain, KindStage, Tables},
    cut::{Goal, cost_of},
    even::Even,
    held::Held,
    lattice::Lattice,
    partition::{self, Options},
    period::Gauge,
    pool::Pool,
    realise,
    score::{BALANCED_RATIO, Score, best},
};

/// Most sets of offers.
const SETS_MAX: u32 = 1 << 14;

/// The best plan, or that there is none.
#[derive(Clone, PartialEq, Debug)]
pub struct Exact {
    /// The best plan; none if no set of offers holds the model.
    pub plan: Option<Vec<Replica>>,
    /// The most throughput that plans without an offer in two stages have.
    pub throughput: f64,
    /// The least latency of a chain without an offer in two stages; infinite if it was not asked for.
    pub latency_ms: f64,
}

/// None if the pool is too large.
pub fn solve(pool: &Pool<'_, '_>) -> Option<Exact> {
    let lattice = Lattice::of(pool, SETS_MAX)?;
    let limits = pool.limits();
    if limits.objective == Objective::Latency {
        let fastest = Tables::of(pool, &lattice)?.chains(Goal::Latency);
        return Some(fastest_chain(pool, fastest));
    }
    if !partition::is_affordable(&lattice, limits.replicas_max) {
        return None;
    }
    let countable = pool.even().is_some_and(Even::is_plain) && !pool.is_measured() && pool.ranges().problem().exclusions.is_empty();
    let options = match countable {
        true => counted(pool, &lattice),
        false => {
            let tables = Tables::of(pool, &lattice)?;
            Options { tight: tables.chains(Goal::Bottleneck), fast: tables.chains(Goal::Latency) }
        }
    };
    let given = if limits.objective == Objective::Balanced { BALANCED_RATIO } else { 0.0 };
    let found = partition::best(pool, &lattice, &options, given);
    let throughput = found.as_ref().map_or(0.0, |found| found.1);
    Some(Exact { plan: found.map(|found| found.0), throughput, latency_ms: f64::INFINITY })
}

fn fastest_chain(pool: &Pool<'_, '_>, chains: Vec<Option<Chain>>) -> Exact {
    let scored = chains.into_iter().flatten().map(|chain| {
        let score = Score { throughput: chain.cost.rate(), latency_ms: chain.cost.latency_ms, stages: chain.stages.len() };
        (score, chain)
    });
    let mut free = crate::chains::offers_by_kind(pool);
    let least = scored.min_by(|a, b| crate::score::order(Objective::Latency, &a.0, &b.0));
    let latency_ms = least.as_ref().map_or(f64::INFINITY, |(score, _)| score.latency_ms);
    Exact { plan: least.and_then(|(_, chain)| Some(vec![chain.with_offers(&mut free)?])), throughput: 0.0, latency_ms }
}

/// The chains of each set by counts of blocks.
fn counted(pool: &Pool<'_, '_>, lattice: &Lattice) -> Options {
    let mut gauge = Gauge::new(pool);
    let held = Held::default();
    let mut options = Options { tight: vec![None], fast: vec![None] };
    let mut members = Vec::new();
    for set in 1..lattice.size() {
        members.clear();
        for (kind, offers) in (0..).zip(pool.kinds()) {
            members.extend_from_slice(&offers.members[..lattice.count(set, kind) as usize]);
        }
        let tight = gauge.period_ms(&members).is_finite().then(|| chain_of(&mut gauge, &held, &members, None)).flatten();
        options.fast.push(tight.as_ref().and_then(|_| chain_of(&mut gauge, &held, &members, Some(f64::INFINITY))));
        options.tight.push(tight);
    }
    options
}

fn chain_of(gauge: &mut Gauge<'_, '_, '_>, held: &Held, members: &[u32], limit_ms: Option<f64>) -> Option<Chain> {
    let replica = realise::chain(gauge, held, members, limit_ms)?;
    let pool = gauge.pool();
    let stages = replica.stages.iter().map(|stage| KindStage { kind: pool.kind_of(stage.offer), start: stage.start, end: stage.end });
    Some(Chain { cost: cost_of(pool, &replica.stages), stages: stages.collect() })
}

/// The best of several plans by an objective.
pub fn best_of(pool: &Pool<'_, '_>, plans: Vec<Vec<Replica>>) -> Option<Vec<Replica>> {
    let scored = plans.into_iter().map(|plan| (Score::of(pool.ranges(), &plan), plan)).collect();
    best(pool.limits().objective, scored).map(|(_, plan)| plan)
}
