//! Problems for allocation policies: pools of one to some dozens of offers, with too much and too little memory, shared
//! pools, roles, tied weights, caches, links, exclusions and plans in force.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use host_core::{
    cost::CostModel,
    decision::Reply,
    device::Roles,
    error::Error as Broken,
    link::Speed,
    model::{Block, ModelProfile, SharedWeight},
    optimum,
    plan::OfferCapacity,
    policy::{self, Answer, Observation, StageObservation, Verdict},
    problem::{Exclusion, Objective, Placement, Problem, ProblemDevice, ProblemLink, ProblemOffer, Proposal, ProposedReplica, ProposedStage},
    shard::{BlockRange, ShardId},
    units::{Bytes, Millis},
};

use super::{
    Examination, PolicySuite, Rule, Source, Suite, Way, examine_policy,
    source::{device_id, model_id, offer_id},
};
use crate::{
    error::Error,
    policies,
    program::Program,
    workbench::fresh,
    world::{AllocationPolicy, Warm},
};

/// Two values closer than this share of the larger are the same, so that rounding breaks no rule.
const TIE_RATIO: f64 = 1e-6;

impl Suite for AllocationPolicy {
    type Context = ();
    type Input = Problem;

    fn context() -> Result<(), Error> {
        Ok(())
    }

    fn generate(source: &mut Source, _context: &(), number: u32) -> Result<Problem, Broken> {
        let (offers_max, blocks_max) = match number % 20 {
            0 => (1, 1),
            1..=10 => (4, 8),
            11..=18 => (12, 24),
            _ => (48, 40),
        };
        problem(source, offers_max, blocks_max)
    }

    fn examine(program: &Program<Self>, _context: &(), input: &Problem, elder: Option<(&mut Warm<Self>, u32)>) -> Examination {
        examine_policy(program, input, &["review", "allocate"], elder)
    }

    fn smaller(input: &Problem) -> Vec<Problem> {
        smaller(input)
    }

    fn render(input: &Problem) -> String {
        render(input)
    }
}

impl PolicySuite for AllocationPolicy {
    fn answers(warm: &mut Warm<Self>, input: &Problem, way: Way) -> Vec<Answer<Reply>> {
        let observation = observation(input);
        let review = |warm: &mut Warm<Self>| policy::AllocationPolicy::review(warm, &observation).map(|verdict| Ok(Reply::Verdict(verdict)));
        let allocate = |warm: &mut Warm<Self>| policies::allocate(warm, input).map(|answer| answer.map(|found| Reply::Proposal(found.proposal)));
        if way.short {
            let placed = allocate(warm);
            // A failed instance answers nothing any more; the last answers are compared.
            return if warm.failed() { vec![placed] } else { vec![review(warm), placed] };
        }
        let reviewed = review(warm);
        if warm.failed() { vec![reviewed] } else { vec![reviewed, allocate(warm)] }
    }

    fn decoy() -> Result<Problem, Broken> {
        problem(&mut Source::of(u64::MAX, 7), 3, 6)
    }

    fn judge(program: &Program<Self>, input: &Problem, answers: &[Answer<Reply>], seen: &mut Examination) {
        let (mut proposed, mut replans) = (None, false);
        for answer in answers.iter().flatten() {
            match answer {
                Ok(Reply::Verdict(Verdict::Replan(reason))) if reason.trim().is_empty() => {
                    seen.hold(Rule::SoundRefusal, Err("review: it wants another plan and gives no reason".to_owned()));
                }
                Ok(Reply::Verdict(verdict)) => replans = matches!(verdict, Verdict::Replan(_)),
                Ok(Reply::Proposal(proposal)) => proposed = Some(proposal),
                Err(refusal) => seen.refusal(refusal, input.offers.len()),
                Ok(_) => {}
            }
        }
        if replans {
            let same = proposed.is_none_or(|proposal: &Proposal| proposal.replicas == input.current);
            seen.note("its review wants another plan where it has no other one to propose", same);
        }
        match proposed {
            Some(proposal) => {
                seen.possible = Some(true);
                seen.hold(Rule::BoundHolds, bound(input, proposal));
                join_order(program, input, proposal, seen);
            }
            None => seen.possible = possible(input),
        }
    }
}

