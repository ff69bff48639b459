//! What holds of every simulation.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// Notes the input sizes of what is routed, in order; by them the test knows its requests.
struct Spy(Arc<Mutex<Vec<u64>>>);

impl RoutingPolicy for Spy {
    fn route(&mut self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Vec<u32>> {
        self.0.lock().expect("one thread").push(request.input.0);
        LeastWork.route(snapshot, request)
    }
}

/// Requests one millisecond apart with sizes 0, 1, 2 …, in these classes in turn.
fn recorded(count: u64, classes: u32) -> Traffic {
    let request = |index: u64| RecordedRequest { at: Millis(index as f64), model: 0, class: index as u32 % classes, input: Some(Bytes(index)) };
    Traffic { arrivals: Arrivals::Recorded((0..count).map(request).collect()), ..poisson(1.0) }
}

/// In which order requests are routed where one runs at a time and takes 10 ms.
fn order(traffic: Traffic, urgent_first: bool) -> Vec<u64> {
    let settings = SimulationSettings { running_max: 1, warm_up: Millis::ZERO, ..settings() };
    let scenario = scenario(vec![device("a", "here", 100.0, 64)], vec![model(1, 1)], vec![traffic], settings);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut urgent = Urgent;
    let queueing = urgent_first.then_some(&mut urgent as &mut dyn QueueingPolicy);
    let outcome = simulate(&scenario, Policies { allocation: &mut Fill, routing: &mut Spy(seen.clone()), queueing });
    check_conserved(&outcome);
    assert_eq!(outcome.requests.served, seen.lock().expect("one thread").len() as u64);
    seen.lock().expect("one thread").clone()
}

#[test]
fn without_a_policy_requests_get_their_turn_in_the_order_in_which_they_came() {
    assert_eq!(order(recorded(50, 2), false), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_queueing_policy_says_who_goes_first() {
    let order = order(recorded(40, 2), true);
    // The first one finds nobody; while it runs, ten more come, and so on until all of the urgent ones are through.
    let place = |request: u64| order.iter().position(|known| *known == request).expect("it was served");
    assert!(place(38) < place(1), "the last urgent one goes before the first other one: {order:?}");
    assert!((1..20).all(|index| place(2 * index - 1) < place(2 * index + 1)), "{order:?}");
}

#[test]
fn a_full_line_turns_requests_away_and_a_deadline_ends_them() {
    let limits = SimulationSettings { running_max: 1, waiting_max: 5, ..settings() };
    let fleet = || vec![device("a", "here", 100.0, 64)];
    let outcome = run(&scenario(fleet(), vec![model(1, 1)], vec![poisson(200.0)], limits.clone()));
    check_conserved(&outcome);
    let full = outcome.requests.shed[&Shed::Full] as f64 / outcome.requests.arrived as f64;
    assert!((0.45..0.55).contains(&full), "half of twice the load is too much: {full}");
    assert!(outcome.requests.latencies.percentile(1.0).expect("some were served") <= Millis(60.0 + 1e-6), "five before it and itself");
    let hasty = Traffic { deadline: Millis(25.0), ..poisson(200.0) };
    let outcome = run(&scenario(fleet(), vec![model(1, 1)], vec![hasty], SimulationSettings { waiting_max: 1_000, ..limits }));
    check_conserved(&outcome);
    assert!(outcome.requests.failed[&Failed::Late] > 0 && outcome.requests.latencies.percentile(1.0).expect("served") < Millis(25.0));
}

#[test]
fn utilisation_grows_with_the_load_up_to_all_of_the_time() {
    let at = |per_s: f64| run(&scenario(vec![device("a", "here", 100.0, 64)], vec![model(1, 1)], vec![poisson(per_s)], settings())).devices[0].utilisation;
    let measured: Vec<f64> = [10.0, 40.0, 70.0, 300.0].map(at).to_vec();
    assert!(measured.windows(2).all(|pair| pair[0] < pair[1]), "{measured:?}");
    assert!((0.95..=1.0 + 1e-9).contains(&measured[3]), "{measured:?}");
}

#[test]
fn exclusive_requests_are_alone_on_their_device() {
    let alone = Traffic { exclusive_ratio: 1.0, ..poisson(60.0) };
    // Two stages on two devices: what is alone on both cannot overlap with the next.
    let devices = || vec![device("a", "here", 100.0, 1), device("b", "here", 100.0, 1)];
    let shared = run(&scenario(devices(), vec![model(2, 1)], vec![poisson(60.0)], settings()));
    let exclusive = run(&scenario(devices(), vec![model(2, 1)], vec![alone], settings()));
    assert!(shared.requests.failed_sum() == 0 && shared.throughput_per_s > 55.0, "{}", shared.throughput_per_s);
    assert!((49.0..51.0).contains(&exclusive.throughput_per_s), "one in 20 ms: {}", exclusive.throughput_per_s);
}

#[test]
fn a_scenario_that_cannot_be_computed_with_is_refused_by_name() {
    let fails =
        |devices, models, traffic, settings| Scenario::new(devices, Vec::new(), links(), models, traffic, settings).expect_err("it is wrong").to_string();
    let fleet = || vec![device("a", "here", 100.0, 64)];
    let cases = [
        (fails(vec![], vec![model(1, 1)], vec![], settings()), "the number of devices is 0, it must be 1 to 100000"),
        (fails([fleet(), fleet()].concat(), vec![model(1, 1)], vec![], settings()), "device a is there twice, it must be there once"),
        (fails(fleet(), vec![], vec![], settings()), "the number of models is 0, it must be 1 to 1000"),
        (fails(fleet(), vec![model(1, 1)], vec![poisson(f64::NAN)], settings()), "per_s is NaN, it must be 0.000000001 to 1000000000"),
        (fails(fleet(), vec![model(1, 1)], vec![poisson(1e8)], settings()), "the number of requests is 7000000000, it must be 0 to 100000000"),
        (fails(fleet(), vec![model(1, 1)], vec![Traffic { class: 3, ..poisson(1.0) }], settings()), "the class of a traffic is 3, it must be 0 to 2"),
        (
            fails(fleet(), vec![model(1, 1)], vec![], SimulationSettings { duration: Millis(-1.0), ..settings() }),
            "duration in ms is -1, it must be 1 to 31536000000",
        ),
    ];
    for (said, expected) in cases {
        assert_eq!(said, expected);
    }
}

/// A small fleet with some of everything.
fn any_scenario() -> impl Strategy<Value = Scenario> {
    let devices = proptest::collection::vec((20.0..400.0_f64, 1_u64..6, 0_u8..2, 0_u8..4, any::<bool>()), 1..6);
    let load = (1.0..120.0_f64, 0.0..0.3_f64, 20.0..5_000.0_f64, 1_u32..4);
    let limits = (1_u32..40, 0_u32..20, 0.0..0.5_f64, any::<bool>());
    (devices, load, limits, 1_usize..7, any::<u64>()).prop_map(|(devices, load, limits, blocks, seed)| {
        let fleet = (0_u32..).zip(devices).map(|(index, (gflops, mib, site, manner, present))| {
            let manner = [None, Some(Ending::Leaves), Some(Ending::Crashes), Some(Ending::Falls)][usize::from(manner)];
            let failures = manner.map(|manner| Failures { mean_between: Millis(9_000.0), mean_repair: Millis(3_000.0), manner });
            let fluctuation = Fluctuation { ratio: 0.3, period: Millis(700.0), seed: u64::from(index) };
            let outages = Outages::Repeated { every: Millis(11_000.0), lasting: Millis(1_000.0), seed: u64::from(index) };
            let network = Speed { latency: Millis(0.2), bytes_per_ms: 10_000.0 };
            let of = device(&format!("d{index}"), ["here", "there"][usize::from(site)], gflops, mib);
            FleetDevice { failures, fluctuation, outages, network, present: present || index == 0, ..of }
        });
        let (per_s, exclusive_ratio, deadline, models) = load;
        let (running_max, waiting_max, calibration_error_ratio, spread) = limits;
        let run_times = if spread { RunTimes::Exponential } else { RunTimes::Fixed };
        let settings = SimulationSettings {
            seed,
            running_max,
            waiting_max,
            calibration_error_ratio,
            run_times,
            warm_up: Millis(2_000.0),
            duration: Millis(20_000.0),
            opening_max: Millis(20_000.0),
            ..SimulationSettings::default()
        };
        let named = |index: u32| FleetModel { profile: testing::uniform_model(&format!("m{index}"), blocks), placement: Placement::default() };
        let traffic =
            |index: u32| Traffic { model: index as usize, class: index % 3, exclusive_ratio, deadline: Millis(deadline), sequences: 5, ..poisson(per_s) };
        let ways = FleetLinks { between_sites: Speed { latency: Millis(5.0), bytes_per_ms: 1_000.0 }, ..links() };
        Scenario::new(fleet.collect(), Vec::new(), ways, (0..models).map(named).collect(), (0..models).map(traffic).collect(), settings).expect("sound")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_no_request_is_lost_and_the_same_seed_makes_the_same_bytes(scenario in any_scenario()) {
        let outcome = run(&scenario);
        check_conserved(&outcome);
        prop_assert!(outcome.devices.iter().all(|device| (0.0..=1.0 + 1e-9).contains(&device.presence) && device.utilisation <= 1.0 + 1e-6), "{:?}", outcome.devices);
        prop_assert!(outcome.models.iter().all(|model| model.avoidable <= model.without_replica && model.without_replica <= outcome.duration + Millis(1e-6)));
        prop_assert!(outcome.fetched_from_peers <= outcome.fetched);
        prop_assert_eq!(format!("{outcome:?}"), format!("{:?}", run(&scenario)));
    }

    #[test]
    fn every_answer_takes_at_least_its_runs(gflops in 10.0..500.0_f64, per_s in 1.0..50.0_f64, seed: u64) {
        let settings = SimulationSettings { seed, duration: Millis(5_000.0), ..settings() };
        let outcome = run(&scenario(vec![device("a", "here", gflops, 64)], vec![model(3, 1)], vec![poisson(per_s)], settings));
        if let Some(shortest) = outcome.requests.latencies.percentile(0.0) {
            prop_assert!(shortest.0 >= 3.0 * 1e3 / gflops - 1e-6, "{shortest}");
        }
    }
}

#[test]
fn another_seed_makes_other_requests() {
    let scenario = scenario(vec![device("a", "here", 100.0, 64)], vec![model(1, 1)], vec![poisson(20.0)], settings());
    assert_ne!(run(&scenario).requests, run(&scenario.clone().with_seed(2)).requests);
}
