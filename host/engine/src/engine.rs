//! What an engine is, and the registry that loads shards through one: shared by digest, and checked against the golden answers first.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use host_core::units::Bytes;

use crate::{
    auto::{self, AUTO, Auto, AutoSettings, Measured},
    digest::Digest,
    element_type::ElementType,
    error::{Error, Fault},
    golden,
    rten::RtenEngine,
    spec::{Dimension, TensorSpec},
    split::Shard,
    tensor::Tensor,
    tract::TractEngine,
};

/// What an engine says of itself, for offers.
#[derive(Clone, PartialEq, Debug)]
pub struct EngineInfo {
    /// Its name: `tract`.
    pub name: String,
    /// Version of the library behind it; empty where it is not known before the library is loaded.
    pub version: String,
    /// The kind of accelerator that it computes on: `cpu`.
    pub accelerator: String,
    /// Memory that it may use; none means the machine's own.
    pub memory: Option<Bytes>,
    /// Memory of a loaded shard, as a multiple of its weights.
    pub weight_factor: f64,
    /// Memory of a loaded shard beside its weights.
    pub fixed_bytes: Bytes,
    /// Element types of inputs and outputs that it takes.
    pub element_types: Vec<ElementType>,
    /// What else it says: `library`, or `unusable` with the reason why nothing can be loaded with it here.
    pub attributes: Vec<(String, String)>,
}

impl EngineInfo {
    /// The attribute that says why an engine cannot be used here.
    pub const UNUSABLE: &str = "unusable";
    /// The attribute of an engine that computes 32-bit floats as 16-bit ones: `always`, or the option of a load that makes it do so.
    pub const HALF: &str = "half-floats";
    /// Its value for an engine that does so whatever it is told.
    pub const ALWAYS: &str = "always";

    /// Why nothing can be loaded with it here; none where something can.
    pub fn unusable(&self) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == Self::UNUSABLE).map(|(_, reason)| reason.as_str())
    }

    /// Whether 32-bit floats of a shard that is loaded with these options are computed as 16-bit ones.
    pub fn computes_in_half(&self, options: &LoadOptions) -> bool {
        self.attributes
            .iter()
            .find(|(name, _)| name == Self::HALF)
            .is_some_and(|(_, when)| when == Self::ALWAYS || options.settings.get(when).is_some_and(|value| value == "true"))
    }
}

/// Which open dimensions stay open in a loaded graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OpenDimensions {
    /// All but the batch: one plan serves every length.
    #[default]
    All,
    /// Only those of the attention cache; every other length gets a plan of its own when it first comes.
    Past,
    /// None: every combination of shapes gets a plan of its own when it first comes.
    None,
}

/// How a shard is to be loaded.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LoadOptions {
    /// Threads that one run may use.
    pub threads: usize,
    /// Which open dimensions stay open.
    pub open: OpenDimensions,
    /// What only the engine itself knows, such as `core_mask`, by name. An engine refuses those that it does not know.
    pub settings: BTreeMap<String, String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { threads: 1, open: OpenDimensions::All, settings: BTreeMap::new() }
    }
}

impl LoadOptions {
    /// Refuses settings beside those that `engine` knows, by name.
    pub fn check_settings(&self, engine: &str, known: &[&str]) -> Result<(), Error> {
        let Some(name) = self.settings.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
        let there_are = if known.is_empty() { "threads alone".to_owned() } else { format!("threads, {}", known.join(", ")) };
        Err(Error::unsupported(format!("engine {engine} knows no option `{name}`, there are {there_are}")))
    }
}

/// Computes graphs on one kind of accelerator.
pub trait Engine: Send + Sync + fmt::Debug {
    /// What it can do.
    fn info(&self) -> EngineInfo;

    /// Makes a shard ready to run. The caller checks the answers; `Engines::load` does both.
    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error>;
}

/// A shard that is ready to run.
pub trait Graph: Send + fmt::Debug {
    /// The inputs of `run`, in order.
    fn inputs(&self) -> &[TensorSpec];

    /// The outputs of `run`, in order.
    fn outputs(&self) -> &[TensorSpec];

    /// Memory that it holds, weights included.
    fn memory(&self) -> Bytes;

    /// Computes the outputs, in declared order, from the inputs, in declared order. Names what is wrong with an input.
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error>;

    /// Another user of the same native graph: weights are shared, the state of a run is not.
    fn share(&self) -> Result<Box<dyn Graph>, Error>;

