//! Any list of events keeps the invariants; no effect names a lost device; a pool that works ends up serving.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::{
    ids::PlanNumber,
    problem::{ProposedReplica, ProposedStage},
    testing::{device, device_id, model_id, offer_id, range, uniform_model},
    units::Bytes,
};

/// Fills offers in the order given by `shift` until the model is placed: simple, and different for each shift.
fn fill(problem: &Problem, shift: usize) -> Result<Proposal, Refusal> {
    let blocks = problem.model.whole().end();
    let count = problem.offers.len();
    let mut stages: ProposedReplica = Vec::new();
    let mut next = 0;
    for offer in (0..count).map(|index| (index + shift) % count) {
        let fits = |end: &u32| problem.offers[offer].capacity.need(&problem.model, range(next, *end)) <= problem.offers[offer].capacity.memory;
        if let Some(end) = (next + 1..=blocks).rev().find(fits) {
            stages.push(ProposedStage { offer: u32::try_from(offer).unwrap(), start: next, end });
            next = end;
        }
        if next == blocks {
            return Ok(Proposal { replicas: vec![stages], bound: 0.0 });
        }
    }
    Err(Refusal { reason: format!("{next} of {blocks} blocks fit"), nearest: None, short: Bytes::mib(1) })
}

/// Performs effects as a pool that works would, until nothing is left to do.
fn settle(cluster: &mut Cluster, effects: Vec<Effect>) -> Vec<Effect> {
    let mut queue = VecDeque::from(effects);
    let mut seen = Vec::new();
    while let Some(effect) = queue.pop_front() {
        assert!(seen.len() < 10_000, "the pool never settles");
        let event = match effect.clone() {
            Effect::Solve { ticket, problem } => Some(Event::Solved { ticket, outcome: fill(&problem, 0) }),
            Effect::Load { offer, shard } => Some(Event::Loaded { offer, shard }),
            Effect::Unload { offer, shard } => Some(Event::Unloaded { offer, shard }),
            _ => None,
        };
        seen.push(effect);
        queue.extend(event.map(|event| cluster.apply(event)).unwrap_or_default());
    }
    seen
}

fn pool(devices: &[(&str, u64)], models: &[(&str, usize)]) -> Cluster {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    for &(name, mib) in devices {
        let effects = cluster.apply(Event::Joined { device: device(name, Bytes::mib(mib)), now: Millis(0.0) });
        settle(&mut cluster, effects);
    }
    for &(name, blocks) in models {
        let effects = cluster.apply(Event::ModelAdded { profile: uniform_model(name, blocks), placement: Placement::default() });
        settle(&mut cluster, effects);
    }
    cluster
}

fn served(cluster: &Cluster, model: &str) -> Vec<String> {
    let index = cluster.topology().model(&model_id(model));
    let segments = index.map(|index| &cluster.topology().models[index as usize].segments[..]).unwrap_or_default();
    segments.iter().map(|segment| format!("{}{}", segment.offer().device, segment.range())).collect()
}

#[test]
fn a_model_is_served_once_its_shards_are_loaded() {
    let cluster = pool(&[("a", 2), ("b", 3)], &[("m", 4)]);
    assert_eq!(served(&cluster, "m"), ["a[0..2)", "b[2..4)"]);
}

#[test]
fn a_model_waits_for_its_first_device_and_says_so() {
    let mut cluster = pool(&[], &[]);
    let effects = cluster.apply(Event::ModelAdded { profile: uniform_model("m", 4), placement: Placement::default() });
    let said = effects.iter().find_map(|effect| if let Effect::Refused { refusal, .. } = effect { Some(refusal.reason.clone()) } else { None });
    assert_eq!(said.as_deref(), Some("m@1 waits for a device: none is ready"));
    let effects = cluster.apply(Event::Joined { device: device("a", Bytes::mib(9)), now: Millis(0.0) });
    settle(&mut cluster, effects);
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
}

#[test]
fn a_lost_device_is_planned_around_and_comes_back_to_its_place() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
    cluster.apply(Event::Heartbeat { device: device_id("b"), pressures: Pressures::default(), now: Millis(1_000.0) });
    let effects = cluster.apply(Event::Tick { now: Millis(1_501.0) });
    settle(&mut cluster, effects);
    assert_eq!(cluster.devices()[&device_id("a")].state, DeviceState::Lost);
    assert_eq!(served(&cluster, "m"), ["b[0..4)"]);
    let effects = cluster.apply(Event::Joined { device: device("a", Bytes::mib(4)), now: Millis(2_000.0) });
    settle(&mut cluster, effects);
    assert_eq!(cluster.devices()[&device_id("a")].joined, 0);
}

