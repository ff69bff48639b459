//! The best plan that is found from nothing: exact where the pool is small, else by filling and improving, or for latency by
//! the search for one chain; over all ways to share memory out.

use shardhost_sdk::{
    allocation::{Objective, Replica, Stage},
    problem::Ranges,
};

use crate::{
    any_chain, bound,
    exact::{self, best_of},
    held::Held,
    latency,
    local_search::improve,
    period::Gauge,
    polish::polish,
    pool::Pool,
    realise,
    score::Score,
    settings::Settings,
    sweep::{Grouping, groupings},
};

/// Groupings of a sweep that are improved, the best first.
const IMPROVED: usize = 6;
/// The same in large pools.
const IMPROVED_LARGE: usize = 2;
/// The largest pool that is not large.
const OFFERS_SEVERAL_MAX: u32 = 256;

/// What a search came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The plan; none if there is none that it could find, or none that is clearly better than what is known.
    pub plan: Option<Vec<Replica>>,
    /// How it was found, in a word.
    pub how: &'static str,
    /// Throughput that plans are measured by: the most of any that was found, whatever is in force.
    pub most: f64,
    /// Proved, by the objective; 0 if nothing is.
    pub bound: f64,
    /// Proved for plans without an offer in two stages.
    pub disjoint_bound: f64,
}

/// Searches all variants of a pool; the first gives every offer all of its memory.
pub fn answer(variants: &[Pool<'_, '_>], settings: &Settings, enough: Option<f64>) -> Answer {
    let ranges = variants[0].ranges();
    let mut found = bounds(&variants[0]);
    let mut plans = Vec::new();
    for pool in variants {
        let part = one(pool, settings, enough);
        found.most = found.most.max(part.most);
        // What is proved where offers count on memory twice holds for all ways to share it out.
        let proves = pool.is_relaxed() || variants.len() == 1;
        if proves {
            take_bounds(ranges, &mut found, part.bound, part.disjoint_bound);
        }
        let plan = part.plan.filter(|plan| ranges.check(plan).is_ok());
        let ends = proves && part.how == EXACT && (plan.is_some() || variants.len() == 1);
        found.how = if ends { EXACT } else { FILLED };
        plans.extend(plan);
        if ends && !plans.is_empty() {
            break;
        }
    }
    found.plan = best_of(&variants[0], plans);
    if found.plan.is_none() && found.how != EXACT && enough.is_none() {
        found.plan = variants.iter().find_map(any_chain::find).map(|replica| vec![replica]).filter(|plan| ranges.check(plan).is_ok());
    }
    found
}

/// Everything was tried.
pub const EXACT: &str = "exact";
/// Filled and improved, or searched until it was given up.
pub const FILLED: &str = "filled";

/// What is proved of a pool without a search.
pub fn bounds(pool: &Pool<'_, '_>) -> Answer {
    let bounds = match pool.limits().objective {
        Objective::Latency => {
            let bound = pool.ranges().latency_bound();
            bound::Bounds { any: bound, disjoint: bound }
        }
        Objective::Throughput | Objective::Balanced => bound::throughput(pool),
    };
    Answer { plan: None, how: FILLED, most: 0.0, bound: bounds.any, disjoint_bound: bounds.disjoint }
}

/// Keeps the tighter of two bounds; 0 says nothing.
fn take_bounds(ranges: &Ranges<'_>, known: &mut Answer, any: f64, disjoint: f64) {
    let latency = ranges.problem().placement.objective == Objective::Latency;
    let tighter = |one: f64, two: f64| match (one > 0.0, two > 0.0) {
        (true, true) if latency => one.max(two),
        (true, true) => one.min(two),
        _ => one.max(two),
    };
    (known.bound, known.disjoint_bound) = (tighter(known.bound, any), tighter(known.disjoint_bound, disjoint));
}

