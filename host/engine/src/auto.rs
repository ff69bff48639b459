//! Engine `auto`: for each shard the engine that computes it fastest on this machine, of those whose answers agree with the golden
//! ones. Which that is depends on the shard, so each is measured once, and what came out is kept.

mod row;
mod table;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Barrier, OnceLock},
};

use host_core::units::{Bytes, Millis};

use crate::{
    calibrate::{self, Runs, Take},
    clock::Stopwatch,
    digest::Digest,
    element_type::ElementType,
    engine::{Engine, EngineInfo, Graph, LoadOptions, load_checked},
    error::{Error, ErrorKind, Fault},
    golden::{self, Golden},
    split::Shard,
};
use row::Key;
use table::Table;

/// Its name.
pub(crate) const AUTO: &str = "auto";
/// What the engines compute on that it chooses from.
const ACCELERATOR: &str = "cpu";

/// How engines are measured, and where the results are kept.
#[derive(Clone, PartialEq, Debug)]
pub struct AutoSettings {
    /// What the processor is called: results of another one do not count.
    pub cpu: String,
    /// Folder that gets a small file for each result; without one they are forgotten when the process ends.
    pub folder: Option<PathBuf>,
    /// Most results that are kept, in the folder and in memory; the oldest go.
    pub results_max: usize,
    /// Time for the runs of one engine on one shard, of which the median counts.
    pub runs: Millis,
    /// Fewest of those runs, even if they take longer; the first one is thrown away.
    pub runs_min: usize,
    /// Most of those runs, even if there is time left.
    pub runs_max: usize,
    /// Time for all runs by which the engine is found that stands for the others where one must.
    pub calibration: Millis,
}

impl Default for AutoSettings {
    fn default() -> Self {
        Self {
            cpu: String::new(),
            folder: None,
            results_max: 4096,
            runs: Millis(100.0),
            runs_min: calibrate::RUNS_MIN,
            runs_max: calibrate::RUNS_MAX,
            calibration: Millis(calibrate::BUDGET_MS),
        }
    }
}

/// What came out of one engine on one shard.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// The engine.
    pub engine: String,
    /// Version of the library behind it.
    pub version: String,
    /// Threads that one run used.
    pub threads: usize,
    /// What it did.
    pub outcome: Outcome,
}

/// What an engine did with a shard.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Its answers are the golden ones, as nearly as they must be.
    Agrees(Figures),
    /// It does not take the shard, or answers wrongly.
    Refused {
        /// Why, in one line.
        reason: String,
    },
}

/// Figures of an engine that agrees.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// One run on the golden inputs: the median of some.
    pub run: Millis,
    /// Loading, with the check.
    pub load: Millis,
    /// What the loaded shard holds, as the engine says.
    pub memory: Bytes,
    /// Largest difference from a golden output, as a part of its largest value.
    pub difference: f64,
}

impl Measured {
    /// The time of a run; none of an engine that was refused.
    fn run(&self) -> Option<Millis> {
        match &self.outcome {
            Outcome::Agrees(figures) => Some(figures.run),
            Outcome::Refused { .. } => None,
        }
    }
}

/// Chooses among the engines that compute on the CPU.
#[derive(Debug)]
pub(crate) struct Auto {
    engines: Vec<Arc<dyn Engine>>,
    runs: Runs,
    calibration: Millis,
    table: Table,
    fastest: OnceLock<Arc<dyn Engine>>,
}

impl Auto {
    pub(crate) fn new(engines: &[Arc<dyn Engine>], settings: AutoSettings) -> Self {
        let engines = engines.iter().filter(|engine| engine.info().accelerator == ACCELERATOR).cloned().collect();
        let runs = Runs { time: settings.runs, count_min: settings.runs_min, count_max: settings.runs_max };
        Self { engines, runs, calibration: settings.calibration, table: Table::new(settings), fastest: OnceLock::new() }
    }

    /// The engines that can be used now, in the registry's order.
    fn usable(&self) -> impl Iterator<Item = &Arc<dyn Engine>> {
        self.engines.iter().filter(|engine| engine.info().unusable().is_none())
    }

    /// What is known of a shard already.
    pub(crate) fn known(&self, shard: &Digest) -> Vec<Measured> {
        let mut found = self.table.of(shard);
        let place = |measured: &Measured| {
            let is_it = |info: &EngineInfo| info.name == measured.engine && (info.version.is_empty() || info.version == measured.version);
            self.engines.iter().position(|engine| is_it(&engine.info()))
        };
        found.retain(|measured| place(measured).is_some());
        found.sort_by_key(|measured| (measured.threads, place(measured)));
        found
    }

    /// What each usable engine does with a shard, in the registry's order. What is not known is measured, one engine of one shard
    /// at a time, because two would disturb each other. Nothing is measured of a shard without golden answers.
    pub(crate) fn measure(&self, shard: &Shard, options: &LoadOptions) -> Result<Vec<Measured>, Error> {
        let Some(golden) = &shard.golden else {
            return Err(Error::unsupported("it has no golden answers to hold engines against").of(&shard.id));
        };
        let known: Option<Vec<Measured>> = self.usable().map(|engine| self.table.get(&key(engine.as_ref(), shard, options))).collect();
        if let Some(known) = known {
            return Ok(known);
        }
        let _alone = self.table.measuring();
        self.usable().map(|engine| self.measured_once(engine.as_ref(), shard, golden, options)).collect()
    }

