//! What an engine is, and the registry that loads shards through one: shared by digest, and checked against the golden answers first.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use host_core::units::Bytes;

use crate::{
    digest::Digest,
    element_type::ElementType,
    error::{Error, Fault},
    golden,
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

    /// Why nothing can be loaded with it here; none where something can.
    pub fn unusable(&self) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == Self::UNUSABLE).map(|(_, reason)| reason.as_str())
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

/// The engines of this process. Loading the same shard twice shares one native graph for as long as a user of it lives.
#[derive(Debug)]
pub struct Engines {
    engines: Vec<Arc<dyn Engine>>,
    graphs: Mutex<HashMap<Key, Weak<SharedGraph>>>,
}

impl Default for Engines {
    fn default() -> Self {
        Self::new(vec![Arc::new(TractEngine)])
    }
}

impl Engines {
    /// A registry of these engines; the first is the default one.
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self { engines, graphs: Mutex::default() }
    }

    /// What each engine says of itself.
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

    /// Loads a shard and checks its golden answers. Where the graph does not load with open dimensions, or answers wrongly,
    /// it is tried again with fewer of them; the error is the one of the last try.
    pub fn load(&self, engine: &str, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
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

fn load_checked(engine: &dyn Engine, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
    let attempt = |open: OpenDimensions| {
        let mut graph = engine.load(shard, &LoadOptions { open, ..options.clone() })?;
        if let Some(golden) = &shard.golden {
            golden::check(graph.as_mut(), golden).map_err(|error| error.of(&shard.id))?;
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
}
