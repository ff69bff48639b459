//! Golden answers: seeded inputs and what the model makes of them, computed once on another path than serving takes. Every loaded shard is
//! held against them before it takes traffic, because an engine may be wrong without an error.

mod inputs;
mod loaded;

use std::collections::HashMap;

use tract_onnx::{
    prelude::{InferenceModelExt as _, IntoTValue as _, TVec, TypedSimplePlan},
    tract_hir::internal::IntoArcTensor as _,
};

use crate::{
    digest::Digest,
    element_type::ElementType,
    engine::Graph,
    error::{Error, Fault},
    inspect::Inspection,
    linear::Linear,
    onnx::{OnnxFile, build, graph::Index},
    onnx_pb::{GraphProto, ModelProto},
    spec::TensorSpec,
    split::Shard,
    tensor::Tensor,
    tract::{
        guard::guarded,
        parse::{Axes, parse},
        tensors,
    },
};

pub(crate) use loaded::check_loaded;

/// Largest difference of 32-bit floats, as a part of the output's largest value. Plain and optimised plans of one engine, and
/// different engines, were seen to differ by 1e-5 at most; a wrong weight shows well above this.
pub(crate) const TOLERANCE: f64 = 1e-3;
/// The same for graphs with 16-bit floats or quantised products, which round 100 to 1000 times more coarsely.
const TOLERANCE_COARSE: f64 = 2e-2;
/// Models of more operations than this, at golden lengths, run optimised here: plain products take a second for 10^9.
const PLAIN_FLOPS_MAX: f64 = 1e9;

/// Inputs of a shard and the outputs that it must give for them.
#[derive(Clone, PartialEq, Debug)]
pub struct Golden {
    /// In the shard's order.
    pub inputs: Vec<Tensor>,
    /// In the shard's order.
    pub outputs: Vec<Tensor>,
    /// Largest difference, as a part of the largest value of an output.
    pub tolerance: f64,
}

/// One run of a whole model: every input, border and output by name.
#[derive(Debug)]
pub(crate) struct GoldenRun {
    values: HashMap<String, Tensor>,
}

impl Inspection {
    /// Computes the golden answers, once; shards made afterwards carry theirs.
    pub fn with_golden(self) -> Result<Self, Error> {
        if self.golden.get().is_none() {
            let run = GoldenRun::compute(&self).map_err(|error| error.of(self.profile.id()))?;
            // Only this call can have filled it in between, and it owns the inspection.
            drop(self.golden.set(run));
        }
        Ok(self)
    }

    /// Inputs and outputs of the whole model from the golden run, in the model's order; none before `with_golden`.
    pub fn golden(&self) -> Option<Golden> {
        self.golden.get()?.of(&self.inputs, &self.outputs, &self.file).ok()
    }
}

impl GoldenRun {
    fn compute(inspection: &Inspection) -> Result<Self, Error> {
        let index = Index::new(inspection.file.graph());
        let inputs = inputs::seeded(&index, &inspection.inputs)?;
        let mut names: Vec<&str> = inspection.outputs.iter().map(|spec| spec.name.as_str()).collect();
        names.extend(inspection.borders().iter().map(|spec| spec.name.as_str()).filter(|name| !inspection.outputs.iter().any(|spec| spec.name == *name)));
        let mut parsed = parse(&inspection.file)?;
        let axes: Vec<Axes> = inputs.iter().map(|tensor| tensor.shape().iter().map(|&length| Linear::fixed(length)).collect()).collect();
        parsed.declare(&inspection.inputs, &axes)?;
        let find = |name: &&str| parsed.outlets.get(*name).copied().ok_or_else(|| Fault::Missing { what: "value", name: (*name).to_owned() });
        let outlets = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let plain = inspection.profile.work(inspection.profile.whole()).flops <= PLAIN_FLOPS_MAX;
        let plan = guarded("compute golden answers", || {
            parsed.model.select_output_outlets(&outlets)?;
            TypedSimplePlan::new(if plain { parsed.model.into_typed()? } else { parsed.model.into_optimized()? })
        })?;
        let given = inputs.iter().map(|tensor| tensors::to_tract(tensor).map(|tensor| tensor.into_tvalue())).collect::<Result<TVec<_>, _>>()?;
        let made = guarded("compute golden answers", || plan.run(given))?;
        let mut values: HashMap<String, Tensor> = inspection.inputs.iter().map(|spec| spec.name.clone()).zip(inputs).collect();
        for (name, value) in names.into_iter().zip(made) {
            values.insert(name.to_owned(), tensors::from_tract(value.into_arc_tensor())?);
        }
        Ok(Self { values })
    }

