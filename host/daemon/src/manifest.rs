//! `model.yaml`: what a person says about a model beside its graph. Checked against the graph once, when the model loads.

use std::{collections::BTreeMap, path::Path};

use host_core::{
    ids::ModelId,
    problem::{Objective, Placement},
};
use host_engine::{Dimension, ElementType, TensorSpec};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::is_policy_name,
    error::{Error, Fault},
};

/// The content of a `model.yaml`. Keys that are not here are refused by name.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// Largest leading dimension of a request. 0: the model has no batch dimension, its shapes say it all.
    pub max_batch_size: u32,
    /// Inputs, without the batch dimension; they must agree with the graph.
    pub input: Vec<ManifestTensor>,
    /// Outputs, without the batch dimension; they must agree with the graph.
    pub output: Vec<ManifestTensor>,
    /// Which versions are loaded.
    pub version_policy: VersionPolicy,
    /// Names of the classes, in the order of the first output's last axis.
    pub labels: Vec<String>,
    /// From a picture to the first input.
    pub preprocess: Option<Preprocess>,
    /// Where the model may go.
    pub placement: ManifestPlacement,
    /// The routing policy that chooses the way of its requests: NAME for the slot `routing/NAME`.
    pub routing: Option<String>,
    /// For people and clients; the host gives them no meaning.
    pub parameters: BTreeMap<String, Value>,
}

/// An input or output as the manifest names it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestTensor {
    /// Its name in the graph.
    pub name: String,
    /// `FP32`, or with the prefix that some tools write, `TYPE_FP32`.
    pub data_type: String,
    /// Its shape; -1 for any length.
    pub dims: Vec<i64>,
}

/// Which versions of a model are loaded.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionPolicy {
    /// The highest numbers, so many of them.
    Latest(u32),
    /// Every one.
    All,
    /// Those that are listed.
    Specific(Vec<u32>),
}

/// From a picture to a tensor.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Channels.
    pub color: Color,
    /// Size that the model takes.
    pub resize: Resize,
    /// Each value of 0..255 is multiplied by this first.
    #[serde(default = "one")]
    pub scale: f32,
    /// Then this is subtracted, by channel; empty for nothing.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Then it is divided by this, by channel; empty for 1.
    #[serde(default)]
    pub std: Vec<f32>,
    /// Order of the axes.
    #[serde(default)]
    pub layout: Layout,
}

/// Channels of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// One channel.
    Grayscale,
    /// Red, green, blue.
    Rgb,
}

/// Size of a picture, and how it gets there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// How pixels are found.
    #[serde(default)]
    pub filter: Filter,
}

/// How pixels are found when the size changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The pixel that lies nearest.
    Nearest,
    /// A weighted mean of those around.
    #[default]
    Triangle,
}

/// Order of the axes of a picture's tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Channels first.
    #[default]
    Nchw,
    /// Channels last.
    Nhwc,
}

/// `placement` of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestPlacement {
    objective: ManifestObjective,
    stages_min: Option<u32>,
    stages_max: Option<u32>,
    replicas_max: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ManifestObjective {
    Latency,
    Throughput,
    #[default]
    Balanced,
}

/// Widest and highest picture that a model may ask for.
const SIDE_MAX: u32 = 16_384;

