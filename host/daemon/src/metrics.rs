//! What is counted, under the names that CONVENTIONS give them. Labels come from closed sets or are names of what is
//! installed, never of requests. Knows nothing of who reads it; `api` prints it.

mod drivers;
mod guests;
mod pool;
mod shed;

use std::{collections::BTreeMap, time::Duration};

use host_core::{ids::ModelId, policy::StrikeKind, reservations::Access, units::Millis};
use host_wire::admin::Census;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::error::Error;
use drivers::Drivers;
use guests::Guests;
use pool::Pool;
pub use shed::Shed;

/// The type of what `Metrics::text` gives.
pub const TEXT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a tenth of a millisecond to the longest timeout that people set.
const DURATION_BUCKETS_S: [f64; 18] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 5.0, 15.0, 60.0];
/// From a microsecond to the longest deadline of a plugin's call.
const CALL_BUCKETS_S: [f64; 16] =
    [0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.01, 0.1, 1.0, 5.0, 60.0];

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered.
    Success,
    /// Its own fault.
    Invalid,
    /// Turned away at once, because there is too much to do.
    Shed,
    /// Let in and not answered, because there was too much to do.
    Busy,
    /// Something it needs is not there.
    Unavailable,
    /// A plugin's fault that no built-in made good.
    Plugin,
    /// The host's fault.
    Internal,
    /// Its client went away.
    Cancelled,
}

