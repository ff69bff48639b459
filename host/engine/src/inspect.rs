//! Finds the blocks of a model: where it may be cut, what crosses each border, and what each block costs.
//! It reads the graph and never runs it; `split` makes files of what is found here.

pub(crate) mod classify;
mod cost;
mod cuts;
mod flops;
pub(crate) mod piece;
pub(crate) mod shapes;
pub(crate) mod symbols;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use host_core::{ids::ModelId, model::ModelProfile, units::Bytes};

use crate::{
    binding::Binding,
    error::{Error, Fault},
    golden::GoldenRun,
    onnx::{OnnxFile, graph::Index},
    spec::TensorSpec,
    tensor::bytes_of,
    tract::{facts::Facts, parse},
};
use classify::Classes;
use piece::Piece;
use shapes::Shapes;

/// What costs are worked out for.
#[derive(Clone, PartialEq, Debug)]
pub struct InspectOptions {
    /// Rows of one request; costs grow with it.
    pub batch: usize,
    /// Length of every other open dimension that `lengths` does not name: tokens, mostly.
    pub length: usize,
    /// Length of open dimensions called height or width.
    pub pixels: usize,
    /// Lengths of single symbols, by name.
    pub lengths: BTreeMap<String, usize>,
}

impl Default for InspectOptions {
    fn default() -> Self {
        Self { batch: 1, length: 32, pixels: 224, lengths: BTreeMap::new() }
    }
}

/// A border between two blocks: after which trunk node, and what crosses it.
#[derive(Clone, Debug)]
pub(crate) struct Border {
    /// How many trunk nodes lie before it.
    pub(crate) position: usize,
    pub(crate) spec: TensorSpec,
}

/// A model with its blocks.
#[derive(Debug)]
pub struct Inspection {
    pub(crate) file: OnnxFile,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) borders: Vec<Border>,
    pub(crate) classes: Classes,
    pub(crate) shapes: Shapes,
    pub(crate) facts: Facts,
    pub(crate) profile: Arc<ModelProfile>,
    pub(crate) golden: OnceLock<GoldenRun>,
    border_specs: Vec<TensorSpec>,
}

/// Inspects with the usual options.
pub fn inspect(file: &OnnxFile, id: ModelId) -> Result<Inspection, Error> {
    inspect_with(file, id, &InspectOptions::default())
}

/// Finds blocks, borders and costs. Refuses models whose inputs have no type or shape, that lie wholly inside an `If`, or
/// of which no shape can be worked out.
pub fn inspect_with(file: &OnnxFile, id: ModelId, options: &InspectOptions) -> Result<Inspection, Error> {
    inspect_graph(file, &id, options).map_err(|error| error.of(&id))
}

fn inspect_graph(file: &OnnxFile, id: &ModelId, options: &InspectOptions) -> Result<Inspection, Error> {
    let index = Index::new(file.graph());
    let inputs = symbols::inputs(&index)?;
    let classes = Classes::of(&index)?;
    let parsed = parse::parse(file)?;
    let names: Vec<&str> = file.graph().output.iter().map(|output| output.name()).collect();
    let shapes = Shapes::work_out(&parsed, &inputs, &names)?;
    let (planned, facts) = symbols::planned_facts(&parsed, &inputs, &names, options)?;
    let outputs = file.graph().output.iter().map(|output| shapes.spec(output.name())).collect::<Result<Vec<_>, _>>()?;
    let mut borders = cuts::borders(&index, &classes, &shapes)?;
    let view = piece::View { index: &index, classes: &classes, shapes: &shapes, facts: &facts, inputs: &inputs };
    let pieces = pieces(&view, &mut borders)?;
    let blocks = cost::blocks(&view, &pieces, &borders, &outputs)?;
    let shared = cost::shared(&view, &pieces);
    let input = inputs.iter().map(|spec| size(spec, &planned)).sum::<Result<Bytes, _>>()?;
    let profile = Arc::new(ModelProfile::new(id.clone(), blocks, shared, input)?);
    let border_specs = borders.iter().map(|border| border.spec.clone()).collect();
    Ok(Inspection { file: file.clone(), inputs, outputs, borders, classes, shapes, facts, profile, golden: OnceLock::new(), border_specs })
}

/// One piece for each block. A border that a later block cannot do with is given up, and the blocks beside it become one.
fn pieces(view: &piece::View<'_>, borders: &mut Vec<Border>) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut block = 0;
    while block <= borders.len() {
        match Piece::new(view, borders, block, block + 1) {
            Ok(piece) => {
                pieces.push(piece);
                block += 1;
            }
            Err(error) if block == 0 => return Err(error),
            Err(_) => {
                // The piece that ended at this border changes with it.
                borders.remove(block - 1);
                pieces.pop();
                block -= 1;
            }
        }
    }
    Ok(pieces)
}

fn size(spec: &TensorSpec, planned: &Binding) -> Result<Bytes, Error> {
    let shape = planned.shape(spec).ok_or_else(|| Fault::Missing { what: "shape of", name: spec.name.clone() })?;
    bytes_of(spec.element_type, &shape).map(Bytes)
}

impl Inspection {
    /// Blocks and costs, for planning.
    pub fn profile(&self) -> &Arc<ModelProfile> {
        &self.profile
    }

    /// The checked file.
    pub fn file(&self) -> &OnnxFile {
        &self.file
    }

    /// The model's inputs in order; lengths that requests choose are symbols.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// The model's outputs in order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// What crosses each border: number `n` lies between block n and block n+1, at cut n+1.
    pub fn borders(&self) -> &[TensorSpec] {
        &self.border_specs
    }

    /// The cuts that `split` takes: 1 to blocks-1.
    pub fn legal_cuts(&self) -> Vec<u32> {
        self.profile.legal_cuts().collect()
    }

    pub(crate) fn view<'a>(&'a self, index: &'a Index<'a>) -> piece::View<'a> {
        piece::View { index, classes: &self.classes, shapes: &self.shapes, facts: &self.facts, inputs: &self.inputs }
    }
}
