use proptest::prelude::*;
use shardhost_sdk::scene::{pressure, request, whole_replicas};

use super::*;

/// Replicas of one stage on as many devices; each device with what it has cached, as sequence and tokens.
fn policy(config: &str, cached: &[&[(u32, &str)]]) -> PrefixAffinity {
    let stages: Vec<[(u32, f64); 1]> = (0..).zip(cached).map(|(device, _)| [(device, 10.0)]).collect();
    let mut topology = whole_replicas(&stages.iter().map(|stage| stage.as_slice()).collect::<Vec<_>>());
    for (device, cached) in topology.devices.iter_mut().zip(cached) {
        device.attributes = cached.iter().map(|(key, tokens)| (format!("{ATTRIBUTE}{key}"), (*tokens).to_owned())).collect();
    }
    let mut policy = PrefixAffinity::configure(config).expect("sound settings");
    policy.set_topology(topology);
    policy
}

fn chosen(policy: &mut PrefixAffinity, sequence_key: u32, outstanding: &[u32]) -> u32 {
    policy.route(&RouteRequest { sequence_key, ..request(outstanding) }).expect("a path")[0]
}

#[test]
fn a_sequence_goes_where_most_of_its_prefix_is_cached_until_the_work_there_outweighs_it() {
    let mut policy = policy("", &[&[(7, "5")], &[(7, "100"), (8, "9")], &[]]);
    assert_eq!(chosen(&mut policy, 7, &[0, 9, 0]), 1, "100 ms are saved and 90 waited");
    assert_eq!(chosen(&mut policy, 7, &[0, 10, 0]), 0, "now 5 ms saved at once are more");
    assert_eq!(chosen(&mut policy, 8, &[0, 0, 0]), 1);
    assert_eq!(chosen(&mut policy, 8, &[0, 1, 0]), 0, "9 ms are saved and 10 waited, so those without it are better, in turn");
}

#[test]
fn settings_say_what_a_token_saves_and_what_load_counts() {
    let cached: &[&[(u32, &str)]] = &[&[(7, "5")], &[(7, "100")]];
    assert_eq!(chosen(&mut policy(r#"{"token_ms":0.05}"#, cached), 7, &[0, 1]), 0);
    assert_eq!(chosen(&mut policy(r#"{"load_weight":0}"#, cached), 7, &[0, 1_000]), 1);
}

#[test]
fn a_replica_has_no_more_cached_than_the_stage_that_has_least() {
    let mut topology = whole_replicas(&[&[(0, 1.0), (1, 1.0)], &[(2, 1.0), (3, 1.0)]]);
    for (device, tokens) in [(0, "900"), (2, "10"), (3, "20")] {
        topology.devices[device].attributes = vec![(format!("{ATTRIBUTE}7"), tokens.to_owned())];
    }
    let mut policy = PrefixAffinity::configure("{}").expect("defaults");
    policy.set_topology(topology);
    assert_eq!(policy.route(&RouteRequest { sequence_key: 7, ..request(&[]) }), Ok(vec![2, 3]), "the first replica must compute all of it anew");
}

#[test]
fn what_is_said_of_other_things_or_cannot_be_read_counts_nothing() {
    let device = |attributes: &[(&str, &str)]| Device {
        id: "a".into(),
        site: 0,
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let read = cached(&device(&[("cached-prefix-tokens/3", "12"), ("cached-prefix-tokens/x", "1"), ("cached-prefix-tokens/4", "-1"), ("room", "5")]));
    assert_eq!(read, BTreeMap::from([(3, 12.0)]));
}

#[test]
fn without_a_sequence_the_replica_with_the_least_work_is_chosen() {
    let mut policy = policy("", &[&[(7, "100")], &[], &[]]);
    assert_eq!(chosen(&mut policy, 0, &[2, 1, 3]), 1);
}

#[test]
fn where_nothing_is_cached_a_sequence_stays_while_the_load_is_even_and_busy_replicas_win_fewer() {
    let mut policy = policy("", &[&[], &[]]);
    let mut on_the_busy = 0;
    for key in 1..=3_000 {
        let idle = chosen(&mut policy, key, &[0, 0]);
        assert_eq!(chosen(&mut policy, key, &[4, 4]), idle, "both have as much to do");
        on_the_busy += u32::from(chosen(&mut policy, key, &[0, 2]) == 1);
    }
    // Its weight is a third of the other's, so it wins a quarter; four standard deviations are 95.
    assert!((655..845).contains(&on_the_busy), "{on_the_busy} of 3000");
}

#[test]
fn a_device_that_just_failed_has_no_load_and_does_not_win() {
    let mut policy = policy("", &[&[], &[(7, "1000")]]);
    policy.set_pressure(vec![pressure(0, 0.9)]);
    assert_eq!([0, 1, 7].map(|key| chosen(&mut policy, key, &[5, 0])), [0, 0, 0]);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    assert_eq!(Settings::read(r#"{"token_ms":-1}"#), Err("token_ms is -1, it must be 0 or more".into()));
    assert_eq!(Settings::read(r#"{"load_weight":-2}"#), Err("load_weight is -2, it must be 0 or more".into()));
    assert!(Settings::read(r#"{"tokens":1}"#).is_err_and(|reason| reason.contains("tokens")));
}

proptest! {
    #[test]
    fn no_other_replica_saves_more_for_its_work(tokens in prop::collection::vec(0_u32..200, 2..6), outstanding in prop::collection::vec(0_u32..12, 6)) {
        prop_assume!(tokens.iter().any(|&tokens| tokens > 0));
        let texts: Vec<String> = tokens.iter().map(u32::to_string).collect();
        let cached: Vec<[(u32, &str); 1]> = texts.iter().map(|text| [(7, text.as_str())]).collect();
        let mut policy = policy("", &cached.iter().map(|cached| cached.as_slice()).collect::<Vec<_>>());
        let gain = |index: usize| f64::from(tokens[index]) - (f64::from(outstanding[index]) + 1.0) * 10.0;
        let path = chosen(&mut policy, 7, &outstanding[..tokens.len()]) as usize;
        prop_assert!((0..tokens.len()).all(|index| gain(path) >= gain(index) - 1e-6));
    }
}
