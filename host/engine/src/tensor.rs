//! Tensors as they travel: an element type, a shape, and little-endian bytes that are shared, not copied.

use bytes::Bytes;

use crate::{
    element_type::ElementType,
    error::{Error, Fault},
};

/// Most axes that a tensor may have; more come from broken files.
pub const AXES_MAX: usize = 16;
/// Most elements that a tensor may have; 2^40 elements fit no device.
pub const ELEMENTS_MAX: u64 = 1 << 40;

/// A tensor; a clone shares the bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    element_type: ElementType,
    shape: Vec<usize>,
    data: Bytes,
}

impl Tensor {
    /// From little-endian, row-major bytes. Refuses a byte count that does not fit the shape.
    pub fn new(element_type: ElementType, shape: Vec<usize>, data: Bytes) -> Result<Self, Error> {
        let expected = bytes_of(element_type, &shape)?;
        if expected != data.len() as u64 {
            return Err(Fault::TensorBytes { tensor: element_type.to_string(), shape, expected, found: data.len() as u64 }.into());
        }
        Ok(Self { element_type, shape, data })
    }

    /// From 32-bit floats, row major.
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self, Error> {
        Self::new(ElementType::Fp32, shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into())
    }

    /// From 64-bit integers, row major.
    pub fn from_i64(shape: &[usize], values: &[i64]) -> Result<Self, Error> {
        Self::new(ElementType::Int64, shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into())
    }

    /// All bits zero.
    pub fn zeros(element_type: ElementType, shape: &[usize]) -> Result<Self, Error> {
        let size = bytes_of(element_type, shape)?;
        Self::new(element_type, shape.to_vec(), vec![0; usize::try_from(size).unwrap_or(usize::MAX)].into())
    }

    /// What its elements are.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Its shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its bytes, little endian, row major.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements as 32-bit floats: of an FP32 tensor, none for any other.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.element_type == ElementType::Fp32).then(|| self.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The elements as 64-bit integers: of an INT64 tensor, none for any other.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        (self.element_type == ElementType::Int64).then(|| self.data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    /// The elements of any type as 64-bit floats, for comparing.
    pub fn to_f64(&self) -> Vec<f64> {
        let data = &self.data;
        match self.element_type {
            ElementType::Fp64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            ElementType::Fp32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
            ElementType::Fp16 => data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
            ElementType::Bf16 => data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()).collect(),
            ElementType::Int64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            ElementType::Int32 => data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
            ElementType::Int16 => data.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).into()).collect(),
            ElementType::Int8 => data.iter().map(|b| b.cast_signed().into()).collect(),
            ElementType::Uint64 => data.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b) as f64).collect(),
            ElementType::Uint32 => data.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b).into()).collect(),
            ElementType::Uint16 => data.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b).into()).collect(),
            ElementType::Uint8 | ElementType::Boolean => data.iter().map(|b| (*b).into()).collect(),
        }
    }

    /// The same elements under another shape with as many elements.
    pub fn reshaped(self, shape: Vec<usize>) -> Result<Self, Error> {
        Self::new(self.element_type, shape, self.data)
    }

    /// One tensor for each index of axis 0, each with that axis of length 1; no bytes are copied.
    pub fn rows(&self) -> Result<Vec<Self>, Error> {
        let Some((&count, rest)) = self.shape.split_first() else {
            return Err(Error::from(Fault::Mismatch { what: "rank", name: self.element_type.to_string(), expected: "1 or more".into(), found: "0".into() }));
        };
        let shape: Vec<usize> = std::iter::once(1).chain(rest.iter().copied()).collect();
        let row_bytes = self.data.len().checked_div(count).unwrap_or(0);
        Ok((0..count)
            .map(|row| Self { element_type: self.element_type, shape: shape.clone(), data: self.data.slice(row * row_bytes..(row + 1) * row_bytes) })
            .collect())
    }

    /// Puts tensors one after another along axis 0; all else must be equal. A single one is passed through.
    pub fn concat(rows: &[Self]) -> Result<Self, Error> {
        let Some((first, rest)) = rows.split_first() else {
            return Err(Fault::Missing { what: "row", name: "0".into() }.into());
        };
        if rest.is_empty() {
            return Ok(first.clone());
        }
        for (index, row) in rows.iter().enumerate() {
            if row.element_type != first.element_type || row.shape.is_empty() || row.shape.get(1..) != first.shape.get(1..) {
                let text = |tensor: &Self| format!("{}{:?}", tensor.element_type, tensor.shape);
                return Err(Fault::Mismatch { what: "row", name: index.to_string(), expected: text(first), found: text(row) }.into());
            }
        }
        let mut shape = first.shape.clone();
        shape[0] = rows.iter().map(|row| row.shape[0]).sum();
        let mut data = Vec::with_capacity(rows.iter().map(|row| row.data.len()).sum());
        rows.iter().for_each(|row| data.extend_from_slice(&row.data));
        Self::new(first.element_type, shape, data.into())
    }
}

/// Bytes of a tensor of this shape, or an error when the shape is absurd.
pub(crate) fn bytes_of(element_type: ElementType, shape: &[usize]) -> Result<u64, Error> {
    if shape.len() > AXES_MAX {
        return Err(Fault::TooLarge { what: "number of axes", found: shape.len() as u64, max: AXES_MAX as u64 }.into());
    }
    let elements = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length as u64)).unwrap_or(u64::MAX);
    if elements > ELEMENTS_MAX {
        return Err(Fault::TooLarge { what: "number of elements", found: elements, max: ELEMENTS_MAX }.into());
    }
    Ok(elements * element_type.size_bytes() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_do_not_fit_the_shape_are_refused() {
        let error = Tensor::new(ElementType::Fp32, vec![2, 3], Bytes::from_static(&[0; 20])).expect_err("24 bytes are needed");
        assert_eq!(error.to_string(), "tensor `FP32` of shape [2, 3] takes 24 bytes, it has 20");
        assert!(Tensor::new(ElementType::Fp32, vec![usize::MAX, 2], Bytes::new()).is_err());
    }

    #[test]
    fn rows_put_together_again_are_the_tensor() {
        let tensor = Tensor::from_i64(&[3, 2], &[1, 2, 3, 4, 5, 6]).expect("6 values");
        let rows = tensor.rows().expect("3 rows");
        assert_eq!(rows[1].to_i64(), Some(vec![3, 4]));
        assert_eq!(Tensor::concat(&rows).expect("equal rows"), tensor);
        assert!(Tensor::concat(&[rows[0].clone(), Tensor::from_i64(&[1, 3], &[0; 3]).expect("3 values")]).is_err());
    }
}
