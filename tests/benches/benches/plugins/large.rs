//! Plans for up to ten thousand devices, and for a thousand of which one comes or goes: the default policy in its sandbox,
//! with the answer proved, against the same code called natively on the same problem.

use std::{error::Error, sync::Arc, time::Duration};

use even_allocation::Even;
use host_core::{
    cost::{CostModel, refined::median},
    device::Roles,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
    link::Speed,
    model::{Block, ModelProfile},
    plan::OfferCapacity,
    policy::Refusal,
    problem::{Objective, Placement, Problem, ProblemDevice, ProblemOffer, Proposal, ProposedReplica, ProposedStage},
    shard::BlockRange,
    units::{Bytes, Millis},
};
use host_plugin::PluginHost;
use serde_json::json;
use shardhost_benches::{Times, report, round, time_turns};
use shardhost_policy_tests::{
    churn::{joined, left},
    policies::BALANCED,
    pools::{Machine, Pool, Random},
};
use shardhost_sdk::allocation::{self as guest, AllocationPolicy as _};

/// Blocks of the model.
const BLOCKS: u32 = 80;
const OBJECTIVES: [(guest::Objective, &str); 3] =
    [(guest::Objective::Throughput, "throughput"), (guest::Objective::Balanced, "balanced"), (guest::Objective::Latency, "latency")];

type Failed = Box<dyn Error>;
type Answered = Result<Proposal, Refusal>;

/// Who is asked.
#[derive(Clone, Copy)]
pub struct Hosts<'a> {
    /// With the default policy.
    pub balanced: &'a PluginHost,
    /// With one that takes hardly any time to plan, so that what is left is asking it: the question put, the answer proved.
    pub even: &'a PluginHost,
}

/// All of it, one line for each problem.
pub fn planning(hosts: Hosts<'_>) -> Result<(), Failed> {
    for (objective, name) in OBJECTIVES {
        for devices in [24, 64, 128, 1_000, 10_000] {
            let mut problem = posed(devices, objective);
            let replicas = measure(hosts, &problem, name, "from nothing")?;
            if devices == 1_000 {
                problem.current = replicas;
                changing(hosts, &problem, name)?;
            }
        }
    }
    Ok(())
}

/// A plan is in force; nothing happens, a device comes, one goes.
fn changing(hosts: Hosts<'_>, problem: &guest::Problem, objective: &str) -> Result<(), Failed> {
    measure(hosts, problem, objective, "again")?;
    measure(hosts, &joined(problem, &Machine { block_ms: 0.4, most: BLOCKS / 2 }), objective, "one came")?;
    let gone = problem.current.first().and_then(|replica| replica.stages.first()).ok_or("the plan in force has no stage")?;
    measure(hosts, &left(problem, gone.offer), objective, "one went")?;
    Ok(())
}

/// Devices that are all unlike, on common links.
fn posed(devices: u32, objective: guest::Objective) -> guest::Problem {
    let mut problem = Pool::large(&mut Random::new(5), devices, BLOCKS, true).problem(objective);
    problem.within_site = guest::Speed { latency_ms: Speed::WITHIN_SITE.latency.0, bytes_per_ms: Speed::WITHIN_SITE.bytes_per_ms };
    problem.between_sites = guest::Speed { latency_ms: Speed::BETWEEN_SITES.latency.0, bytes_per_ms: Speed::BETWEEN_SITES.bytes_per_ms };
    problem
}

/// Times the policy in the sandbox and natively, and gives what the sandbox answered. Fails if it was not the policies that answered.
fn measure(hosts: Hosts<'_>, problem: &guest::Problem, objective: &str, what: &str) -> Result<Vec<guest::Replica>, Failed> {
    let asked = as_host(problem)?;
    let answer = |host: &PluginHost| -> Result<Answered, Failed> {
        let decision = host.allocation().allocate(&asked)?;
        match decision.fallback {
            Some(fault) => Err(format!("{what}, {} devices: {fault}", problem.devices.len()).into()),
            None => Ok(decision.answer.map(|allocated| allocated.proposal)),
        }
    };
    // It may find that an even split does not fit.
    answer(hosts.even)?.ok();
    let answered: Vec<guest::Replica> = answer(hosts.balanced)?.map_err(|refusal| refusal.to_string())?.replicas.iter().map(as_guest).collect();
    let turns = if problem.devices.len() > 1_001 { 7 } else { 21 };
    let allocate = |host: &PluginHost| drop(std::hint::black_box(host.allocation().allocate(&asked)));
    let [sandboxed, native, asking, asking_native] = time_turns(
        turns,
        [&mut || allocate(hosts.balanced), &mut || drop(std::hint::black_box(BALANCED.place(problem))), &mut || allocate(hosts.even), &mut || {
            drop(std::hint::black_box(Even.allocate(problem)))
        }],
    );
    let ratio = |turn: usize| sandboxed[turn].as_secs_f64() / native[turn].as_secs_f64();
    let apart = |whole: &[Duration], part: &[Duration], turn: usize| whole[turn].as_secs_f64() - part[turn].as_secs_f64();
    let planning = |turn: usize| apart(&sandboxed, &asking, turn) / apart(&native, &asking_native, turn);
    let of_turns = |ratio: &dyn Fn(usize) -> f64| median((0..turns).map(ratio).collect()).map(round);
    report(
        "plan",
        json!({
            "what": what,
            "objective": objective,
            "devices": problem.devices.len(),
            "blocks": BLOCKS,
            "replicas": answered.len(),
            "sandboxed": Times::of(&sandboxed).spread_ms(),
            "native": Times::of(&native).spread_ms(),
            "ratio_p50": of_turns(&ratio),
            "asking": Times::of(&asking).spread_ms(),
            "planning_ratio_p50": of_turns(&planning),
        }),
    );
    Ok(answered)
}