    /// The part of a shard.
    pub(crate) fn of(&self, inputs: &[TensorSpec], outputs: &[TensorSpec], file: &OnnxFile) -> Result<Golden, Error> {
        let take = |specs: &[TensorSpec]| specs.iter().map(|spec| self.value(&spec.name)).collect::<Result<Vec<_>, _>>();
        let coarse_operator = |name: &String| ["MatMulNBits", "Integer", "QLinear", "QuantizeLinear"].iter().any(|part| name.contains(part));
        let outputs = take(outputs)?;
        let half = outputs.iter().any(|tensor| matches!(tensor.element_type(), ElementType::Fp16 | ElementType::Bf16));
        let coarse = half || file.operators().iter().any(coarse_operator);
        Ok(Golden { inputs: take(inputs)?, outputs, tolerance: if coarse { TOLERANCE_COARSE } else { TOLERANCE } })
    }

    fn value(&self, name: &str) -> Result<Tensor, Error> {
        self.values.get(name).cloned().ok_or_else(|| Fault::Missing { what: "golden value", name: name.to_owned() }.into())
    }
}

impl Shard {
    /// Seeded inputs that it can take, and what a graph of it makes of them: golden answers as the engine behind the graph gives them.
    pub fn answers(&self, graph: &mut dyn Graph) -> Result<Golden, Error> {
        let file = OnnxFile::parse(self.file.clone(), None)?;
        let inputs = inputs::seeded(&Index::new(file.graph()), &self.inputs)?;
        let outputs = graph.run(inputs.clone()).map_err(|error| error.of(&self.id))?;
        Ok(Golden { inputs, outputs, tolerance: TOLERANCE })
    }
}

/// Runs a loaded shard on its golden inputs. The error names the output with the largest difference beyond the tolerance; an
/// infinite difference stands for a value that is not a number.
pub fn check(graph: &mut dyn Graph, golden: &Golden) -> Result<(), Error> {
    difference(graph, golden).map(drop)
}

/// The same, and gives the largest difference of an output, as a part of its largest value.
pub fn difference(graph: &mut dyn Graph, golden: &Golden) -> Result<f64, Error> {
    let outputs = graph.run(golden.inputs.clone())?;
    compared(graph.outputs(), &outputs, golden)
}

/// The largest difference of outputs from the golden ones.
fn compared(specs: &[TensorSpec], outputs: &[Tensor], golden: &Golden) -> Result<f64, Error> {
    if outputs.len() != golden.outputs.len() || specs.len() != outputs.len() {
        let count = |count: usize| count.to_string();
        return Err(Fault::Mismatch {
            what: "number of outputs",
            name: "the graph".into(),
            expected: count(golden.outputs.len()),
            found: count(outputs.len()),
        }
        .into());
    }
    let mut largest = 0.0f64;
    let mut worst: Option<(f64, Fault)> = None;
    for ((spec, found), expected) in specs.iter().zip(outputs).zip(&golden.outputs) {
        if found.shape() != expected.shape() || found.element_type() != expected.element_type() {
            let text = |tensor: &Tensor| format!("{}{:?}", tensor.element_type(), tensor.shape());
            return Err(Fault::Mismatch { what: "golden output", name: spec.name.clone(), expected: text(expected), found: text(found) }.into());
        }
        let (difference, tolerance) = compare(found, expected, golden.tolerance);
        let beyond = difference / tolerance;
        largest = largest.max(beyond * golden.tolerance);
        if beyond > 1.0 && worst.as_ref().is_none_or(|(other, _)| beyond > *other) {
            worst = Some((beyond, Fault::Probe { output: spec.name.clone(), difference, tolerance }));
        }
    }
    worst.map_or(Ok(largest), |(_, fault)| Err(fault.into()))
}

