//! The table of settings: one row for each, with how it is read and how it is shown. File, environment and flags all go
//! through it, so that a value means the same wherever it comes from.

use std::{ops::RangeInclusive, path::PathBuf, str::FromStr};

use host_core::ids::DeviceId;
use host_wire::join::JoinToken;
use serde_json::{Value, json};

use super::{
    Config, DAY_MS, LogFormat, Origin, Resolved, TOKEN_TTL_MS, conversion, engines, local_device, routing,
    structures::{allow_unsigned, keys, log_format, registries, slots},
};
use crate::{peer::ECHO_BYTES_MAX, pki::Subject};

pub(super) const MINUTE_MS: u64 = 60_000;
const GIB: u64 = 1 << 30;
/// Where a host is, as settings write it.
const HOST_ADDRESS: &str = "a name or address with a port, such as shed.local:23457";
/// The same of a central.
const CENTRAL_ADDRESS: &str = "a name or address with a port, such as shed.local:23457, or auto to look for it on the local network";
/// A guest's stack lies on that of the thread that calls, and those of the host have 2 MiB.
const STACK_BYTES_MAX: u64 = 1 << 20;

/// One thing that can be set.
pub(super) struct Setting {
    /// Its path in the file; `HOST_` and the path in capitals is its variable.
    pub key: &'static str,
    /// Takes a value or says what it must be.
    pub set: fn(&mut Config, &Value) -> Result<(), String>,
    pub(super) get: fn(&Config) -> Value,
}

/// Settings whose values are not repeated, neither by `config show` nor in a fault.
pub(super) const SECRET: [&str; 2] = ["join.token", "plugin_fetch.registries"];
/// What is printed instead.
pub(super) const NOT_SHOWN: &str = "not shown";

