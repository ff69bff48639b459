//! The inputs of a model with a name for every open length, and lengths for these names to plan with.

use crate::{
    binding::{Binding, batch_symbol},
    element_type::ElementType,
    error::{Error, Fault},
    linear::Linear,
    onnx::graph::Index,
    onnx_pb::{ValueInfoProto, tensor_shape_proto::dimension, type_proto},
    spec::{Dimension, TensorSpec},
    tract::{
        facts::{Facts, facts as work_out},
        parse::{Axes, Parsed},
    },
};

use super::InspectOptions;

/// Reads the declared inputs. Open axes without a name get one: `batch` for axis 0 of all inputs, else `INPUT_AXIS`.
pub(crate) fn inputs(index: &Index<'_>) -> Result<Vec<TensorSpec>, Error> {
    let open = index.graph.input.iter().filter(|input| index.inputs.contains_key(input.name()));
    let mut specs = open.map(declared).collect::<Result<Vec<_>, _>>()?;
    let all_open = specs.iter().all(|spec| spec.shape.first() == Some(&Dimension::Symbol(format!("{}_0", spec.name))));
    if all_open {
        for spec in &mut specs {
            spec.shape[0] = Dimension::Symbol("batch".to_owned());
        }
    }
    whole_mask(&mut specs);
    Ok(specs)
}

/// A declared input or output.
pub(crate) fn declared(value: &ValueInfoProto) -> Result<TensorSpec, Error> {
    let name = value.name();
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Err(Error::unsupported(format!("input `{name}` is no tensor")));
    };
    let element_type = ElementType::from_onnx(tensor.elem_type())
        .ok_or_else(|| Error::unsupported(format!("input `{name}` has element type {}, which tensors here cannot hold", tensor.elem_type())))?;
    let shape = tensor.shape.as_ref().ok_or_else(|| Fault::Missing { what: "shape of input", name: name.to_owned() })?;
    let dimension = |(axis, dim): (usize, &crate::onnx_pb::tensor_shape_proto::Dimension)| match &dim.value {
        Some(dimension::Value::DimValue(length)) if *length > 0 => Dimension::Fixed(usize::try_from(*length).unwrap_or(usize::MAX)),
        Some(dimension::Value::DimParam(symbol)) if !symbol.is_empty() && symbol != "?" => Dimension::from(&Linear::parse(symbol)),
        _ => Dimension::Symbol(format!("{name}_{axis}")),
    };
    Ok(TensorSpec { name: name.to_owned(), element_type, shape: shape.dim.iter().enumerate().map(dimension).collect() })
}

/// Exporters name the length of a decoder's mask `total_length` or `past + 1`; it is always the past and the new tokens.
fn whole_mask(specs: &mut [TensorSpec]) {
    let axis = |spec: &TensorSpec, axis: usize| match spec.shape.get(axis) {
        Some(Dimension::Symbol(text)) => Linear::parse(text).as_symbol().map(str::to_owned),
        _ => None,
    };
    let past = specs.iter().find(|spec| spec.name.contains("past")).and_then(|spec| (1..spec.shape.len()).find_map(|place| axis(spec, place)));
    let tokens = specs.iter().find(|spec| matches!(spec.name.as_str(), "input_ids" | "inputs_embeds")).and_then(|spec| axis(spec, 1));
    let (Some(past), Some(tokens)) = (past, tokens) else { return };
    let sum = Linear::parse(&format!("{past} + {tokens}"));
    for spec in specs.iter_mut().filter(|spec| spec.name.contains("attention_mask") && spec.shape.len() == 2) {
        if matches!(spec.shape[1], Dimension::Symbol(_)) {
            spec.shape[1] = Dimension::from(&sum);
        }
    }
}

/// All symbols of some specs, sorted.
pub(crate) fn symbols(specs: &[TensorSpec]) -> Vec<String> {
    let mut names: Vec<String> = specs.iter().flat_map(|spec| &spec.shape).flat_map(|dimension| Linear::from(dimension).terms.into_keys()).collect();
    names.sort();
    names.dedup();
    names
}

/// Lengths and facts to plan with. A model whose tables are too short for the planned length gets half of it, and so on.
pub(super) fn planned_facts(parsed: &Parsed, inputs: &[TensorSpec], outputs: &[&str], options: &InspectOptions) -> Result<(Binding, Facts), Error> {
    let mut options = options.clone();
    loop {
        let binding = planned(inputs, &options);
        let facts = facts(parsed, inputs, &binding)?;
        if options.length <= 1 || outputs.iter().all(|name| facts.shape(name).is_some()) {
            return Ok((binding, facts));
        }
        options.length /= 2;
    }
}

/// A length for every symbol, as the options say.
fn planned(inputs: &[TensorSpec], options: &InspectOptions) -> Binding {
    let batch = batch_symbol(inputs);
    symbols(inputs).into_iter().fold(Binding::default(), |binding, symbol| {
        let lower = symbol.to_ascii_lowercase();
        let length = match options.lengths.get(&symbol) {
            Some(length) => *length,
            None if batch.as_ref() == Some(&symbol) => options.batch,
            None if lower.contains("height") || lower.contains("width") => options.pixels,
            None => options.length,
        };
        binding.with(&symbol, length.max(1))
    })
}

/// Facts of the whole graph under a binding.
pub(crate) fn facts(parsed: &Parsed, inputs: &[TensorSpec], binding: &Binding) -> Result<Facts, Error> {
    let axes: Vec<Axes> = inputs.iter().map(|spec| spec.shape.iter().map(|dimension| binding.apply(&Linear::from(dimension))).collect()).collect();
    work_out(parsed, inputs, &axes)
}
