//! Fleets, models and policies for the tests of the simulator; what is held true is in the files beside.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    cluster::ClusterSettings,
    cost::CostModel,
    device::Device,
    ids::SiteName,
    link::Speed,
    policy::{Answer, Arrival, Observation, PolicyFault, Refusal, Verdict},
    problem::{Objective, Placement, Problem, Proposal, ProposedStage},
    profile::{Fluctuation, Outage, Outages},
    shard::BlockRange,
    testing,
    topology::{RouteRequest, RoutingSnapshot},
    units::{Bytes, Millis},
};

mod churn;
mod given;
mod laws;
mod scale;
mod theory;
mod trouble;

/// Fills offers in order, replica after replica, each as far as its memory goes.
struct Fill;

impl AllocationPolicy for Fill {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        let blocks = problem.model.whole().end();
        let (mut replicas, mut stages, mut next) = (Vec::new(), Vec::new(), 0);
        for (offer, has) in (0..).zip(&problem.offers) {
            if replicas.len() >= problem.placement.replicas_max as usize {
                break;
            }
            let fits = |end: &u32| BlockRange::new(next, *end).is_ok_and(|range| has.capacity.need(&problem.model, range) <= has.capacity.memory);
            let Some(end) = (next + 1..=blocks).rev().find(fits) else { continue };
            stages.push(ProposedStage { offer, start: next, end });
            next = end % blocks;
            if next == 0 {
                replicas.push(std::mem::take(&mut stages));
            }
        }
        let none = || Refusal { reason: "too little memory".into(), nearest: None, short: Bytes::ZERO };
        Ok(if replicas.is_empty() { Err(none()) } else { Ok(Proposal { replicas, bound: 0.0 }) })
    }

    fn review(&mut self, _: &Observation) -> Result<Verdict, PolicyFault> {
        Ok(Verdict::Keep)
    }
}

/// Keeps the replicas in force that still hold, and fills what is left.
struct Keep;

impl AllocationPolicy for Keep {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        let used = |offer: u32| problem.current.iter().flatten().any(|stage| stage.offer == offer);
        let mut rest = problem.clone();
        for (index, offer) in (0..).zip(&mut rest.offers) {
            if used(index) {
                offer.capacity.memory = Bytes::ZERO;
            }
        }
        rest.placement.replicas_max = problem.placement.replicas_max.saturating_sub(problem.current.len() as u32);
        let more = Fill.allocate(&rest)?.map(|proposal| proposal.replicas).unwrap_or_default();
        let replicas: Vec<_> = problem.current.iter().cloned().chain(more).collect();
        let none = || Refusal { reason: "too little memory".into(), nearest: None, short: Bytes::ZERO };
        Ok(if replicas.is_empty() { Err(none()) } else { Ok(Proposal { replicas, bound: 0.0 }) })
    }

    fn review(&mut self, _: &Observation) -> Result<Verdict, PolicyFault> {
        Ok(Verdict::Keep)
    }
}

/// The replica with the least work before it; the first of those that tie.
struct LeastWork;

impl RoutingPolicy for LeastWork {
    fn route(&mut self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Vec<u32>> {
        let segments = &snapshot.topology.models[request.model as usize].segments;
        let mut replicas: BTreeMap<u32, (f64, Vec<u32>)> = BTreeMap::new();
        for (index, segment) in (0_u32..).zip(segments) {
            let replica = replicas.entry(segment.replica).or_default();
            replica.0 += segment.run.0 * f64::from(1 + request.outstanding[index as usize]);
            replica.1.push(index);
        }
        let best = replicas.into_values().min_by(|one, other| one.0.total_cmp(&other.0));
        Ok(best.map(|(_, path)| path).ok_or_else(|| Refusal { reason: "nothing".into(), nearest: None, short: Bytes::ZERO }))
    }
}

/// Serves class 0 first.
struct Urgent;

impl QueueingPolicy for Urgent {
    fn admit(&mut self, arrival: &Arrival) -> Answer<f64> {
        Ok(Ok(f64::from(arrival.class) * 1e12 + arrival.now.0))
    }
}

/// A device of these GFLOP/s and MiB at a site.
fn device(name: &str, site: &str, gflops: f64, mib: u64) -> FleetDevice {
    let mut device: Device = testing::device(name, Bytes::mib(mib));
    device.offers[0].cost = CostModel { gflop_ms: 1e3 / gflops, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 };
    device.site = SiteName::parse(site).expect("a name");
    FleetDevice { device, network: Speed::FREE, fluctuation: Fluctuation::NONE, outages: Outages::NONE, failures: None, present: true }
}

/// Blocks of 1 GFLOP, 1 MiB and 1 KiB of border.
fn model(blocks: usize, replicas_max: u32) -> FleetModel {
    let placement = Placement { objective: Objective::Throughput, replicas_max, ..Placement::default() };
    FleetModel { profile: testing::uniform_model("m", blocks), placement }
}

fn poisson(per_s: f64) -> Traffic {
    Traffic { model: 0, class: 0, arrivals: Arrivals::Poisson { per_s }, deadline: Millis(60_000.0), exclusive_ratio: 0.0, sequences: 0 }
}

/// Nothing but what is asked for takes time.
fn settings() -> SimulationSettings {
    SimulationSettings { door: Millis::ZERO, hop: Millis::ZERO, running_max: 100_000, waiting_max: 100_000, ..SimulationSettings::default() }
}

fn links() -> FleetLinks {
    FleetLinks { central: SiteName::parse("here").expect("a name"), between_sites: Speed::FREE, ..FleetLinks::default() }
}

fn scenario(devices: Vec<FleetDevice>, models: Vec<FleetModel>, traffic: Vec<Traffic>, settings: SimulationSettings) -> Scenario {
    Scenario::new(devices, Vec::new(), links(), models, traffic, settings).expect("a sound scenario")
}

fn run(scenario: &Scenario) -> Outcome {
    let outcome = simulate(scenario, Policies { allocation: &mut Fill, routing: &mut LeastWork, queueing: None });
    assert_eq!(outcome.rejected, [""; 0], "the simulator says nothing that the cluster does not accept");
    outcome
}

/// What arrived was served, turned away or failed, and nothing else.
fn check_conserved(outcome: &Outcome) {
    for requests in outcome.classes.iter().chain([&outcome.requests]) {
        assert_eq!(requests.arrived, requests.served + requests.shed_sum() + requests.failed_sum());
        assert_eq!(requests.served, requests.latencies.count() as u64);
    }
    assert_eq!(outcome.requests.arrived, outcome.classes.iter().map(|class| class.arrived).sum::<u64>());
}