    /// The inputs of each set of shapes that it was made for. A graph without open dimensions takes no other shapes than these.
    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        vec![self.inputs().to_vec()]
    }
}

/// Checks inputs against what a graph declares: their number, and type and shape of each.
pub fn check_inputs(specs: &[TensorSpec], inputs: &[Tensor]) -> Result<(), Error> {
    if specs.len() != inputs.len() {
        let names = specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Fault::Mismatch { what: "number of inputs", name: names, expected: specs.len().to_string(), found: inputs.len().to_string() }.into());
    }
    specs.iter().zip(inputs).try_for_each(|(spec, tensor)| spec.check(tensor))
}

/// Runs a batch through a graph that takes one row at a time: row by row, outputs put together again. Where all inputs declare a
/// first axis of 1 and come with the same other length there, each index of it is a row; else it is one plain run.
pub fn run_rows(graph: &mut dyn Graph, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
    let first = |tensor: &Tensor| tensor.shape().first().copied();
    let count = inputs.first().and_then(first).unwrap_or(1);
    let one_row = |spec: &TensorSpec| spec.shape.first().and_then(Dimension::fixed) == Some(1);
    if count <= 1 || !graph.inputs().iter().chain(graph.outputs()).all(one_row) || !inputs.iter().all(|tensor| first(tensor) == Some(count)) {
        return graph.run(inputs);
    }
    let columns = inputs.iter().map(Tensor::rows).collect::<Result<Vec<_>, _>>()?;
    let mut made: Vec<Vec<Tensor>> = vec![Vec::with_capacity(count); graph.outputs().len()];
    for row in 0..count {
        let outputs = graph.run(columns.iter().map(|column| column[row].clone()).collect())?;
        made.iter_mut().zip(outputs).for_each(|(all, one)| all.push(one));
    }
    made.iter().map(|rows| Tensor::concat(rows)).collect()
}

type SharedGraph = Mutex<Box<dyn Graph>>;
type Key = (String, Digest, LoadOptions);

/// The engines of this process, and `auto`, which chooses among them. Loading the same shard twice shares one native graph for as
/// long as a user of it lives.
#[derive(Debug)]
pub struct Engines {
    /// `auto` is one of them.
    engines: Vec<Arc<dyn Engine>>,
    auto: Arc<Auto>,
    graphs: Mutex<HashMap<Key, Weak<SharedGraph>>>,
}

impl Default for Engines {
    fn default() -> Self {
        Self::new(vec![Arc::new(TractEngine), Arc::new(RtenEngine)])
    }
}

impl Engines {
    /// A registry of these engines, and of `auto` behind them; the first is the default one.
    pub fn new(mut engines: Vec<Arc<dyn Engine>>) -> Self {
        let auto = Arc::new(Auto::new(&engines, AutoSettings::default()));
        engines.push(auto.clone());
        Self { engines, auto, graphs: Mutex::default() }
    }

    /// The same with how `auto` measures, and where it keeps what came out.
    #[must_use]
    pub fn with_auto(self, settings: AutoSettings) -> Self {
        let place = self.engines.iter().position(|engine| engine.info().name == AUTO).unwrap_or_default();
        let others: Vec<Arc<dyn Engine>> = self.engines.into_iter().filter(|engine| engine.info().name != AUTO).collect();
        let auto = Arc::new(Auto::new(&others, settings));
        let mut engines = others;
        engines.insert(place, auto.clone());
        Self { engines, auto, graphs: self.graphs }
    }

    /// The same with another default engine; the error lists the names there are.
    pub fn with_default(mut self, name: &str) -> Result<Self, Error> {
        let default = Arc::clone(self.get(name)?);
        self.engines.retain(|engine| !Arc::ptr_eq(engine, &default));
        self.engines.insert(0, default);
        Ok(self)
    }

    /// What each engine says of itself, the default one first.
    pub fn info(&self) -> Vec<EngineInfo> {
        self.engines.iter().map(|engine| engine.info()).collect()
    }

