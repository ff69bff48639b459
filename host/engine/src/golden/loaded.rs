//! Holds what an engine has loaded against golden answers: those of the shard, where the graph takes their lengths. A graph that was made
//! for other lengths only cannot be asked for them; then tract says what the shard answers at the lengths of the smallest bucket.

use super::{Golden, TOLERANCE_COARSE, check, compared};
use crate::{
    binding::Binding,
    engine::{Engine as _, Graph, LoadOptions, check_inputs},
    error::{Error, Fault},
    spec::{Dimension, TensorSpec},
    split::Shard,
    tensor::Tensor,
    tract::TractEngine,
};

/// Runs a loaded shard and compares its answers. `is_coarse` says that its engine computes with 16-bit floats, whatever the shard's are.
/// The error names the output that is wrong, or why there is nothing to compare with.
pub(crate) fn check_loaded(graph: &mut dyn Graph, shard: &Shard, golden: &Golden, is_coarse: bool) -> Result<(), Error> {
    let tolerance = if is_coarse { golden.tolerance.max(TOLERANCE_COARSE) } else { golden.tolerance };
    let Some(bucket) = bucket_to_check(graph, shard, golden) else {
        return check(graph, &Golden { tolerance, ..golden.clone() });
    };
    let answers = answers(shard, &bucket)?;
    let made = graph.run(as_taken(shard, &bucket, &answers.inputs)?)?;
    // Graphs in a vendor's form may give other element types, which adapters cast back.
    let wanted = |(place, made): (usize, Tensor)| answers.outputs.get(place).map_or(Ok(made.clone()), |wanted| made.cast(wanted.element_type()));
    let outputs = made.into_iter().enumerate().map(wanted).collect::<Result<Vec<_>, _>>()?;
    compared(graph.outputs(), &outputs, &Golden { tolerance, ..answers }).map(drop)
}

/// The smallest bucket of a graph that takes none of the lengths of the golden inputs; none where it takes those.
fn bucket_to_check(graph: &dyn Graph, shard: &Shard, golden: &Golden) -> Option<Vec<TensorSpec>> {
    let is_open = |specs: &[TensorSpec]| specs.iter().flat_map(|spec| &spec.shape).any(|dimension| dimension.fixed().is_none());
    let buckets = graph.buckets();
    let takes_golden = |specs: &Vec<TensorSpec>| is_open(specs) || check_inputs(specs, &golden.inputs).is_ok();
    if !is_open(&shard.inputs) || buckets.iter().any(takes_golden) {
        return None;
    }
    let elements = |spec: &TensorSpec| spec.shape.iter().filter_map(Dimension::fixed).product::<usize>();
    buckets.into_iter().min_by_key(|specs| specs.iter().map(elements).sum::<usize>())
}

/// What the shard answers at the lengths of a bucket.
fn answers(shard: &Shard, bucket: &[TensorSpec]) -> Result<Golden, Error> {
    let shape = |spec: &TensorSpec| {
        let taken = bucket.iter().find(|taken| taken.name == spec.name);
        let missing = || Error::from(Fault::Missing { what: "input of the graph", name: spec.name.clone() });
        taken.and_then(|taken| taken.shape.iter().map(Dimension::fixed).collect::<Option<Vec<_>>>()).ok_or_else(missing)
    };
    let shapes = shard.inputs.iter().map(shape).collect::<Result<Vec<_>, _>>()?;
    let bound = shard.with_lengths(&Binding::solve(shard.inputs.iter().zip(shapes.iter().map(Vec::as_slice)))?)?;
    let mut graph = TractEngine.load(&bound, &LoadOptions::default())?;
    bound.answers(graph.as_mut())
}

/// Inputs in the order and with the element types in which a bucket takes them.
fn as_taken(shard: &Shard, bucket: &[TensorSpec], inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    let given = |spec: &TensorSpec| {
        let place = shard.inputs.iter().position(|declared| declared.name == spec.name);
        let input = place.and_then(|place| inputs.get(place));
        input.ok_or_else(|| Error::from(Fault::Missing { what: "input", name: spec.name.clone() }))?.cast(spec.element_type)
    };
    bucket.iter().map(given).collect()
}
