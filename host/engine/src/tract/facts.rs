//! Types, shapes and constant values of everything in a graph, for given input shapes, as tract works them out.

use std::{collections::HashMap, sync::Arc};

use tract_onnx::{
    prelude::{InferenceModelExt as _, Tensor as TractTensor},
    tract_hir::infer::Factoid as _,
};

use super::{
    guard::guarded,
    parse::{Axes, Parsed},
    tensors,
};
use crate::{element_type::ElementType, error::Error, spec::TensorSpec, tensor::Tensor};

/// What is known of one value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fact {
    pub(crate) element_type: Option<ElementType>,
    /// None where any axis is not known.
    pub(crate) shape: Option<Vec<usize>>,
    constant: Option<Arc<TractTensor>>,
}

impl Fact {
    /// The value itself, where it is the same in every run of this graph with these shapes.
    pub(crate) fn constant(&self) -> Option<Tensor> {
        tensors::from_tract(Arc::clone(self.constant.as_ref()?)).ok()
    }
}

/// Facts by name, and the first thing that tract could not work out.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) values: HashMap<String, Fact>,
    pub(crate) problem: Option<Error>,
}

impl Facts {
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.values.get(name)?.shape.as_deref()
    }

    /// Bytes of a value; 0 where its shape is not known.
    pub(crate) fn size_bytes(&self, name: &str) -> u64 {
        let Some(fact) = self.values.get(name) else { return 0 };
        let size = fact.element_type.map_or(4, ElementType::size_bytes) as u64;
        // A graph may claim any length; the product of absurd ones stays at the largest number.
        fact.shape.as_ref().map_or(0, |shape| shape.iter().fold(size, |product, &length| product.saturating_mul(length as u64)))
    }
}

/// Works out what it can; inputs have the given lengths.
pub(crate) fn facts(parsed: &Parsed, inputs: &[TensorSpec], axes: &[Axes]) -> Result<Facts, Error> {
    let mut parsed = parsed.clone();
    parsed.declare(inputs, axes)?;
    let problem = guarded("work out shapes", || parsed.model.analyse(true)).err();
    let mut values = HashMap::with_capacity(parsed.outlets.len());
    for (name, outlet) in &parsed.outlets {
        let Ok(fact) = parsed.model.outlet_fact(*outlet) else { continue };
        let shape = fact.shape.concretize().and_then(|axes| axes.iter().map(|axis| axis.to_usize_or_none()).collect());
        let element_type = fact.datum_type.concretize().and_then(tensors::element_type);
        values.insert(name.clone(), Fact { element_type, shape, constant: fact.value.concretize() });
    }
    Ok(Facts { values, problem })
}

trait AsLength {
    fn to_usize_or_none(&self) -> Option<usize>;
}

impl AsLength for tract_onnx::tract_hir::internal::TDim {
    fn to_usize_or_none(&self) -> Option<usize> {
        usize::try_from(self.as_i64()?).ok()
    }
}
