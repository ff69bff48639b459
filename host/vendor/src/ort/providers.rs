//! What each engine asks of ONNX Runtime: which provider computes, and how it is set up. A provider that cannot be set up is an error,
//! never the CPU instead.

use std::{collections::BTreeMap, fs, path::PathBuf};

use host_engine::{Digest, EngineInfo, Error, TensorSpec};
use ort::ep::{ArbitrarilyConfigurableExecutionProvider, CANN, CUDA, ExecutionProviderDispatch, TensorRT};

use super::{gpu::Gpu, settings::Settings};

/// What a provider of ONNX Runtime makes an engine of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Provider {
    /// The CPU, engine `ort`.
    Cpu,
    /// NVIDIA's GPUs through CUDA, engine `cuda`.
    Cuda,
    /// NVIDIA's GPUs through TensorRT, engine `tensorrt`.
    TensorRt,
    /// Huawei's Ascend, engine `cann`.
    Cann,
}

/// Operators that CUDA's provider leaves to the CPU although it has them: arithmetic of shapes, of a few whole numbers each, that would be
/// slower on a GPU, because what follows waits for them on the CPU. ONNX Runtime decides it itself and cannot be told otherwise. Of floats
/// they run on the GPU, so whatever else is left is work that the provider cannot do.
const SHAPE_OPERATORS: [&str; 34] = [
    "Add",
    "And",
    "Cast",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Gather",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Range",
    "ReduceProd",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
];

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::TensorRt, Self::Cann];

    /// The name of the engine that it makes.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Cpu => "ort",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::Cann => "cann",
        }
    }

    /// The one that makes an engine of this name.
    pub fn of_engine(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.engine() == name)
    }

    /// The kind of accelerator that it computes on, as offers and slots of adapters name it.
    pub fn accelerator(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::Cann => "ascend",
        }
    }

    /// The package of the Python package index that has it.
    pub fn package(self) -> &'static str {
        match self {
            Self::Cpu => "onnxruntime",
            Self::Cuda | Self::TensorRt => "onnxruntime-gpu",
            Self::Cann => "onnxruntime-cann",
        }
    }

    /// The library that a build with this provider has beside its main one; none for what is in the main one.
    pub(super) fn companion(self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            Self::Cuda => Some("libonnxruntime_providers_cuda.so"),
            Self::TensorRt => Some("libonnxruntime_providers_tensorrt.so"),
            Self::Cann => Some("libonnxruntime_providers_cann.so"),
        }
    }

    /// Names of the settings that it takes.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Cpu => &["optimization", "spinning"],
            Self::Cuda => &["device_id", "memory_limit", "optimization", "spinning"],
            Self::TensorRt => &["device_id", "engine_cache", "fp16", "memory_limit", "optimization", "profiles", "spinning"],
            Self::Cann => &["device_id", "memory_limit", "optimization", "precision_mode", "spinning"],
        }
    }

    /// Operators that may stay on the CPU. TensorRT and CANN build whole graphs, arithmetic of shapes included.
    pub(super) fn may_stay_on_cpu(self) -> &'static [&'static str] {
        match self {
            Self::Cuda => &SHAPE_OPERATORS,
            Self::Cpu | Self::TensorRt | Self::Cann => &[],
        }
    }

    /// When it computes 32-bit floats as 16-bit ones, as `EngineInfo::HALF` says it; none for never. CANN does so unless it is told otherwise.
    pub(super) fn half(self, config: &BTreeMap<String, String>) -> Option<&'static str> {
        let set = |name: &str| config.get(name).map(String::as_str);
        match self {
            Self::Cpu | Self::Cuda => None,
            Self::TensorRt => Some(if set("fp16") == Some("true") { EngineInfo::ALWAYS } else { "fp16" }),
            Self::Cann => (!matches!(set("precision_mode"), Some("force_fp32" | "must_keep_origin_dtype"))).then_some(EngineInfo::ALWAYS),
        }
    }

    /// Whether it computes on NVIDIA's GPUs.
    pub(super) fn is_nvidia(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }
}

/// What a session is for, where the provider wants to know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'a> {
    /// The GPU it is for, where it is one.
    pub(super) gpu: Option<&'a Gpu>,
    /// Version of the library.
    pub(super) version: &'a str,
    /// The shard's digest.
    pub(super) digest: Digest,
    /// The shard's inputs, the batch bound.
    pub(super) inputs: &'a [TensorSpec],
}

/// What a session is to register; none for the CPU. Without a purpose, to see whether the provider can be had at all.
pub(super) fn dispatch(provider: Provider, settings: &Settings, purpose: Option<Purpose<'_>>) -> Result<Option<ExecutionProviderDispatch>, Error> {
    let built = match provider {
        Provider::Cpu => return Ok(None),
        Provider::Cuda => cuda(settings).build(),
        Provider::TensorRt => tensorrt(settings, purpose)?.build(),
        Provider::Cann => cann(settings).build(),
    };
    Ok(Some(built.error_on_failure()))
}