    /// An engine by name; the error lists the names there are.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Engine>, Error> {
        self.engines.iter().find(|engine| engine.info().name == name).ok_or_else(|| {
            let known = self.engines.iter().map(|engine| engine.info().name).collect();
            Fault::UnknownEngine { name: name.to_owned(), known }.into()
        })
    }

    /// The engine that devices of this process are calibrated with and blocks are timed on: the one that serves where nothing else
    /// is said, which is the first that computes on the CPU and can be used. `auto` may take another one for each shard; the one
    /// that is fastest on the calibration's models stands for it, and what is seen in service corrects the rest. Takes about as
    /// long as a calibration then: not for an async thread.
    pub fn calibrating(&self) -> Result<Arc<dyn Engine>, Error> {
        let serves = |info: &EngineInfo| info.accelerator == "cpu" && info.unusable().is_none();
        let Some(engine) = self.engines.iter().find(|engine| serves(&engine.info())) else {
            return Err(Fault::NoEngine {
                refusals: self.info().into_iter().filter_map(|info| Some((info.name.clone(), info.unusable()?.to_owned()))).collect(),
            }
            .into());
        };
        self.standing_for(&engine.info().name)
    }

    /// The engine of this name; for `auto` the one that stands for it, which is found in about the time of a calibration.
    pub fn standing_for(&self, name: &str) -> Result<Arc<dyn Engine>, Error> {
        if name == AUTO { self.auto.representative() } else { self.get(name).cloned() }
    }

    /// What `auto` knows of a shard: what came out of each engine when it was measured on this machine.
    pub fn measured(&self, shard: &Digest) -> Vec<Measured> {
        self.auto.known(shard)
    }

    /// The same, and what is not known is measured now. Refuses a shard without golden answers. Takes as long as loading the shard
    /// with every engine: not for an async thread.
    pub fn measure(&self, shard: &Shard, options: &LoadOptions) -> Result<Vec<Measured>, Error> {
        self.auto.measure(shard, options)
    }

    /// Loads a shard and checks its golden answers. Where the graph does not load with open dimensions, or answers wrongly,
    /// it is tried again with fewer of them; the error is the one of the last try.
    pub fn load(&self, engine: &str, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        if engine == AUTO {
            let names = self.auto.order(shard, options)?;
            return auto::first_that_loads(names.iter().map(|name| self.load(name, shard, options)), shard);
        }
        let engine = self.get(engine)?;
        let key = (engine.info().name, shard.digest, options.clone());
        let known = self.lock().get(&key).and_then(Weak::upgrade);
        let shared = match known {
            Some(shared) => shared,
            None => {
                let shared = Arc::new(Mutex::new(load_checked(engine.as_ref(), shard, options)?));
                let mut graphs = self.lock();
                graphs.retain(|_, graph| graph.strong_count() > 0);
                graphs.insert(key, Arc::downgrade(&shared));
                shared
            }
        };
        let graph = shared.lock().unwrap_or_else(PoisonError::into_inner).share()?;
        Ok(Box::new(Held { graph, _shared: shared }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<SharedGraph>>> {
        // The map is whole between any two statements, so a panic elsewhere leaves it sound.
        self.graphs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads with as many open dimensions as give the golden answers.
pub(crate) fn load_checked(engine: &dyn Engine, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
    let attempt = |open: OpenDimensions| {
        let mut graph = engine.load(shard, &LoadOptions { open, ..options.clone() })?;
        if let Some(golden) = &shard.golden {
            // Only now: some engines know what they are once something is loaded.
            let is_coarse = engine.info().computes_in_half(options);
            golden::check_loaded(graph.as_mut(), shard, golden, is_coarse).map_err(|error| error.of(&shard.id))?;
        }
        Ok(graph)
    };
    let open = shard.inputs.iter().any(|spec| spec.shape.iter().any(|dimension| dimension.fixed().is_none()));
    let tries: &[OpenDimensions] = match options.open {
        OpenDimensions::All if open => &[OpenDimensions::All, OpenDimensions::Past, OpenDimensions::None],
        OpenDimensions::Past if open => &[OpenDimensions::Past, OpenDimensions::None],
        _ => &[OpenDimensions::None],
    };
    let (last, first) = tries.split_last().unwrap_or((&OpenDimensions::None, &[]));
    first.iter().find_map(|&open| attempt(open).ok()).map_or_else(|| attempt(*last), Ok)
}

/// A graph that keeps the shared one in the registry alive.
#[derive(Debug)]
struct Held {
    graph: Box<dyn Graph>,
    _shared: Arc<SharedGraph>,
}

impl Graph for Held {
    fn inputs(&self) -> &[TensorSpec] {
        self.graph.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.graph.outputs()
    }

    fn memory(&self) -> Bytes {
        self.graph.memory()
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        self.graph.run(inputs)
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { graph: self.graph.share()?, _shared: Arc::clone(&self._shared) }))
    }

    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        self.graph.buckets()
    }
}
