//! The engines of this host: those that are part of it, and those behind vendors' libraries, each in a driver process. Called once, at
//! the start.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use host_core::units::Bytes;
use host_driver::{DriverEngine, DriverEvent, DriverSettings, EventSink};
use host_engine::{ElementType, Engine, EngineInfo, Engines, TractEngine};

use crate::{
    config::{Config, EngineSettings},
    metrics::Metrics,
};

/// The command that serves as a driver process.
pub const DRIVER_COMMAND: &str = "driver";
/// The running program itself, also where its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Engines that are a part of ONNX Runtime of their own, with the accelerator that they compute on and the file beside the library.
const PROVIDERS: [(&str, &str, &str); 3] = [
    ("cuda", "cuda", "libonnxruntime_providers_cuda.so"),
    ("tensorrt", "tensorrt", "libonnxruntime_providers_tensorrt.so"),
    ("cann", "ascend", "libonnxruntime_providers_cann.so"),
];

/// Opens each engine that is there. Those behind libraries are asked once what they are, so that offers know what can be used.
pub fn start(config: &Config, metrics: &Metrics) -> Arc<Engines> {
    let settings = &config.engines;
    let mut drivers: Vec<DriverEngine> = Vec::new();
    let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
    if settings.isolate.iter().any(|name| name == "tract") {
        let driver = DriverEngine::new(driver(settings, TractEngine.info(), None));
        drivers.push(driver.clone());
        engines.push(Arc::new(driver));
    } else {
        engines.push(Arc::new(TractEngine));
    }
    for (name, accelerator, library) in libraries(settings) {
        let driver = DriverEngine::new(driver(settings, unopened(name, accelerator, library), Some(library.to_owned())));
        if let Some(reason) = driver.probe().unusable() {
            tracing::warn!(engine = name, library = %library.display(), reason, "the engine cannot be used");
        }
        drivers.push(driver.clone());
        engines.push(Arc::new(driver));
    }
    // The registry takes the first for the default one.
    let default = engines.iter().position(|engine| engine.info().name == settings.default);
    match default {
        Some(place) => engines[..=place].rotate_right(1),
        None => tracing::warn!(engine = settings.default, "engines.default is not here"),
    }
    metrics.read_drivers_from(move || drivers.iter().map(|driver| (driver.info().name, driver.state())).collect());
    Arc::new(Engines::new(engines))
}

/// Engines behind libraries that are named, with accelerator and library.
fn libraries(settings: &EngineSettings) -> Vec<(&'static str, &'static str, &Path)> {
    let mut found = Vec::new();
    if let Some(library) = settings.onnxruntime.library.as_deref() {
        found.push(("ort", "cpu", library));
        let beside = |file: &str| library.parent().is_some_and(|folder| folder.join(file).exists());
        found.extend(PROVIDERS.into_iter().filter(|(_, _, file)| beside(file)).map(|(name, accelerator, _)| (name, accelerator, library)));
    }
    found.extend(settings.rknn_library.as_deref().map(|library| ("rknn", "rknn", library)));
    found.extend(settings.acl_library.as_deref().map(|library| ("acl", "ascend", library)));
    found
}

fn driver(settings: &EngineSettings, info: EngineInfo, library: Option<PathBuf>) -> DriverSettings {
    let of_onnxruntime = info.name == "ort" || PROVIDERS.iter().any(|(name, ..)| *name == info.name);
    DriverSettings {
        program: PathBuf::from(THIS_PROGRAM),
        arguments: vec![DRIVER_COMMAND.to_owned()],
        engine: info.name.clone(),
        library,
        settings: if of_onnxruntime { settings.onnxruntime.settings() } else { Default::default() },
        limits: settings.driver.clone(),
        info,
        log: EventSink::new(log),
    }
}

/// What is said of an engine until its library has been opened.
fn unopened(name: &str, accelerator: &str, library: &Path) -> EngineInfo {
    EngineInfo {
        name: name.to_owned(),
        version: String::new(),
        accelerator: accelerator.to_owned(),
        memory: None,
        weight_factor: 2.0,
        fixed_bytes: Bytes::mib(64),
        element_types: vec![ElementType::Fp32],
        attributes: vec![("library".to_owned(), library.display().to_string())],
    }
}

fn log(event: &DriverEvent) {
    match event {
        DriverEvent::Started { engine, pid, ms } => tracing::info!(driver = engine, pid, ms, "driver process started"),
        DriverEvent::Ended { engine, pid } => tracing::info!(driver = engine, pid, "driver process ended, nothing is loaded in it"),
        DriverEvent::Died { engine, pid, death } => tracing::warn!(driver = engine, pid, cause = death.word(), "{death}"),
        DriverEvent::NotOpened { engine, death, next_ms } => tracing::warn!(driver = engine, cause = death.word(), next_ms, "{death}"),
        DriverEvent::Retried { engine, doing, death } => tracing::warn!(driver = engine, doing, cause = death.word(), "done again in a fresh driver process"),
        DriverEvent::Line { engine, text } => tracing::info!(driver = engine, "{text}"),
        DriverEvent::LinesDropped { engine, count } => tracing::warn!(driver = engine, count, "lines of the driver process were dropped"),
    }
}
