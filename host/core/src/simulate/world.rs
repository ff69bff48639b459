//! The simulated world: one thing happens after another. What happens to devices is in `devices`, what the cluster decides is
//! performed in `control`, and requests go their way in `requests`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Policies,
    agenda::{Agenda, Happening},
    availability::Availability,
    changes::Changes,
    draws::{Draws, Purpose},
    network::Network,
    outcome::{DeviceOutcome, ModelOutcome, Outcome},
    pool::{Deeds, Pool},
    requests::Live,
    scenario::Scenario,
    serving::Serving,
    tally::Tally,
    traffic::Stream,
};
use crate::{
    cluster::{Cluster, Event},
    ids::{ModelId, PlanNumber},
    reservations::{Reservations, Ticket},
    turns::Turns,
    units::Millis,
};

/// Everything that there is.
pub(super) struct World<'s, 'p> {
    pub scenario: &'s Scenario,
    pub policies: Policies<'p>,
    pub now: Millis,
    pub agenda: Agenda,
    pub cluster: Cluster,
    /// What the cluster has still to be told of this moment.
    pub inbox: Vec<Event>,
    pub pool: Pool,
    pub network: Network,
    pub serving: Serving,
    pub admission: Turns<u64>,
    /// Requests that came for each model since the last tick.
    pub demand: BTreeMap<ModelId, u32>,
    pub reservations: Reservations,
    /// Who waits for which devices.
    pub reserved: BTreeMap<Ticket, u64>,
    /// Requests that are under way.
    pub live: BTreeMap<u64, Live>,
    /// Of them, those that another topology may help.
    pub hoping: BTreeSet<u64>,
    /// Of them, those whose turn it is now.
    pub turns: VecDeque<u64>,
    pub requests: u64,
    /// Requests by model, as routing policies are told.
    pub ordinals: Vec<u32>,
    pub streams: Vec<Stream>,
    pub request_draws: Vec<Draws>,
    pub routing_draws: Draws,
    pub failure_draws: Vec<Draws>,
    pub tally: Tally,
    pub changes: Changes,
    pub availability: Vec<Availability>,
    /// Devices that are gone without anybody having heard of it.
    pub unheard: BTreeSet<usize>,
    /// When the doors opened.
    pub opened: Option<Millis>,
    /// Whether no more requests come.
    pub closed: bool,
    pub ticked: bool,
    ticks: u64,
    /// What devices had done when the time that counts was over.
    done: Vec<Deeds>,
}

impl<'s, 'p> World<'s, 'p> {
    pub(super) fn new(scenario: &'s Scenario, policies: Policies<'p>) -> Self {
        let seed = scenario.settings.seed;
        let network = Network::new(scenario);
        let ids: Vec<_> = scenario.devices.iter().map(|device| device.device.id.clone()).collect();
        let links = network.known(&ids, scenario.links.measured_pairs_max);
        let draws = |purpose, count: usize| (0..count).map(|which| Draws::new(seed, purpose, which)).collect::<Vec<_>>();
        let arrivals = draws(Purpose::Arrivals, scenario.traffic.len());
        let stream = |(traffic, draws): (&super::Traffic, Draws)| Stream::new(traffic.arrivals.clone(), draws);
        Self {
            scenario,
            policies,
            now: Millis::ZERO,
            agenda: Agenda::default(),
            cluster: Cluster::new(scenario.settings.cluster, PlanNumber(0)).with_links(links),
            inbox: Vec::new(),
            pool: Pool::new(scenario),
            network,
            serving: Serving::default(),
            admission: Turns::new(scenario.settings.turns()),
            demand: BTreeMap::new(),
            reservations: Reservations::default(),
            reserved: BTreeMap::new(),
            live: BTreeMap::new(),
            hoping: BTreeSet::new(),
            turns: VecDeque::new(),
            requests: 0,
            ordinals: vec![0; scenario.models.len()],
            streams: scenario.traffic.iter().zip(arrivals).map(stream).collect(),
            request_draws: draws(Purpose::Requests, scenario.traffic.len()),
            routing_draws: Draws::new(seed, Purpose::Routing, 0),
            failure_draws: draws(Purpose::Failures, scenario.devices.len()),
            tally: Tally::new(scenario),
            changes: Changes::default(),
            availability: vec![Availability::default(); scenario.models.len()],
            unheard: BTreeSet::new(),
            opened: None,
            closed: false,
            ticked: false,
            ticks: 0,
            done: Vec::new(),
        }
    }

