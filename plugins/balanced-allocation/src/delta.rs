//! Plans that differ little from the one in force: what of it still holds, with broken chains closed again, with idle
//! offers put to use, and with replicas left exactly as they are where another plan has the same offers in them.

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
    pool::{Kind, Pool, index},
    realise,
    settings::Settings,
    sorting,
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
    let groups = groups_of(kept);
    let throughput = groups.iter().map(|group| gauge.rate(group)).sum();
    let grouping = Grouping { groups, throughput };
    let mut plans = vec![employ_idle(&mut gauge, grouping.clone())];
    if ranges.offers() <= OFFERS_IMPROVED_MAX {
        plans.push(improve(&mut gauge, grouping, settings.steps(ranges.offers())));
    }
    let known = Known::of(kept);
    let mut realised = |grouping: &Grouping| -> Vec<Replica> {
        let replica = |group: &Vec<u32>| known.with(group).cloned().or_else(|| realise::chain(&mut gauge, held, group, None));
        grouping.groups.iter().filter_map(replica).collect()
    };
    plans.iter().map(&mut realised).filter(|plan| ranges.check(plan).is_ok()).collect()
}

/// Leaves of the plans after a loss those that load little: at most so many times what nobody holds any more, or, for more replicas than
/// were kept, at most so many times the fewest bytes for that. Whether more is worth its bytes is for a review to say, and not for who
/// has just lost a device.
pub fn keep_restoring(ranges: &Ranges<'_>, held: &Held, kept: &[Replica], bytes_ratio_max: f64, plans: &mut Vec<Candidate>) {
    let bytes = |plan: &Candidate| held.bytes_to_load(ranges, &plan.replicas);
    let fewest = plans.iter().filter(|plan| plan.replicas.len() > kept.len()).map(bytes).reduce(f64::min).unwrap_or(0.0);
    let lost = held.bytes_missing(ranges, &groups_of(kept).concat());
    plans.retain(|plan| {
        let most = if plan.replicas.len() > kept.len() { fewest.max(lost) } else { lost };
        bytes(plan) <= most * bytes_ratio_max
    });
}

/// A plan with as much as possible left where it is: replicas of the same offers keep their cut if another gains little,
/// and of offers that are alike those are taken that hold a shard already.
pub fn settled(pool: &Pool<'_, '_>, held: &Held, in_force: &[Replica], plan: Vec<Replica>) -> Vec<Replica> {
    if in_force.is_empty() && !held.is_broken() {
        return plan;
    }
    let plan = with_holders(pool, held, plan);
    let known = Known::of(in_force);
    let as_before = |replica: &Replica| {
        let before = known.with(&offers_of(replica))?;
        let (now, then) = (cost_of(pool, &before.stages), cost_of(pool, &replica.stages));
        let slower = |now: f64, then: f64| now > then * (1.0 + CUT_GAIN_RATIO);
        (!slower(now.period_ms, then.period_ms) && !slower(now.latency_ms, then.latency_ms)).then(|| before.clone())
    };
    let settled: Vec<Replica> = plan.iter().map(|replica| as_before(replica).unwrap_or_else(|| replica.clone())).collect();
    if pool.ranges().check(&settled).is_ok() { settled } else { plan }
}

/// The offers of each replica.
pub fn groups_of(replicas: &[Replica]) -> Vec<Vec<u32>> {
    replicas.iter().map(offers_of).collect()
}

fn offers_of(replica: &Replica) -> Vec<u32> {
    replica.stages.iter().map(|stage| stage.offer).collect()
}

/// Replicas that are found by their offers.
struct Known<'r> {
    /// By the least offer, each with all its offers, ascending.
    replicas: Vec<(Vec<u32>, &'r Replica)>,
}

impl<'r> Known<'r> {
    fn of(replicas: &'r [Replica]) -> Self {
        let mut members: Vec<Vec<u32>> = replicas.iter().map(|replica| ascending(&offers_of(replica))).collect();
        let mut order: Vec<u32> = (0..index(replicas.len())).collect();
        sorting::sort_by(&mut order, &|replica| members[replica as usize].first().map_or(0, |&least| u64::from(least) + 1));
        let known = |replica: u32| (std::mem::take(&mut members[replica as usize]), &replicas[replica as usize]);
        Self { replicas: order.into_iter().map(known).collect() }
    }

    /// The last replica of exactly these offers.
    fn with(&self, offers: &[u32]) -> Option<&'r Replica> {
        let members = ascending(offers);
        let begin = self.replicas.partition_point(|known| known.0.first() < members.first());
        let end = self.replicas.partition_point(|known| known.0.first() <= members.first());
        self.replicas[begin..end].iter().rfind(|known| known.0 == members).map(|known| known.1)
    }
}

fn ascending(offers: &[u32]) -> Vec<u32> {
    let mut ascending = offers.to_vec();
    sorting::sort_by(&mut ascending, &|_| 0);
    ascending
}

/// Exchanges offers that are alike, so that shards are used where they are.
fn with_holders(pool: &Pool<'_, '_>, held: &Held, mut plan: Vec<Replica>) -> Vec<Replica> {
    let mut places: Vec<Vec<(u32, u32)>> = vec![Vec::new(); pool.kinds().len()];
    for (replica, chain) in (0..).zip(&plan) {
        for (position, stage) in (0..).zip(&chain.stages) {
            if let Some(places) = places.get_mut(pool.kind_of(stage.offer) as usize) {
                places.push((replica, position));
            }
        }
    }
    for (kind, places) in pool.kinds().iter().zip(places) {
        if kind.members.len() > 1 && !places.is_empty() {
            seat_holders(held, &mut plan, kind, &places);
        }
    }
    plan
}

/// Gives each place in a plan that has an offer of a kind to the one that has its range loaded, as far as there is one.
fn seat_holders(held: &Held, plan: &mut [Replica], kind: &Kind, places: &[(u32, u32)]) {
    let stage_at = |(replica, position): (u32, u32)| &plan[replica as usize].stages[position as usize];
    let range = |place: u32| sorting::pair(stage_at(places[place as usize]).start, stage_at(places[place as usize]).end);
    // Places by their range, the last of equals first, so that the first are given out first from the end.
    let mut order: Vec<u32> = (0..index(places.len())).rev().collect();
    sorting::sort_stable_by(&mut order, &range);
    let wanted: Vec<u64> = order.iter().map(|&place| range(place)).collect();
    let first = |range: u64| wanted.partition_point(|&other| other < range);
    // By where a range begins in the order: how many of its places are still to be given out.
    let mut left = vec![0; wanted.len()];
    wanted.iter().for_each(|&range| left[first(range)] += 1);
    let (mut seats, mut others) = (Vec::new(), Vec::new());
    for &offer in &kind.members {
        let seat = held.ranges(offer).iter().find_map(|&(start, end)| {
            let range = sorting::pair(start, end);
            let begin = first(range);
            if wanted.get(begin) != Some(&range) || left[begin] == 0 {
                return None;
            }
            left[begin] -= 1;
            Some(begin + left[begin])
        });
        match seat {
            Some(seat) => seats.push((seat, offer)),
            None => others.push(offer),
        }
    }
    // Those that hold nothing come first, so that what is loaded stays free for what it fits.
    sorting::sort_by(&mut others, &|offer| u64::from(held.start(offer).is_some()));
    let open = (0..wanted.len()).filter(|&seat| seat - first(wanted[seat]) < left[first(wanted[seat])]);
    seats.extend(open.zip(others));
    for (seat, offer) in seats {
        let (replica, position) = places[order[seat] as usize];
        plan[replica as usize].stages[position as usize].offer = offer;
    }
}
