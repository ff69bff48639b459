//! The snapshot that an allocation policy is given, and what it proposes. One model at a time: the memory and time that
//! other models take are already subtracted from the offers.

use std::sync::Arc;

use crate::{
    cost::CostModel,
    error::{Error, Fault},
    ids::{DeviceId, OfferId},
    link::Speed,
    model::ModelProfile,
    plan::{OfferCapacity, Replica, Stage, rules},
    shard::{BlockRange, ShardId},
    units::Millis,
};

/// What a plan should be best at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Objective {
    /// The time of one request.
    Latency,
    /// Requests per time over all replicas.
    Throughput,
    /// Throughput first, then latency among plans that are about as good.
    #[default]
    Balanced,
}

/// What a model's configuration says about where it may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// What to be best at.
    pub objective: Objective,
    /// Fewest stages of a replica.
    pub stages_min: u32,
    /// Most stages of a replica.
    pub stages_max: u32,
    /// Most replicas.
    pub replicas_max: u32,
}

impl Placement {
    /// The same, within what so many blocks and offers can give.
    #[must_use]
    pub fn clamped(self, blocks: u32, offers: u32) -> Self {
        let most = blocks.min(offers).max(1);
        let stages_min = self.stages_min.clamp(1, most);
        Self { stages_min, stages_max: self.stages_max.clamp(stages_min, most), replicas_max: self.replicas_max.clamp(1, offers.max(1)), ..self }
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self { objective: Objective::default(), stages_min: 1, stages_max: u32::MAX, replicas_max: u32::MAX }
    }
}

/// A machine in a problem.
#[derive(Clone, PartialEq, Debug)]
pub struct ProblemDevice {
    /// Its id.
    pub id: DeviceId,
    /// Index of its site.
    pub site: u32,
}

/// One offer in a problem, with what is left of it for this model.
#[derive(Clone, PartialEq, Debug)]
pub struct ProblemOffer {
    /// Its id; offers are sorted by it.
    pub id: OfferId,
    /// Index into the problem's devices.
    pub device: u32,
    /// Memory and roles; the memory is what other models leave.
    pub capacity: OfferCapacity,
    /// How long it takes for what.
    pub cost: CostModel,
    /// Share of time that other models keep it busy.
    pub busy_ratio: f64,
    /// Ordinal of joining.
    pub joined: u32,
    /// Ranges of the model that it has loaded, or is loading, whether or not the plan in force has a use for them still.
    pub held: Vec<BlockRange>,
}

/// A measured link between two devices of a problem.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ProblemLink {
    /// Index of the device that sends.
    pub source: u32,
    /// Index of the device that receives.
    pub target: u32,
    /// How fast.
    pub speed: Speed,
}

/// Something that was refused on loading and must not be proposed again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exclusion {
    /// Where it was refused.
    pub offer: OfferId,
    /// What was refused.
    pub shard: ShardId,
    /// Why.
    pub reason: String,
}

/// Everything that an allocation may depend on.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    /// The model to place.
    pub model: Arc<ModelProfile>,
    /// The machines that make the offers.
    pub devices: Vec<ProblemDevice>,
    /// Sorted by id.
    pub offers: Vec<ProblemOffer>,
    /// Pairs that were measured.
    pub links: Vec<ProblemLink>,
    /// For other pairs of one site.
    pub within_site: Speed,
    /// For other pairs of two sites.
    pub between_sites: Speed,
    /// Already clamped to the offers.
    pub placement: Placement,
    /// The plan in force for this model, as far as its offers still exist.
    pub current: Vec<ProposedReplica>,
    /// How long the answer will probably be in force.
    pub horizon: Millis,
    /// What was refused before.
    pub exclusions: Vec<Exclusion>,
}

/// A stage as a policy names it: by index into the problem's offers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProposedStage {
    /// Index into the problem's offers.
    pub offer: u32,
    /// First block.
    pub start: u32,
    /// One past the last block.
    pub end: u32,
}

/// A chain of stages as a policy names them.
pub type ProposedReplica = Vec<ProposedStage>;

