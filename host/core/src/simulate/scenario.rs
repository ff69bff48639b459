//! What is simulated: a fleet with its lines, what happens to it, the models, the requests, and the settings of the host. Made
//! only by `Scenario::new`, which proves that everything can be computed with; nothing behind it checks again.

use std::{collections::BTreeSet, sync::Arc};

use super::traffic::{Arrivals, Traffic};
use crate::{
    cluster::ClusterSettings,
    device::Device,
    error::{Error, Fault},
    ids::SiteName,
    link::Speed,
    model::ModelProfile,
    problem::Placement,
    profile::{Fluctuation, Outages},
    turns::TurnLimits,
    units::{Bytes, Millis},
};

/// Most devices of a fleet.
pub const DEVICES_MAX: usize = 100_000;
/// Most requests of one run; more take more memory than a small machine has.
pub const REQUESTS_MAX: u64 = 100_000_000;
/// The longest time that is simulated: a year.
pub const DURATION_MAX: Millis = Millis(365.0 * 86_400_000.0);

/// A device as it really is, beside what it says of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct FleetDevice {
    /// What it offers. It computes with its first offer; a machine with more accelerators is as many devices.
    pub device: Device,
    /// Its line to the network, as fast in both directions.
    pub network: Speed,
    /// How its speed and its line wander.
    pub fluctuation: Fluctuation,
    /// When it has no connections, counted from the opening of the doors.
    pub outages: Outages,
    /// How it fails by itself.
    pub failures: Option<Failures>,
    /// Whether it is there from the beginning.
    pub present: bool,
}

/// Failures that come by chance: times between them and times of repair are exponential.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Failures {
    /// Mean time from a repair to the next failure.
    pub mean_between: Millis,
    /// Mean time until the device is back.
    pub mean_repair: Millis,
    /// What a failure looks like.
    pub manner: Ending,
}

/// How a device stops to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It says that it leaves.
    Leaves,
    /// Its process ends, and its connections with it.
    Crashes,
    /// It loses its power: nobody hears anything, and its lease runs out.
    Falls,
}

/// What happens to a device at a stated moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is switched on and joins.
    Joins,
    /// It stops to be there.
    Ends(Ending),
    /// Its connections are cut; it goes on computing and keeps what it holds.
    Cut,
    /// It has its connections again.
    Restored,
}

/// One moment of a join and leave trace.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FleetEvent {
    /// Counted from the opening of the doors.
    pub at: Millis,
    /// Index of the device.
    pub device: usize,
    /// What happens.
    pub change: Change,
}

/// A model to serve.
#[derive(Clone, PartialEq, Debug)]
pub struct FleetModel {
    /// Its blocks and what they cost.
    pub profile: Arc<ModelProfile>,
    /// Where it may go.
    pub placement: Placement,
}

/// The ways between sites and within them, beside each device's own line.
#[derive(Clone, PartialEq, Debug)]
pub struct FleetLinks {
    /// Between two devices of one site.
    pub within_site: Speed,
    /// Between two sites without an entry in `pairs`. All that goes from one site to another shares it.
    pub between_sites: Speed,
    /// From the first site to the second and back.
    pub pairs: Vec<(SiteName, SiteName, Speed)>,
    /// The site of the central.
    pub central: SiteName,
    /// The central's line, as fast in both directions.
    pub central_line: Speed,
    /// Policies know the speeds of all pairs of devices, as a host that has measured them does, if there are no more pairs than
    /// this; else they know what a host assumes.
    pub measured_pairs_max: usize,
}

impl Default for FleetLinks {
    fn default() -> Self {
        Self {
            within_site: Speed::FREE,
            between_sites: Speed::BETWEEN_SITES,
            pairs: Vec::new(),
            central: SiteName::parse("default").expect("letters are a name"),
            central_line: Speed::FREE,
            measured_pairs_max: 20_000,
        }
    }
}

/// How long runs of one shard on one device take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RunTimes {
    /// Always what the cost model says, within the device's fluctuation.
    #[default]
    Fixed,
    /// That on average, and exponentially spread: for models whose inputs are of very different sizes.
    Exponential,
}

