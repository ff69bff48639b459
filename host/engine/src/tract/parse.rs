//! ONNX files as tract reads them. Shapes of inputs are set from our specs, because tract reads symbols differently.

use std::collections::HashMap;

use prost::Message as _;
use tract_onnx::{
    pb,
    prelude::{InferenceFact, InferenceModel, OutletId, Symbol, TractResult},
    tract_hir::internal::TDim,
};

use super::{guard::guarded, tensors};
use crate::{
    error::{Error, Fault},
    linear::Linear,
    onnx::OnnxFile,
    onnx_pb::ModelProto,
    spec::TensorSpec,
};

/// A graph in tract's form, before any type or shape is worked out.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) model: InferenceModel,
    pub(crate) outlets: HashMap<String, OutletId>,
}

/// How long an axis is for tract: fixed, or under a symbol.
pub(crate) type Axes = Vec<Linear>;

/// Reads a file; operators that tract does not have are an error only when they are typed.
pub(crate) fn parse(file: &OnnxFile) -> Result<Parsed, Error> {
    let proto = translate(file.model())?;
    let parsed = guarded("read the graph", || tract_onnx::onnx().with_ignore_output_types(true).parse(&proto, None))?;
    if let Some(name) = parsed.unresolved_inputs.first() {
        return Err(Fault::Missing { what: "value", name: name.clone() }.into());
    }
    Ok(Parsed { model: parsed.model, outlets: parsed.outlets_by_name })
}

/// The same file in tract's own protobuf types: everything but the weights goes through bytes, these are copied once.
fn translate(model: &ModelProto) -> Result<pb::ModelProto, Error> {
    let mut light = model.clone();
    let mut weights = Vec::new();
    if let Some(graph) = &mut light.graph {
        graph.value_info.clear();
        weights.extend(graph.initializer.iter_mut().map(|tensor| tensor.raw_data.take()));
    }
    let mut proto = pb::ModelProto::decode(light.encode_to_vec().as_slice()).map_err(|error| Fault::NotOnnx { reason: error.to_string() })?;
    let tensors = proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for (tensor, data) in tensors.zip(weights) {
        tensor.raw_data = data.map(Vec::from).unwrap_or_default();
    }
    Ok(proto)
}

impl Parsed {
    /// Declares every input's type and shape.
    pub(crate) fn declare(&mut self, inputs: &[TensorSpec], axes: &[Axes]) -> Result<(), Error> {
        for (spec, axes) in inputs.iter().zip(axes) {
            let datum_type = tensors::datum_type(spec.element_type)?;
            let shape: Vec<TDim> = axes.iter().map(|axis| self.dimension(axis)).collect();
            let fact = InferenceFact::dt_shape(datum_type, shape);
            let outlet = *self.outlets.get(&spec.name).ok_or_else(|| Fault::Missing { what: "input", name: spec.name.clone() })?;
            guarded("declare an input", || -> TractResult<()> { self.model.set_outlet_fact(outlet, fact) })?;
        }
        Ok(())
    }

    fn dimension(&self, axis: &Linear) -> TDim {
        let symbol = |name: &str| -> Symbol { self.model.symbols.sym(name) };
        axis.terms.iter().fold(TDim::from(axis.constant), |sum, (name, factor)| sum + TDim::from(symbol(name)) * *factor)
    }
}
