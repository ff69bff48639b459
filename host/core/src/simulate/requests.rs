//! The life of requests: they come, are queued or turned away, get their turn, run, run again where that failed, and end. One run
//! is in `runs`. What happens and when is what the host's pipeline does.

use std::collections::BTreeSet;

use super::{
    agenda::Happening,
    outcome::{Failed, Shed},
    runs::Run,
    tally::End,
    traffic::{Arrivals, Traffic},
    world::World,
};
use crate::{
    ids::{DeviceId, ModelId},
    line::Place,
    policy::Arrival,
    reservations::Access,
    units::{Bytes, Millis},
};

/// How long a replay waits at most for another topology than the one that failed; each later one twice as long, up to the other.
const REPLAY_PAUSE: Millis = Millis(50.0);
const REPLAY_PAUSE_MAX: Millis = Millis(1_000.0);
/// A client that got no answer asks again no sooner than this.
const RETRY_MIN: Millis = Millis(1.0);

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Live {
    pub traffic: usize,
    /// Index of the model in the fleet.
    pub model: usize,
    pub class: u32,
    pub arrived: Millis,
    pub deadline: Millis,
    pub input: Bytes,
    pub access: Access,
    pub sequence: u32,
    /// Whether it arrived while it counted.
    counts: bool,
    /// Where it waits for its turn.
    place: Option<Place>,
    /// Whether it has had its turn.
    has_turn: bool,
    /// Number of what it does now; what was meant for an earlier one is too late.
    pub step: u32,
    /// Runs, the present one included.
    pub runs: u32,
    /// Devices that it ran on.
    pub tried: BTreeSet<DeviceId>,
    pause: Millis,
    pub waits_for_replica: bool,
    pub run: Option<Run>,
}

impl World<'_, '_> {
    /// Puts down the first request of a traffic, or has its clients ask.
    pub(super) fn await_first(&mut self, traffic: usize) {
        match self.scenario.traffic[traffic].arrivals {
            Arrivals::Closed { clients, .. } => (0..clients).for_each(|_| self.agenda.push(self.now, Happening::Return { traffic })),
            _ => self.await_next(traffic),
        }
    }

    fn await_next(&mut self, traffic: usize) {
        let opened = self.opened.unwrap_or_default();
        if let Some(next) = self.streams[traffic].next(self.now - opened) {
            self.agenda.push(opened + next, Happening::Arrival { traffic });
        }
    }

    pub(super) fn arrival(&mut self, traffic: usize) {
        if self.closed {
            return;
        }
        self.arrive(traffic);
        self.await_next(traffic);
    }

    pub(super) fn come_back(&mut self, traffic: usize) {
        if !self.closed {
            self.arrive(traffic);
        }
    }

    fn arrive(&mut self, traffic: usize) {
        let request = self.requests;
        self.requests += 1;
        let live = self.newcomer(traffic);
        let (class, deadline) = (live.class, live.deadline);
        let expected = self.serving.expected(self.scenario.models[live.model].profile.id());
        if live.counts {
            self.tally.arrived(class, self.now);
        }
        let model = self.scenario.models[live.model].profile.id().clone();
        *self.demand.entry(model).or_default() += 1;
        self.live.insert(request, live);
        let arrival = self.admission.arrival(class, self.now, deadline, expected);
        let rank = match self.rank(&arrival) {
            Ok(rank) => rank,
            Err(why) => return self.end(request, End::Shed(why)),
        };
        if self.admission.begin(class, rank) {
            self.turns.push_back(request);
        } else {
            match self.admission.wait(class, rank, deadline, request) {
                Err(_) => return self.end(request, End::Shed(Shed::Full)),
                Ok(place) => {
                    if let Some(live) = self.live.get_mut(&request) {
                        live.place = Some(place);
                    }
                }
            }
        }
        self.agenda.push(deadline, Happening::Deadline { request });
    }

    fn newcomer(&mut self, traffic: usize) -> Live {
        let Traffic { model, class, deadline, exclusive_ratio, sequences, .. } = self.scenario.traffic[traffic];
        let recorded = self.streams[traffic].recorded();
        let model = recorded.map_or(model, |recorded| recorded.model);
        let draws = &mut self.request_draws[traffic];
        let access = if exclusive_ratio > 0.0 && draws.uniform() < exclusive_ratio { Access::Exclusive } else { Access::Shared };
        // Keys count from 1; `as` stays below `sequences`.
        let sequence = if sequences > 0 { 1 + (draws.uniform() * f64::from(sequences)) as u32 } else { 0 };
        let own = self.scenario.models[model].profile.input();
        Live {
            traffic,
            model,
            class: recorded.map_or(class, |recorded| recorded.class),
            arrived: self.now,
            deadline: self.now + deadline,
            input: recorded.and_then(|recorded| recorded.input).unwrap_or(own),
            access,
            sequence,
            counts: self.tally.counts(self.now),
            place: None,
            has_turn: false,
            step: 0,
            runs: 0,
            tried: BTreeSet::new(),
            pause: REPLAY_PAUSE,
            waits_for_replica: false,
            run: None,
        }
    }