/// A bound says that nothing is better; the proposal itself must not be.
fn bound(input: &Problem, proposal: &Proposal) -> Result<(), String> {
    let worth = input.worth(&proposal.replicas);
    let (bound, latency) = (proposal.bound, worth.latency.0);
    match input.placement.objective {
        _ if bound == 0.0 => Ok(()),
        Objective::Latency if bound > latency * (1.0 + TIE_RATIO) => Err(format!("its bound is {bound} ms, its plan takes {latency} ms")),
        Objective::Throughput | Objective::Balanced if bound < worth.throughput * (1.0 - TIE_RATIO) => {
            Err(format!("its bound is {bound} requests per ms, its plan answers {}", worth.throughput))
        }
        _ => Ok(()),
    }
}

/// Whether there is a plan. None where finding out takes too long.
fn possible(input: &Problem) -> Option<bool> {
    let whole = |offer| Proposal { replicas: vec![vec![ProposedStage { offer, start: 0, end: input.model.whole().end() }]], bound: 0.0 };
    if (0_u32..).zip(&input.offers).any(|(offer, _)| input.check(&whole(offer)).is_ok()) {
        return Some(true);
    }
    let small = input.offers.len() <= optimum::OFFERS_MAX && input.model.whole().end() <= optimum::BLOCKS_MAX;
    small.then(|| input.optimum().is_some())
}

/// The same offers that joined in the opposite order.
fn join_order(program: &Program<AllocationPolicy>, input: &Problem, proposal: &Proposal, seen: &mut Examination) {
    if input.offers.len() < 2 || input.offers.len() > 12 {
        return;
    }
    let mut turned = input.clone();
    let last = turned.offers.iter().map(|offer| offer.joined).max().unwrap_or(0);
    turned.offers.iter_mut().for_each(|offer| offer.joined = last - offer.joined);
    let other = fresh(program).map(|mut warm| policies::allocate(&mut warm, &turned));
    let same = matches!(other, Ok(Ok(Ok(found))) if found.proposal.replicas == proposal.replicas);
    seen.note("another order of joining, of the same offers, changes the plan", !same);
}

/// What a host would observe of the plan in force.
fn observation(input: &Problem) -> Observation {
    let stages = (0_u32..).zip(&input.current).flat_map(|(replica, stages)| {
        let predicted = input.predict(stages).stages;
        (0_u32..).zip(predicted).map(move |(stage, predicted)| StageObservation { replica, stage, predicted, measured: Millis(predicted.0 * 1.5), runs: 20 })
    });
    let stages = stages.filter(|stage| stage.predicted.0.is_finite()).collect();
    Observation { problem: input.clone(), stages, pressure_max: 0.8, pressure_mean: 0.4, arrival: Millis(5.0) }
}

/// A problem with at most so many offers and blocks.
pub(crate) fn problem(source: &mut Source, offers_max: u32, blocks_max: u32) -> Result<Problem, Broken> {
    let model = model(source, blocks_max)?;
    let whole = model.weights(model.whole()) + model.cache(model.whole()) + model.workspace(model.whole());
    let count = source.between(1, offers_max);
    let memory = memory(source, whole, count);
    let (devices, offers) = offers(source, count, memory)?;
    let objective = source.pick(&[Objective::Latency, Objective::Throughput, Objective::Balanced]);
    let (stages_min, stages_max) = (source.pick(&[1, 1, 1, 2, 3]), source.pick(&[u32::MAX, u32::MAX, 1, 2, 4]));
    let placement = Placement { objective, stages_min, stages_max, replicas_max: source.pick(&[u32::MAX, u32::MAX, 1, 2]) };
    let mut problem = Problem {
        links: links(source, &devices),
        within_site: source.pick(&[Speed::WITHIN_SITE, Speed::FREE]),
        between_sites: Speed::BETWEEN_SITES,
        placement: placement.clamped(model.whole().end(), count),
        current: Vec::new(),
        horizon: Millis(source.pick(&[600_000.0, 1.0, 0.0])),
        exclusions: Vec::new(),
        model: Arc::new(model),
        devices,
        offers,
    };
    if source.once_in(3) {
        problem.current = in_force(source, &problem);
    }
    if source.once_in(5) {
        let offer = source.between(0, count - 1);
        problem.exclusions = exclusions(&problem, offer);
    }
    Ok(problem)
}