    /// Runs until all requests have ended.
    pub(super) fn run(mut self) -> Outcome {
        self.begin();
        self.settle();
        while let Some((at, what)) = self.agenda.pop() {
            self.now = at;
            self.happen(what);
            self.take_turns();
            // The cluster hears at once of all that happens at one moment.
            if self.agenda.next_at().is_none_or(|next| next > at) {
                self.settle();
            }
            if self.closed && self.live.is_empty() {
                break;
            }
        }
        self.outcome()
    }

    fn begin(&mut self) {
        for (index, device) in self.scenario.devices.iter().enumerate() {
            if device.present {
                self.switch_on(index);
            }
        }
        for model in &self.scenario.models {
            self.inbox.push(Event::ModelAdded { profile: model.profile.clone(), placement: model.placement });
        }
        self.agenda.push(self.scenario.settings.cluster.tick, Happening::Tick);
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick => self.tick(),
            Happening::Counting => self.begin_counting(),
            Happening::Closing => self.close(),
            Happening::Arrival { traffic } => self.arrival(traffic),
            Happening::Return { traffic } => self.come_back(traffic),
            Happening::Event { index } => {
                let event = self.scenario.events[index];
                self.change(event.device, event.change);
            }
            Happening::Failure { device } => self.fail_or_repair(device),
            Happening::Outage { device } => self.cut_or_restore(device),
            Happening::Reviewed { ticket, verdict } => self.inbox.push(Event::Reviewed { ticket, verdict }),
            Happening::Solved { ticket, outcome } => self.inbox.push(Event::Solved { ticket, outcome: *outcome }),
            Happening::Loaded { device, session, shard } => self.loaded(device, session, *shard),
            Happening::Unloading { device, session, shard } => self.unload(device, session, *shard),
            Happening::Reached { request, run, position } => self.reached(request, run, position),
            Happening::Computed { device, process } => self.computed(device, process),
            Happening::Answered { request, run } => self.answered(request, run),
            Happening::Deadline { request } => self.out_of_time(request),
            Happening::Overdue { request, run } => self.overdue(request, run),
            Happening::Replay { request, run } => self.replay(request, run),
            Happening::NoReplica { request, run } => self.no_replica(request, run),
        }
    }

    /// Tells the cluster what has happened at this moment, performs what it decides, and opens the doors when all is ready.
    fn settle(&mut self) {
        if !self.inbox.is_empty() {
            let events = std::mem::take(&mut self.inbox);
            for effect in self.cluster.apply_all(events) {
                self.perform(effect);
            }
            self.note_availability();
            self.hope();
            self.take_turns();
        }
        if std::mem::take(&mut self.ticked) {
            self.after_tick();
        }
        if self.opened.is_none() {
            let settled = !self.cluster.is_planning() && !self.cluster.is_moving();
            if settled || self.now >= self.scenario.settings.opening_max {
                self.open();
            }
        }
    }

    /// From here on requests come, and the fleet's trace counts.
    fn open(&mut self) {
        let (settings, now) = (&self.scenario.settings, self.now);
        self.opened = Some(now);
        let from = now + settings.warm_up;
        self.tally.open(from, from + settings.duration);
        // At one moment the counting begins before anything else happens.
        self.agenda.push(from, Happening::Counting);
        self.agenda.push(from + settings.duration, Happening::Closing);
        for (index, event) in self.scenario.events.iter().enumerate() {
            self.agenda.push(now + event.at, Happening::Event { index });
        }
        for device in 0..self.scenario.devices.len() {
            self.await_failure(device);
            self.await_outage(device);
        }
        for traffic in 0..self.scenario.traffic.len() {
            self.await_first(traffic);
        }
    }

    fn tick(&mut self) {
        let interval = self.scenario.settings.cluster.tick;
        self.ticks += 1;
        for index in 0..self.pool.devices.len() {
            let device = &mut self.pool.devices[index];
            if !device.is_connected() {
                continue;
            }
            let (pressures, runs) = device.beat(interval);
            let offer = &device.offer;
            self.inbox.push(Event::Heartbeat { device: offer.device.clone(), pressures, now: self.now });
            self.inbox.extend(runs.into_iter().map(|(shard, run, runs)| Event::Measured { offer: offer.clone(), shard, run, runs }));
        }
        let now = self.now;
        self.inbox.extend(std::mem::take(&mut self.demand).into_iter().map(|(model, requests)| Event::Requested { model, requests, now }));
        self.inbox.push(Event::Tick { now });
        self.ticked = true;
        self.agenda.push(self.now + interval, Happening::Tick);
    }

    fn after_tick(&mut self) {
        let cluster = &self.cluster;
        self.serving.press(|id| cluster.devices().get(id).map(|record| record.pressures));
        // The host closes the connections of those that are lost.
        let lost = |index: &usize| cluster.devices().get(&self.pool.devices[*index].offer.device).is_some_and(|record| !record.is_alive());
        let lost: Vec<usize> = self.unheard.iter().copied().filter(lost).collect();
        for index in lost {
            self.unheard.remove(&index);
            self.pool.devices[index].unheard = false;
            self.changes.cause();
            self.lose_requests(index);
        }
        let connected = self.pool.devices.iter().filter(|device| device.is_connected()).count();
        let replicas: usize = self.scenario.models.iter().map(|model| self.serving.replicas(model.profile.id())).sum();
        let waiting = self.admission.depth();
        if let Some(stretch) = self.tally.stretch(self.now) {
            let whole = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            (stretch.connected, stretch.replicas, stretch.waiting) = (whole(connected), whole(replicas), waiting);
        }
    }

    fn begin_counting(&mut self) {
        self.note_availability();
        self.availability.iter_mut().for_each(Availability::begin);
        for device in &mut self.pool.devices {
            // What a run took before this moment does not count.
            device.deeds = Deeds { busy_ms: -device.at_work(self.now), fetched: device.deeds.fetched, ..Deeds::default() };
            device.since = self.now;
            device.on_since = self.now;
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.note_availability();
        let now = self.now;
        self.availability.iter_mut().for_each(Availability::end);
        let done = |device: &super::pool::SimulatedDevice| {
            let present = if device.is_connected() { (now - device.since).0 } else { 0.0 };
            let on = if device.powered { (now - device.on_since).0 } else { 0.0 };
            Deeds {
                busy_ms: device.deeds.busy_ms + device.at_work(now),
                on_ms: device.deeds.on_ms + on,
                present_ms: device.deeds.present_ms + present,
                ..device.deeds
            }
        };
        self.done = self.pool.devices.iter().map(done).collect();
    }

    fn outcome(mut self) -> Outcome {
        let duration = self.scenario.settings.duration;
        let (requests, classes) = self.tally.requests();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let device = |(device, deeds): (&super::pool::SimulatedDevice, &Deeds)| DeviceOutcome {
            id: device.offer.device.clone(),
            utilisation: share(deeds.busy_ms, deeds.on_ms),
            presence: share(deeds.present_ms, duration.0),
            runs: deeds.runs,
            endings: deeds.endings,
            fetched: deeds.fetched,
        };
        let mut devices: Vec<DeviceOutcome> = self.pool.devices.iter().zip(&self.done).map(device).collect();
        devices.sort_by(|one, other| one.id.cmp(&other.id));
        let model = |(model, availability): (&super::FleetModel, &Availability)| ModelOutcome {
            id: model.profile.id().clone(),
            without_replica: availability.without,
            avoidable: availability.avoidable,
            replicas: share(availability.replica_ms, duration.0),
        };
        Outcome {
            opened: self.opened.unwrap_or_default(),
            duration,
            requests,
            classes,
            throughput_per_s: self.tally.throughput_per_s(),
            replays: self.tally.replays,
            devices,
            models: self.scenario.models.iter().zip(&self.availability).map(model).collect(),
            fetched: self.tally.fetched,
            fetched_from_peers: self.tally.fetched_from_peers,
            activations: self.tally.activations,
            plans: std::mem::take(&mut self.changes.list),
            calls: self.tally.calls,
            stretches: std::mem::take(&mut self.tally.stretches),
            rejected: std::mem::take(&mut self.tally.rejected),
            happenings: self.agenda.count() - self.ticks,
        }
    }
}
