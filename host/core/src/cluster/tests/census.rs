//! The pool in figures.

use super::*;

fn mib(supply: Supply<Bytes>) -> (u64, u64, u64) {
    let in_mib = |size: Bytes| size.0 >> 20;
    (in_mib(supply.total), in_mib(supply.reserved), in_mib(supply.available))
}

fn figures(supply: Supply<f64>) -> (f64, f64, f64) {
    (supply.total, supply.reserved, supply.available)
}

#[test]
fn only_what_devices_that_take_work_have_left_is_available() {
    let mut cluster = pool(&[("a", 4), ("b", 8), ("c", 2), ("d", 16)], &[("m", 2)]);
    after(&mut cluster, Event::CordonAsked { device: device_id("b") });
    after(&mut cluster, Event::Left { device: device_id("c") });
    after(&mut cluster, away("d"));
    let census = cluster.census(Millis(250.0));
    let expected = [DeviceState::Ready, DeviceState::Away, DeviceState::Cordoned, DeviceState::Lost].map(|state| (state, 1));
    assert_eq!(census.states, BTreeMap::from(expected));
    assert_eq!((mib(census.memory), figures(census.gflops)), ((28, 2, 2), (3_000.0, 1_000.0, 0.0)));
    let per_device: Vec<_> = census.devices.iter().map(|device| (device.id.as_str(), device.state, mib(device.memory))).collect();
    let expected = [
        ("a", DeviceState::Ready, (4, 2, 2)),
        ("b", DeviceState::Cordoned, (8, 0, 0)),
        ("c", DeviceState::Lost, (2, 0, 0)),
        ("d", DeviceState::Away, (16, 0, 0)),
    ];
    assert_eq!(per_device, expected);
}

#[test]
fn accelerators_that_share_a_pool_have_its_memory_once() {
    let mut shared = device("a", Bytes::mib(4));
    let mut second = shared.offers[0].clone();
    second.accelerator = AcceleratorName::parse("npu0").expect("a name");
    second.cost.gflop_ms = 0.0;
    second.cost.fixed_ms = 1.0;
    shared.offers.push(second);
    let mut cluster = pool(&[], &[]);
    after(&mut cluster, Event::Joined { device: shared, held: vec![], now: Millis(0.0) });
    let census = cluster.census(Millis(0.0));
    assert_eq!((mib(census.memory), figures(census.gflops)), ((4, 0, 4), (1_000.0, 0.0, 1_000.0)));
}

#[test]
fn what_is_planned_and_not_loaded_yet_is_reserved() {
    let mut cluster = pool(&[("a", 4)], &[("m", 2)]);
    after(&mut cluster, away("a"));
    cluster.apply(joined("a", 4, vec![], 0.0));
    assert_eq!(mib(cluster.census(Millis(0.0)).memory), (4, 2, 2));
}

#[test]
fn a_lease_ages_with_silence_and_not_while_the_central_sleeps() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[]);
    pass(&mut cluster, &["a"], 500, 1_000);
    let ages = |cluster: &Cluster, now: f64| cluster.census(Millis(now)).devices.iter().map(|device| device.lease_age.0).collect::<Vec<_>>();
    assert_eq!(ages(&cluster, 1_200.0), [200.0, 1_200.0]);
    assert_eq!(ages(&cluster, 3_600_000.0), [500.0, 1_500.0]);
}
