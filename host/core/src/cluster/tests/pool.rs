//! Models are placed, loaded and served, and a plan that changes never takes away what serves without need.

use super::*;
use crate::problem::Exclusion;

#[test]
fn a_model_is_served_once_its_shards_are_loaded() {
    let cluster = pool(&[("a", 2), ("b", 3)], &[("m", 4)]);
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "b[2..4)"]);
}

#[test]
fn a_model_waits_for_its_first_device_and_says_so() {
    let mut cluster = pool(&[], &[]);
    let effects = cluster.apply(added("m", 4));
    let said = effects.iter().find_map(|effect| if let Effect::Refused { refusal, .. } = effect { Some(refusal.reason.clone()) } else { None });
    assert_eq!(said.as_deref(), Some("m@1 waits for a device: none is ready"));
    after(&mut cluster, joined("a", 9, vec![], 0.0));
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
}

#[test]
fn a_second_device_with_a_live_id_is_rejected() {
    let mut cluster = pool(&[("a", 4)], &[]);
    let effects = cluster.apply(joined("a", 1, vec![], 1.0));
    assert_eq!(rejections(&effects), ["device a is alive, a second one with its id cannot join"]);
}

#[test]
fn a_refused_load_is_never_proposed_for_ever() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[]);
    let effects = cluster.apply(added("m", 4));
    let (ticket, problem) = question(&effects).expect("a new model is asked about");
    cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    let effects = cluster.apply(Event::LoadFailed { offer: offer_id("a"), shard: shard.clone(), reason: "operator Foo".into() });
    assert_eq!(costly(&effects), ["solve m@1"], "it is not loaded there again");
    let (ticket, problem) = question(&effects).expect("a refused load is asked about again");
    assert_eq!(problem.exclusions, [Exclusion { offer: offer_id("a"), shard, reason: "operator Foo".into() }]);
    let effects = cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    let reason = effects.iter().find_map(|effect| if let Effect::Refused { refusal, .. } = effect { Some(refusal.reason.as_str()) } else { None });
    assert_eq!(reason, Some("shard m@1[0..4) was refused by a/cpu before: operator Foo"));
    assert!(cluster.models()[&model_id("m")].refusal.is_some());
    assert_eq!(costly(&cluster.apply(Event::Tick { now: Millis(500.0) })), [""; 0]);
}

#[test]
fn a_plan_that_cannot_be_loaded_gives_way_to_what_still_serves() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let effects = cluster.apply(Event::ReplanAsked);
    let (ticket, problem) = question(&effects).expect("asked to plan again");
    cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 1) });
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    let effects = cluster.apply(Event::LoadFailed { offer: offer_id("b"), shard, reason: "no room".into() });
    assert_eq!(reasons(&effects), ["b/cpu could not load m@1[0..4)"]);
    let planned: Vec<DeviceId> = cluster.plan().plan().shards().into_iter().map(|(offer, _)| offer.device).collect();
    assert_eq!((planned, served(&cluster, "m")), (vec![device_id("a")], vec!["a[0..4)".to_owned()]));
}

#[test]
fn where_memory_holds_only_one_plan_the_old_one_makes_room() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4)]);
    let effects = cluster.apply(Event::ReplanAsked);
    let (ticket, problem) = question(&effects).expect("asked to plan again");
    after(&mut cluster, Event::Solved { ticket, outcome: fill(&problem, 1) });
    assert_eq!(served(&cluster, "m"), ["b[0..2)", "a[2..4)"]);
}