fn model(source: &mut Source, blocks_max: u32) -> Result<ModelProfile, Broken> {
    let count = source.between(1, blocks_max);
    let even = source.once_in(3);
    let heavy = source.pick(&[1e5, 1e7, 1e9]);
    let cached = source.once_in(5);
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..count {
        let block = Block {
            name: String::new(),
            flops: if source.once_in(12) { 0.0 } else { source.scale(heavy, heavy * 20.0) },
            weights: if source.once_in(10) { Bytes(0) } else { Bytes::from_f64(source.scale(1e3, 2e7)) },
            activations: Bytes::from_f64(source.scale(1e2, 1e6)),
            border: if source.once_in(10) { Bytes(0) } else { Bytes::from_f64(source.scale(10.0, 1e6)) },
            kv_per_token: if cached { Bytes(4096) } else { Bytes(0) },
            workspace: if source.once_in(4) { Bytes::from_f64(source.scale(1e3, 1e6)) } else { Bytes(0) },
        };
        blocks.push(blocks.first().filter(|_| even).cloned().unwrap_or(block));
    }
    let shared = if count > 1 && source.once_in(4) {
        vec![SharedWeight { size: Bytes::from_f64(source.scale(1e3, 1e7)), blocks: vec![0, count - 1] }]
    } else {
        Vec::new()
    };
    let profile = ModelProfile::new(model_id("generated")?, blocks, shared, Bytes(source.pick(&[0, 64, 600_000])))?;
    Ok(if cached { profile.with_sequences(source.between(1, 8), source.between(0, 2048)) } else { profile })
}

/// Bytes of each offer: room for all, just enough for the whole, an equal share and a bit, too little, none.
fn memory(source: &mut Source, whole: Bytes, count: u32) -> Bytes {
    let shares = f64::from(count);
    match source.between(0, 9) {
        0..=3 => whole.scaled(4.0) + Bytes::mib(8),
        4 => whole,
        5..=7 => whole.scaled(1.5 / shares) + Bytes(1 << 16),
        8 => whole.scaled(0.5 / shares),
        _ => Bytes(0),
    }
}

fn offers(source: &mut Source, count: u32, memory: Bytes) -> Result<(Vec<ProblemDevice>, Vec<ProblemOffer>), Broken> {
    let sites = source.pick(&[1, 1, 2, 3]);
    let alike = source.once_in(4);
    let joined = source.order(count);
    let (mut devices, mut offers): (Vec<ProblemDevice>, Vec<ProblemOffer>) = (Vec::new(), Vec::new());
    for joined in joined {
        let second = !devices.is_empty() && offers.last().is_some_and(|last| last.id.accelerator.as_str() == "cpu") && source.once_in(5);
        if !second {
            let device = u32::try_from(devices.len()).unwrap_or(u32::MAX);
            devices.push(ProblemDevice { id: device_id(device)?, site: source.between(0, sites - 1) });
        }
        let device = u32::try_from(devices.len() - 1).unwrap_or(u32::MAX);
        let slow = if alike { 1.0 } else { source.scale(0.1, 10.0) };
        let cost =
            if source.once_in(10) { CostModel { gflop_ms: 0.0, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.5 } } else { CostModel::UNCALIBRATED };
        let roles = |source: &mut Source| Roles { head: !source.once_in(2), body: !source.once_in(2), tail: !source.once_in(2) };
        offers.push(ProblemOffer {
            id: offer_id(device, if second { "npu" } else { "cpu" })?,
            device,
            capacity: OfferCapacity {
                pool: u32::from(second && source.once_in(2)),
                memory: if alike { memory } else { memory.scaled(source.pick(&[1.0, 1.0, 0.5, 2.0])) },
                weight_factor: source.pick(&[1.0, 1.0, 1.2, 0.6, 2.0]),
                fixed: Bytes(source.pick(&[0, 4096, 1 << 16])),
                roles: if source.once_in(8) { roles(source) } else { Roles::ALL },
            },
            cost: cost.slowed(slow),
            busy_ratio: source.pick(&[0.0, 0.0, 0.0, 0.3, 0.9, 1.0]),
            joined,
            held: Vec::new(),
        });
    }
    // What shares a pool has the same memory in it.
    for index in 1..offers.len() {
        if (offers[index].device, offers[index].capacity.pool) == (offers[index - 1].device, offers[index - 1].capacity.pool) {
            offers[index].capacity.memory = offers[index - 1].capacity.memory;
        }
    }
    Ok((devices, offers))
}

