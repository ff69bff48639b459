//! From little-endian bytes to JSON numbers, and texts. The counterpart of `elements`.

use half::{bf16, f16};

use super::{Datatype, request::text_elements};
use crate::error::{Error, Fault};

/// Appends the elements as one flat JSON array.
pub(super) fn array(tensor: &str, datatype: Datatype, data: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.push(b'[');
    match datatype {
        Datatype::Bool => list(data.iter().map(|byte| *byte != 0), out),
        Datatype::Uint8 => list(data.iter(), out),
        Datatype::Uint16 => list(data.as_chunks().0.iter().map(|chunk| u16::from_le_bytes(*chunk)), out),
        Datatype::Uint32 => list(data.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk)), out),
        Datatype::Uint64 => list(data.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk)), out),
        Datatype::Int8 => list(data.iter().map(|byte| byte.cast_signed()), out),
        Datatype::Int16 => list(data.as_chunks().0.iter().map(|chunk| i16::from_le_bytes(*chunk)), out),
        Datatype::Int32 => list(data.as_chunks().0.iter().map(|chunk| i32::from_le_bytes(*chunk)), out),
        Datatype::Int64 => list(data.as_chunks().0.iter().map(|chunk| i64::from_le_bytes(*chunk)), out),
        Datatype::Fp16 => finite(tensor, data.as_chunks().0.iter().map(|chunk| f16::from_le_bytes(*chunk).to_f32()), out)?,
        Datatype::Bf16 => finite(tensor, data.as_chunks().0.iter().map(|chunk| bf16::from_le_bytes(*chunk).to_f32()), out)?,
        Datatype::Fp32 => finite(tensor, data.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)), out)?,
        Datatype::Fp64 => finite(tensor, data.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)), out)?,
        // Blobs that are no text have no place in JSON: what is not UTF-8 becomes the replacement character.
        Datatype::Bytes => list(text_elements(data).into_iter().map(String::from_utf8_lossy), out),
    }
    out.push(b']');
    Ok(())
}

fn list<T: serde::Serialize>(values: impl Iterator<Item = T>, out: &mut Vec<u8>) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &value).expect("numbers and texts are written to memory, which cannot fail");
    }
}

fn finite<T: serde::Serialize + Copy + Into<f64>>(tensor: &str, values: impl Iterator<Item = T>, out: &mut Vec<u8>) -> Result<(), Error> {
    for (index, value) in values.enumerate() {
        if !value.into().is_finite() {
            return Err(Fault::NotFinite { tensor: tensor.to_owned(), index, value: value.into() }.into());
        }
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &value).expect("a finite number is written to memory, which cannot fail");
    }
    Ok(())
}
