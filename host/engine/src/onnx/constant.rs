//! Tensors inside ONNX files: their size, their bytes in whichever field they lie, and the way back.

use crate::{
    element_type::ElementType,
    error::{Error, Fault},
    onnx_pb::{TensorProto, tensor_proto::DataType},
    tensor::{ELEMENTS_MAX, Tensor},
};

/// Checks that dimensions make sense and that there are as many bytes as they need.
pub(super) fn check(tensor: &TensorProto) -> Result<(), Error> {
    let elements = elements(tensor)?;
    let Some(bits) = element_bits(tensor.data_type()) else {
        return match DataType::try_from(tensor.data_type()) {
            Ok(DataType::String) => Ok(()),
            _ => Err(Error::graph(format!("tensor `{}` has element type {}, which is not known", tensor.name(), tensor.data_type()))),
        };
    };
    let expected = (elements * bits).div_ceil(8);
    let found = tensor.raw_data.as_ref().map_or_else(|| typed_elements(tensor) * bits / 8, |data| data.len() as u64);
    let loose = tensor.raw_data.is_none() && bits < 8;
    if found == expected || loose {
        return Ok(());
    }
    let shape = tensor.dims.iter().map(|&length| usize::try_from(length).unwrap_or(0)).collect();
    Err(Fault::TensorBytes { tensor: tensor.name().to_owned(), shape, expected, found }.into())
}

fn elements(tensor: &TensorProto) -> Result<u64, Error> {
    let product = tensor.dims.iter().try_fold(1u64, |product, &length| product.checked_mul(u64::try_from(length).ok()?));
    match product {
        Some(count) if count <= ELEMENTS_MAX => Ok(count),
        _ => Err(Error::graph(format!("tensor `{}` has dimensions {:?}, which make no sense", tensor.name(), tensor.dims))),
    }
}

fn typed_elements(tensor: &TensorProto) -> u64 {
    let sum = tensor.float_data.len() + tensor.int32_data.len() + tensor.int64_data.len() + tensor.double_data.len() + tensor.uint64_data.len();
    sum as u64
}

/// Bits of one element as it lies in a file; none for text and for what is not known.
fn element_bits(data_type: i32) -> Option<u64> {
    match DataType::try_from(data_type).ok()? {
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => Some(64),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(32),
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => Some(16),
        DataType::Complex128 => Some(128),
        DataType::Undefined | DataType::String => None,
        DataType::Uint4 | DataType::Int4 | DataType::Float4e2m1 => Some(4),
        DataType::Int2 | DataType::Uint2 => Some(2),
        _ => Some(8),
    }
}

/// Bytes that a weight takes as it lies in the file.
pub(crate) fn size_bytes(tensor: &TensorProto) -> u64 {
    elements(tensor).unwrap_or(0).saturating_mul(element_bits(tensor.data_type()).unwrap_or(0)).div_ceil(8)
}

/// A tensor of a file; none for types that tensors here cannot hold.
pub(crate) fn to_tensor(proto: &TensorProto) -> Option<Tensor> {
    let element_type = ElementType::from_onnx(proto.data_type.unwrap_or_default())?;
    let shape = proto.dims.iter().map(|&length| usize::try_from(length).ok()).collect::<Option<Vec<_>>>()?;
    let data = match &proto.raw_data {
        Some(data) => data.clone(),
        None => typed_bytes(proto, element_type).into(),
    };
    Tensor::new(element_type, shape, data).ok()
}

fn typed_bytes(proto: &TensorProto, element_type: ElementType) -> Vec<u8> {
    let narrow = |size: usize| proto.int32_data.iter().flat_map(move |value| value.to_le_bytes().into_iter().take(size)).collect();
    match element_type {
        ElementType::Fp32 => proto.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ElementType::Fp64 => proto.double_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ElementType::Int64 => proto.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ElementType::Uint64 => proto.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ElementType::Uint32 => proto.uint64_data.iter().flat_map(|value| value.to_le_bytes().into_iter().take(4)).collect(),
        small => narrow(small.size_bytes()),
    }
}

/// A tensor as files hold it.
pub(crate) fn from_tensor(name: &str, tensor: &Tensor) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(tensor.element_type().to_onnx()),
        dims: tensor.shape().iter().map(|&length| length as i64).collect(),
        raw_data: Some(tensor.data().clone()),
        ..TensorProto::default()
    }
}
