//! Places models for latency, throughput, or throughput first and latency among plans within five per cent.
//!
//! [`search`] finds the best plan from nothing: exactly for small pools ([`exact`]), by filling and improving above
//! ([`sweep`], [`local_search`]), for latency by a search for one chain ([`latency`]). [`delta`] and [`repair`] change the
//! plan in force as little as possible, [`uncut`] undoes cuts that hardly pay, and [`keep`] decides which change does. [`bound`]
//! proves what no plan exceeds.
//!
//! The answer depends on the problem alone: offers are listed by id, so the order in which devices joined never matters.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Objective, Observation, Problem, Proposal, Refusal, Replica, Verdict},
    export_allocation,
    problem::Ranges,
};

pub mod any_chain;
pub mod bound;
pub mod chains;
pub mod cut;
pub mod delta;
pub mod even;
pub mod exact;
pub mod held;
pub mod keep;
pub mod latency;
pub mod lattice;
pub mod local_search;
pub mod partition;
pub mod period;
pub mod polish;
pub mod pool;
pub mod positional;
pub mod realise;
pub mod refusal;
pub mod relaxed;
pub mod repair;
pub mod review;
pub mod score;
pub mod search;
pub mod settings;
pub mod sites;
pub mod sorting;
pub mod sweep;
pub mod uncut;

use held::Held;
use keep::{Candidate, choose};
use pool::Pool;
use score::Score;
use settings::Settings;

/// The policy, which is its settings; it remembers nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Balanced {
    settings: Settings,
}

impl AllocationPolicy for Balanced {
    fn configure(config: &str) -> Result<Self, String> {
        Settings::parse(config).map(|settings| Self { settings })
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        match self.plan(&ranges) {
            Some((plan, answer)) => Ok(proposal(&ranges, plan, &answer)),
            None => Err(refusal::explain(&ranges, |changed| {
                let ranges = Ranges::new(changed);
                let brief = Settings { steps_min: 0, steps_max: 0, ..self.settings };
                search::answer(&Pool::variants(&ranges), &brief, None).plan.is_some()
            })),
        }
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        if let Some(verdict) = review::measured(observed, &self.settings) {
            return verdict;
        }
        let problem = review::with_arrivals(observed, &self.settings);
        match self.allocate(&problem) {
            Ok(proposal) if proposal.replicas != problem.current => Verdict::Replan(reason(&problem, &proposal.replicas)),
            Ok(_) | Err(_) => Verdict::Keep,
        }
    }
}

impl Balanced {
    /// The plan to be in force, and what the search from nothing proved.
    fn plan(&self, ranges: &Ranges<'_>) -> Option<(Candidate, search::Answer)> {
        if ranges.blocks() == 0 || ranges.offers() == 0 {
            return None;
        }
        let pools = Pool::variants(ranges);
        let held = Held::of(ranges.problem());
        let kept = delta::kept(ranges);
        let current = (!kept.is_empty()).then(|| Candidate::of(ranges, kept.clone()));
        if held.is_broken() {
            let mut repaired = kept.clone();
            repaired.extend(repair::repaired(&pools[0], &held, &kept, self.settings.repair_bytes_ratio_max));
            if repaired.len() > kept.len() && ranges.check(&repaired).is_ok() {
                let (answer, repaired) = (search::bounds(&pools[0]), Candidate::of(ranges, repaired));
                let chosen = choose(ranges, &held, &self.settings, repaired.score.throughput, current, vec![repaired])?;
                return Some((chosen, answer));
            }
        }
        let mut others = delta::candidates(&pools[0], &self.settings, &held, &kept);
        let known = current.iter().chain(&others).map(|candidate| candidate.score.throughput).reduce(f64::max);
        let mut answer = search::answer(&pools, &self.settings, known.map(|known| known * (1.0 + self.settings.gain_ratio_min)));
        answer.plan = answer.plan.map(|plan| uncut::uncut(&pools[0], plan, self.settings.gain_ratio_min));
        if let Some(plan) = &answer.plan {
            others.push(Candidate::of(ranges, delta::settled(&pools[0], &held, &kept, plan.clone())));
        }
        let is_loss = held.is_broken() && !kept.is_empty();
        if is_loss {
            delta::keep_restoring(ranges, &held, &kept, self.settings.repair_bytes_ratio_max, &mut others);
        }
        let chosen = choose(ranges, &held, &self.settings, answer.most, current, others)?;
        let unchanged = chosen.replicas == ranges.problem().current;
        Some((if unchanged || is_loss { chosen } else { self.at_rest(&pools[0], chosen, &answer) }, answer))
    }

    /// The plan that is kept when it comes back as the plan in force: changes that would follow at once are made now.
    fn at_rest(&self, pool: &Pool<'_, '_>, mut chosen: Candidate, answer: &search::Answer) -> Candidate {
        let ranges = pool.ranges();
        for _ in 0..ROUNDS_MAX {
            let held = Held::in_force(&chosen.replicas, ranges.blocks());
            let mut others = delta::candidates(pool, &self.settings, &held, &chosen.replicas);
            // In large pools nothing new is made while the plan in force is good enough.
            let plan = answer.plan.clone().filter(|_| !search::is_large(pool));
            others.extend(plan.map(|plan| Candidate::of(ranges, delta::settled(pool, &held, &chosen.replicas, plan))));
            let better = choose(ranges, &held, &self.settings, answer.most, Some(chosen.clone()), others);
            match better.filter(|better| better.replicas != chosen.replicas) {
                Some(better) => chosen = better,
                None => break,
            }
        }
        chosen
    }
}

/// Most changes that are made at once because each would follow the one before.
const ROUNDS_MAX: u32 = 16;

/// The plan with its certificate.
fn proposal(ranges: &Ranges<'_>, chosen: Candidate, answer: &search::Answer) -> Proposal {
    let latency = ranges.problem().placement.objective == Objective::Latency;
    let value = if latency { chosen.score.latency_ms } else { chosen.score.throughput };
    // Rounding must not set the plan above its bound.
    let hold = |bound: f64| {
        if bound <= 0.0 {
            0.0
        } else if latency {
            bound.min(value)
        } else {
            bound.max(value)
        }
    };
    let (bound, disjoint) = (hold(answer.bound), hold(answer.disjoint_bound));
    let gap = |bound: f64| {
        if bound <= 0.0 || value <= 0.0 {
            None
        } else if latency {
            Some(value / bound - 1.0)
        } else {
            Some(bound / value - 1.0)
        }
    };
    let mut attributes = vec![("search".to_owned(), answer.how.to_owned())];
    let gaps = [("gap-ratio", gap(bound)), ("disjoint-gap-ratio", gap(disjoint))];
    attributes.extend(gaps.into_iter().filter_map(|(name, gap)| Some((name.to_owned(), format!("{:.6}", gap?)))));
    Proposal { replicas: chosen.replicas, bound, attributes }
}

fn reason(problem: &Problem, replicas: &[Replica]) -> String {
    let ranges = Ranges::new(problem);
    if let Err(broken) = ranges.check(&problem.current) {
        return format!("the plan in force no longer holds: {broken}");
    }
    let (now, then) = (Score::of(&ranges, &problem.current), Score::of(&ranges, replicas));
    format!(
        "{:.3} requests/s and {:.1} ms are expected of the plan in force, {:.3} requests/s and {:.1} ms of another",
        now.throughput * 1e3,
        now.latency_ms,
        then.throughput * 1e3,
        then.latency_ms
    )
}

export_allocation!(Balanced);

#[cfg(test)]
mod tests;
