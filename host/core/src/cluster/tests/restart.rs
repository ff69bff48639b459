//! A central that starts anew with the plan of before.

use proptest::prelude::*;

use super::*;

/// What there is when the central dies: the plan that its store kept, the devices, and what each of them holds.
fn before(devices: &[(&str, u64)], models: &[(&str, usize)]) -> (Cluster, Plan) {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(7));
    let mut effects = Vec::new();
    for &(name, mib) in devices {
        effects.extend(after(&mut cluster, joined(name, mib, vec![], 0.0)));
    }
    for &(name, blocks) in models {
        effects.extend(after(&mut cluster, added(name, blocks)));
    }
    let recorded = effects.into_iter().filter_map(|effect| if let Effect::Record { plan, .. } = effect { Some(plan.plan().clone()) } else { None });
    let plan = recorded.last().expect("a plan was made");
    (cluster, plan)
}

fn restarted(plan: &Plan, expected: &[&str]) -> Cluster {
    Cluster::with_plan(ClusterSettings::default(), plan.clone(), expected.iter().map(|name| device_id(name)).collect())
}

fn shards_of(cluster: &Cluster, name: &str) -> Vec<Held> {
    cluster.devices()[&device_id(name)].shards.keys().cloned().collect()
}

#[test]
fn devices_that_come_back_with_their_shards_serve_again_without_a_question_or_a_load() {
    let (old, plan) = before(&[("a", 2), ("b", 2), ("idle", 1)], &[("m", 4)]);
    let mut cluster = restarted(&plan, &["idle"]);
    let mut effects = after(&mut cluster, added("m", 4));
    effects.extend(after(&mut cluster, joined("b", 2, shards_of(&old, "b"), 0.0)));
    assert!(cluster.is_planning() && served(&cluster, "m").is_empty());
    effects.extend(after(&mut cluster, joined("a", 2, shards_of(&old, "a"), 10.0)));
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "b[2..4)"], "it serves before the idle device is back");
    assert!(cluster.is_planning());
    effects.extend(after(&mut cluster, joined("idle", 1, vec![], 20.0)));
    assert!(!cluster.is_planning());
    assert_eq!((costly(&effects), reasons(&effects)), (vec![], vec![]));
    assert_eq!(cluster.plan().plan(), &plan);
}

#[test]
fn a_device_that_does_not_come_back_is_lost_when_the_time_is_over() {
    let (old, plan) = before(&[("a", 2), ("b", 2)], &[("m", 4)]);
    let mut cluster = restarted(&plan, &[]);
    after(&mut cluster, added("m", 4));
    after(&mut cluster, joined("a", 2, shards_of(&old, "a"), 0.0));
    after(&mut cluster, joined("c", 2, vec![], 0.0));
    assert_eq!(costly(&pass(&mut cluster, &["a", "c"], 500, 4_500)), [""; 0], "neither asked nor unloaded");
    let effects = pass(&mut cluster, &["a", "c"], 5_000, 5_000);
    assert_eq!(reasons(&effects)[0], "lost b");
    assert_eq!(costly(&effects), ["solve m@1", "load c m@1[2..4)"]);
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "c[2..4)"]);
    assert!(cluster.plan().plan().number > plan.number);
}

#[test]
fn what_a_device_lost_in_the_meantime_is_loaded_by_the_plan_of_before() {
    let (old, plan) = before(&[("a", 2), ("b", 2)], &[("m", 4)]);
    let mut cluster = restarted(&plan, &[]);
    let mut effects = after(&mut cluster, joined("a", 2, vec![], 0.0));
    effects.extend(after(&mut cluster, joined("b", 2, shards_of(&old, "b"), 0.0)));
    effects.extend(after(&mut cluster, added("m", 4)));
    assert_eq!((costly(&effects), served(&cluster, "m").len()), (vec!["load a m@1[0..2)".to_owned()], 2));
    assert_eq!(cluster.plan().plan(), &plan);
}

