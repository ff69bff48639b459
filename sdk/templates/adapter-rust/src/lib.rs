//! {{name}}: runs shards on the CPU through the engines of the host. It offers each engine that computes there, loads a shard
//! with the one that was chosen, and hands tensors on as they come: no byte of them enters this guest.
//!
//! One instance serves one shard. Weights and activations stay in the host; an adapter holds handles.

use shardhost_sdk::{
    adapter::{Call, Engine, EngineError, EngineErrorKind, EngineInfo, Fit, HostEngine, Offer, Refusal, Roles, ShardAdapter},
    export_adapter, no_settings,
};

/// The accelerator that this adapter is for, as engines name it. The slot in `plugin.toml` names the same.
const ACCELERATOR: &str = "cpu";

/// The adapter. `E` is the host's engines in the sandbox, and a double in tests.
#[derive(Debug)]
pub struct Adapter<E: Engine = HostEngine> {
    engine: E,
    graph: Option<E::Graph>,
}

impl<E: Engine> Adapter<E> {
    fn engines(&self) -> Vec<EngineInfo> {
        self.engine.engines().into_iter().filter(|info| info.accelerator == ACCELERATOR).collect()
    }
}

impl<E: Engine> ShardAdapter for Adapter<E> {
    type Engine = E;

    fn configure(config: &str) -> Result<Self, String> {
        no_settings("{{name}}", config)?;
        Ok(Self { engine: E::default(), graph: None })
    }

    /// What this device has for this adapter. The figures let the host prove that a plan fits.
    fn probe(&mut self) -> Vec<Offer> {
        self.engines().into_iter().map(offer).collect()
    }

    /// Prepares the shard with the engine that was chosen: `offer` is an index into what `probe` answers.
    fn load(&mut self, shard: E::ShardFile, offer: u32) -> Result<Fit, Refusal> {
        let engines = self.engines();
        let missing = || Refusal::because(format!("offer {offer} does not exist, there are {}", engines.len()));
        let info = engines.get(offer as usize).ok_or_else(missing)?;
        let refused = |error: EngineError| Refusal::because(format!("engine {}: {}", info.name, error.message));
        let graph = self.engine.load(&info.name, &shard, &[]).map_err(refused)?;
        let memory_bytes = self.engine.memory_bytes(&graph);
        self.graph = Some(graph);
        Ok(Fit { memory_bytes, attributes: vec![("engine".to_owned(), info.name.clone())] })
    }

    /// Computes the shard. Tensors come and go in the shard's declared order.
    fn run(&mut self, _call: &Call, inputs: Vec<E::Tensor>) -> Result<Vec<E::Tensor>, EngineError> {
        let unloaded = || EngineError { kind: EngineErrorKind::Invalid, message: "no shard is loaded".to_owned() };
        self.engine.run(self.graph.as_ref().ok_or_else(unloaded)?, inputs)
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

export_adapter!(Adapter);

#[cfg(test)]
mod tests {
    use shardhost_sdk::adapter::{Attribute, ElementType};

    use super::*;

    /// A machine with one engine for the CPU and one for something else. Its tensors are numbers and its graphs add one.
    #[derive(Default)]
    struct Double;

    impl Engine for Double {
        type Tensor = u32;
        type ShardFile = ();
        type Graph = ();

        fn engines(&self) -> Vec<EngineInfo> {
            let info = |name: &str, accelerator: &str| EngineInfo {
                name: name.to_owned(),
                version: "1".to_owned(),
                accelerator: accelerator.to_owned(),
                memory_bytes: 1e9,
                weight_factor: 1.1,
                fixed_bytes: 4096.0,
                element_types: vec![ElementType::Fp32],
                attributes: Vec::new(),
            };
            vec![info("fast", "npu"), info("plain", "cpu")]
        }

        fn load(&self, _engine: &str, _shard: &(), _options: &[Attribute]) -> Result<(), EngineError> {
            Ok(())
        }

        fn memory_bytes(&self, _graph: &()) -> f64 {
            100.0
        }

        fn run(&self, _graph: &(), inputs: Vec<u32>) -> Result<Vec<u32>, EngineError> {
            Ok(inputs.into_iter().map(|input| input + 1).collect())
        }
    }

    #[test]
    fn engines_of_the_cpu_are_offered_and_a_loaded_shard_runs() {
        let mut adapter = Adapter::<Double>::configure("{}").unwrap();
        assert_eq!(adapter.probe().len(), 1);
        assert_eq!(adapter.load((), 0).unwrap().attributes, [("engine".to_owned(), "plain".to_owned())]);
        let call = Call { request: 0, sequence: 0, phase: shardhost_sdk::adapter::Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 };
        assert_eq!(adapter.run(&call, vec![1]).unwrap(), [2]);
        assert!(adapter.load((), 7).is_err());
    }
}