#[test]
fn a_second_device_with_a_live_id_is_rejected() {
    let mut cluster = pool(&[("a", 4)], &[]);
    let effects = cluster.apply(Event::Joined { device: device("a", Bytes::mib(1)), now: Millis(1.0) });
    assert!(matches!(&effects[..], [Effect::Rejected { error }] if error.to_string() == "device a is alive, a second one with its id cannot join"));
}

#[test]
fn a_refused_load_is_never_proposed_for_ever() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[]);
    let effects = cluster.apply(Event::ModelAdded { profile: uniform_model("m", 4), placement: Placement::default() });
    let Some(Effect::Solve { ticket, problem }) = effects.into_iter().find(|effect| matches!(effect, Effect::Solve { .. })) else {
        panic!("a new model is asked about")
    };
    cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    let effects = cluster.apply(Event::LoadFailed { offer: offer_id("a"), shard: shard.clone(), reason: "operator Foo".into() });
    let Some(Effect::Solve { ticket, problem }) = effects.into_iter().find(|effect| matches!(effect, Effect::Solve { .. })) else {
        panic!("a refused load is asked about again")
    };
    assert_eq!(problem.exclusions, [Exclusion { offer: offer_id("a"), shard, reason: "operator Foo".into() }]);
    let effects = cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    let reason = effects.iter().find_map(|effect| if let Effect::Refused { refusal, .. } = effect { Some(refusal.reason.as_str()) } else { None });
    assert_eq!(reason, Some("shard m@1[0..4) was refused by a/cpu before: operator Foo"));
    assert!(cluster.models()[&model_id("m")].refusal.is_some());
}

#[test]
fn what_serves_goes_on_until_its_successor_is_ready() {
    let mut cluster = pool(&[("a", 4), ("b", 4)], &[("m", 4)]);
    let effects = cluster.apply(Event::DrainAsked { device: device_id("a") });
    let Some(Effect::Solve { ticket, problem }) = effects.into_iter().find(|effect| matches!(effect, Effect::Solve { .. })) else {
        panic!("draining asks for another plan")
    };
    let effects = cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 0) });
    assert_eq!(served(&cluster, "m"), ["a[0..4)"]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Unload { .. })));
    let effects = settle(&mut cluster, effects);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Unload { offer, .. } if *offer == offer_id("a"))));
    assert_eq!(served(&cluster, "m"), ["b[0..4)"]);
    assert!(cluster.devices()[&device_id("a")].shards.is_empty());
}

#[test]
fn where_memory_holds_only_one_plan_the_old_one_makes_room() {
    let mut cluster = pool(&[("a", 2), ("b", 2)], &[("m", 4)]);
    let effects = cluster.apply(Event::ReplanAsked);
    let Some(Effect::Solve { ticket, problem }) = effects.into_iter().find(|effect| matches!(effect, Effect::Solve { .. })) else {
        panic!("asked to plan again")
    };
    let effects = cluster.apply(Event::Solved { ticket, outcome: fill(&problem, 1) });
    settle(&mut cluster, effects);
    assert_eq!(served(&cluster, "m"), ["b[0..2)", "a[2..4)"]);
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, u64),
    Beat(usize),
    Drain(usize),
    Leave(usize),
    Wait(u16),
    Add(usize, usize),
    Remove(usize),
    Replan,
    Stale,
    /// Performs one open effect: the first number picks it, the second how well it goes.
    Perform(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..4, 0_u64..6).prop_map(|(device, mib)| Step::Join(device, mib)),
        2 => (0_usize..4).prop_map(Step::Beat),
        1 => (0_usize..4).prop_map(Step::Drain),
        1 => (0_usize..4).prop_map(Step::Leave),
        1 => (0_u16..2_000).prop_map(Step::Wait),
        2 => (0_usize..3, 1_usize..6).prop_map(|(model, blocks)| Step::Add(model, blocks)),
        1 => (0_usize..3).prop_map(Step::Remove),
        1 => Just(Step::Replan),
        1 => Just(Step::Stale),
        12 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Step::Perform(which, how)),
    ]
}

/// What a policy or a device answers to an effect: mostly well, sometimes a refusal, nonsense or silence.
fn answer(effect: Effect, how: u8) -> Option<Event> {
    match effect {
        Effect::Solve { ticket, problem } => Some(Event::Solved { ticket, outcome: solution(&problem, how) }),
        Effect::Load { offer, shard } if how < 200 => Some(Event::Loaded { offer, shard }),
        Effect::Load { offer, shard } => Some(Event::LoadFailed { offer, shard, reason: "no".into() }),
        Effect::Unload { offer, shard } => Some(Event::Unloaded { offer, shard }),
        _ => None,
    }
}

