//! Places models for latency, throughput, or throughput first and latency among plans within five per cent. Exact for
//! small pools (`exact`), by filling and improving above (`fill`). Keeps the plan in force unless a change pays (`keep`).
//!
//! The answer depends on the problem alone: offers are listed by id, so the order in which devices joined never matters.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Objective, Observation, Problem, Proposal, Refusal, Replica, Verdict},
    export_allocation, no_settings,
    problem::Ranges,
};

pub mod exact;
pub mod fill;
pub mod keep;
pub mod score;

use score::{Score, best};

/// The policy. It has no settings and remembers nothing.
#[derive(Debug)]
pub struct Balanced;

impl AllocationPolicy for Balanced {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("balanced-allocation", config).map(|()| Self)
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let ranges = Ranges::new(problem);
        if ranges.blocks() == 0 || ranges.offers() == 0 {
            return Err(ranges.shortfall(0));
        }
        let objective = problem.placement.objective;
        let exact = exact::affordable(&ranges);
        let plans = if exact { exact::plans(&ranges) } else { fill::plans(&ranges) };
        let plans: Vec<_> = plans.into_iter().filter(|plan| ranges.check(plan).is_ok()).collect();
        let plans = if plans.is_empty() && exact { fill::plans(&ranges) } else { plans };
        let accepted = plans.into_iter().filter(|plan| ranges.check(plan).is_ok());
        let scored: Vec<_> = accepted.map(|plan| (Score::of(&ranges, &plan), plan)).collect();
        let Some((score, plan)) = best(objective, scored) else {
            return Err(ranges.shortfall(fill::reach(&ranges)));
        };
        let (score, replicas) = keep::keep_or_change(&ranges, (score, plan));
        let bound = match objective {
            Objective::Latency if exact => score.latency_ms.min(exact::least_latency_ms(&ranges)),
            Objective::Latency => ranges.latency_bound(),
            Objective::Throughput | Objective::Balanced => ranges.throughput_bound(),
        };
        Ok(Proposal { replicas, bound, attributes: Vec::new() })
    }

    fn review(&mut self, observed: &Observation) -> Verdict {
        let problem = &observed.problem;
        match self.allocate(problem) {
            Ok(proposal) if proposal.replicas != problem.current => Verdict::Replan(reason(problem, &proposal.replicas)),
            Ok(_) | Err(_) => Verdict::Keep,
        }
    }
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
