//! Seeded inputs that a model can take: ids inside their tables, masks of ones, positions that go on from the past.

use std::collections::HashSet;

use crate::{
    binding::{Binding, batch_symbol, is_past},
    element_type::ElementType,
    error::{Error, Fault},
    inspect::symbols::symbols,
    onnx::{graph, graph::Index},
    seed::Seed,
    spec::TensorSpec,
    tensor::{Tensor, bytes_of},
};

/// Length of open dimensions: more than one, as a length of 1 broadcasts and hides errors.
const LENGTH: usize = 5;
/// Length of an attention cache.
const PAST: usize = 3;
/// Pixels of an open height or width.
const PIXELS: usize = 64;
/// Number that every golden input starts from.
const SEED: u64 = 0x5eed;

/// One tensor for each input.
pub(super) fn seeded(index: &Index<'_>, inputs: &[TensorSpec]) -> Result<Vec<Tensor>, Error> {
    let batch = batch_symbol(inputs);
    let binding = symbols(inputs).into_iter().fold(Binding::default(), |binding, symbol| {
        let lower = symbol.to_ascii_lowercase();
        let length = match () {
            () if batch.as_ref() == Some(&symbol) => 1,
            () if is_past(&symbol) => PAST,
            () if lower.contains("height") || lower.contains("width") => PIXELS,
            () => LENGTH,
        };
        binding.with(&symbol, length)
    });
    let has_past = inputs.iter().any(|spec| spec.shape.iter().any(|dimension| is_past(&dimension.to_string())));
    let mut seed = Seed::new(SEED);
    inputs.iter().map(|spec| seeded_input(index, spec, &binding, if has_past { PAST } else { 0 }, &mut seed)).collect()
}

fn seeded_input(index: &Index<'_>, spec: &TensorSpec, binding: &Binding, past: usize, seed: &mut Seed) -> Result<Tensor, Error> {
    let shape = binding.shape(spec).ok_or_else(|| Fault::Missing { what: "length of input", name: spec.name.clone() })?;
    let count = usize::try_from(bytes_of(spec.element_type, &shape)?).unwrap_or(usize::MAX) / spec.element_type.size_bytes();
    let last = shape.last().copied().unwrap_or(1).max(1);
    let limit = table_rows(index, &spec.name);
    let integer = |place: usize, seed: &mut Seed| -> i64 {
        let value = match spec.name.as_str() {
            name if name.contains("mask") => 1,
            name if name.contains("position") => past + place % last,
            _ => match (limit, spec.element_type) {
                (Some(rows), _) => seed.below(rows),
                (None, ElementType::Uint8) => seed.below(256),
                (None, _) => 1,
            },
        };
        i64::try_from(limit.map_or(value, |rows| value.min(rows.saturating_sub(1)))).unwrap_or(0)
    };
    let mut data = Vec::with_capacity(count * spec.element_type.size_bytes());
    for place in 0..count {
        match spec.element_type {
            ElementType::Fp64 => data.extend(f64::from(seed.signed()).to_le_bytes()),
            ElementType::Fp32 => data.extend(seed.signed().to_le_bytes()),
            ElementType::Fp16 => data.extend(half::f16::from_f32(seed.signed()).to_le_bytes()),
            ElementType::Bf16 => data.extend(half::bf16::from_f32(seed.signed()).to_le_bytes()),
            other => data.extend(&integer(place, seed).to_le_bytes()[..other.size_bytes()]),
        }
    }
    Tensor::new(spec.element_type, shape, data.into())
}

/// Rows of the smallest table that is indexed by an input, changes of form in between followed; none when it indexes none.
fn table_rows(index: &Index<'_>, input: &str) -> Option<usize> {
    let mut names: HashSet<&str> = HashSet::from([input]);
    let mut rows: Option<usize> = None;
    // The file's order may be any, so values are followed until nothing new comes; forms are few.
    loop {
        let before = names.len();
        for node in &index.graph.node {
            let reads = |place: usize| node.input.get(place).is_some_and(|name| names.contains(name.as_str()));
            if node.op_type() == "Gather" && reads(1) {
                let table = node.input.first().and_then(|name| index.initializers.get(name.as_str()));
                let axis = usize::try_from(graph::integer(node, "axis", 0)).unwrap_or(0);
                let found = table.and_then(|table| usize::try_from(*table.dims.get(axis)?).ok());
                rows = found.into_iter().chain(rows).min();
            }
            if matches!(node.op_type(), "Cast" | "Reshape" | "Unsqueeze" | "Squeeze" | "Identity" | "Flatten") && reads(0) {
                names.extend(graph::outputs(node));
            }
        }
        if names.len() == before {
            return rows;
        }
    }
}
