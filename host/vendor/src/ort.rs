//! ONNX Runtime as an engine, from a library that is found at run time: `ort` computes on the CPU, `cuda` and `tensorrt` on NVIDIA's GPUs,
//! `cann` on Huawei's Ascend.
//!
//! Never falls back in silence: a provider that is not in the library, cannot be set up, or leaves work to the CPU makes opening or loading
//! fail. The batch is always 1 here, as for every engine; requests of more rows are run row by row by the caller.

mod errors;
mod gpu;
mod graph;
mod placement;
mod preload;
mod process;
mod profiles;
mod providers;
pub mod search;
mod settings;
mod tensors;

use std::{collections::BTreeMap, path::Path};

use host_core::units::Bytes;
use host_engine::{Binding, Engine, EngineInfo, Error, Graph, LoadOptions, Shard, TensorSpec, batch_symbol};
use ort::{
    ep::ExecutionProviderDispatch,
    logging::LogLevel,
    session::{Session, builder::SessionBuilder},
};

pub use providers::Provider;
pub use search::{Library, SearchPaths, Version};

use gpu::Gpu;
use graph::OrtGraph;
use placement::Listener;
use process::{Loaded, one_line};
use providers::{Purpose, dispatch};
use settings::Settings;

/// Most threads that one run may use.
const THREADS_MAX: usize = 64;

/// ONNX Runtime with one provider.
#[derive(Clone, Debug)]
pub struct OrtEngine {
    provider: Provider,
    loaded: Loaded,
    /// What the config says; what comes with a load stands over it.
    config: BTreeMap<String, String>,
    gpu: Option<Gpu>,
    memory_limit: Option<u64>,
}

impl OrtEngine {
    /// Loads the library, a file or a folder that has one, and sees whether the provider can be set up. A process can hold one library;
    /// the error says so where another one is loaded.
    pub fn open(library: &Path, provider: Provider, settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        let read = Settings::read(provider, settings, &BTreeMap::new())?;
        let found = search::named(library, provider)?;
        let unusable =
            |reason: String| Error::unsupported(format!("engine {} cannot be used with library `{}`: {reason}", provider.engine(), found.path.display()));
        // The driver is asked before the library is loaded: without one, the library would only say that some file of CUDA is not there.
        let gpu = if provider.is_nvidia() { Some(gpu::gpu(read.device_id).map_err(unusable)?) } else { None };
        let missing = if provider.is_nvidia() { preload::preload(&found.path) } else { Vec::new() };
        let loaded = process::load(&found.path)?;
        let memory_limit = read.memory_limit;
        let engine = Self { provider, loaded, config: settings.clone(), gpu, memory_limit };
        engine.builder(&read, 1, dispatch(provider, &read, None)?, &Left::Forbidden).map_err(|error| {
            let also = if missing.is_empty() { String::new() } else { format!(" (and before: {})", missing.join("; ")) };
            unusable(format!("{}{also}", one_line(&error)))
        })?;
        Ok(engine)
    }

    /// What a session is made with. The error is what the library says.
    fn builder(&self, settings: &Settings, threads: usize, provider: Option<ExecutionProviderDispatch>, left: &Left<'_>) -> Result<SessionBuilder, String> {
        let text = |error: ort::Error<SessionBuilder>| error.message().to_owned();
        let mut builder = Session::builder(&self.loaded.environment).map_err(|error| error.message().to_owned())?;
        builder = builder.with_optimization_level(settings.level()).map_err(text)?;
        builder = builder.with_intra_threads(threads.clamp(1, THREADS_MAX)).map_err(text)?;
        builder = builder.with_intra_op_spinning(settings.spinning).map_err(text)?;
        if let Left::Told(listener) = left {
            builder = builder.with_logger(listener.logger()).map_err(text)?;
            builder = builder.with_log_level(LogLevel::Verbose).map_err(text)?;
        }
        let Some(provider) = provider else { return Ok(builder) };
        builder = builder.with_execution_providers([provider]).map_err(text)?;
        match left {
            Left::Forbidden => builder.with_disable_cpu_fallback().map_err(text),
            Left::Told(_) | Left::Allowed => Ok(builder),
        }
    }

    /// One try at a session.
    fn commit(&self, shard: &Shard, settings: &Settings, threads: usize, bound: &Bound, left: &Left<'_>) -> Result<Result<Session, ort::Error>, Error> {
        let purpose = Purpose { gpu: self.gpu.as_ref(), version: &self.loaded.version, digest: shard.digest, inputs: &bound.inputs };
        let provider = dispatch(self.provider, settings, Some(purpose))?;
        let failed = |reason: String| Error::unsupported(format!("engine {} cannot be set up: {}", self.provider.engine(), one_line(&reason)));
        let mut builder = self.builder(settings, threads, provider, left).map_err(failed)?;
        if let Some(batch) = &bound.batch {
            builder = builder.with_dimension_override(batch, 1).map_err(|error| failed(error.message().to_owned()))?;
        }
        Ok(builder.commit_from_memory(&shard.file))
    }

