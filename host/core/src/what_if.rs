//! What would help a plan most: one more device of a kind that is there already, more memory on a device, or a faster link. The
//! policy itself is asked, with a problem in which that has happened. Pure: whoever calls asks it, and says when to stop.

use std::fmt;

use crate::{
    ids::{DeviceId, OfferId},
    link::Speed,
    plan::OfferCapacity,
    problem::{Placement, Problem, ProblemDevice, ProblemLink, ProblemOffer, ProposedReplica},
    units::{Bytes, Millis},
};

/// How many times more memory, or how many times faster a link, is tried.
const MEMORY_TIMES: u64 = 2;
const LINK_TIMES: f64 = 10.0;
/// Costs and memories that differ by less than this share are of one kind.
const KIND_RATIO: f64 = 0.1;
/// A gain below this share is none.
const GAIN_RATIO_MIN: f64 = 0.01;
/// The end of the id of a device that is not there.
const TWIN: &str = "twin";

/// Something that people could change about a pool.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Place the model anew, as if nothing were loaded yet.
    Anew,
    /// One more device such as this one.
    Device(DeviceId),
    /// So much memory on a device instead of what it has.
    Memory {
        /// Which device.
        device: DeviceId,
        /// The memory of its largest offer now.
        now: Bytes,
        /// And then.
        then: Bytes,
    },
    /// The way from one device to another, ten times as fast.
    Link {
        /// Who sends.
        source: DeviceId,
        /// Who receives.
        target: DeviceId,
    },
}

/// What a change would bring.
#[derive(Clone, PartialEq, Debug)]
pub struct Help {
    /// What is changed.
    pub change: Change,
    /// What the plan would be worth then, as `Worth::value` has it: requests per millisecond, or answers per millisecond of one
    /// who waits for each.
    pub value: f64,
    /// By which share that is more than what the plan in force is worth; infinite where there is none.
    pub gain: f64,
}

/// What is tried.
#[derive(Clone, Debug)]
pub struct WhatIf<'a> {
    /// The problem with the plan in force.
    pub problem: &'a Problem,
    /// The model's placement before it was clamped to what the pool can give.
    pub placement: Placement,
    /// Most problems that the policy is asked about.
    pub asks_max: u32,
}

/// Nobody should be asked any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enough;

