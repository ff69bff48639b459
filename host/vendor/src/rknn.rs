//! Rockchip's NPUs, through librknnrt 2.x (`.rknn` files of target `rknn:CHIP`).
//!
//! The library is loaded at run time and called as `rknn_api.h` says. It converts element types; the order of axes is turned here, because
//! what it does about that differs between its versions. A context is for one thread at a time; graphs that share a shard have contexts
//! of their own. It has not run on an NPU yet, but against a double of the library only.

mod abi;
mod api;
mod binding;
mod codes;
mod context;
mod graph;
mod memory;
mod settings;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use host_core::units::Bytes;
use host_engine::{ElementType, Engine, EngineInfo, Error, Graph, LoadOptions, Shard};

use crate::buckets::artefacts;
use api::Api;
use context::Context;
use graph::RknnGraph;
use settings::{NAMES, Settings};

/// Interface versions that this engine was written for begin so.
const VERSION_START: &str = "2.";

/// librknnrt as an engine.
#[derive(Debug)]
pub struct RknnEngine {
    api: Arc<Api>,
    settings: Settings,
    /// Why nothing can be loaded here.
    unusable: Option<String>,
    /// Versions of library and driver, which it says only when a model is loaded.
    versions: OnceLock<(String, String)>,
}

impl RknnEngine {
    /// Opens a library. Settings: `core_mask` (auto, 0, 1, 2, `0_1`, `0_1_2`), `target` (the chip, where the device tree does not say it),
    /// `zero_copy` (auto, never). The error names the file, what was expected and what was found. Where the library is sound and there
    /// is no NPU, the engine opens and says so in `info`.
    pub fn open(library: &Path, settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut settings = Settings::default().with(settings)?;
        settings.target = settings.target.or_else(settings::chip);
        let api = Arc::new(Api::open(library)?);
        let knock = Context::knock(&api);
        let unusable = (knock == codes::NO_DEVICE).then(|| format!("library `{}`: rknn_init answered {}", library.display(), codes::words(knock)));
        Ok(Self { api, settings, unusable, versions: OnceLock::new() })
    }

    /// Remembers the versions; refuses a library whose interface is another one.
    fn check_version(&self, graph: &RknnGraph) -> Result<(), Error> {
        let Some((library, driver)) = graph.versions() else { return Ok(()) };
        if !library.starts_with(VERSION_START) {
            let path = self.api.loaded.path().display();
            return Err(Error::unsupported(format!("library `{path}`: expected version {VERSION_START}x, found {library}")));
        }
        self.versions.get_or_init(|| (library, driver));
        Ok(())
    }
}

impl Engine for RknnEngine {
    fn info(&self) -> EngineInfo {
        use ElementType::*;
        let mut attributes = vec![("library".to_owned(), self.api.loaded.path().display().to_string())];
        // The library says so of its chips' floats; what was quantised is coarser still.
        attributes.push((EngineInfo::HALF.to_owned(), EngineInfo::ALWAYS.to_owned()));
        attributes.extend(self.settings.target.iter().map(|target| ("target".to_owned(), target.clone())));
        attributes.extend(self.versions.get().map(|(_, driver)| ("driver".to_owned(), driver.clone())));
        attributes.extend(self.unusable.iter().map(|reason| (EngineInfo::UNUSABLE.to_owned(), reason.clone())));
        EngineInfo {
            name: "rknn".into(),
            version: self.versions.get().map(|(library, _)| library.clone()).unwrap_or_default(),
            accelerator: "rknn".into(),
            // The NPU has none of its own.
            memory: None,
            // Not measured on a board: half of it would be weights as 16-bit floats, the rest is left for tensors between layers.
            weight_factor: 1.0,
            fixed_bytes: Bytes::mib(16),
            element_types: vec![Fp32, Fp16, Bf16, Int64, Int32, Int16, Int8, Uint32, Uint16, Uint8, Boolean],
            attributes,
        }
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        let load = || {
            if let Some(reason) = &self.unusable {
                return Err(Error::unsupported(reason.clone()));
            }
            options.check_settings("rknn", &NAMES)?;
            let settings = self.settings.clone().with(&options.settings)?;
            let artefacts = artefacts(shard, "rknn", settings.target.as_deref(), runs_on)?;
            let graph = RknnGraph::load(&self.api, shard, &artefacts, settings)?;
            self.check_version(&graph)?;
            Ok(graph)
        };
        load().map(|graph| Box::new(graph) as Box<dyn Graph>).map_err(|error: Error| error.of(&shard.id))
    }
}

/// Whether what was made for one chip runs on another: on itself, and on a variant of it, as `rk3588s` is one of `rk3588`.
fn runs_on(made_for: &str, chip: &str) -> bool {
    chip.strip_prefix(made_for).is_some_and(|rest| !rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_of_a_chip_runs_what_was_made_for_the_chip() {
        for (made_for, chip, runs) in [("rk3588", "rk3588", true), ("rk3588", "rk3588s", true), ("rk3568", "rk3588", false), ("rk358", "rk3588", false)] {
            assert_eq!(runs_on(made_for, chip), runs, "{made_for} on {chip}");
        }
    }
}
