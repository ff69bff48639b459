//! The Open Inference Protocol v2 over HTTP: requests and answers as JSON, with or without the binary tensor extension.

mod answer;
mod binary;
mod datatype;
mod elements;
mod metadata;
mod request;
mod write;

pub use answer::{Answer, Encoded, Form, Output};
pub use binary::{LENGTH_HEADER, Parts, header_length};
pub use datatype::Datatype;
pub use metadata::{
    ErrorBody, IndexEntry, IndexRequest, InferQuery, Live, ModelList, ModelMetadata, ModelReady, PictureQuery, Ready, ServerMetadata, TensorMetadata,
};
pub use request::{Body, Parameter, Parameters, Request, RequestedOutput, Tensor, text_elements};

/// Most inputs or outputs of a request.
pub const TENSORS_MAX: usize = 1024;
/// Most axes of a tensor.
pub const AXES_MAX: usize = 16;