#[test]
fn a_stored_plan_is_dropped_where_it_does_not_fit_any_more() {
    let (_, plan) = before(&[("a", 4), ("b", 4)], &[("m", 4), ("n", 4)]);
    let mut cluster = restarted(&plan, &[]);
    after(&mut cluster, joined("a", 1, vec![], 0.0));
    after(&mut cluster, joined("b", 8, vec![], 0.0));
    let effects = [after(&mut cluster, added("m", 4)), after(&mut cluster, added("n", 4))].concat();
    assert_eq!(reasons(&effects)[0], "the central started anew and its pool has changed");
    assert_eq!(costly(&effects)[..2], ["solve m@1", "load b n@1[0..4)"]);
    assert_eq!((served(&cluster, "m"), served(&cluster, "n")), (vec!["a[0..1)".to_owned(), "b[1..4)".to_owned()], vec!["b[0..4)".to_owned()]));
}

#[test]
fn a_model_that_is_gone_is_waited_for_and_then_dropped() {
    let (old, plan) = before(&[("a", 8)], &[("m", 4), ("n", 4)]);
    let mut cluster = restarted(&plan, &[]);
    after(&mut cluster, joined("a", 8, shards_of(&old, "a"), 0.0));
    after(&mut cluster, added("m", 4));
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
    let effects = pass(&mut cluster, &["a"], 500, 5_000);
    assert_eq!((costly(&effects), reasons(&effects).len()), (vec!["unload a n@1[0..4)".to_owned()], 1));
    assert!(!cluster.is_planning());
}

#[test]
fn a_newcomer_has_everything_placed_again_after_the_waiting() {
    let (old, plan) = before(&[("b", 4)], &[("m", 4)]);
    let mut cluster = restarted(&plan, &[]);
    let mut effects = after(&mut cluster, joined("a", 4, vec![], 0.0));
    effects.extend(after(&mut cluster, added("m", 4)));
    assert_eq!(costly(&effects), [""; 0]);
    let effects = after(&mut cluster, joined("b", 4, shards_of(&old, "b"), 0.0));
    assert_eq!(costly(&effects), ["solve m@1", "load a m@1[0..4)", "unload b m@1[0..4)"]);
}

#[test]
fn another_policy_than_made_the_plan_is_asked_once_the_devices_are_back() {
    let (old, plan) = before(&[("a", 2), ("b", 2)], &[("m", 4)]);
    let mut cluster = restarted(&plan, &[]);
    let mut effects = after(&mut cluster, added("m", 4));
    effects.extend(after(&mut cluster, Event::ReplanAsked));
    effects.extend(after(&mut cluster, joined("b", 2, shards_of(&old, "b"), 0.0)));
    assert_eq!(costly(&effects), [""; 0], "not before they are");
    let effects = after(&mut cluster, joined("a", 2, shards_of(&old, "a"), 0.0));
    assert_eq!((costly(&effects), served(&cluster, "m")), (vec!["solve m@1".to_owned()], vec!["a[0..2)".to_owned(), "b[2..4)".to_owned()]));
    assert_eq!(cluster.plan().plan(), &plan, "it wants what is there");
}

#[test]
fn without_a_plan_of_before_there_is_nothing_to_wait_for() {
    let mut cluster = restarted(&Plan { number: PlanNumber(3), ..Plan::default() }, &[]);
    after(&mut cluster, joined("a", 4, vec![], 0.0));
    after(&mut cluster, added("m", 4));
    assert_eq!((served(&cluster, "m"), cluster.plan().plan().number), (vec!["a[0..4)".to_owned()], PlanNumber(4)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_comes_back_first_nothing_is_asked_loaded_or_recorded(
        memories in proptest::collection::vec(3_u64..6, 4),
        blocks in proptest::collection::vec(1_usize..5, 3),
        order in Just((0..7).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let (names, models) = (["a", "b", "c", "d"], ["m", "n", "o"]);
        let devices: Vec<(&str, u64)> = names.iter().copied().zip(memories).collect();
        let placed: Vec<(&str, usize)> = models.iter().copied().zip(blocks).collect();
        let (old, plan) = before(&devices, &placed);
        let mut cluster = restarted(&plan, &names);
        let mut effects = Vec::new();
        for index in order {
            effects.extend(match devices.get(index) {
                Some(&(name, mib)) => after(&mut cluster, joined(name, mib, shards_of(&old, name), 0.0)),
                None => after(&mut cluster, added(placed[index - 4].0, placed[index - 4].1)),
            });
        }
        prop_assert_eq!(costly(&effects), [""; 0]);
        prop_assert_eq!(reasons(&effects), [""; 0]);
        prop_assert!(!cluster.is_planning());
        for (name, _) in placed {
            prop_assert_eq!(served(&cluster, name), served(&old, name));
        }
    }
}
