//! One run of a request: routed, let onto its devices, from stage to stage, and back.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    agenda::Happening,
    network::{End, Lane},
    outcome::Failed,
    pool::Job,
    requests::Live,
    serving::Seat,
    tally,
    world::World,
};
use crate::{
    reservations::{Arrival, Ticket},
    topology::{Path, RouteRequest},
    units::{Bytes, Millis},
    ways::Way,
};

/// Ordinals of requests wrap here.
const ORDINAL_MASK: u32 = 0x7fff_ffff;

/// A run that is under way.
#[derive(Debug)]
pub(super) struct Run {
    seats: Vec<Seat>,
    /// The stage that it is at, or on its way to.
    position: usize,
    ticket: Ticket,
    way: Way,
    /// The topology that it was routed by.
    topology: u32,
    /// Whether it takes far longer than was expected.
    pub is_overdue: bool,
}

impl World<'_, '_> {
    /// Routes a request and lets it onto its devices.
    pub(super) fn begin_run(&mut self, request: u64) {
        let Some(live) = self.live.get_mut(&request) else { return };
        live.step += 1;
        live.runs += 1;
        let (model, runs) = (live.model, live.runs);
        self.tally.replays += u64::from(runs > 1);
        let Some(index) = self.serving.model(self.scenario.models[model].profile.id()) else { return };
        let path = match self.route(request, index) {
            Ok(path) => path,
            Err(why) => return self.fail_run(request, why),
        };
        let (Some(live), Some(chosen)) = (self.live.get(&request), self.serving.way(index, path)) else { return };
        let wanted = self.serving.untried(index, &chosen, &live.tried).unwrap_or(chosen);
        let way = self.free_way(index, wanted, live);
        let Arrival { ticket, waits } = self.reservations.arrive(live.access, way.devices.clone());
        let seats = self.serving.seats(index, &way.path);
        // Those who wait for their devices are counted, so that policies see what is before a way.
        for seat in &seats {
            self.serving.count(seat.counter);
            if let Some(device) = self.pool.devices.get_mut(seat.device) {
                device.outstanding_ms += seat.run.0;
            }
        }
        let topology = self.serving.snapshot().topology.number;
        if let Some(live) = self.live.get_mut(&request) {
            live.run = Some(Run { seats, position: 0, ticket, way, topology, is_overdue: false });
        }
        if waits {
            self.reserved.insert(ticket, request);
        } else {
            self.depart(request, index);
        }
    }

    /// Asks the routing policy. Where it fails, the complete replica with the least work on its way is taken.
    fn route(&mut self, request: u64, index: u32) -> Result<Path, Failed> {
        let live = self.live.get(&request).ok_or(Failed::NoReplica)?;
        let ordinal = &mut self.ordinals[live.model];
        let asked = RouteRequest {
            model: index,
            ordinal: *ordinal,
            random: self.routing_draws.uniform(),
            sequence_key: live.sequence,
            input: live.input,
            outstanding: self.serving.outstanding(index),
        };
        *ordinal = ordinal.wrapping_add(1) & ORDINAL_MASK;
        let answer = self.policies.routing.route(self.serving.snapshot(), &asked);
        if let Ok(Err(_)) = answer {
            return Err(Failed::RouteRefused);
        }
        let proved = answer.ok().and_then(Result::ok).and_then(|indexes| self.serving.served(index)?.check(&indexes).ok());
        if proved.is_none() {
            self.tally.calls.strikes += 1;
        }
        proved.or_else(|| self.serving.least_work(index)).ok_or(Failed::NoReplica)
    }

    /// The first of the detours on which nothing is reserved, where the way is.
    fn free_way(&self, index: u32, chosen: Way, live: &Live) -> Way {
        if !self.reservations.is_reserved(&chosen.devices) {
            return chosen;
        }
        let detours = self.serving.detours(index, &chosen, &live.tried);
        detours.into_iter().find(|way| !self.reservations.is_reserved(&way.devices)).unwrap_or(chosen)
    }

    /// Nobody keeps a request from its devices any more.
    fn depart(&mut self, request: u64, index: u32) {
        let Some(Live { run: Some(run), tried, step, runs, input, .. }) = self.live.get_mut(&request) else { return };
        tried.extend(run.way.devices.iter().cloned());
        let devices: BTreeMap<usize, f64> =
            run.seats.iter().filter_map(|seat| Some((seat.device, self.pool.devices.get(seat.device)?.outstanding_ms))).collect();
        let expected = Millis(devices.values().sum()) + self.serving.sending_time(index, &run.way.path, *input);
        let settings = &self.scenario.settings;
        let (step, is_last, input) = (*step, *runs >= settings.attempts_max, *input);
        let first = run.seats.first().map_or(usize::MAX, |seat| seat.device);
        if !is_last {
            let within = (expected.0 * settings.attempt_ratio_max).max(settings.attempt_min.0);
            self.agenda.push(self.now + Millis(within), Happening::Overdue { request, run: step });
        }
        let there = self.pass(End::Central, End::Device(first), input);
        self.agenda.push(there + settings.hop, Happening::Reached { request, run: step, position: 0 });
    }

