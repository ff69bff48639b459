//! An engine that stands in for the host's in tests of adapters, outside the sandbox. It computes nothing of a model: each tensor is a
//! number, and a run multiplies it. What it was asked is kept.

use std::cell::RefCell;

use super::{Attribute, Call, ElementType, Engine, EngineError, EngineErrorKind, EngineInfo, Phase};

/// What a run multiplies with.
pub const FACTOR: u32 = 7;
/// Memory that every loaded shard takes, in bytes.
pub const GRAPH_BYTES: f64 = 5e6;

/// The double. It has engines `tract` and `other` for the CPU, `cuda` and `tensorrt` for the accelerators of these names, and `broken`, which
/// says that it cannot be used, for each of them.
#[derive(Default, Debug)]
pub struct EngineDouble {
    /// What was loaded, or was to be: the engine's name, and the options.
    pub loads: RefCell<Vec<(String, Vec<Attribute>)>>,
}

/// An engine with memory of 1 GB, of which a shard takes 1.5 times its weights and 1 MB.
pub fn info(name: &str, accelerator: &str) -> EngineInfo {
    EngineInfo {
        name: name.to_owned(),
        version: "1".to_owned(),
        accelerator: accelerator.to_owned(),
        memory_bytes: 1e9,
        weight_factor: 1.5,
        fixed_bytes: 1e6,
        element_types: vec![ElementType::Fp32],
        attributes: vec![("gpu".to_owned(), "Double".to_owned()), ("library".to_owned(), "/somewhere".to_owned())],
    }
}

/// A run of a request that stands for itself.
pub fn call() -> Call {
    Call { request: 1, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 }
}

impl Engine for EngineDouble {
    type Tensor = u32;
    type ShardFile = &'static str;
    type Graph = u32;

    fn engines(&self) -> Vec<EngineInfo> {
        let broken = |accelerator: &str| {
            let mut broken = info("broken", accelerator);
            broken.attributes.push(("unusable".to_owned(), "its library is not here".to_owned()));
            broken
        };
        let pairs = [("tract", "cpu"), ("cuda", "cuda"), ("tensorrt", "tensorrt"), ("other", "cpu")];
        let sound = pairs.into_iter().map(|(name, accelerator)| info(name, accelerator));
        ["cpu", "cuda", "tensorrt"].into_iter().map(broken).chain(sound).collect()
    }

    /// Shard `odd` has an operator that is not known; shard `coarse` answers wrongly where 16-bit floats are allowed.
    fn load(&self, engine: &str, shard: &&'static str, options: &[Attribute]) -> Result<u32, EngineError> {
        self.loads.borrow_mut().push((engine.to_owned(), options.to_vec()));
        let is_coarse = options.iter().any(|(name, value)| name == "fp16" && value == "true");
        let refused = |kind: EngineErrorKind, message: &str| Err(EngineError { kind, message: message.to_owned() });
        match *shard {
            "odd" => refused(EngineErrorKind::Unsupported, "operator Odd is not known"),
            "coarse" if is_coarse => refused(EngineErrorKind::ProbeFailed, "output `y` differs from the golden one"),
            _ => Ok(FACTOR),
        }
    }

    fn memory_bytes(&self, _graph: &u32) -> f64 {
        GRAPH_BYTES
    }

    fn run(&self, graph: &u32, inputs: Vec<u32>) -> Result<Vec<u32>, EngineError> {
        Ok(inputs.into_iter().map(|input| input.wrapping_mul(*graph)).collect())
    }
}