impl WhatIf<'_> {
    /// What would help, the largest gain first. `memory` is what an offer's pool has, whoever holds it now: an additional device
    /// would have that much to give. `ask` gives the replicas that the policy would propose, none if it refuses.
    pub fn helps(&self, memory: impl Fn(&OfferId) -> Bytes, mut ask: impl FnMut(&Problem) -> Result<Option<Vec<ProposedReplica>>, Enough>) -> Vec<Help> {
        let objective = self.problem.placement.objective;
        let now = if self.problem.current.is_empty() { 0.0 } else { self.problem.worth(&self.problem.current).value(objective) };
        let mut helps = Vec::new();
        let mut best_anew = now;
        for change in self.changes().into_iter().take(self.asks_max as usize) {
            let problem = self.problem.changed(&change, self.placement, &memory);
            let Ok(answer) = ask(&problem) else { break };
            let Some(value) = answer.map(|replicas| problem.worth(&replicas).value(objective)).filter(|value| value.is_finite()) else { continue };
            // A change that brings no more than planning anew is not what helps.
            let compared = if change == Change::Anew { now } else { best_anew };
            if value > compared * (1.0 + GAIN_RATIO_MIN) {
                helps.push(Help { gain: if now > 0.0 { value / now - 1.0 } else { f64::INFINITY }, change: change.clone(), value });
            }
            if change == Change::Anew {
                best_anew = best_anew.max(value);
            }
        }
        helps.sort_by(|one, other| other.value.total_cmp(&one.value));
        helps
    }

    /// Placing anew first, because the rest is compared with that; then one of each sort in turn, so that few asks try all sorts.
    fn changes(&self) -> Vec<Change> {
        let mut sorts = [self.devices().into_iter(), self.links().into_iter(), self.memories().into_iter()];
        let mut changes = vec![Change::Anew];
        loop {
            let before = changes.len();
            changes.extend(sorts.iter_mut().filter_map(Iterator::next));
            if changes.len() == before {
                return changes;
            }
        }
    }

    /// One of each kind of device, the fastest kinds first.
    fn devices(&self) -> Vec<Change> {
        let work = self.problem.model.work(self.problem.model.whole());
        let mut order: Vec<(f64, u32)> = (0_u32..).zip(&self.problem.devices).map(|(index, _)| (self.problem.fastest(index, work), index)).collect();
        order.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut kinds: Vec<u32> = Vec::new();
        for (_, device) in order {
            if !kinds.iter().any(|&known| self.problem.is_one_kind(known, device)) {
                kinds.push(device);
            }
        }
        kinds.into_iter().filter_map(|device| Some(Change::Device(self.problem.devices.get(device as usize)?.id.clone()))).collect()
    }

    /// The hops of the plan in force, the slowest first.
    fn links(&self) -> Vec<Change> {
        let mut hops: Vec<(f64, u32, u32)> = Vec::new();
        for replica in &self.problem.current {
            for (pair, hop) in replica.windows(2).zip(self.problem.predict(replica).hops) {
                let (Some(source), Some(target)) = (self.problem.device_of(pair[0].offer), self.problem.device_of(pair[1].offer)) else { continue };
                if source != target && !hops.iter().any(|(_, from, to)| (*from, *to) == (source, target)) {
                    hops.push((hop.0, source, target));
                }
            }
        }
        hops.sort_by(|one, other| other.0.total_cmp(&one.0));
        let id = |device: u32| self.problem.devices.get(device as usize).map(|device| device.id.clone());
        hops.into_iter().filter_map(|(_, source, target)| Some(Change::Link { source: id(source)?, target: id(target)? })).collect()
    }

    /// More memory where the model would be placed first if it fitted: on the fastest devices that cannot hold all of it.
    fn memories(&self) -> Vec<Change> {
        let whole = self.problem.model.whole();
        let work = self.problem.model.work(whole);
        let mut order: Vec<(f64, Change)> = Vec::new();
        for (index, device) in (0_u32..).zip(&self.problem.devices) {
            let offers = || self.problem.offers.iter().filter(|offer| offer.device == index);
            let holds_all = offers().any(|offer| offer.capacity.need(&self.problem.model, whole) <= offer.capacity.memory);
            let Some(now) = offers().map(|offer| offer.capacity.memory).max().filter(|_| !holds_all) else { continue };
            order.push((self.problem.fastest(index, work), Change::Memory { device: device.id.clone(), now, then: now.times(MEMORY_TIMES) }));
        }
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        order.into_iter().map(|(_, change)| change).collect()
    }
}

impl Problem {
    /// The problem as it would be after a change, with nothing in force: what is loaded already is no reason to keep it there.
    fn changed(&self, change: &Change, placement: Placement, memory: impl Fn(&OfferId) -> Bytes) -> Self {
        let mut changed = Self { current: Vec::new(), ..self.clone() };
        // Else the policy would take what is loaded for the rest of a chain that broke, and close that one first.
        changed.offers.iter_mut().for_each(|offer| offer.held.clear());
        match change {
            Change::Anew => {}
            Change::Device(like) => changed.add_twin(like, memory),
            Change::Memory { device, .. } => {
                for offer in changed.offers.iter_mut().filter(|offer| offer.id.device == *device) {
                    offer.capacity.memory = offer.capacity.memory.times(MEMORY_TIMES);
                }
            }
            Change::Link { source, target } => changed.speed_up(source, target),
        }
        let offers = u32::try_from(changed.offers.len()).unwrap_or(u32::MAX);
        changed.placement = placement.clamped(changed.model.whole().end(), offers);
        changed
    }

