//! Thousands of devices.

use super::*;

/// So many devices of four kinds at ten sites, some of which fail, for a minute.
fn large(count: usize) -> Scenario {
    let devices = (0..count).map(|index| {
        let kind = index % 4;
        let failures = (index % 50 == 0).then_some(Failures { mean_between: Millis(60_000.0), mean_repair: Millis(20_000.0), manner: Ending::Crashes });
        let of = device(&format!("d{index:05}"), &format!("s{}", index % 10), [50.0, 100.0, 400.0, 900.0][kind], [4, 8, 16, 16][kind]);
        FleetDevice { failures, ..of }
    });
    let cluster = ClusterSettings { tick: Millis(5_000.0), lease: Millis(15_000.0), ..ClusterSettings::default() };
    let settings = SimulationSettings { cluster, duration: Millis(60_000.0), ..settings() };
    scenario(devices.collect(), vec![model(16, u32::MAX)], vec![poisson(50.0)], settings)
}

#[test]
fn five_hundred_devices_serve() {
    let outcome = run(&large(500));
    check_conserved(&outcome);
    assert_eq!(outcome.requests.failed_sum(), 0, "{:?}", outcome.requests.failed);
    assert!(outcome.models[0].replicas > 120.0, "{:?}", outcome.models);
}

#[test]
#[ignore = "takes minutes without optimisation"]
fn ten_thousand_devices_serve() {
    let outcome = run(&large(10_000));
    check_conserved(&outcome);
    assert!(outcome.models[0].replicas > 2_500.0, "{:?}", outcome.models);
}
