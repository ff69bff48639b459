use proptest::prelude::*;
use shardhost_sdk::scene::{pressure, request, whole_replicas};

use super::*;

/// One replica on each of so many devices.
fn policy(config: &str, devices: u32) -> LoadGreedy {
    let stages: Vec<[(u32, f64); 1]> = (0..devices).map(|device| [(device, 1.0)]).collect();
    let mut policy = LoadGreedy::configure(config).expect("sound settings");
    policy.set_topology(whole_replicas(&stages.iter().map(|stage| stage.as_slice()).collect::<Vec<_>>()));
    policy
}

fn chosen(policy: &mut LoadGreedy, outstanding: &[u32]) -> u32 {
    policy.route(&request(outstanding)).expect("a path")[0]
}

/// What a device reports whose link carries this much of what it could, both in Mbit/s.
fn on_link(device: u32, used: f64, speed: f64, latency_ms: f64) -> Pressure {
    Pressure { bandwidth: used / speed, latency_ms, ..pressure(device, 0.5) }
}

#[test]
fn the_slowest_link_does_not_win() {
    // The same traffic on a link of 10 Mbit/s and on one of 1,000: the slow one has next to nothing free.
    let mut policy = policy("", 2);
    policy.set_pressure(vec![on_link(0, 8.0, 10.0, 1.0), on_link(1, 8.0, 1_000.0, 1.0)]);
    assert_eq!(chosen(&mut policy, &[]), 1);
    // With nothing on either, it is the latency that speaks against the slow one.
    policy.set_pressure(vec![on_link(0, 0.0, 10.0, 40.0), on_link(1, 0.0, 1_000.0, 1.0)]);
    assert_eq!(chosen(&mut policy, &[]), 1);
}

#[test]
fn the_load_is_the_weighted_mean_of_its_parts() {
    let full = Pressure { device: 0, cpu: 1.0, memory: 1.0, accelerator: 1.0, bandwidth: 1.0, latency_ms: 1e9 };
    let idle = pressure(0, 0.0);
    let settings = Settings::default();
    let near = |load: f64, expected: f64| assert!((load - expected).abs() < 1e-12, "{load}, not {expected}");
    near(settings.load(&full), 1.0);
    near(settings.load(&idle), 0.0);
    near(settings.load(&Pressure { cpu: 0.5, ..idle }), 0.15);
    near(settings.load(&Pressure { memory: 0.5, ..idle }), 0.05);
    near(settings.load(&Pressure { accelerator: 0.5, ..idle }), 0.2);
    near(settings.load(&Pressure { bandwidth: 0.5, ..idle }), 0.05);
    near(settings.load(&Pressure { latency_ms: 50.0, ..idle }), 0.05);
    let doubled = Settings { cpu_weight: 3.0, memory_weight: 1.0, accelerator_weight: 4.0, bandwidth_weight: 1.0, latency_weight: 1.0, ..settings };
    near(doubled.load(&Pressure { accelerator: 0.5, ..idle }), 0.2);
}

#[test]
fn a_replica_is_as_loaded_as_its_most_loaded_device() {
    let mut policy = LoadGreedy::configure("{}").expect("defaults");
    policy.set_topology(whole_replicas(&[&[(0, 1.0), (1, 1.0)], &[(2, 1.0), (3, 1.0)]]));
    policy.set_pressure([(0, 0.0), (1, 0.9), (2, 0.5), (3, 0.5)].map(|(device, cpu)| pressure(device, cpu)).to_vec());
    assert_eq!(policy.route(&request(&[])), Ok(vec![2, 3]));
}

#[test]
fn replicas_that_tie_are_told_apart_by_outstanding_work_and_then_take_turns() {
    let mut policy = policy("", 3);
    assert_eq!(chosen(&mut policy, &[2, 1, 2]), 1);
    let turns = [0, 1, 2].map(|ordinal| policy.route(&RouteRequest { ordinal, ..request(&[1, 2, 1]) }));
    assert_eq!(turns, [Ok(vec![0]), Ok(vec![2]), Ok(vec![0])]);
}

#[test]
fn a_device_that_just_failed_has_no_load_and_does_not_win() {
    let mut policy = policy("", 2);
    policy.set_pressure(vec![Pressure { memory: 0.9, accelerator: 0.9, ..pressure(0, 0.9) }]);
    assert_eq!(chosen(&mut policy, &[5, 0]), 0);
}

#[test]
fn a_new_topology_forgets_the_pressures_of_the_one_before() {
    let mut policy = policy("", 2);
    policy.set_pressure(vec![pressure(0, 0.9), pressure(1, 0.0)]);
    policy.set_topology(whole_replicas(&[&[(0, 1.0)], &[(1, 1.0)]]));
    assert_eq!([0, 1].map(|ordinal| policy.route(&RouteRequest { ordinal, ..request(&[]) })), [Ok(vec![0]), Ok(vec![1])]);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let cases = [
        (r#"{"cpu_weight":-1}"#, "cpu_weight is -1, it must be 0 or more"),
        (r#"{"latency_ms_max":0}"#, "latency_ms_max is 0, it must be more than 0"),
        (
            r#"{"cpu_weight":0,"memory_weight":0,"accelerator_weight":0,"bandwidth_weight":0,"latency_weight":0}"#,
            "every weight is 0, one at least must be more",
        ),
    ];
    for (config, reason) in cases {
        assert_eq!(Settings::read(config), Err(reason.to_owned()));
    }
    assert!(Settings::read(r#"{"gpu_weight":1}"#).is_err_and(|reason| reason.contains("gpu_weight")));
}

fn any_pressure() -> impl Strategy<Value = Pressure> {
    (0.0_f64..=1.0, 0.0_f64..=1.0, 0.0_f64..=1.0, 0.0_f64..=1.0, 0.0_f64..500.0).prop_map(|(cpu, memory, accelerator, bandwidth, latency_ms)| Pressure {
        device: 0,
        cpu,
        memory,
        accelerator,
        bandwidth,
        latency_ms,
    })
}

proptest! {
    #[test]
    fn a_load_lies_between_0_and_1_and_never_falls_when_a_part_rises(low in any_pressure(), high in any_pressure()) {
        let settings = Settings::default();
        let most = |one: f64, other: f64| one.max(other);
        let both = Pressure {
            device: 0,
            cpu: most(low.cpu, high.cpu),
            memory: most(low.memory, high.memory),
            accelerator: most(low.accelerator, high.accelerator),
            bandwidth: most(low.bandwidth, high.bandwidth),
            latency_ms: most(low.latency_ms, high.latency_ms),
        };
        prop_assert!((0.0..=1.0 + 1e-9).contains(&settings.load(&low)));
        prop_assert!(settings.load(&low) <= settings.load(&both) + 1e-12);
    }

    #[test]
    fn no_other_replica_is_less_loaded(reported in prop::collection::vec(any_pressure(), 2..7)) {
        let mut policy = policy("", u32::try_from(reported.len()).expect("few"));
        let numbered: Vec<Pressure> = (0..).zip(&reported).map(|(device, pressure)| Pressure { device, ..*pressure }).collect();
        policy.set_pressure(numbered.clone());
        let load = |index: usize| policy.settings.load(&numbered[index]);
        let loads: Vec<f64> = (0..numbered.len()).map(load).collect();
        let path = chosen(&mut policy, &[]) as usize;
        prop_assert!(loads.iter().all(|load| loads[path] <= load * (1.0 + 1e-6)));
    }
}