/// What an allocation policy answers. Not believed until `Problem::check`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Proposal {
    /// The replicas that should serve the model from now on.
    pub replicas: Vec<ProposedReplica>,
    /// The best value any proposal could have, as far as the policy proves one; 0 if it proves nothing. Requests per
    /// millisecond for throughput and balanced, milliseconds for latency.
    pub bound: f64,
}

impl Problem {
    /// Proves a proposal against this problem and names its offers: indexes, exclusions, the placement's limits, and
    /// the rules that `Plan::check` proves as well.
    pub fn check(&self, proposal: &Proposal) -> Result<Vec<Replica>, Error> {
        if !proposal.bound.is_finite() || proposal.bound < 0.0 {
            return Err(Fault::Number { what: "the proposal's bound", value: proposal.bound }.into());
        }
        self.check_counts(proposal)?;
        let replicas = proposal.replicas.iter().map(|stages| self.named(stages)).collect::<Result<Vec<_>, _>>()?;
        let mut placed = Vec::new();
        for (proposed, named) in proposal.replicas.iter().zip(&replicas) {
            let stages = proposed.iter().zip(&named.stages).map(|(proposed, named)| (proposed.offer, named.range));
            rules::check_chain(&self.model, stages.clone(), self)?;
            placed.extend(stages.map(|(offer, range)| (offer, &*self.model, range)));
        }
        rules::check_memory(placed.into_iter(), self)?;
        Ok(replicas)
    }

    /// The way from one offer's device to another's.
    pub fn speed(&self, source: u32, target: u32) -> Speed {
        let device = |offer: u32| self.offers.get(offer as usize).and_then(|offer| Some((offer.device, self.devices.get(offer.device as usize)?.site)));
        let (Some((from, from_site)), Some((to, to_site))) = (device(source), device(target)) else {
            return self.between_sites;
        };
        if from == to {
            return Speed::FREE;
        }
        let default = if from_site == to_site { self.within_site } else { self.between_sites };
        self.links.iter().find(|link| link.source == from && link.target == to).map_or(default, |link| link.speed)
    }

    fn check_counts(&self, proposal: &Proposal) -> Result<(), Error> {
        let limits = self.placement;
        let within = |what, count: usize, min: u32, max: u32| {
            if (min as usize..=max as usize).contains(&count) {
                return Ok(());
            }
            Err(Fault::Count { model: self.model.id().clone(), what, count, min, max })
        };
        within("replicas", proposal.replicas.len(), 1, limits.replicas_max)?;
        for stages in &proposal.replicas {
            within("stages", stages.len(), limits.stages_min, limits.stages_max)?;
        }
        Ok(())
    }

    fn offer(&self, index: u32) -> Result<&ProblemOffer, Error> {
        self.offers.get(index as usize).ok_or_else(|| Fault::Index { what: "offer", index, count: self.offers.len() }.into())
    }

    fn named(&self, stages: &[ProposedStage]) -> Result<Replica, Error> {
        let stage = |stage: &ProposedStage| -> Result<Stage, Error> {
            let offer = &self.offer(stage.offer)?.id;
            let range = BlockRange::new(stage.start, stage.end)?;
            let is_this = |shard: &ShardId| shard.range == range && shard.model == *self.model.id();
            match self.exclusions.iter().find(|exclusion| exclusion.offer == *offer && is_this(&exclusion.shard)) {
                Some(Exclusion { offer, shard, reason }) => Err(Fault::Excluded { shard: shard.clone(), offer: offer.clone(), reason: reason.clone() }.into()),
                None => Ok(Stage { offer: offer.clone(), range }),
            }
        };
        Ok(Replica { stages: stages.iter().map(stage).collect::<Result<_, _>>()? })
    }
}

impl rules::Offers for Problem {
    type Name = u32;
    type Pool = (u32, u32);

    fn capacity(&self, name: u32) -> Result<&OfferCapacity, Error> {
        self.offer(name).map(|offer| &offer.capacity)
    }

    fn pool(&self, name: u32, capacity: &OfferCapacity) -> (u32, u32) {
        (self.offers[name as usize].device, capacity.pool)
    }

    fn id(&self, name: u32) -> OfferId {
        self.offers[name as usize].id.clone()
    }
}