/// Every setting, in the order in which `config show` prints them.
static SETTINGS: &[Setting] = &[
    Setting { key: "data", set: |c, v| path(&mut c.data, v), get: |c| json!(c.data) },
    Setting { key: "models", set: |c, v| path(&mut c.models, v), get: |c| json!(c.models) },
    Setting { key: "plugins", set: |c, v| path(c.plugins.get_or_insert_default(), v), get: |c| json!(c.plugins) },
    Setting { key: "insecure", set: |c, v| parsed(&mut c.insecure, v, "true or false"), get: |c| json!(c.insecure) },
    Setting { key: "drain_ms_max", set: |c, v| number(&mut c.drain_ms_max, v, 0..=60 * MINUTE_MS), get: |c| json!(c.drain_ms_max) },
    Setting { key: "calibration_ms", set: |c, v| number(&mut c.calibration_ms, v, 10..=MINUTE_MS), get: |c| json!(c.calibration_ms) },
    Setting {
        key: "http.address",
        set: |c, v| parsed(&mut c.http.address, v, "an address such as 127.0.0.1:8000"),
        get: |c| json!(c.http.address.to_string()),
    },
    Setting { key: "http.body_bytes_max", set: |c, v| number(&mut c.http.body_bytes_max, v, 1024..=64 * GIB), get: |c| json!(c.http.body_bytes_max) },
    Setting { key: "requests.timeout_ms", set: |c, v| number(&mut c.requests.timeout_ms, v, 1..=24 * 60 * MINUTE_MS), get: |c| json!(c.requests.timeout_ms) },
    Setting { key: "requests.running_max", set: |c, v| number(&mut c.requests.running_max, v, 1..=100_000), get: |c| json!(c.requests.running_max) },
    Setting {
        key: "requests.replica_wait_ms_max",
        set: |c, v| number(&mut c.requests.replica_wait_ms_max, v, 0..=60 * MINUTE_MS),
        get: |c| json!(c.requests.replica_wait_ms_max),
    },
    Setting {
        key: "requests.attempt_ratio_max",
        set: |c, v| ratio(&mut c.requests.attempt_ratio_max, v, 1.0..=1_000_000.0),
        get: |c| json!(c.requests.attempt_ratio_max),
    },
    Setting {
        key: "requests.attempt_ms_min",
        set: |c, v| number(&mut c.requests.attempt_ms_min, v, 1..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.requests.attempt_ms_min),
    },
    Setting {
        key: "requests.exclusive_ms_max",
        set: |c, v| number(&mut c.requests.exclusive_ms_max, v, 1..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.requests.exclusive_ms_max),
    },
    Setting { key: "requests.attempts_max", set: |c, v| number(&mut c.requests.attempts_max, v, 1..=100), get: |c| json!(c.requests.attempts_max) },
    Setting { key: "requests.stage_jobs_max", set: |c, v| number(&mut c.requests.stage_jobs_max, v, 1..=1_000_000), get: |c| json!(c.requests.stage_jobs_max) },
    Setting {
        key: "requests.queue_depth_max",
        set: |c, v| number(&mut c.requests.queue_depth_max, v, 1..=1_000_000),
        get: |c| json!(c.requests.queue_depth_max),
    },
    Setting { key: "requests.priority_levels", set: |c, v| number(&mut c.requests.priority_levels, v, 1..=64), get: |c| json!(c.requests.priority_levels) },
    Setting { key: "requests.priority_default", set: |c, v| number(&mut c.requests.priority_default, v, 1..=64), get: |c| json!(c.requests.priority_default) },
    Setting {
        key: "requests.retry_after_ms_max",
        set: |c, v| number(&mut c.requests.retry_after_ms_max, v, 1_000..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.requests.retry_after_ms_max),
    },
    Setting { key: "requests.image_pixels_max", set: |c, v| number(&mut c.requests.image_pixels_max, v, 1..=GIB), get: |c| json!(c.requests.image_pixels_max) },
    Setting { key: "local_devices", set: |c, v| local_device::read(&mut c.local_devices, v), get: |c| json!(c.local_devices) },
    Setting { key: "profile", set: |c, v| path(c.profile.get_or_insert_default(), v), get: |c| json!(c.profile) },
    Setting { key: "profile_time_ratio", set: |c, v| ratio(&mut c.profile_time_ratio, v, 1.0..=10_000.0), get: |c| json!(c.profile_time_ratio) },
    Setting { key: "slots", set: |c, v| slots(&mut c.slots, v), get: |c| json!(c.slots) },
    Setting { key: "routing", set: |c, v| routing::policy(&mut c.routing.default, v), get: |c| json!(c.routing.default) },
    Setting { key: "routing_models", set: |c, v| routing::by_model(&mut c.routing.models, v), get: |c| json!(c.routing.models) },
    Setting { key: "routing_requests", set: |c, v| routing::allowed(&mut c.routing.requests, v), get: |c| c.routing.requests.shown() },
    Setting {
        key: "plugin_limits.component_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.component_bytes_max, v, 1024..=GIB),
        get: |c| json!(c.plugin_limits.guest.component_bytes_max),
    },
    Setting {
        key: "plugin_limits.memory_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.memory_bytes_max, v, 65_536..=4 * GIB),
        get: |c| json!(c.plugin_limits.guest.memory_bytes_max),
    },
    Setting {
        key: "plugin_limits.memory_bytes_granted_max",
        set: |c, v| number(&mut c.plugin_limits.guest.memory_bytes_granted_max, v, 65_536..=4 * GIB),
        get: |c| json!(c.plugin_limits.guest.memory_bytes_granted_max),
    },
    Setting {
        key: "plugin_limits.call_ms_granted_max",
        set: |c, v| number(&mut c.plugin_limits.guest.call_ms_granted_max, v, 1..=60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.call_ms_granted_max),
    },
    Setting {
        key: "plugin_limits.instances_granted_max",
        set: |c, v| number(&mut c.plugin_limits.guest.instances_granted_max, v, 1..=256),
        get: |c| json!(c.plugin_limits.guest.instances_granted_max),
    },
    Setting {
        key: "plugin_limits.parts_max",
        set: |c, v| number(&mut c.plugin_limits.guest.parts_max, v, 8..=1_000),
        get: |c| json!(c.plugin_limits.guest.parts_max),
    },
    Setting {
        key: "plugin_limits.table_elements_max",
        set: |c, v| number(&mut c.plugin_limits.guest.table_elements_max, v, 1_000..=10_000_000),
        get: |c| json!(c.plugin_limits.guest.table_elements_max),
    },
    Setting {
        key: "plugin_limits.stack_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.stack_bytes_max, v, 65_536..=STACK_BYTES_MAX),
        get: |c| json!(c.plugin_limits.guest.stack_bytes_max),
    },
    Setting {
        key: "plugin_limits.returned_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.returned_bytes_max, v, 1024..=GIB),
        get: |c| json!(c.plugin_limits.guest.returned_bytes_max),
    },
    Setting {
        key: "plugin_limits.allocation_returned_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.allocation_returned_bytes_max, v, 1024..=GIB),
        get: |c| json!(c.plugin_limits.guest.allocation_returned_bytes_max),
    },
    Setting {
        key: "plugin_limits.operation_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.operation_bytes_max, v, 1024..=64 * GIB),
        get: |c| json!(c.plugin_limits.guest.operation_bytes_max),
    },
    Setting {
        key: "plugin_limits.log_lines_max",
        set: |c, v| number(&mut c.plugin_limits.guest.log_lines_max, v, 0..=10_000),
        get: |c| json!(c.plugin_limits.guest.log_lines_max),
    },
    Setting {
        key: "plugin_limits.log_line_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.guest.log_line_bytes_max, v, 64..=65_536),
        get: |c| json!(c.plugin_limits.guest.log_line_bytes_max),
    },
    Setting {
        key: "plugin_limits.log_lines_per_second_max",
        set: |c, v| number(&mut c.plugin_limits.guest.log_lines_per_second_max, v, 0..=1_000_000),
        get: |c| json!(c.plugin_limits.guest.log_lines_per_second_max),
    },
    Setting {
        key: "plugin_limits.tensors_max",
        set: |c, v| number(&mut c.plugin_limits.guest.tensors_max, v, 16..=1_000_000),
        get: |c| json!(c.plugin_limits.guest.tensors_max),
    },
    Setting {
        key: "plugin_limits.graphs_max",
        set: |c, v| number(&mut c.plugin_limits.guest.graphs_max, v, 1..=1_000),
        get: |c| json!(c.plugin_limits.guest.graphs_max),
    },
    Setting {
        key: "plugin_limits.warm_instances",
        set: |c, v| number(&mut c.plugin_limits.guest.warm_instances, v, 1..=256),
        get: |c| json!(c.plugin_limits.guest.warm_instances),
    },
    Setting {
        key: "plugin_limits.instances_max",
        set: |c, v| number(&mut c.plugin_limits.guest.instances_max, v, 1..=10_000),
        get: |c| json!(c.plugin_limits.guest.instances_max),
    },
    Setting {
        key: "plugin_limits.configure_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.configure_ms_max, v, 1..=10 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.deadlines.configure_ms_max),
    },
    Setting {
        key: "plugin_limits.allocate_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.allocate_ms_max, v, 1..=10 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.deadlines.allocate_ms_max),
    },
    Setting {
        key: "plugin_limits.review_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.review_ms_max, v, 1..=10 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.deadlines.review_ms_max),
    },
    Setting {
        key: "plugin_limits.set_topology_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.set_topology_ms_max, v, 1..=10_000),
        get: |c| json!(c.plugin_limits.guest.deadlines.set_topology_ms_max),
    },
    Setting {
        key: "plugin_limits.set_pressure_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.set_pressure_ms_max, v, 1..=10_000),
        get: |c| json!(c.plugin_limits.guest.deadlines.set_pressure_ms_max),
    },
    Setting {
        key: "plugin_limits.route_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.route_ms_max, v, 1..=10_000),
        get: |c| json!(c.plugin_limits.guest.deadlines.route_ms_max),
    },
    Setting {
        key: "plugin_limits.admit_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.admit_ms_max, v, 1..=10_000),
        get: |c| json!(c.plugin_limits.guest.deadlines.admit_ms_max),
    },
    Setting {
        key: "plugin_limits.probe_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.probe_ms_max, v, 1..=60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.deadlines.probe_ms_max),
    },
    Setting {
        key: "plugin_limits.load_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.load_ms_max, v, 1..=60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.deadlines.load_ms_max),
    },
    Setting {
        key: "plugin_limits.run_ms_max",
        set: |c, v| number(&mut c.plugin_limits.guest.deadlines.run_ms_max, v, 1..=60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.guest.deadlines.run_ms_max),
    },
    Setting {
        key: "plugin_limits.strikes_max",
        set: |c, v| number(&mut c.plugin_limits.strikes_max, v, 1..=1_000),
        get: |c| json!(c.plugin_limits.strikes_max),
    },
    Setting {
        key: "plugin_limits.strike_window_ms",
        set: |c, v| number(&mut c.plugin_limits.strike_window_ms, v, 1..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.strike_window_ms),
    },
    Setting {
        key: "plugin_limits.retry_first_ms",
        set: |c, v| number(&mut c.plugin_limits.retry_first_ms, v, 1..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.retry_first_ms),
    },
    Setting {
        key: "plugin_limits.retry_ms_max",
        set: |c, v| number(&mut c.plugin_limits.retry_ms_max, v, 1..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.retry_ms_max),
    },
    Setting {
        key: "plugin_limits.compile_ms_max",
        set: |c, v| number(&mut c.plugin_limits.compile_ms_max, v, 100..=60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.compile_ms_max),
    },
    Setting {
        key: "plugin_limits.compile_memory_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.compile_memory_bytes_max, v, 64 << 20..=1024 * GIB),
        get: |c| json!(c.plugin_limits.compile_memory_bytes_max),
    },
    Setting {
        key: "plugin_limits.probation_questions",
        set: |c, v| number(&mut c.plugin_limits.probation_questions, v, 0..=1_000_000),
        get: |c| json!(c.plugin_limits.probation_questions),
    },
    Setting {
        key: "plugin_limits.cost_ratio_max",
        set: |c, v| ratio(&mut c.plugin_limits.cost_ratio_max, v, 1.0..=1_000_000.0),
        get: |c| json!(c.plugin_limits.cost_ratio_max),
    },
    Setting {
        key: "plugin_limits.log_lines_kept_max",
        set: |c, v| number(&mut c.plugin_limits.log_lines_kept_max, v, 1..=1_000_000),
        get: |c| json!(c.plugin_limits.log_lines_kept_max),
    },
    Setting {
        key: "plugin_limits.audit_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.audit_bytes_max, v, 4096..=1024 * GIB),
        get: |c| json!(c.plugin_limits.audit_bytes_max),
    },
    Setting {
        key: "plugin_limits.rehearsed_problems_max",
        set: |c, v| number(&mut c.plugin_limits.rehearsed_problems_max, v, 0..=10_000),
        get: |c| json!(c.plugin_limits.rehearsed_problems_max),
    },
    Setting {
        key: "plugin_limits.brief_rehearsal_questions_max",
        set: |c, v| number(&mut c.plugin_limits.brief_rehearsal_questions_max, v, 0..=10_000),
        get: |c| json!(c.plugin_limits.brief_rehearsal_questions_max),
    },
    Setting {
        key: "plugin_limits.brief_rehearsal_ms_max",
        set: |c, v| number(&mut c.plugin_limits.brief_rehearsal_ms_max, v, 0..=MINUTE_MS),
        get: |c| json!(c.plugin_limits.brief_rehearsal_ms_max),
    },
    Setting {
        key: "plugin_limits.spare_plugins_max",
        set: |c, v| number(&mut c.plugin_limits.spare_plugins_max, v, 0..=64),
        get: |c| json!(c.plugin_limits.spare_plugins_max),
    },
    Setting {
        key: "plugin_limits.spare_memory_bytes_max",
        set: |c, v| number(&mut c.plugin_limits.spare_memory_bytes_max, v, 0..=1024 * GIB),
        get: |c| json!(c.plugin_limits.spare_memory_bytes_max),
    },
    Setting {
        key: "plugin_limits.spare_ms_max",
        set: |c, v| number(&mut c.plugin_limits.spare_ms_max, v, 0..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.plugin_limits.spare_ms_max),
    },
    Setting { key: "plugin_trust.keys", set: |c, v| keys(&mut c.plugin_trust.keys, v), get: |c| json!(c.plugin_trust.keys) },
    Setting {
        key: "plugin_trust.allow_unsigned",
        set: |c, v| allow_unsigned(&mut c.plugin_trust.allow_unsigned, v),
        get: |c| json!(c.plugin_trust.allow_unsigned.word()),
    },
    Setting {
        key: "plugin_fetch.fetch_ms_max",
        set: |c, v| number(&mut c.plugin_fetch.fetch_ms_max, v, 100..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.plugin_fetch.fetch_ms_max),
    },
    Setting { key: "plugin_fetch.ca_file", set: |c, v| path(c.plugin_fetch.ca_file.get_or_insert_default(), v), get: |c| json!(c.plugin_fetch.ca_file) },
    Setting { key: "plugin_fetch.registries", set: |c, v| registries(&mut c.plugin_fetch.registries, v), get: |c| json!(c.plugin_fetch.registries) },
    Setting { key: "record", set: |c, v| path(c.recording.file.get_or_insert_default(), v), get: |c| json!(c.recording.file) },
    Setting { key: "record_bytes_max", set: |c, v| number(&mut c.recording.bytes_max, v, 1024..=1024 * GIB), get: |c| json!(c.recording.bytes_max) },
    Setting { key: "record_waiting_max", set: |c, v| number(&mut c.recording.waiting_max, v, 1..=1_000_000), get: |c| json!(c.recording.waiting_max) },
    Setting {
        key: "join.address",
        set: |c, v| given(&mut c.join.address, v, "an address such as 127.0.0.1:23457"),
        get: |c| json!(c.join.address.map(|address| address.to_string())),
    },
    Setting { key: "join.token_ttl_ms", set: |c, v| number(&mut c.join.token_ttl_ms, v, TOKEN_TTL_MS), get: |c| json!(c.join.token_ttl_ms) },
    Setting { key: "join.certificate_ms", set: |c, v| number(&mut c.join.certificate_ms, v, 5_000..=3_650 * DAY_MS), get: |c| json!(c.join.certificate_ms) },
    Setting { key: "join.handshake_ms_max", set: |c, v| number(&mut c.join.handshake_ms_max, v, 100..=MINUTE_MS), get: |c| json!(c.join.handshake_ms_max) },
    Setting { key: "join.connections_max", set: |c, v| number(&mut c.join.connections_max, v, 1..=1_000_000), get: |c| json!(c.join.connections_max) },
    Setting { key: "join.handshakes_max", set: |c, v| number(&mut c.join.handshakes_max, v, 1..=1_000_000), get: |c| json!(c.join.handshakes_max) },
    Setting { key: "join.enrol_ms_max", set: |c, v| number(&mut c.join.enrol_ms_max, v, 100..=10 * MINUTE_MS), get: |c| json!(c.join.enrol_ms_max) },
    Setting {
        key: "join.device_memory_bytes_max",
        set: |c, v| number(&mut c.join.device_memory_bytes_max, v, 1 << 20..=1 << 60),
        get: |c| json!(c.join.device_memory_bytes_max),
    },
    Setting { key: "join.id_taken_ms_max", set: |c, v| number(&mut c.join.id_taken_ms_max, v, 0..=60 * MINUTE_MS), get: |c| json!(c.join.id_taken_ms_max) },
    Setting { key: "join.announce", set: |c, v| parsed(&mut c.join.announce, v, "true or false"), get: |c| json!(c.join.announce) },
    Setting { key: "join.search_after_ms", set: |c, v| number(&mut c.join.search_after_ms, v, 100..=60 * MINUTE_MS), get: |c| json!(c.join.search_after_ms) },
    Setting { key: "join.discover_ms_max", set: |c, v| number(&mut c.join.discover_ms_max, v, 100..=10 * MINUTE_MS), get: |c| json!(c.join.discover_ms_max) },
    Setting {
        key: "join.discover_interface",
        set: |c, v| given(&mut c.join.discover_interface, v, "the name or address of a network interface, such as eth0"),
        get: |c| json!(c.join.discover_interface),
    },
    Setting {
        key: "join.central",
        set: |c, v| given(&mut c.join.central, v, CENTRAL_ADDRESS),
        get: |c| json!(c.join.central.as_ref().map(ToString::to_string)),
    },
    Setting { key: "join.token", set: |c, v| join_token(&mut c.join.token, v), get: |c| json!(c.join.token.as_ref().map(|_| NOT_SHOWN)) },
    Setting { key: "join.device_id", set: |c, v| device_id(&mut c.join.device_id, v), get: |c| json!(c.join.device_id.as_ref().map(ToString::to_string)) },
    Setting {
        key: "join.advertise",
        set: |c, v| given(&mut c.join.advertise, v, HOST_ADDRESS),
        get: |c| json!(c.join.advertise.as_ref().map(ToString::to_string)),
    },
    Setting { key: "leases.heartbeat_ms", set: |c, v| number(&mut c.leases.heartbeat_ms, v, 10..=MINUTE_MS), get: |c| json!(c.leases.heartbeat_ms) },
    Setting { key: "leases.lost_after_ms", set: |c, v| number(&mut c.leases.lost_after_ms, v, 30..=60 * MINUTE_MS), get: |c| json!(c.leases.lost_after_ms) },
    Setting { key: "leases.flaps_max", set: |c, v| number(&mut c.leases.flaps_max, v, 1..=1_000_000), get: |c| json!(c.leases.flaps_max) },
    Setting {
        key: "leases.flap_window_ms",
        set: |c, v| number(&mut c.leases.flap_window_ms, v, 1..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.leases.flap_window_ms),
    },
    Setting { key: "leases.damp_ms", set: |c, v| number(&mut c.leases.damp_ms, v, 1..=24 * 60 * MINUTE_MS), get: |c| json!(c.leases.damp_ms) },
    Setting { key: "leases.damp_ms_max", set: |c, v| number(&mut c.leases.damp_ms_max, v, 1..=24 * 60 * MINUTE_MS), get: |c| json!(c.leases.damp_ms_max) },
    Setting { key: "review.interval_ms", set: |c, v| number(&mut c.review.interval_ms, v, 100..=365 * DAY_MS), get: |c| json!(c.review.interval_ms) },
    Setting { key: "review.cause_ms_min", set: |c, v| number(&mut c.review.cause_ms_min, v, 100..=DAY_MS), get: |c| json!(c.review.cause_ms_min) },
    Setting { key: "review.pause_ms_min", set: |c, v| number(&mut c.review.pause_ms_min, v, 100..=365 * DAY_MS), get: |c| json!(c.review.pause_ms_min) },
    Setting { key: "review.pause_ms_max", set: |c, v| number(&mut c.review.pause_ms_max, v, 100..=365 * DAY_MS), get: |c| json!(c.review.pause_ms_max) },
    Setting { key: "review.drift_ratio", set: |c, v| ratio(&mut c.review.drift_ratio, v, 0.01..=1_000.0), get: |c| json!(c.review.drift_ratio) },
    Setting { key: "review.runs_min", set: |c, v| number(&mut c.review.runs_min, v, 1..=1_000_000), get: |c| json!(c.review.runs_min) },
    Setting {
        key: "review.rebalance_threshold",
        set: |c, v| ratio(&mut c.review.rebalance_threshold, v, 0.01..=1.0),
        get: |c| json!(c.review.rebalance_threshold),
    },
    Setting { key: "review.memory_ms", set: |c, v| number(&mut c.review.memory_ms, v, 100..=DAY_MS), get: |c| json!(c.review.memory_ms) },
    Setting { key: "links.measure_ms", set: |c, v| number(&mut c.links.measure_ms, v, 100..=DAY_MS), get: |c| json!(c.links.measure_ms) },
    Setting { key: "links.at_once_max", set: |c, v| number(&mut c.links.at_once_max, v, 1..=1_000), get: |c| json!(c.links.at_once_max) },
    Setting { key: "links.pause_ms", set: |c, v| number(&mut c.links.pause_ms, v, 0..=MINUTE_MS), get: |c| json!(c.links.pause_ms) },
    Setting { key: "links.echo_ms", set: |c, v| number(&mut c.links.echo_ms, v, 1..=10_000), get: |c| json!(c.links.echo_ms) },
    Setting { key: "links.bytes_max", set: |c, v| number(&mut c.links.bytes_max, v, 1024..=ECHO_BYTES_MAX), get: |c| json!(c.links.bytes_max) },
    Setting { key: "links.answer_ms_max", set: |c, v| number(&mut c.links.answer_ms_max, v, 100..=MINUTE_MS), get: |c| json!(c.links.answer_ms_max) },
    Setting {
        key: "predictions.memory_runs",
        set: |c, v| number(&mut c.predictions.refining.memory_runs, v, 1..=1_000_000),
        get: |c| json!(c.predictions.refining.memory_runs),
    },
    Setting {
        key: "predictions.runs_min",
        set: |c, v| number(&mut c.predictions.refining.runs_min, v, 1..=1_000_000),
        get: |c| json!(c.predictions.refining.runs_min),
    },
    Setting {
        key: "predictions.stray_ratio",
        set: |c, v| ratio(&mut c.predictions.refining.stray_ratio, v, 1.01..=1_000.0),
        get: |c| json!(c.predictions.refining.stray_ratio),
    },
    Setting {
        key: "predictions.factor_max",
        set: |c, v| ratio(&mut c.predictions.refining.factor_max, v, 1.0..=1_000_000.0),
        get: |c| json!(c.predictions.refining.factor_max),
    },
    Setting {
        key: "predictions.retell_ratio",
        set: |c, v| ratio(&mut c.predictions.refining.retell_ratio, v, 0.0..=10.0),
        get: |c| json!(c.predictions.refining.retell_ratio),
    },
    Setting {
        key: "predictions.model_timing_ms_max",
        set: |c, v| number(&mut c.predictions.model_timing_ms_max, v, 0..=60 * MINUTE_MS),
        get: |c| json!(c.predictions.model_timing_ms_max),
    },
    Setting {
        key: "predictions.what_if_asks_max",
        set: |c, v| number(&mut c.predictions.what_if_asks_max, v, 0..=10_000),
        get: |c| json!(c.predictions.what_if_asks_max),
    },
    Setting {
        key: "predictions.what_if_ms_max",
        set: |c, v| number(&mut c.predictions.what_if_ms_max, v, 0..=60 * MINUTE_MS),
        get: |c| json!(c.predictions.what_if_ms_max),
    },
    Setting {
        key: "conversion.run_ms_max",
        set: |c, v| number(&mut c.conversion.run_ms_max, v, 100..=24 * 60 * MINUTE_MS),
        get: |c| json!(c.conversion.run_ms_max),
    },
    Setting {
        key: "conversion.memory_bytes_max",
        set: |c, v| number(&mut c.conversion.memory_bytes_max, v, 64 << 20..=1 << 50),
        get: |c| json!(c.conversion.memory_bytes_max),
    },
    Setting {
        key: "conversion.artefact_bytes_max",
        set: |c, v| number(&mut c.conversion.artefact_bytes_max, v, 1024..=1 << 50),
        get: |c| json!(c.conversion.artefact_bytes_max),
    },
    Setting { key: "conversion.lines_max", set: |c, v| number(&mut c.conversion.lines_max, v, 16..=1_000_000), get: |c| json!(c.conversion.lines_max) },
    Setting {
        key: "conversion.line_bytes_max",
        set: |c, v| number(&mut c.conversion.line_bytes_max, v, 64..=65_536),
        get: |c| json!(c.conversion.line_bytes_max),
    },
    Setting { key: "conversion.kept_max", set: |c, v| number(&mut c.conversion.kept_max, v, 1..=1_000), get: |c| json!(c.conversion.kept_max) },
    Setting { key: "conversion.buckets_max", set: |c, v| number(&mut c.conversion.buckets_max, v, 1..=256), get: |c| json!(c.conversion.buckets_max) },
    Setting {
        key: "conversion.unconverted_ranges_max",
        set: |c, v| number(&mut c.conversion.unconverted_ranges_max, v, 1..=1_000_000),
        get: |c| json!(c.conversion.unconverted_ranges_max),
    },
    Setting {
        key: "conversion.check_ratio_max",
        set: |c, v| ratio(&mut c.conversion.check_ratio_max, v, 0.0..=1.0),
        get: |c| json!(c.conversion.check_ratio_max),
    },
    Setting { key: "conversion.rknn.python", set: |c, v| path(&mut c.conversion.rknn_python, v), get: |c| json!(c.conversion.rknn_python) },
    Setting { key: "conversion.rknn.command", set: |c, v| conversion::command(&mut c.conversion.rknn_command, v), get: |c| json!(c.conversion.rknn_command) },
    Setting { key: "conversion.ascend.atc", set: |c, v| path(&mut c.conversion.ascend_atc, v), get: |c| json!(c.conversion.ascend_atc) },
    Setting {
        key: "conversion.ascend.command",
        set: |c, v| conversion::command(&mut c.conversion.ascend_command, v),
        get: |c| json!(c.conversion.ascend_command),
    },
    Setting {
        key: "conversion.tensorrt.command",
        set: |c, v| conversion::command(&mut c.conversion.tensorrt_command, v),
        get: |c| json!(c.conversion.tensorrt_command),
    },
    Setting { key: "cache.bytes_max", set: |c, v| number(&mut c.cache.bytes_max, v, 1 << 20..=1 << 50), get: |c| json!(c.cache.bytes_max) },
    Setting { key: "cache.disk_ratio_max", set: |c, v| ratio(&mut c.cache.disk_ratio_max, v, 0.01..=1.0), get: |c| json!(c.cache.disk_ratio_max) },
    Setting { key: "native_code.folder", set: |c, v| path(c.native_code.folder.get_or_insert_default(), v), get: |c| json!(c.native_code.folder) },
    Setting { key: "native_code.bytes_max", set: |c, v| number(&mut c.native_code.bytes_max, v, 1 << 20..=1 << 50), get: |c| json!(c.native_code.bytes_max) },
    Setting { key: "peers.port", set: |c, v| number(&mut c.peers.port, v, 0..=65_535), get: |c| json!(c.peers.port) },
    Setting { key: "peers.small_bytes_max", set: |c, v| number(&mut c.peers.small_bytes_max, v, 1024..=GIB), get: |c| json!(c.peers.small_bytes_max) },
    Setting {
        key: "peers.message_bytes_max",
        set: |c, v| number(&mut c.peers.message_bytes_max, v, 65_536..=2 * GIB),
        get: |c| json!(c.peers.message_bytes_max),
    },
    Setting { key: "peers.holder_ms_max", set: |c, v| number(&mut c.peers.holder_ms_max, v, 0..=MINUTE_MS), get: |c| json!(c.peers.holder_ms_max) },
    Setting { key: "peers.resume_ms_max", set: |c, v| number(&mut c.peers.resume_ms_max, v, 0..=MINUTE_MS), get: |c| json!(c.peers.resume_ms_max) },
    Setting { key: "peers.held_bytes_max", set: |c, v| number(&mut c.peers.held_bytes_max, v, 65_536..=1024 * GIB), get: |c| json!(c.peers.held_bytes_max) },
    Setting { key: "peers.sources_max", set: |c, v| number(&mut c.peers.sources_max, v, 0..=64), get: |c| json!(c.peers.sources_max) },
    Setting {
        key: "store.earlier_plugins_kept_max",
        set: |c, v| number(&mut c.store.earlier_plugins_kept_max, v, 0..=1_000),
        get: |c| json!(c.store.earlier_plugins_kept_max),
    },
    Setting {
        key: "store.artefact_bytes_max",
        set: |c, v| number(&mut c.store.artefact_bytes_max, v, 1 << 20..=1 << 50),
        get: |c| json!(c.store.artefact_bytes_max),
    },
    Setting { key: "store.plans_kept_max", set: |c, v| number(&mut c.store.plans_kept_max, v, 1..=1_000_000), get: |c| json!(c.store.plans_kept_max) },
    Setting { key: "store.batch_writes_max", set: |c, v| number(&mut c.store.batch_writes_max, v, 1..=65_536), get: |c| json!(c.store.batch_writes_max) },
    Setting {
        key: "store.waiting_writes_max",
        set: |c, v| number(&mut c.store.waiting_writes_max, v, 1..=1_000_000),
        get: |c| json!(c.store.waiting_writes_max),
    },
    Setting { key: "traces.flush_ms_max", set: |c, v| number(&mut c.traces.flush_ms_max, v, 0..=MINUTE_MS), get: |c| json!(c.traces.flush_ms_max) },
    Setting { key: "log.filter", set: |c, v| parsed(&mut c.log.filter, v, "a filter such as info"), get: |c| json!(c.log.filter) },
    Setting { key: "log.format", set: |c, v| log_format(&mut c.log.format, v), get: |c| json!(if c.log.format == LogFormat::Json { "json" } else { "text" }) },
];

