//! Drives a shard like a sound adapter, but for what its configuration names. For tests only.

use std::hint::black_box;

use shardhost_sdk::{
    adapter::{Call, ElementType, Engine, EngineError, EngineErrorKind, Fit, Graph, HostEngine, Offer, Refusal, Roles, ShardAdapter, ShardFile, Tensor},
    export_adapter,
};

const WITHOUT_GRAPH: [&str; 13] = [
    "trap",
    "loop",
    "tensor-flood",
    "tensor-bytes",
    "wrong-length",
    "wrong-shape",
    "overflowing-shape",
    "many-axes",
    "no-output",
    "returns-inputs",
    "dropped-handle",
    "invented-handle",
    "kept-handle",
];

/// What its configuration names.
#[derive(Debug)]
pub struct Misbehaving {
    how: String,
    graph: Option<Graph>,
    runs: u32,
    kept: Option<Tensor>,
}

impl ShardAdapter for Misbehaving {
    type Engine = HostEngine;

    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { how: config.trim_matches(['"', '{', '}']).to_owned(), graph: None, runs: 0, kept: None })
    }

    fn probe(&mut self) -> Vec<Offer> {
        let offer = |info: shardhost_sdk::adapter::EngineInfo| Offer {
            accelerator: info.accelerator,
            memory_pool: 0,
            memory_bytes: if self.how == "infinite-offer" { f64::INFINITY } else { info.memory_bytes },
            weight_factor: if self.how == "not-a-number-offer" { f64::NAN } else { info.weight_factor },
            fixed_bytes: if self.how == "negative-offer" { -1.0 } else { info.fixed_bytes },
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
        let load = || HostEngine.load(engine, &shard, &[]).map_err(|error| Refusal::because(error.message));
        match self.how.as_str() {
            "graph-flood" => loop {
                std::mem::forget(load()?);
            },
            // These never compute, and preparing a graph takes long.
            how if WITHOUT_GRAPH.contains(&how) => return Ok(Fit { memory_bytes: 0.0, attributes: Vec::new() }),
            "loop-in-load" => loop {
                black_box(0);
            },
            _ => {}
        }
        let graph = load()?;
        let memory_bytes = if self.how == "not-a-number-fit" { f64::NAN } else { graph.memory_bytes() };
        self.graph = Some(graph);
        Ok(Fit { memory_bytes, attributes: Vec::new() })
    }

    #[allow(clippy::panic, reason = "to panic is what it is for")]
    fn run(&mut self, _call: &Call, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        self.runs += 1;
        let graph = || self.graph.as_ref().ok_or_else(|| EngineError { kind: EngineErrorKind::Invalid, message: "no shard".to_owned() });
        match self.how.as_str() {
            "trap" => panic!("this adapter always fails"),
            "trap-once-in-two" if self.runs == 2 => panic!("this adapter fails in its second run"),
            "loop" => loop {
                black_box(0);
            },
            "tensor-flood" => loop {
                std::mem::forget(one_number());
            },
            // The host holds what the guest no longer has in its own memory.
            "tensor-bytes" => loop {
                std::mem::forget(Tensor::new(ElementType::Fp32, &[1 << 17], &vec![0; 4 << 17]));
            },
            "wrong-length" => Ok(vec![Tensor::new(ElementType::Fp32, &[1_000], &[0; 4])]),
            "wrong-shape" => Ok(vec![Tensor::new(ElementType::Fp32, &[1_000], &[0; 4_000])]),
            "overflowing-shape" => Ok(vec![Tensor::new(ElementType::Fp64, &[u32::MAX; 8], &[0; 4])]),
            "many-axes" => Ok(vec![Tensor::new(ElementType::Fp64, &[1; 1_000], &[0; 8])]),
            "two-outputs" => Ok(graph()?.run(inputs)?.into_iter().chain([one_number()]).collect()),
            "dropped-handle" => {
                let number = one_number();
                let handle = number.handle();
                drop(number);
                // SAFETY: none for this guest, whose sandbox the host must keep safe: a handle is a number.
                Ok(vec![unsafe { Tensor::from_handle(handle) }])
            }
            // SAFETY: as above.
            "invented-handle" => Ok(vec![unsafe { Tensor::from_handle(12_345) }]),
            "run-twice" => {
                let handles: Vec<u32> = inputs.iter().map(Tensor::handle).collect();
                graph()?.run(inputs)?;
                // SAFETY: as above.
                graph()?.run(handles.into_iter().map(|handle| unsafe { Tensor::from_handle(handle) }).collect())
            }
            // Of the run before: the host forgets tensors when a run is over.
            "kept-handle" => {
                let kept = self.kept.replace(one_number());
                Ok(kept.into_iter().collect())
            }
            "no-output" => Ok(Vec::new()),
            "returns-inputs" => Ok(inputs),
            // Every byte through the guest and back.
            "copies" => {
                let copy = |tensor: &Tensor| Tensor::new(tensor.element_type(), &tensor.shape(), &tensor.read());
                graph()?.run(inputs.iter().map(copy).collect())
            }
            _ => graph()?.run(inputs),
        }
    }
}

fn one_number() -> Tensor {
    Tensor::new(ElementType::Fp32, &[1], &[0; 4])
}

export_adapter!(Misbehaving);
