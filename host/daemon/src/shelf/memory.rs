//! What the store remembers of plugins and slots, and how it is brought back when the host starts again.

use std::sync::{PoisonError, mpsc::Receiver};

use host_core::ids::Generation;
use host_engine::Digest;
use host_plugin::{BUILTIN_PLUGINS, Identified, Package, PluginSource, SlotName, SwapReason};

use super::{Found, Shelf, journal::OwnSwap};
use crate::{
    error::{Error, Fault},
    store::{BlobFault, GenerationRecord, PluginRecord, Store},
};

/// Generations that are looked through for the configuration of one that serves again.
const EARLIER_MAX: u32 = 64;

impl Shelf {
    /// Before the swap, so that a crash comes back with the old plugin or the new one, whole.
    pub(super) fn kept(&self, source: &str, file: &PluginSource, package: &Package, signer: Option<String>) -> Result<Option<PluginRecord>, Error> {
        if BUILTIN_PLUGINS.contains(&file.name.as_str()) && Identified::builtin(&file.name)?.digest() == package.digest {
            return Ok(None);
        }
        self.0.store.put_blob(package.digest, &file.bytes)?;
        let known = self.0.store.plugins()?.into_iter().find(|record| *record.name == *package.name);
        let record = PluginRecord {
            name: package.name.to_string(),
            version: package.manifest.version.clone().unwrap_or_default(),
            digest: package.digest.to_string(),
            source: source.to_owned(),
            manifest: file.manifest.clone(),
            // Another file under the same name is another plugin; the same one stays as it is.
            enabled: known.is_none_or(|known| known.enabled || known.digest != package.digest.to_string()),
            signer,
        };
        self.0.store.put_plugin(record.clone())?;
        Ok(Some(record))
    }

    pub(super) fn record(&self, entered: &host_plugin::Installed, config: Option<String>, reason: SwapReason) -> Result<(), Error> {
        self.0.store.record_generation(GenerationRecord {
            slot: entered.slot.to_string(),
            generation: entered.generation.0,
            plugin: entered.plugin.to_string(),
            digest: entered.digest.to_string(),
            config,
            reason: reason.word().to_owned(),
            at_ms: 0,
        })
    }

    pub(super) fn record_empty(&self, slot: &SlotName, reason: SwapReason) -> Result<(), Error> {
        let before = self.0.store.generations(&slot.to_string(), 1)?.into_iter().next();
        let generation = before.map_or(0, |before| before.generation) + 1;
        let record = GenerationRecord { slot: slot.to_string(), generation, reason: reason.word().to_owned(), ..GenerationRecord::default() };
        self.0.store.record_generation(record)
    }

    pub(super) fn restore(&self) -> Result<(), Error> {
        for generation in self.0.store.bindings()? {
            let restored = self.bring_back(&generation);
            if let Err(error) = restored {
                tracing::error!(slot = generation.slot, plugin = generation.plugin, %error, "the plugin could not be brought back; the built-in serves");
            }
        }
        Ok(())
    }

