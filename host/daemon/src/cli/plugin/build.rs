//! `host plugin build`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use host_plugin::{Manifest, Package, Parts, PluginKind, pack};

use super::{
    super::screen::Screen,
    pack::{file_fault, write},
    toolchain::{self, Sources},
};
use crate::error::{Error, Fault};

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArgs {
    /// Folder with a plugin.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub(super) fn build(screen: &mut Screen, args: &BuildArgs) -> Result<(), Error> {
    let (package, file) = built(&args.folder)?;
    write(screen, &package, &file)
}

/// Builds the plugin of a folder; also says which file it belongs in. Nothing but the compiler writes to the folder.
pub(super) fn built(named: &Path) -> Result<(Package, PathBuf), Error> {
    let folder = fs::canonicalize(named).map_err(|error| file_fault("find", named, error))?;
    let path = folder.join("plugin.toml");
    let text = fs::read_to_string(&path).map_err(|error| file_fault("read", &path, error))?;
    let manifest = Manifest::read(&path.display().to_string(), &text)?;
    let usage = |reason: &str| Error::from(Fault::Usage { reason: format!("{} {reason}", path.display()) });
    let build = manifest.build.as_ref().ok_or_else(|| usage("does not say how to build it: `[build]` with `language` is missing"))?;
    let kind = manifest.slot()?.map(|slot| slot.kind());
    let name = manifest.name.clone().ok_or_else(|| usage("has no `name`"))?;
    // In the folder as it was named: that is what a person reads.
    let file = named.join(format!("{name}.wasm"));
    let wit = folder.join(&build.wit);
    let sources = Sources { folder: &folder, wit: &wit, kind };
    let bytes = toolchain::compile(&sources, build)?;
    let package = pack(Parts { source: &file_name(&file), bytes, manifest: Some(&text), world: kind.map(PluginKind::world), wit: Some(&wit) })?;
    Ok((package, file))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
