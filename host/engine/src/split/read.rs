//! Shards read back from their files: a file names its model, range and borders itself.

use bytes::Bytes as Data;
use host_core::{
    ids::{ModelId, ModelName},
    shard::{BlockRange, ShardId},
};

use super::{
    Shard,
    assemble::{self, Labels},
};
use crate::{
    digest::Digest,
    error::{Error, Fault},
    golden::Golden,
    inspect::symbols,
    onnx::{OnnxFile, graph::Index},
    onnx_pb::{StringStringEntryProto, ValueInfoProto},
};

const MODEL: &str = "shardhost.model";
const VERSION: &str = "shardhost.version";
const START: &str = "shardhost.start";
const END: &str = "shardhost.end";
const BORDER_IN: &str = "shardhost.border_in";
const BORDER_OUT: &str = "shardhost.border_out";

/// What is written into a shard's file about it.
pub(super) fn labels(id: &ShardId, border_in: Option<&str>, border_out: Option<&str>) -> Labels {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    let mut labels = vec![
        entry(MODEL, id.model.name.to_string()),
        entry(VERSION, id.model.version.to_string()),
        entry(START, id.range.start().to_string()),
        entry(END, id.range.end().to_string()),
    ];
    labels.extend(border_in.map(|name| entry(BORDER_IN, name.to_owned())));
    labels.extend(border_out.map(|name| entry(BORDER_OUT, name.to_owned())));
    labels
}

impl Shard {
    /// A whole model as one shard, as it is: nothing is cut or folded, and blocks are not looked for.
    pub(crate) fn whole(file: &OnnxFile, model: ModelId) -> Result<Self, Error> {
        let id = ShardId { model, range: BlockRange::new(0, 1)? };
        let mut labelled = file.model().clone();
        labelled.metadata_props = labels(&id, None, None);
        Self::read(OnnxFile::from_model(labelled)?.to_bytes()?, None)
    }

    /// Reads a shard that came as a file, with its golden answers if they came along. Refuses files that are no shards. Whether the
    /// digest is the expected one is for the caller to compare.
    pub fn read(file: Data, golden: Option<Golden>) -> Result<Self, Error> {
        let onnx = OnnxFile::parse(file.clone(), None)?;
        let label = |key: &str| onnx.model().metadata_props.iter().find(|entry| entry.key() == key).map(|entry| entry.value().to_owned());
        let needed = |key: &'static str| label(key).ok_or_else(|| Error::from(Fault::Missing { what: "label", name: key.to_owned() }));
        let number = |key: &'static str| {
            let text = needed(key)?;
            text.parse::<u32>().map_err(|_| Error::from(Fault::Mismatch { what: "label", name: key.to_owned(), expected: "a number".into(), found: text }))
        };
        let model = ModelId { name: ModelName::parse(&needed(MODEL)?)?, version: number(VERSION)? };
        let id = ShardId { model, range: BlockRange::new(number(START)?, number(END)?)? };
        let index = Index::new(onnx.graph());
        let inputs = symbols::inputs(&index)?;
        let outputs = onnx.graph().output.iter().map(|output: &ValueInfoProto| symbols::declared(output)).collect::<Result<_, _>>()?;
        Ok(Self {
            id,
            digest: Digest::of(&file),
            inputs,
            outputs,
            border_in: label(BORDER_IN),
            border_out: label(BORDER_OUT),
            operators: onnx.operators(),
            weight_bytes: assemble::weight_bytes(&onnx),
            file,
            golden,
            artefacts: Vec::new(),
        })
    }
}
