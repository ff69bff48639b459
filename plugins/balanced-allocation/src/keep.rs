//! Whether a better plan is worth the change, and which of several ways to change.
//!
//! A change must gain more within the time that the answer will be in force than it costs to load what is not there and to
//! fill caches that are lost.

use shardhost_sdk::{
    allocation::{Objective, Replica},
    problem::Ranges,
};

use crate::{
    held::Held,
    pool::index,
    score::{BALANCED_RATIO, Score, TIE_RATIO},
    settings::Settings,
    sorting,
};

/// A plan and what is expected of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// What it is worth.
    pub score: Score,
    /// The plan.
    pub replicas: Vec<Replica>,
}

impl Candidate {
    /// Of a plan that the host would accept.
    pub fn of(ranges: &Ranges<'_>, replicas: Vec<Replica>) -> Self {
        Self { score: Score::of(ranges, &replicas), replicas }
    }
}

/// The plan to be in force: without one in force the best. Else the one in force unless another pays; of those that pay the one
/// that loads least, unless one that loads more gains so much more than it that changing again would pay. `most` is
/// the throughput that plans for `balanced` are measured by; it must not depend on the plan in force.
pub fn choose(ranges: &Ranges<'_>, held: &Held, settings: &Settings, most: f64, current: Option<Candidate>, others: Vec<Candidate>) -> Option<Candidate> {
    let in_force = current.as_ref().map_or(&[][..], |current| &current.replicas);
    let horizon_ms = if ranges.problem().horizon_ms > 0.0 { ranges.problem().horizon_ms } else { settings.horizon_ms };
    let worth = Worth { objective: ranges.problem().placement.objective, most };
    let net = |candidate: &Candidate| {
        let gain = worth.gain(current.as_ref().map(|current| &current.score), &candidate.score);
        (gain, gain * horizon_ms - change_ms(ranges, held, in_force, &candidate.replicas))
    };
    if current.is_none() {
        let valued = others.iter().map(|candidate| (net(candidate).1, candidate));
        return valued.reduce(|best, next| if next.0 > best.0 + TIE_RATIO * horizon_ms { next } else { best }).map(|(_, best)| best.clone());
    }
    let mut by_load: Vec<u32> = (0..index(others.len())).collect();
    sorting::sort_by(&mut by_load, &|number| sorting::rising(held.bytes_to_load(ranges, &others[number as usize].replicas)));
    let keeps = ((0.0, 0.0), None);
    let (_, chosen) = by_load.into_iter().fold(keeps, |(known, chosen), number| {
        let candidate = &others[number as usize];
        let (gain, net) = net(candidate);
        if gain >= known.0 + settings.gain_ratio_min && net > known.1 { ((gain, net), Some(candidate)) } else { (known, chosen) }
    });
    chosen.cloned().or(current)
}

/// What plans are compared by. Each change gains by an order of plans that is always the same, so changes cannot go round
/// in a circle.
struct Worth {
    objective: Objective,
    most: f64,
}

impl Worth {
    fn has_enough(&self, score: &Score) -> bool {
        self.objective == Objective::Latency
            || (self.objective == Objective::Balanced && score.throughput >= self.most * (1.0 - BALANCED_RATIO) * (1.0 - TIE_RATIO))
    }

    /// The share of time that is saved: latency between plans that answer enough, else throughput. Without a plan in force,
    /// a number by which plans are ordered.
    fn gain(&self, now: Option<&Score>, then: &Score) -> f64 {
        let saved = |now: f64, then: f64| if now > 0.0 { (now - then) / now } else { 0.0 };
        match now {
            Some(now) if self.has_enough(now) && self.has_enough(then) => saved(now.latency_ms, then.latency_ms),
            Some(now) if self.has_enough(now) => 0.0,
            Some(now) => saved(then.throughput, now.throughput),
            None if self.has_enough(then) => 1.0 + 1.0 / (1.0 + then.latency_ms),
            None => then.throughput / self.most.max(then.throughput).max(f64::MIN_POSITIVE),
        }
    }
}

/// Time to send the shards that are not there, one after another, and to compute again what lost caches held: each sequence
/// of a replica that goes begins anew.
fn change_ms(ranges: &Ranges<'_>, held: &Held, in_force: &[Replica], plan: &[Replica]) -> f64 {
    let problem = ranges.problem();
    let load_ms = held.bytes_to_load(ranges, plan) / problem.within_site.bytes_per_ms;
    if problem.blocks.iter().all(|block| block.kv_bytes_per_token <= 0.0) {
        return load_ms;
    }
    let mut by_head: Vec<Option<&Replica>> = vec![None; problem.offers.len()];
    for replica in plan {
        if let Some(head) = replica.stages.first() {
            by_head[head.offer as usize] = Some(replica);
        }
    }
    let stays = |replica: &Replica| replica.stages.first().is_some_and(|head| by_head[head.offer as usize] == Some(replica));
    let lost = in_force.iter().filter(|replica| !stays(replica));
    let lost_ms: f64 = lost.map(|replica| ranges.latency_ms(replica) * f64::from(problem.sequences)).sum();
    load_ms + lost_ms
}
