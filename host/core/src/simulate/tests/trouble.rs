//! Devices and sites that are lost while requests run.

use super::*;

fn event(at_s: f64, device: usize, change: Change) -> FleetEvent {
    FleetEvent { at: Millis(at_s * 1e3), device, change }
}

/// Four devices in pairs at two sites, each of which holds the whole model, watched for a minute while this happens.
fn with(events: Vec<FleetEvent>, per_s: f64) -> Outcome {
    let devices = [("a", "one"), ("b", "one"), ("c", "two"), ("d", "two")].map(|(name, site)| device(name, site, 100.0, 8)).to_vec();
    let settings = SimulationSettings { warm_up: Millis::ZERO, ..settings() };
    let ways = FleetLinks { central: SiteName::parse("one").expect("a name"), ..links() };
    let scenario = Scenario::new(devices, events, ways, vec![model(2, u32::MAX)], vec![poisson(per_s)], settings).expect("a sound scenario");
    let outcome = run(&scenario);
    check_conserved(&outcome);
    outcome
}

#[test]
fn a_device_that_crashes_in_the_middle_costs_its_requests_time_and_nobody_an_answer() {
    let outcome = with(vec![event(30.0, 1, Change::Ends(Ending::Crashes))], 140.0);
    assert_eq!((outcome.requests.failed_sum(), outcome.requests.shed_sum()), (0, 0));
    assert!(outcome.replays >= 1, "what it was at ran again");
    assert!((outcome.devices[1].presence - 0.5).abs() < 0.01 && outcome.devices[1].endings == 1);
    assert_eq!(outcome.plans.iter().filter(|plan| plan.is_loss).count(), 1, "{:?}", outcome.plans);
    assert_eq!(outcome.models[0].without_replica, Millis::ZERO);
}

#[test]
fn a_device_that_falls_silent_is_noticed_when_its_lease_is_over() {
    let outcome = with(vec![event(30.0, 1, Change::Ends(Ending::Falls))], 100.0);
    assert_eq!(outcome.requests.failed_sum(), 0, "{:?}", outcome.requests.failed);
    let lost = outcome.plans.iter().find(|plan| plan.is_loss).expect("a plan without it");
    assert!((31_400.0..32_100.0).contains(&lost.at.0), "a lease of 1.5 s and a tick after it fell: {}", lost.at);
    let longest = outcome.requests.latencies.percentile(1.0).expect("served");
    assert!(longest > Millis(1_000.0), "who was sent there waited for the news: {longest}");
}

#[test]
fn when_a_site_fails_the_other_one_takes_over() {
    let outcome = with(vec![event(20.0, 2, Change::Ends(Ending::Crashes)), event(20.0, 3, Change::Ends(Ending::Crashes))], 60.0);
    assert_eq!(outcome.requests.failed_sum(), 0);
    assert_eq!(outcome.models[0].without_replica, Millis::ZERO);
    assert!((outcome.models[0].replicas - (4.0 + 2.0 * 2.0) / 3.0).abs() < 0.1, "{}", outcome.models[0].replicas);
    let both = outcome.plans.iter().filter(|plan| plan.is_loss).collect::<Vec<_>>();
    assert_eq!(both.len(), 1, "one plan for both: {both:?}");
}

#[test]
fn when_every_device_is_gone_requests_fail_and_nothing_could_have_been_done() {
    let all = (0..4).map(|device| event(30.0, device, Change::Ends(Ending::Leaves))).collect();
    let outcome = with(all, 50.0);
    let failed = outcome.requests.failed[&Failed::NoReplica] as f64 / outcome.requests.arrived as f64;
    assert!((0.4..0.6).contains(&failed), "{failed}");
    assert!((29_000.0..=30_000.0 + 1e-6).contains(&outcome.models[0].without_replica.0), "{:?}", outcome.models);
    assert_eq!(outcome.models[0].avoidable, Millis::ZERO, "nobody had memory for it");
}

