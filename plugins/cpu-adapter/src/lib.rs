//! Runs shards on the CPU through an engine of the host. Offers each engine that computes there, loads a shard with the
//! one that was chosen, and hands tensors on as they come: no byte of them enters the guest.

use shardhost_sdk::{
    adapter::{Attribute, Call, Engine, EngineError, EngineErrorKind, EngineInfo, Fit, HostEngine, Offer, Refusal, Roles, ShardAdapter},
    export_adapter,
};

pub mod config;

use config::Config;

/// The accelerator that this adapter is for, as engines name it.
const ACCELERATOR: &str = "cpu";

/// The adapter; `E` is a double in tests.
#[derive(Debug)]
pub struct CpuAdapter<E: Engine = HostEngine> {
    engine: E,
    config: Config,
    graph: Option<E::Graph>,
}

impl<E: Engine> CpuAdapter<E> {
    fn engines(&self) -> Vec<EngineInfo> {
        let wanted = |info: &EngineInfo| info.accelerator == ACCELERATOR && self.config.engine.as_ref().is_none_or(|name| *name == info.name);
        self.engine.engines().into_iter().filter(wanted).collect()
    }

    fn options(&self) -> Vec<Attribute> {
        self.config.threads.map(|threads| ("threads".to_owned(), threads.to_string())).into_iter().collect()
    }
}

impl<E: Engine> ShardAdapter for CpuAdapter<E> {
    type Engine = E;

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { engine: E::default(), config: Config::read(config)?, graph: None })
    }

    fn probe(&mut self) -> Vec<Offer> {
        self.engines().into_iter().map(offer).collect()
    }

    fn load(&mut self, shard: E::ShardFile, offer: u32) -> Result<Fit, Refusal> {
        let engines = self.engines();
        let missing = || Refusal::because(format!("offer {offer} does not exist, there are {}", engines.len()));
        let info = engines.get(offer as usize).ok_or_else(missing)?;
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

/// All CPU engines compute in the machine's own memory, so their offers share one pool.
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
