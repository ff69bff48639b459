//! Plans that are given, not made.

use super::*;
use crate::{ids::PlanNumber, plan::Plan, testing::replica};

/// Two devices of which the second is ten times as slow, and four blocks.
fn fleet(events: Vec<FleetEvent>) -> Scenario {
    let devices = vec![device("a", "here", 100.0, 8), device("b", "here", 10.0, 8)];
    let traffic = Traffic { arrivals: Arrivals::Closed { clients: 1, think: Millis::ZERO }, ..poisson(1.0) };
    Scenario::new(devices, events, links(), vec![model(4, 2)], vec![traffic], settings()).expect("a sound scenario")
}

fn plan(replicas: &[&[(&str, u32, u32)]]) -> Plan {
    let replicas = replicas.iter().map(|stages| replica(stages)).collect();
    Plan { number: PlanNumber(7), models: BTreeMap::from([(testing::model_id("m"), replicas)]) }
}

fn simulated(scenario: &Scenario, plan: Plan) -> Outcome {
    let mut given = GivenPlan::new(plan, scenario).expect("it names what there is");
    let outcome = simulate(scenario, Policies { allocation: &mut given, routing: &mut LeastWork, queueing: None });
    assert_eq!(outcome.rejected, [""; 0]);
    check_conserved(&outcome);
    outcome
}

#[test]
fn a_plan_that_is_given_is_simulated_as_it_is_however_slow() {
    // A block takes 10 ms on `a` and 100 ms on `b`.
    for (stages, wanted_ms) in [([("a", 0, 1), ("b", 1, 4)], 310.0), ([("a", 0, 3), ("b", 3, 4)], 130.0), ([("b", 0, 1), ("a", 1, 4)], 130.0)] {
        let outcome = simulated(&fleet(Vec::new()), plan(&[&stages]));
        let median = outcome.requests.latencies.percentile(0.5).expect("some were answered").0;
        assert!((median / wanted_ms - 1.0).abs() < 0.02, "{stages:?}: {median} ms, not {wanted_ms}");
        assert!(outcome.plans.len() <= 1, "nothing makes another of it: {:?}", outcome.plans);
    }
}

#[test]
fn replicas_whose_devices_are_all_there_serve_on() {
    let events = vec![FleetEvent { at: Millis(20_000.0), device: 0, change: Change::Ends(Ending::Leaves) }];
    let outcome = simulated(&fleet(events), plan(&[&[("a", 0, 4)], &[("b", 0, 4)]]));
    assert!(outcome.devices[1].runs > 0, "{:?}", outcome.devices);
    assert_eq!(outcome.requests.failed_sum(), 0);
}

#[test]
fn a_plan_of_other_devices_or_of_another_model_is_refused_by_name() {
    let refused = |plan| GivenPlan::new(plan, &fleet(Vec::new())).expect_err("it does not fit the fleet");
    assert_eq!(refused(plan(&[&[("a", 0, 1), ("z", 1, 4)]])), "plan 7 has m@1[1..4) on z, which is no device of the fleet");
    let nothing = Plan { number: PlanNumber(7), models: BTreeMap::new() };
    assert_eq!(refused(nothing), "plan 7 has no replica of m@1, which the fleet names");
}
