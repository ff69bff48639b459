//! Plans that differ little from the one in force: what of it still holds, with broken chains closed again, with idle
//! offers put to use, and with replicas left exactly as they are where another plan has the same offers in them.

use std::collections::BTreeMap;

use shardhost_sdk::{
    allocation::{Objective, Replica},
    problem::{Ledger, Ranges},
};

use crate::{
    cut::cost_of,
    held::Held,
    keep::Candidate,
    local_search::{employ_idle, improve},
    period::Gauge,
    pool::Pool,
    realise,
    settings::Settings,
    sweep::Grouping,
};

/// Largest pool in which a plan in force is improved as a whole.
const OFFERS_IMPROVED_MAX: u32 = 256;
/// A replica of the same offers stays as it is if another cut gains less than this share.
const CUT_GAIN_RATIO: f64 = 0.02;

/// The replicas in force that the host would accept still, in their order.
pub fn kept(ranges: &Ranges<'_>) -> Vec<Replica> {
    let problem = ranges.problem();
    if problem.current.is_empty() || ranges.check(&problem.current).is_ok() {
        return problem.current.clone();
    }
    let mut ledger = Ledger::new(ranges);
    let mut kept: Vec<Replica> = Vec::new();
    for replica in &problem.current {
        let alone = ranges.check(std::slice::from_ref(replica)).is_ok();
        let fits = |ledger: &mut Ledger<'_, '_>| replica.stages.iter().all(|stage| ledger.place(stage));
        if alone && kept.len() < problem.placement.replicas_max as usize && fits(&mut ledger) {
            kept.push(replica.clone());
        }
    }
    kept
}

/// Plans that grow out of the kept replicas, with what they are worth.
pub fn candidates(pool: &Pool<'_, '_>, settings: &Settings, held: &Held, kept: &[Replica]) -> Vec<Candidate> {
    plans(pool, settings, held, kept).into_iter().map(|plan| Candidate::of(pool.ranges(), plan)).collect()
}

fn plans(pool: &Pool<'_, '_>, settings: &Settings, held: &Held, kept: &[Replica]) -> Vec<Vec<Replica>> {
    let ranges = pool.ranges();
    if ranges.problem().placement.objective == Objective::Latency || kept.is_empty() {
        return Vec::new();
    }
    let mut gauge = Gauge::new(pool);
    let groups: Vec<Vec<u32>> = kept.iter().map(|replica| replica.stages.iter().map(|stage| stage.offer).collect()).collect();
    let throughput = groups.iter().map(|group| gauge.rate(group)).sum();
    let grouping = Grouping { groups, throughput };
    let mut plans = vec![employ_idle(&mut gauge, grouping.clone())];
    if ranges.offers() <= OFFERS_IMPROVED_MAX {
        plans.push(improve(&mut gauge, grouping, settings.steps(ranges.offers())));
    }
    let known: BTreeMap<Vec<u32>, &Replica> = kept.iter().map(|replica| (members(replica), replica)).collect();
    let mut realised = |grouping: &Grouping| -> Vec<Replica> {
        let replica = |group: &Vec<u32>| {
            let mut key = group.clone();
            key.sort_unstable();
            known.get(&key).map(|&replica| replica.clone()).or_else(|| realise::chain(&mut gauge, held, group, None))
        };
        grouping.groups.iter().filter_map(replica).collect()
    };
    plans.iter().map(&mut realised).filter(|plan| ranges.check(plan).is_ok()).collect()
}

/// A plan with as much as possible left where it is: replicas of the same offers keep their cut if another gains little,
/// and of offers that are alike those are taken that hold a shard already.
pub fn settled(pool: &Pool<'_, '_>, held: &Held, in_force: &[Replica], plan: Vec<Replica>) -> Vec<Replica> {
    if in_force.is_empty() && !held.is_broken() {
        return plan;
    }
    let plan = with_holders(pool, held, plan);
    let known: BTreeMap<Vec<u32>, &Replica> = in_force.iter().map(|replica| (members(replica), replica)).collect();
    let as_before = |replica: &Replica| {
        let before = known.get(&members(replica)).copied()?;
        let (now, then) = (cost_of(pool, &before.stages), cost_of(pool, &replica.stages));
        let slower = |now: f64, then: f64| now > then * (1.0 + CUT_GAIN_RATIO);
        (!slower(now.period_ms, then.period_ms) && !slower(now.latency_ms, then.latency_ms)).then(|| before.clone())
    };
    let settled: Vec<Replica> = plan.iter().map(|replica| as_before(replica).unwrap_or_else(|| replica.clone())).collect();
    if pool.ranges().check(&settled).is_ok() { settled } else { plan }
}

fn members(replica: &Replica) -> Vec<u32> {
    let mut members: Vec<u32> = replica.stages.iter().map(|stage| stage.offer).collect();
    members.sort_unstable();
    members
}

/// Exchanges offers that are alike, so that shards are used where they are.
fn with_holders(pool: &Pool<'_, '_>, held: &Held, mut plan: Vec<Replica>) -> Vec<Replica> {
    let mut places: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
    for (replica, stages) in plan.iter().enumerate() {
        for (position, stage) in stages.stages.iter().enumerate() {
            places.entry(pool.kind_of(stage.offer)).or_default().push((replica, position));
        }
    }
    for (kind, places) in places {
        let Some(kind) = pool.kinds().get(kind as usize) else { continue };
        if kind.members.len() == 1 {
            continue;
        }
        let mut wanted: BTreeMap<(u32, u32), Vec<(usize, usize)>> = BTreeMap::new();
        for &(replica, position) in places.iter().rev() {
            let stage = &plan[replica].stages[position];
            wanted.entry((stage.start, stage.end)).or_default().push((replica, position));
        }
        let mut others = Vec::new();
        for &offer in &kind.members {
            let match_of = held.ranges(offer).iter().find_map(|range| wanted.get_mut(range)?.pop());
            match match_of {
                Some((replica, position)) => plan[replica].stages[position].offer = offer,
                None => others.push(offer),
            }
        }
        // Those that hold nothing come first, so that what is loaded stays free for what it fits.
        others.sort_by_key(|&offer| (held.start(offer).is_some(), offer));
        let mut others = others.into_iter();
        for (replica, position) in wanted.into_values().flatten() {
            if let Some(offer) = others.next() {
                plan[replica].stages[position].offer = offer;
            }
        }
    }
    plan
}
