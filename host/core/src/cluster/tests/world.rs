//! Devices as they really are, beside what the cluster believes of them. They do what they are told sooner, later or never;
//! each step is held against what must always be true.

use super::*;
use crate::ids::OfferId;

pub(super) const DEVICES: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const MODELS: [&str; 3] = ["m", "n", "o"];

/// A cluster and the pool that it steers.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) now: Millis,
    /// What each device holds, connected or not, and how many MiB it has.
    holds: BTreeMap<DeviceId, (u64, BTreeSet<Held>)>,
    /// Models that should be served, with their blocks.
    wanted: BTreeMap<&'static str, usize>,
    /// What was asked and is not answered yet.
    open: Vec<Effect>,
    /// The last plan that was recorded.
    stored: Plan,
}

/// How well a policy and a pool do their work: a number from the test, of which the highest bring trouble.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// Plans are sound and loads succeed.
    Good(u8),
    /// Mostly so.
    Any(u8),
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            cluster: Cluster::new(settings(), PlanNumber(0)),
            now: Millis(0.0),
            holds: BTreeMap::new(),
            wanted: BTreeMap::new(),
            open: Vec::new(),
            stored: Plan::default(),
        }
    }

    pub(super) fn apply(&mut self, event: Event) {
        let before = self.cluster.clone();
        let effects = self.cluster.apply(event);
        self.check_effects(&effects);
        self.check_state();
        self.check_service(&before, &effects);
        for effect in effects {
            match effect {
                Effect::Record { plan, .. } => self.stored = plan.plan().clone(),
                Effect::Load { .. } | Effect::Unload { .. } | Effect::Solve { .. } | Effect::Review { .. } => self.open.push(effect),
                _ => {}
            }
        }
        // The connection of a device that is lost or forgotten is closed.
        let cluster = &self.cluster;
        self.open.retain(|effect| place(effect).is_none_or(|(offer, _)| is_here(cluster, &offer.device)));
    }

    /// A device joins with what it holds; with nothing, if it started anew.
    pub(super) fn join(&mut self, device_index: usize, mib: u64, anew: bool) {
        let id = device_id(DEVICES[device_index]);
        let here = is_here(&self.cluster, &id);
        let (memory, holds) = self.holds.entry(id.clone()).or_default();
        if !here {
            *memory = mib;
            holds.retain(|_| !anew);
        }
        let event = Event::Joined { device: device(id.as_str(), Bytes::mib(mib)), held: holds.iter().cloned().collect(), now: self.now };
        self.apply(event);
    }

    /// The connection of a device ends. Commands on their way are performed or not, and never answered.
    pub(super) fn cut(&mut self, device: usize, performed: bool, event: fn(DeviceId) -> Event) {
        let id = device_id(DEVICES[device]);
        let (ended, open) = std::mem::take(&mut self.open).into_iter().partition(|effect| place(effect).is_some_and(|(offer, _)| offer.device == id));
        self.open = open;
        for effect in ended.iter().filter(|_| performed) {
            self.perform(effect);
        }
        self.apply(event(id));
    }

    pub(super) fn add(&mut self, model: usize, blocks: usize) {
        let blocks = *self.wanted.entry(MODELS[model]).or_insert(blocks);
        self.apply(added(MODELS[model], blocks));
    }

    pub(super) fn remove(&mut self, model: usize) {
        self.wanted.remove(MODELS[model]);
        self.apply(Event::ModelRemoved { model: model_id(MODELS[model]) });
    }

    pub(super) fn wait(&mut self, ms: f64) {
        self.now.0 += ms;
        self.apply(Event::Tick { now: self.now });
    }

    pub(super) fn request(&mut self, model: usize, requests: u32) {
        self.apply(Event::Requested { model: model_id(MODELS[model]), requests, now: self.now });
    }

    pub(super) fn measure(&mut self, device: usize, ms: f64) {
        let shards: Vec<Held> =
            self.cluster.devices().get(&device_id(DEVICES[device])).map(|record| record.shards.keys().cloned().collect()).unwrap_or_default();
        for (accelerator, shard) in shards {
            self.apply(Event::Measured { offer: OfferId { device: device_id(DEVICES[device]), accelerator }, shard, run: Millis(ms), runs: 1 });
        }
    }

    pub(super) fn beat(&mut self, device: usize) {
        self.apply(Event::Heartbeat { device: device_id(DEVICES[device]), pressures: Pressures::default(), now: self.now });
    }

    /// The central starts anew with the plan that was recorded; every connection ends, and models are added one by one.
    pub(super) fn restart(&mut self, performed: bool) {
        for effect in std::mem::take(&mut self.open).iter().filter(|_| performed) {
            self.perform(effect);
        }
        self.cluster = Cluster::with_plan(settings(), self.stored.clone(), BTreeSet::new());
        self.now = Millis(0.0);
    }

    /// Answers one open command or question.
    pub(super) fn answer(&mut self, which: usize, manner: Manner) {
        if self.open.is_empty() {
            return;
        }
        let effect = self.open.swap_remove(which % self.open.len());
        let fails = matches!(manner, Manner::Any(200..));
        let event = match effect.clone() {
            Effect::Solve { ticket, problem } => Event::Solved { ticket, outcome: solution(&problem, manner) },
            Effect::Load { offer, shard } if fails => Event::LoadFailed { offer, shard, reason: "no".into() },
            Effect::Load { offer, shard } => Event::Loaded { offer, shard },
            Effect::Unload { offer, shard } => Event::Unloaded { offer, shard },
            Effect::Review { ticket, .. } => Event::Reviewed { ticket, verdict: verdict(manner) },
            other => unreachable!("{other:?} is not answered"),
        };
        if !matches!(event, Event::LoadFailed { .. }) {
            self.perform(&effect);
        }
        self.apply(event);
    }

    /// Everything comes back, nothing is asked of devices any more, and time passes until all damping is over.
    pub(super) fn calm_down(&mut self) {
        for (model, name) in MODELS.iter().enumerate() {
            if let Some(&blocks) = self.wanted.get(name).filter(|_| !self.cluster.models().contains_key(&model_id(name))) {
                self.add(model, blocks);
            }
        }
        for (index, name) in DEVICES.iter().enumerate() {
            for event in [Event::UncordonAsked { device: device_id(name) }, Event::UndrainAsked { device: device_id(name) }] {
                self.apply(event);
            }
            let memory = self.holds.get(&device_id(name)).map_or(0, |(memory, _)| *memory);
            self.join(index, memory, false);
        }
        for _ in 0..120 {
            while !self.open.is_empty() {
                self.answer(0, Manner::Good(0));
            }
            (0..DEVICES.len()).for_each(|device| self.beat(device));
            self.wait(500.0);
        }
        while !self.open.is_empty() {
            self.answer(0, Manner::Good(0));
        }
    }

    /// Whether every model that could be served is.
    pub(super) fn check_served(&self) {
        assert!(!self.cluster.is_planning() && !self.cluster.is_moving(), "the pool is at rest");
        for name in self.wanted.keys() {
            let problem = self.cluster.problem(&model_id(name)).expect("the model was added");
            let placeable = fill(&problem, 0).is_ok_and(|proposal| problem.check(&proposal).is_ok());
            assert!(!placeable || !served(&self.cluster, name).is_empty(), "{name} is served if it can be: {:?}", self.cluster.plan().plan());
        }
        for name in DEVICES {
            assert_eq!(state(&self.cluster, name), Some(DeviceState::Ready));
        }
    }

    fn perform(&mut self, effect: &Effect) {
        if let Some((offer, shard)) = place(effect) {
            let (_, holds) = self.holds.entry(offer.device).or_default();
            let key = (offer.accelerator, shard);
            if matches!(effect, Effect::Load { .. }) {
                holds.insert(key)
            } else {
                holds.remove(&key)
            };
        }
    }

    fn check_effects(&self, effects: &[Effect]) {
        let mut told = Vec::new();
        for effect in effects {
            let alive = |device: &DeviceId| self.cluster.devices().get(device).is_some_and(DeviceRecord::is_alive);
            assert!(devices_of(effect).iter().all(alive), "{effect:?} names a device that is lost or removed");
            let Some((offer, shard)) = place(effect) else { continue };
            assert!(is_here(&self.cluster, &offer.device), "{effect:?} goes to a device that is away");
            let (memory, holds) = &self.holds[&offer.device];
            let is_held = holds.contains(&(offer.accelerator.clone(), shard.clone()));
            assert_eq!(is_held, matches!(effect, Effect::Unload { .. }), "{effect:?}, but the device holds {holds:?}");
            let asked = self.open.iter().chain(&told).any(|open| place(open).is_some_and(|open| open == (offer.clone(), shard.clone())));
            assert!(!asked, "{effect:?} while the device has not answered what it was told of that shard");
            if matches!(effect, Effect::Load { .. }) {
                let counted: Bytes = self.cluster.devices()[&offer.device].shards.values().map(|held| held.need).sum();
                assert!(counted <= Bytes::mib(*memory), "{effect:?}, then {} has to hold {counted}", offer.device);
            }
            told.push(effect.clone());
        }
    }

    fn check_state(&self) {
        let cluster = &self.cluster;
        assert!(cluster.plan().plan().clone().check(&cluster.capacity()).is_ok(), "the plan in force fits");
        for record in cluster.devices().values().filter(|record| !record.is_alive()) {
            assert!(record.shards.is_empty(), "a lost device holds nothing");
        }
        let topology = cluster.topology();
        let links = topology.links.measured.keys().flat_map(|(source, target)| [source, target]);
        for device in topology.devices.iter().map(|device| &device.id).chain(links) {
            assert!(is_here(cluster, device), "{device} is routed to, but not here");
        }
        for model in &topology.models {
            for segment in &model.segments {
                let key = (segment.offer().accelerator.clone(), ShardId { model: model.id.clone(), range: segment.range() });
                let (_, holds) = &self.holds[&segment.offer().device];
                let known = cluster.devices()[&segment.offer().device].shards.get(&key);
                assert_eq!(known.map(|held| held.state), Some(ShardState::Ready), "only what is ready is served");
                assert!(holds.contains(&key), "only what is held is served");
            }
            let first: Vec<u32> = (0_u32..).zip(&model.segments).filter(|(_, segment)| segment.replica == 0).map(|(index, _)| index).collect();
            assert!(model.check(&first).is_ok(), "what is served is complete");
        }
    }

    /// A model loses its last ready replica only with a device, with its own end, or where memory is too short for both the
    /// old plan and the new one.
    fn check_service(&self, before: &Cluster, effects: &[Effect]) {
        let alive_and_here =
            |cluster: &Cluster| cluster.devices().values().filter(|record| record.is_here()).map(|record| record.device.id.clone()).collect::<BTreeSet<_>>();
        let gone = alive_and_here(before).difference(&alive_and_here(&self.cluster)).next().is_some();
        let short = self.cluster.plan().plan().shards().iter().any(|(offer, shard)| {
            let record = &self.cluster.devices()[&offer.device];
            record.takes_work() && record.shard(offer, shard).is_none()
        });
        if gone || short {
            return;
        }
        for model in &before.topology().models {
            let still = self.cluster.topology().model(&model.id).is_some() || !self.cluster.models().contains_key(&model.id);
            assert!(still, "{} was served and is not any more, by {effects:?}", model.id);
        }
    }
}

