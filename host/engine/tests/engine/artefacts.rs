//! Shards with fixed lengths, as vendors' tools want them, and what those make of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use host_core::ids::{ModelId, ModelName};
use host_engine::{Artefact, Digest, Engines, Kind, LoadOptions, Shard, check_golden, generate, inspect, open_lengths, split};

/// An encoder, whose batch and length are open, cut once.
fn shards() -> Vec<Shard> {
    let id = ModelId { name: ModelName::parse("encoder").expect("a name"), version: 1 };
    let model = generate(&Kind::named("encoder").expect("a kind"), 1).expect("a sound graph");
    let inspection = inspect(&model, id).expect("it has blocks");
    split(&inspection, &inspection.legal_cuts()[..1]).expect("a legal cut")
}

#[test]
fn a_bound_shard_has_no_open_lengths_and_answers() {
    for shard in shards() {
        let open = open_lengths(&shard.inputs);
        assert!(open.len() == 2 && open.contains(&"batch".to_owned()), "{open:?}");
        let sequence = open.iter().find(|name| *name != "batch").expect("two names").clone();
        let error = shard.bound(&BTreeMap::new()).expect_err("a length is missing").to_string();
        assert!(error.contains(&format!("`{sequence}` is open")) && error.contains(&shard.id.to_string()), "{error}");
        let bound = shard.bound(&BTreeMap::from([(sequence, 7), ("unknown".to_owned(), 3)])).expect("a bucket");
        assert!(open_lengths(&bound.inputs).is_empty() && open_lengths(&bound.outputs).is_empty());
        assert!(bound.digest == Digest::of(&bound.file) && bound.digest != shard.digest && bound.id == shard.id);
        let mut graph = Engines::default().load("tract", &bound, &LoadOptions::default()).expect("it loads");
        let answers = bound.answers(graph.as_mut()).expect("it runs");
        assert!(answers.outputs.iter().zip(&bound.outputs).all(|(output, spec)| spec.check(output).is_ok()), "{:?}", bound.outputs);
        check_golden(graph.as_mut(), &answers).expect("the same again");
        // The shard with open lengths makes the same of them.
        let mut whole = Engines::default().load("tract", &shard, &LoadOptions::default()).expect("it loads");
        check_golden(whole.as_mut(), &answers).expect("binding changes no answer");
    }
}

#[test]
fn a_description_reads_back_what_was_written_and_open_shapes_are_refused() {
    let shard = shards().remove(0);
    let bound = shard.bound(&open_lengths(&shard.inputs).into_iter().map(|name| (name, 3)).collect()).expect("a bucket");
    let (data, target) = (Bytes::from_static(b"made"), "rknn:rk3588".to_owned());
    let description = Artefact::description(&bound.inputs, &bound.outputs).expect("small");
    let read = Artefact::described(target.clone(), description, Digest::of(&data), data.clone()).expect("just written");
    assert_eq!(read, Artefact { target: target.clone(), digest: Digest::of(&data), data, inputs: bound.inputs, outputs: bound.outputs });
    let open = Artefact::description(&shard.inputs, &shard.outputs).expect("small");
    let error = Artefact::described(target, open, read.digest, Bytes::new()).expect_err("it is open");
    assert!(error.to_string().contains("an artefact has fixed shapes"), "{error}");
}
