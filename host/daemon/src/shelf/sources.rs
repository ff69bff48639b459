//! What the config and the plugins folder ask for: at the start, and when a file comes, changes or goes.

use std::{collections::BTreeMap, path::Path};

use host_engine::Digest;
use host_plugin::{Entry, Identified, PluginHost, SlotName};

use super::{CONFIG, Candidate, FOLDER, Fetched, Found, Origin, Shelf, folder};
use crate::error::{Error, Fault};

impl Shelf {
    /// A file was dropped into the plugins folder, or changed there.
    pub(super) fn file_changed(&self, path: &Path) {
        let source = path.display().to_string();
        let result = self.traced(FOLDER, "install", &source, |trail| {
            let (found, digest, slot) = self.claim(path)?;
            if self.0.config.slots.contains_key(&slot.to_string()) {
                return Err(Fault::BoundByConfig { slot: slot.to_string(), path: source.clone() }.into());
            }
            self.refuse_second_claim(path, &slot)?;
            let candidate = Candidate { source: source.clone(), found, slot: Some(slot), config: None, digest: None, entry: Entry::Probation };
            if self.serves_already(&candidate, digest)? { Ok(None) } else { self.put_in_service(candidate, trail).map(Some) }
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
        let claims = |other: &Path| self.claim(other).is_ok_and(|(_, _, claimed)| claimed == *slot);
        match folder.iter().find(|other| *other != path && claims(other)) {
            Some(other) => Err(Fault::TwoClaims { slot: slot.to_string(), one: other.display().to_string(), two: path.display().to_string() }.into()),
            None => Ok(()),
        }
    }

    /// A file of the plugins folder with its digest, and the slot that it claims.
    fn claim(&self, path: &Path) -> Result<(Found, Digest, SlotName), Error> {
        let (fetched, digest) = self.local(&Origin::File(path.to_owned()))?;
        let slot = PluginHost::inspect_identified(&Identified::known(fetched.component(), digest))?.slot(None)?;
        Ok((Found::Here(fetched, Some(digest)), digest, slot))
    }

    /// A plugin that the config names, with its digest where no network is between.
    fn bound(&self, plugin: &str) -> Result<(Found, Option<Digest>), Error> {
        match self.named(plugin) {
            Ok(Found::Known(component, signer)) if !Path::new(plugin).is_file() => {
                let digest = component.digest();
                Ok((Found::Known(component, signer), Some(digest)))
            }
            _ => match Origin::parse(plugin)? {
                file @ Origin::File(_) => self.local(&file).map(|(fetched, digest)| (Found::Here(fetched, Some(digest)), Some(digest))),
                remote => Ok((Found::At(remote), None)),
            },
        }
    }

    fn local(&self, file: &Origin) -> Result<(Fetched, Digest), Error> {
        let fetched = self.brought(file)?;
        let digest = self.0.store.identify(&fetched.bytes)?;
        Ok((fetched, digest))
    }

    /// What the config binds and what lies in the plugins folder, each with who asks for it. Two files that claim one slot are an error that names both.
    pub(super) fn candidates(&self) -> Result<Vec<(&'static str, Candidate)>, Error> {
        let config = &self.0.config;
        let mut found = Vec::new();
        for (slot, binding) in &config.slots {
            let settings = binding.config.as_ref().map(ToString::to_string);
            let slot = Some(SlotName::parse(slot)?);
            let (place, digest) = self.bound(&binding.plugin)?;
            let candidate =
                Candidate { source: binding.plugin.clone(), found: place, slot, config: settings, digest: binding.digest.clone(), entry: Entry::Settled };
            if !digest.map_or(Ok(false), |digest| self.serves_already(&candidate, digest))? {
                found.push((CONFIG, candidate));
            }
        }
        let mut claims = BTreeMap::new();
        for path in config.plugins.as_deref().map_or_else(|| Ok(Vec::new()), folder::components)? {
            let (place, digest, slot) = self.claim(&path)?;
            if config.slots.contains_key(&slot.to_string()) {
                continue;
            }
            if let Some(other) = claims.insert(slot.clone(), path.display().to_string()) {
                return Err(Fault::TwoClaims { slot: slot.to_string(), one: other, two: path.display().to_string() }.into());
            }
            let source = path.display().to_string();
            let candidate = Candidate { source, found: place, slot: Some(slot), config: None, digest: None, entry: Entry::Settled };
            if !self.serves_already(&candidate, digest)? {
                found.push((FOLDER, candidate));
            }
        }
        Ok(found)
    }

    /// Whether just that plugin, with just that configuration, is what the slot holds.
    fn serves_already(&self, candidate: &Candidate, digest: Digest) -> Result<bool, Error> {
        let Some(slot) = &candidate.slot else { return Ok(false) };
        let newest = self.0.store.generations(&slot.to_string(), 1)?.into_iter().next();
        let serves = self.0.plugins.list().into_iter().any(|status| status.slot == *slot && status.current.is_some_and(|bearer| bearer.digest == digest));
        Ok(serves && newest.is_some_and(|newest| newest.digest == digest.to_string() && newest.config == candidate.config))
    }
}
