//! Computes. Reads ONNX models, finds where they may be cut, cuts them into shards, and runs shards on engines.
//!
//! The way through: [`OnnxFile::open`] → [`inspect`] → [`Inspection::with_golden`] → [`split`] → [`Engines::load`] → [`Graph::run`].
//! It knows nothing of devices, plans or the network.

mod artefact;
mod auto;
mod binding;
mod calibrate;
mod clock;
mod digest;
mod element_type;
mod engine;
mod error;
mod generate;
mod golden;
mod guard;
mod inspect;
mod linear;
mod onnx;
mod onnx_pb;
mod operations;
mod passes;
mod rten;
mod seed;
mod spec;
mod specimen;
mod split;
mod tensor;
mod timing;
mod tract;

pub use artefact::{Artefact, open_lengths};
pub use auto::{AutoSettings, Figures, Measured, Outcome};
pub use binding::{Binding, batch_symbol, symbols};
pub use calibrate::{calibrate, calibrate_together};
pub use digest::{Digest, Digester};
pub use element_type::ElementType;
pub use engine::{Engine, EngineInfo, Engines, Graph, LoadOptions, OpenDimensions, check_inputs, run_rows};
pub use error::{Error, ErrorKind, Fault};
pub use generate::{CnnSize, DecoderSize, EncoderSize, Kind, MlpSize, generate};
pub use golden::{Golden, check as check_golden, difference as golden_difference};
pub use inspect::{InspectOptions, Inspection, inspect, inspect_with};
pub use onnx::{OnnxFile, map_file};
pub use rten::RtenEngine;
pub use seed::Seed;
pub use spec::{Dimension, TensorSpec};
pub use specimen::{Lengths, Specimen};
pub use split::{Shard, split};
pub use tensor::Tensor;
pub use timing::PieceTimes;
pub use tract::TractEngine;
