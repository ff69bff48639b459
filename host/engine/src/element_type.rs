//! Element types of tensors, under the names that clients, ONNX files and engines use for them.

use std::fmt;

use crate::onnx_pb::tensor_proto::DataType;

/// What one element of a tensor is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ElementType {
    /// 64-bit float.
    Fp64,
    /// 32-bit float.
    Fp32,
    /// 16-bit IEEE float.
    Fp16,
    /// 16-bit brain float.
    Bf16,
    /// Signed, 64 bits.
    Int64,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 8 bits.
    Int8,
    /// Unsigned, 64 bits.
    Uint64,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 8 bits.
    Uint8,
    /// One byte, 0 or 1.
    Boolean,
}

/// Each type with its Open Inference Protocol name, ONNX number and size in bytes.
const TABLE: [(ElementType, &str, DataType, usize); 13] = [
    (ElementType::Fp64, "FP64", DataType::Double, 8),
    (ElementType::Fp32, "FP32", DataType::Float, 4),
    (ElementType::Fp16, "FP16", DataType::Float16, 2),
    (ElementType::Bf16, "BF16", DataType::Bfloat16, 2),
    (ElementType::Int64, "INT64", DataType::Int64, 8),
    (ElementType::Int32, "INT32", DataType::Int32, 4),
    (ElementType::Int16, "INT16", DataType::Int16, 2),
    (ElementType::Int8, "INT8", DataType::Int8, 1),
    (ElementType::Uint64, "UINT64", DataType::Uint64, 8),
    (ElementType::Uint32, "UINT32", DataType::Uint32, 4),
    (ElementType::Uint16, "UINT16", DataType::Uint16, 2),
    (ElementType::Uint8, "UINT8", DataType::Uint8, 1),
    (ElementType::Boolean, "BOOL", DataType::Bool, 1),
];

impl ElementType {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// Bytes of one element.
    pub fn size_bytes(self) -> usize {
        self.row().3
    }

    /// The datatype name of the Open Inference Protocol v2: `FP32`, `INT64`, `BOOL`.
    pub fn protocol_name(self) -> &'static str {
        self.row().1
    }

    /// Reads an Open Inference Protocol v2 datatype name; none for what tensors here cannot hold, such as `BYTES`.
    pub fn from_protocol_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Whether it is an integer or boolean type: what ids, masks and positions have.
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::Fp64 | Self::Fp32 | Self::Fp16 | Self::Bf16)
    }

    /// The number that ONNX files have for it.
    pub(crate) fn to_onnx(self) -> i32 {
        self.row().2 as i32
    }

    /// Reads the number of an ONNX file.
    pub(crate) fn from_onnx(number: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.2 as i32 == number).map(|row| row.0)
    }

    fn row(self) -> &'static (Self, &'static str, DataType, usize) {
        // The table lists the variants in their order, which a test checks.
        &TABLE[self as usize]
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_again_under_each_of_its_names() {
        assert_eq!(ElementType::all().count(), 13);
        for element_type in ElementType::all() {
            assert_eq!(element_type.row().0, element_type);
            assert_eq!(ElementType::from_protocol_name(element_type.protocol_name()), Some(element_type));
            assert_eq!(ElementType::from_onnx(element_type.to_onnx()), Some(element_type));
        }
        assert_eq!(ElementType::from_protocol_name("BYTES"), None);
    }
}
