//! What the host says of itself and its models, and the health answers. Health is JSON because one of the common clients
//! reads the body, not the status.

use serde::{Deserialize, Serialize};

/// `GET /v2`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Extensions of the protocol that it speaks.
    pub extensions: Vec<String>,
}

/// An input or output of a model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// Its datatype.
    pub datatype: String,
    /// Its shape; -1 where the length is the request's.
    pub shape: Vec<i64>,
}

/// `GET /v2/models/NAME`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// Its name.
    pub name: String,
    /// The versions that can be asked for.
    pub versions: Vec<String>,
    /// The format of its file.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    pub outputs: Vec<TensorMetadata>,
}

/// `GET /v2/health/live`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Live {
    /// Always true: a dead host does not answer.
    pub live: bool,
}

/// `GET /v2/health/ready`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Whether requests are answered.
    pub ready: bool,
}

/// `GET /v2/models/NAME/ready`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelReady {
    /// Which model.
    pub name: String,
    /// Whether it answers.
    pub ready: bool,
}

/// `GET /v2/models`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ModelList {
    /// Names, each once.
    pub models: Vec<String>,
}

/// The body of `POST /v2/repository/index`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IndexRequest {
    /// Only those that are ready.
    #[serde(default)]
    pub ready: bool,
}

/// The query of an inference request, for bodies that have no parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InferQuery {
    /// Whether the request has the devices on its way to itself.
    #[serde(default)]
    pub exclusive: bool,
}

/// The query of an inference request whose body is a picture.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PictureQuery {
    /// Answer with this many best classes instead of the first output's tensor.
    pub classification: Option<u32>,
    /// Echoed in the answer.
    pub id: Option<String>,
}

/// One version of a model in the answer of `POST /v2/repository/index`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// `READY` or `UNAVAILABLE`.
    pub state: String,
    /// Why it is not ready.
    pub reason: String,
}

/// Any failure.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong, for a person.
    pub error: String,
}
