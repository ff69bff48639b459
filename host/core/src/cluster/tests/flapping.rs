//! Devices that come and go: the plan does not follow each of their moves.

use proptest::prelude::*;

use super::*;

/// Cuts a device off and lets it come back with what it held, at this time.
fn flap(cluster: &mut Cluster, name: &str, mib: u64, held: &[Held], now: f64) -> Vec<Effect> {
    let mut effects = after(cluster, away(name));
    effects.extend(after(cluster, joined(name, mib, held.to_vec(), now)));
    effects
}

#[test]
fn a_device_that_comes_and_goes_gets_nothing_new_for_a_while() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[]);
    for _ in 0..3 {
        assert_eq!(state(&cluster, "a"), Some(DeviceState::Ready));
        flap(&mut cluster, "a", 4, &[], 0.0);
    }
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Damped));
    after(&mut cluster, added("m", 4));
    assert_eq!(served(&cluster, "m"), ["b[0..4)"]);
    pass(&mut cluster, &["a", "b"], 500, 9_500);
    assert_eq!(state(&cluster, "a"), Some(DeviceState::Damped));
    let effects = pass(&mut cluster, &["a", "b"], 10_000, 10_000);
    assert_eq!((state(&cluster, "a"), reasons(&effects)), (Some(DeviceState::Ready), vec!["device a takes work again".to_owned()]));
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
}

#[test]
fn what_a_damped_device_serves_moves_away_where_it_can() {
    let shards = [held("m", 0, 4)];
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    flap(&mut cluster, "a", 4, &shards, 0.0);
    assert_eq!(costly(&flap(&mut cluster, "a", 4, &shards, 0.0)), [""; 0]);
    let effects = flap(&mut cluster, "a", 4, &shards, 0.0);
    assert_eq!((reasons(&effects), served(&cluster, "m")), (vec!["device a comes and goes".to_owned()], vec!["b[0..4)".to_owned()]));
}

#[test]
fn what_a_damped_device_serves_stays_where_no_other_can() {
    let shards = [held("m", 0, 4)];
    let mut cluster = pool(&[("a", 4), ("b", 1)], &[("m", 4)]);
    for _ in 0..3 {
        flap(&mut cluster, "a", 4, &shards, 0.0);
    }
    assert_eq!((state(&cluster, "a"), served(&cluster, "m")), (Some(DeviceState::Damped), vec!["a[0..4)".to_owned()]));
}

#[test]
fn a_model_does_not_wait_for_a_device_that_comes_and_goes() {
    let shards = [held("m", 0, 4)];
    let mut cluster = pool(&[("a", 4), ("b", 1)], &[("m", 4)]);
    for _ in 0..3 {
        flap(&mut cluster, "a", 4, &shards, 0.0);
    }
    after(&mut cluster, away("a"));
    after(&mut cluster, joined("c", 4, vec![], 0.0));
    assert_eq!(served(&cluster, "m"), ["b[0..1)", "c[1..4)"]);
}

/// How a device comes and goes: how long it is there and how long it is gone, in ticks, and whether it says goodbye.
fn moves() -> impl Strategy<Value = Vec<(u32, u32, bool)>> {
    proptest::collection::vec((1_u32..40, 0_u32..10, any::<bool>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_device_that_flaps_for_ever_causes_few_questions(moves in moves(), keeps in any::<bool>(), other_mib in prop_oneof![Just(1_u64), Just(4)]) {
        let settings = ClusterSettings::default();
        let mut cluster = pool(&[("a", 4), ("b", other_mib)], &[("m", 4), ("n", 4)]);
        let (mut questions, mut tick) = (0_u32, 1_u32);
        let mut note = |effects: Vec<Effect>| questions += effects.iter().map(|effect| u32::from(matches!(effect, Effect::Solve { .. }))).sum::<u32>();
        let hour = 7_200;
        for (there, gone, goodbye) in moves.into_iter().cycle() {
            if tick > hour {
                break;
            }
            note(pass(&mut cluster, &["a", "b"], tick * 500, (tick + there - 1) * 500));
            tick += there;
            let device = device_id("a");
            let held = cluster.devices()[&device].shards.keys().filter(|_| keeps).cloned().collect();
            note(after(&mut cluster, if goodbye { Event::Left { device } } else { Event::Away { device } }));
            if gone > 0 {
                note(pass(&mut cluster, &["b"], tick * 500, (tick + gone - 1) * 500));
                tick += gone;
            }
            note(after(&mut cluster, joined("a", 4, held, f64::from(tick) * 500.0)));
        }
        // In each window it may come and go `flaps_max` times before it is damped; each time it is lost, joins and is steady
        // again, each model may be asked about, and again when the other one has moved.
        let windows = 3_600_000.0 / settings.flaps.window.0;
        let bound = windows * f64::from(settings.flaps.flaps_max) * 3.0 * 2.0 * 2.0;
        prop_assert!(f64::from(questions) < bound, "{questions} questions in an hour, {bound} are allowed");
    }
}