impl Manifest {
    /// Reads the text of a `model.yaml`; `path` is for the error.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let fault = |reason: String| Error::from(Fault::Manifest { path: path.display().to_string(), reason });
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let manifest: Self = serde_saphyr::from_str(text).map_err(|error| fault(error.to_string()))?;
        manifest.check_alone().map_err(fault)?;
        Ok(manifest)
    }

    /// Proves that the manifest and the graph agree.
    pub fn check(&self, id: &ModelId, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Result<(), Error> {
        let fault = |reason: String| Error::from(Fault::Manifest { path: format!("model.yaml of {id}"), reason });
        for (kind, stated, specs) in [("input", &self.input, inputs), ("output", &self.output, outputs)] {
            for tensor in stated {
                self.check_tensor(kind, tensor, specs).map_err(fault)?;
            }
        }
        if self.max_batch_size > 0 {
            let open = |spec: &&TensorSpec| !matches!(spec.shape.first(), Some(Dimension::Symbol(_)));
            if let Some(spec) = inputs.iter().chain(outputs).find(open) {
                return Err(fault(format!(
                    "max_batch_size is {}, but `{}` has shape {}, whose first dimension is not open",
                    self.max_batch_size,
                    spec.name,
                    spec.shape_text()
                )));
            }
        }
        if self.preprocess.is_some() && inputs.len() != 1 {
            return Err(fault(format!("preprocess makes one input, the graph has {}", inputs.len())));
        }
        let classes = outputs.first().and_then(|spec| spec.shape.last()).and_then(Dimension::fixed);
        match classes {
            Some(classes) if !self.labels.is_empty() && classes != self.labels.len() => {
                Err(fault(format!("there are {} labels, the last axis of the first output is {classes} long", self.labels.len())))
            }
            _ => Ok(()),
        }
    }

    /// Where the model may go.
    pub fn placement(&self) -> Placement {
        let stated = self.placement;
        let default = Placement::default();
        let objective = match stated.objective {
            ManifestObjective::Latency => Objective::Latency,
            ManifestObjective::Throughput => Objective::Throughput,
            ManifestObjective::Balanced => Objective::Balanced,
        };
        Placement {
            objective,
            stages_min: stated.stages_min.unwrap_or(default.stages_min),
            stages_max: stated.stages_max.unwrap_or(default.stages_max),
            replicas_max: stated.replicas_max.unwrap_or(default.replicas_max),
        }
    }

    fn check_alone(&self) -> Result<(), String> {
        let placement = self.placement();
        if placement.stages_min > placement.stages_max {
            return Err(format!("placement.stages_min is {}, stages_max is {}", placement.stages_min, placement.stages_max));
        }
        if [placement.stages_min, placement.stages_max, placement.replicas_max].contains(&0) {
            return Err("placement: stages and replicas are counted from 1, not 0".into());
        }
        if let Some(name) = self.routing.as_ref().filter(|name| !is_policy_name(name)) {
            return Err(format!("routing is `{name}`, it must be the name of a routing policy, such as sticky for the slot routing/sticky"));
        }
        self.preprocess.as_ref().map_or(Ok(()), Preprocess::check)
    }

    fn check_tensor(&self, kind: &str, stated: &ManifestTensor, specs: &[TensorSpec]) -> Result<(), String> {
        let names = || specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        let name = &stated.name;
        let spec = specs.iter().find(|spec| spec.name == *name).ok_or_else(|| format!("{kind} `{name}` is not in the graph, there are {}", names()))?;
        let word = stated.data_type.strip_prefix("TYPE_").unwrap_or(&stated.data_type);
        if ElementType::from_protocol_name(word) != Some(spec.element_type) {
            return Err(format!("{kind} `{name}` is {}, the graph says {}", stated.data_type, spec.element_type));
        }
        let batch = usize::from(self.max_batch_size > 0);
        let shape = spec.shape.get(batch..).unwrap_or_default();
        let fits = |(dim, dimension): (&i64, &Dimension)| *dim == -1 || dimension.fixed().is_none_or(|length| i64::try_from(length) == Ok(*dim));
        if shape.len() == stated.dims.len() && stated.dims.iter().zip(shape).all(fits) {
            return Ok(());
        }
        let without = if batch == 1 { " without its batch dimension" } else { "" };
        Err(format!("{kind} `{name}` has dims {:?}, the graph says {}{without}", stated.dims, spec.shape_text()))
    }
}

impl Preprocess {
    /// How many channels a pixel has.
    pub fn channels(&self) -> usize {
        match self.color {
            Color::Grayscale => 1,
            Color::Rgb => 3,
        }
    }

