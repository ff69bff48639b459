//! What a component's file says of itself, also where this host cannot run it: what people are shown before they decide. Nothing
//! of it is compiled or runs.

use host_engine::Digest;

use crate::{
    error::Error,
    identified::Identified,
    limits::Limits,
    manifest::Manifest,
    names::PluginKind,
    package::{Contents, Package, check_is_component},
};

/// A component in its own words, and what a host makes of it.
#[derive(Debug)]
pub struct Description {
    /// Name under which it would be installed.
    pub name: String,
    /// Of its bytes.
    pub digest: Digest,
    /// What it could be plugged in as, by the names of its exports.
    pub kinds: Vec<PluginKind>,
    /// Versions of the contract that its exports name, each once; a plugin that runs has one.
    pub contracts: Vec<String>,
    /// Everything that it imports, with versions.
    pub imports: Vec<String>,
    /// What it asks for; without a manifest, or with one that cannot be read, what the component itself says.
    pub manifest: Manifest,
    /// The limits that it would get, or why it cannot run here.
    pub granted: Result<Limits, Error>,
}

impl Description {
    /// Reads a component. An error is about a file that is none.
    pub(crate) fn read(component: &Identified, limits: &Limits) -> Result<Self, Error> {
        let source = component.source();
        let (name, beside) = (&source.name, source.manifest.as_deref());
        check_is_component(name, &source.bytes)?;
        let contents = Contents::read(name, &source.bytes)?;
        let package = Package::read(component, limits);
        let manifest = contents.manifest(name, beside).unwrap_or_else(|_| contents.completed(Manifest::default()));
        Ok(Self {
            name: contents.plugin_name(name, &manifest),
            digest: component.digest(),
            kinds: contents.kinds(),
            contracts: contents.contract_versions(),
            granted: package.and_then(|package| package.manifest.granted(&package.name, limits)),
            imports: contents.imports,
            manifest,
        })
    }
}