fn links(source: &mut Source, devices: &[ProblemDevice]) -> Vec<ProblemLink> {
    let count = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let mut links = Vec::new();
    for link in 0..if source.once_in(2) { count.min(6) } else { 0 } {
        let (from, to) = (link, source.between(0, count - 1));
        let speed = source.pick(&[Speed::FREE, Speed::WITHIN_SITE, Speed { latency: Millis(100.0), bytes_per_ms: 10.0 }]);
        if from != to {
            links.push(ProblemLink { source: from, target: to, speed });
        }
    }
    links
}

/// A plan as an earlier pool may have led to it, whether or not it still fits.
fn in_force(source: &mut Source, problem: &Problem) -> Vec<ProposedReplica> {
    let blocks = problem.model.whole().end();
    let order = source.order(u32::try_from(problem.offers.len()).unwrap_or(u32::MAX));
    let stages = source.between(1, blocks.min(3)).min(u32::try_from(order.len()).unwrap_or(u32::MAX));
    let cut = |stage: u32| stage * blocks / stages;
    vec![(0..stages).zip(order).map(|(stage, offer)| ProposedStage { offer, start: cut(stage), end: cut(stage + 1) }).collect()]
}

fn exclusions(problem: &Problem, offer: u32) -> Vec<Exclusion> {
    let blocks = problem.model.whole().end();
    let ranges = [(0, blocks), (0, blocks.div_ceil(2)), (blocks / 2, blocks)];
    let excluded = ranges.into_iter().filter_map(|(start, end)| {
        let shard = ShardId { model: problem.model.id().clone(), range: BlockRange::new(start, end).ok()? };
        Some(Exclusion { offer: problem.offers.get(offer as usize)?.id.clone(), shard, reason: "the engine cannot compute it".to_owned() })
    });
    excluded.collect()
}

