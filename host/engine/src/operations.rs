//! What an adapter has to do with tensors before an accelerator takes them and after it gives them back: another element type, another
//! order of the axes, padding up to a shape that a graph was made for, and cropping what came of the padding. Bytes are shared where
//! nothing changes. It decides nothing: which shape a graph has and what padding means is for whoever calls.

mod cast;
mod region;
mod transpose;

use crate::{
    element_type::ElementType,
    error::{Error, Fault},
    tensor::{Tensor, bytes_of},
};

impl Tensor {
    /// Bytes of a tensor of this shape; refuses shapes that no tensor may have.
    pub fn bytes_for(element_type: ElementType, shape: &[usize]) -> Result<u64, Error> {
        bytes_of(element_type, shape)
    }

    /// The same values as another element type. Floats are rounded to the nearest, ties to even, and overflow to infinity. Integers
    /// saturate; floats that become integers are cut off towards zero, and what is no number becomes 0. As a boolean everything but
    /// zero is 1.
    pub fn cast(&self, to: ElementType) -> Result<Self, Error> {
        if to == self.element_type() {
            return Ok(self.clone());
        }
        Self::new(to, self.shape().to_vec(), cast::cast(self.element_type(), to, self.data()).into())
    }

    /// The axes in another order: axis `n` of the answer is axis `axes[n]` of this one. So `[0, 2, 3, 1]` makes NHWC of NCHW.
    pub fn transpose(&self, axes: &[usize]) -> Result<Self, Error> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        let rank = self.shape().len();
        if !sorted.iter().copied().eq(0..rank) {
            let expected = format!("each of the {rank} axes of {:?} once", self.shape());
            return Err(mismatch("axes", "transpose", expected, format!("{axes:?}")));
        }
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape()[axis]).collect();
        match transpose::transpose(self.data(), self.shape(), axes, self.element_type().size_bytes()) {
            Some(data) => Self::new(self.element_type(), shape, data.into()),
            None => self.clone().reshaped(shape),
        }
    }

    /// A tensor of this shape that is `value` but for this tensor, which begins there at `start`. No axis may be too short for that.
    pub fn pad(&self, shape: &[usize], start: &[usize], value: f64) -> Result<Self, Error> {
        let fits = |axis: usize| start[axis].checked_add(self.shape()[axis]).is_some_and(|end| end <= shape[axis]);
        let rank = self.shape().len();
        if shape.len() != rank || start.len() != rank || !(0..rank).all(fits) {
            let expected = format!("one that holds {:?} from {start:?} on", self.shape());
            return Err(mismatch("shape", "pad", expected, format!("{shape:?}")));
        }
        let bytes = bytes_of(self.element_type(), shape)?;
        let element = self.element(value)?;
        if shape == self.shape() {
            return Ok(self.clone());
        }
        let mut data = filled(&element, usize::try_from(bytes).unwrap_or(usize::MAX));
        let zeros = vec![0; rank];
        let from = region::Place { shape: self.shape(), start: &zeros };
        region::copy(self.data(), &from, &mut data, &region::Place { shape, start }, self.shape(), element.len());
        Self::new(self.element_type(), shape.to_vec(), data.into())
    }

    /// What lies in this tensor from `start` on, with this shape.
    pub fn crop(&self, shape: &[usize], start: &[usize]) -> Result<Self, Error> {
        let fits = |axis: usize| start[axis].checked_add(shape[axis]).is_some_and(|end| end <= self.shape()[axis]);
        let rank = self.shape().len();
        if shape.len() != rank || start.len() != rank || !(0..rank).all(fits) {
            let expected = format!("one that lies in {:?} from {start:?} on", self.shape());
            return Err(mismatch("shape", "crop", expected, format!("{shape:?}")));
        }
        if shape == self.shape() {
            return Ok(self.clone());
        }
        let mut data = vec![0; usize::try_from(bytes_of(self.element_type(), shape)?).unwrap_or(usize::MAX)];
        let zeros = vec![0; rank];
        let to = region::Place { shape, start: &zeros };
        region::copy(self.data(), &region::Place { shape: self.shape(), start }, &mut data, &to, shape, self.element_type().size_bytes());
        Self::new(self.element_type(), shape.to_vec(), data.into())
    }

    /// The bytes of one element of this value. An integer that the type does not have is refused; a float is rounded.
    fn element(&self, value: f64) -> Result<Vec<u8>, Error> {
        let element_type = self.element_type();
        let bytes = cast::cast(ElementType::Fp64, element_type, &value.to_le_bytes());
        let back = cast::cast(element_type, ElementType::Fp64, &bytes);
        let kept = back.as_chunks().0.first().map(|bytes| f64::from_le_bytes(*bytes));
        if element_type.is_integer() && kept != Some(value) {
            return Err(mismatch("value", "pad", format!("one of {element_type}"), value.to_string()));
        }
        Ok(bytes)
    }
}

/// So many bytes of the same element after the other.
fn filled(element: &[u8], bytes: usize) -> Vec<u8> {
    if element.iter().all(|&byte| byte == 0) {
        return vec![0; bytes];
    }
    element.repeat(bytes / element.len())
}

fn mismatch(what: &'static str, operation: &str, expected: String, found: String) -> Error {
    Fault::Mismatch { what, name: operation.to_owned(), expected, found }.into()
}

#[cfg(test)]
mod tests;
