//! Tensors to rten and back. What rten computes with is lent on the way in, and handed over on the way out, without a copy;
//! 64-bit integers and booleans are 32-bit integers inside rten and are converted.

use std::borrow::Cow;

use bytes::Bytes;
use rten::{Value, ValueOrView, ValueView};
use rten_tensor::{Layout as _, Tensor as RtenTensor};

use crate::{
    element_type::ElementType,
    error::{Error, Fault},
    spec::TensorSpec,
    tensor::Tensor,
};

/// Element types of inputs and outputs that are taken. Floats of 16 and 64 bits would be computed with 32, which is not what a
/// model says that has them.
pub(super) const TYPES: [ElementType; 6] =
    [ElementType::Fp32, ElementType::Int64, ElementType::Int32, ElementType::Int8, ElementType::Uint8, ElementType::Boolean];

// Tensors travel little endian, and are lent as they are.
const _: () = assert!(cfg!(target_endian = "little"));

/// Refuses a spec of an element type that is not taken.
pub(super) fn check(spec: &TensorSpec) -> Result<(), Error> {
    if TYPES.contains(&spec.element_type) {
        return Ok(());
    }
    Err(Error::unsupported(format!("engine rten does not take element type {}, which `{}` has", spec.element_type, spec.name)))
}

/// Numbers of which every bit pattern is one, without padding.
///
/// # Safety
/// Must be implemented for such types only.
unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: each bit pattern of these is a value, and none has padding.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u8 {}

/// The numbers in these bytes: where they lie, or a copy where they lie across the borders that the processor wants.
fn numbers<T: Plain, const N: usize>(data: &[u8], from_bytes: fn([u8; N]) -> T) -> Cow<'_, [T]> {
    // SAFETY: `Plain` types have a value for every bit pattern, and `align_to` gives whole, aligned ones only.
    let (before, aligned, after) = unsafe { data.align_to::<T>() };
    if before.is_empty() && after.is_empty() {
        return Cow::Borrowed(aligned);
    }
    Cow::Owned(data.as_chunks().0.iter().map(|bytes| from_bytes(*bytes)).collect())
}

fn value<'a, T: Plain>(spec: &TensorSpec, shape: &[usize], numbers: Cow<'a, [T]>) -> Result<ValueOrView<'a>, Error>
where
    ValueView<'a>: From<rten_tensor::TensorView<'a, T>>,
    Value: From<RtenTensor<T>>,
{
    let fault = |reason: String| Error::from(Fault::Engine { engine: super::NAME.into(), doing: "take a tensor", reason: format!("{spec}: {reason}") });
    match numbers {
        Cow::Borrowed(numbers) => ValueView::from_shape(shape, numbers).map(ValueOrView::from).map_err(|error| fault(error.to_string())),
        Cow::Owned(numbers) => Value::from_shape(shape, numbers).map(ValueOrView::from).map_err(|error| fault(error.to_string())),
    }
}

/// Lends a tensor to rten, or converts it. Refuses integers that do not fit 32 bits.
pub(super) fn to_rten<'a>(spec: &TensorSpec, tensor: &'a Tensor) -> Result<ValueOrView<'a>, Error> {
    let (shape, data) = (tensor.shape(), tensor.data());
    match tensor.element_type() {
        ElementType::Fp32 => value(spec, shape, numbers(data, f32::from_le_bytes)),
        ElementType::Int32 => value(spec, shape, numbers(data, i32::from_le_bytes)),
        ElementType::Int8 => value(spec, shape, numbers(data, i8::from_le_bytes)),
        ElementType::Uint8 => value(spec, shape, numbers(data, u8::from_le_bytes)),
        ElementType::Int64 => value(spec, shape, Cow::Owned(narrowed(spec, data)?)),
        ElementType::Boolean => value(spec, shape, Cow::Owned(data.iter().map(|&byte| i32::from(byte != 0)).collect::<Vec<i32>>())),
        _ => check(spec).and_then(|()| Err(mismatch(spec, &tensor.element_type().to_string()))),
    }
}

fn narrowed(spec: &TensorSpec, data: &[u8]) -> Result<Vec<i32>, Error> {
    let narrow = |bytes: &[u8; 8]| {
        let wide = i64::from_le_bytes(*bytes);
        let (least, most) = (i32::MIN, i32::MAX);
        i32::try_from(wide).map_err(|_| Error::unsupported(format!("input `{}` holds {wide}, engine rten takes integers from {least} to {most}", spec.name)))
    };
    data.as_chunks().0.iter().map(narrow).collect()
}

