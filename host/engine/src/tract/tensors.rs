//! Tensors to tract and back: one copy on the way in, none on the way out.

use std::sync::Arc;

use bytes::Bytes;
use tract_onnx::{prelude as tract, tract_hir::internal::TDim};

use crate::{
    element_type::ElementType,
    error::{Error, Fault},
    tensor::Tensor,
};

/// Element types that tract has, with its names for them.
const TYPES: [(ElementType, tract::DatumType); 12] = [
    (ElementType::Fp64, tract::DatumType::F64),
    (ElementType::Fp32, tract::DatumType::F32),
    (ElementType::Fp16, tract::DatumType::F16),
    (ElementType::Int64, tract::DatumType::I64),
    (ElementType::Int32, tract::DatumType::I32),
    (ElementType::Int16, tract::DatumType::I16),
    (ElementType::Int8, tract::DatumType::I8),
    (ElementType::Uint64, tract::DatumType::U64),
    (ElementType::Uint32, tract::DatumType::U32),
    (ElementType::Uint16, tract::DatumType::U16),
    (ElementType::Uint8, tract::DatumType::U8),
    (ElementType::Boolean, tract::DatumType::Bool),
];

pub(crate) fn datum_type(element_type: ElementType) -> Result<tract::DatumType, Error> {
    let row = TYPES.iter().find(|row| row.0 == element_type);
    row.map(|row| row.1).ok_or_else(|| Error::unsupported(format!("engine tract does not take element type {element_type}")))
}

/// Our name for a tract type; symbolic integers count as 64-bit ones, quantised ones as what they are stored in.
pub(crate) fn element_type(datum_type: tract::DatumType) -> Option<ElementType> {
    if datum_type == TDim::datum_type_of() {
        return Some(ElementType::Int64);
    }
    TYPES.iter().find(|row| row.1 == datum_type.unquantized()).map(|row| row.0)
}

trait DatumTypeOf {
    fn datum_type_of() -> tract::DatumType;
}

impl DatumTypeOf for TDim {
    fn datum_type_of() -> tract::DatumType {
        use tract_onnx::prelude::Datum as _;
        Self::datum_type()
    }
}

/// Copies a tensor into memory that is aligned as tract wants it.
pub(crate) fn to_tract(tensor: &Tensor) -> Result<tract::Tensor, Error> {
    let datum_type = datum_type(tensor.element_type())?;
    let fault = |error: tract::TractError| Error::from(Fault::Engine { engine: "tract".into(), doing: "take a tensor", reason: error.to_string() });
    // SAFETY: every byte is written below before the tensor is seen by anyone; `Tensor::new` has proved that there are exactly
    // as many as the shape needs, and for booleans, the only type with invalid bit patterns, each is made 0 or 1.
    let mut copy = unsafe { tract::Tensor::uninitialized_dt(datum_type, tensor.shape()) }.map_err(fault)?;
    let bytes = copy.as_bytes_mut();
    if tensor.element_type() == ElementType::Boolean {
        bytes.iter_mut().zip(tensor.data()).for_each(|(to, from)| *to = u8::from(*from != 0));
    } else {
        bytes.copy_from_slice(tensor.data());
    }
    Ok(copy)
}

/// Keeps a tract tensor alive behind `Bytes`.
struct Owner(Arc<tract::Tensor>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Shares a tract tensor's memory; only symbolic integers are converted.
pub(crate) fn from_tract(tensor: Arc<tract::Tensor>) -> Result<Tensor, Error> {
    let fault = |reason: String| Error::from(Fault::Engine { engine: "tract".into(), doing: "give a tensor", reason });
    let tensor = if tensor.datum_type() == TDim::datum_type_of() {
        Arc::new(tensor.cast_to_dt(tract::DatumType::I64).map_err(|error| fault(error.to_string()))?.into_owned())
    } else {
        tensor
    };
    let Some(element_type) = element_type(tensor.datum_type()) else {
        return Err(fault(format!("its element type {:?} has no name here", tensor.datum_type())));
    };
    if !tensor.is_plain() {
        return Err(fault("it is packed for the engine's own use".into()));
    }
    let shape = tensor.shape().to_vec();
    Tensor::new(element_type, shape, Bytes::from_owner(Owner(tensor)))
}