    fn measured_once(&self, engine: &dyn Engine, shard: &Shard, golden: &Golden, options: &LoadOptions) -> Result<Measured, Error> {
        let mut loaded = None;
        if engine.info().version.is_empty() {
            // Only loading tells which version is behind it, and with that what was measured before.
            loaded = Some(load(engine, shard, options));
        }
        if let Some(known) = self.table.get(&key(engine, shard, options)) {
            return Ok(known);
        }
        let found = loaded.unwrap_or_else(|| load(engine, shard, options)).and_then(|(graph, load)| self.figures(graph, load, golden));
        // What a shard is refused for stays so; anything else may pass, and is tried again by the next process.
        let lasts = found.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Invalid);
        let outcome = found.map_or_else(|error| Outcome::Refused { reason: one_line(&error.to_string()) }, Outcome::Agrees);
        let info = engine.info();
        let measured = Measured { engine: info.name, version: info.version, threads: options.threads, outcome };
        self.table.put(&key(engine, shard, options), &measured, lasts);
        Ok(measured)
    }

    fn figures(&self, mut graph: Box<dyn Graph>, load: Millis, golden: &Golden) -> Result<Figures, Error> {
        let difference = golden::difference(graph.as_mut(), golden)?;
        let memory = graph.memory();
        let run = calibrate::measure(graph, &golden.inputs, self.runs, &Barrier::new(1), Take::Median)?;
        Ok(Figures { run, load, memory, difference })
    }

    /// The names of the engines to load a shard with, the fastest first. Without golden answers nothing can be said of any: then
    /// they come in the registry's order. The error says why each of them is refused.
    pub(crate) fn order(&self, shard: &Shard, options: &LoadOptions) -> Result<Vec<String>, Error> {
        if shard.golden.is_none() {
            return Ok(self.usable().map(|engine| engine.info().name).collect());
        }
        let measured = self.measure(shard, options)?;
        let mut agreeing: Vec<(Millis, &str)> = measured.iter().filter_map(|row| Some((row.run()?, row.engine.as_str()))).collect();
        agreeing.sort_by(|(one, _), (two, _)| one.0.total_cmp(&two.0));
        if agreeing.is_empty() {
            let refusal = |row: &Measured| match &row.outcome {
                Outcome::Refused { reason } => Some((row.engine.clone(), reason.clone())),
                Outcome::Agrees(_) => None,
            };
            return Err(Error::from(Fault::NoEngine { refusals: measured.iter().filter_map(refusal).collect() }).of(&shard.id));
        }
        Ok(agreeing.into_iter().map(|(_, name)| name.to_owned()).collect())
    }

    /// The one engine that stands for all of them where one must: the one that computes the calibration's models fastest. Found
    /// once, in about the time of a calibration.
    pub(crate) fn representative(&self) -> Result<Arc<dyn Engine>, Error> {
        if let Some(known) = self.fastest.get() {
            return Ok(Arc::clone(known));
        }
        let usable: Vec<Arc<dyn Engine>> = self.usable().cloned().collect();
        let found = calibrate::fastest(&usable, self.calibration)?;
        Ok(Arc::clone(self.fastest.get_or_init(|| found)))
    }
}

impl Engine for Auto {
    fn info(&self) -> EngineInfo {
        let infos: Vec<EngineInfo> = self.usable().map(|engine| engine.info()).collect();
        let names = infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ");
        let versions = infos.iter().map(|info| format!("{} {}", info.name, info.version).trim_end().to_owned()).collect::<Vec<_>>().join(", ");
        let types: BTreeSet<ElementType> = infos.iter().flat_map(|info| info.element_types.iter().copied()).collect();
        let attribute = if infos.is_empty() { (EngineInfo::UNUSABLE, "there is no engine that computes on the CPU".to_owned()) } else { ("chooses", names) };
        EngineInfo {
            name: AUTO.into(),
            version: versions,
            accelerator: ACCELERATOR.into(),
            memory: infos.iter().filter_map(|info| info.memory).min(),
            // Which engine it will be is not known before a shard is; the plan must hold for each.
            weight_factor: infos.iter().map(|info| info.weight_factor).fold(1.0, f64::max),
            fixed_bytes: infos.iter().map(|info| info.fixed_bytes).max().unwrap_or(Bytes::ZERO),
            element_types: types.into_iter().collect(),
            attributes: vec![(attribute.0.to_owned(), attribute.1)],
        }
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let names = self.order(shard, options)?;
        let chosen = names.iter().filter_map(|name| self.engines.iter().find(|engine| engine.info().name == *name));
        first_that_loads(chosen.map(|engine| load_checked(engine.as_ref(), shard, options)), shard)
    }
}

/// The first success, or the first failure: what the fastest engine says.
pub(crate) fn first_that_loads(tries: impl Iterator<Item = Result<Box<dyn Graph>, Error>>, shard: &Shard) -> Result<Box<dyn Graph>, Error> {
    let mut first = None;
    for tried in tries {
        match tried {
            Ok(graph) => return Ok(graph),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| Error::from(Fault::NoEngine { refusals: Vec::new() }).of(&shard.id)))
}

fn load(engine: &dyn Engine, shard: &Shard, options: &LoadOptions) -> Result<(Box<dyn Graph>, Millis), Error> {
    let watch = Stopwatch::start();
    load_checked(engine, shard, options).map(|graph| (graph, watch.elapsed()))
}

fn key(engine: &dyn Engine, shard: &Shard, options: &LoadOptions) -> Key {
    let info = engine.info();
    let settings = options.settings.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",");
    let loaded = one_line(&format!("{:?} {settings}", options.open));
    Key { shard: shard.digest, engine: info.name, version: info.version, threads: options.threads, loaded }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
