//! Reads a plugin's file before anything is compiled: what it is, what it exports and imports, who made it. Nothing here
//! runs any of it.

use std::sync::Arc;

use host_engine::Digest;
use wasmparser::{Encoding, Parser, Payload};

use crate::{
    error::{Error, Fault},
    limits::Limits,
    manifest::Manifest,
    names::{PluginKind, SlotName},
};

/// The version of the contract that this host speaks.
pub(crate) const CONTRACT_VERSION: &str = "0.1.0";
/// Every interface of the contract starts with this.
pub(crate) const PACKAGE: &str = "shardhost:plugin/";
/// The custom section that may hold a manifest.
pub(crate) const MANIFEST_SECTION: &str = "shardhost:manifest";
/// Exports and imports that are read; a component with more is not one of ours.
const ITEMS_MAX: usize = 4096;

/// A plugin's file and what it says of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Package {
    /// Name under which it is installed.
    pub name: Arc<str>,
    /// Of its bytes: its identity.
    pub digest: Digest,
    /// The component.
    pub bytes: bytes::Bytes,
    /// What it can be plugged in as.
    pub kinds: Vec<PluginKind>,
    /// Everything that it exports, with versions.
    pub exports: Vec<String>,
    /// Everything that it imports, with versions. What is neither of the contract nor for printing is there but traps when it is called.
    pub imports: Vec<String>,
    /// What it asks for; its name and description are filled in from the component where the manifest has none.
    pub manifest: Manifest,
}

impl Package {
    /// The version of the contract that it was built for.
    pub fn contract(&self) -> &str {
        let version = |export: &'_ str| -> Option<usize> { Some(export.len() - export.strip_prefix(PACKAGE)?.split_once('@')?.1.len()) };
        self.exports.iter().find_map(|export| version(export).map(|start| &export[start..])).unwrap_or(CONTRACT_VERSION)
    }

    /// Reads a component. `source` is its file name, for errors and for want of another name; `manifest` is the text of a
    /// `plugin.toml` beside it, which replaces one inside.
    pub fn read(source: &str, bytes: bytes::Bytes, manifest: Option<&str>, limits: &Limits) -> Result<Self, Error> {
        let plugin = source.to_owned();
        if bytes.len() > limits.component_bytes_max {
            return Err(Fault::TooLarge { plugin, bytes: bytes.len(), bytes_max: limits.component_bytes_max }.into());
        }
        check_is_component(source, &bytes)?;
        let contents = Contents::read(source, &bytes)?;
        let kinds = contents.kinds(source)?;
        contents.check_imports(source, &kinds)?;
        let mut manifest = match (manifest, &contents.manifest) {
            (Some(text), _) => Manifest::read(source, text)?,
            (None, Some(text)) => Manifest::read(source, text)?,
            (None, None) => Manifest::default(),
        };
        manifest.version = manifest.version.or(contents.version);
        manifest.description = manifest.description.or(contents.description);
        manifest.license = manifest.license.or(contents.license);
        let stem = source.rsplit('/').next().unwrap_or(source).trim_end_matches(".wasm").replace('_', "-");
        let name = manifest.name.clone().or(contents.name).unwrap_or(stem);
        Ok(Self { name: name.into(), digest: Digest::of(&bytes), bytes, kinds, exports: contents.exports, imports: contents.imports, manifest })
    }

    /// The slot to plug it in: the one asked for if it fits, else the manifest's, else the default slot of its only kind.
    pub fn slot(&self, asked: Option<SlotName>) -> Result<SlotName, Error> {
        let plugin = || self.name.to_string();
        let asked = match asked {
            Some(slot) => Some(slot),
            None => self.manifest.slot()?,
        };
        match (asked, self.kinds.as_slice()) {
            (Some(slot), kinds) if kinds.contains(&slot.kind()) => Ok(slot),
            (Some(slot), kinds) => Err(Fault::WrongSlot { plugin: plugin(), slot, kinds: kinds.to_vec() }.into()),
            (None, [PluginKind::Allocation]) => Ok(SlotName::Allocation),
            (None, [PluginKind::Routing]) => Ok(SlotName::Routing(None)),
            (None, [PluginKind::Queueing]) => Ok(SlotName::Queueing),
            (None, kinds) => Err(Fault::AmbiguousSlot { plugin: plugin(), kinds: kinds.to_vec() }.into()),
        }
    }
}