fn smaller(input: &Problem) -> Vec<Problem> {
    let (offers, blocks) = (input.offers.len(), input.model.blocks().len());
    let mut found: Vec<Option<Problem>> = Vec::new();
    found.extend([with_offers(input, |index| index < offers / 2), with_offers(input, |index| index >= offers / 2)]);
    found.extend([with_blocks(input, |index| index < blocks / 2), with_blocks(input, |index| index >= blocks / 2)]);
    found.extend((0..offers).map(|gone| with_offers(input, |index| index != gone)));
    found.extend((0..blocks).map(|gone| with_blocks(input, |index| index != gone)));
    let simpler: [fn(&mut Problem); 9] = [
        |problem| problem.links.clear(),
        |problem| problem.current.clear(),
        |problem| problem.exclusions.clear(),
        |problem| problem.horizon = Millis(600_000.0),
        |problem| (problem.within_site, problem.between_sites) = (Speed::FREE, Speed::FREE),
        |problem| problem.placement = Placement { objective: problem.placement.objective, ..Placement::default() }.clamped(u32::MAX, u32::MAX),
        |problem| problem.devices.iter_mut().for_each(|device| device.site = 0),
        |problem| problem.offers.iter_mut().for_each(|offer| (offer.busy_ratio, offer.capacity.roles, offer.capacity.weight_factor) = (0.0, Roles::ALL, 1.0)),
        |problem| problem.offers.iter_mut().for_each(|offer| (offer.cost, offer.capacity.fixed) = (CostModel::UNCALIBRATED, Bytes(0))),
    ];
    for simplify in simpler {
        let mut simple = input.clone();
        simplify(&mut simple);
        simple.placement = simple.placement.clamped(u32::try_from(blocks).unwrap_or(u32::MAX), u32::try_from(offers).unwrap_or(u32::MAX));
        found.push(Some(simple));
    }
    let plain = |block: &Block| Block { weights: block.weights, flops: block.flops, ..Block::default() };
    found.push(remade(input, input.model.blocks().iter().map(plain).collect(), Vec::new()));
    found.into_iter().flatten().filter(|smaller| smaller != input).collect()
}

/// The problem with some of its blocks.
fn with_blocks(input: &Problem, keep: impl Fn(usize) -> bool) -> Option<Problem> {
    let kept: Vec<usize> = (0..input.model.blocks().len()).filter(|&index| keep(index)).collect();
    let blocks = kept.iter().map(|&index| input.model.blocks()[index].clone()).collect();
    let renamed = |old: &u32| kept.iter().position(|index| *index == *old as usize).and_then(|index| u32::try_from(index).ok());
    let shared = input.model.shared().iter().map(|weight| SharedWeight { size: weight.size, blocks: weight.blocks.iter().filter_map(renamed).collect() });
    remade(input, blocks, shared.filter(|weight| weight.blocks.len() > 1).collect())
}

/// The problem of another model. Ranges that are named elsewhere mean nothing any more.
fn remade(input: &Problem, blocks: Vec<Block>, shared: Vec<SharedWeight>) -> Option<Problem> {
    let profile = ModelProfile::new(input.model.id().clone(), blocks, shared, input.model.input()).ok()?;
    let profile = profile.with_sequences(input.model.sequences(), input.model.tokens());
    let placement = input.placement.clamped(profile.whole().end(), u32::try_from(input.offers.len()).unwrap_or(u32::MAX));
    Some(Problem { model: Arc::new(profile), placement, current: Vec::new(), exclusions: Vec::new(), ..input.clone() })
}

/// The problem with some of its offers, and the devices that still make one.
fn with_offers(input: &Problem, keep: impl Fn(usize) -> bool) -> Option<Problem> {
    let mut offers: Vec<ProblemOffer> = input.offers.iter().enumerate().filter(|(index, _)| keep(*index)).map(|(_, offer)| offer.clone()).collect();
    let mut renamed: BTreeMap<u32, u32> = BTreeMap::new();
    for offer in &mut offers {
        let next = u32::try_from(renamed.len()).unwrap_or(u32::MAX);
        offer.device = *renamed.entry(offer.device).or_insert(next);
    }
    let first = offers.first()?.id.clone();
    let devices = renamed.keys().filter_map(|&old| input.devices.get(old as usize).cloned()).collect();
    let link = |link: &ProblemLink| Some(ProblemLink { source: *renamed.get(&link.source)?, target: *renamed.get(&link.target)?, speed: link.speed });
    let exclusions = input.exclusions.iter().filter(|exclusion| offers.iter().any(|offer| offer.id == exclusion.offer)).cloned().collect();
    let placement = input.placement.clamped(input.model.whole().end(), u32::try_from(offers.len()).unwrap_or(u32::MAX));
    let links = input.links.iter().filter_map(link).collect();
    let current = if first == input.offers.first()?.id && offers.len() == input.offers.len() { input.current.clone() } else { Vec::new() };
    Some(Problem { devices, offers, links, exclusions, placement, current, ..input.clone() })
}

