//! `host plugin pack`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use host_core::units::Bytes;
use host_plugin::{Identified, Package, Parts, PluginSource, pack};

use super::super::screen::Screen;
use crate::{
    component,
    error::{Error, Fault},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct PackArgs {
    /// A core module, or a component
    file: PathBuf,
    /// Its manifest: name, version, description and license become part of the component [default: plugin.toml beside it]
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The world that a core module implements [default: the one of the manifest's slot]
    #[arg(long)]
    world: Option<String>,
    /// Folder of the contract that a core module was built for [default: the host's own]
    #[arg(long, value_name = "DIR")]
    wit: Option<PathBuf>,
    /// Where the component is written [default: NAME.wasm beside the file, in place of it if that is its name]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub(super) fn pack_file(screen: &mut Screen, args: PackArgs) -> Result<(), Error> {
    let read = |path: &Path| fs::read(path).map_err(|error| file_fault("read", path, error));
    let beside = args.file.with_file_name("plugin.toml");
    let manifest = args.manifest.or_else(|| beside.is_file().then_some(beside));
    let manifest = manifest.map(|path| fs::read_to_string(&path).map_err(|error| file_fault("read", &path, error))).transpose()?;
    let source = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parts = Parts { source: &source, bytes: read(&args.file)?, manifest: manifest.as_deref(), world: args.world.as_deref(), wit: args.wit.as_deref() };
    let package = pack(parts)?;
    let to = args.to.unwrap_or_else(|| args.file.with_file_name(format!("{}.wasm", package.name)));
    write(screen, &package, &to)
}

/// Writes a plugin to a file.
pub(super) fn save(package: &Package, to: &Path) -> Result<(), Error> {
    fs::write(to, &package.bytes).map_err(|error| file_fault("write", to, error))
}

/// Writes a plugin and says what it is.
pub(super) fn write(screen: &mut Screen, package: &Package, to: &Path) -> Result<(), Error> {
    save(package, to)?;
    let path = to.display().to_string();
    if screen.is_json() {
        let source = PluginSource { name: path.clone(), bytes: package.bytes.clone(), manifest: None };
        return screen.json(&component::describe(&Identified::known(source, package.digest), &path, &host_plugin::Limits::default())?);
    }
    let worlds: Vec<&str> = package.kinds.iter().map(|kind| kind.world()).collect();
    let lines = [
        ("wrote", path),
        ("plugin", format!("{} {}", package.name, package.manifest.version.as_deref().unwrap_or_default()).trim_end().to_owned()),
        ("world", worlds.join(", ")),
        ("size", Bytes(package.bytes.len() as u64).to_string()),
        ("digest", format!("sha256:{}", package.digest)),
    ];
    lines.iter().try_for_each(|(name, value)| screen.line(&format!("{name:8}  {value}")))
}

pub(super) fn file_fault(doing: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::from(Fault::File { doing, path: path.display().to_string() }).because(error)
}