/// Short times, so that much happens in few steps.
fn settings() -> ClusterSettings {
    ClusterSettings {
        flaps: FlapSettings { damp: Millis(2_000.0), damp_max: Millis(20_000.0), ..FlapSettings::default() },
        reviews: ReviewSettings {
            interval: Millis(1_000.0),
            cause_min: Millis(200.0),
            pause_min: Millis(500.0),
            pause_max: Millis(4_000.0),
            runs_min: 1,
            ..ReviewSettings::default()
        },
        ..ClusterSettings::default()
    }
}

fn is_here(cluster: &Cluster, device: &DeviceId) -> bool {
    cluster.devices().get(device).is_some_and(DeviceRecord::is_here)
}

/// What a device is told to load or unload.
fn place(effect: &Effect) -> Option<(OfferId, ShardId)> {
    match effect {
        Effect::Load { offer, shard } | Effect::Unload { offer, shard } => Some((offer.clone(), shard.clone())),
        _ => None,
    }
}

fn devices_of(effect: &Effect) -> Vec<DeviceId> {
    match effect {
        Effect::Load { offer, .. } | Effect::Unload { offer, .. } => vec![offer.device.clone()],
        Effect::Review { observation, .. } => observation.problem.devices.iter().map(|device| device.id.clone()).collect(),
        Effect::Solve { problem, .. } => problem.devices.iter().map(|device| device.id.clone()).collect(),
        Effect::Serve { topology } => topology.devices.iter().map(|device| device.id.clone()).collect(),
        Effect::Record { plan, .. } => plan.plan().shards().into_iter().map(|(offer, _)| offer.device).collect(),
        Effect::Drained { device } => vec![device.clone()],
        Effect::Removed { .. } | Effect::Refused { .. } | Effect::Rejected { .. } => vec![],
    }
}