/// Replicas, each a chain of `(offer, start, end)`.
type Chains<'a> = &'a [&'a [(u32, u32, u32)]];

/// Answers the question among effects with these replicas.
fn propose(cluster: &mut Cluster, effects: &[Effect], chains: Chains<'_>) -> Vec<Effect> {
    let (ticket, problem) = question(effects).expect("a question");
    let chain = |stages: &&[(u32, u32, u32)]| stages.iter().map(|&(offer, start, end)| ProposedStage { offer, start, end }).collect();
    let proposal = Proposal { replicas: chains.iter().map(chain).collect(), bound: 0.0 };
    assert!(problem.check(&proposal).is_ok());
    cluster.apply(Event::Solved { ticket, outcome: Ok(proposal) })
}

#[test]
fn the_replica_that_makes_room_is_one_whose_model_has_another() {
    let mut cluster = pool(&[("a", 2), ("b", 4), ("c", 2)], &[]);
    let placed: [(&str, Chains<'_>); 2] = [("l", &[&[(1, 0, 2)]]), ("m", &[&[(1, 0, 2)], &[(2, 0, 2)]])];
    for (model, chains) in placed {
        let effects = cluster.apply(added(model, 2));
        let effects = propose(&mut cluster, &effects, chains);
        settle(&mut cluster, effects);
    }
    assert_eq!((served(&cluster, "l"), served(&cluster, "m")), (vec!["b[0..2)".to_owned()], vec!["b[0..2)".to_owned(), "c[0..2)".to_owned()]));
    // Both shall go to a with one half and stay on b with the other, where the halves fit only beside one of the wholes.
    let halves: Chains<'_> = &[&[(0, 0, 1), (1, 1, 2)]];
    let effects = cluster.apply(Event::ReplanAsked);
    let effects = propose(&mut cluster, &effects, halves);
    propose(&mut cluster, &effects, halves);
    cluster.apply(Event::Loaded { offer: offer_id("a"), shard: held("l", 0, 1).1 });
    let effects = cluster.apply(Event::Loaded { offer: offer_id("a"), shard: held("m", 0, 1).1 });
    assert_eq!(costly(&effects), ["unload b m@1[0..2)"], "l would be served by nobody, m still has c");
    assert_eq!((served(&cluster, "l"), served(&cluster, "m")), (vec!["b[0..2)".to_owned()], vec!["c[0..2)".to_owned()]));
    settle(&mut cluster, effects);
    assert_eq!(
        (served(&cluster, "l"), served(&cluster, "m")),
        (vec!["a[0..1)".to_owned(), "b[1..2)".to_owned()], vec!["a[0..1)".to_owned(), "b[1..2)".to_owned()])
    );
}

#[test]
fn what_did_not_fit_is_tried_again_when_memory_becomes_free() {
    let mut cluster = pool(&[("a", 4)], &[("m", 4), ("n", 2)]);
    assert_eq!(served(&cluster, "n"), [""; 0]);
    after(&mut cluster, Event::ModelRemoved { model: model_id("m") });
    assert_eq!(served(&cluster, "n"), ["a[0..2)"]);
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut cluster = pool(&[("a", 4)], &[("m", 4)]);
    let before = cluster.devices().clone();
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    for event in [
        Event::Loaded { offer: offer_id("a"), shard: shard.clone() },
        Event::LoadFailed { offer: offer_id("a"), shard: shard.clone(), reason: "late".into() },
        Event::Unloaded { offer: offer_id("a"), shard },
    ] {
        assert_eq!(costly(&cluster.apply(event)), [""; 0]);
        assert_eq!(cluster.devices(), &before);
    }
}

#[test]
fn who_plans_after_a_loss_is_told_what_the_others_hold_still() {
    let mut cluster = pool(&[("a", 2), ("b", 3), ("c", 4)], &[("m", 4)]);
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "b[2..4)"]);
    let effects = cluster.apply(Event::Left { device: device_id("b") });
    assert_eq!(costly(&effects), ["solve m@1"], "nothing is dropped before the answer");
    let (_, problem) = question(&effects).expect("the model is placed anew");
    let held: Vec<(crate::ids::OfferId, Vec<_>)> = problem.offers.iter().map(|offer| (offer.id.clone(), offer.held.clone())).collect();
    assert_eq!(held, [(offer_id("a"), vec![range(0, 2)]), (offer_id("c"), vec![])]);
    assert!(problem.current.is_empty(), "a chain with a gap is in force no more");
}