/// How the host is set up, and how long it is watched.
#[derive(Clone, PartialEq, Debug)]
pub struct SimulationSettings {
    /// The same seed gives the same run.
    pub seed: u64,
    /// Requests that arrive within this time after the doors open are served and not counted.
    pub warm_up: Millis,
    /// How long requests that count arrive after that.
    pub duration: Millis,
    /// The control plane's times and limits.
    pub cluster: ClusterSettings,
    /// Requests that run at once.
    pub running_max: u32,
    /// Requests that wait at once.
    pub waiting_max: u32,
    /// Classes of priority, at least one.
    pub classes: u32,
    /// Runs of one request, the first included.
    pub attempts_max: u32,
    /// How long a request waits for a replica of a model that is about to get one.
    pub replica_wait_max: Millis,
    /// A run is given up, where another replica is ready, once it has taken as many times what was expected of it.
    pub attempt_ratio_max: f64,
    /// No run is given up before that.
    pub attempt_min: Millis,
    /// What the allocation policy takes for an answer.
    pub solve: Millis,
    /// What opening a shard takes once its file is there, in milliseconds for 10^6 bytes of weights.
    pub open_mb_ms: f64,
    /// What a request takes at the door, before it is queued and after it is answered together.
    pub door: Millis,
    /// What handing a row to a stage takes, beside its run and its way.
    pub hop: Millis,
    /// How run times spread.
    pub run_times: RunTimes,
    /// Share by which a device is slower or faster than its calibration says at most; drawn for each.
    pub calibration_error_ratio: f64,
    /// Bytes of files that each device keeps of shards that it does not hold any more.
    pub cache: Bytes,
    /// Whether devices have the files of their first shards in their caches already, as those of a pool have that served before.
    pub is_settled: bool,
    /// The doors open when every model is placed and loaded or refused, and after this time at the latest.
    pub opening_max: Millis,
}

impl SimulationSettings {
    /// Who runs and who waits.
    pub(super) fn turns(&self) -> TurnLimits {
        TurnLimits { running_max: self.running_max, waiting_max: self.waiting_max, classes: self.classes }
    }
}

impl Default for SimulationSettings {
    /// What a host does when nobody says anything.
    fn default() -> Self {
        Self {
            seed: 1,
            warm_up: Millis(10_000.0),
            duration: Millis(60_000.0),
            cluster: ClusterSettings::default(),
            running_max: 64,
            waiting_max: 1024,
            classes: 3,
            attempts_max: 10,
            replica_wait_max: Millis(20_000.0),
            attempt_ratio_max: 20.0,
            attempt_min: Millis(2_000.0),
            solve: Millis(20.0),
            open_mb_ms: 2.0,
            door: Millis(0.3),
            hop: Millis(0.05),
            run_times: RunTimes::Fixed,
            calibration_error_ratio: 0.0,
            cache: Bytes(20 << 30),
            is_settled: false,
            opening_max: Millis(3_600_000.0),
        }
    }
}

/// Everything that a simulation depends on but the policies.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    pub(super) devices: Vec<FleetDevice>,
    pub(super) events: Vec<FleetEvent>,
    pub(super) links: FleetLinks,
    pub(super) models: Vec<FleetModel>,
    pub(super) traffic: Vec<Traffic>,
    pub(super) settings: SimulationSettings,
}

impl Scenario {
    /// Proves that every number is one that can be computed with and that every name names something.
    pub fn new(
        devices: Vec<FleetDevice>,
        events: Vec<FleetEvent>,
        links: FleetLinks,
        models: Vec<FleetModel>,
        traffic: Vec<Traffic>,
        settings: SimulationSettings,
    ) -> Result<Self, Error> {
        let scenario = Self { devices, events, links, models, traffic, settings };
        scenario.check_devices()?;
        scenario.check_links()?;
        scenario.check_settings()?;
        scenario.check_traffic()?;
        Ok(scenario)
    }

    /// The devices, in the order in which they are named.
    pub fn devices(&self) -> &[FleetDevice] {
        &self.devices
    }

    /// The models.
    pub fn models(&self) -> &[FleetModel] {
        &self.models
    }

