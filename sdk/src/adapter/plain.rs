//! An adapter that leaves all work to an engine of the host: it offers each engine of its kind, loads a shard with the one that was
//! chosen, and hands tensors on as they come. What is particular to one accelerator is in its [`PlainConfig`].

use super::{Attribute, Call, Engine, EngineError, EngineErrorKind, EngineInfo, Fit, HostEngine, Level, Offer, Refusal, Roles, ShardAdapter, log};

/// The attribute with which an engine says why nothing can be loaded with it here.
const UNUSABLE: &str = "unusable";
/// Attributes of engines that offers repeat, because people choose devices by them.
const REPEATED: [&str; 1] = ["gpu"];

/// What an adapter for one kind of accelerator knows: read from its slot's configuration.
pub trait PlainConfig: Sized + 'static {
    /// The kind of accelerator, as engines name it.
    const ACCELERATOR: &'static str;
    /// Which memory its offers take from: 0 is the machine's own, offers of other accelerators with the same number share theirs.
    const MEMORY_POOL: u32;

    /// Reads JSON; the error is shown to whoever installs the plugin.
    fn read(json: &str) -> Result<Self, String>;

    /// The only engine to offer; none for every engine of this kind.
    fn engine(&self) -> Option<&str> {
        None
    }

    /// Options to load with, at least one list of them. The next one is tried where a shard loaded with these answered too far from
    /// what it must.
    fn attempts(&self) -> Vec<Vec<Attribute>>;
}

/// The adapter; `E` is a double in tests.
#[derive(Debug)]
pub struct PlainAdapter<C: PlainConfig, E: Engine = HostEngine> {
    /// What it computes with.
    pub engine: E,
    config: C,
    graph: Option<E::Graph>,
}

impl<C: PlainConfig, E: Engine> PlainAdapter<C, E> {
    /// The engines to offer, the host's default first. One that cannot be used here is left out.
    fn engines(&self) -> Vec<EngineInfo> {
        let is_wanted = |info: &EngineInfo| info.accelerator == C::ACCELERATOR && self.config.engine().is_none_or(|name| name == info.name);
        self.engine.engines().into_iter().filter(|info| is_wanted(info) && unusable(info).is_none()).collect()
    }

    fn attempt(&self, info: &EngineInfo, shard: &E::ShardFile) -> Result<(E::Graph, Vec<Attribute>), EngineError> {
        let attempts = self.config.attempts();
        let (last, others) = attempts.split_last().map_or((Vec::new(), &[][..]), |(last, others)| (last.clone(), others));
        for options in others {
            match self.engine.load(&info.name, shard, options) {
                Ok(graph) => return Ok((graph, options.clone())),
                Err(error) if error.kind == EngineErrorKind::ProbeFailed => {
                    log(Level::Warn, &format!("engine {} with {}: {}; trying otherwise", info.name, words(options), error.message));
                }
                Err(error) => return Err(error),
            }
        }
        self.engine.load(&info.name, shard, &last).map(|graph| (graph, last))
    }
}

impl<C: PlainConfig, E: Engine> ShardAdapter for PlainAdapter<C, E> {
    type Engine = E;

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { engine: E::default(), config: C::read(config)?, graph: None })
    }

    fn probe(&mut self) -> Vec<Offer> {
        for info in self.engine.engines().iter().filter(|info| info.accelerator == C::ACCELERATOR) {
            if let Some(reason) = unusable(info) {
                log(Level::Warn, &format!("engine {} cannot be used here: {reason}", info.name));
            }
        }
        self.engines().into_iter().map(offer::<C>).collect()
    }

    fn load(&mut self, shard: E::ShardFile, offer: u32) -> Result<Fit, Refusal> {
        let engines = self.engines();
        let missing = || Refusal::because(format!("offer {offer} does not exist, there are {}", engines.len()));
        let info = engines.get(offer as usize).ok_or_else(missing)?;
        let refused = |error: EngineError| Refusal::because(format!("engine {}: {}", info.name, error.message));
        let (graph, options) = self.attempt(info, &shard).map_err(refused)?;
        let memory_bytes = self.engine.memory_bytes(&graph);
        self.graph = Some(graph);
        let attributes = [("engine".to_owned(), info.name.clone())].into_iter().chain(options).collect();
        Ok(Fit { memory_bytes, attributes })
    }

    fn run(&mut self, _call: &Call, inputs: Vec<E::Tensor>) -> Result<Vec<E::Tensor>, EngineError> {
        let unloaded = || EngineError { kind: EngineErrorKind::Invalid, message: "no shard is loaded".to_owned() };
        let graph = self.graph.as_ref().ok_or_else(unloaded)?;
        self.engine.run(graph, inputs)
    }
}

fn unusable(info: &EngineInfo) -> Option<&str> {
    info.attributes.iter().find(|(name, _)| name == UNUSABLE).map(|(_, reason)| reason.as_str())
}

fn words(options: &[Attribute]) -> String {
    options.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

fn offer<C: PlainConfig>(info: EngineInfo) -> Offer {
    let mut attributes = vec![("engine".to_owned(), info.name), ("engine-version".to_owned(), info.version)];
    attributes.extend(info.attributes.into_iter().filter(|(name, _)| REPEATED.contains(&name.as_str())));
    Offer {
        accelerator: C::ACCELERATOR.to_owned(),
        memory_pool: C::MEMORY_POOL,
        memory_bytes: info.memory_bytes,
        weight_factor: info.weight_factor,
        fixed_bytes: info.fixed_bytes,
        element_types: info.element_types,
        roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
        attributes,
    }
}
