//! A graph in a driver process. What it takes to load it again is kept here, so that it outlives the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_core::units::Bytes;
use host_engine::{Error, Fault, Graph, LoadOptions, Shard, Tensor, TensorSpec, check_inputs};

use crate::{
    connection::{Connection, Failure, Loaded},
    engine::Driver,
    message::Message,
    process::Process,
};

/// A shard that was loaded, wherever it is now.
#[derive(Debug)]
pub(crate) struct Model {
    driver: Arc<Driver>,
    shard: Shard,
    options: LoadOptions,
    loaded: Loaded,
    home: Mutex<Option<Home>>,
}

/// Where a graph is loaded.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) process: Arc<Process>,
    pub(crate) graph: u64,
}

impl Model {
    /// Has a shard loaded, with the first user's connection to it.
    pub(crate) fn load(driver: Arc<Driver>, shard: &Shard, options: &LoadOptions) -> Result<DriverGraph, Error> {
        // Golden answers are for the registry to check; here they would only take memory.
        let shard = Shard { golden: None, ..shard.clone() };
        let (home, connection, loaded) = driver.retried("load a shard", || driver.load(&shard, options))?;
        let model = Self { driver, shard, options: options.clone(), loaded, home: Mutex::new(Some(home)) };
        Ok(DriverGraph { connection: Some(connection), model: Arc::new(model) })
    }

    /// A connection for one more user. Loads the shard again where the process that had it is gone; others who want it wait for that.
    fn connect(&self) -> Result<Connection, Failure> {
        let mut home = self.home();
        if let Some(Home { process, graph }) = home.as_ref().filter(|home| !home.process.0.is_dead()) {
            return Connection::open(Arc::clone(&process.0), *graph, None, &self.driver.settings.limits);
        }
        *home = None;
        let (found, connection, _) = self.driver.load(&self.shard, &self.options)?;
        *home = Some(found);
        Ok(connection)
    }

    fn home(&self) -> MutexGuard<'_, Option<Home>> {
        // It is replaced whole, so a panic elsewhere leaves it sound.
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let Some(Home { process, graph }) = self.home().take() else { return };
        if !process.0.is_dead() {
            // One that does not take it is about to die, or ends for want of graphs.
            let _ = process.0.say(&Message::Forget { graph }, &[]);
        }
        self.driver.let_go(process);
    }
}

/// One user of a graph.
#[derive(Debug)]
pub(crate) struct DriverGraph {
    // Dropped first: the process ends with the model, and should find nobody connected then.
    connection: Option<Connection>,
    model: Arc<Model>,
}

impl DriverGraph {
    fn run_once(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let connection = match self.connection.take().filter(|connection| !connection.is_dead()) {
            Some(connection) => connection,
            None => self.model.connect()?,
        };
        self.connection.insert(connection).run(inputs)
    }

    /// What the engine answers is held against what it has declared, as that of every engine is.
    fn check(&self, outputs: &[Tensor]) -> Result<(), Error> {
        let specs = &self.model.loaded.outputs;
        if specs.len() != outputs.len() {
            let name = self.model.driver.settings.engine.clone();
            return Err(Fault::Mismatch { what: "number of outputs", name, expected: specs.len().to_string(), found: outputs.len().to_string() }.into());
        }
        specs.iter().zip(outputs).try_for_each(|(spec, tensor)| spec.check(tensor))
    }
}

impl Graph for DriverGraph {
    fn inputs(&self) -> &[TensorSpec] {
        &self.model.loaded.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.model.loaded.outputs
    }

    fn memory(&self) -> Bytes {
        self.model.loaded.memory
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        check_inputs(self.inputs(), &inputs)?;
        let driver = Arc::clone(&self.model.driver);
        driver.count_call();
        let outputs = driver.retried("compute", || self.run_once(&inputs))?;
        self.check(&outputs)?;
        Ok(outputs)
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { connection: None, model: Arc::clone(&self.model) }))
    }

    fn buckets(&self) -> Vec<Vec<TensorSpec>> {
        self.model.loaded.buckets.clone()
    }
}
