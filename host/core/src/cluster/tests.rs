//! What the tests of the cluster share: a simple policy, a pool that does what it is told, and ways to look at it.

use std::collections::VecDeque;

use super::*;
use crate::{
    device::{DeviceState, Pressures},
    ids::AcceleratorName,
    policy::{Refusal, Verdict},
    problem::{Placement, Proposal, ProposedReplica, ProposedStage},
    shard::ShardId,
    testing::{device, device_id, model_id, offer_id, range, uniform_model},
    units::Bytes,
};

mod any_events;
mod at_once;
mod away;
mod census;
mod converting;
mod drain;
mod flapping;
mod leases;
mod links;
mod pool;
mod refining;
mod restart;
mod reviewing;
mod world;

/// What a device says that it holds.
type Held = (AcceleratorName, ShardId);

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
            Effect::Review { ticket, .. } => Some(Event::Reviewed { ticket, verdict: Verdict::Keep }),
            _ => None,
        };
        seen.push(effect);
        queue.extend(event.map(|event| cluster.apply(event)).unwrap_or_default());
    }
    seen
}

/// Takes an event and lets the pool settle.
fn after(cluster: &mut Cluster, event: Event) -> Vec<Effect> {
    let effects = cluster.apply(event);
    settle(cluster, effects)
}

fn joined(name: &str, mib: u64, held: Vec<Held>, now: f64) -> Event {
    Event::Joined { device: device(name, Bytes::mib(mib)), held, now: Millis(now) }
}

fn added(name: &str, blocks: usize) -> Event {
    Event::ModelAdded { profile: uniform_model(name, blocks), placement: Placement::default() }
}

fn away(name: &str) -> Event {
    Event::Away { device: device_id(name) }
}

fn held(model: &str, start: u32, end: u32) -> Held {
    (offer_id("any").accelerator, ShardId { model: model_id(model), range: range(start, end) })
}

fn pool(devices: &[(&str, u64)], models: &[(&str, usize)]) -> Cluster {
    let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
    for &(name, mib) in devices {
        after(&mut cluster, joined(name, mib, vec![], 0.0));
    }
    for &(name, blocks) in models {
        after(&mut cluster, added(name, blocks));
    }
    cluster
}

/// Time goes by in ticks of half a second, the last at `to`; these devices beat before each.
fn pass(cluster: &mut Cluster, beating: &[&str], from: u32, to: u32) -> Vec<Effect> {
    let mut seen = Vec::new();
    for now in (from..=to).step_by(500) {
        let now = Millis(f64::from(now));
        for name in beating {
            seen.extend(cluster.apply(Event::Heartbeat { device: device_id(name), pressures: Pressures::default(), now }));
        }
        seen.extend(after(cluster, Event::Tick { now }));
    }
    seen
}

fn state(cluster: &Cluster, device: &str) -> Option<DeviceState> {
    cluster.devices().get(&device_id(device)).map(DeviceRecord::state)
}

/// The stages through which requests to a model can go.
fn served(cluster: &Cluster, model: &str) -> Vec<String> {
    let index = cluster.topology().model(&model_id(model));
    let segments = index.map(|index| &cluster.topology().models[index as usize].segments[..]).unwrap_or_default();
    segments.iter().map(|segment| format!("{}{}", segment.offer().device, segment.range())).collect()
}

/// The question among effects.
fn question(effects: &[Effect]) -> Option<(Ticket, Arc<Problem>)> {
    effects.iter().find_map(|effect| if let Effect::Solve { ticket, problem } = effect { Some((*ticket, problem.clone())) } else { None })
}

/// Loads, unloads and questions among effects, in order: what costs something.
fn costly(effects: &[Effect]) -> Vec<String> {
    let words = |effect: &Effect| match effect {
        Effect::Solve { problem, .. } => Some(format!("solve {}", problem.model.id())),
        Effect::Load { offer, shard } => Some(format!("load {} {shard}", offer.device)),
        Effect::Unload { offer, shard } => Some(format!("unload {} {shard}", offer.device)),
        _ => None,
    };
    effects.iter().filter_map(words).collect()
}

fn rejections(effects: &[Effect]) -> Vec<String> {
    effects.iter().filter_map(|effect| if let Effect::Rejected { error } = effect { Some(error.to_string()) } else { None }).collect()
}

fn reasons(effects: &[Effect]) -> Vec<String> {
    effects.iter().filter_map(|effect| if let Effect::Record { reason, .. } = effect { Some(reason.to_string()) } else { None }).collect()
}
