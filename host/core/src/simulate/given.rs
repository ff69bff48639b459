//! A plan that is simulated as it is, in the place of an allocation policy: what a pool has in force, whoever made it and with
//! whatever it reckoned. Called by `host simulate`.

use std::fmt;

use super::Scenario;
use crate::{
    ids::DeviceId,
    plan::{Plan, Replica, Stage},
    policy::{AllocationPolicy, Answer, Observation, PolicyFault, Refusal, Verdict},
    problem::{Problem, Proposal, ProposedReplica, ProposedStage},
    units::Bytes,
};

/// Proposes the replicas of one plan, those whose devices are all there, and never wants another plan. Stages are found by their
/// device: one that is simulated makes a single offer, whatever that is called.
#[derive(Clone, PartialEq, Debug)]
pub struct GivenPlan(Plan);

impl GivenPlan {
    /// The error names the model of the scenario that the plan does not place, or the device of the plan that is not in the
    /// scenario. That it fits is proved when it is proposed.
    pub fn new(plan: Plan, scenario: &Scenario) -> Result<Self, String> {
        for model in scenario.models() {
            let id = model.profile.id();
            let replicas = plan.models.get(id).map_or(&[][..], Vec::as_slice);
            if replicas.is_empty() {
                return Err(format!("plan {} has no replica of {id}, which the fleet names", plan.number.0));
            }
            let is_there = |device: &DeviceId| scenario.devices().iter().any(|fleet| fleet.device.id == *device);
            if let Some(stage) = replicas.iter().flat_map(|replica| &replica.stages).find(|stage| !is_there(&stage.offer.device)) {
                return Err(format!("plan {} has {}{} on {}, which is no device of the fleet", plan.number.0, id, stage.range, stage.offer.device));
            }
        }
        Ok(Self(plan))
    }
}

impl fmt::Display for GivenPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan {} as it is", self.0.number.0)
    }
}

impl AllocationPolicy for GivenPlan {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        let given = self.0.models.get(problem.model.id()).map_or(&[][..], Vec::as_slice);
        let replicas: Vec<ProposedReplica> = given.iter().filter_map(|replica| proposed(problem, replica)).collect();
        if replicas.is_empty() {
            let reason = format!("no replica of the plan that was given has all of its devices: {} of them are there", problem.devices.len());
            return Ok(Err(Refusal { reason, nearest: None, short: Bytes::ZERO }));
        }
        Ok(Ok(Proposal { replicas, bound: 0.0 }))
    }

    fn review(&mut self, _: &Observation) -> Result<Verdict, PolicyFault> {
        Ok(Verdict::Keep)
    }
}

/// The replica by the offers of a problem; none while one of its devices is missing.
fn proposed(problem: &Problem, replica: &Replica) -> Option<ProposedReplica> {
    let stage = |stage: &Stage| {
        let offer = problem.offers.iter().position(|offer| offer.id.device == stage.offer.device)?;
        Some(ProposedStage { offer: u32::try_from(offer).ok()?, start: stage.range.start(), end: stage.range.end() })
    };
    replica.stages.iter().map(stage).collect()
}