fn solution(problem: &Problem, how: u8) -> Result<Proposal, Refusal> {
    let nonsense = |stages: &[(u32, u32, u32)]| {
        let stages = stages.iter().map(|&(offer, start, end)| ProposedStage { offer, start, end }).collect();
        Ok(Proposal { replicas: vec![stages], bound: 0.0 })
    };
    match how {
        0..180 => fill(problem, usize::from(how)),
        180..200 => nonsense(&[(u32::MAX, 0, 1)]),
        200..220 => nonsense(&[(0, 0, 1), (0, 3, 2)]),
        220..240 => Ok(Proposal { replicas: vec![], bound: f64::NAN }),
        _ => Err(Refusal { reason: "not today".into(), nearest: None, short: Bytes::ZERO }),
    }
}

fn lost(cluster: &Cluster, device: &DeviceId) -> bool {
    cluster.devices()[device].state == DeviceState::Lost
}

fn check_invariants(cluster: &Cluster, effects: &[Effect]) {
    let devices_of = |effect: &Effect| -> Vec<DeviceId> {
        match effect {
            Effect::Load { offer, .. } | Effect::Unload { offer, .. } => vec![offer.device.clone()],
            Effect::Solve { problem, .. } => problem.devices.iter().map(|device| device.id.clone()).collect(),
            Effect::Serve { topology } => topology.devices.iter().map(|device| device.id.clone()).collect(),
            Effect::Record { plan, .. } => plan.plan().shards().into_iter().map(|(offer, _)| offer.device).collect(),
            Effect::Refused { .. } | Effect::Rejected { .. } => vec![],
        }
    };
    for effect in effects {
        assert!(devices_of(effect).iter().all(|device| !lost(cluster, device)), "{effect:?} names a lost device");
    }
    assert!(cluster.plan().plan().clone().check(&cluster.capacity()).is_ok(), "the plan in force fits");
    for record in cluster.devices().values() {
        let held: Bytes = record.shards.values().map(|held| held.need).sum();
        assert!(held <= record.device.offers[0].memory, "{} holds {held}", record.device.id);
        assert!(record.state != DeviceState::Lost || record.shards.is_empty(), "a lost device holds nothing");
    }
    for model in &cluster.topology().models {
        for segment in &model.segments {
            let key = (segment.offer().accelerator.clone(), ShardId { model: model.id.clone(), range: segment.range() });
            let held = cluster.devices()[&segment.offer().device].shards.get(&key);
            assert_eq!(held.map(|held| held.state), Some(ShardState::Ready), "only what is ready is served");
        }
        let first: Vec<u32> = (0_u32..).zip(&model.segments).filter(|(_, segment)| segment.replica == 0).map(|(index, _)| index).collect();
        assert!(model.check(&first).is_ok(), "what is served is complete");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_list_of_events_keeps_the_invariants(steps in proptest::collection::vec(step(), 1..80)) {
        let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
        let (devices, models) = (["a", "b", "c", "d"], ["m", "n", "o"]);
        let mut open: Vec<Effect> = Vec::new();
        let mut now = Millis(0.0);
        let mut number = PlanNumber(0);
        for step in steps {
            let event = match step {
                Step::Join(device_index, mib) => Event::Joined { device: device(devices[device_index], Bytes::mib(mib)), now },
                Step::Beat(index) => Event::Heartbeat { device: device_id(devices[index]), pressures: Pressures::default(), now },
                Step::Drain(index) => Event::DrainAsked { device: device_id(devices[index]) },
                Step::Leave(index) => Event::Left { device: device_id(devices[index]) },
                Step::Wait(ms) => {
                    now.0 += f64::from(ms);
                    Event::Tick { now }
                }
                Step::Add(index, blocks) => Event::ModelAdded { profile: uniform_model(models[index], blocks), placement: Placement::default() },
                Step::Remove(index) => Event::ModelRemoved { model: model_id(models[index]) },
                Step::Replan => Event::ReplanAsked,
                Step::Stale => Event::Solved { ticket: Ticket(u64::MAX), outcome: Ok(Proposal::default()) },
                Step::Perform(which, how) => {
                    let chosen = if open.is_empty() { None } else { Some(open.swap_remove(which % open.len())) };
                    let Some(event) = chosen.and_then(|effect| answer(effect, how)) else { continue };
                    event
                }
            };
            let effects = cluster.apply(event);
            check_invariants(&cluster, &effects);
            prop_assert!(cluster.plan().plan().number >= number, "plan numbers grow");
            number = cluster.plan().plan().number;
            open.extend(effects);
        }
    }
}
