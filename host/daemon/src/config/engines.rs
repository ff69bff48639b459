//! Which engines there are, which of them live in processes of their own, and what those may take.

use std::{collections::BTreeMap, path::PathBuf};

use host_driver::DriverLimits;
use host_engine::AutoSettings;
use serde_json::{Value, json};

use super::settings::{MINUTE_MS, Setting, number, parsed, path, ratio, structured};

/// Engines that are part of the program.
const EMBEDDED: [&str; 2] = ["tract", "rten"];

/// What the config says of engines.
#[derive(Clone, PartialEq, Debug)]
pub struct EngineSettings {
    /// The one that is asked first.
    pub default: String,
    /// Engines of the program that live in processes of their own all the same.
    pub isolate: Vec<String>,
    /// ONNX Runtime.
    pub onnxruntime: OnnxRuntime,
    /// Rockchip's library.
    pub rknn_library: Option<PathBuf>,
    /// Ascend's library.
    pub acl_library: Option<PathBuf>,
    /// How `auto` measures engines. On which processor, and where the results are kept, is known at the start only.
    pub auto: AutoSettings,
    /// What driver processes may take.
    pub driver: DriverLimits,
}

/// How ONNX Runtime is used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OnnxRuntime {
    /// Its library.
    pub library: Option<PathBuf>,
    /// Whether its threads look for work again and again before they sleep: faster on cores that nobody else uses.
    pub spinning: bool,
}

impl OnnxRuntime {
    /// As the engine reads it.
    pub fn settings(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("spinning".to_owned(), self.spinning.to_string())])
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            default: EMBEDDED[0].to_owned(),
            isolate: Vec::new(),
            onnxruntime: OnnxRuntime::default(),
            rknn_library: None,
            acl_library: None,
            auto: AutoSettings::default(),
            driver: DriverLimits::default(),
        }
    }
}

const HOUR_MS: u64 = 60 * MINUTE_MS;

/// A library that nobody has to name.
fn library(field: &mut Option<PathBuf>, value: &Value) -> Result<(), String> {
    path(field.get_or_insert_default(), value)
}

fn isolate(field: &mut Vec<String>, value: &Value) -> Result<(), String> {
    let expected = || format!("it must be a list of engines that are part of the program: {}", EMBEDDED.join(", "));
    let Value::Array(names) = structured(value) else { return Err(expected()) };
    let known = |name: Value| name.as_str().filter(|name| EMBEDDED.contains(name)).map(str::to_owned);
    *field = names.into_iter().map(known).collect::<Option<_>>().ok_or_else(expected)?;
    Ok(())
}

fn variables(field: &mut Vec<String>, value: &Value) -> Result<(), String> {
    let expected = "it must be a list of environment variables, such as [LD_PRELOAD, VENDOR_*]";
    let Value::Array(names) = structured(value) else { return Err(expected.to_owned()) };
    *field = names.into_iter().map(|name| name.as_str().filter(|name| !name.is_empty()).map(str::to_owned)).collect::<Option<_>>().ok_or(expected)?;
    Ok(())
}

