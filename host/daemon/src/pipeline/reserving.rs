//! Lets requests onto the devices of their ways: beside each other, or alone where a request reserves them. Who gets in and who
//! waits is decided by `host_core::reservations`; this finds the way, and wakes those whose turn it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host_core::{
    reservations::{Access, Arrival, Reservations, Ticket},
    units::Millis,
    ways::Way,
};
use tokio::sync::oneshot;

use crate::{clock::Clock, error::Error, metrics::Metrics, stage_fault::StageFault, telemetry::traces::Trace};

/// The gate before all devices.
#[derive(Debug)]
pub struct Reserving {
    clock: Clock,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reservations: Reservations,
    /// Wakes those who wait.
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A request before the devices of its way.
#[derive(Debug)]
pub struct Arriving<'a> {
    stay: Stay<'a>,
    access: Access,
    since: Millis,
    /// None if it need not wait.
    woken: Option<oneshot::Receiver<()>>,
}

/// The right of a request to use the devices of its way; given back when dropped.
#[derive(Debug)]
pub struct Stay<'a> {
    reserving: &'a Reserving,
    ticket: Ticket,
}

impl Reserving {
    /// Nobody is on any device.
    pub fn new(clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { clock, metrics, state: Mutex::default() }
    }

    /// Takes in a request, with the way that was chosen for it. Where that one leads over a device that a request has reserved or waits
    /// to reserve, the first of the detours that does not is taken instead, if there is one. Dropping what this gives takes it back.
    pub fn arrive(&self, access: Access, chosen: Way, detours: impl FnOnce(&Way) -> Vec<Way>) -> (Way, Arriving<'_>) {
        let since = self.clock.millis();
        let mut state = self.lock();
        let way = state.free_way(chosen, detours);
        let Arrival { ticket, waits } = state.reservations.arrive(access, way.devices.clone());
        let woken = waits.then(|| {
            let (wake, woken) = oneshot::channel();
            state.waiting.insert(ticket, wake);
            woken
        });
        self.note(&state);
        (way, Arriving { stay: Stay { reserving: self, ticket }, access, since, woken })
    }

    /// Requests that have devices to themselves.
    pub fn active(&self) -> usize {
        self.lock().reservations.active()
    }

    fn note(&self, state: &State) {
        self.metrics.reservations(state.reservations.active(), state.reservations.waiting());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Who is where is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free_way(&self, chosen: Way, detours: impl FnOnce(&Way) -> Vec<Way>) -> Way {
        if !self.reservations.is_reserved(&chosen.devices) {
            return chosen;
        }
        let detour = detours(&chosen).into_iter().find(|way| !self.reservations.is_reserved(&way.devices));
        detour.unwrap_or(chosen)
    }
}

impl<'a> Arriving<'a> {
    /// Waits until the request may use its devices, at most until its deadline. Dropping the future gives its place up.
    pub async fn enter(self, deadline: Millis, trace: &Trace) -> Result<Stay<'a>, Error> {
        let Self { stay, access, since, woken } = self;
        let reserving = stay.reserving;
        let waits = woken.is_some();
        let mut is_late = false;
        if let Some(woken) = woken {
            let _span = trace.span("reserve");
            is_late = !matches!(tokio::time::timeout(reserving.clock.until(deadline), woken).await, Ok(Ok(())));
        }
        if waits || access == Access::Exclusive {
            reserving.metrics.reservation_wait(access, reserving.clock.millis() - since);
        }
        if is_late { Err(StageFault::Late { doing: "waiting for its devices" }.into()) } else { Ok(stay) }
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let mut state = self.reserving.lock();
        state.waiting.remove(&self.ticket);
        for ticket in state.reservations.leave(self.ticket) {
            if let Some(wake) = state.waiting.remove(&ticket) {
                // Whoever has just stopped waiting leaves by itself.
                let _ = wake.send(());
            }
        }
        self.reserving.note(&state);
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
        plan::Stage,
        shard::BlockRange,
        topology::{Segment, ServedModel},
        units::Bytes,
    };

    use super::*;

