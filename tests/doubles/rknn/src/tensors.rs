//! How tensors look from outside: attributes, and bytes in the types and orders that callers may use.

use std::ffi::{c_char, c_int};

use bytes::Bytes;
use double_core::{from_f32, to_f32};
use host_engine::{Dimension, ElementType, Tensor, TensorSpec};

use crate::abi::{RKNN_TENSOR_NCHW, RKNN_TENSOR_NHWC, RKNN_TENSOR_UNDEFINED, RknnTensorAttr};

const TYPES: [(ElementType, c_int); 10] = [
    (ElementType::Fp32, 0),
    (ElementType::Fp16, 1),
    (ElementType::Int8, 2),
    (ElementType::Uint8, 3),
    (ElementType::Int16, 4),
    (ElementType::Uint16, 5),
    (ElementType::Int32, 6),
    (ElementType::Uint32, 7),
    (ElementType::Int64, 8),
    (ElementType::Boolean, 9),
];

/// A type by its number.
pub fn element_type(number: c_int) -> Option<ElementType> {
    TYPES.iter().find(|row| row.1 == number).map(|row| row.0)
}

fn number(element_type: ElementType) -> Option<c_int> {
    TYPES.iter().find(|row| row.0 == element_type).map(|row| row.1)
}

/// The shape of a spec, whose lengths a payload has fixed.
pub fn shape(spec: &TensorSpec) -> Vec<usize> {
    spec.shape.iter().filter_map(Dimension::fixed).collect()
}

/// The type that a tensor has inside.
pub fn inside(spec: &TensorSpec, half: bool) -> ElementType {
    if half && spec.element_type == ElementType::Fp32 { ElementType::Fp16 } else { spec.element_type }
}

/// The order that the tools give inputs: four axes are a picture with its channels behind.
pub fn input_order(spec: &TensorSpec) -> c_int {
    if spec.shape.len() == 4 { RKNN_TENSOR_NHWC } else { RKNN_TENSOR_UNDEFINED }
}

/// The order that the tools give outputs.
pub fn output_order(spec: &TensorSpec) -> c_int {
    if spec.shape.len() == 4 { RKNN_TENSOR_NCHW } else { RKNN_TENSOR_UNDEFINED }
}

/// What a query answers; none for a type that the library does not have.
pub fn attribute(index: u32, spec: &TensorSpec, half: bool, order: c_int) -> Option<RknnTensorAttr> {
    let shape = shape(spec);
    let lengths = match (order, shape.as_slice()) {
        (RKNN_TENSOR_NHWC, &[batch, channels, height, width]) => vec![batch, height, width, channels],
        _ => shape.clone(),
    };
    let inside = inside(spec, half);
    let elements: usize = shape.iter().product();
    let width = match (order, lengths.as_slice()) {
        (RKNN_TENSOR_NHWC, &[_, _, width, _]) | (RKNN_TENSOR_NCHW, &[_, _, _, width]) => width,
        _ => 0,
    };
    let bytes = u32::try_from(elements * inside.size_bytes()).ok()?;
    let mut made = RknnTensorAttr {
        index,
        n_dims: u32::try_from(lengths.len()).ok()?,
        dims: [0; 16],
        name: [0; 256],
        n_elems: u32::try_from(elements).ok()?,
        size: bytes,
        fmt: order,
        tensor_type: number(inside)?,
        qnt_type: 0,
        fl: 0,
        zp: 0,
        scale: 1.0,
        w_stride: u32::try_from(width).ok()?,
        size_with_stride: bytes,
        pass_through: 0,
        h_stride: 0,
    };
    for (to, from) in made.dims.iter_mut().zip(&lengths) {
        *to = u32::try_from(*from).ok()?;
    }
    let name = made.name.len() - 1;
    made.name[..name].iter_mut().zip(spec.name.bytes()).for_each(|(to, from)| *to = c_char::from_ne_bytes([from]));
    Some(made)
}

/// A tensor made of a caller's bytes; says what is wrong with them.
pub fn take(spec: &TensorSpec, data: &[u8], given_type: c_int, order: c_int) -> Result<Tensor, String> {
    let name = &spec.name;
    let given = element_type(given_type).ok_or_else(|| format!("`{name}` has unknown type {given_type}"))?;
    let shape = shape(spec);
    let bytes = shape.iter().product::<usize>() * given.size_bytes();
    if data.len() != bytes {
        return Err(format!("`{name}` has {} bytes, {bytes} are needed", data.len()));
    }
    let expected = input_order(spec);
    if order != expected && !(expected == RKNN_TENSOR_UNDEFINED && order == RKNN_TENSOR_NCHW) {
        return Err(format!("`{name}` is in order {order}, its attribute says {expected}"));
    }
    let data = match (order, shape.as_slice()) {
        (RKNN_TENSOR_NHWC, &[batch, channels, height, width]) => moved(data, [batch, channels, height, width], given.size_bytes()),
        _ => data.to_vec(),
    };
    let converted = if given == spec.element_type { Some(Bytes::from(data)) } else { to_f32(given, &data).and_then(|data| from_f32(spec.element_type, &data)) };
    let converted = converted.ok_or_else(|| format!("`{name}` is {given}, it cannot become {}", spec.element_type))?;
    Tensor::new(spec.element_type, shape, converted).map_err(|error| error.to_string())
}

/// Axis 1 of a picture comes from behind: for each element of the result, where it lies in what was given.
fn moved(data: &[u8], [batch, channels, height, width]: [usize; 4], size: usize) -> Vec<u8> {
    let mut made = vec![0; data.len()];
    let pixels = height * width;
    for picture in 0..batch {
        for pixel in 0..pixels {
            for channel in 0..channels {
                let from = ((picture * pixels + pixel) * channels + channel) * size;
                let to = ((picture * channels + channel) * pixels + pixel) * size;
                made[to..to + size].copy_from_slice(&data[from..from + size]);
            }
        }
    }
    made
}

/// The bytes of a tensor in a type that a caller asks for; none if it cannot have that type.
pub fn give(tensor: &Tensor, wanted: ElementType) -> Option<Bytes> {
    if tensor.element_type() == wanted {
        return Some(tensor.data().clone());
    }
    to_f32(tensor.element_type(), tensor.data()).and_then(|data| from_f32(wanted, &data))
}

/// The number of a type that has one.
pub fn number_of(element_type: ElementType) -> c_int {
    number(element_type).unwrap_or(-1)
}
