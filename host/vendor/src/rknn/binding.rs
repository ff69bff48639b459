//! What the library says of an input or output, held against what the artefact declares, and how bytes get from one to the other.

use std::{borrow::Cow, ffi::c_char};

use bytes::Bytes;
use host_engine::{ElementType, Error, Fault, Tensor, TensorSpec};

use super::abi::{self, Attribute};
use crate::{
    buckets::lengths,
    layout::{Layout, channels_last, from_channels_last, to_channels_last},
};

/// Element types by the number that the library has for them.
const TYPES: [(ElementType, u32); 11] = [
    (ElementType::Fp32, abi::FLOAT32),
    (ElementType::Fp16, abi::FLOAT16),
    (ElementType::Bf16, abi::BFLOAT16),
    (ElementType::Int8, abi::INT8),
    (ElementType::Uint8, abi::UINT8),
    (ElementType::Int16, abi::INT16),
    (ElementType::Uint16, abi::UINT16),
    (ElementType::Int32, abi::INT32),
    (ElementType::Uint32, abi::UINT32),
    (ElementType::Int64, abi::INT64),
    (ElementType::Boolean, abi::BOOL),
];

/// An input or output of a context.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// The library's number of it.
    pub(super) index: u32,
    /// What the artefact declares.
    pub(super) spec: TensorSpec,
    /// How its axes lie in the library's memory.
    pub(super) layout: Layout,
    /// What the elements are that cross: the declared ones, which the library converts from and to its own.
    pub(super) element_type: u32,
    /// Whether the library is to give 32-bit floats.
    pub(super) want_float: bool,
    /// All that the library says of it.
    pub(super) attribute: Attribute,
    shape: Vec<usize>,
}

/// Which way a tensor goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Into the library.
    Input,
    /// Out of it.
    Output,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// Finds each declared tensor among the library's by its name, and checks it.
pub(super) fn bind(side: Side, specs: &[TensorSpec], attributes: &[Attribute]) -> Result<Vec<Bound>, Error> {
    let word = side.word();
    if specs.len() != attributes.len() {
        let (expected, found) = (specs.len(), attributes.len());
        return Err(Error::unsupported(format!("number of {word}s of the loaded model: expected {expected}, found {found}")));
    }
    let names = || attributes.iter().map(|attribute| text(&attribute.name)).collect::<Vec<_>>();
    let find = |spec: &TensorSpec| {
        let found = attributes.iter().find(|attribute| text(&attribute.name) == spec.name);
        found.ok_or_else(|| Error::unsupported(format!("{word} `{}` is not in the loaded model, it has {}", spec.name, names().join(", "))))
    };
    specs.iter().map(|spec| Bound::new(side, spec, find(spec)?)).collect()
}

impl Bound {
    fn new(side: Side, spec: &TensorSpec, attribute: &Attribute) -> Result<Self, Error> {
        let mismatch = |what: &'static str, expected: String, found: String| Error::from(Fault::Mismatch { what, name: spec.name.clone(), expected, found });
        let shape = lengths(spec).unwrap_or_default();
        let found: Vec<usize> = attribute.lengths.iter().take(attribute.axes as usize).map(|&length| length as usize).collect();
        // Four axes are a picture to the library, whatever they were to the model: where it says channels last, it has moved axis 1.
        let last = attribute.format == abi::NHWC && shape.len() == 4;
        let layout = match last {
            true if found == channels_last(&shape) => Layout::ChannelsLast,
            _ if found == shape && attribute.format != abi::NC1HWC2 => Layout::Declared,
            _ => return Err(mismatch("shape in the loaded model", spec.shape_text(), format!("{found:?} with its axes in order {}", order(attribute.format)))),
        };
        let Some(&(_, element_type)) = TYPES.iter().find(|row| row.0 == spec.element_type) else {
            return Err(Error::unsupported(format!("engine rknn does not take element type {} of `{}`", spec.element_type, spec.name)));
        };
        let inside = attribute.element_type;
        let number = matches!(inside, abi::FLOAT32 | abi::FLOAT16 | abi::BFLOAT16) || attribute.quantisation != 0;
        let converts = match side {
            Side::Input => matches!(spec.element_type, ElementType::Fp32 | ElementType::Fp16) && number,
            Side::Output => spec.element_type == ElementType::Fp32 && number,
        };
        if inside != element_type && !converts {
            return Err(mismatch("element type in the loaded model", spec.element_type.to_string(), type_name(inside)));
        }
        let want_float = side == Side::Output && spec.element_type == ElementType::Fp32;
        Ok(Self { index: attribute.index, spec: spec.clone(), layout, element_type, want_float, attribute: *attribute, shape })
    }

    /// Bytes of the tensor as it crosses.
    pub(super) fn size(&self) -> usize {
        self.shape.iter().product::<usize>() * self.spec.element_type.size_bytes()
    }