    /// A device beside the one that it is like: as fast, at the same site, with the same ways to the others, and empty.
    fn add_twin(&mut self, like: &DeviceId, memory: impl Fn(&OfferId) -> Bytes) {
        let Some((original, site)) = (0_u32..).zip(&self.devices).find(|(_, device)| device.id == *like).map(|(index, device)| (index, device.site)) else {
            return;
        };
        let Some(id) = self.free_id(like) else { return };
        let twin = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        self.devices.push(ProblemDevice { id: id.clone(), site });
        let joined = self.offers.iter().map(|offer| offer.joined).max().unwrap_or(0).saturating_add(1);
        let of_twin = |offer: &ProblemOffer| ProblemOffer {
            id: OfferId { device: id.clone(), accelerator: offer.id.accelerator.clone() },
            device: twin,
            capacity: OfferCapacity { memory: memory(&offer.id), ..offer.capacity.clone() },
            cost: offer.cost,
            busy_ratio: 0.0,
            joined,
            held: Vec::new(),
        };
        let added: Vec<ProblemOffer> = self.offers.iter().filter(|offer| offer.device == original).map(of_twin).collect();
        self.offers.extend(added);
        self.offers.sort_by(|one, other| one.id.cmp(&other.id));
        let leaving = self.links.iter().filter(|link| link.source == original).map(|link| ProblemLink { source: twin, ..*link });
        let coming = self.links.iter().filter(|link| link.target == original).map(|link| ProblemLink { target: twin, ..*link });
        let links: Vec<ProblemLink> = leaving.chain(coming).collect();
        self.links.extend(links);
    }

    /// An id like this one that no device has.
    fn free_id(&self, like: &DeviceId) -> Option<DeviceId> {
        let named = |number: usize| DeviceId::parse(&format!("{like}-{TWIN}{number}")).or_else(|_| DeviceId::parse(&format!("{TWIN}{number}"))).ok();
        (1..=self.devices.len() + 1).filter_map(named).find(|id| self.devices.iter().all(|device| device.id != *id))
    }

    fn speed_up(&mut self, source: &DeviceId, target: &DeviceId) {
        let index = |id: &DeviceId| (0_u32..).zip(&self.devices).find(|(_, device)| device.id == *id).map(|(index, _)| index);
        let (Some(source), Some(target)) = (index(source), index(target)) else { return };
        let speed = self.speed_between(source, target);
        let faster = Speed { latency: Millis(speed.latency.0 / LINK_TIMES), bytes_per_ms: speed.bytes_per_ms * LINK_TIMES };
        self.links.retain(|link| (link.source, link.target) != (source, target));
        self.links.push(ProblemLink { source, target, speed: faster });
    }

    fn speed_between(&self, source: u32, target: u32) -> Speed {
        let offer = |device: u32| self.offers.iter().position(|offer| offer.device == device).and_then(|index| u32::try_from(index).ok());
        match (offer(source), offer(target)) {
            (Some(source), Some(target)) => self.speed(source, target),
            _ => self.between_sites,
        }
    }

    fn device_of(&self, offer: u32) -> Option<u32> {
        self.offers.get(offer as usize).map(|offer| offer.device)
    }

    /// Milliseconds of so much work on the fastest accelerator of a device.
    fn fastest(&self, device: u32, work: crate::model::Work) -> f64 {
        let offers = self.offers.iter().filter(|offer| offer.device == device);
        offers.map(|offer| offer.cost.predict(work).0).fold(f64::INFINITY, f64::min)
    }

    /// Whether two devices have the same accelerators, about as fast and as large, at the same site.
    fn is_one_kind(&self, one: u32, other: u32) -> bool {
        let offers = |device: u32| self.offers.iter().filter(move |offer| offer.device == device);
        let alike = |(a, b): (&ProblemOffer, &ProblemOffer)| {
            let costs = a.cost.coefficients().into_iter().zip(b.cost.coefficients()).all(|((_, a), (_, b))| about(a, b));
            costs
                && about(a.capacity.memory.as_f64(), b.capacity.memory.as_f64())
                && a.capacity.roles == b.capacity.roles
                && a.id.accelerator == b.id.accelerator
        };
        let site = |device: u32| self.devices.get(device as usize).map(|device| device.site);
        offers(one).count() == offers(other).count() && site(one) == site(other) && offers(one).zip(offers(other)).all(alike)
    }
}

fn about(a: f64, b: f64) -> bool {
    (a - b).abs() <= KIND_RATIO * a.max(b)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anew => f.write_str("placing it anew"),
            Self::Device(like) => write!(f, "one more device like {like}"),
            Self::Memory { device, now, then } => write!(f, "{then} for it on {device} instead of {now}"),
            Self::Link { source, target } => write!(f, "a link ten times as fast from {source} to {target}"),
        }
    }
}

#[cfg(test)]
mod tests;
