//! How shards are converted for accelerators that do not take them as they are: by which tool, and what that may take.

use std::path::PathBuf;

use serde_json::Value;

use super::settings::structured;

/// Settings of conversions.
#[derive(Clone, PartialEq, Debug)]
pub struct Conversion {
    /// How long a tool may work on one shard.
    pub run_ms_max: u64,
    /// Memory that a tool may write to.
    pub memory_bytes_max: u64,
    /// Largest artefact.
    pub artefact_bytes_max: u64,
    /// Lines kept of what a conversion and its tools say; the oldest go first.
    pub lines_max: usize,
    /// Bytes kept of one such line.
    pub line_bytes_max: usize,
    /// Conversions that have ended and can still be asked about.
    pub kept_max: usize,
    /// Most combinations of lengths in one conversion.
    pub buckets_max: usize,
    /// Most ranges that a problem rules out because they were not converted; with more, the offer is left out.
    pub unconverted_ranges_max: usize,
    /// Largest difference that `--check` accepts, as a part of the largest value of an output.
    pub check_ratio_max: f64,
    /// The Python that has rknn-toolkit2.
    pub rknn_python: PathBuf,
    /// What is run instead of rknn-toolkit2; empty for that.
    pub rknn_command: Vec<String>,
    /// The converter of Ascend's toolkit.
    pub ascend_atc: PathBuf,
    /// What is run instead of atc; empty for that.
    pub ascend_command: Vec<String>,
    /// What makes TensorRT engines ahead of their device; empty where devices make their own.
    pub tensorrt_command: Vec<String>,
}

impl Default for Conversion {
    fn default() -> Self {
        Self {
            run_ms_max: 1_800_000,
            memory_bytes_max: 32 << 30,
            artefact_bytes_max: 8 << 30,
            lines_max: 2_000,
            line_bytes_max: 1_000,
            kept_max: 16,
            buckets_max: 32,
            unconverted_ranges_max: 16_384,
            check_ratio_max: 0.02,
            rknn_python: PathBuf::from("python3"),
            rknn_command: Vec::new(),
            ascend_atc: PathBuf::from("atc"),
            ascend_command: Vec::new(),
            tensorrt_command: Vec::new(),
        }
    }
}

/// A program and its arguments, as a list.
pub(super) fn command(field: &mut Vec<String>, value: &Value) -> Result<(), String> {
    let words = match structured(value) {
        Value::Array(words) => words.into_iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    *field = words.ok_or("it must be a program and its arguments as a list, such as [convert, \"{model}\", \"{output}\"]")?;
    Ok(())
}