fn cuda(settings: &Settings) -> CUDA {
    let cuda = CUDA::default()
        .with_arbitrary_config("device_id", settings.device_id)
        // Grown by what is asked for, and not to the next power of two: a device with many shards would hold twice what it needs.
        .with_arbitrary_config("arena_extend_strategy", "kSameAsRequested");
    match settings.memory_limit {
        Some(bytes) => cuda.with_arbitrary_config("gpu_mem_limit", bytes),
        None => cuda,
    }
}

fn cann(settings: &Settings) -> CANN {
    let mut cann = CANN::default().with_arbitrary_config("device_id", settings.device_id).with_arbitrary_config("arena_extend_strategy", "kSameAsRequested");
    if let Some(bytes) = settings.memory_limit {
        cann = cann.with_arbitrary_config("npu_mem_limit", bytes);
    }
    match &settings.precision_mode {
        Some(mode) => cann.with_arbitrary_config("precision_mode", mode),
        None => cann,
    }
}

fn tensorrt(settings: &Settings, purpose: Option<Purpose<'_>>) -> Result<TensorRT, Error> {
    let mut made = TensorRT::default().with_arbitrary_config("device_id", settings.device_id).with_fp16(settings.fp16);
    if let Some(bytes) = settings.memory_limit {
        made = made.with_arbitrary_config("trt_max_workspace_size", bytes);
    }
    let Some(purpose) = purpose else { return Ok(made) };
    let shapes = settings.profiles.shapes(purpose.inputs)?;
    if let Some(folder) = cache_folder(settings, purpose) {
        let refused = |error: std::io::Error| {
            Error::unsupported(format!("engine cache `{}` of engine tensorrt: expected a folder to write to, found {error}", folder.display()))
        };
        fs::create_dir_all(&folder).map_err(refused)?;
        // Other settings make other engines of the same shard.
        let other = Digest::of(format!("{} {shapes:?} {}", settings.fp16, settings.optimization).as_bytes());
        let prefix = format!("{}-{}", first(purpose.digest), first(other));
        let path = folder.to_string_lossy().into_owned();
        made = made.with_engine_cache(true).with_engine_cache_path(&path).with_engine_cache_prefix(prefix);
        // How fast each kind of step is on this GPU holds for all shards.
        made = made.with_timing_cache(true).with_timing_cache_path(path);
    }
    if let Some(shapes) = shapes {
        made = made.with_profile_min_shapes(shapes.min).with_profile_opt_shapes(shapes.best).with_profile_max_shapes(shapes.max);
    }
    Ok(made)
}

/// Engines are for one kind of GPU and one version of everything; others lie in other folders.
fn cache_folder(settings: &Settings, purpose: Purpose<'_>) -> Option<PathBuf> {
    let gpu = purpose.gpu.map_or_else(|| "unknown".to_owned(), Gpu::key);
    Some(settings.engine_cache.as_ref()?.join(format!("{gpu}-onnxruntime{}", purpose.version)))
}

/// The first 16 digits of a digest: enough for the name of a file.
fn first(digest: Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use host_core::units::Bytes;

    use super::*;

    #[test]
    fn every_provider_is_found_by_the_name_of_its_engine() {
        for provider in Provider::ALL {
            assert_eq!(Provider::of_engine(provider.engine()), Some(provider));
            assert!(provider.settings().is_sorted(), "the list in refusals is sorted");
        }
        assert_eq!(Provider::of_engine("tract"), None);
    }

    #[test]
    fn what_rounds_to_half_floats_says_when() {
        let config = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(Provider::Cuda.half(&BTreeMap::new()), None);
        assert_eq!(Provider::TensorRt.half(&BTreeMap::new()), Some("fp16"));
        assert_eq!(Provider::TensorRt.half(&config("fp16", "true")), Some(EngineInfo::ALWAYS));
        assert_eq!(Provider::Cann.half(&BTreeMap::new()), Some(EngineInfo::ALWAYS));
        assert_eq!(Provider::Cann.half(&config("precision_mode", "force_fp32")), None);
    }

    #[test]
    fn engines_are_kept_apart_by_gpu_driver_and_version() {
        let settings = Settings { engine_cache: Some("/cache".into()), ..Settings::default() };
        let gpu = Gpu { name: "Orin (nvgpu)".into(), memory: Bytes::mib(8192), driver: 12_060 };
        let purpose = Purpose { gpu: Some(&gpu), version: "1.31.1", digest: Digest([7; 32]), inputs: &[] };
        assert_eq!(cache_folder(&settings, purpose), Some("/cache/orin--nvgpu--cuda12060-onnxruntime1.31.1".into()));
        assert_eq!(cache_folder(&settings, Purpose { gpu: None, ..purpose }), Some("/cache/unknown-onnxruntime1.31.1".into()));
        assert_eq!(cache_folder(&Settings::default(), purpose), None);
    }
}