/// All of them, those of engines included.
pub(super) fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(engines::SETTINGS)
}

/// One row of `config show`: key, value and where the value came from.
pub fn show(resolved: &Resolved) -> Vec<(&'static str, Value, Origin)> {
    let row = |setting: &Setting| {
        let origin = resolved.origins.get(setting.key).cloned().unwrap_or(Origin::Default);
        (setting.key, (setting.get)(&resolved.config), origin)
    };
    settings().map(row).collect()
}

/// The environment variable of a setting.
pub(super) fn variable(key: &str) -> String {
    format!("HOST_{}", key.replace('.', "_").to_uppercase())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

pub(super) fn parsed<T: FromStr>(field: &mut T, value: &Value, expected: &str) -> Result<(), String> {
    let read = text(value).and_then(|text| text.trim().parse().ok());
    *field = read.ok_or_else(|| format!("it must be {expected}"))?;
    Ok(())
}

/// Something that nobody has to say.
fn given<T: FromStr>(field: &mut Option<T>, value: &Value, expected: &str) -> Result<(), String> {
    let read = text(value).and_then(|text| text.trim().parse().ok());
    *field = Some(read.ok_or_else(|| format!("it must be {expected}"))?);
    Ok(())
}

fn join_token(field: &mut Option<JoinToken>, value: &Value) -> Result<(), String> {
    let text = text(value).ok_or("it must be a text, as `host token create` prints it")?;
    *field = Some(JoinToken::parse(&text).map_err(|error| error.to_string())?);
    Ok(())
}

fn device_id(field: &mut Option<DeviceId>, value: &Value) -> Result<(), String> {
    let id = DeviceId::parse(&text(value).ok_or("it must be a text")?).map_err(|error| error.to_string())?;
    Subject::device(&id).map_err(|error| error.to_string())?;
    *field = Some(id);
    Ok(())
}

pub(super) fn path(field: &mut PathBuf, value: &Value) -> Result<(), String> {
    let text = text(value).filter(|text| !text.is_empty()).ok_or("it must be a path")?;
    *field = PathBuf::from(text);
    Ok(())
}

pub(super) fn number<T: TryFrom<u64>>(field: &mut T, value: &Value, range: RangeInclusive<u64>) -> Result<(), String> {
    let read = text(value).and_then(|text| text.trim().parse::<u64>().ok()).filter(|number| range.contains(number));
    let expected = || format!("it must be a whole number from {} to {}", range.start(), range.end());
    *field = read.and_then(|number| T::try_from(number).ok()).ok_or_else(expected)?;
    Ok(())
}

pub(super) fn ratio(field: &mut f64, value: &Value, range: RangeInclusive<f64>) -> Result<(), String> {
    let read = text(value).and_then(|text| text.trim().parse::<f64>().ok()).filter(|number| range.contains(number));
    *field = read.ok_or_else(|| format!("it must be a number from {} to {}", range.start(), range.end()))?;
    Ok(())
}

/// Environment and flags give lists and objects as JSON text.
pub(super) fn structured(value: &Value) -> Value {
    match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        _ => value.clone(),
    }
}