/// What a policy says of a plan in force: another one, with an even number from the test.
fn verdict(manner: Manner) -> Verdict {
    match manner {
        Manner::Good(number) | Manner::Any(number) if number % 2 == 0 => Verdict::Replan("why not".into()),
        _ => Verdict::Keep,
    }
}

/// What a policy answers: a plan in any order of the offers, or in a bad manner a refusal or nonsense.
fn solution(problem: &Problem, manner: Manner) -> Result<Proposal, Refusal> {
    let nonsense = |stages: &[(u32, u32, u32)]| {
        let stages = stages.iter().map(|&(offer, start, end)| ProposedStage { offer, start, end }).collect();
        Ok(Proposal { replicas: vec![stages], bound: 0.0 })
    };
    match manner {
        Manner::Good(shift) | Manner::Any(shift @ 0..180) => fill(problem, usize::from(shift)),
        Manner::Any(180..200) => nonsense(&[(u32::MAX, 0, 1)]),
        Manner::Any(200..220) => nonsense(&[(0, 0, 1), (0, 3, 2)]),
        Manner::Any(220..240) => Ok(Proposal { replicas: vec![], bound: f64::NAN }),
        Manner::Any(240..) => Err(Refusal { reason: "not today".into(), nearest: None, short: Bytes::ZERO }),
    }
}
