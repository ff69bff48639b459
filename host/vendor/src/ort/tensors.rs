//! Tensors to ONNX Runtime and back. On the way in the library reads our bytes where they lie, and one copy is made where they lie
//! badly or are booleans; on the way out its memory is shared, without a copy.

use std::{fmt, slice};

use bytes::Bytes;
use half::{bf16, f16};
use host_engine::{ElementType, Error, Fault, Tensor, TensorSpec};
use ort::{
    session::SessionInputValue,
    value::{DynTensor, DynTensorValueType, DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef},
};

/// Element types that ONNX Runtime has, with its names for them.
const TYPES: [(ElementType, TensorElementType); 13] = [
    (ElementType::Fp64, TensorElementType::Float64),
    (ElementType::Fp32, TensorElementType::Float32),
    (ElementType::Fp16, TensorElementType::Float16),
    (ElementType::Bf16, TensorElementType::Bfloat16),
    (ElementType::Int64, TensorElementType::Int64),
    (ElementType::Int32, TensorElementType::Int32),
    (ElementType::Int16, TensorElementType::Int16),
    (ElementType::Int8, TensorElementType::Int8),
    (ElementType::Uint64, TensorElementType::Uint64),
    (ElementType::Uint32, TensorElementType::Uint32),
    (ElementType::Uint16, TensorElementType::Uint16),
    (ElementType::Uint8, TensorElementType::Uint8),
    (ElementType::Boolean, TensorElementType::Bool),
];

/// Types of which every pattern of bits is a value.
///
/// # Safety
/// Whoever implements it says that any bytes, as many as the type is long and aligned as it is, may be read as a value of it.
unsafe trait Plain: PrimitiveTensorElementType + Copy + fmt::Debug + 'static {}

macro_rules! plain {
    ($($plain:ty),*) => {
        $(
            // SAFETY: whole numbers and floats, 16-bit ones of `half` included, which are whole numbers inside, have no invalid patterns.
            unsafe impl Plain for $plain {}
        )*
    };
}
plain!(f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8);

/// A tensor as an input of a run; it borrows the bytes, or has a copy of them.
pub(super) fn to_value(tensor: &Tensor) -> Result<SessionInputValue<'_>, Error> {
    match tensor.element_type() {
        ElementType::Fp64 => plain::<f64>(tensor),
        ElementType::Fp32 => plain::<f32>(tensor),
        ElementType::Fp16 => plain::<f16>(tensor),
        ElementType::Bf16 => plain::<bf16>(tensor),
        ElementType::Int64 => plain::<i64>(tensor),
        ElementType::Int32 => plain::<i32>(tensor),
        ElementType::Int16 => plain::<i16>(tensor),
        ElementType::Int8 => plain::<i8>(tensor),
        ElementType::Uint64 => plain::<u64>(tensor),
        ElementType::Uint32 => plain::<u32>(tensor),
        ElementType::Uint16 => plain::<u16>(tensor),
        ElementType::Uint8 => plain::<u8>(tensor),
        ElementType::Boolean => {
            // Bytes from elsewhere may be other than 0 and 1, which booleans must be.
            let values: Vec<bool> = tensor.data().iter().map(|byte| *byte != 0).collect();
            let made = ort::value::Tensor::from_array((tensor.shape().to_vec(), values));
            made.map(SessionInputValue::from).map_err(|error| fault("take a tensor", &error))
        }
    }
}

fn plain<T: Plain>(tensor: &Tensor) -> Result<SessionInputValue<'_>, Error> {
    let bytes: &[u8] = tensor.data();
    // SAFETY: `Plain` says that any bytes may be read so; the middle part is aligned and whole, and only that is used.
    let (before, values, after) = unsafe { bytes.align_to::<T>() };
    let made = if before.is_empty() && after.is_empty() {
        TensorRef::from_array_view((tensor.shape().to_vec(), values)).map(SessionInputValue::from)
    } else {
        ort::value::Tensor::from_array((tensor.shape().to_vec(), copied::<T>(bytes))).map(SessionInputValue::from)
    };
    made.map_err(|error| fault("take a tensor", &error))
}

/// The values of bytes that lie badly: where a message or a file has them.
fn copied<T: Plain>(bytes: &[u8]) -> Vec<T> {
    let count = bytes.len() / size_of::<T>();
    let mut values: Vec<T> = Vec::with_capacity(count);
    // SAFETY: there is room for `count` values, that many bytes are read, and `Plain` says that they are values.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), values.as_mut_ptr().cast::<u8>(), count * size_of::<T>());
        values.set_len(count);
    }
    values
}

/// Keeps an output of ONNX Runtime alive behind `Bytes`.
struct Owner {
    tensor: DynTensor,
    length: usize,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        let start = self.tensor.data_ptr().cast::<u8>();
        if self.length == 0 || start.is_null() {
            return &[];
        }
        // SAFETY: the library allocated that many bytes for this output, on the CPU, has written all of them before the run ended, and
        // frees them when the tensor is dropped, which this owns. Nobody writes them any more: no input of a run is ever made of it.
        unsafe { slice::from_raw_parts(start, self.length) }
    }
}

/// An output of a run as a tensor that shares its memory. Names the output where it is not what was declared.
pub(super) fn from_value(spec: &TensorSpec, value: DynValue) -> Result<Tensor, Error> {
    let mismatch = |expected: String, found: String| Error::from(Fault::Mismatch { what: "output", name: spec.name.clone(), expected, found });
    let found = value.dtype().to_string();
    let tensor = value.downcast::<DynTensorValueType>().map_err(|_| mismatch("a tensor".into(), found.clone()))?;
    let element_type = TYPES.iter().find(|row| row.1 == *tensor.data_type()).map(|row| row.0).ok_or_else(|| mismatch(spec.element_type.to_string(), found))?;
    if !tensor.memory_info().is_cpu_accessible() {
        return Err(mismatch("memory of the machine".into(), "memory of an accelerator".into()));
    }
    let lengths = tensor.shape().iter().map(|&length| usize::try_from(length));
    let shape = lengths.collect::<Result<Vec<_>, _>>().map_err(|_| mismatch(spec.shape_text(), tensor.shape().to_string()))?;
    let length = shape.iter().product::<usize>() * element_type.size_bytes();
    Tensor::new(element_type, shape, Bytes::from_owner(Owner { tensor, length }))
}

/// Element types that inputs and outputs may have.
pub(super) fn element_types() -> Vec<ElementType> {
    TYPES.iter().map(|row| row.0).collect()
}

/// An error of ONNX Runtime in a run, where nobody knows whose it is.
fn fault(doing: &'static str, error: &ort::Error) -> Error {
    Fault::Engine { engine: "ort".into(), doing, reason: super::process::one_line(error.message()) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_bytes_that_lie_badly_are_copied_as_they_are() {
        let bytes: Vec<u8> = [1.5_f32, -2.25, f32::MAX].iter().flat_map(|value| value.to_le_bytes()).collect();
        let shifted: Vec<u8> = [0].into_iter().chain(bytes.iter().copied()).collect();
        for part in [&bytes[..], &shifted[1..]] {
            assert_eq!(copied::<f32>(part), [1.5, -2.25, f32::MAX]);
        }
        assert_eq!(copied::<i64>(&[]), Vec::<i64>::new());
    }

    #[test]
    fn every_element_type_has_a_name_there() {
        let types = element_types();
        assert!(ElementType::all().all(|element_type| types.contains(&element_type)));
    }
}
