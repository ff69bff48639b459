//! The engines of this host: those that are part of it, and those behind vendors' libraries, each in a driver process. Called once, at
//! the start.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use host_core::units::Bytes;
use host_driver::{DriverEngine, DriverEvent, DriverSettings, EventSink};
use host_engine::{ElementType, Engine, EngineInfo, Engines, RtenEngine, TractEngine};
use host_vendor::ort::{Library, Provider, SearchPaths};

use crate::{
    config::{Config, EngineSettings},
    error::Error,
    metrics::Metrics,
    models::auto_settings,
};

/// The command that serves as a driver process.
pub const DRIVER_COMMAND: &str = "driver";
/// The running program itself, also where its file has been replaced since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Opens each engine that is there. Those behind libraries are asked once what they are, so that offers know what can be used.
pub fn start(config: &Config, metrics: &Metrics) -> Result<Arc<Engines>, Error> {
    let settings = &config.engines;
    let mut drivers: Vec<DriverEngine> = Vec::new();
    let mut engines: Vec<Arc<dyn Engine>> = Vec::new();
    let embedded: [Arc<dyn Engine>; 2] = [Arc::new(TractEngine), Arc::new(RtenEngine)];
    for engine in embedded {
        let info = engine.info();
        if settings.isolate.contains(&info.name) {
            let driver = DriverEngine::new(driver(settings, info, None));
            drivers.push(driver.clone());
            engines.push(Arc::new(driver));
        } else {
            engines.push(engine);
        }
    }
    for Behind { name, accelerator, library } in libraries(settings) {
        let driver = DriverEngine::new(driver(settings, unopened(name, accelerator, &library), Some(library.clone())));
        if let Some(reason) = driver.probe().unusable() {
            tracing::warn!(engine = name, library = %library.display(), reason, "the engine cannot be used");
        }
        drivers.push(driver.clone());
        engines.push(Arc::new(driver));
    }
    metrics.read_drivers_from(move || drivers.iter().map(|driver| (driver.info().name, driver.state())).collect());
    Ok(Arc::new(registered(engines, config)?))
}

/// The registry, with the default engine of the config first where that is here.
fn registered(engines: Vec<Arc<dyn Engine>>, config: &Config) -> Result<Engines, Error> {
    let engines = Engines::new(engines).with_auto(auto_settings(config));
    if let Err(error) = engines.get(&config.engines.default) {
        tracing::warn!(%error, "engines.default is not here; the first of them serves");
        return Ok(engines);
    }
    Ok(engines.with_default(&config.engines.default)?)
}

/// An engine behind a library.
#[derive(PartialEq, Eq, Debug)]
struct Behind {
    name: &'static str,
    accelerator: &'static str,
    library: PathBuf,
}

/// Those whose libraries people have named, and those of ONNX Runtime where it lies on this machine.
fn libraries(settings: &EngineSettings) -> Vec<Behind> {
    let mut found = onnxruntime(settings.onnxruntime.library.as_deref());
    let named = [("rknn", "rknn", &settings.rknn_library), ("acl", "ascend", &settings.acl_library)];
    found.extend(named.into_iter().filter_map(|(name, accelerator, library)| Some(Behind { name, accelerator, library: library.clone()? })));
    found
}

/// One engine for each provider that some library of ONNX Runtime has. Only names and heads of files are read for that. A library that
/// people have named is there in any case: opening it tells what is wrong with it.
fn onnxruntime(named: Option<&Path>) -> Vec<Behind> {
    let find = |provider| Library::find(&SearchPaths::of_machine(provider, named));
    let behind = |provider: Provider, library| Behind { name: provider.engine(), accelerator: provider.accelerator(), library };
    let plain = match (find(Provider::Cpu), named) {
        (Ok(library), _) => library.path,
        (Err(_), Some(named)) => return vec![behind(Provider::Cpu, named.to_owned())],
        (Err(error), None) => {
            tracing::debug!(%error, "there is no ONNX Runtime");
            return Vec::new();
        }
    };
    // Every build computes on the CPU, so where that one was not found there is no other.
    let others = Provider::ALL.into_iter().filter(|provider| *provider != Provider::Cpu);
    let others = others.filter_map(|provider| Some(behind(provider, find(provider).ok()?.path)));
    std::iter::once(behind(Provider::Cpu, plain)).chain(others).collect()
}

fn driver(settings: &EngineSettings, info: EngineInfo, library: Option<PathBuf>) -> DriverSettings {
    let of_onnxruntime = Provider::of_engine(&info.name).is_some();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_people_have_named_is_asked_though_it_is_not_there() {
        let missing = Path::new("/nowhere/libonnxruntime.so");
        assert_eq!(onnxruntime(Some(missing)), [Behind { name: "ort", accelerator: "cpu", library: missing.to_owned() }]);
    }

    #[test]
    fn the_default_engine_comes_first_and_one_that_is_not_here_changes_nothing() {
        for (default, expected) in [("auto", ["auto", "tract", "rten"]), ("rten", ["rten", "tract", "auto"]), ("abacus", ["tract", "rten", "auto"])] {
            let mut config = Config::with_data("/nowhere".into());
            config.engines.default = default.to_owned();
            let engines = registered(vec![Arc::new(TractEngine), Arc::new(RtenEngine)], &config).expect("they are registered");
            let names: Vec<String> = engines.info().into_iter().map(|info| info.name).collect();
            assert_eq!(names, expected, "{default}");
        }
    }
}
