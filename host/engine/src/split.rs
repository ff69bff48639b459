//! Cuts a model: each shard is a file of its own that any engine can load, with a digest and, where wanted, golden answers.

mod assemble;
mod write;

use bytes::Bytes as Data;
use host_core::{
    shard::{BlockRange, ShardId},
    units::Bytes,
};

use crate::{
    digest::Digest,
    error::{Error, Fault},
    golden::Golden,
    inspect::{Inspection, piece::Piece},
    onnx::graph::Index,
    spec::TensorSpec,
};

/// A contiguous range of blocks as one file.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Model, version and range.
    pub id: ShardId,
    /// SHA-256 of `file`.
    pub digest: Digest,
    /// Its inputs in order: what comes over the border first, then those of the model's inputs that it reads.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs in order: what goes over the border first, then those of the model's outputs that it makes.
    pub outputs: Vec<TensorSpec>,
    /// The input that the shard before makes; none for the first.
    pub border_in: Option<String>,
    /// The output that the shard after reads; none for the last.
    pub border_out: Option<String>,
    /// Operators that it uses, sorted, with their domain unless it is the default one.
    pub operators: Vec<String>,
    /// Bytes of its weights.
    pub weight_bytes: Bytes,
    /// A whole ONNX file with all weights inside.
    pub file: Data,
    /// Inputs and the outputs they must give, when the model was inspected `with_golden`.
    pub golden: Option<Golden>,
}

/// Cuts a model at the given cuts: n cuts give n+1 shards in order, no cut gives the whole model as one. Cuts may come in any
/// order; one that is not legal or comes twice is named in the error with the legal ones.
pub fn split(inspection: &Inspection, cuts: &[u32]) -> Result<Vec<Shard>, Error> {
    let profile = inspection.profile();
    let mut sorted = cuts.to_vec();
    sorted.sort_unstable();
    let legal = inspection.legal_cuts();
    let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    if let Some(cut) = twice.or_else(|| sorted.iter().copied().find(|cut| !legal.contains(cut))) {
        return Err(Error::from(Fault::IllegalCut { cut, legal }).of(profile.id()));
    }
    let ends = sorted.iter().copied().chain([profile.whole().end()]);
    let starts = [0].into_iter().chain(sorted.iter().copied());
    starts.zip(ends).map(|(start, end)| inspection.shard(BlockRange::new(start, end)?)).collect()
}

impl Inspection {
    /// One shard, with golden answers if the inspection has them. Refuses a range beyond the last block.
    pub fn shard(&self, range: BlockRange) -> Result<Shard, Error> {
        let id = ShardId { model: self.profile.id().clone(), range };
        if range.end() > self.profile.whole().end() {
            return Err(Error::range(&id, &self.profile));
        }
        self.make(id.clone()).map_err(|error| error.of(&id))
    }

    fn make(&self, id: ShardId) -> Result<Shard, Error> {
        let index = Index::new(self.file.graph());
        let view = self.view(&index);
        let (start, end) = (id.range.start() as usize, id.range.end() as usize);
        let piece = Piece::new(&view, &self.borders, start, end)?;
        let border = |number: Option<usize>| number.and_then(|number| self.borders.get(number)).map(|border| border.spec.clone());
        let (border_in, border_out) = (border(start.checked_sub(1)), border(Some(end - 1)));
        let name_of = |spec: &Option<TensorSpec>| spec.as_ref().map(|spec| spec.name.clone());
        let (into, out) = (name_of(&border_in), name_of(&border_out));
        let own_inputs = self.inputs.iter().filter(|spec| piece.inputs.contains(&spec.name)).cloned();
        let inputs: Vec<TensorSpec> = border_in.into_iter().chain(own_inputs).collect();
        let own_outputs = self.outputs.iter().filter(|spec| piece.outputs.contains(&spec.name) && out.as_ref() != Some(&spec.name)).cloned();
        let outputs: Vec<TensorSpec> = border_out.into_iter().chain(own_outputs).collect();
        let made = assemble::assemble(&view, self.file.model(), &id, &piece, &inputs, &outputs)?;
        let file = made.to_bytes()?;
        let golden = self.golden.get().map(|run| run.of(&inputs, &outputs, &made)).transpose()?;
        Ok(Shard {
            id,
            digest: Digest::of(&file),
            inputs,
            outputs,
            border_in: into,
            border_out: out,
            operators: made.operators(),
            weight_bytes: assemble::weight_bytes(&made),
            file,
            golden,
        })
    }
}
