//! Devices that come and go all day: what plans move, and whether they swing.

use super::*;

/// Twelve devices of which four hold the model together, each away for a while every now and then.
fn day(policy: &mut dyn AllocationPolicy, hours: f64) -> Outcome {
    let devices = (0..12).map(|index| {
        let failures = Failures { mean_between: Millis(4.0 * 3.6e6), mean_repair: Millis(0.5 * 3.6e6), manner: Ending::Crashes };
        FleetDevice { failures: Some(failures), ..device(&format!("d{index:02}"), "here", 100.0, 4) }
    });
    let cluster = ClusterSettings { tick: Millis(5_000.0), lease: Millis(15_000.0), ..ClusterSettings::default() };
    let settings = SimulationSettings { cluster, cache: Bytes(0), duration: Millis(hours * 3.6e6), ..settings() };
    let scenario = scenario(devices.collect(), vec![model(16, 2)], vec![poisson(0.2)], settings);
    let outcome = simulate(&scenario, Policies { allocation: policy, routing: &mut LeastWork, queueing: None });
    assert_eq!(outcome.rejected, [""; 0]);
    check_conserved(&outcome);
    outcome
}

#[test]
fn a_policy_that_keeps_what_holds_moves_little_and_does_not_swing() {
    let outcome = day(&mut Keep, 24.0);
    let endings: u64 = outcome.devices.iter().map(|device| device.endings).sum();
    assert!(endings > 30, "it is a day with much coming and going: {endings}");
    assert_eq!(outcome.uncaused(), 0, "{:?}", outcome.plans);
    let (moved, least) = outcome.fetched_on_losses();
    assert!(least > Bytes::ZERO && moved >= least, "{moved} of {least}");
}

#[test]
fn a_policy_that_begins_anew_each_time_moves_more() {
    let ratio = |outcome: &Outcome| {
        let (moved, least) = outcome.fetched_on_losses();
        moved.as_f64() / least.as_f64()
    };
    let (keep, anew) = (day(&mut Keep, 8.0), day(&mut Fill, 8.0));
    assert!(anew.fetched > keep.fetched, "{} and {}", anew.fetched, keep.fetched);
    assert!(ratio(&keep) >= 1.0 && ratio(&anew) >= 1.0, "nothing moves less than the least: {} and {}", ratio(&keep), ratio(&anew));
}

/// Takes turns between the first offers and the last ones, whatever is in force.
struct Swinging(bool);

impl AllocationPolicy for Swinging {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        self.0 = !self.0;
        let offer = if self.0 { 0 } else { problem.offers.len() as u32 - 1 };
        Ok(Ok(Proposal { replicas: vec![vec![ProposedStage { offer, start: 0, end: problem.model.whole().end() }]], bound: 0.0 }))
    }

    fn review(&mut self, _: &Observation) -> Result<Verdict, PolicyFault> {
        Ok(Verdict::Keep)
    }
}

#[test]
fn a_plan_that_changes_without_a_cause_is_told() {
    // Another model that does not fit is tried again with each plan, and the first one with it.
    let devices = vec![device("a", "here", 100.0, 4), device("b", "here", 100.0, 4)];
    let events =
        vec![FleetEvent { at: Millis(20_000.0), device: 1, change: Change::Cut }, FleetEvent { at: Millis(20_500.0), device: 1, change: Change::Restored }];
    let scenario = Scenario::new(devices, events, links(), vec![model(2, 1)], vec![], settings()).expect("sound");
    let outcome = simulate(&scenario, Policies { allocation: &mut Swinging(false), routing: &mut LeastWork, queueing: None });
    assert_eq!(outcome.uncaused(), 0, "each change had a cause: {:?}", outcome.plans);
    let mut changes = super::super::changes::Changes::default();
    let cluster = crate::cluster::Cluster::new(ClusterSettings::default(), crate::ids::PlanNumber(0));
    let mut capacity = crate::plan::Capacity::default();
    for name in ["a", "b"] {
        capacity.add_device(&testing::device(name, Bytes::mib(4)));
    }
    capacity.models.insert(testing::model_id("m"), testing::uniform_model("m", 2));
    let reason = crate::cluster::Reason::Joined(testing::device_id("b"));
    for (name, caused) in [("a", true), ("b", false), ("a", true)] {
        if caused {
            changes.cause();
        }
        let models = BTreeMap::from([(testing::model_id("m"), vec![testing::replica(&[(name, 0, 2)])])]);
        let plan = crate::plan::Plan { number: crate::ids::PlanNumber(1), models }.check(&capacity).expect("it fits");
        changes.note(Millis::ZERO, &plan, &reason, &cluster);
    }
    assert_eq!(changes.list.iter().map(|change| change.is_uncaused).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn the_least_that_must_move_is_what_nobody_holds() {
    let devices = ["a", "b", "c"].map(|name| device(name, "here", 100.0, 2)).to_vec();
    let events = vec![FleetEvent { at: Millis(20_000.0), device: 0, change: Change::Ends(Ending::Leaves) }];
    let scenario = Scenario::new(devices, events, links(), vec![model(4, 1)], vec![], settings()).expect("sound");
    let outcome = simulate(&scenario, Policies { allocation: &mut Fill, routing: &mut LeastWork, queueing: None });
    // `a` held [0..2) and `b` [2..4). Filled anew, `b` holds [0..2) and `c` [2..4): 4 MiB where 2 were lost.
    assert_eq!(outcome.fetched_on_losses(), (Bytes::mib(4), Bytes::mib(2)), "{:?}", outcome.plans);
}