fn as_guest(replica: &ProposedReplica) -> guest::Replica {
    guest::Replica { stages: replica.iter().map(|stage| guest::Stage { offer: stage.offer, start: stage.start, end: stage.end }).collect() }
}

/// The problem as the host poses it, without what these problems do not have: links that were measured, shared weights, caches
/// and refused shards.
fn as_host(problem: &guest::Problem) -> Result<Problem, Failed> {
    let speed = |speed: guest::Speed| Speed { latency: Millis(speed.latency_ms), bytes_per_ms: speed.bytes_per_ms };
    let block = |block: &guest::Block| Block {
        flops: block.flops,
        weights: Bytes::from_f64(block.weight_bytes),
        border: Bytes::from_f64(block.border_bytes),
        ..Block::default()
    };
    let objective = match problem.placement.objective {
        guest::Objective::Latency => Objective::Latency,
        guest::Objective::Throughput => Objective::Throughput,
        guest::Objective::Balanced => Objective::Balanced,
    };
    let guest::Placement { stages_min, stages_max, replicas_max, .. } = problem.placement;
    let replica = |replica: &guest::Replica| -> ProposedReplica {
        replica.stages.iter().map(|stage| ProposedStage { offer: stage.offer, start: stage.start, end: stage.end }).collect()
    };
    let id = ModelId { name: ModelName::parse("even")?, version: 1 };
    let device = |device: &guest::Device| -> Result<ProblemDevice, Failed> { Ok(ProblemDevice { id: DeviceId::parse(&device.id)?, site: device.site }) };
    let offer = |offer: &guest::Offer| offer_as_host(offer, &problem.devices[offer.device as usize].id);
    Ok(Problem {
        model: Arc::new(ModelProfile::new(id, problem.blocks.iter().map(block).collect(), Vec::new(), Bytes::ZERO)?),
        devices: problem.devices.iter().map(device).collect::<Result<_, Failed>>()?,
        offers: problem.offers.iter().map(offer).collect::<Result<_, Failed>>()?,
        links: Vec::new(),
        within_site: speed(problem.within_site),
        between_sites: speed(problem.between_sites),
        placement: Placement { objective, stages_min, stages_max, replicas_max },
        current: problem.current.iter().map(replica).collect(),
        horizon: Millis(problem.horizon_ms),
        exclusions: Vec::new(),
    })
}

fn offer_as_host(offer: &guest::Offer, device: &str) -> Result<ProblemOffer, Failed> {
    let cost = offer.cost;
    Ok(ProblemOffer {
        id: OfferId { device: DeviceId::parse(device)?, accelerator: AcceleratorName::parse("cpu")? },
        device: offer.device,
        capacity: OfferCapacity {
            pool: offer.memory_pool,
            memory: Bytes::from_f64(offer.memory_bytes),
            weight_factor: offer.weight_factor,
            fixed: Bytes::from_f64(offer.fixed_bytes),
            roles: Roles::ALL,
        },
        cost: CostModel { gflop_ms: cost.gflop_ms, weight_mb_ms: cost.weight_mb_ms, activation_mb_ms: cost.activation_mb_ms, fixed_ms: cost.fixed_ms },
        busy_ratio: offer.busy_ratio,
        joined: offer.joined,
        held: offer.attributes.iter().filter(|(name, _)| name == "holds").map(|(_, range)| held(range)).collect::<Result<_, Failed>>()?,
    })
}

/// `START..END` as a range of blocks.
fn held(range: &str) -> Result<BlockRange, Failed> {
    let (start, end) = range.split_once("..").ok_or_else(|| format!("`{range}` is no range"))?;
    Ok(BlockRange::new(start.parse()?, end.parse()?)?)
}