/// The problem as an author reads it.
fn render(input: &Problem) -> String {
    let mut text = String::new();
    let place = input.placement;
    let limit = |limit: u32| if limit == u32::MAX { "any".to_owned() } else { limit.to_string() };
    let (stages_max, replicas_max) = (limit(place.stages_max), limit(place.replicas_max));
    // Writing to a text cannot fail.
    let _ = writeln!(text, "objective {:?}, {} to {stages_max} stages, at most {replicas_max} replicas", place.objective, place.stages_min);
    for (index, block) in input.model.blocks().iter().enumerate() {
        let _ = write!(text, "block {index}: {} GFLOP, {} of weights, {} leave it", block.flops / 1e9, block.weights, block.border);
        let extras = [("activations", block.activations), ("cache per token", block.kv_per_token), ("workspace", block.workspace)];
        extras.iter().filter(|(_, size)| size.0 > 0).for_each(|(name, size)| _ = write!(text, ", {size} {name}"));
        text.push('\n');
    }
    for weight in input.model.shared() {
        let _ = writeln!(text, "shared by blocks {:?}: {} of weights", weight.blocks, weight.size);
    }
    if input.model.tokens() > 0 {
        let _ = writeln!(text, "{} sequences of {} tokens", input.model.sequences(), input.model.tokens());
    }
    for (index, offer) in input.offers.iter().enumerate() {
        let capacity = &offer.capacity;
        let _ = write!(text, "offer {index}: {}, {}, {:?} ms/GFLOP", offer.id, capacity.memory, offer.cost.gflop_ms);
        let _ = write!(text, ", weights x {}, {} fixed, busy {}, joined {}", capacity.weight_factor, capacity.fixed, offer.busy_ratio, offer.joined);
        if capacity.roles != Roles::ALL {
            let _ = write!(text, ", {:?}", capacity.roles);
        }
        let _ = writeln!(text, ", pool {} of device {}", capacity.pool, offer.device);
    }
    for link in &input.links {
        let _ = writeln!(text, "link {} > {}: {} and {} bytes/ms", link.source, link.target, link.speed.latency, link.speed.bytes_per_ms);
    }
    for replica in &input.current {
        let stages: Vec<String> = replica.iter().map(|stage| format!("{}[{}..{})", stage.offer, stage.start, stage.end)).collect();
        let _ = writeln!(text, "in force: {}", stages.join(" > "));
    }
    for exclusion in &input.exclusions {
        let _ = writeln!(text, "excluded: {} on {}", exclusion.shard.range, exclusion.offer);
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_problems_are_sorted_and_hold_only_indexes_that_exist() {
        for number in 0..200 {
            let input = AllocationPolicy::generate(&mut Source::of(9, number), &(), number).expect("a problem");
            assert!(input.offers.windows(2).all(|pair| pair[0].id < pair[1].id), "{number}");
            assert!(input.offers.iter().all(|offer| (offer.device as usize) < input.devices.len()));
            assert!(input.current.iter().flatten().all(|stage| (stage.offer as usize) < input.offers.len() && stage.start < stage.end));
            for smaller in smaller(&input) {
                assert!(!smaller.offers.is_empty() && smaller.offers.iter().all(|offer| (offer.device as usize) < smaller.devices.len()), "{number}");
                assert!(smaller.links.iter().all(|link| (link.source.max(link.target) as usize) < smaller.devices.len()));
                assert!(smaller.offers.iter().all(|offer| smaller.devices[offer.device as usize].id == offer.id.device));
            }
        }
    }

    #[test]
    fn a_good_part_of_the_problems_can_be_solved_and_a_part_cannot() {
        let solvable = (0..200).filter(|&number| {
            let input = problem(&mut Source::of(1, number), 4, 6).expect("a problem");
            possible(&input) == Some(true)
        });
        assert!((60..=180).contains(&solvable.count()));
    }
}
