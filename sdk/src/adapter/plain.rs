//! An adapter that leaves all work to an engine of the host: the one that its configuration names, or the first of its kind that can be
//! used. It makes one offer, loads shards with that engine, and hands tensors on as they come. What is particular to one accelerator is
//! in its [`PlainConfig`].

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

    /// The engine to use; none for the first of this kind that can be used.
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
    /// The engine that the settings name, or else the first that can be used: the host lists its default one first. The error says
    /// why there is none.
    fn chosen(&self) -> Result<EngineInfo, String> {
        let kind = C::ACCELERATOR;
        let infos: Vec<EngineInfo> = self.engine.engines().into_iter().filter(|info| info.accelerator == kind).collect();
        let Some(name) = self.config.engine() else {
            let usable = infos.iter().find(|info| unusable(info).is_none());
            return usable.cloned().ok_or_else(|| nothing(kind, &infos));
        };
        let there_are = || infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ");
        let info = infos.iter().find(|info| info.name == name).ok_or_else(|| format!("engine {name} is not one for {kind} here, there are {}", there_are()))?;
        match unusable(info) {
            Some(reason) => Err(format!("engine {name} cannot be used: {reason}")),
            None => Ok(info.clone()),
        }
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
        match self.chosen() {
            Ok(info) => vec![offer::<C>(info)],
            Err(reason) => {
                log(Level::Warn, &format!("nothing is offered: {reason}"));
                Vec::new()
            }
        }
    }

    fn load(&mut self, shard: E::ShardFile, offer: u32) -> Result<Fit, Refusal> {
        let info = self.chosen().map_err(Refusal::because)?;
        if offer > 0 {
            return Err(Refusal::because(format!("offer {offer} does not exist, there is 1")));
        }
        let refused = |error: EngineError| Refusal::because(format!("engine {}: {}", info.name, error.message));
        let (graph, options) = self.attempt(&info, &shard).map_err(refused)?;
        let memory_bytes = self.engine.memory_bytes(&graph);
        self.graph = Some(graph);
        let attributes = [("engine".to_owned(), info.name)].into_iter().chain(options).collect();
        Ok(Fit { memory_bytes, attributes })
    }

    fn run(&mut self, _call: &Call, inputs: Vec<E::Tensor>) -> Result<Vec<E::Tensor>, EngineError> {
        let unloaded = || EngineError { kind: EngineErrorKind::Invalid, message: "no shard is loaded".to_owned() };
        let graph = self.graph.as_ref().ok_or_else(unloaded)?;
        self.engine.run(graph, inputs)
    }
}

/// Why none of these engines can be used.
fn nothing(kind: &str, infos: &[EngineInfo]) -> String {
    let reasons: Vec<String> = infos.iter().filter_map(|info| Some(format!("{} cannot be used: {}", info.name, unusable(info)?))).collect();
    if reasons.is_empty() { format!("no engine of the host is one for {kind}") } else { format!("no engine for {kind} can be used: {}", reasons.join("; ")) }
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