#[test]
fn who_waits_for_the_only_replica_is_served_when_it_is_back() {
    let outage = Outages::Listed(vec![Outage { at: Millis(20_000.0), lasting: Millis(1_000.0) }]);
    let only = FleetDevice { outages: outage, ..device("a", "here", 100.0, 8) };
    let settings = SimulationSettings { warm_up: Millis::ZERO, ..settings() };
    let outcome = run(&scenario(vec![only], vec![model(2, 1)], vec![poisson(10.0)], settings));
    check_conserved(&outcome);
    assert_eq!(outcome.requests.failed_sum(), 0, "{:?}", outcome.requests.failed);
    assert!((outcome.models[0].without_replica.0 - 1_000.0).abs() < 1.0, "{:?}", outcome.models);
    assert_eq!(outcome.plans.len(), 1, "back within its lease it holds what it held: {:?}", outcome.plans);
    assert_eq!(outcome.fetched, Bytes::mib(2));
    assert!(outcome.requests.latencies.percentile(1.0).expect("served") > Millis(900.0));
}

#[test]
fn a_device_that_joins_takes_its_share() {
    let mut devices = vec![device("a", "here", 100.0, 8), device("b", "here", 100.0, 8)];
    devices[1].present = false;
    let settings = SimulationSettings { warm_up: Millis::ZERO, ..settings() };
    let events = vec![event(30.0, 1, Change::Joins)];
    let scenario = Scenario::new(devices, events, links(), vec![model(2, 2)], vec![poisson(40.0)], settings).expect("sound");
    let outcome = run(&scenario);
    assert!((outcome.devices[1].presence - 0.5).abs() < 0.01, "{:?}", outcome.devices);
    assert!(outcome.devices[1].runs > 300, "{:?}", outcome.devices);
    assert_eq!(outcome.fetched_from_peers, Bytes::mib(2), "the second one fetched the shard from the first");
}

#[test]
fn what_a_device_has_fetched_once_is_in_its_cache() {
    let events = vec![event(10.0, 1, Change::Ends(Ending::Leaves)), event(20.0, 1, Change::Joins)];
    let outcome = with(events.clone(), 20.0);
    assert_eq!(outcome.fetched, Bytes::mib(8), "four times two MiB, and nothing when it came back");
    let devices = [("a", "one"), ("b", "one")].map(|(name, site)| device(name, site, 100.0, 8)).to_vec();
    let settings = SimulationSettings { cache: Bytes(1), ..settings() };
    let ways = FleetLinks { central: SiteName::parse("one").expect("a name"), ..links() };
    let scenario = Scenario::new(devices, events, ways, vec![model(2, u32::MAX)], vec![poisson(20.0)], settings).expect("sound");
    assert_eq!(run(&scenario).fetched, Bytes::mib(6), "without a cache it fetches again");
}

/// Answers nonsense.
struct Broken;

impl AllocationPolicy for Broken {
    fn allocate(&mut self, _: &Problem) -> Answer<Proposal> {
        Ok(Ok(Proposal { replicas: vec![vec![ProposedStage { offer: 7, start: 0, end: 1 }]], bound: 0.0 }))
    }

    fn review(&mut self, _: &Observation) -> Result<Verdict, PolicyFault> {
        Ok(Verdict::Keep)
    }
}

impl RoutingPolicy for Broken {
    fn route(&mut self, _: &RoutingSnapshot, _: &RouteRequest) -> Answer<Vec<u32>> {
        Err(PolicyFault { kind: crate::policy::StrikeKind::Trap, message: "boom".into() })
    }
}

impl QueueingPolicy for Broken {
    fn admit(&mut self, _: &Arrival) -> Answer<f64> {
        Ok(Ok(f64::NAN))
    }
}

#[test]
fn policies_that_fail_take_strikes_and_requests_are_served_all_the_same() {
    let scenario = scenario(vec![device("a", "here", 100.0, 8)], vec![model(2, 1)], vec![poisson(10.0)], settings());
    let outcome = simulate(&scenario, Policies { allocation: &mut Fill, routing: &mut Broken, queueing: Some(&mut Broken) });
    check_conserved(&outcome);
    assert!(outcome.requests.served == outcome.requests.arrived && outcome.calls.strikes >= 2 * outcome.requests.arrived, "{:?}", outcome.calls);
    let outcome = simulate(&scenario, Policies { allocation: &mut Broken, routing: &mut LeastWork, queueing: None });
    check_conserved(&outcome);
    assert_eq!((outcome.requests.served, outcome.calls.strikes), (0, 1), "nothing is placed");
}