    /// Sends what goes from one end to another, and says when it is there.
    fn pass(&mut self, source: End, target: End, size: Bytes) -> Millis {
        if source != target && self.tally.counts(self.now) {
            self.tally.activations += size;
        }
        self.network.send(Lane::Activations, source, target, size, self.now)
    }

    pub(super) fn reached(&mut self, request: u64, step: u32, position: usize) {
        let Some(live) = self.live.get_mut(&request).filter(|live| live.step == step) else { return };
        let Some(run) = &mut live.run else { return };
        run.position = position;
        let Some(seat) = run.seats.get(position) else { return };
        let (index, shard, model) = (seat.device, Arc::clone(&seat.shard), live.model);
        let Some(device) = self.pool.devices.get_mut(index) else { return self.fail_run(request, Failed::Attempts) };
        if device.unheard {
            // Whatever is sent there, nobody hears of it for now.
            return;
        }
        if !device.is_connected() || !device.held.contains(shard.as_ref()) {
            return self.fail_run(request, Failed::Attempts);
        }
        let work = self.scenario.models[model].profile.work(shard.range);
        if device.take_in(Job { request, run: step, position, shard, work }) {
            self.compute(index);
        }
    }

    /// Starts the next row on a device that is idle.
    fn compute(&mut self, index: usize) {
        let opened = self.opened.unwrap_or_default();
        let speed = self.scenario.devices[index].fluctuation.speed(self.now - opened);
        let (live, times) = (&self.live, self.scenario.settings.run_times);
        let wanted = |job: &Job| live.get(&job.request).is_some_and(|live| live.step == job.run);
        let device = &mut self.pool.devices[index];
        if let Some(done) = device.start(self.now, speed, times, wanted) {
            self.agenda.push(done, Happening::Computed { device: index, process: device.process });
        }
    }

    pub(super) fn computed(&mut self, index: usize, process: u32) {
        let device = &mut self.pool.devices[index];
        if device.process != process {
            return;
        }
        let job = device.finish(self.now);
        let linked = device.linked;
        self.compute(index);
        let Some(job) = job.filter(|_| linked) else { return };
        let Some(live) = self.live.get_mut(&job.request).filter(|live| live.step == job.run) else { return };
        let Some(run) = &mut live.run else { return };
        let border = run.seats.get(job.position).map_or(Bytes::ZERO, |seat| seat.border);
        let next = run.seats.get(job.position + 1).map(|seat| seat.device);
        let (request, step) = (job.request, job.run);
        match next {
            Some(next) => {
                run.position = job.position + 1;
                let there = self.pass(End::Device(index), End::Device(next), border) + self.scenario.settings.hop;
                self.agenda.push(there, Happening::Reached { request, run: step, position: job.position + 1 });
            }
            None => {
                let there = self.pass(End::Device(index), End::Central, border);
                self.agenda.push(there, Happening::Answered { request, run: step });
            }
        }
    }

    pub(super) fn answered(&mut self, request: u64, step: u32) {
        if self.live.get(&request).is_some_and(|live| live.step == step) {
            self.end(request, tally::End::Served);
        }
    }

    /// Gives a run up that takes far too long, once another replica is ready on which the request was not tried. Where there is none,
    /// a late answer is better than none.
    pub(super) fn overdue(&mut self, request: u64, step: u32) {
        let Some(live) = self.live.get_mut(&request).filter(|live| live.step == step) else { return };
        let Some(run) = &mut live.run else { return };
        run.is_overdue = true;
        let index = self.serving.model(self.scenario.models[live.model].profile.id());
        if index.is_some_and(|index| self.serving.untried(index, &run.way, &live.tried).is_some()) {
            self.fail_run(request, Failed::Attempts);
        } else {
            self.hoping.insert(request);
        }
    }

    /// The connections of a device are gone: what it computed, and what was on its way to it, comes to nothing.
    pub(super) fn lose_requests(&mut self, index: usize) {
        let is_there = |run: &Run| run.seats.get(run.position).is_some_and(|seat| seat.device == index);
        let lost: Vec<u64> = self.live.iter().filter(|(_, live)| live.run.as_ref().is_some_and(is_there)).map(|(request, _)| *request).collect();
        for request in lost {
            // Whoever still waits for its devices is sent elsewhere, too.
            self.fail_run(request, Failed::Attempts);
        }
    }

    /// Takes a request off its devices, and says by which topology it was there. None if it was on none.
    pub(super) fn clear_run(&mut self, request: u64) -> Option<u32> {
        let run = self.live.get_mut(&request)?.run.take()?;
        for seat in &run.seats {
            self.serving.uncount(seat.counter);
            if let Some(device) = self.pool.devices.get_mut(seat.device) {
                device.outstanding_ms = (device.outstanding_ms - seat.run.0).max(0.0);
            }
        }
        self.reserved.remove(&run.ticket);
        for ticket in self.reservations.leave(run.ticket) {
            let Some(next) = self.reserved.remove(&ticket) else { continue };
            let index = self.live.get(&next).and_then(|live| self.serving.model(self.scenario.models[live.model].profile.id()));
            self.depart(next, index.unwrap_or(u32::MAX));
        }
        Some(run.topology)
    }
}