    /// A model of which each device holds the whole.
    fn served(devices: &[&str]) -> ServedModel {
        let range = BlockRange::new(0, 1).expect("not empty");
        let offer = |device: &str| OfferId { device: DeviceId::parse(device).expect("a name"), accelerator: AcceleratorName::parse("cpu").expect("a name") };
        let segment = |(replica, device): (u32, &&str)| Segment {
            stage: Stage { offer: offer(device), range },
            device: replica,
            replica,
            position: 0,
            run: Millis(1.0),
            divisible: false,
        };
        let id = ModelId { name: ModelName::parse("m").expect("a name"), version: 1 };
        ServedModel { id, blocks: 1, borders: vec![Bytes(8)], segments: (0_u32..).zip(devices).map(segment).collect() }
    }

    fn way(index: u32) -> Way {
        let model = served(&["a", "b"]);
        let path = model.check(&[index]).expect("one segment holds the whole");
        Way::of(&model, path)
    }

    fn reserving() -> Reserving {
        Reserving::new(Clock::start(), Arc::new(Metrics::new()))
    }

    fn arrive(reserving: &Reserving, access: Access, index: u32) -> Arriving<'_> {
        reserving.arrive(access, way(index), |_| Vec::new()).1
    }

    async fn enter(arriving: Arriving<'_>, ms: f64) -> Result<Stay<'_>, String> {
        let deadline = arriving.since + Millis(ms);
        arriving.enter(deadline, &Trace::default()).await.map_err(|error| error.to_string())
    }

    const LONG: f64 = 60_000.0;

    #[tokio::test]
    async fn who_waits_gets_in_when_those_before_it_are_gone() {
        let reserving = reserving();
        let before = enter(arrive(&reserving, Access::Shared, 0), LONG).await.expect("nobody is there");
        let alone = arrive(&reserving, Access::Exclusive, 0);
        let after = arrive(&reserving, Access::Shared, 0);
        assert_eq!(reserving.active(), 0);
        drop(before);
        let alone = enter(alone, LONG).await.expect("the one before has gone");
        assert_eq!(reserving.active(), 1);
        drop(alone);
        let _after = enter(after, LONG).await.expect("nobody is there alone");
        assert_eq!(reserving.active(), 0);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so_and_holds_nobody_back() {
        let reserving = reserving();
        let _before = enter(arrive(&reserving, Access::Shared, 0), LONG).await.expect("nobody is there");
        let alone = enter(arrive(&reserving, Access::Exclusive, 0), 1.0).await;
        assert_eq!(alone.expect_err("the first one stays"), "the request ran out of time waiting for its devices");
        let _after = enter(arrive(&reserving, Access::Shared, 0), LONG).await.expect("beside the first one");
    }

    #[tokio::test]
    async fn who_goes_away_while_it_waits_gives_its_place_to_the_next() {
        let reserving = reserving();
        let first = enter(arrive(&reserving, Access::Exclusive, 0), LONG).await.expect("nobody is there");
        let second = arrive(&reserving, Access::Exclusive, 0);
        let third = arrive(&reserving, Access::Exclusive, 0);
        drop(second);
        drop(first);
        let _third = enter(third, LONG).await.expect("both before have gone");
        assert_eq!(reserving.active(), 1);
    }

    #[tokio::test]
    async fn a_way_over_reserved_devices_is_left_for_a_detour_without_any() {
        let reserving = reserving();
        let (first, _first) = reserving.arrive(Access::Exclusive, way(0), |_| unreachable!("nobody has reserved anything"));
        assert_eq!(first, way(0));
        let (second, second_stay) = reserving.arrive(Access::Shared, way(0), |_| vec![way(0), way(1)]);
        assert_eq!(second, way(1));
        let _second = enter(second_stay, LONG).await.expect("nobody is on the detour");
        let (third, _third) = reserving.arrive(Access::Exclusive, way(1), |_| vec![way(0), way(1)]);
        assert_eq!(third, way(1), "nobody reserves it, though somebody is on it");
        let (fourth, _fourth) = reserving.arrive(Access::Shared, way(0), |_| vec![way(0), way(1)]);
        assert_eq!(fourth, way(0), "all are reserved, so it waits where it was sent");
    }
}