/// Every family of metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_duration: Family<ModelLabels, Histogram, fn() -> Histogram>,
    stage_duration: Family<StageLabels, Histogram, fn() -> Histogram>,
    queue_depth: Family<QueueLabels, Gauge>,
    requests_running: Gauge,
    queue_wait: Family<WaitLabels, Histogram, fn() -> Histogram>,
    requests_shed: Family<ShedLabels, Counter>,
    reservations_active: Gauge,
    reservations_waiting: Gauge,
    reservation_wait: Family<AccessLabels, Histogram, fn() -> Histogram>,
    models_loaded: Gauge,
    plan_bound_ratio: Family<ModelLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    plugin_calls: Family<CallLabels, Counter>,
    plugin_call_duration: Family<FunctionLabels, Histogram, fn() -> Histogram>,
    plugin_strikes: Family<StrikeLabels, Counter>,
    plugin_fallbacks: Family<SlotLabels, Counter>,
    plugin_generation: Family<SlotLabels, Gauge>,
    swaps: Family<SwapLabels, Counter>,
    swap_duration: Histogram,
    trials: Family<TrialLabels, Counter>,
    resumes: Family<ResumeLabels, Counter>,
    blob_bytes_fetched: Family<SourceLabels, Counter>,
    blob_sources_left: Family<LeftLabels, Counter>,
    pool: Pool,
    drivers: Drivers,
    guests: Guests,
    joins_refused: Family<ReasonLabels, Counter>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    version: String,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ModelLabels {
    model: String,
    version: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StageLabels {
    model: String,
    stage: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabels {
    plugin: String,
    function: &'static str,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct FunctionLabels {
    plugin: String,
    function: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StrikeLabels {
    plugin: String,
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SlotLabels {
    slot: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SwapLabels {
    slot: String,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TrialLabels {
    slot: String,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct LeftLabels {
    source: &'static str,
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct QueueLabels {
    model: String,
    /// As people count priorities: from 1.
    class: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WaitLabels {
    model: String,
    version: String,
    /// As people count priorities: from 1.
    class: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ShedLabels {
    model: String,
    version: String,
    /// As people count priorities: from 1.
    class: u32,
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResumeLabels {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct AccessLabels {
    access: &'static str,
}

/// One request that waits.
#[derive(Debug)]
pub struct Waits(Gauge);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("host"),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_histogram),
            stage_duration: Family::new_with_constructor(request_histogram),
            queue_depth: Family::default(),
            requests_running: Gauge::default(),
            queue_wait: Family::new_with_constructor(request_histogram),
            requests_shed: Family::default(),
            reservations_active: Gauge::default(),
            reservations_waiting: Gauge::default(),
            reservation_wait: Family::new_with_constructor(request_histogram),
            models_loaded: Gauge::default(),
            plan_bound_ratio: Family::default(),
            plugin_calls: Family::default(),
            plugin_call_duration: Family::new_with_constructor(call_histogram),
            plugin_strikes: Family::default(),
            plugin_fallbacks: Family::default(),
            plugin_generation: Family::default(),
            swaps: Family::default(),
            swap_duration: request_histogram(),
            trials: Family::default(),
            resumes: Family::default(),
            blob_bytes_fetched: Family::default(),
            blob_sources_left: Family::default(),
            pool: Pool::default(),
            drivers: Drivers::default(),
            guests: Guests::default(),
            joins_refused: Family::default(),
        };
        metrics.register();
        metrics
    }

    /// Counts a request, once, when it is over. The time of one that was shed says nothing of how long answers take.
    pub fn request(&self, model: &ModelId, outcome: Outcome, took: Duration) {
        let ModelLabels { model, version } = ModelLabels::of(model);
        if outcome != Outcome::Shed {
            self.request_duration.get_or_create(&ModelLabels { model: model.clone(), version: version.clone() }).observe(took.as_secs_f64());
        }
        self.requests.get_or_create(&RequestLabels { model, version, outcome: outcome.word() }).inc();
    }

    /// Notes how long a stage took; `position` counts from 0 within the chain.
    pub fn stage(&self, model: &ModelId, position: u32, took: Duration) {
        self.stage_duration.get_or_create(&StageLabels { model: model.to_string(), stage: position.to_string() }).observe(took.as_secs_f64());
    }

    /// Counts a passage that was stuck before a stage, and went on another way or not.
    pub fn resume(&self, is_taken: bool) {
        self.resumes.get_or_create(&ResumeLabels { outcome: if is_taken { "taken" } else { "none" } }).inc();
    }

    /// Counts one request as waiting, for as long as what this gives lives.
    pub fn waits(&self, model: &ModelId, class: u32) -> Waits {
        let gauge = self.queue_depth.get_or_create(&QueueLabels { model: model.to_string(), class: class + 1 }).clone();
        gauge.inc();
        Waits(gauge)
    }

    /// Notes how many requests have their turn.
    pub fn requests_running(&self, count: u32) {
        self.requests_running.set(count.into());
    }

    /// Notes how long a request waited for the turn that it got; 0 for one that did not have to.
    pub fn queue_wait(&self, model: &ModelId, class: u32, waited: Millis) {
        let ModelLabels { model, version } = ModelLabels::of(model);
        self.queue_wait.get_or_create(&WaitLabels { model, version, class: class + 1 }).observe(waited.0.max(0.0) / 1e3);
    }

    /// Counts a request that got no turn.
    pub fn shed(&self, model: &ModelId, class: u32, why: Shed) {
        let ModelLabels { model, version } = ModelLabels::of(model);
        self.requests_shed.get_or_create(&ShedLabels { model, version, class: class + 1, reason: why.word() }).inc();
    }

    /// Notes how many requests have devices to themselves, and how many wait for devices because of reservations.
    pub fn reservations(&self, active: usize, waiting: usize) {
        self.reservations_active.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.reservations_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Notes how long a request waited for the devices that it reserves, or for those that another one had reserved.
    pub fn reservation_wait(&self, access: Access, waited: Millis) {
        self.reservation_wait.get_or_create(&AccessLabels { access: access.word() }).observe(waited.0.max(0.0) / 1e3);
    }

    /// Notes how many models can be served.
    pub fn models_loaded(&self, count: usize) {
        self.models_loaded.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Notes how near a model's plan is to the best there could be: 1 is there.
    pub fn plan_bound_ratio(&self, model: &ModelId, ratio: f64) {
        self.plan_bound_ratio.get_or_create(&ModelLabels::of(model)).set(ratio);
    }

    /// Counts a call of a plugin. `outcome` is a word from a closed set: `answered`, `refused`, `fell_back`.
    pub fn plugin_call(&self, plugin: &str, function: &'static str, outcome: &'static str, took: Duration) {
        self.plugin_calls.get_or_create(&CallLabels { plugin: plugin.to_owned(), function, outcome }).inc();
        self.plugin_call_duration.get_or_create(&FunctionLabels { plugin: plugin.to_owned(), function }).observe(took.as_secs_f64());
    }

    /// Counts a failure of a plugin in service.
    pub fn strike(&self, plugin: &str, kind: StrikeKind) {
        self.plugin_strikes.get_or_create(&StrikeLabels { plugin: plugin.to_owned(), kind: kind.word() }).inc();
    }

    /// Counts a request that the built-in answered instead.
    pub fn fallback(&self, slot: &str) {
        self.plugin_fallbacks.get_or_create(&SlotLabels { slot: slot.to_owned() }).inc();
    }

    /// Notes what generation a slot has, without counting a swap.
    pub fn generation(&self, slot: &str, generation: u64) {
        self.plugin_generation.get_or_create(&SlotLabels { slot: slot.to_owned() }).set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// Counts a trial that ended. `kind` is `canary`, `shadow` or `probation`, `outcome` is `passed`, `strikes`, `worse` or `stopped`.
    pub fn trial(&self, slot: &str, kind: &'static str, outcome: &'static str) {
        self.trials.get_or_create(&TrialLabels { slot: slot.to_owned(), kind, outcome }).inc();
    }

    /// Counts a host that was not let in. `reason` is a word from a closed set, that of `Unwelcome`.
    pub fn join_refused(&self, reason: &'static str) {
        self.joins_refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a swap. `outcome` is a word from a closed set: `installed`, `chosen`, `promoted`, `rolled_back`,
    /// `strikes`, `worse`, `retried`, `uninstalled`, `disabled`, `restored`.
    pub fn swap(&self, slot: &str, outcome: &'static str, took: Duration) {
        self.swaps.get_or_create(&SwapLabels { slot: slot.to_owned(), outcome }).inc();
        self.swap_duration.observe(took.as_secs_f64());
    }

    /// Counts bytes of blobs that came, as they are when they are unpacked. `source` is `central` or `peer`.
    pub fn blob_fetched(&self, source: &'static str, bytes: u64) {
        self.blob_bytes_fetched.get_or_create(&SourceLabels { source }).inc_by(bytes);
    }

    /// How many bytes of blobs have come from there.
    pub fn blob_bytes(&self, source: &'static str) -> u64 {
        self.blob_bytes_fetched.get_or_create(&SourceLabels { source }).get()
    }

    /// Counts a source of a blob that was left for the next one. `reason` is `mismatch`, `refused` or `unreachable`.
    pub fn blob_source_left(&self, source: &'static str, reason: &'static str) {
        self.blob_sources_left.get_or_create(&LeftLabels { source, reason }).inc();
    }

    /// Notes how the pool is.
    pub fn census(&self, census: Census) {
        self.pool.set(census);
    }

    /// Says where the state of driver processes is read, by engine.
    pub fn read_drivers_from(&self, source: impl Fn() -> Vec<(String, host_driver::DriverState)> + Send + Sync + 'static) {
        self.drivers.read_from(source);
    }

    /// Says where the memory of plugins in service is read, in bytes by name.
    pub fn read_guests_from(&self, source: impl Fn() -> BTreeMap<String, u64> + Send + Sync + 'static) {
        self.guests.read_from(source);
    }

    /// Everything as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("metrics are written to memory, which cannot fail");
        text
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests that are over, by how they ended", self.requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time from the arrival of a request to its answer, without those that were shed",
            self.request_duration.clone(),
        );
        registry.register("stage_duration_seconds", "Time of one stage for one row", self.stage_duration.clone());
        registry.register("queue_depth", "Requests that wait for their turn, by priority", self.queue_depth.clone());
        registry.register("requests_running", "Requests that have their turn", self.requests_running.clone());
        registry.register("queue_wait_seconds", "Time from the arrival of a request to its turn, by priority", self.queue_wait.clone());
        registry.register("requests_shed", "Requests that got no turn, by priority and why", self.requests_shed.clone());
        registry.register("reservations_active", "Requests that have the devices on their way to themselves", self.reservations_active.clone());
        registry.register("reservations_waiting", "Requests that wait for devices because of a reservation", self.reservations_waiting.clone());
        registry.register(
            "reservation_wait_seconds",
            "Time that requests waited for devices: exclusive ones for theirs, shared ones for those that others had reserved",
            self.reservation_wait.clone(),
        );
        registry.register("models_loaded", "Models that can be served now", self.models_loaded.clone());
        registry.register("plan_bound_ratio", "Expected throughput of a model's plan, as a share of what no plan can exceed", self.plan_bound_ratio.clone());
        registry.register("plugin_calls", "Calls of plugins, by how they ended", self.plugin_calls.clone());
        registry.register("plugin_call_duration_seconds", "Time of one call of a plugin", self.plugin_call_duration.clone());
        registry.register("plugin_strikes", "Failures of plugins in service", self.plugin_strikes.clone());
        registry.register("plugin_fallbacks", "Requests that the built-in plugin answered because the one in service failed", self.plugin_fallbacks.clone());
        registry.register("plugin_generation", "Generation of a slot, up by one on each swap", self.plugin_generation.clone());
        registry.register("swaps", "Swaps of plugins, by why they happened", self.swaps.clone());
        registry.register("resumes", "Passages that were stuck before a stage, by whether they went on elsewhere", self.resumes.clone());
        registry.register("plugin_trials", "Canaries, shadows and probations that ended, by how", self.trials.clone());
        registry.register("blob_bytes_fetched", "Bytes of blobs that came from other hosts, as they are unpacked", self.blob_bytes_fetched.clone());
        registry.register("blob_sources_left", "Hosts that were left for the next one while a blob was fetched, by why", self.blob_sources_left.clone());
        registry.register("join_refused", "Hosts that were not let in at a door, by why", self.joins_refused.clone());
        registry.register("swap_duration_seconds", "Time of the swap itself", self.swap_duration.clone());
        registry.register_collector(Box::new(self.pool.clone()));
        registry.register_collector(Box::new(self.drivers.clone()));
        registry.register_collector(Box::new(self.guests.clone()));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Outcome {
    /// What became of a request that was answered with an error.
    pub fn of(error: &Error) -> Self {
        if error.is_shed() { Self::Shed } else { error.kind().into() }
    }

    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Invalid => "invalid",
            Self::Shed => "shed",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Plugin => "plugin",
            Self::Internal => "internal",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<host_core::error::ErrorKind> for Outcome {
    fn from(kind: host_core::error::ErrorKind) -> Self {
        use host_core::error::ErrorKind;
        match kind {
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Plugin => Self::Plugin,
            ErrorKind::Internal => Self::Internal,
        }
    }
}

impl ModelLabels {
    fn of(model: &ModelId) -> Self {
        Self { model: model.name.to_string(), version: model.version.to_string() }
    }
}

fn request_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS_S)
}

fn call_histogram() -> Histogram {
    Histogram::new(CALL_BUCKETS_S)
}

#[cfg(test)]
mod tests {
    use host_core::{ids::ModelName, policy::Refusal, units::Bytes};
    use host_wire::admin::{DeviceCensus, Supply};

    use super::*;
    use crate::stage_fault::StageFault;

    /// One device that is here, and one that is not.
    fn pool() -> Census {
        let device = |id: &str, lease_age_ms| DeviceCensus { id: id.into(), lease_age_ms, ..DeviceCensus::default() };
        Census {
            states: BTreeMap::from([("lost".to_owned(), 1), ("ready".to_owned(), 1)]),
            memory_bytes: Supply { total: 8, reserved: 3, available: 5 },
            gflops: Supply { total: 2.5, reserved: 0.0, available: 2.5 },
            devices: vec![device("a", 250), device("b", 60_000)],
            ..Census::default()
        }
    }

    #[test]
    fn every_family_has_its_name_and_a_help_text() {
        let metrics = Metrics::new();
        let model = ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 };
        metrics.request(&model, Outcome::Success, Duration::from_millis(3));
        metrics.stage(&model, 2, Duration::from_millis(1));
        metrics.plan_bound_ratio(&model, 0.75);
        let _waits = metrics.waits(&model, 1);
        metrics.queue_wait(&model, 1, Millis(2.0));
        [Shed::Refused, Shed::Full, Shed::Late].into_iter().for_each(|why| metrics.shed(&model, 0, why));
        metrics.reservations(2, 3);
        metrics.reservation_wait(Access::Exclusive, Millis(2.0));
        metrics.plugin_call("greedy", "route", "answered", Duration::from_micros(7));
        metrics.strike("greedy", StrikeKind::Late);
        metrics.fallback("routing");
        metrics.generation("routing", 3);
        metrics.swap("routing", "installed", Duration::from_micros(2));
        metrics.blob_fetched("peer", 4_000);
        metrics.blob_source_left("peer", "mismatch");
        assert_eq!((metrics.blob_bytes("peer"), metrics.blob_bytes("central")), (4_000, 0));
        metrics.census(pool());
        metrics.join_refused("silent");
        metrics.read_guests_from(|| BTreeMap::from([("greedy".to_owned(), 1_114_112)]));
        let text = metrics.text();
        for line in [
            "host_requests_total{model=\"digits\",version=\"1\",outcome=\"success\"} 1",
            "host_request_duration_seconds_count{model=\"digits\",version=\"1\"} 1",
            "host_stage_duration_seconds_count{model=\"digits@1\",stage=\"2\"} 1",
            "host_queue_depth{model=\"digits@1\",class=\"2\"} 1",
            "host_queue_wait_seconds_count{model=\"digits\",version=\"1\",class=\"2\"} 1",
            "host_requests_shed_total{model=\"digits\",version=\"1\",class=\"1\",reason=\"refused\"} 1",
            "host_requests_shed_total{model=\"digits\",version=\"1\",class=\"1\",reason=\"full\"} 1",
            "host_requests_shed_total{model=\"digits\",version=\"1\",class=\"1\",reason=\"late\"} 1",
            "host_requests_running 0",
            "host_reservations_active 2",
            "host_reservations_waiting 3",
            "host_reservation_wait_seconds_count{access=\"exclusive\"} 1",
            "host_models_loaded 0",
            "host_plan_bound_ratio{model=\"digits\",version=\"1\"} 0.75",
            "host_plugin_calls_total{plugin=\"greedy\",function=\"route\",outcome=\"answered\"} 1",
            "host_plugin_call_duration_seconds_count{plugin=\"greedy\",function=\"route\"} 1",
            "host_plugin_strikes_total{plugin=\"greedy\",kind=\"late\"} 1",
            "host_plugin_fallbacks_total{slot=\"routing\"} 1",
            "host_plugin_generation{slot=\"routing\"} 3",
            "host_swaps_total{slot=\"routing\",outcome=\"installed\"} 1",
            "host_swap_duration_seconds_count 1",
            "host_blob_bytes_fetched_total{source=\"peer\"} 4000",
            "host_blob_sources_left_total{source=\"peer\",reason=\"mismatch\"} 1",
            "host_devices{state=\"ready\"} 1",
            "host_devices{state=\"lost\"} 1",
            "host_lease_age_seconds{device=\"a\"} 0.25",
            "host_lease_age_seconds{device=\"b\"} 60.0",
            "host_pool_memory_bytes{part=\"reserved\"} 3",
            "host_pool_flops{part=\"available\"} 2500000000.0",
            "host_join_refused_total{reason=\"silent\"} 1",
            "host_plugin_memory_bytes{plugin=\"greedy\"} 1114112",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(text.lines().filter(|line| line.starts_with("# HELP") && line.split(' ').count() > 5).count(), families);
    }

    #[test]
    fn who_was_shed_is_counted_apart_from_how_long_answers_take() {
        let metrics = Metrics::new();
        let model = ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 };
        let refusal = Refusal { reason: "enough".into(), nearest: None, short: Bytes::ZERO };
        let shed = [Error::from(StageFault::Shed { refusal }), Error::from(host_core::error::Error::from(host_core::error::Fault::QueueFull { depth_max: 1 }))];
        shed.iter().for_each(|error| metrics.request(&model, Outcome::of(error), Duration::ZERO));
        let late = Error::from(StageFault::Late { doing: "waiting for its turn" });
        metrics.request(&model, Outcome::of(&late), Duration::from_secs(3));
        let text = metrics.text();
        for line in [
            "host_requests_total{model=\"digits\",version=\"1\",outcome=\"shed\"} 2",
            "host_requests_total{model=\"digits\",version=\"1\",outcome=\"busy\"} 1",
            "host_request_duration_seconds_count{model=\"digits\",version=\"1\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_device_that_is_removed_is_not_counted_any_more() {
        let metrics = Metrics::new();
        assert!(!metrics.text().contains("host_lease_age_seconds"), "there was no census yet");
        metrics.census(pool());
        assert!(metrics.text().contains("host_lease_age_seconds{device=\"b\"}"));
        metrics.census(Census { devices: pool().devices.split_off(1), ..pool() });
        assert!(!metrics.text().contains("device=\"a\"") && metrics.text().contains("host_lease_age_seconds{device=\"b\"}"));
    }
}