/// The largest difference and the largest allowed one.
fn compare(found: &Tensor, expected: &Tensor, relative: f64) -> (f64, f64) {
    let (found, expected) = (found.to_f64(), expected.to_f64());
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let apart = |(found, expected): (&f64, &f64)| if found == expected { 0.0 } else { (found - expected).abs() };
    // A difference that is not a number (NaN, or infinity beside infinity) counts as infinite, as no tolerance may cover it.
    let difference = found.iter().zip(&expected).map(apart).fold(0.0, |most: f64, apart| if apart.is_nan() { f64::INFINITY } else { most.max(apart) });
    (difference, relative * largest.max(1e-6))
}

impl Golden {
    /// The tolerance of what is computed with floats of 32 bits, as a part of an output's largest value.
    pub const FINE: f64 = TOLERANCE;
    /// The same for floats of 16 bits and quantised products.
    pub const COARSE: f64 = TOLERANCE_COARSE;

    /// Holds outputs that these inputs gave, declared by `specs`, against its own; gives the largest difference, as a part of an output's
    /// largest value. The error names the output that is not of its type or shape, or beyond the tolerance.
    pub fn compare(&self, specs: &[TensorSpec], outputs: &[Tensor]) -> Result<f64, Error> {
        compared(specs, outputs, self)
    }

    /// The answers as bytes, to send along with a shard: an ONNX file that holds nothing but tensors.
    pub fn to_bytes(&self) -> Result<bytes::Bytes, Error> {
        let named = |kind: &'static str, tensors: &[Tensor]| tensors.iter().map(move |tensor| build::initializer(kind, tensor)).collect::<Vec<_>>();
        let mut initializer = named("input", &self.inputs);
        initializer.extend(named("output", &self.outputs));
        let tolerance = Tensor::new(ElementType::Fp64, vec![], self.tolerance.to_le_bytes().to_vec().into())?;
        initializer.push(build::initializer("tolerance", &tolerance));
        crate::onnx::encode(&ModelProto { graph: Some(GraphProto { initializer, ..GraphProto::default() }), ..ModelProto::default() })
    }

    /// Reads what `to_bytes` wrote.
    pub fn from_bytes(data: bytes::Bytes) -> Result<Self, Error> {
        use prost::Message as _;
        let model = ModelProto::decode(data).map_err(|error| Fault::NotOnnx { reason: error.to_string() })?;
        let mut golden = Self { inputs: Vec::new(), outputs: Vec::new(), tolerance: f64::NAN };
        for proto in model.graph.iter().flat_map(|graph| &graph.initializer) {
            let tensor =
                crate::onnx::constant::to_tensor(proto).ok_or_else(|| Fault::NotOnnx { reason: format!("golden tensor `{}` is broken", proto.name()) })?;
            match proto.name() {
                "input" => golden.inputs.push(tensor),
                "output" => golden.outputs.push(tensor),
                _ => golden.tolerance = tensor.to_f64().first().copied().unwrap_or(f64::NAN),
            }
        }
        if golden.tolerance.is_nan() || golden.outputs.is_empty() {
            return Err(Fault::NotOnnx { reason: "golden answers lack their outputs or tolerance".into() }.into());
        }
        Ok(golden)
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&self.to_bytes()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_number_is_an_infinite_difference() {
        let tensor = |values: &[f32]| Tensor::from_f32(&[2], values).expect("2 values");
        for (found, expected, difference) in
            [([1.0, 2.0], [1.0, 2.5], 0.5), ([f32::NAN, 2.0], [1.0, 2.0], f64::INFINITY), ([f32::INFINITY, 0.0], [f32::INFINITY, 0.0], 0.0)]
        {
            assert_eq!(compare(&tensor(&found), &tensor(&expected), 1e-3).0, difference);
        }
    }

    #[test]
    fn golden_answers_read_back_what_was_written() {
        let golden = Golden {
            inputs: vec![Tensor::from_i64(&[1, 2], &[3, 4]).expect("2 values")],
            outputs: vec![Tensor::from_f32(&[1], &[0.5]).expect("1 value")],
            tolerance: 1e-3,
        };
        assert_eq!(Golden::from_bytes(golden.to_bytes().expect("small")).expect("just written"), golden);
        assert!(Golden::from_bytes(bytes::Bytes::new()).is_err());
    }
}
