//! Engines that do what a test wants.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use host_core::units::Bytes;
use host_engine::{ElementType, Engine, EngineInfo, Error, Fault, Golden, Graph, LoadOptions, Shard, Tensor, TensorSpec};

/// How a double computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// The golden outputs, at once.
    Right,
    /// The golden outputs, after a while.
    Late,
    /// Zeros, at once.
    Wrong,
    /// It refuses the shard.
    Refuses,
    /// It fails to load in a way that may pass.
    Fails,
}

/// An engine of the CPU that answers from the golden outputs, whatever it is asked.
#[derive(Debug)]
pub struct Double {
    pub name: &'static str,
    pub version: &'static str,
    pub manner: Manner,
    pub unusable: bool,
    loads: AtomicUsize,
    runs: Arc<AtomicUsize>,
}

impl Double {
    pub fn new(name: &'static str, manner: Manner) -> Arc<Self> {
        Arc::new(Self { name, version: "1", manner, unusable: false, loads: AtomicUsize::new(0), runs: Arc::default() })
    }

    pub fn unusable(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, version: "1", manner: Manner::Right, unusable: true, loads: AtomicUsize::new(0), runs: Arc::default() })
    }

    pub fn of_version(name: &'static str, version: &'static str) -> Arc<Self> {
        Arc::new(Self { name, version, manner: Manner::Right, unusable: false, loads: AtomicUsize::new(0), runs: Arc::default() })
    }

    /// How often a shard was to be loaded.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// How often its graphs were run.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Engine for Double {
    fn info(&self) -> EngineInfo {
        EngineInfo {
            name: self.name.into(),
            version: self.version.into(),
            accelerator: "cpu".into(),
            memory: None,
            weight_factor: 3.0,
            fixed_bytes: Bytes::mib(64),
            element_types: vec![ElementType::Fp32],
            attributes: if self.unusable { vec![(EngineInfo::UNUSABLE.to_owned(), "a test wants it so".to_owned())] } else { Vec::new() },
        }
    }

    fn load(&self, shard: &Shard, _options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        match self.manner {
            Manner::Refuses => return Err(Error::unsupported(format!("operator `Relu` is not known to\n{}", self.name))),
            Manner::Fails => return Err(Fault::Engine { engine: self.name.into(), doing: "start", reason: "the library is busy".into() }.into()),
            Manner::Right | Manner::Late | Manner::Wrong => {}
        }
        let Some(Golden { outputs, .. }) = shard.golden.clone() else { return Err(Error::unsupported("it has no answers to give")) };
        let zeros = |tensor: &Tensor| Tensor::zeros(tensor.element_type(), tensor.shape()).expect("as large as the right one");
        let answers = if self.manner == Manner::Wrong { outputs.iter().map(zeros).collect() } else { outputs };
        let wait = if self.manner == Manner::Late { Duration::from_millis(20) } else { Duration::ZERO };
        Ok(Box::new(Answers { inputs: shard.inputs.clone(), outputs: shard.outputs.clone(), answers, wait, name: self.name, runs: Arc::clone(&self.runs) }))
    }
}

#[derive(Clone, Debug)]
struct Answers {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    answers: Vec<Tensor>,
    wait: Duration,
    name: &'static str,
    runs: Arc<AtomicUsize>,
}

impl Graph for Answers {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// The length of its engine's name, by which tests tell whose it is.
    fn memory(&self) -> Bytes {
        Bytes(self.name.len() as u64)
    }

    fn run(&mut self, _inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.wait);
        Ok(self.answers.clone())
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(self.clone()))
    }
}