/// Keeps numbers alive behind `Bytes`.
struct Owner<T>(Vec<T>);

impl<T: Plain> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Plain` types have no padding, so each of their bytes is written; the length is that of the same memory.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(self.0.as_slice())) }
    }
}

fn handed_over<T: Plain>(element_type: ElementType, tensor: RtenTensor<T>) -> Result<Tensor, Error> {
    let shape = tensor.shape().to_vec();
    Tensor::new(element_type, shape, Bytes::from_owner(Owner(tensor.into_data())))
}

fn widened(tensor: RtenTensor<i32>) -> Result<Tensor, Error> {
    let shape = tensor.shape().to_vec();
    let values: Vec<i64> = tensor.into_data().into_iter().map(i64::from).collect();
    Tensor::new(ElementType::Int64, shape, Bytes::from_owner(Owner(values)))
}

// SAFETY: as for the narrower integers; only handed out, never lent.
unsafe impl Plain for i64 {}

fn truths(tensor: RtenTensor<i32>) -> Result<Tensor, Error> {
    let shape = tensor.shape().to_vec();
    let values: Vec<u8> = tensor.into_data().into_iter().map(|value| u8::from(value != 0)).collect();
    Tensor::new(ElementType::Boolean, shape, values.into())
}

/// Takes over what rten made. The error names the output, its declared type and the one that came.
pub(super) fn from_rten(spec: &TensorSpec, value: Value) -> Result<Tensor, Error> {
    match (spec.element_type, value) {
        (ElementType::Fp32, Value::FloatTensor(tensor)) => handed_over(ElementType::Fp32, tensor),
        (ElementType::Int32, Value::Int32Tensor(tensor)) => handed_over(ElementType::Int32, tensor),
        (ElementType::Int8, Value::Int8Tensor(tensor)) => handed_over(ElementType::Int8, tensor),
        (ElementType::Uint8, Value::UInt8Tensor(tensor)) => handed_over(ElementType::Uint8, tensor),
        (ElementType::Int64, Value::Int32Tensor(tensor)) => widened(tensor),
        (ElementType::Boolean, Value::Int32Tensor(tensor)) => truths(tensor),
        (_, other) => Err(mismatch(spec, &other.dtype().to_string())),
    }
}

fn mismatch(spec: &TensorSpec, found: &str) -> Error {
    Fault::Mismatch { what: "element type", name: spec.name.clone(), expected: spec.element_type.to_string(), found: found.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(element_type: ElementType) -> TensorSpec {
        TensorSpec::fixed("x", element_type, &[2])
    }

    #[test]
    fn every_type_that_is_taken_comes_back_as_it_went_wherever_its_bytes_lie() {
        for element_type in TYPES {
            let size = element_type.size_bytes();
            let bytes: Vec<u8> = (0..=2 * size).map(|place| u8::from(place % size.max(2) == 1)).collect();
            for start in [0, 1] {
                let data = Bytes::from(bytes.clone()).slice(start..start + 2 * size);
                let tensor = Tensor::new(element_type, vec![2], data).expect("two elements");
                let value = to_rten(&spec(element_type), &tensor).expect("it is taken").into_owned();
                assert_eq!(from_rten(&spec(element_type), value).expect("it comes back"), tensor, "{element_type} from byte {start}");
            }
        }
    }

    #[test]
    fn integers_that_do_not_fit_and_types_that_are_not_taken_are_refused_by_name() {
        let wide = Tensor::from_i64(&[2], &[1, 1 << 40]).expect("two values");
        let error = to_rten(&spec(ElementType::Int64), &wide).expect_err("it takes 32 bits");
        assert_eq!(error.to_string(), "input `x` holds 1099511627776, engine rten takes integers from -2147483648 to 2147483647");
        let error = check(&spec(ElementType::Fp64)).expect_err("it has no such type");
        assert_eq!(error.to_string(), "engine rten does not take element type FP64, which `x` has");
        let error = from_rten(&spec(ElementType::Int8), Value::from_shape([2], vec![0.0f32; 2]).expect("two values")).expect_err("floats are no integers");
        assert_eq!(error.to_string(), "element type of `x`: expected INT8, found tensor(f32)");
    }
}
