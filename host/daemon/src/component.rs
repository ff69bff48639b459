//! Components as files: reads one with the `plugin.toml` beside it, and puts what it says of itself into the words of the
//! admin socket. Nothing of it runs.

use std::{fs, path::Path};

use host_plugin::{Limits, PluginHost, PluginSource};
use host_wire::admin;

use crate::error::{Error, Fault};

/// Reads a component and its manifest.
pub fn read(path: &Path) -> Result<PluginSource, Error> {
    let fault = |path: &Path, error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    let bytes = fs::read(path).map_err(|error| fault(path, error))?.into();
    let beside = path.with_file_name("plugin.toml");
    let manifest = if beside.is_file() { Some(fs::read_to_string(&beside).map_err(|error| fault(&beside, error))?) } else { None };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(PluginSource { name, bytes, manifest })
}

/// What a component says of itself, and whether a host with these limits can run it. Whether it is built in and what it serves
/// is for the caller to add.
pub fn describe(component: &PluginSource, from: &str, limits: &Limits) -> Result<admin::Plugin, Error> {
    let package = PluginHost::inspect(component)?;
    let asks = package.manifest.asks(limits);
    let unfit = package.manifest.refused(limits).map(|(what, asked, granted_max)| format!("it asks for {what} = {asked}, this host grants 1 to {granted_max}"));
    let asked = |(what, asked, granted_max): &(&str, u64, u64)| admin::Asked { what: (*what).to_owned(), asked: *asked, granted_max: *granted_max };
    Ok(admin::Plugin {
        name: package.name.to_string(),
        version: package.manifest.version.clone().unwrap_or_default(),
        description: package.manifest.description.clone().unwrap_or_default(),
        licence: package.manifest.license.clone().unwrap_or_default(),
        kinds: package.kinds.iter().map(ToString::to_string).collect(),
        digest: package.digest.to_string(),
        source: from.to_owned(),
        built_in: false,
        slots: Vec::new(),
        component_bytes: package.bytes.len() as u64,
        enabled: true,
        contract: package.contract().to_owned(),
        imports: package.imports.clone(),
        signer: String::new(),
        asks: asks.iter().map(asked).collect(),
        unfit: unfit.unwrap_or_default(),
    })
}
