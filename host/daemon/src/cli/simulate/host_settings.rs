//! What a fleet says of its host and of the run: the settings of a host that matter to a simulation, under the names that they
//! have in `host.yaml`, and what the simulated world takes.

use std::ops::RangeInclusive;

use host_core::{
    simulate::{RunTimes, SimulationSettings},
    units::{Bytes, Millis},
};

use super::fleet::TIME_MS;
use crate::config::Section;

const COUNT: RangeInclusive<u64> = 1..=u32::MAX as u64;
const DURATION_MS: RangeInclusive<f64> = 1.0..=31_536_000_000.0;

/// Reads `[host]`.
pub(super) fn host(section: &mut Section<'_>) -> SimulationSettings {
    let mut settings = SimulationSettings::default();
    for (key, count) in [
        ("running_max", &mut settings.running_max),
        ("queue_depth_max", &mut settings.waiting_max),
        ("attempts_max", &mut settings.attempts_max),
        ("priority_levels", &mut settings.classes),
        ("flaps_max", &mut settings.cluster.flaps.flaps_max),
    ] {
        if let Some(stated) = section.whole(key, COUNT) {
            *count = u32::try_from(stated).unwrap_or(u32::MAX);
        }
    }
    for (key, time, range) in [
        ("heartbeat_ms", &mut settings.cluster.tick, DURATION_MS),
        ("lost_after_ms", &mut settings.cluster.lease, DURATION_MS),
        ("flap_window_ms", &mut settings.cluster.flaps.window, TIME_MS),
        ("damp_ms", &mut settings.cluster.flaps.damp, TIME_MS),
        ("damp_ms_max", &mut settings.cluster.flaps.damp_max, TIME_MS),
        ("plan_horizon_ms", &mut settings.cluster.horizon, TIME_MS),
        ("replica_wait_ms_max", &mut settings.replica_wait_max, TIME_MS),
        ("attempt_ms_min", &mut settings.attempt_min, TIME_MS),
        ("solve_ms", &mut settings.solve, TIME_MS),
        ("door_ms", &mut settings.door, TIME_MS),
        ("hop_ms", &mut settings.hop, TIME_MS),
    ] {
        if let Some(stated) = section.number(key, range) {
            *time = Millis(stated);
        }
    }
    settings.attempt_ratio_max = section.number("attempt_ratio_max", 1.0..=1e9).unwrap_or(settings.attempt_ratio_max);
    settings.open_mb_ms = section.number("open_mb_ms", 0.0..=1e6).unwrap_or(settings.open_mb_ms);
    settings.cache = section.whole("cache_bytes", 0..=1 << 50).map_or(settings.cache, Bytes);
    settings
}

/// Reads `[run]`.
pub(super) fn run(section: &mut Section<'_>, settings: &mut SimulationSettings) {
    settings.seed = section.whole("seed", 0..=i64::MAX as u64).unwrap_or(settings.seed);
    for (key, time, range) in [
        ("warm_up_ms", &mut settings.warm_up, TIME_MS),
        ("duration_ms", &mut settings.duration, DURATION_MS),
        ("opening_ms_max", &mut settings.opening_max, DURATION_MS),
    ] {
        if let Some(stated) = section.number(key, range) {
            *time = Millis(stated);
        }
    }
    settings.is_settled = section.flag("is_settled").unwrap_or(settings.is_settled);
    let words = [("fixed", RunTimes::Fixed), ("exponential", RunTimes::Exponential)];
    settings.run_times = section.choice("run_times", &words).unwrap_or(settings.run_times);
    settings.calibration_error_ratio = section.number("calibration_error_ratio", 0.0..=0.9).unwrap_or(0.0);
}
