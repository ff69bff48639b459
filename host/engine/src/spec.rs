//! What an input or output promises: name, element type and shape, where a dimension may stay open under a name.

use std::fmt;

use crate::{
    element_type::ElementType,
    error::{Error, Fault},
    tensor::Tensor,
};

/// One axis of a declared shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Dimension {
    /// Always this long.
    Fixed(usize),
    /// As long as the request makes it: a symbol such as `sequence_length`, or a sum of such, `past_sequence_length + 1`.
    Symbol(String),
}

impl Dimension {
    /// The length, when it is fixed.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(*length),
            Self::Symbol(_) => None,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => length.fmt(f),
            Self::Symbol(name) => f.write_str(name),
        }
    }
}

/// A declared input or output.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorSpec {
    /// The value's name in the graph.
    pub name: String,
    /// Type of its elements.
    pub element_type: ElementType,
    /// Its shape, row major; empty for a scalar.
    pub shape: Vec<Dimension>,
}

impl TensorSpec {
    /// A spec with all dimensions fixed.
    pub fn fixed(name: impl Into<String>, element_type: ElementType, shape: &[usize]) -> Self {
        Self { name: name.into(), element_type, shape: shape.iter().map(|&length| Dimension::Fixed(length)).collect() }
    }

    /// Checks a tensor against the spec; the error names the tensor, what was expected and what was found.
    /// Lengths under a symbol are free here: whether equal symbols have equal lengths is for the engine.
    pub fn check(&self, tensor: &Tensor) -> Result<(), Error> {
        if tensor.element_type() != self.element_type {
            return Err(self.mismatch("element type", self.element_type.to_string(), tensor.element_type().to_string()));
        }
        let same = tensor.shape().len() == self.shape.len()
            && tensor.shape().iter().zip(&self.shape).all(|(&found, dimension)| dimension.fixed().is_none_or(|length| length == found));
        if same { Ok(()) } else { Err(self.mismatch("shape", self.shape_text(), format!("{:?}", tensor.shape()))) }
    }

    /// The shape as people write it: `[batch_size, 3, 224, 224]`.
    pub fn shape_text(&self) -> String {
        format!("[{}]", self.shape.iter().map(Dimension::to_string).collect::<Vec<_>>().join(", "))
    }

    fn mismatch(&self, what: &'static str, expected: String, found: String) -> Error {
        Fault::Mismatch { what, name: self.name.clone(), expected, found }.into()
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.name, self.element_type, self.shape_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_tensor_is_told_what_was_expected_and_what_came() {
        let spec = TensorSpec { name: "x".into(), element_type: ElementType::Fp32, shape: vec![Dimension::Symbol("batch".into()), Dimension::Fixed(2)] };
        assert!(spec.check(&Tensor::from_f32(&[7, 2], &[0.0; 14]).expect("14 values")).is_ok());
        let error = spec.check(&Tensor::from_f32(&[2, 7], &[0.0; 14]).expect("14 values")).expect_err("7 is not 2");
        assert_eq!(error.to_string(), "shape of `x`: expected [batch, 2], found [2, 7]");
        let error = spec.check(&Tensor::from_i64(&[1, 2], &[0, 0]).expect("2 values")).expect_err("integers are not floats");
        assert_eq!(error.to_string(), "element type of `x`: expected FP32, found INT64");
    }
}
