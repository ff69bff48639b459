//! The binary tensor extension: a body is JSON of a stated length and then the bytes of the tensors, one after another.

use bytes::Bytes;

use super::Datatype;
use crate::error::{Error, Fault};

/// The header that says how many bytes of a body are JSON.
pub const LENGTH_HEADER: &str = "inference-header-content-length";

/// Reads the value of the header, if it is there.
pub fn header_length(text: Option<&str>) -> Result<Option<usize>, Error> {
    let fault = |text: &str| Fault::LengthHeader { text: text.chars().take(32).collect() }.into();
    text.map(|text| text.trim().parse().map_err(|_| fault(text))).transpose()
}

/// A body in its two parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts {
    /// The JSON part.
    pub json: Bytes,
    binary: Bytes,
    used: usize,
}

impl Parts {
    /// Without a length the whole body is JSON.
    pub fn split(body: &Bytes, header_length: Option<usize>) -> Result<Self, Error> {
        let length = header_length.unwrap_or(body.len());
        if length > body.len() {
            return Err(Fault::HeaderLength { header: length, body: body.len() }.into());
        }
        Ok(Self { json: body.slice(..length), binary: body.slice(length..), used: 0 })
    }

    /// The next bytes of the binary part, shared and not copied.
    pub(super) fn take(&mut self, tensor: &str, count: usize) -> Result<Bytes, Error> {
        let left = self.binary.len() - self.used;
        if count > left {
            return Err(Fault::BinaryShort { tensor: tensor.to_owned(), need: count, left }.into());
        }
        let bytes = self.binary.slice(self.used..self.used + count);
        self.used += count;
        Ok(bytes)
    }

    /// Refuses bytes that belong to no tensor.
    pub(super) fn finish(&self) -> Result<(), Error> {
        if self.used == self.binary.len() { Ok(()) } else { Err(Fault::BinaryLeft { used: self.used, total: self.binary.len() }.into()) }
    }
}

/// Proves that bytes are exactly the elements of a tensor. `elements` is the product of the shape.
pub(super) fn check(tensor: &str, datatype: Datatype, shape: &[usize], elements: usize, data: &[u8]) -> Result<(), Error> {
    let Some(size) = datatype.size_bytes() else {
        return check_texts(tensor, shape, elements, data);
    };
    let need = elements.checked_mul(size).ok_or_else(|| Fault::ShapeTooLarge { tensor: tensor.to_owned(), shape: shape.to_vec() })?;
    if need == data.len() {
        return Ok(());
    }
    Err(Fault::ByteCount { tensor: tensor.to_owned(), shape: shape.to_vec(), datatype, need, have: data.len() }.into())
}

fn check_texts(tensor: &str, shape: &[usize], elements: usize, mut data: &[u8]) -> Result<(), Error> {
    let mut count = 0;
    while !data.is_empty() {
        let cut = || Fault::TextBytes { tensor: tensor.to_owned(), index: count };
        let (length, rest) = data.split_first_chunk::<4>().ok_or_else(cut)?;
        data = rest.get(u32::from_le_bytes(*length) as usize..).ok_or_else(cut)?;
        count += 1;
    }
    if count == elements { Ok(()) } else { Err(Fault::ElementCount { tensor: tensor.to_owned(), shape: shape.to_vec(), need: elements, have: count }.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_body_is_refused_with_both_values() {
        let error = Parts::split(&Bytes::from_static(b"{}"), Some(3)).expect_err("3 is more than 2");
        assert_eq!(error.to_string(), "header Inference-Header-Content-Length is 3, but the body has 2 bytes");
        assert_eq!(header_length(Some("x")).expect_err("no number").to_string(), "header Inference-Header-Content-Length is `x`, it must be a whole number");
        assert_eq!(header_length(Some("-1")).ok(), None);
        assert_eq!(header_length(None), Ok(None));
    }

    #[test]
    fn texts_are_counted_and_none_may_be_cut_short() {
        assert!(check("x", Datatype::Bytes, &[2], 2, b"\x01\0\0\0a\0\0\0\0").is_ok());
        for bad in [&b"\x01\0\0\0a"[..], b"\x02\0\0\0a", b"\x01\0\0", b"\xff\xff\xff\xffa"] {
            assert!(check("x", Datatype::Bytes, &[2], 2, bad).is_err(), "{bad:?}");
        }
    }
}