    fn bring_back(&self, generation: &GenerationRecord) -> Result<(), Error> {
        let slot = SlotName::parse(&generation.slot)?;
        if generation.plugin.is_empty() {
            self.0.plugins.count_from(&slot, Generation(generation.generation));
            return Ok(());
        }
        let component = self.component_of(generation)?;
        let prepared = self.0.plugins.prepare_told(&component, Some(slot.clone()), generation.config.clone(), &mut |_| ())?;
        let restored = self.0.plugins.restore(prepared, Generation(generation.generation));
        self.0.restored.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, restored.generation);
        Ok(())
    }

    /// The component that a generation was of, with the manifest that came with it.
    pub(super) fn component_of(&self, generation: &GenerationRecord) -> Result<Identified, Error> {
        let mut records = self.0.store.plugins()?.into_iter().chain(self.0.store.earlier_plugins()?);
        let record = records.find(|record| record.name == generation.plugin && record.digest == generation.digest);
        match record {
            Some(record) if !record.enabled => Err(Fault::Disabled { plugin: record.name }.into()),
            Some(record) => self.stored(&record),
            None => self.superseded(generation).map_or_else(|| Identified::builtin(&generation.plugin).map_err(Error::from), Ok),
        }
    }

    /// Where the slot itself does not know what it held before, because this host has been started again since: the generation that
    /// is asked for, or the last one of another plugin that is still there and did not fail its way out.
    pub(super) fn held_before(&self, slot: &SlotName, to: Option<u64>) -> Result<Option<(Identified, GenerationRecord)>, Error> {
        let Some(status) = self.0.plugins.list().into_iter().find(|status| status.slot == *slot) else { return Ok(None) };
        let restored = self.0.restored.lock().unwrap_or_else(PoisonError::into_inner).get(slot).copied();
        let is_known = match to {
            Some(to) => status.history.iter().any(|bearer| bearer.generation.0 == to),
            None => restored.is_none() || status.current.is_none_or(|bearer| Some(bearer.generation) != restored),
        };
        if is_known {
            return Ok(None);
        }
        let held = self.0.store.generations(&slot.to_string(), EARLIER_MAX)?;
        let present = held.first().map(|record| record.digest.clone()).unwrap_or_default();
        let failed = [SwapReason::Strikes.word(), SwapReason::Worse.word()];
        let brought_down: Vec<String> = held.windows(2).filter(|pair| failed.contains(&pair[0].reason.as_str())).map(|pair| pair[1].digest.clone()).collect();
        let is_meant = |record: &GenerationRecord| match to {
            Some(generation) => record.generation == generation,
            None => record.digest != present && !brought_down.contains(&record.digest),
        };
        let mut meant = held.into_iter().filter(|record| !record.plugin.is_empty() && is_meant(record));
        Ok(meant.find_map(|record| Some((self.component_of(&record).ok()?, record))))
    }

    /// A plugin that is part of the host or was installed before.
    pub(super) fn named(&self, name: &str) -> Result<Found, Error> {
        if BUILTIN_PLUGINS.contains(&name) {
            return Ok(Found::Known(Identified::builtin(name)?, None));
        }
        let record = self.record_of(name)?;
        if !record.enabled {
            return Err(Fault::Disabled { plugin: record.name }.into());
        }
        Ok(Found::Known(self.stored(&record)?, record.signer))
    }

    pub(super) fn record_of(&self, name: &str) -> Result<PluginRecord, Error> {
        let records = self.0.store.plugins()?;
        if BUILTIN_PLUGINS.contains(&name) && !records.iter().any(|record| record.name == name) {
            return Err(Fault::PartOfHost { plugin: name.to_owned() }.into());
        }
        let known = records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none but the built-in ones".to_owned() } else { known };
        let missing = Fault::Unknown { what: "installed plugin", name: name.to_owned(), known };
        records.into_iter().find(|record| record.name == name).ok_or_else(|| missing.into())
    }

    pub(super) fn stored(&self, record: &PluginRecord) -> Result<Identified, Error> {
        let digest = digest_of(record)?;
        let source = PluginSource { name: record.name.clone(), bytes: self.0.store.blob(digest)?, manifest: record.manifest.clone() };
        Ok(Identified::known(source, digest))
    }

    /// A component that a host kept without a record, which earlier ones did of plugins that were replaced.
    fn superseded(&self, generation: &GenerationRecord) -> Option<Identified> {
        let digest = Digest::parse(&generation.digest)?;
        let bytes = self.0.store.blob(digest).ok()?;
        let records = self.0.store.plugins().ok()?;
        let manifest = records.into_iter().find(|record| record.name == generation.plugin).and_then(|record| record.manifest);
        Some(Identified::known(PluginSource { name: generation.plugin.clone(), bytes, manifest }, digest))
    }
}

pub(super) fn digest_of(record: &PluginRecord) -> Result<Digest, Error> {
    Digest::parse(&record.digest).ok_or_else(|| BlobFault::Missing { digest: record.digest.clone(), problem: "has no digest that can be read" }.into())
}

/// What a plugin was configured with when it last served in a slot.
pub(super) fn config_of(store: &Store, slot: &str, digest: &str) -> Result<Option<String>, Error> {
    Ok(store.generations(slot, EARLIER_MAX)?.into_iter().find(|earlier| earlier.digest == digest).and_then(|earlier| earlier.config))
}

/// Writes down swaps that happened by themselves, until the last sender is gone.
pub(super) fn record_swaps(store: &Store, swaps: &Receiver<OwnSwap>) {
    while let Ok(OwnSwap { now, reason }) = swaps.recv() {
        let (slot, digest) = (now.slot.to_string(), now.digest.to_string());
        let config = config_of(store, &slot, &digest).unwrap_or_default();
        let reason = reason.word().to_owned();
        let record = GenerationRecord { slot, generation: now.generation.0, plugin: now.plugin.to_string(), digest, config, reason, at_ms: 0 };
        if let Err(error) = store.record_generation(record) {
            tracing::error!(%error, "a swap could not be recorded");
        }
    }
}
