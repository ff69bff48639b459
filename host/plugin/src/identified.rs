//! A component with its digest. Of a component of many megabytes the digest takes longer than all else that is read of it, so
//! whoever has computed or proved it hands it on, and nobody computes it again.

use std::{collections::BTreeMap, sync::LazyLock};

use host_engine::Digest;

use crate::{builtin::BUILTINS, error::Error, plugins::PluginSource};

/// A plugin's bytes, where they came from, and their digest.
#[derive(Clone, Debug)]
pub struct Identified {
    source: PluginSource,
    digest: Digest,
}

impl Identified {
    /// Computes the digest.
    pub fn of(source: PluginSource) -> Self {
        let digest = Digest::of(&source.bytes);
        Self { source, digest }
    }

    /// With a digest that the caller knows to be that of these bytes: it has computed it, or found them under it.
    pub fn known(source: PluginSource, digest: Digest) -> Self {
        Self { source, digest }
    }

    /// A plugin that is in the binary, by name. Its digest is computed once a process.
    pub fn builtin(name: &str) -> Result<Self, Error> {
        static DIGESTS: LazyLock<BTreeMap<&'static str, Digest>> =
            LazyLock::new(|| BUILTINS.iter().map(|builtin| (builtin.name, Digest::of(builtin.bytes))).collect());
        let source = PluginSource::builtin(name)?;
        Ok(match DIGESTS.get(name) {
            Some(digest) => Self::known(source, *digest),
            None => Self::of(source),
        })
    }

    /// The bytes, and where they came from.
    pub fn source(&self) -> &PluginSource {
        &self.source
    }

    /// Of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}