/// The settings of this section.
pub(super) static SETTINGS: &[Setting] = &[
    Setting { key: "engines.default", set: |c, v| parsed(&mut c.engines.default, v, "the name of an engine"), get: |c| json!(c.engines.default) },
    Setting { key: "engines.isolate", set: |c, v| isolate(&mut c.engines.isolate, v), get: |c| json!(c.engines.isolate) },
    Setting { key: "engines.onnxruntime.library", set: |c, v| library(&mut c.engines.onnxruntime.library, v), get: |c| json!(c.engines.onnxruntime.library) },
    Setting {
        key: "engines.onnxruntime.spinning",
        set: |c, v| parsed(&mut c.engines.onnxruntime.spinning, v, "true or false"),
        get: |c| json!(c.engines.onnxruntime.spinning),
    },
    Setting { key: "engines.rknn.library", set: |c, v| library(&mut c.engines.rknn_library, v), get: |c| json!(c.engines.rknn_library) },
    Setting { key: "engines.acl.library", set: |c, v| library(&mut c.engines.acl_library, v), get: |c| json!(c.engines.acl_library) },
    Setting { key: "engines.auto.runs_ms", set: |c, v| ratio(&mut c.engines.auto.runs.0, v, 1.0..=MINUTE_MS as f64), get: |c| json!(c.engines.auto.runs.0) },
    Setting { key: "engines.auto.runs_min", set: |c, v| number(&mut c.engines.auto.runs_min, v, 2..=10_000), get: |c| json!(c.engines.auto.runs_min) },
    Setting { key: "engines.auto.runs_max", set: |c, v| number(&mut c.engines.auto.runs_max, v, 2..=1_000_000), get: |c| json!(c.engines.auto.runs_max) },
    Setting {
        key: "engines.auto.results_max",
        set: |c, v| number(&mut c.engines.auto.results_max, v, 1..=1_000_000),
        get: |c| json!(c.engines.auto.results_max),
    },
    Setting {
        key: "engines.auto.calibration_ms",
        set: |c, v| ratio(&mut c.engines.auto.calibration.0, v, 10.0..=MINUTE_MS as f64),
        get: |c| json!(c.engines.auto.calibration.0),
    },
    Setting {
        key: "engines.driver.start_ms_max",
        set: |c, v| number(&mut c.engines.driver.start_ms_max, v, 10..=HOUR_MS),
        get: |c| json!(c.engines.driver.start_ms_max),
    },
    Setting {
        key: "engines.driver.load_ms_max",
        set: |c, v| number(&mut c.engines.driver.load_ms_max, v, 10..=24 * HOUR_MS),
        get: |c| json!(c.engines.driver.load_ms_max),
    },
    Setting {
        key: "engines.driver.call_ms_max",
        set: |c, v| number(&mut c.engines.driver.call_ms_max, v, 10..=HOUR_MS),
        get: |c| json!(c.engines.driver.call_ms_max),
    },
    Setting {
        key: "engines.driver.end_ms_max",
        set: |c, v| number(&mut c.engines.driver.end_ms_max, v, 0..=MINUTE_MS),
        get: |c| json!(c.engines.driver.end_ms_max),
    },
    Setting {
        key: "engines.driver.linger_ms",
        set: |c, v| number(&mut c.engines.driver.linger_ms, v, 0..=HOUR_MS),
        get: |c| json!(c.engines.driver.linger_ms),
    },
    Setting {
        key: "engines.driver.heartbeat_ms",
        set: |c, v| number(&mut c.engines.driver.heartbeat_ms, v, 1..=MINUTE_MS),
        get: |c| json!(c.engines.driver.heartbeat_ms),
    },
    Setting {
        key: "engines.driver.silent_ms_max",
        set: |c, v| number(&mut c.engines.driver.silent_ms_max, v, 10..=HOUR_MS),
        get: |c| json!(c.engines.driver.silent_ms_max),
    },
    Setting {
        key: "engines.driver.memory_bytes_max",
        set: |c, v| number(&mut c.engines.driver.memory_bytes_max, v, 0..=1 << 50),
        get: |c| json!(c.engines.driver.memory_bytes_max),
    },
    Setting {
        key: "engines.driver.memory_is_hard",
        set: |c, v| parsed(&mut c.engines.driver.memory_is_hard, v, "true or false"),
        get: |c| json!(c.engines.driver.memory_is_hard),
    },
    Setting {
        key: "engines.driver.inline_bytes_max",
        set: |c, v| number(&mut c.engines.driver.inline_bytes_max, v, 0..=1 << 20),
        get: |c| json!(c.engines.driver.inline_bytes_max),
    },
    Setting {
        key: "engines.driver.shared_bytes_max",
        set: |c, v| number(&mut c.engines.driver.shared_bytes_max, v, 1 << 20..=1 << 40),
        get: |c| json!(c.engines.driver.shared_bytes_max),
    },
    Setting { key: "engines.driver.spin_us", set: |c, v| number(&mut c.engines.driver.spin_us, v, 0..=100_000), get: |c| json!(c.engines.driver.spin_us) },
    Setting {
        key: "engines.driver.retry_wait_ms_max",
        set: |c, v| number(&mut c.engines.driver.retry_wait_ms_max, v, 0..=MINUTE_MS),
        get: |c| json!(c.engines.driver.retry_wait_ms_max),
    },
    Setting {
        key: "engines.driver.restarts_at_once_max",
        set: |c, v| number(&mut c.engines.driver.restarts.at_once_max, v, 0..=1_000_000),
        get: |c| json!(c.engines.driver.restarts.at_once_max),
    },
    Setting {
        key: "engines.driver.restart_first_ms",
        set: |c, v| number(&mut c.engines.driver.restarts.first_ms, v, 1..=HOUR_MS),
        get: |c| json!(c.engines.driver.restarts.first_ms),
    },
    Setting {
        key: "engines.driver.restart_factor",
        set: |c, v| ratio(&mut c.engines.driver.restarts.factor, v, 1.0..=100.0),
        get: |c| json!(c.engines.driver.restarts.factor),
    },
    Setting {
        key: "engines.driver.restart_ms_max",
        set: |c, v| number(&mut c.engines.driver.restarts.most_ms, v, 1..=24 * HOUR_MS),
        get: |c| json!(c.engines.driver.restarts.most_ms),
    },
    Setting {
        key: "engines.driver.calm_ms",
        set: |c, v| number(&mut c.engines.driver.restarts.calm_ms, v, 1..=24 * HOUR_MS),
        get: |c| json!(c.engines.driver.restarts.calm_ms),
    },
    Setting {
        key: "engines.driver.log_lines_per_s_max",
        set: |c, v| number(&mut c.engines.driver.log_lines_per_s_max, v, 0..=100_000),
        get: |c| json!(c.engines.driver.log_lines_per_s_max),
    },
    Setting {
        key: "engines.driver.log_line_bytes_max",
        set: |c, v| number(&mut c.engines.driver.log_line_bytes_max, v, 80..=1 << 20),
        get: |c| json!(c.engines.driver.log_line_bytes_max),
    },
    Setting { key: "engines.driver.environment", set: |c, v| variables(&mut c.engines.driver.environment, v), get: |c| json!(c.engines.driver.environment) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_engines_of_the_program_are_isolated_by_name() {
        let mut names = Vec::new();
        assert_eq!(isolate(&mut names, &json!(["tract"])), Ok(()));
        assert_eq!(isolate(&mut names, &json!(r#"["tract", "rten"]"#)), Ok(()));
        assert_eq!(names, ["tract", "rten"]);
        assert!(isolate(&mut names, &json!(["ort"])).is_err_and(|reason| reason.ends_with("tract, rten")));
        assert!(isolate(&mut names, &json!("tract")).is_err());
    }
}
