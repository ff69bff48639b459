//! What people are told of a model that has no plan, or not the best one: which constraint fails and by how much, and what would help.
//! Takes what it needs from the cluster at once; what takes longer is worked out from that copy, while events go on.

use std::collections::BTreeMap;

use host_core::{
    cluster::Cluster,
    ids::{ModelId, OfferId},
    policy::Refusal,
    problem::{Exclusion, Placement, Problem, ProposedReplica},
    shortfall::Room,
    units::Bytes,
    what_if::{Change, Enough, WhatIf},
};
use host_wire::admin;

/// A model as it could be placed now.
#[derive(Clone, Debug)]
pub struct Advice {
    problem: Problem,
    placement: Placement,
    refusal: Option<Refusal>,
    /// Loads that were refused. What was not converted is ruled out in the problem too, and told apart from them.
    refused_loads: Vec<Exclusion>,
    /// What the pool of each offer has, whoever holds it.
    memories: BTreeMap<OfferId, Bytes>,
    /// Whether replicas stay that are no part of the problem, so that the worth of the plan is not what the problem says.
    is_partial: bool,
}

impl Advice {
    /// None if the model is not known.
    pub fn of(cluster: &Cluster, model: &ModelId) -> Option<Self> {
        let record = cluster.models().get(model)?;
        let problem = cluster.problem(model)?;
        let devices = cluster.devices().values().map(|record| &record.device);
        let memories = devices.flat_map(|device| device.offers.iter().map(|offer| (device.offer_id(offer), offer.memory))).collect();
        let planned = cluster.plan().plan().models.get(model).map_or(0, Vec::len);
        Some(Self {
            is_partial: problem.current.len() != planned,
            placement: record.placement,
            refusal: record.refusal.clone(),
            refused_loads: record.exclusions.clone(),
            problem,
            memories,
        })
    }

    /// Why the model has no plan, or keeps the one before. None if it was not refused when it was last tried.
    pub fn refused(&self) -> Option<admin::Refused> {
        let refusal = self.refusal.as_ref()?;
        let shortfall = self.problem.shortfall();
        let nearest = shortfall.as_ref().and_then(|shortfall| shortfall.nearest());
        Some(admin::Refused {
            reason: refusal.reason.clone(),
            constraint: shortfall.as_ref().map_or("", |shortfall| shortfall.constraint()).to_owned(),
            shortfall: shortfall.as_ref().map_or_else(|| "there is room for a chain of stages".to_owned(), ToString::to_string),
            nearest: nearest.map(|(offer, _)| offer.to_string()),
            short_bytes: nearest.map_or(0, |(_, short)| short.0),
            rooms: self.problem.rooms().into_iter().map(room).collect(),
            exclusions: self.refused_loads.iter().map(exclusion).collect(),
        })
    }

    /// What would help, the most helpful first, as far as `ask` lets itself be asked. Nothing, where some of the plan stays whatever
    /// a policy says.
    pub fn helps(&self, asks_max: u32, ask: impl FnMut(&Problem) -> Result<Option<Vec<ProposedReplica>>, Enough>) -> Vec<admin::Help> {
        if self.is_partial || self.problem.offers.is_empty() {
            return Vec::new();
        }
        let what_if = WhatIf { problem: &self.problem, placement: self.placement, asks_max };
        let helps = what_if.helps(|offer| self.memories.get(offer).copied().unwrap_or_default(), ask);
        let help = |help: host_core::what_if::Help| admin::Help {
            kind: kind(&help.change).to_owned(),
            change: help.change.to_string(),
            gain_ratio: help.gain.is_finite().then_some(help.gain),
        };
        helps.into_iter().map(help).collect()
    }
}

/// A load that was refused, in words.
pub(super) fn exclusion(exclusion: &Exclusion) -> String {
    format!("{} refused {}: {}", exclusion.offer, exclusion.shard, exclusion.reason)
}

fn room(room: Room) -> admin::Room {
    admin::Room {
        offer: room.offer.to_string(),
        free_bytes: room.free.0,
        whole_bytes: room.whole.0,
        blocks: room.blocks,
        missing_roles: room.missing_roles.into_iter().map(str::to_owned).collect(),
    }
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::Anew => "anew",
        Change::Device(_) => "device",
        Change::Memory { .. } => "memory",
        Change::Link { .. } => "link",
    }
}
