//! Reads a plugin's file before anything is compiled: what it is, what it exports and imports, who made it. Nothing here
//! runs any of it.

use std::sync::Arc;

use host_engine::Digest;
use wasmparser::{Encoding, Parser, Payload};

use crate::{
    contract::Contract,
    error::{Error, Fault},
    identified::Identified,
    limits::Limits,
    manifest::Manifest,
    names::{PluginKind, SlotName},
    plugins::PluginSource,
};

/// Every interface of the contract starts with this.
pub(crate) const PACKAGE: &str = "shardhost:plugin/";
/// Every interface of the package beside the contract starts with this.
pub(crate) const TENSORS: &str = "shardhost:tensors/";
/// The interface of the contract that every plugin exports.
const PLUGIN_INTERFACE: &str = "plugin";
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
    /// The version of the contract through which this host calls it.
    pub(crate) contract: &'static Contract,
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
    /// Reads a component. The file name of its source is for errors and for want of another name; the text of a `plugin.toml`
    /// beside it replaces a manifest inside.
    pub fn read(component: &Identified, limits: &Limits) -> Result<Self, Error> {
        let PluginSource { name: source, bytes, manifest } = component.source();
        if bytes.len() > limits.component_bytes_max {
            return Err(Fault::TooLarge { plugin: source.clone(), bytes: bytes.len(), bytes_max: limits.component_bytes_max }.into());
        }
        check_is_component(source, bytes)?;
        let contents = Contents::read(source, bytes)?;
        let contract = contents.check(source)?;
        let manifest = contents.manifest(source, manifest.as_deref())?;
        Ok(Self {
            name: contents.plugin_name(source, &manifest).into(),
            digest: component.digest(),
            contract,
            kinds: contents.kinds(),
            bytes: bytes.clone(),
            exports: contents.exports,
            imports: contents.imports,
            manifest,
        })
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
pub(crate) struct Contents {
    exports: Vec<String>,
    pub imports: Vec<String>,
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    license: Option<String>,
    manifest: Option<String>,
}

impl Contents {
    pub(crate) fn read(source: &str, bytes: &[u8]) -> Result<Self, Error> {
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

    /// The contract that all exports of ours name.
    fn contract(&self, source: &str) -> Result<&'static Contract, Error> {
        let mut agreed: Option<&'static Contract> = None;
        for (interface, version) in self.exports.iter().filter_map(|export| of_contract(export)).filter(|(interface, _)| is_known(interface)) {
            let contract = Contract::of(version);
            if contract.is_none() || agreed.is_some_and(|before| contract != Some(before)) {
                // A plugin is called through one version: what one export names holds for the next ones.
                let expected = agreed.map_or_else(Contract::spoken, |before| before.version.to_string());
                return Err(Fault::ContractVersion { plugin: source.to_owned(), interface: interface.to_owned(), found: version.to_owned(), expected }.into());
            }
            agreed = contract;
        }
        agreed.ok_or_else(|| Fault::NoInterface { plugin: source.to_owned(), exports: self.exports.clone() }.into())
    }

    /// What a component can be plugged in as, by the names of its exports.
    pub(crate) fn kinds(&self) -> Vec<PluginKind> {
        PluginKind::ALL.into_iter().filter(|kind| self.exports_interface(kind.word())).collect()
    }

    /// Versions of the contract in the names of exports, each once.
    pub(crate) fn contract_versions(&self) -> Vec<String> {
        let mut versions: Vec<String> = self.exports.iter().filter_map(|export| of_contract(export)).map(|(_, version)| version.to_owned()).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    fn exports_interface(&self, interface: &str) -> bool {
        self.exports.iter().filter_map(|export| of_contract(export)).any(|(exported, _)| exported == interface)
    }

    /// The contract through which a plugin can be called, or why it cannot.
    fn check(&self, source: &str) -> Result<&'static Contract, Error> {
        let plugin = || source.to_owned();
        let contract = self.contract(source)?;
        let kinds = self.kinds();
        if kinds.is_empty() {
            return Err(Fault::NoInterface { plugin: plugin(), exports: self.exports.clone() }.into());
        }
        if !self.exports_interface(PLUGIN_INTERFACE) {
            return Err(Fault::NotConfigurable { plugin: plugin() }.into());
        }
        let granted = |import: &str| match (of_contract(import), of(TENSORS, import)) {
            (Some((interface, version)), _) => Contract::of(version) == Some(contract) && (contract.grants)(interface, &kinds),
            (None, Some((interface, version))) => (contract.grants_tensors)(interface, version, &kinds),
            // Nothing else but WASI, which traps when it is called.
            (None, None) => import.starts_with("wasi:"),
        };
        match self.imports.iter().find(|import| !granted(import)) {
            Some(import) => Err(Fault::Import { plugin: plugin(), import: import.clone() }.into()),
            None => Ok(contract),
        }
    }

    /// What it asks for: `beside` is the text of a `plugin.toml` beside it, which replaces one inside. What the component says
    /// of itself fills the gaps.
    pub(crate) fn manifest(&self, source: &str, beside: Option<&str>) -> Result<Manifest, Error> {
        let text = beside.or(self.manifest.as_deref());
        let manifest = text.map_or_else(|| Ok(Manifest::default()), |text| Manifest::read(source, text))?;
        Ok(self.completed(manifest))
    }

    /// A manifest with what the component says of itself where it says nothing.
    pub(crate) fn completed(&self, mut manifest: Manifest) -> Manifest {
        manifest.version = manifest.version.or_else(|| self.version.clone());
        manifest.description = manifest.description.or_else(|| self.description.clone());
        manifest.license = manifest.license.or_else(|| self.license.clone());
        manifest
    }

    /// The name under which it is installed: what the manifest says, or the component, or its file's name.
    pub(crate) fn plugin_name(&self, source: &str, manifest: &Manifest) -> String {
        let stem = || source.rsplit('/').next().unwrap_or(source).trim_end_matches(".wasm").replace('_', "-");
        manifest.name.clone().or_else(|| self.name.clone()).unwrap_or_else(stem)
    }
}

/// Interface and version of a name that is of the contract; the version is empty where the name has none.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    of(PACKAGE, name)
}

/// The same of a name that is of some package.
fn of<'a>(package: &str, name: &'a str) -> Option<(&'a str, &'a str)> {
    name.strip_prefix(package).map(|rest| rest.split_once('@').unwrap_or((rest, "")))
}

/// Whether plugins of some kind export the interface.
fn is_known(interface: &str) -> bool {
    interface == PLUGIN_INTERFACE || PluginKind::ALL.iter().any(|kind| kind.word() == interface)
}

fn component_name(data: &[u8]) -> Option<String> {
    // The section is a list of subsections; subsection 0 holds the name, preceded by its length.
    let mut reader = wasmparser::BinaryReader::new(data, 0);
    let (id, _size) = (reader.read_u8().ok()?, reader.read_var_u32().ok()?);
    (id == 0).then(|| reader.read_string().ok().map(str::to_owned)).flatten().filter(|name| !name.is_empty())
}
