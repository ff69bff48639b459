//! Huawei's Ascend devices, through AscendCL (`.om` files of target `acl:CHIP`).
//!
//! The library is loaded at run time. It is started once in a process and ended with the last engine and shard; models are loaded from
//! memory, and each user of one has device memory of its own for inputs and outputs. A model is for one thread at a time: those who share
//! one take turns. It has not run on an Ascend device yet, but against a double of the library only.

mod abi;
mod api;
mod buffers;
mod codes;
mod graph;
mod model;
mod runtime;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use host_core::units::Bytes;
use host_engine::{ElementType, Engine, EngineInfo, Error, Graph, LoadOptions, Shard};

use crate::buckets::artefacts;
use graph::AclGraph;
use runtime::Runtime;

/// Names of the settings.
const NAMES: [&str; 2] = ["device", "target"];

/// AscendCL as an engine, on one device.
#[derive(Debug)]
pub struct AclEngine {
    runtime: Arc<Runtime>,
    target: Option<String>,
}

impl AclEngine {
    /// Opens a library and starts it on a device. Settings: `device` (its number, 0 unless given), `target` (the chip, where the library
    /// does not say it). The error names the file, what was expected and what was found, or what the library says.
    pub fn open(library: &Path, settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        if let Some(name) = settings.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(Error::unsupported(format!("engine acl knows no setting `{name}`, there are {}", NAMES.join(", "))));
        }
        let device = match settings.get("device") {
            Some(text) => text.parse::<u16>().map_err(|_| Error::unsupported(format!("setting `device` of engine acl is `{text}`, it must be a number")))?,
            None => 0,
        };
        let runtime = Runtime::open(library, i32::from(device)).map_err(|error| error.of(library.display()))?;
        let target = settings.get("target").cloned().or_else(|| runtime.chip());
        Ok(Self { runtime, target })
    }
}

impl Engine for AclEngine {
    fn info(&self) -> EngineInfo {
        let mut attributes = vec![("library".to_owned(), self.runtime.api.loaded.path().display().to_string())];
        // So the vendor's tool converts unless it is told otherwise.
        attributes.push((EngineInfo::HALF.to_owned(), EngineInfo::ALWAYS.to_owned()));
        attributes.extend(self.target.iter().map(|target| ("target".to_owned(), target.clone())));
        EngineInfo {
            name: "acl".into(),
            version: self.runtime.version(),
            accelerator: "ascend".into(),
            memory: self.runtime.memory().map(Bytes),
            // Not measured on a device: half of it would be weights as 16-bit floats, the rest is left for working memory.
            weight_factor: 1.0,
            fixed_bytes: Bytes::mib(64),
            element_types: ElementType::all().collect(),
            attributes,
        }
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let load = || {
            options.check_settings("acl", &["target"])?;
            let target = options.settings.get("target").or(self.target.as_ref()).map(|target| target.to_ascii_lowercase());
            let artefacts = artefacts(shard, "acl", target.as_deref(), runs_on)?;
            AclGraph::load(&self.runtime, shard, &artefacts)
        };
        load().map(|graph| Box::new(graph) as Box<dyn Graph>).map_err(|error: Error| error.of(&shard.id))
    }
}

/// Whether what was made for one chip runs on another: on itself, and on a variant that has only digits more, as `ascend310p3` is one of
/// `ascend310p`.
fn runs_on(made_for: &str, chip: &str) -> bool {
    chip.strip_prefix(made_for).is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_of_a_chip_runs_what_was_made_for_the_chip() {
        for (made_for, chip, runs) in [
            ("ascend310p", "ascend310p3", true),
            ("ascend310p3", "ascend310p3", true),
            ("ascend310", "ascend310p3", false),
            ("ascend910b", "ascend910b4", true),
        ] {
            assert_eq!(runs_on(made_for, chip), runs, "{made_for} on {chip}");
        }
    }
}
