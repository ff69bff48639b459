//! Cuts a model: each shard is a file of its own that any engine can load, with a digest and, where wanted, golden answers.

mod assemble;
mod read;
mod write;

use bytes::Bytes as Data;
use host_core::{
    shard::{BlockRange, ShardId},
    units::Bytes,
};

use crate::{
    artefact::Artefact,
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
    /// What it was converted to for accelerators that do not load ONNX.
    pub artefacts: Vec<Artefact>,
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
        let labels = read::labels(&id, into.as_deref(), out.as_deref());
        let made = assemble::assemble(&view, self.file.model(), labels, &piece, &inputs, &outputs)?;
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
            artefacts: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use host_core::ids::{ModelId, ModelName};

    use super::*;
    use crate::{
        element_type::ElementType,
        engine::{Engines, LoadOptions},
        generate::builder::Builder,
        golden::check,
        inspect::{inspect, piece::ForeignShape},
        onnx::{OnnxFile, build},
    };

    fn id() -> ModelId {
        ModelId { name: ModelName::parse("m").expect("a name"), version: 1 }
    }

    /// Two residual layers with a cache each. Both read a bias whose shape is made from the shape of the first layer's cache
    /// and of the widened input, as exporters make causal masks; the products go through a shape without open axes.
    fn exported_like() -> OnnxFile {
        let mut builder = Builder::new(5);
        let input = builder.input("x", ElementType::Fp32, &["batch", "tokens", "8"]);
        let caches = [0, 1].map(|layer| builder.input(&format!("past_key_values.{layer}.key"), ElementType::Fp32, &["batch", "past", "8"]));
        builder.scope("bias");
        let wide = builder.linear(&input, 8, 16, true);
        let embedded = builder.linear(&wide, 16, 8, true);
        let (past_shape, embedded_shape) = (builder.op("Shape", &[&caches[0]], vec![]), builder.op("Shape", &[&wide], vec![]));
        let (zero, one) = (builder.integers("zero", &[0]), builder.integers("one", &[1]));
        let batch = builder.op("Gather", &[&embedded_shape, &zero], vec![]);
        let tokens = builder.op("Gather", &[&embedded_shape, &one], vec![]);
        let past = builder.op("Gather", &[&past_shape, &one], vec![]);
        let total = builder.op("Add", &[&past, &tokens], vec![]);
        let target = builder.op("Concat", &[&batch, &tokens, &total], vec![build::integer("axis", 0)]);
        let half = builder.floats("half", &[0.5], &[1]);
        let bias = builder.op("Expand", &[&half, &target], vec![]);
        let mut value = embedded;
        for (layer, cache) in caches.iter().enumerate() {
            builder.scope(format!("layer.{layer}"));
            let flat = builder.integers("flat", &[-1, 8]);
            let rows = builder.op("Reshape", &[&value, &flat], vec![]);
            let rows = builder.linear(&rows, 8, 8, true);
            let shape = builder.op("Shape", &[&value], vec![]);
            let made = builder.op("Reshape", &[&rows, &shape], vec![]);
            let present = format!("present.{layer}.key");
            builder.op_named("Concat", &[cache, &made], vec![build::integer("axis", 1)], &present);
            builder.declare_output(&present, ElementType::Fp32, &["batch", "past + tokens", "8"]);
            let turned = builder.op("Transpose", &[&present], vec![build::integers("perm", &[0, 2, 1])]);
            let scores = builder.op("MatMul", &[&made, &turned], vec![]);
            let scores = builder.op("Add", &[&scores, &bias], vec![]);
            let mixed = builder.op("MatMul", &[&scores, &present], vec![]);
            value = builder.op("Add", &[&mixed, &value], vec![]);
        }
        builder.scope("head");
        let output = builder.linear(&value, 8, 4, true);
        builder.output(&output, "y", ElementType::Fp32, &["batch", "tokens", "4"]);
        builder.finish("exported").expect("a sound graph")
    }

    #[test]
    fn shapes_of_values_on_the_other_side_of_a_cut_are_made_again() {
        let inspection = inspect(&exported_like(), id()).expect("it has blocks").with_golden().expect("golden answers");
        assert!(inspection.legal_cuts().len() >= 2, "{:?}", inspection.borders());
        let shards = split(&inspection, &inspection.legal_cuts()).expect("legal cuts");
        let second = shards.iter().position(|shard| shard.inputs.iter().any(|spec| spec.name == "past_key_values.1.key")).expect("some shard reads it");
        assert!(shards[second].inputs.iter().all(|spec| spec.name != "past_key_values.0.key"), "the first layer's cache is not sent to the second");
        for shard in &shards {
            Engines::default().load("tract", shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn axes_that_no_single_value_has_are_put_together_from_several() {
        let inspection = inspect(&exported_like(), id()).expect("it has blocks").with_golden().expect("golden answers");
        let index = Index::new(inspection.file.graph());
        let view = inspection.view(&index);
        let blocks = 1..=inspection.borders.len();
        let pieces = blocks.map(|block| Piece::new(&view, &inspection.borders, block, block + 1).expect("every block stands alone"));
        let made: Vec<ForeignShape> = pieces.flat_map(|piece| piece.foreign_shapes).map(|(_, source)| source).collect();
        assert!(made.iter().any(|source| matches!(source, ForeignShape::Axes(axes) if axes.len() == 3)), "{made:?}");
        assert!(made.iter().any(|source| matches!(source, ForeignShape::Same(name) if name == "past_key_values.1.key")), "{made:?}");
    }

    #[test]
    fn a_shard_read_from_its_file_is_the_shard() {
        let inspection = inspect(&exported_like(), id()).expect("it has blocks").with_golden().expect("golden answers");
        for shard in split(&inspection, &inspection.legal_cuts()).expect("legal cuts") {
            let read = Shard::read(shard.file.clone(), shard.golden.clone()).expect("just made");
            check(Engines::default().load("tract", &read, &LoadOptions::default()).expect("it loads").as_mut(), read.golden.as_ref().expect("given"))
                .expect("right");
            assert_eq!(format!("{read:?}"), format!("{shard:?}"));
        }
        let plain = exported_like().to_bytes().expect("small");
        assert_eq!(Shard::read(plain, None).expect_err("not a shard").to_string(), "label `shardhost.model` is missing");
    }
}