    /// Asks the queueing policy. Where there is none, or it fails, requests go in the order in which they come.
    fn rank(&mut self, arrival: &Arrival) -> Result<f64, Shed> {
        let answer = self.policies.queueing.as_mut().map(|policy| policy.admit(arrival));
        match answer {
            Some(Ok(Ok(rank))) if rank.is_finite() => return Ok(rank),
            Some(Ok(Err(_))) => return Err(Shed::Refused),
            Some(_) => self.tally.calls.strikes += 1,
            None => {}
        }
        // The order of arrival.
        Ok(self.now.0)
    }

    /// Lets everybody go on whose turn it is.
    pub(super) fn take_turns(&mut self) {
        while let Some(request) = self.turns.pop_front() {
            let Some(live) = self.live.get_mut(&request) else { continue };
            (live.place, live.has_turn) = (None, true);
            let (class, waited, counts) = (live.class, self.now - live.arrived, live.counts);
            if counts {
                self.tally.turned(class, waited);
            }
            self.seek(request);
        }
    }

    /// Runs a request, or waits for a replica of a model that is about to get one.
    pub(super) fn seek(&mut self, request: u64) {
        let Some(live) = self.live.get_mut(&request) else { return };
        let id = self.scenario.models[live.model].profile.id();
        live.waits_for_replica = false;
        if self.serving.model(id).is_some() {
            self.hoping.remove(&request);
            return self.begin_run(request);
        }
        if !self.cluster.is_hopeful(id) {
            return self.end(request, End::Failed(Failed::NoReplica));
        }
        live.step += 1;
        live.waits_for_replica = true;
        let run = live.step;
        self.hoping.insert(request);
        self.agenda.push(self.now + self.scenario.settings.replica_wait_max, Happening::NoReplica { request, run });
    }

    /// The cluster has decided something: whoever waits for a replica looks whether it is there, or not to be hoped for any more.
    pub(super) fn hope(&mut self) {
        let waits = |request: &u64| self.live.get(request).is_some_and(|live| live.waits_for_replica);
        let waiting: Vec<u64> = self.hoping.iter().copied().filter(waits).collect();
        for request in waiting {
            let Some(live) = self.live.get(&request) else { continue };
            let id: &ModelId = self.scenario.models[live.model].profile.id();
            if self.serving.model(id).is_some() || !self.cluster.is_hopeful(id) {
                self.seek(request);
            }
        }
    }

    /// Another topology is served: replays need not wait any longer, and runs that are overdue may find another replica.
    pub(super) fn look_again(&mut self) {
        for request in std::mem::take(&mut self.hoping) {
            let Some(live) = self.live.get(&request) else { continue };
            if live.waits_for_replica {
                self.hoping.insert(request);
            } else if let Some(run) = &live.run {
                if run.is_overdue {
                    self.agenda.push(self.now, Happening::Overdue { request, run: live.step });
                }
            } else {
                self.agenda.push(self.now, Happening::Replay { request, run: live.step });
            }
        }
    }

    pub(super) fn no_replica(&mut self, request: u64, run: u32) {
        if self.live.get(&request).is_some_and(|live| live.step == run && live.waits_for_replica) {
            self.end(request, End::Failed(Failed::NoReplica));
        }
    }

    pub(super) fn replay(&mut self, request: u64, run: u32) {
        if self.live.get(&request).is_some_and(|live| live.step == run && live.run.is_none() && !live.waits_for_replica) {
            self.seek(request);
        }
    }

    pub(super) fn out_of_time(&mut self, request: u64) {
        if self.live.contains_key(&request) {
            self.end(request, End::Failed(Failed::Late));
        }
    }

    /// A run came to nothing. Another one follows, after a pause in which there may be news of another way.
    pub(super) fn fail_run(&mut self, request: u64, why: Failed) {
        let topology = self.serving.snapshot().topology.number;
        let ran = self.clear_run(request).unwrap_or(topology);
        let Some(live) = self.live.get_mut(&request) else { return };
        if live.runs >= self.scenario.settings.attempts_max {
            return self.end(request, End::Failed(why));
        }
        live.step += 1;
        let (run, pause) = (live.step, live.pause);
        live.pause = Millis((pause.0 * 2.0).min(REPLAY_PAUSE_MAX.0));
        let wait = if ran == topology { pause } else { Millis::ZERO };
        self.hoping.insert(request);
        self.agenda.push(self.now + wait, Happening::Replay { request, run });
    }

    /// Ends a request, and gives its turn to the next.
    pub(super) fn end(&mut self, request: u64, end: End) {
        self.clear_run(request);
        self.hoping.remove(&request);
        let Some(live) = self.live.remove(&request) else { return };
        if let Some(place) = live.place {
            self.admission.leave(place);
        } else if live.has_turn
            && let Some(next) = self.admission.pass_on(self.now)
        {
            self.turns.push_back(next);
        }
        let door = self.scenario.settings.door;
        let latency = self.now - live.arrived + door;
        if live.counts {
            self.tally.ended(live.class, end, latency, self.now);
        }
        if end == End::Served {
            self.tally.answered(self.now);
        }
        if let Arrivals::Closed { think, .. } = self.scenario.traffic[live.traffic].arrivals
            && !self.closed
        {
            let pause = if end == End::Served { think } else { Millis(think.0.max(RETRY_MIN.0)) };
            self.agenda.push(self.now + door + pause, Happening::Return { traffic: live.traffic });
        }
    }
}
