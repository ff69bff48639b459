//! What a vendor's tool made of a shard, for accelerators that do not take ONNX: its bytes, what they were made for, and the fixed
//! shapes that they take. Several of one target are its buckets: the same shard, converted for several lengths. Nothing here
//! converts, or looks into the bytes; the engine of the target does.

use std::collections::BTreeMap;

use bytes::Bytes as Data;
use prost::Message as _;

use crate::{
    binding::{Binding, batch_symbol},
    digest::Digest,
    error::{Error, Fault},
    inspect::symbols,
    onnx::{OnnxFile, build, encode, graph::Index},
    onnx_pb::{GraphProto, ModelProto},
    spec::{Dimension, TensorSpec},
    split::Shard,
};

/// The name by which a bucket gives the batch a length, whatever the model calls it.
const BATCH: &str = "batch";

/// A shard in a vendor's own form.
#[derive(Clone, PartialEq, Debug)]
pub struct Artefact {
    /// What it was made for: `rknn:rk3588`, `acl:ascend310p`, `tensorrt`.
    pub target: String,
    /// SHA-256 of `data`.
    pub digest: Digest,
    /// The vendor's file.
    pub data: Data,
    /// What it takes, in the shard's order, with the lengths that it was made for: its bucket.
    pub inputs: Vec<TensorSpec>,
    /// What it gives, in the shard's order, with the same lengths.
    pub outputs: Vec<TensorSpec>,
}

impl Artefact {
    /// Its inputs and outputs as bytes, to keep or send beside `data`: an ONNX file without nodes. The same specs give the same bytes.
    pub fn description(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Result<Data, Error> {
        let graph = GraphProto {
            input: inputs.iter().map(build::value_info).collect(),
            output: outputs.iter().map(build::value_info).collect(),
            ..GraphProto::default()
        };
        encode(&ModelProto { graph: Some(graph), ..ModelProto::default() })
    }

    /// Puts together what was kept or sent. Whether `data` has this digest is for the caller to prove, who knows where it came from.
    pub fn described(target: String, description: Data, digest: Digest, data: Data) -> Result<Self, Error> {
        let model = ModelProto::decode(description).map_err(|error| Fault::NotOnnx { reason: error.to_string() })?;
        let graph = model.graph.unwrap_or_default();
        let specs = |values: &[_]| values.iter().map(symbols::declared).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (specs(&graph.input)?, specs(&graph.output)?);
        if let Some(open) = inputs.iter().chain(&outputs).find(|spec| spec.shape.iter().any(|dimension| dimension.fixed().is_none())) {
            return Err(Error::unsupported(format!("an artefact has fixed shapes, but {open} is open")));
        }
        Ok(Self { target, digest, data, inputs, outputs })
    }
}

/// The names of the open lengths of some inputs, sorted; the batch is called `batch`.
pub fn open_lengths(inputs: &[TensorSpec]) -> Vec<String> {
    let batch = batch_symbol(inputs);
    let name = |symbol: String| if Some(&symbol) == batch.as_ref() { BATCH.to_owned() } else { symbol };
    let mut names: Vec<String> = symbols::symbols(inputs).into_iter().map(name).collect();
    names.sort();
    names
}

impl Shard {
    /// The same shard with every length fixed, as vendors' tools want it: another file with another digest, without golden answers and
    /// artefacts. `lengths` are by name as `open_lengths` gives them, names that the shard does not have are left alone; without one the
    /// batch is 1. The error names the lengths that are missing.
    pub fn bound(&self, lengths: &BTreeMap<String, usize>) -> Result<Self, Error> {
        let batch = batch_symbol(&self.inputs);
        let all = symbols::symbols(&self.inputs);
        let length = |name: &String| match &batch {
            Some(symbol) if symbol == name => Some(lengths.get(BATCH).or_else(|| lengths.get(name)).copied().unwrap_or(1)),
            _ => lengths.get(name).copied(),
        };
        let missing: Vec<&str> = all.iter().filter(|name| length(name).is_none()).map(String::as_str).collect();
        if !missing.is_empty() {
            let missing = missing.join("`, `");
            return Err(Error::unsupported(format!("`{missing}` is open, and no bucket says how long it is")).of(&self.id));
        }
        let binding = all.iter().filter_map(|name| Some((name, length(name)?))).fold(Binding::default(), |binding, (name, length)| binding.with(name, length));
        self.with_lengths(&binding).map_err(|error| error.of(&self.id))
    }

    /// The same with lengths by the symbols of the shard.
    pub(crate) fn with_lengths(&self, binding: &Binding) -> Result<Self, Error> {
        let fixed = |specs: &[TensorSpec]| specs.iter().map(|spec| fixed(spec, binding)).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (fixed(&self.inputs)?, fixed(&self.outputs)?);
        let mut model = OnnxFile::parse(self.file.clone(), None)?.model().clone();
        let weights: Vec<String> = {
            let graph = model.graph.get_or_insert_with(GraphProto::default);
            Index::new(graph).initializers.keys().map(|name| (*name).to_owned()).collect()
        };
        if let Some(graph) = &mut model.graph {
            // Old files name their weights among the inputs; those stay.
            graph.input.retain(|value| weights.iter().any(|name| name == value.name()));
            graph.input.splice(0..0, inputs.iter().map(build::value_info));
            graph.output = outputs.iter().map(build::value_info).collect();
            // What was said of values in between may contradict the lengths.
            graph.value_info.clear();
        }
        let file = OnnxFile::from_model(model)?.to_bytes()?;
        Ok(Self { digest: Digest::of(&file), file, inputs, outputs, golden: None, artefacts: Vec::new(), ..self.clone() })
    }
}

fn fixed(spec: &TensorSpec, binding: &Binding) -> Result<TensorSpec, Error> {
    let bound = binding.specify(spec);
    match bound.shape.iter().all(|dimension| matches!(dimension, Dimension::Fixed(_))) {
        true => Ok(bound),
        false => Err(Error::unsupported(format!("{bound} stays open, as no input says how long it is"))),
    }
}