    fn check(&self) -> Result<(), String> {
        let Resize { width, height, .. } = self.resize;
        if !(1..=SIDE_MAX).contains(&width) || !(1..=SIDE_MAX).contains(&height) {
            return Err(format!("preprocess.resize is {width} x {height}, each must be 1 to {SIDE_MAX}"));
        }
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if !values.is_empty() && values.len() != self.channels() {
                return Err(format!("preprocess.{name} has {} values, the color has {} channels", values.len(), self.channels()));
            }
        }
        let bad = self.std.iter().find(|value| !value.is_normal());
        bad.map_or(Ok(()), |value| Err(format!("preprocess.std holds {value}, which cannot be divided by")))
    }
}

impl Default for VersionPolicy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

fn one() -> f32 {
    1.0
}

#[cfg(test)]
mod tests {
    use host_core::ids::ModelName;

    use super::*;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(Path::new("digits/model.yaml"), text).map_err(|error| error.to_string())
    }

    fn id() -> ModelId {
        ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 }
    }

    fn spec(name: &str, shape: &[usize]) -> TensorSpec {
        let batch = std::iter::once(Dimension::Symbol("batch".into()));
        TensorSpec { name: name.into(), element_type: ElementType::Fp32, shape: batch.chain(shape.iter().map(|&length| Dimension::Fixed(length))).collect() }
    }

    #[test]
    fn the_manifest_of_digits_is_understood_and_agrees_with_its_graph() {
        let manifest = parse(include_str!("../../../models/digits/model.yaml")).expect("sound");
        assert_eq!(manifest.max_batch_size, 64);
        assert_eq!(manifest.labels.len(), 10);
        assert_eq!(manifest.placement().stages_min, 3);
        let preprocess = manifest.preprocess.as_ref().expect("it takes pictures");
        assert_eq!((preprocess.color, preprocess.resize.filter, preprocess.layout), (Color::Grayscale, Filter::Nearest, Layout::Nchw));
        manifest.check(&id(), &[spec("image", &[1, 8, 8])], &[spec("probabilities", &[10])]).expect("they agree");
    }

    #[test]
    fn a_key_that_is_not_known_is_named() {
        let message = parse("max_batch_sise: 4\n").expect_err("misspelt");
        assert!(message.starts_with("digits/model.yaml: ") && message.contains("max_batch_sise"), "{message}");
        assert_eq!(parse(""), Ok(Manifest::default()));
        assert!(parse("placement: { stages_min: 4, stages_max: 2 }").expect_err("crossed").contains("stages_min is 4, stages_max is 2"));
        assert_eq!(parse("routing: sticky").expect("sound").routing.as_deref(), Some("sticky"));
        assert!(parse("routing: routing/sticky").expect_err("a slot").contains("routing is `routing/sticky`, it must be the name of a routing policy"));
        assert_eq!(parse("version_policy: { latest: 2 }").expect("sound").version_policy, VersionPolicy::Latest(2));
        assert_eq!(parse("version_policy: { specific: [1, 3] }").expect("sound").version_policy, VersionPolicy::Specific(vec![1, 3]));
        assert_eq!(parse("version_policy: all").expect("sound").version_policy, VersionPolicy::All);
    }

    #[test]
    fn a_manifest_that_disagrees_with_the_graph_says_where() {
        let cases = [
            ("max_batch_size: 1\ninput: [{ name: y, data_type: FP32, dims: [2] }]", "input `y` is not in the graph, there are x"),
            ("max_batch_size: 1\ninput: [{ name: x, data_type: TYPE_INT8, dims: [2] }]", "input `x` is TYPE_INT8, the graph says FP32"),
            (
                "max_batch_size: 1\ninput: [{ name: x, data_type: FP32, dims: [3] }]",
                "input `x` has dims [3], the graph says [batch, 2] without its batch dimension",
            ),
            ("labels: [a, b, c]", "there are 3 labels, the last axis of the first output is 4 long"),
        ];
        for (text, reason) in cases {
            let error = parse(text).expect("reads").check(&id(), &[spec("x", &[2])], &[spec("z", &[4])]).expect_err("disagrees");
            assert_eq!(error.to_string(), format!("model.yaml of digits@1: {reason}"));
        }
    }
}
