//! A double of its own for each test, and models to run on it.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char, c_int},
    path::PathBuf,
    sync::Arc,
};

use double_core::{Payload, library};
use host_core::ids::{ModelId, ModelName};
use host_engine::{CnnSize, DecoderSize, EncoderSize, Engine, Engines, Error, Inspection, Kind, MlpSize, Shard, Tensor, generate, inspect, split};
use libloading::Library;
use tempfile::TempDir;

/// A vendor and what the double of its library is called by.
#[derive(Clone, Copy, Debug)]
pub struct Vendor {
    /// The engine, and the kind of its artefacts.
    pub engine: &'static str,
    /// A chip that the double takes.
    pub chip: &'static str,
    /// The function that computes.
    pub runs: &'static str,
    /// A code for a failure without a reason, and its name.
    pub failure: (i32, &'static str),
}

pub const RKNN: Vendor = Vendor { engine: "rknn", chip: "rk3588", runs: "rknn_run", failure: (-1, "RKNN_ERR_FAIL") };
pub const ACL: Vendor = Vendor { engine: "acl", chip: "ascend310p", runs: "aclmdlExecute", failure: (500_001, "ACL_ERROR_FAILURE") };
pub const VENDORS: [Vendor; 2] = [RKNN, ACL];

/// A double that no other test has: a copy of the library, as one file is loaded once into a process.
pub struct Double {
    pub vendor: Vendor,
    pub path: PathBuf,
    library: Library,
    _folder: TempDir,
}

impl Double {
    pub fn new(vendor: Vendor) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(format!("lib{}.so", vendor.engine));
        let built = library(&format!("{}_double", vendor.engine)).unwrap_or_else(|error| panic!("{error}"));
        std::fs::copy(&built, &path).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        // SAFETY: it is our own library, which does nothing when it is loaded.
        let library = unsafe { Library::new(&path) }.unwrap_or_else(|error| panic!("{error}"));
        Self { vendor, path, library, _folder: folder }
    }

    pub fn open(&self, settings: &[(&str, &str)]) -> Result<Box<dyn Engine>, Error> {
        host_vendor::open(self.vendor.engine, &self.path, &map(settings))
    }

    pub fn engine(&self) -> Arc<dyn Engine> {
        Arc::from(self.open(&[]).unwrap_or_else(|error| panic!("{error}")))
    }

    /// The engine behind a registry, which holds every shard against its golden answers.
    pub fn engines(&self, settings: &[(&str, &str)]) -> Engines {
        Engines::new(vec![Arc::from(self.open(settings).unwrap_or_else(|error| panic!("{error}")))])
    }

    /// Sets faults; calls are counted from here.
    pub fn set(&self, faults: &str) {
        let text = CString::new(faults).expect("no zero in it");
        // SAFETY: the double's functions for tests have these signatures.
        let code = unsafe { self.function::<unsafe extern "C" fn(*const c_char) -> c_int>("set")(text.as_ptr()) };
        assert_eq!(code, 0, "{faults}");
    }

    /// What was done wrong so far.
    pub fn violations(&self) -> String {
        let mut buffer = vec![0u8; 1 << 16];
        // SAFETY: as in `set`; the buffer is as long as it is said to be.
        let length = unsafe { self.function::<unsafe extern "C" fn(*mut c_char, usize) -> usize>("violations")(buffer.as_mut_ptr().cast(), buffer.len()) };
        buffer.truncate(length);
        String::from_utf8(buffer).expect("the double writes text")
    }

    /// How many things are not given back.
    pub fn left(&self) -> usize {
        // SAFETY: as in `set`.
        unsafe { self.function::<unsafe extern "C" fn() -> usize>("open")() }
    }

    /// Device memory in use, in bytes.
    pub fn memory(&self) -> u64 {
        // SAFETY: as in `set`.
        unsafe { self.function::<unsafe extern "C" fn() -> u64>("memory")() }
    }

    /// Nothing was done wrong, and nothing is left.
    pub fn assert_clean(&self, place: &str) {
        assert_eq!(self.violations(), "", "{}, {place}", self.vendor.engine);
        assert_eq!((self.left(), self.memory()), (0, 0), "{}, {place}", self.vendor.engine);
    }

    /// # Safety
    /// `F` is the type of the double's function of this name.
    unsafe fn function<F: Copy>(&self, name: &str) -> F {
        let name = format!("{}_double_{name}", self.vendor.engine);
        // SAFETY: the caller's promise; the library lives as long as `self`.
        *unsafe { self.library.get::<F>(name.as_str()) }.unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

pub fn map(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// One small model of each kind.
pub fn kinds() -> [(&'static str, Kind); 4] {
    [
        ("mlp", Kind::Mlp(MlpSize { inputs: 20, hidden: 40, layers: 4, outputs: 5 })),
        ("cnn", Kind::Cnn(CnnSize { pixels: 16, channels: 8, blocks: 4, classes: 5 })),
        ("encoder", Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 })),
        ("decoder", Kind::Decoder(DecoderSize { vocabulary: 60, hidden: 32, layers: 2, heads: 4, kv_heads: 2, feed_forward: 48, tied: true })),
    ]
}

pub fn inspection(name: &str) -> Inspection {
    let kind = kinds().into_iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("no kind {name}")).1;
    let file = generate(&kind, 7).unwrap_or_else(|error| panic!("{error}"));
    let id = ModelId { name: ModelName::parse(name).expect("a plain name"), version: 1 };
    inspect(&file, id).and_then(Inspection::with_golden).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A whole model as one shard, converted for the shapes of its golden inputs.
pub fn converted(vendor: Vendor, name: &str) -> Shard {
    with_artefact(vendor, split(&inspection(name), &[]).expect("no cut is legal").remove(0))
}

/// The shard converted for the shapes of its golden inputs.
pub fn with_artefact(vendor: Vendor, mut shard: Shard) -> Shard {
    let payload = payload(vendor, &shard);
    shard.artefacts.push(payload.artefact());
    shard
}

pub fn payload(vendor: Vendor, shard: &Shard) -> Payload {
    Payload::like(vendor.engine, vendor.chip, shard, &golden_inputs(shard)).unwrap_or_else(|error| panic!("{error}"))
}

pub fn golden_inputs(shard: &Shard) -> Vec<Tensor> {
    shard.golden.as_ref().expect("inspected with golden answers").inputs.clone()
}

/// The largest difference between two lists of tensors, as a part of the largest value of each.
pub fn difference(found: &[Tensor], expected: &[Tensor]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let one = |(found, expected): (&Tensor, &Tensor)| {
        assert_eq!((found.shape(), found.element_type()), (expected.shape(), expected.element_type()));
        let (found, expected) = (found.to_f64(), expected.to_f64());
        assert!(found.iter().all(|value| value.is_finite()));
        let largest = expected.iter().fold(1e-6f64, |largest, value| largest.max(value.abs()));
        found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max) / largest
    };
    found.iter().zip(expected).map(one).fold(0.0, f64::max)
}
