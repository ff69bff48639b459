//! What the config and the plugins folder ask for: at the start, and when a file comes, changes or goes.

use std::{collections::BTreeMap, path::Path};

use host_engine::Digest;
use host_plugin::{Entry, PluginHost, PluginSource, SlotName};

use super::{CONFIG, Candidate, FOLDER, Found, Origin, Shelf, folder};
use crate::error::{Error, Fault};

impl Shelf {
    /// A file was dropped into the plugins folder, or changed there.
    pub(super) fn file_changed(&self, path: &Path) {
        let source = path.display().to_string();
        let result = self.traced(FOLDER, "install", &source, |trail| {
            let file = crate::component::read(path)?;
            let slot = PluginHost::inspect(&file)?.slot(None)?;
            if self.0.config.slots.contains_key(&slot.to_string()) {
                return Err(Fault::BoundByConfig { slot: slot.to_string(), path: source.clone() }.into());
            }
            self.refuse_second_claim(path, &slot)?;
            let found = Found::At(Origin::File(path.to_owned()));
            let candidate = Candidate { source: source.clone(), found, slot: Some(slot), config: None, digest: None, entry: Entry::Probation };
            if self.serves_already(&candidate, &file)? { Ok(None) } else { self.put_in_service(candidate, trail).map(Some) }
        });
        match result {
            Ok(Some(installed)) => tracing::info!(path = source, plugin = installed.plugin, slot = installed.slot, "a plugin from the folder serves"),
            Ok(None) => {}
            Err(error) => tracing::error!(path = source, %error, "a file in the plugins folder was not installed; what served goes on serving"),
        }
    }

    /// A file was taken out of the plugins folder.
    pub(super) fn file_gone(&self, path: &Path) {
        let source = path.display().to_string();
        let records = self.0.store.plugins().unwrap_or_default();
        for record in records.into_iter().filter(|record| record.source == source) {
            if let Err(error) = self.uninstall(FOLDER, &record.name) {
                tracing::error!(path = source, plugin = record.name, %error, "a plugin whose file is gone could not be uninstalled");
            }
        }
    }

    /// Files that were taken out of the plugins folder while no host ran.
    pub(super) fn forget_files_gone(&self) -> Result<(), Error> {
        let Some(folder) = &self.0.config.plugins else { return Ok(()) };
        for record in self.0.store.plugins()? {
            let path = Path::new(&record.source);
            if path.starts_with(folder) && !path.exists() {
                self.uninstall(FOLDER, &record.name)?;
            }
        }
        Ok(())
    }

    fn refuse_second_claim(&self, path: &Path, slot: &SlotName) -> Result<(), Error> {
        let folder = self.0.config.plugins.as_deref().map_or_else(|| Ok(Vec::new()), folder::components)?;
        let claims = |other: &Path| PluginHost::inspect(&crate::component::read(other).ok()?).ok()?.slot(None).ok();
        match folder.iter().find(|other| *other != path && claims(other).as_ref() == Some(slot)) {
            Some(other) => Err(Fault::TwoClaims { slot: slot.to_string(), one: other.display().to_string(), two: path.display().to_string() }.into()),
            None => Ok(()),
        }
    }

    /// What the config binds and what lies in the plugins folder, each with who asks for it. Two files that claim one slot are an error that names both.
    pub(super) fn candidates(&self) -> Result<Vec<(&'static str, Candidate)>, Error> {
        let config = &self.0.config;
        let mut found = Vec::new();
        for (slot, binding) in &config.slots {
            let settings = binding.config.as_ref().map(ToString::to_string);
            let slot = Some(SlotName::parse(slot)?);
            let place = match self.named(&binding.plugin) {
                Ok(known) if !Path::new(&binding.plugin).is_file() => known,
                _ => Found::At(Origin::parse(&binding.plugin)?),
            };
            let candidate =
                Candidate { source: binding.plugin.clone(), found: place, slot, config: settings, digest: binding.digest.clone(), entry: Entry::Settled };
            let same = match &candidate.found {
                Found::Known(file, _) => self.serves_already(&candidate, file)?,
                Found::At(Origin::File(path)) => self.serves_already(&candidate, &crate::component::read(path)?)?,
                _ => false,
            };
            if !same {
                found.push((CONFIG, candidate));
            }
        }
        let mut claims = BTreeMap::new();
        for path in config.plugins.as_deref().map_or_else(|| Ok(Vec::new()), folder::components)? {
            let file = crate::component::read(&path)?;
            let slot = PluginHost::inspect(&file)?.slot(None)?;
            if config.slots.contains_key(&slot.to_string()) {
                continue;
            }
            if let Some(other) = claims.insert(slot.clone(), path.display().to_string()) {
                return Err(Fault::TwoClaims { slot: slot.to_string(), one: other, two: path.display().to_string() }.into());
            }
            let source = path.display().to_string();
            let candidate = Candidate { source, found: Found::At(Origin::File(path)), slot: Some(slot), config: None, digest: None, entry: Entry::Settled };
            if !self.serves_already(&candidate, &file)? {
                found.push((FOLDER, candidate));
            }
        }
        Ok(found)
    }

    /// Whether just that plugin, with just that configuration, is what the slot holds.
    fn serves_already(&self, candidate: &Candidate, file: &PluginSource) -> Result<bool, Error> {
        let Some(slot) = &candidate.slot else { return Ok(false) };
        let newest = self.0.store.generations(&slot.to_string(), 1)?.into_iter().next();
        let digest = Digest::of(&file.bytes);
        let serves = self.0.plugins.list().into_iter().any(|status| status.slot == *slot && status.current.is_some_and(|bearer| bearer.digest == digest));
        Ok(serves && newest.is_some_and(|newest| newest.digest == digest.to_string() && newest.config == candidate.config))
    }
}