    /// A tensor's bytes as the library wants them.
    pub(super) fn enter<'a>(&self, tensor: &'a Tensor) -> Cow<'a, [u8]> {
        match self.layout {
            Layout::Declared => Cow::Borrowed(tensor.data()),
            Layout::ChannelsLast => Cow::Owned(to_channels_last(tensor.data(), &self.shape, self.spec.element_type.size_bytes())),
        }
    }

    /// A tensor of the library's bytes.
    pub(super) fn leave(&self, data: &[u8]) -> Result<Tensor, Error> {
        let (expected, found) = (self.size() as u64, data.len() as u64);
        if expected != found {
            return Err(Fault::TensorBytes { tensor: self.spec.name.clone(), shape: self.shape.clone(), expected, found }.into());
        }
        let data = match self.layout {
            Layout::Declared => data.to_vec(),
            Layout::ChannelsLast => from_channels_last(data, &self.shape, self.spec.element_type.size_bytes()),
        };
        Tensor::new(self.spec.element_type, self.shape.clone(), Bytes::from(data))
    }

    /// Whether its rows follow one another without gaps, so that memory bound to it is the tensor.
    pub(super) fn is_dense(&self) -> bool {
        let attribute = &self.attribute;
        let axes = attribute.axes as usize;
        let (height, width) = match (axes, attribute.format) {
            (4, abi::NHWC) => (attribute.lengths[1], attribute.lengths[2]),
            (4, _) => (attribute.lengths[2], attribute.lengths[3]),
            _ => (0, 0),
        };
        [(attribute.row_stride, width), (attribute.height_stride, height)].iter().all(|(stride, length)| *stride == 0 || stride == length)
    }
}

/// A text that ends at its first zero byte.
pub(super) fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().take_while(|byte| **byte != 0).map(|byte| byte.to_ne_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn order(format: u32) -> String {
    match format {
        0 => "NCHW".to_owned(),
        abi::NHWC => "NHWC".to_owned(),
        abi::NC1HWC2 => "NC1HWC2".to_owned(),
        3 => "UNDEFINED".to_owned(),
        other => format!("{other}, which rknn_api.h does not know"),
    }
}

fn type_name(number: u32) -> String {
    TYPES.iter().find(|row| row.1 == number).map_or_else(|| format!("type {number}"), |row| row.0.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(index: u32, name: &str, lengths: &[u32], format: u32, element_type: u32) -> Attribute {
        let mut made = Attribute { format, element_type, axes: u32::try_from(lengths.len()).expect("few"), ..Attribute::asked(index) };
        made.lengths[..lengths.len()].copy_from_slice(lengths);
        made.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = c_char::from_ne_bytes([from]));
        made
    }

    #[test]
    fn tensors_are_found_by_name_and_turned_where_the_library_has_channels_last() {
        let specs = [TensorSpec::fixed("a", ElementType::Fp32, &[1, 3, 2, 4]), TensorSpec::fixed("b", ElementType::Int64, &[1, 5])];
        let attributes = [attribute(0, "b", &[1, 5], 3, abi::INT64), attribute(1, "a", &[1, 2, 4, 3], abi::NHWC, abi::FLOAT16)];
        let bound = bind(Side::Input, &specs, &attributes).expect("they fit");
        assert_eq!((bound[0].index, bound[0].layout, bound[1].index, bound[1].layout), (1, Layout::ChannelsLast, 0, Layout::Declared));
        let tensor = Tensor::from_f32(&[1, 3, 2, 4], &(0..24).map(|value| value as f32).collect::<Vec<_>>()).expect("24 values");
        assert_eq!(bound[0].leave(&bound[0].enter(&tensor)).expect("as many bytes"), tensor);
    }

    #[test]
    fn what_does_not_fit_is_told_with_both_values() {
        let spec = |element_type| [TensorSpec::fixed("a", element_type, &[1, 5])];
        let refused = |specs: &[TensorSpec], attribute: Attribute| bind(Side::Input, specs, &[attribute]).expect_err("it does not fit").to_string();
        let text = refused(&spec(ElementType::Fp32), attribute(0, "a", &[1, 6], 3, abi::FLOAT32));
        assert_eq!(text, "shape in the loaded model of `a`: expected [1, 5], found [1, 6] with its axes in order UNDEFINED");
        let text = refused(&spec(ElementType::Int64), attribute(0, "a", &[1, 5], 3, abi::INT32));
        assert_eq!(text, "element type in the loaded model of `a`: expected INT64, found INT32");
        let text = refused(&spec(ElementType::Fp32), attribute(0, "z", &[1, 5], 3, abi::FLOAT32));
        assert_eq!(text, "input `a` is not in the loaded model, it has z");
        assert!(refused(&spec(ElementType::Fp64), attribute(0, "a", &[1, 5], 3, abi::FLOAT32)).contains("FP64"));
        assert!(bind(Side::Output, &[], &[attribute(0, "a", &[1], 3, 0)]).is_err());
    }

    #[test]
    fn quantised_tensors_are_converted_and_plain_integers_are_not() {
        let specs = [TensorSpec::fixed("a", ElementType::Fp32, &[1, 5])];
        let plain = attribute(0, "a", &[1, 5], 3, abi::INT8);
        assert!(bind(Side::Output, &specs, &[plain]).is_err());
        let bound = bind(Side::Output, &specs, &[Attribute { quantisation: 2, ..plain }]).expect("the library converts it");
        assert!(bound[0].want_float);
    }

    #[test]
    fn rows_with_gaps_are_seen() {
        let specs = [TensorSpec::fixed("a", ElementType::Fp32, &[1, 3, 2, 4])];
        let picture = attribute(0, "a", &[1, 2, 4, 3], abi::NHWC, abi::FLOAT16);
        let dense = |attribute: Attribute| bind(Side::Input, &specs, &[attribute]).expect("it fits")[0].is_dense();
        assert!(dense(picture) && dense(Attribute { row_stride: 4, ..picture }));
        assert!(!dense(Attribute { row_stride: 16, ..picture }));
    }
}
