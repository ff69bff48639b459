//! Drives a shard like a sound adapter, but for what its configuration names. For tests only.

use shardhost_sdk::{
    adapter::{Call, Engine, EngineError, EngineErrorKind, Fit, Graph, HostEngine, Offer, Refusal, Roles, ShardAdapter, ShardFile, Tensor},
    export_adapter,
};

/// What its configuration names.
#[derive(Debug)]
pub struct Misbehaving {
    how: String,
    graph: Option<Graph>,
    runs: u32,
}

impl ShardAdapter for Misbehaving {
    type Engine = HostEngine;

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { how: config.trim_matches(['"', '{', '}']).to_owned(), graph: None, runs: 0 })
    }

    fn probe(&mut self) -> Vec<Offer> {
        let offer = |info: shardhost_sdk::adapter::EngineInfo| Offer {
            accelerator: info.accelerator,
            memory_pool: 0,
            memory_bytes: info.memory_bytes,
            weight_factor: info.weight_factor,
            fixed_bytes: info.fixed_bytes,
            element_types: info.element_types,
            roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
            attributes: Vec::new(),
        };
        HostEngine.engines().into_iter().map(offer).collect()
    }

    fn load(&mut self, shard: ShardFile, _offer: u32) -> Result<Fit, Refusal> {
        if self.how == "refuse-load" {
            return Err(Refusal { reason: format!("{} is too large", shard.id()), nearest: None, short_bytes: 42.0 });
        }
        let engine = if self.how == "unknown-engine" { "abacus" } else { "tract" };
        let graph = HostEngine.load(engine, &shard, &[]).map_err(|error| Refusal::because(error.message))?;
        let memory_bytes = graph.memory_bytes();
        self.graph = Some(graph);
        Ok(Fit { memory_bytes, attributes: Vec::new() })
    }

    #[allow(clippy::panic, reason = "to panic is what it is for")]
    fn run(&mut self, _call: &Call, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        self.runs += 1;
        let graph = self.graph.as_ref().ok_or_else(|| EngineError { kind: EngineErrorKind::Invalid, message: "no shard".to_owned() })?;
        match self.how.as_str() {
            "trap" => panic!("this adapter always fails"),
            "trap-once-in-two" if self.runs == 2 => panic!("this adapter fails in its second run"),
            "no-output" => Ok(Vec::new()),
            "returns-inputs" => Ok(inputs),
            // Every byte through the guest and back.
            "copies" => {
                let copy = |tensor: &Tensor| Tensor::new(tensor.element_type(), &tensor.shape(), &tensor.read());
                graph.run(inputs.iter().map(copy).collect())
            }
            _ => graph.run(inputs),
        }
    }
}

export_adapter!(Misbehaving);