    /// Makes a session. Where operators were left to the CPU, makes it again and listens to which: the error that forbids it does not
    /// name them. If all of them may be there, makes it once more, because one that is listened to writes lines in each run.
    fn session(&self, shard: &Shard, settings: &Settings, threads: usize, bound: &Bound) -> Result<Session, Error> {
        let commit = |left: &Left<'_>| self.commit(shard, settings, threads, bound, left);
        let failed = |error: &ort::Error| errors::load(self.provider, error, settings.memory_limit);
        let error = match commit(&Left::Forbidden)? {
            Ok(session) => return Ok(session),
            Err(error) if placement::is_fallback(error.message()) => error,
            Err(error) => return Err(failed(&error)),
        };
        let listener = Listener::default();
        drop(commit(&Left::Told(&listener))?.map_err(|error| failed(&error))?);
        let heard = listener.placements();
        let refusal = if heard.is_empty() { Some(one_line(error.message())) } else { heard.refusal(self.provider.may_stay_on_cpu()) };
        match refusal {
            None => commit(&Left::Allowed)?.map_err(|error| failed(&error)),
            Some(reason) => Err(Error::unsupported(format!("engine {} would leave work to the CPU: {reason}", self.provider.engine()))),
        }
    }

    /// Bytes in memory for one byte of weights, and beside them.
    fn memory_costs(&self) -> (f64, Bytes) {
        match self.provider {
            // Assumed; the test `memory` of this crate holds it against what a process grows by.
            Provider::Cpu => (1.3, Bytes::mib(16)),
            // Assumed, never measured on such a device: weights once, and room for workspaces.
            Provider::Cuda | Provider::Cann => (1.2, Bytes::mib(64)),
            Provider::TensorRt => (1.5, Bytes::mib(128)),
        }
    }
}

/// What becomes of operators that a provider leaves to the CPU.
#[derive(Debug)]
enum Left<'a> {
    /// No session is made.
    Forbidden,
    /// They are told to the listener.
    Told(&'a Listener),
    /// They are known, and may be there.
    Allowed,
}

/// A shard's inputs and outputs with the batch bound to 1.
struct Bound {
    batch: Option<String>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

impl Bound {
    fn of(shard: &Shard) -> Self {
        let batch = batch_symbol(&shard.inputs);
        let binding = batch.iter().fold(Binding::default(), |binding, symbol| binding.with(symbol, 1));
        let specify = |specs: &[TensorSpec]| specs.iter().map(|spec| binding.specify(spec)).collect();
        Self { inputs: specify(&shard.inputs), outputs: specify(&shard.outputs), batch }
    }
}

impl Engine for OrtEngine {
    fn info(&self) -> EngineInfo {
        let (weight_factor, fixed_bytes) = self.memory_costs();
        let mut attributes = vec![("library".to_owned(), self.loaded.path.display().to_string())];
        attributes.extend(self.provider.half(&self.config).map(|when| (EngineInfo::HALF.to_owned(), when.to_owned())));
        attributes.extend(self.gpu.iter().map(|gpu| ("gpu".to_owned(), gpu.name.clone())));
        EngineInfo {
            name: self.provider.engine().into(),
            version: self.loaded.version.clone(),
            accelerator: self.provider.accelerator().into(),
            memory: self.memory_limit.map(Bytes).or(self.gpu.as_ref().map(|gpu| gpu.memory)),
            weight_factor,
            fixed_bytes,
            element_types: tensors::element_types(),
            attributes,
        }
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let load = || -> Result<OrtGraph, Error> {
            let settings = Settings::read(self.provider, &self.config, &options.settings)?;
            let bound = Bound::of(shard);
            let session = self.session(shard, &settings, options.threads, &bound)?;
            let (factor, fixed) = self.memory_costs();
            let memory = shard.weight_bytes.scaled(factor) + fixed;
            Ok(OrtGraph::new(session, self.provider, bound.inputs, bound.outputs, settings.profiles, memory))
        };
        load().map(|graph| Box::new(graph) as Box<dyn Graph>).map_err(|error| error.of(&shard.id))
    }
}

#[cfg(test)]
mod tests {
    use host_core::ids::{ModelId, ModelName};
    use host_engine::{Kind, generate, inspect, split};

    use super::*;

    /// Where work was left to the CPU is read from the library's log, whose words may change with its version.
    #[test]
    fn the_real_librarys_log_says_where_operators_were_placed() {
        let library = match Library::find(&SearchPaths::of_machine(Provider::Cpu, None)) {
            Ok(library) => library,
            Err(error) => {
                assert!(std::env::var_os("SHARDHOST_REQUIRE_ONNXRUNTIME").is_none(), "SHARDHOST_REQUIRE_ONNXRUNTIME is set and {error}");
                return println!("skipped: {error}");
            }
        };
        let engine = OrtEngine::open(&library.path, Provider::Cpu, &BTreeMap::new()).expect("it opens");
        let file = generate(&Kind::named("mlp").expect("a kind"), 1).expect("a model");
        let id = ModelId { name: ModelName::parse("mlp").expect("a name"), version: 1 };
        let shard = split(&inspect(&file, id).expect("it has blocks"), &[]).expect("one shard").remove(0);
        let listener = Listener::default();
        let session = engine.commit(&shard, &Settings::default(), 1, &Bound::of(&shard), &Left::Told(&listener)).expect("it is set up");
        session.expect("a session");
        assert_eq!(listener.placements().refusal(&["Gemm", "Relu"]).as_deref(), Some("it takes no operator of the shard"));
    }
}
