//! The central's side of measuring links: asks devices for one link after another, as `host_core::link::Survey` decides, and makes
//! events of the cluster of what they find.

use std::{
    collections::BTreeSet,
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use host_core::{
    cluster::Event,
    ids::DeviceId,
    link::{Endpoint, Link, Reach, Speed, Survey, SurveySettings},
    units::Millis,
};
use host_wire::peer::{LinkMeasured, pb::central_message::Says};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::attending::Attending;
use crate::{
    clock::Clock,
    config::{Leases, LinkMeasuring},
};

/// How long a device may take to answer, in times of one of its echoes; one that follows its own limits is done before.
const ANSWER_ECHOES: u64 = 4;
/// An end that was not reached is asked about again after so many leases.
const DOUBT_LEASES: u64 = 2;
/// The longest that is waited without a look.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Asks for links.
#[derive(Debug)]
pub struct Surveyor {
    survey: Mutex<Survey>,
    /// Somebody came, left or answered.
    changed: Notify,
    attending: Arc<Attending>,
    clock: Clock,
    /// Devices of this process. The ways to them and from them are those to the central and from it.
    own: BTreeSet<DeviceId>,
}

impl Surveyor {
    /// Nobody is there yet. `seed` says which of the many ways to draw moments is taken.
    pub fn new(settings: &LinkMeasuring, leases: &Leases, seed: u64, attending: Arc<Attending>, clock: Clock, own: BTreeSet<DeviceId>) -> Self {
        let ms = |ms: u64| Millis(ms as f64);
        let survey = Survey::new(SurveySettings {
            interval: ms(settings.measure_ms),
            at_once_max: settings.at_once_max,
            pause: ms(settings.pause_ms),
            answer_max: ms(settings.answer_ms_max.saturating_mul(ANSWER_ECHOES)),
            doubt: ms(leases.lost_after_ms.saturating_mul(DOUBT_LEASES)),
            seed,
        });
        Self { survey: Mutex::new(survey), changed: Notify::new(), attending, clock, own }
    }

    /// Asks until the token is cancelled.
    pub async fn work(self: Arc<Self>, closing: CancellationToken) {
        loop {
            let pause = self.ask().map_or(PAUSE_MAX, |moment| self.clock.until(moment).min(PAUSE_MAX));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.changed.notified() => {}
                () = closing.cancelled() => return,
            }
        }
    }

    /// A device attends.
    pub fn joined(&self, device: &DeviceId) {
        self.lock().joined(device, self.clock.millis());
        self.changed.notify_one();
    }

    /// It attends no more.
    pub fn left(&self, device: &DeviceId) {
        self.lock().left(device);
        self.changed.notify_one();
    }

    /// What a device says of one of its links, as events; none if it was not asked, or is not believed yet.
    pub fn heard(&self, source: DeviceId, measured: LinkMeasured) -> Vec<Event> {
        let link = Link { source, target: measured.target };
        let believed = self.lock().heard(&link, measured.reach, self.clock.millis());
        self.changed.notify_one();
        let Some(reach) = believed else { return Vec::new() };
        tracing::debug!(source = %link.source, target = %link.target, ?reach, "a link was measured");
        let source = Endpoint::Device(link.source);
        match (link.target, reach) {
            (target @ Endpoint::Device(_), reach) => vec![Event::LinkMeasured { source, target, reach }],
            (Endpoint::Central, Reach::Direct(speed)) => self.with_central(&source, speed, measured.bytes_per_ms_back),
            // It has said so to the central.
            (Endpoint::Central, Reach::Unreachable) => Vec::new(),
        }
    }

    /// The way of a device to the central, and the way back if that was measured; the same of each device of this process.
    fn with_central(&self, device: &Endpoint, speed: Speed, bytes_per_ms_back: Option<f64>) -> Vec<Event> {
        let ends = iter::once(Endpoint::Central).chain(self.own.iter().cloned().map(Endpoint::Device));
        let back = bytes_per_ms_back.map(|bytes_per_ms| Speed { bytes_per_ms, ..speed });
        let both = |end: Endpoint| {
            let there = Event::LinkMeasured { source: device.clone(), target: end.clone(), reach: Reach::Direct(speed) };
            let back = back.map(|speed| Event::LinkMeasured { source: end, target: device.clone(), reach: Reach::Direct(speed) });
            iter::once(there).chain(back)
        };
        ends.flat_map(both).collect()
    }

    /// Asks for all that may be measured now, and says when there may be more.
    fn ask(&self) -> Option<Millis> {
        let now = self.clock.millis();
        let mut survey = self.lock();
        while let Some(Link { source, target }) = survey.next(now) {
            self.attending.tell(&source, Says::MeasureLink((&target).into()));
        }
        survey.wakes(now)
    }

    fn lock(&self) -> MutexGuard<'_, Survey> {
        // The survey is whole between any two statements.
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, peer::Awaited};

    fn id(name: &str) -> DeviceId {
        DeviceId::parse(name).expect("a name")
    }

    fn surveyor(own: &[&str]) -> Surveyor {
        let config = Config::with_data("/data".into());
        let own = own.iter().map(|name| id(name)).collect();
        let attending = Arc::new(Attending::new(Arc::new(Awaited::new(Duration::ZERO))));
        Surveyor::new(&config.links, &config.leases, 1, attending, Clock::start(), own)
    }

    fn words(events: &[Event]) -> Vec<String> {
        let word = |event: &Event| match event {
            Event::LinkMeasured { source, target, reach: Reach::Direct(speed) } => {
                format!("{source} to {target}: {} ms, {}", speed.latency.0, speed.bytes_per_ms)
            }
            other => format!("{other:?}"),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn the_way_to_the_central_is_that_to_each_device_of_its_process() {
        let surveyor = surveyor(&["local-1"]);
        surveyor.joined(&id("pi"));
        let measured =
            LinkMeasured { target: Endpoint::Central, reach: Reach::Direct(Speed { latency: Millis(2.0), bytes_per_ms: 50.0 }), bytes_per_ms_back: Some(70.0) };
        assert!(surveyor.heard(id("pi"), measured.clone()).is_empty(), "nobody has asked");
        while surveyor.lock().next(Millis(1e6)).is_some() {}
        let expected = ["pi to the central: 2 ms, 50", "the central to pi: 2 ms, 70", "pi to local-1: 2 ms, 50", "local-1 to pi: 2 ms, 70"];
        assert_eq!(words(&surveyor.heard(id("pi"), measured.clone())), expected);
        assert!(surveyor.heard(id("pi"), measured).is_empty(), "one question has one answer");
    }

    #[test]
    fn a_way_between_devices_is_told_as_it_was_found() {
        let surveyor = surveyor(&["local-1"]);
        surveyor.joined(&id("a"));
        surveyor.joined(&id("b"));
        let speed = Speed { latency: Millis(1.0), bytes_per_ms: 9.0 };
        let measured = LinkMeasured { target: Endpoint::Device(id("b")), reach: Reach::Direct(speed), bytes_per_ms_back: None };
        let mut now = Millis::ZERO;
        let told = loop {
            now = now + Millis(500.0);
            assert!(now < Millis(100_000.0), "it is never asked for");
            // Every other question stays without an answer, which gives way to this one in the end.
            let asked = surveyor.lock().next(now);
            if asked.is_some_and(|link| link.source == id("a") && link.target == measured.target) {
                break surveyor.heard(id("a"), measured.clone());
            }
        };
        assert_eq!(words(&told), ["a to b: 1 ms, 9"]);
    }
}
