//! Spends what an objective allows of throughput on latency, once the sets of a plan are found: for `balanced`, replicas that
//! answer late are dropped or put on their faster offers, as long as the plan keeps its share of the best throughput.

use shardhost_sdk::allocation::{Objective, Replica};

use crate::{
    cut::{Cost, cost_of},
    held::Held,
    period::Gauge,
    pool::index,
    realise,
    score::{BALANCED_RATIO, TIE_RATIO},
    sorting,
};

/// Sums over the replicas of a plan.
#[derive(Clone, Copy)]
struct Sums {
    rate: f64,
    weighted: f64,
}

impl Sums {
    fn latency_ms(self) -> f64 {
        if self.rate > 0.0 { self.weighted / self.rate } else { f64::INFINITY }
    }

    #[must_use]
    fn with(self, cost: Cost, sign: f64) -> Self {
        Self { rate: self.rate + sign * cost.rate(), weighted: self.weighted + sign * cost.rate() * cost.latency_ms }
    }
}

/// The plan with less latency. Plans for throughput alone stay as they are.
/// `most` is the best throughput that is known.
pub fn polish(gauge: &mut Gauge<'_, '_, '_>, held: &Held, plan: Vec<Replica>, most: f64) -> Vec<Replica> {
    if gauge.pool().limits().objective != Objective::Balanced {
        return plan;
    }
    let costs: Vec<Cost> = plan.iter().map(|replica| cost_of(gauge.pool(), &replica.stages)).collect();
    let mut sums = costs.iter().fold(Sums { rate: 0.0, weighted: 0.0 }, |sums, &cost| sums.with(cost, 1.0));
    let floor = most.max(sums.rate) * (1.0 - BALANCED_RATIO) * (1.0 + TIE_RATIO);
    let mut order: Vec<u32> = (0..index(plan.len())).collect();
    sorting::sort_by(&mut order, &|position| sorting::falling(costs[position as usize].latency_ms));
    let mut kept: Vec<Option<Replica>> = plan.into_iter().map(Some).collect();
    for position in order.into_iter().map(|position| position as usize) {
        let (cost, replica) = (costs[position], kept[position].take());
        let without = sums.with(cost, -1.0);
        if without.rate >= floor && without.latency_ms() < sums.latency_ms() {
            sums = without;
            continue;
        }
        let spare = sums.rate - floor;
        let faster = replica.as_ref().filter(|_| spare > 0.0 && cost.rate() > spare).and_then(|replica| {
            let members: Vec<u32> = replica.stages.iter().map(|stage| stage.offer).collect();
            let chain = realise::chain(gauge, held, &members, Some(1.0 / (cost.rate() - spare)))?;
            let with = without.with(cost_of(gauge.pool(), &chain.stages), 1.0);
            (with.rate >= floor && with.latency_ms() < sums.latency_ms() * (1.0 - TIE_RATIO)).then_some((chain, with))
        });
        kept[position] = match faster {
            Some((chain, with)) => {
                sums = with;
                Some(chain)
            }
            None => replica,
        };
    }
    kept.into_iter().flatten().collect()
}
