//! Every device has a lease, in each state; it runs on the time of the ticks, without their jumps.

use super::*;

#[test]
fn silence_ends_the_lease_in_every_state() {
    let cases = [
        (None, DeviceState::Ready),
        (Some(away("a")), DeviceState::Away),
        (Some(Event::CordonAsked { device: device_id("a") }), DeviceState::Cordoned),
        (Some(Event::DrainAsked { device: device_id("a") }), DeviceState::Draining),
    ];
    for (event, expected) in cases {
        let mut cluster = pool(&[("a", 4)], &[("m", 4)]);
        if let Some(event) = event {
            after(&mut cluster, event);
        }
        pass(&mut cluster, &[], 500, 1_500);
        assert_eq!(state(&cluster, "a"), Some(expected));
        pass(&mut cluster, &[], 2_000, 2_000);
        assert_eq!(state(&cluster, "a"), Some(DeviceState::Lost), "it was {expected}");
    }
}

#[test]
fn a_device_that_stands_by_is_lost_like_one_that_serves() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
    pass(&mut cluster, &["a"], 500, 2_000);
    assert_eq!((state(&cluster, "a"), state(&cluster, "b")), (Some(DeviceState::Ready), Some(DeviceState::Lost)));
}

#[test]
fn a_damped_device_that_is_silent_is_lost() {
    let mut cluster = pool(&[("a", 4)], &[]);
    for _ in 0..3 {
        after(&mut cluster, away("a"));
        after(&mut cluster, joined("a", 4, vec![], 0.0));
    }
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Damped));
    pass(&mut cluster, &[], 500, 2_000);
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Lost));
}

#[test]
fn a_central_that_slept_finds_its_devices_as_it_left_them() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    pass(&mut cluster, &["a", "b"], 500, 1_000);
    // An hour later the tick comes before the heartbeats that waited with it.
    assert_eq!(costly(&after(&mut cluster, Event::Tick { now: Millis(3_600_000.0) })), [""; 0]);
    pass(&mut cluster, &["a"], 3_600_500, 3_601_000);
    assert_eq!((state(&cluster, "a"), state(&cluster, "b")), (Some(DeviceState::Ready), Some(DeviceState::Ready)));
    pass(&mut cluster, &["a"], 3_601_500, 3_601_500);
    assert_eq!((state(&cluster, "a"), state(&cluster, "b")), (Some(DeviceState::Ready), Some(DeviceState::Lost)));
}

#[test]
fn a_clock_that_goes_back_neither_loses_nor_spares_anybody() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[]);
    pass(&mut cluster, &["a", "b"], 100_000, 101_000);
    pass(&mut cluster, &["a"], 500, 1_500);
    assert_eq!((state(&cluster, "a"), state(&cluster, "b")), (Some(DeviceState::Ready), Some(DeviceState::Ready)));
    pass(&mut cluster, &["a"], 2_000, 2_500);
    assert_eq!((state(&cluster, "a"), state(&cluster, "b")), (Some(DeviceState::Ready), Some(DeviceState::Lost)));
}

#[test]
fn a_time_that_is_no_number_is_rejected() {
    let mut cluster = pool(&[("a", 4)], &[]);
    assert_eq!(rejections(&cluster.apply(Event::Tick { now: Millis(f64::NAN) })), ["the time of an event is NaN, it must be a finite number, 0 or more"]);
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Ready));
}
