//! Artefacts of one shard for different shapes: which ones an engine takes, and which one a request goes to. A request must have the
//! shapes of one of them exactly; padding it to a bucket is what adapters do.

use host_engine::{Artefact, Dimension, Error, Shard, Tensor, TensorSpec, check_inputs};

/// Most buckets of a shard that are loaded: each holds memory of its own.
const BUCKETS_MAX: usize = 256;

/// The artefacts of a shard for `kind:soc`. Without a `soc`, the ones there are must all be for the same. `fits` says whether one made
/// for the soc that is given to it runs on the soc that is asked for. Refuses a shard that has none, with those it has.
pub(crate) fn artefacts<'a>(shard: &'a Shard, kind: &str, soc: Option<&str>, fits: fn(&str, &str) -> bool) -> Result<Vec<&'a Artefact>, Error> {
    let of_kind = || shard.artefacts.iter().filter_map(|artefact| Some((artefact.target.strip_prefix(kind)?.strip_prefix(':')?, artefact)));
    let mut socs: Vec<&str> = of_kind().map(|(soc, _)| soc).collect();
    socs.sort_unstable();
    socs.dedup();
    let found = match soc {
        Some(soc) => of_kind().filter(|(made_for, _)| fits(made_for, soc)).map(|(_, artefact)| artefact).collect(),
        None if socs.len() > 1 => {
            return Err(Error::unsupported(format!("there are artefacts for {}, and setting `target` does not say which of them to take", socs.join(", "))));
        }
        None => of_kind().map(|(_, artefact)| artefact).collect::<Vec<_>>(),
    };
    if found.is_empty() {
        let wanted = soc.map_or_else(|| format!("{kind}:*"), |soc| format!("{kind}:{soc}"));
        let there_are = shard.artefacts.iter().map(|artefact| artefact.target.as_str()).collect::<Vec<_>>().join(", ");
        let there_are = if there_are.is_empty() { "none".to_owned() } else { there_are };
        return Err(Error::unsupported(format!("the shard needs an artefact for {wanted}, it has {there_are}")));
    }
    if found.len() > BUCKETS_MAX {
        return Err(Error::unsupported(format!("{} buckets are more than the {BUCKETS_MAX} that are loaded", found.len())));
    }
    found.iter().try_for_each(|artefact| check_names(shard, artefact))?;
    Ok(found)
}

/// An artefact must have the shard's inputs and outputs, in their order, with every length fixed.
fn check_names(shard: &Shard, artefact: &Artefact) -> Result<(), Error> {
    let sides = [("inputs", &shard.inputs, &artefact.inputs), ("outputs", &shard.outputs, &artefact.outputs)];
    for (what, of_shard, of_artefact) in sides {
        let names = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        if names(of_shard) != names(of_artefact) {
            let (expected, found) = (names(of_shard), names(of_artefact));
            return Err(Error::unsupported(format!("{what} of the artefact for {}: expected {expected}, found {found}", artefact.target)));
        }
    }
    let open = artefact.inputs.iter().chain(&artefact.outputs).find(|spec| lengths(spec).is_none());
    open.map_or(Ok(()), |spec| Err(Error::unsupported(format!("the artefact for {} has an open length in {spec}", artefact.target))))
}

/// A spec's shape; none if a length is open.
pub(crate) fn lengths(spec: &TensorSpec) -> Option<Vec<usize>> {
    spec.shape.iter().map(Dimension::fixed).collect()
}

/// What all buckets have in common: a length stays fixed where it is the same in each, and is open under the shard's name for it
/// elsewhere.
pub(crate) fn common<'a>(of_shard: &[TensorSpec], of_buckets: impl Iterator<Item = &'a [TensorSpec]> + Clone) -> Vec<TensorSpec> {
    let one = |(place, spec): (usize, &TensorSpec)| {
        let shape = spec.shape.iter().enumerate().map(|(axis, declared)| {
            let mut lengths = of_buckets.clone().filter_map(|specs| specs.get(place)?.shape.get(axis)?.fixed());
            let first = lengths.next();
            match first {
                Some(length) if lengths.all(|other| other == length) => Dimension::Fixed(length),
                _ => declared.clone(),
            }
        });
        TensorSpec { shape: shape.collect(), ..spec.clone() }
    };
    of_shard.iter().enumerate().map(one).collect()
}

/// The bucket whose shapes these inputs have. The error lists the buckets; of a single one, it names the input that is wrong.
pub(crate) fn choose<'a>(buckets: impl Iterator<Item = &'a [TensorSpec]> + Clone, inputs: &[Tensor]) -> Result<usize, Error> {
    if let Some(place) = buckets.clone().position(|specs| check_inputs(specs, inputs).is_ok()) {
        return Ok(place);
    }
    let mut all = buckets.clone();
    if let (Some(only), None) = (all.next(), all.next()) {
        check_inputs(only, inputs)?;
    }
    let found = inputs.iter().map(|tensor| format!("{} {:?}", tensor.element_type(), tensor.shape())).collect::<Vec<_>>().join(", ");
    let list = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let there_are = buckets.map(list).collect::<Vec<_>>().join("; ");
    Err(Error::unsupported(format!("no bucket has the shapes {found}, there are: {there_are}")))
}

#[cfg(test)]
mod tests {
    use host_engine::ElementType;

    use super::*;

    fn spec(lengths: &[usize]) -> Vec<TensorSpec> {
        vec![TensorSpec::fixed("x", ElementType::Fp32, lengths)]
    }

    #[test]
    fn what_differs_between_buckets_is_open_under_the_shards_name() {
        let shape = vec![Dimension::Symbol("batch".into()), Dimension::Symbol("sequence".into())];
        let declared = [TensorSpec { name: "x".into(), element_type: ElementType::Fp32, shape }];
        let buckets = [spec(&[1, 8]), spec(&[1, 32])];
        assert_eq!(common(&declared, buckets.iter().map(Vec::as_slice))[0].to_string(), "x FP32[1, sequence]");
    }

    #[test]
    fn inputs_go_to_the_bucket_with_exactly_their_shapes() {
        let buckets = [spec(&[1, 8]), spec(&[1, 32])];
        let tensor = |length: usize| [Tensor::zeros(ElementType::Fp32, &[1, length]).expect("small")];
        assert_eq!(choose(buckets.iter().map(Vec::as_slice), &tensor(32)).expect("the second"), 1);
        let error = choose(buckets.iter().map(Vec::as_slice), &tensor(9)).expect_err("no bucket of 9");
        assert_eq!(error.to_string(), "no bucket has the shapes FP32 [1, 9], there are: x FP32[1, 8]; x FP32[1, 32]");
        let error = choose(buckets[..1].iter().map(Vec::as_slice), &tensor(9)).expect_err("9 is not 8");
        assert_eq!(error.to_string(), "shape of `x`: expected [1, 8], found [1, 9]");
    }
}
