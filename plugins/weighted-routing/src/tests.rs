use proptest::prelude::*;
use shardhost_sdk::scene::{request, whole_replicas};

use super::*;

/// One replica on each of so many devices.
fn policy(config: &str, devices: u32) -> Weighted {
    let stages: Vec<[(u32, f64); 1]> = (0..devices).map(|device| [(device, 1.0)]).collect();
    let mut policy = Weighted::configure(config).expect("sound settings");
    policy.set_topology(whole_replicas(&stages.iter().map(|stage| stage.as_slice()).collect::<Vec<_>>()));
    policy
}

/// How many of so many requests, with numbers that are evenly spread, each replica gets.
fn shares(policy: &mut Weighted, draws: u32, sequence_key: impl Fn(u32) -> u32) -> Vec<u32> {
    let mut counts = vec![0; policy.weights[0].len()];
    for draw in 0..draws {
        let random = (f64::from(draw) + 0.5) / f64::from(draws);
        let path = policy.route(&RouteRequest { random, sequence_key: sequence_key(draw), ..request(&[]) }).expect("a path");
        counts[path[0] as usize] += 1;
    }
    counts
}

#[test]
fn a_canary_gets_its_share_by_device() {
    let config = r#"{"rules":[{"device":"d2","weight":5}],"default_weight":47.5}"#;
    assert_eq!(shares(&mut policy(config, 3), 1_000, |_| 0), [475, 475, 50]);
}

#[test]
fn the_first_rule_that_fits_counts_and_names_model_and_replica() {
    let config = r#"{"rules":[{"model":"m","replica":1,"weight":3},{"replica":1,"weight":0},{"model":"m@1","device":"d0","weight":1},{"model":"other","weight":9}],"default_weight":0}"#;
    assert_eq!(shares(&mut policy(config, 3), 400, |_| 0), [100, 300, 0]);
}

#[test]
fn a_device_in_the_middle_of_a_replica_gives_the_replica_its_weight() {
    let mut policy = Weighted::configure(r#"{"rules":[{"device":"d3","weight":0}]}"#).expect("sound");
    policy.set_topology(whole_replicas(&[&[(0, 1.0), (1, 1.0)], &[(2, 1.0), (3, 1.0)]]));
    assert_eq!(policy.weights, [[1.0, 0.0]]);
}

#[test]
fn in_an_ab_test_a_sequence_sees_one_variant_and_the_shares_hold() {
    let config = r#"{"draw":"sequence","rules":[{"replica":0,"weight":3}]}"#;
    let counts = shares(&mut policy(config, 2), 20_000, |draw| draw + 1);
    // Four standard deviations of three quarters of 20,000 are 245.
    assert!((14_755..15_245).contains(&counts[0]), "{counts:?}");
    assert!(shares(&mut policy(config, 2), 100, |_| 7).contains(&100), "whatever number is drawn for a request");
    assert_eq!(shares(&mut policy(config, 2), 400, |_| 0), [300, 100], "requests of no sequence draw for themselves");
}

#[test]
fn where_every_weight_is_0_the_refusal_says_so() {
    let refusal = policy(r#"{"default_weight":0}"#, 2).route(&request(&[])).expect_err("nothing may be chosen");
    assert_eq!(refusal.reason, "model m@1 has 2 complete replicas, but the weight of each is 0");
}

#[test]
fn without_a_complete_replica_the_refusal_names_the_model() {
    assert_eq!(policy("", 0).route(&request(&[])).expect_err("none").reason, "model m@1 has no complete replica, 0 segments are ready");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let cases = [
        (r#"{"rules":[{"device":"a","weight":1},{"device":"b","weight":-1}]}"#, "the weight of rule 2 is -1, it must be 0 or more"),
        (r#"{"default_weight":-0.5}"#, "default_weight is -0.5, it must be 0 or more"),
        (r#"{"rules":[{"weight":1}]}"#, "rule 1 names no model, replica or device, it must name one of them"),
    ];
    for (config, reason) in cases {
        assert_eq!(Settings::read(config), Err(reason.to_owned()));
    }
    assert!(Settings::read(r#"{"rules":[{"devise":"a","weight":1}]}"#).is_err_and(|reason| reason.contains("devise")));
}

proptest! {
    #[test]
    fn replicas_are_chosen_in_proportion_and_never_without_weight(weights in prop::collection::vec(0_u32..5, 1..7)) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let real: Vec<f64> = weights.iter().copied().map(f64::from).collect();
        let mut counts = vec![0_u32; weights.len()];
        for draw in 0..total * 10 {
            counts[by_number((f64::from(draw) + 0.5) / f64::from(total * 10), &real).expect("some weight")] += 1;
        }
        prop_assert_eq!(counts, weights.iter().map(|weight| weight * 10).collect::<Vec<_>>());
        let last = by_number(1.0_f64.next_down(), &real).expect("some weight");
        prop_assert!(weights[last] > 0);
    }

    #[test]
    fn a_sequence_moves_only_to_the_replica_that_gains_weight(key in 1_u32..0x7fff_ffff, before in 0.1_f64..5.0, gain in 0.0_f64..5.0) {
        let identities = [11, 22, 33];
        let one = by_sequence(key, &[before, 1.0, 1.0], &identities);
        let other = by_sequence(key, &[before + gain, 1.0, 1.0], &identities);
        prop_assert!(one == other || other == Some(0));
    }
}