pub(crate) fn check_is_component(source: &str, bytes: &[u8]) -> Result<(), Error> {
    let fault = |found, advice| Err(Fault::NotAComponent { plugin: source.to_owned(), found, advice }.into());
    match bytes {
        [] => fault("empty", "was it copied whole?"),
        _ if Parser::is_component(bytes) => Ok(()),
        _ if Parser::is_core_wasm(bytes) => {
            fault("a core WebAssembly module", "build it with `--target wasm32-wasip2`, or make a component of it with `host plugin pack`")
        }
        // Compiled components of wasmtime are ELF files too.
        [0x7f, b'E', b'L', b'F', ..] => fault("native code", "the host compiles plugins itself, install the `.wasm` file"),
        [b'M', b'Z', ..] | [0xcf, 0xfa, 0xed, 0xfe, ..] => fault("native code", "the host compiles plugins itself, install the `.wasm` file"),
        _ if bytes.len() < 8 && !is_text(bytes) => fault("cut off within its first 8 bytes", "was it copied whole?"),
        [0, b'a', b's', b'm', ..] => fault("WebAssembly of an unknown version", "build it with a current toolchain"),
        _ if is_text(bytes) => fault("text", "compile it first"),
        _ => fault("of an unknown format", "is it the right file?"),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok()
}

/// What the sections of a component say.
#[derive(Default)]
struct Contents {
    exports: Vec<String>,
    imports: Vec<String>,
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    manifest: Option<String>,
}

impl Contents {
    fn read(source: &str, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |error: wasmparser::BinaryReaderError| {
            let offset = usize::try_from(error.offset()).unwrap_or(usize::MAX);
            Error::from(Fault::Malformed { plugin: source.to_owned(), offset, reason: error.message().to_owned() })
        };
        let mut contents = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(damaged)? {
                Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section.into_iter().take(ITEMS_MAX) {
                        contents.exports.push(export.map_err(damaged)?.name.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section.into_iter().take(ITEMS_MAX) {
                        contents.imports.push(import.map_err(damaged)?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section) => contents.note(section.name(), section.data(), depth),
                _ => {}
            }
        }
        Ok(contents)
    }

    fn note(&mut self, name: &str, data: &[u8], depth: usize) {
        let text = || std::str::from_utf8(data).ok().map(|text| text.trim_matches('\0').to_owned());
        match name {
            // What a language's toolchain embeds ends up in the core module inside; the component's own word is last.
            "version" => self.version = text().or(self.version.take()),
            "description" => self.description = text().or(self.description.take()),
            "licenses" => self.license = text().or(self.license.take()),
            MANIFEST_SECTION => self.manifest = text().or(self.manifest.take()),
            "component-name" if depth == 1 => self.name = component_name(data),
            _ => {}
        }
    }

    fn kinds(&self, source: &str) -> Result<Vec<PluginKind>, Error> {
        let plugin = || source.to_owned();
        for export in &self.exports {
            let Some((interface, found)) = export.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else { continue };
            let ours = interface == "plugin" || PluginKind::ALL.iter().any(|kind| kind.word() == interface);
            if ours && !compatible(found) {
                return Err(
                    Fault::ContractVersion { plugin: plugin(), interface: interface.to_owned(), found: found.to_owned(), expected: CONTRACT_VERSION }.into()
                );
            }
        }
        let exported = |interface: &str| {
            self.exports.iter().any(|export| export.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')).is_some_and(|(name, _)| name == interface))
        };
        let kinds: Vec<_> = PluginKind::ALL.into_iter().filter(|kind| exported(kind.word())).collect();
        if kinds.is_empty() {
            return Err(Fault::NoInterface { plugin: plugin(), exports: self.exports.clone() }.into());
        }
        if exported("plugin") { Ok(kinds) } else { Err(Fault::NotConfigurable { plugin: plugin() }.into()) }
    }

    fn check_imports(&self, source: &str, kinds: &[PluginKind]) -> Result<(), Error> {
        let allowed = |import: &str| {
            let ours = import.strip_prefix(PACKAGE).map(|rest| rest.split_once('@').unwrap_or((rest, CONTRACT_VERSION)));
            match ours {
                Some(("engine", version)) => kinds.contains(&PluginKind::Adapter) && compatible(version),
                Some(("log" | "types", version)) => compatible(version),
                Some(_) => false,
                None => import.starts_with("wasi:"),
            }
        };
        match self.imports.iter().find(|import| !allowed(import)) {
            Some(import) => Err(Fault::Import { plugin: source.to_owned(), import: import.clone() }.into()),
            None => Ok(()),
        }
    }
}

/// Versions 0.1.x are compatible with each other; wasmtime links them by the same rule.
fn compatible(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(head, _)| head.to_owned());
    minor(version) == minor(CONTRACT_VERSION)
}

fn component_name(data: &[u8]) -> Option<String> {
    // The section is a list of subsections; subsection 0 holds the name, preceded by its length.
    let mut reader = wasmparser::BinaryReader::new(data, 0);
    let (id, _size) = (reader.read_u8().ok()?, reader.read_var_u32().ok()?);
    (id == 0).then(|| reader.read_string().ok().map(str::to_owned)).flatten().filter(|name| !name.is_empty())
}