    /// The settings.
    pub fn settings(&self) -> &SimulationSettings {
        &self.settings
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    fn check_devices(&self) -> Result<(), Error> {
        within("the number of devices", self.devices.len() as f64, 1.0, DEVICES_MAX as f64)?;
        let mut known = BTreeSet::new();
        for FleetDevice { device, network, failures, fluctuation, .. } in &self.devices {
            let id = &device.id;
            if !known.insert(id) {
                return Err(wrong(format!("device {id}"), "there twice".to_owned(), "there once".to_owned()));
            }
            device.check()?;
            within(&format!("the number of offers of {id}"), device.offers.len() as f64, 1.0, 1.0)?;
            check_speed(&format!("the line of {id}"), *network)?;
            within(&format!("the fluctuation of {id}"), fluctuation.ratio, *Fluctuation::RATIO.start(), *Fluctuation::RATIO.end())?;
            within(&format!("the period of the fluctuation of {id}"), fluctuation.period.0, *Fluctuation::PERIOD_MS.start(), *Fluctuation::PERIOD_MS.end())?;
            if let Some(failures) = failures {
                within(&format!("the mean time between failures of {id} in ms"), failures.mean_between.0, 1.0, DURATION_MAX.0 * 100.0)?;
                within(&format!("the mean time to repair of {id} in ms"), failures.mean_repair.0, 1.0, DURATION_MAX.0)?;
            }
        }
        for event in &self.events {
            within("the moment of an event in ms", event.at.0, 0.0, DURATION_MAX.0)?;
            within("the device of an event", event.device as f64, 0.0, self.devices.len() as f64 - 1.0)?;
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), Error> {
        check_speed("the way within a site", self.links.within_site)?;
        check_speed("the way between sites", self.links.between_sites)?;
        check_speed("the line of the central", self.links.central_line)?;
        let sites: BTreeSet<&SiteName> = self.devices.iter().map(|device| &device.device.site).chain([&self.links.central]).collect();
        for (one, other, speed) in &self.links.pairs {
            check_speed(&format!("the way from {one} to {other}"), *speed)?;
            if let Some(unknown) = [one, other].into_iter().find(|site| !sites.contains(*site)) {
                let known = sites.iter().map(|site| site.as_str()).collect::<Vec<_>>().join(", ");
                return Err(wrong("the end of a way between sites".to_owned(), unknown.to_string(), format!("one of {known}")));
            }
        }
        Ok(())
    }

    fn check_settings(&self) -> Result<(), Error> {
        let settings = &self.settings;
        within("the number of models", self.models.len() as f64, 1.0, 1_000.0)?;
        let ids: BTreeSet<_> = self.models.iter().map(|model| model.profile.id()).collect();
        if ids.len() < self.models.len() {
            return Err(wrong("a model".to_owned(), "there twice".to_owned(), "there once".to_owned()));
        }
        let times = [
            ("warm_up", settings.warm_up, 0.0),
            ("duration", settings.duration, 1.0),
            ("lease", settings.cluster.lease, 1.0),
            ("tick", settings.cluster.tick, 1.0),
            ("replica_wait_max", settings.replica_wait_max, 0.0),
            ("attempt_min", settings.attempt_min, 0.0),
            ("solve", settings.solve, 0.0),
            ("door", settings.door, 0.0),
            ("hop", settings.hop, 0.0),
            ("opening_max", settings.opening_max, 1.0),
        ];
        for (name, time, least) in times {
            within(&format!("{name} in ms"), time.0, least, DURATION_MAX.0)?;
        }
        within("open_mb_ms", settings.open_mb_ms, 0.0, 1e6)?;
        within("calibration_error_ratio", settings.calibration_error_ratio, 0.0, 0.9)?;
        within("attempt_ratio_max", settings.attempt_ratio_max, 1.0, 1e9)?;
        for (name, count) in [("running_max", settings.running_max), ("classes", settings.classes), ("attempts_max", settings.attempts_max)] {
            within(name, f64::from(count), 1.0, 1e9)?;
        }
        Ok(())
    }

    fn check_traffic(&self) -> Result<(), Error> {
        let mut expected = 0.0;
        for Traffic { model, class, deadline, exclusive_ratio, arrivals, .. } in &self.traffic {
            within("the model of a traffic", *model as f64, 0.0, self.models.len() as f64 - 1.0)?;
            within("the class of a traffic", f64::from(*class), 0.0, f64::from(self.settings.classes - 1))?;
            within("the deadline of a traffic in ms", deadline.0, 1.0, 86_400_000.0)?;
            within("exclusive_ratio", *exclusive_ratio, 0.0, 1.0)?;
            arrivals.check()?;
            if let Arrivals::Recorded(entries) = arrivals {
                for entry in entries.iter() {
                    within("the model of a recorded request", entry.model as f64, 0.0, self.models.len() as f64 - 1.0)?;
                    within("the class of a recorded request", f64::from(entry.class), 0.0, f64::from(self.settings.classes - 1))?;
                }
            }
            expected += arrivals.expected(self.settings.warm_up + self.settings.duration);
        }
        within("the number of requests", expected, 0.0, REQUESTS_MAX as f64)
    }
}

fn check_speed(what: &str, speed: Speed) -> Result<(), Error> {
    within(&format!("{what}: latency in ms"), speed.latency.0, 0.0, 86_400_000.0)?;
    within(&format!("{what}: bytes per ms"), speed.bytes_per_ms, 1e-3, f64::INFINITY)
}

/// Says what is wrong with a number, if something is.
pub(super) fn within(what: &str, value: f64, least: f64, most: f64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(what.to_owned(), value.to_string(), format!("{least} to {most}")))
}

fn wrong(what: String, value: String, needed: String) -> Error {
    Fault::Scenario { what, value, needed }.into()
}
