//! A model on the device, and what it says of its inputs and outputs.

use std::{
    ffi::c_int,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host_engine::{Artefact, ElementType, Error, Fault, TensorSpec};

use super::{
    abi,
    api::{Tensors, text},
    runtime::Runtime,
};
use crate::buckets::lengths;

/// Element types by the number that the library has for them.
const TYPES: [(ElementType, c_int); 13] = [
    (ElementType::Fp64, abi::DOUBLE),
    (ElementType::Fp32, abi::FLOAT),
    (ElementType::Fp16, abi::FLOAT16),
    (ElementType::Bf16, abi::BF16),
    (ElementType::Int64, abi::INT64),
    (ElementType::Int32, abi::INT32),
    (ElementType::Int16, abi::INT16),
    (ElementType::Int8, abi::INT8),
    (ElementType::Uint64, abi::UINT64),
    (ElementType::Uint32, abi::UINT32),
    (ElementType::Uint16, abi::UINT16),
    (ElementType::Uint8, abi::UINT8),
    (ElementType::Boolean, abi::BOOL),
];

/// A loaded model; unloaded when dropped.
#[derive(Debug)]
pub(super) struct Model {
    runtime: Arc<Runtime>,
    number: u32,
    /// Held while it computes: it is for one thread at a time.
    runs: Mutex<()>,
    /// The inputs, in the library's order.
    pub(super) inputs: Vec<Place>,
    /// The outputs, in the library's order.
    pub(super) outputs: Vec<Place>,
    /// What weights and working memory take, in bytes.
    pub(super) memory_bytes: u64,
}

/// An input or output in the library's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Which one of the artefact's it is.
    pub(super) declared: usize,
    /// Bytes of its buffer: at least those of the tensor.
    pub(super) size: usize,
}

impl Model {
    /// Loads an artefact and checks that it has the declared inputs and outputs.
    pub(super) fn load(runtime: &Arc<Runtime>, artefact: &Artefact) -> Result<Self, Error> {
        runtime.enter()?;
        let api = &runtime.api;
        let (data, size) = (artefact.data.as_ptr().cast(), artefact.data.len());
        let (mut working, mut weights, mut number) = (0, 0, 0);
        // SAFETY: `size` bytes lie at `data` during the calls; the library copies what it keeps. The pointers are to values that live.
        unsafe {
            api.check((api.query_size)(data, size, &raw mut working, &raw mut weights), "read a model", "aclmdlQuerySizeFromMem")?;
        }
        let memory_bytes = working as u64 + weights as u64;
        // SAFETY: as above.
        let code = unsafe { (api.load)(data, size, &raw mut number) };
        api.check(code, "load a model", "aclmdlLoadFromMem").map_err(|error| runtime.short(error, memory_bytes))?;
        let mut model = Self { runtime: Arc::clone(runtime), number, runs: Mutex::default(), inputs: Vec::new(), outputs: Vec::new(), memory_bytes };
        let (inputs, outputs) = {
            let description = Description::of(&model)?;
            (description.places("input", api.inputs, &artefact.inputs)?, description.places("output", api.outputs, &artefact.outputs)?)
        };
        (model.inputs, model.outputs) = (inputs, outputs);
        Ok(model)
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The library's number of it.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Waits until no other thread computes with it, and keeps others from it.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        // The lock guards calls, not data.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if self.runtime.enter().is_ok() {
            // SAFETY: the number came from this library and is unloaded here only; nobody computes, as whoever does holds the model.
            let _ = unsafe { (self.runtime.api.unload)(self.number) };
        }
    }
}

/// A model's description; destroyed when dropped.
struct Description<'a> {
    model: &'a Model,
    pointer: abi::Opaque,
}

impl<'a> Description<'a> {
    fn of(model: &'a Model) -> Result<Self, Error> {
        let api = &model.runtime.api;
        // SAFETY: the function takes nothing and gives null or a description that is destroyed on drop.
        let pointer = unsafe { (api.create_description)() };
        if pointer.is_null() {
            let reason = "aclmdlCreateDesc gave nothing".to_owned();
            return Err(Fault::Exhausted { engine: "acl".into(), doing: "describe a model", reason }.into());
        }
        let made = Self { model, pointer };
        // SAFETY: both are live.
        api.check(unsafe { (api.describe)(pointer, model.number) }, "describe a model", "aclmdlGetDesc")?;
        Ok(made)
    }

