//! The shards that a device is meant to hold, each since which plan. A passage goes by a plan, and may be under way while the plan
//! changes: it is taken where its shard has been held since that plan or an earlier one, and goes elsewhere otherwise.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use host_core::ids::PlanNumber;
use host_wire::peer::ShardAt;

/// What is held.
#[derive(Debug, Default)]
pub struct Holdings(Mutex<HashMap<ShardAt, PlanNumber>>);

impl Holdings {
    /// A shard is ready. One that was ready already is held since the earlier plan.
    pub fn hold(&self, at: ShardAt, since: PlanNumber) {
        let mut held = self.lock();
        let plan = held.entry(at).or_insert(since);
        *plan = since.min(*plan);
    }

    /// A shard is meant no more.
    pub fn let_go(&self, at: &ShardAt) {
        self.lock().remove(at);
    }

    /// The device attends another run of the central, which has recognised what it is not told to drop: that is meant by all
    /// plans of that run.
    pub fn attend_anew(&self) {
        self.lock().values_mut().for_each(|since| *since = PlanNumber(0));
    }

    /// Whether a passage that goes by this plan may be computed here. The error is for whoever sent it.
    pub fn check(&self, at: &ShardAt, plan: PlanNumber) -> Result<(), String> {
        match self.lock().get(at) {
            Some(since) if plan >= *since => Ok(()),
            Some(since) => Err(format!("the passage goes by plan {}, {} is held here since plan {}", plan.0, at.shard, since.0)),
            None => Err(format!("the passage goes by plan {}, {} is not held here", plan.0, at.shard)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ShardAt, PlanNumber>> {
        // The map is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        ids::{AcceleratorName, ModelId, ModelName},
        shard::{BlockRange, ShardId},
    };

    use super::*;

    fn at(start: u32) -> ShardAt {
        let model = ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 };
        let shard = ShardId { model, range: BlockRange::new(start, start + 2).expect("not empty") };
        ShardAt { accelerator: AcceleratorName::parse("cpu").expect("a name"), shard }
    }

    #[test]
    fn a_passage_of_a_plan_in_which_the_shard_was_held_is_taken_however_plans_change() {
        let holdings = Holdings::default();
        holdings.hold(at(0), PlanNumber(3));
        for (plan, expected) in [(3, Ok(())), (9, Ok(())), (2, Err("the passage goes by plan 2, digits@1[0..2) is held here since plan 3"))] {
            assert_eq!(holdings.check(&at(0), PlanNumber(plan)), expected.map_err(str::to_owned), "plan {plan}");
        }
        // It is meant by a later plan too, and told to be loaded where it is ready.
        holdings.hold(at(0), PlanNumber(7));
        assert_eq!(holdings.check(&at(0), PlanNumber(4)), Ok(()));
    }

    #[test]
    fn a_shard_that_was_dropped_and_came_back_serves_no_passage_of_before() {
        let holdings = Holdings::default();
        holdings.hold(at(0), PlanNumber(3));
        holdings.let_go(&at(0));
        assert_eq!(holdings.check(&at(0), PlanNumber(3)), Err("the passage goes by plan 3, digits@1[0..2) is not held here".to_owned()));
        holdings.hold(at(0), PlanNumber(8));
        assert!(holdings.check(&at(0), PlanNumber(7)).is_err() && holdings.check(&at(0), PlanNumber(8)).is_ok());
        assert!(holdings.check(&at(2), PlanNumber(8)).is_err(), "another range");
    }

    #[test]
    fn another_run_of_the_central_may_count_its_plans_from_anywhere() {
        let holdings = Holdings::default();
        holdings.hold(at(0), PlanNumber(57));
        holdings.attend_anew();
        assert_eq!(holdings.check(&at(0), PlanNumber(1)), Ok(()));
    }
}
