//! What can be wrong with bytes from outside, in words. All of it is the sender's to mend, but an answer that JSON cannot hold.

use std::fmt;

pub use host_core::error::ErrorKind;

use crate::{join::TokenProblem, oip::Datatype};

/// An error of this crate.
#[derive(Clone, PartialEq, Debug)]
pub struct Error(Box<Fault>);

/// Each thing that can be wrong, with the values that disagree.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// A body that is not JSON, or not the JSON that is expected.
    Json { what: &'static str, detail: String },
    /// The length header is not a number.
    LengthHeader { text: String },
    /// The length header names more bytes than came.
    HeaderLength { header: usize, body: usize },
    /// More of something than is accepted.
    TooMany { what: &'static str, count: usize, max: usize },
    /// A name that is there twice.
    Twice { what: &'static str, name: String },
    /// A word that is none of those known.
    UnknownWord { what: &'static str, word: String, known: &'static str },
    /// A text that is no label of a device.
    Label { text: String, expected: &'static str },
    /// A shape with a negative length.
    Dimension { tensor: String, value: i64 },
    /// A shape whose elements cannot be counted.
    ShapeTooLarge { tensor: String, shape: Vec<usize> },
    /// Neither `data` nor `binary_data_size`.
    NoData { tensor: String },
    /// Both `data` and `binary_data_size`.
    TwoData { tensor: String },
    /// A parameter of the wrong type.
    Parameter { owner: String, name: &'static str, found: String, expected: &'static str },
    /// Binary data that ends before the tensors do.
    BinaryShort { tensor: String, need: usize, left: usize },
    /// Binary data that goes on after the last tensor.
    BinaryLeft { used: usize, total: usize },
    /// A byte count that does not fit shape and datatype.
    ByteCount { tensor: String, shape: Vec<usize>, datatype: Datatype, need: usize, have: usize },
    /// Another number of elements than the shape says.
    ElementCount { tensor: String, shape: Vec<usize>, need: usize, have: usize },
    /// Brackets that do not follow the shape.
    Nesting { tensor: String, shape: Vec<usize>, depth: usize },
    /// A row whose length is not the shape's.
    RowLength { tensor: String, axis: usize, need: usize, have: usize },
    /// An element that its datatype cannot hold.
    Element { tensor: String, index: usize, text: String, datatype: Datatype, problem: ElementProblem },
    /// A text element that is cut short or longer than its bytes.
    TextBytes { tensor: String, index: usize },
    /// A field that must be there and is not.
    Missing { what: &'static str },
    /// Bytes of the wrong length.
    Length { what: &'static str, need: usize, have: usize },
    /// A passage whose next stage does not begin where it has come to.
    Order { done: u32, start: u32 },
    /// A value that the domain refuses.
    Domain(host_core::error::Error),
    /// A recording that does not hold together.
    Recording { what: String },
    /// Compressed bytes that do not expand, or not to what is accepted.
    Compressed { problem: &'static str, bytes_max: usize },
    /// A text that is no join token.
    JoinToken(TokenProblem),
    /// A text that is no token's id.
    TokenId { text: String },
    /// An answer that JSON has no number for.
    NotFinite { tensor: String, index: usize, value: f64 },
}

/// Why an element is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElementProblem {
    /// Something else than the datatype takes.
    Type,
    /// A fraction or exponent where a whole number is wanted.
    Fraction,
    /// Too large or too small.
    Range,
    /// Not a number, infinite or null.
    NotANumber,
}

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    /// The values behind it.
    pub fn fault(&self) -> &Fault {
        &self.0
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self(Box::new(fault))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Fault::Json { what, detail } => write!(f, "{what} is not the JSON that is expected: {detail}"),
            Fault::LengthHeader { text } => write!(f, "header Inference-Header-Content-Length is `{text}`, it must be a whole number"),
            Fault::HeaderLength { header, body } => write!(f, "header Inference-Header-Content-Length is {header}, but the body has {body} bytes"),
            Fault::TooMany { what, count, max } => write!(f, "there are {count} {what}, at most {max} are accepted"),
            Fault::Twice { what, name } => write!(f, "{what} `{name}` is there twice"),
            Fault::UnknownWord { what, word, known } => write!(f, "{what} `{word}` is not known, it must be one of {known}"),
            Fault::Label { text, expected } => write!(f, "label `{text}` must be {expected}"),
            Fault::Dimension { tensor, value } => write!(f, "`{tensor}`: its shape holds {value}, a length must be 0 or more"),
            Fault::ShapeTooLarge { tensor, shape } => write!(f, "`{tensor}`: shape {shape:?} has more elements than can be counted"),
            Fault::NoData { tensor } => write!(f, "`{tensor}` has neither `data` nor the parameter `binary_data_size`"),
            Fault::TwoData { tensor } => write!(f, "`{tensor}` has both `data` and the parameter `binary_data_size`, it must have one of them"),
            Fault::Parameter { owner, name, found, expected } => write!(f, "{owner}: parameter `{name}` is {found}, it must be {expected}"),
            Fault::BinaryShort { tensor, need, left } => write!(f, "`{tensor}` needs {need} bytes of binary data, there are {left} left"),
            Fault::BinaryLeft { used, total } => write!(f, "the tensors take {used} bytes of binary data, but {total} were sent"),
            Fault::ByteCount { tensor, shape, datatype, need, have } => {
                write!(f, "`{tensor}`: {datatype} of shape {shape:?} takes {need} bytes, it has {have}")
            }
            Fault::ElementCount { tensor, shape, need, have } => write!(f, "`{tensor}`: shape {shape:?} has {need} elements, its data has {have}"),
            Fault::Nesting { tensor, shape, depth } => {
                write!(f, "`{tensor}`: its data has elements inside {depth} brackets, shape {shape:?} takes them inside 1 or {}", shape.len().max(1))
            }
            Fault::RowLength { tensor, axis, need, have } => {
                write!(f, "`{tensor}`: axis {axis} of its shape is {need} long, its data has a row of {have} there")
            }
            Fault::Element { tensor, index, text, datatype, problem } => {
                let wanted = match problem {
                    ElementProblem::Type => "which is no such value",
                    ElementProblem::Fraction => "which is no whole number",
                    ElementProblem::Range => "which is out of its range",
                    ElementProblem::NotANumber => "which JSON has no number for; binary data can hold it",
                };
                write!(f, "`{tensor}` is {datatype}, but its element {index} is {text}, {wanted}")
            }
            Fault::TextBytes { tensor, index } => write!(f, "`{tensor}`: text element {index} names more bytes than there are"),
            Fault::Missing { what } => write!(f, "the message lacks {what}"),
            Fault::Length { what, need, have } => write!(f, "{what} has {need} bytes, {have} were sent"),
            Fault::Order { done, start } => write!(f, "{done} blocks are computed, but the next stage begins at block {start}"),
            Fault::Domain(error) => write!(f, "{error}"),
            Fault::Recording { what } => write!(f, "the recording cannot be read: {what}"),
            Fault::Compressed { problem, bytes_max } => write!(f, "compressed bytes {problem}; at most {bytes_max} bytes are accepted"),
            Fault::JoinToken(problem) => write!(f, "the join token cannot be used: {problem}"),
            Fault::TokenId { text } => write!(f, "`{text}` is no token id, which is 16 hexadecimal digits"),
            Fault::NotFinite { tensor, index, value } => {
                write!(f, "output `{tensor}`: element {index} is {value}, which JSON cannot hold; ask for binary_data")
            }
        }
    }
}