    /// Finds each of the library's tensors among the declared ones, by its name, and checks it.
    fn places(&self, word: &'static str, ask: Tensors, specs: &[TensorSpec]) -> Result<Vec<Place>, Error> {
        // SAFETY: the description is live.
        let count = unsafe { (ask.count)(self.pointer) };
        if count != specs.len() {
            return Err(Error::unsupported(format!("number of {word}s of the loaded model: expected {}, found {count}", specs.len())));
        }
        let found = (0..count).map(|index| self.tensor(ask, index)).collect::<Result<Vec<_>, _>>()?;
        let names = || found.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>().join(", ");
        if let Some(spec) = specs.iter().find(|spec| !found.iter().any(|tensor| tensor.is(&spec.name))) {
            return Err(Error::unsupported(format!("{word} `{}` is not in the loaded model, it has {}", spec.name, names())));
        }
        let place = |tensor: &Found| {
            let declared = specs.iter().position(|spec| tensor.is(&spec.name));
            let declared = declared.ok_or_else(|| Error::unsupported(format!("{word} `{}` of the loaded model is not declared", tensor.name)))?;
            tensor.check(&specs[declared]).map(|()| Place { declared, size: tensor.size })
        };
        found.iter().map(place).collect()
    }

    fn tensor(&self, ask: Tensors, index: usize) -> Result<Found, Error> {
        let mut dimensions = abi::Dimensions { name: [0; 128], axes: 0, lengths: [0; abi::AXES_MAX] };
        // SAFETY: the description is live and `index` is below its count; names stay as long as the description.
        unsafe {
            let code = (ask.dimensions)(self.pointer, index, &raw mut dimensions);
            self.model.runtime.api.check(code, "describe a model", "aclmdlGetInputDims or aclmdlGetOutputDims")?;
            Ok(Found {
                name: text((ask.name)(self.pointer, index)).unwrap_or_default(),
                element_type: (ask.element_type)(self.pointer, index),
                lengths: dimensions.lengths.iter().take(dimensions.axes).copied().collect(),
                size: (ask.size)(self.pointer, index),
            })
        }
    }
}

impl Drop for Description<'_> {
    fn drop(&mut self) {
        // SAFETY: it was created by this library and is destroyed here only.
        let _ = unsafe { (self.model.runtime.api.destroy_description)(self.pointer) };
    }
}

/// What a model says of one tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    name: String,
    element_type: c_int,
    lengths: Vec<i64>,
    size: usize,
}

impl Found {
    /// Whether it is the tensor of this name. The converter names an output by node, number and tensor: `Add_3:0:logits`.
    fn is(&self, name: &str) -> bool {
        let last = self.name.splitn(3, ':').nth(2);
        self.name == name || last == Some(name)
    }

    fn check(&self, spec: &TensorSpec) -> Result<(), Error> {
        let mismatch = |what: &'static str, expected: String, found: String| Error::from(Fault::Mismatch { what, name: spec.name.clone(), expected, found });
        let shape = lengths(spec).unwrap_or_default();
        let same = self.lengths.len() == shape.len() && self.lengths.iter().zip(&shape).all(|(found, expected)| usize::try_from(*found) == Ok(*expected));
        if !same {
            return Err(mismatch("shape in the loaded model", spec.shape_text(), format!("{:?}", self.lengths)));
        }
        let of_type = TYPES.iter().find(|row| row.1 == self.element_type);
        if of_type.is_none_or(|row| row.0 != spec.element_type) {
            let found = of_type.map_or_else(|| format!("type {}", self.element_type), |row| row.0.to_string());
            return Err(mismatch("element type in the loaded model", spec.element_type.to_string(), found));
        }
        let bytes = shape.iter().product::<usize>() * spec.element_type.size_bytes();
        if self.size < bytes {
            return Err(mismatch("bytes in the loaded model", format!("{bytes} or more"), self.size.to_string()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Found {
        Found { name: name.into(), element_type: abi::FLOAT, lengths: vec![1, 5], size: 32 }
    }

    #[test]
    fn an_output_is_known_by_its_own_name_or_by_the_converters() {
        for (name, is) in [("logits", true), ("Add_3:0:logits", true), ("Add_3:0:scope:logits", false), ("logits:0", false), ("Add_3:0", false)] {
            assert_eq!(found(name).is("logits"), is, "{name}");
        }
        assert!(found("Add_3:0:scope:logits").is("scope:logits"));
    }

    #[test]
    fn what_does_not_fit_is_told_with_both_values() {
        let spec = |element_type, shape: &[usize]| TensorSpec::fixed("x", element_type, shape);
        let refused = |spec: &TensorSpec, found: Found| found.check(spec).expect_err("it does not fit").to_string();
        assert!(found("x").check(&spec(ElementType::Fp32, &[1, 5])).is_ok());
        let text = refused(&spec(ElementType::Fp32, &[1, 6]), found("x"));
        assert_eq!(text, "shape in the loaded model of `x`: expected [1, 6], found [1, 5]");
        let text = refused(&spec(ElementType::Fp16, &[1, 5]), found("x"));
        assert_eq!(text, "element type in the loaded model of `x`: expected FP16, found FP32");
        let text = refused(&spec(ElementType::Fp32, &[1, 5]), Found { size: 16, ..found("x") });
        assert_eq!(text, "bytes in the loaded model of `x`: expected 20 or more, found 16");
    }
}
