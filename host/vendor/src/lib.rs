//! Computes with a vendor's library that is found at run time: ONNX Runtime, RKNN, AscendCL.
//!
//! A library of a vendor may crash or hang, and some can be loaded once per process only. So what is here is called in driver
//! processes, by [`open`], and never by what serves.

pub mod acl;
mod buckets;
mod layout;
pub mod library;
pub mod ort;
pub mod rknn;
mod room;
mod symbols;

use std::{collections::BTreeMap, path::Path};

use host_engine::{Engine, Error, Fault};

use crate::{
    acl::AclEngine,
    ort::{OrtEngine, Provider},
    rknn::RknnEngine,
};

/// Names that [`open`] knows.
pub const ENGINES: [&str; 6] = ["ort", "cuda", "tensorrt", "cann", "rknn", "acl"];

/// Opens an engine by name with the vendor's library behind it. The error names the library, what was expected and what was found.
pub fn open(name: &str, library: &Path, settings: &BTreeMap<String, String>) -> Result<Box<dyn Engine>, Error> {
    if let Some(provider) = Provider::of_engine(name) {
        return Ok(Box::new(OrtEngine::open(library, provider, settings)?));
    }
    match name {
        "rknn" => Ok(Box::new(RknnEngine::open(library, settings)?)),
        "acl" => Ok(Box::new(AclEngine::open(library, settings)?)),
        _ => Err(Fault::UnknownEngine { name: name.to_owned(), known: ENGINES.map(str::to_owned).to_vec() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_engine_has_is_refused_with_those_there_are() {
        let error = open("tpu", Path::new("/nowhere"), &BTreeMap::new()).expect_err("there is none");
        assert_eq!(error.to_string(), "engine `tpu` is not here, there are ort, cuda, tensorrt, cann, rknn, acl");
    }

    #[test]
    fn every_name_in_the_list_is_opened_by_something() {
        for name in ENGINES {
            let error = open(name, Path::new("/nowhere/libmissing.so"), &BTreeMap::new()).expect_err("no such file");
            assert!(error.to_string().contains("/nowhere/libmissing.so"), "{name}: {error}");
        }
    }
}
