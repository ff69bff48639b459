//! Tensors as `.npy` files, which tools in Python read. Version 1.0 of the format that NumPy documents.

use host_engine::{ElementType, Tensor};

/// What every file begins with, and the version.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// The header is padded so that data begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// A tensor as a file; none of an element type that NumPy has not.
pub(super) fn to_npy(tensor: &Tensor) -> Option<Vec<u8>> {
    let kind = match tensor.element_type() {
        ElementType::Boolean => "|b1",
        ElementType::Int8 => "|i1",
        ElementType::Uint8 => "|u1",
        ElementType::Int16 => "<i2",
        ElementType::Uint16 => "<u2",
        ElementType::Int32 => "<i4",
        ElementType::Uint32 => "<u4",
        ElementType::Int64 => "<i8",
        ElementType::Uint64 => "<u8",
        ElementType::Fp16 => "<f2",
        ElementType::Fp32 => "<f4",
        ElementType::Fp64 => "<f8",
        ElementType::Bf16 => return None,
    };
    // A tuple of one has a comma behind it, so all have.
    let shape: String = tensor.shape().iter().map(|length| format!("{length}, ")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = MAGIC.len() + 2 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    let mut file = MAGIC.to_vec();
    file.extend(u16::try_from(header.len()).ok()?.to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(tensor.data());
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_follows_a_header_of_whole_lines() {
        let file = to_npy(&Tensor::from_f32(&[1, 2], &[0.5, -1.0]).expect("2 values")).expect("NumPy has it");
        assert_eq!((file.len(), &file[..8]), (64 * 2 + 8, MAGIC));
        let header = String::from_utf8_lossy(&file[10..128]);
        assert_eq!(header.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, ), }");
        assert_eq!(u16::from_le_bytes([file[8], file[9]]), 118);
        assert_eq!(file[128..], [0.5f32.to_le_bytes(), (-1.0f32).to_le_bytes()].concat());
        assert!(String::from_utf8_lossy(&to_npy(&Tensor::from_i64(&[], &[3]).expect("one")).expect("NumPy has it")).contains("'shape': ()"));
    }
}