/// Searches one pool. Stops early where filling alone does not come to more than `enough` times what it is compared with.
fn one(pool: &Pool<'_, '_>, settings: &Settings, enough: Option<f64>) -> Answer {
    let none = Answer { plan: None, how: EXACT, most: 0.0, bound: 0.0, disjoint_bound: 0.0 };
    let latency_only = pool.limits().objective == Objective::Latency;
    if let Some(exact) = exact::solve(pool) {
        let plan = exact.plan.map(|plan| polish(&mut Gauge::new(pool), &Held::default(), plan, exact.throughput));
        if latency_only {
            let bound = if exact.latency_ms.is_finite() { exact.latency_ms } else { 0.0 };
            return Answer { plan, bound, disjoint_bound: bound, ..none };
        }
        return Answer { plan, most: exact.throughput, disjoint_bound: exact.throughput, ..none };
    }
    if latency_only {
        let found = latency::fastest(pool);
        let bound = found.as_ref().map_or(0.0, |found| found.bound_ms);
        return Answer { plan: found.map(|found| vec![found.replica]), how: FILLED, bound, disjoint_bound: bound, ..none };
    }
    let (plan, most) = filled(pool, settings, enough);
    Answer { plan, how: FILLED, most, ..none }
}

/// The plan and the throughput that plans are measured by. For large pools both come from a brief look while a plan is in
/// force that is about as good as what it shows.
fn filled(pool: &Pool<'_, '_>, settings: &Settings, enough: Option<f64>) -> (Option<Vec<Replica>>, f64) {
    // What is loaded must not matter here, or an answer would lead to another one.
    let (mut gauge, held) = (Gauge::new(pool), Held::default());
    let brief = if is_large(pool) { groupings(&mut gauge, 1, true).first().map(|grouping| grouping.throughput) } else { None };
    if brief.zip(enough).is_some_and(|(brief, enough)| brief <= enough) {
        return (None, brief.unwrap_or(0.0));
    }
    let mut best = groupings(&mut gauge, IMPROVED, false);
    best.truncate(if is_large(pool) { IMPROVED_LARGE } else { IMPROVED });
    let steps = settings.steps(pool.ranges().offers()) / best.len().max(1) as u64;
    let mut plans: Vec<Vec<Replica>> = Vec::new();
    for grouping in best {
        let improved = improve(&mut gauge, grouping, steps);
        plans.extend(plan_of(&mut gauge, &held, &improved));
    }
    plans.extend(single(pool).map(|replica| vec![replica]));
    let most = plans.iter().map(|plan| Score::of(pool.ranges(), plan).throughput).fold(0.0, f64::max);
    let plan = best_of(pool, plans).map(|plan| polish(&mut gauge, &held, plan, most));
    (plan, brief.unwrap_or(most))
}

/// Whether a pool is so large that a plan in force is not made anew without a need.
pub fn is_large(pool: &Pool<'_, '_>) -> bool {
    pool.ranges().offers() > OFFERS_SEVERAL_MAX
}

/// The plan of a grouping. Sets that turn out to hold no chain are left out.
pub fn plan_of(gauge: &mut Gauge<'_, '_, '_>, held: &Held, grouping: &Grouping) -> Option<Vec<Replica>> {
    let plan: Vec<Replica> = grouping.groups.iter().filter_map(|group| realise::chain(gauge, held, group, None)).collect();
    (!plan.is_empty()).then_some(plan)
}

/// The best single offer that takes the whole model: where distribution loses, it is the plan.
fn single(pool: &Pool<'_, '_>) -> Option<Replica> {
    let blocks = pool.blocks();
    let takes = |offer: &u32| pool.limits().stages_min <= 1 && pool.fits(*offer, 0, blocks);
    let fastest = pool.usable().into_iter().filter(takes).min_by(|&a, &b| pool.whole_ms(a).total_cmp(&pool.whole_ms(b)))?;
    Some(Replica { stages: vec![Stage { offer: fastest, start: 0, end: blocks }] })
}
