//! Runs shards on the CPU through an engine of the host: the one that its configuration names, or the host's default one. Loads a
//! shard with it, and hands tensors on as they come: no byte of them enters the guest.

use shardhost_sdk::{
    adapter::{Attribute, Call, Engine, EngineError, EngineErrorKind, EngineInfo, Fit, HostEngine, Level, Offer, Refusal, Roles, ShardAdapter, log},
    export_adapter,
};

pub mod config;

use config::Config;

/// The accelerator that this adapter is for, as engines name it.
const ACCELERATOR: &str = "cpu";
/// The attribute of an engine that says why nothing can be loaded with it.
const UNUSABLE: &str = "unusable";

/// The adapter; `E` is a double in tests.
#[derive(Debug)]
pub struct CpuAdapter<E: Engine = HostEngine> {
    engine: E,
    config: Config,
    graph: Option<E::Graph>,
}

impl<E: Engine> CpuAdapter<E> {
    /// The engine that the settings name, or else the first that can be used: the host lists its default one first. The error says
    /// why there is none.
    fn chosen(&self) -> Result<EngineInfo, String> {
        let infos = self.engine.engines().into_iter().filter(|info| info.accelerator == ACCELERATOR);
        let Some(name) = &self.config.engine else {
            return infos.into_iter().find(|info| unusable(info).is_none()).ok_or_else(|| "no engine of the host computes on the CPU".to_owned());
        };
        let infos: Vec<EngineInfo> = infos.collect();
        let there_are = || infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ");
        let info =
            infos.iter().find(|info| info.name == *name).ok_or_else(|| format!("engine {name} does not compute on the CPU here, there are {}", there_are()))?;
        match unusable(info) {
            Some(reason) => Err(format!("engine {name} cannot be used: {reason}")),
            None => Ok(info.clone()),
        }
    }

    fn options(&self) -> Vec<Attribute> {
        self.config.threads.map(|threads| ("threads".to_owned(), threads.to_string())).into_iter().collect()
    }
}

fn unusable(info: &EngineInfo) -> Option<&str> {
    info.attributes.iter().find(|(name, _)| name == UNUSABLE).map(|(_, reason)| reason.as_str())
}

impl<E: Engine> ShardAdapter for CpuAdapter<E> {
    type Engine = E;

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { engine: E::default(), config: Config::read(config)?, graph: None })
    }

    fn probe(&mut self) -> Vec<Offer> {
        match self.chosen() {
            Ok(info) => vec![offer(info)],
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
        let graph = self.engine.load(&info.name, &shard, &self.options()).map_err(refused)?;
        let memory_bytes = self.engine.memory_bytes(&graph);
        self.graph = Some(graph);
        Ok(Fit { memory_bytes, attributes: vec![("engine".to_owned(), info.name.clone())] })
    }

    fn run(&mut self, _call: &Call, inputs: Vec<E::Tensor>) -> Result<Vec<E::Tensor>, EngineError> {
        let unloaded = || EngineError { kind: EngineErrorKind::Invalid, message: "no shard is loaded".to_owned() };
        let graph = self.graph.as_ref().ok_or_else(unloaded)?;
        self.engine.run(graph, inputs)
    }
}

/// Engines of the CPU compute in the machine's own memory.
fn offer(info: EngineInfo) -> Offer {
    Offer {
        accelerator: ACCELERATOR.to_owned(),
        memory_pool: 0,
        memory_bytes: info.memory_bytes,
        weight_factor: info.weight_factor,
        fixed_bytes: info.fixed_bytes,
        element_types: info.element_types,
        roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
        attributes: vec![("engine".to_owned(), info.name), ("engine-version".to_owned(), info.version)],
    }
}

export_adapter!(CpuAdapter);

#[cfg(test)]
mod tests;
