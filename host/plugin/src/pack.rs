//! Makes an installable plugin of what a compiler wrote: wraps a core module as a component of the contract, and writes name,
//! version, description, licence and manifest into it. Nothing of it runs. Called by `host plugin build` and `host plugin pack`.

use std::path::Path;

use wasi_preview1_component_adapter_provider::{WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER};
use wasm_encoder::{ComponentNameSection, ComponentSection, CustomSection};
use wasmparser::{BinaryReader, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap, UnresolvedPackageGroup};

use crate::{
    contract::CONTRACT,
    error::{Error, Fault},
    identified::Identified,
    limits::Limits,
    manifest::Manifest,
    package::{MANIFEST_SECTION, Package, check_is_component},
    plugins::PluginSource,
};

/// Magic number and version of a component.
const HEADER_BYTES: usize = 8;
/// What a person is told about a plugin, in the sections where other tools look for it too. They are written here and nowhere else.
const SECTIONS: [&str; 5] = ["component-name", "version", "description", "licenses", MANIFEST_SECTION];

/// What a plugin is made of.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// File name, for errors and for want of another name.
    pub source: &'a str,
    /// A component, or a core module.
    pub bytes: Vec<u8>,
    /// The text of a `plugin.toml`. What is in it travels inside the component, without `[build]`.
    pub manifest: Option<&'a str>,
    /// The world that a core module implements; else the one of the manifest's slot. A module that says so itself needs none.
    pub world: Option<&'a str>,
    /// Folder of the contract that a core module was built for; else the host's own.
    pub wit: Option<&'a Path>,
}

/// Puts the parts together. What comes out can be installed, or an error says why not.
pub fn pack(parts: Parts<'_>) -> Result<Package, Error> {
    let manifest = parts.manifest.map(|text| Manifest::read(parts.source, text)).transpose()?;
    let component = if Parser::is_core_wasm(&parts.bytes) {
        let world = match (parts.world, &manifest) {
            (Some(world), _) => Some(world),
            (None, Some(manifest)) => manifest.slot()?.map(|slot| slot.kind().world()),
            (None, None) => None,
        };
        component(&parts, world).map_err(|reason| Fault::Pack { plugin: parts.source.to_owned(), reason })?
    } else {
        check_is_component(parts.source, &parts.bytes)?;
        parts.bytes
    };
    let bytes = match parts.manifest.zip(manifest) {
        Some((text, manifest)) => described(parts.source, &component, text, &manifest)?,
        None => component,
    };
    let packed = PluginSource { name: parts.source.to_owned(), bytes: bytes.into(), manifest: None };
    Package::read(&Identified::of(packed), &Limits::default())
}

/// Wraps a core module. One without a world of its own is taken for an implementation of `world`.
fn component(parts: &Parts<'_>, world: Option<&str>) -> Result<Vec<u8>, String> {
    let mut module = parts.bytes.clone();
    if !names_its_world(&module)? {
        let world = world.ok_or("it does not say what it implements: name the slot in `plugin.toml`, or the world with --world")?;
        let (contract, package) = contract(parts.wit)?;
        let world = contract.select_world(&[package], Some(world)).map_err(|error| format!("{error:#}"))?;
        embed_component_metadata(&mut module, &contract, world, StringEncoding::UTF8, false).map_err(|error| format!("{error:#}"))?;
    }
    // The adapter turns what a C library imports into components' imports. The host answers those that print; most others trap.
    let mut encoder = ComponentEncoder::default();
    let filled = encoder.validate(true).module(&module);
    let filled = filled.and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER));
    filled.and_then(ComponentEncoder::encode).map_err(|error| format!("{error:#}"))
}

/// Whether a generator left a description of its world in a module.
fn names_its_world(module: &[u8]) -> Result<bool, String> {
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(|error| error.to_string())? {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

fn contract(folder: Option<&Path>) -> Result<(Resolve, wit_parser::PackageId), String> {
    let package = match folder {
        Some(folder) => UnresolvedPackageGroup::parse_dir(folder).map_err(|error| format!("{error:#}"))?,
        None => {
            let mut files = SourceMap::default();
            CONTRACT.iter().for_each(|(name, text)| files.push_str(name, *text));
            files.parse().map_err(|(_, error)| error.to_string())?
        }
    };
    let mut contract = Resolve::default();
    let package = contract.push_group(package).map_err(|error| error.to_string())?;
    Ok((contract, package))
}

/// The component with a description from its manifest in place of any that it had.
fn described(source: &str, component: &[u8], text: &str, manifest: &Manifest) -> Result<Vec<u8>, Error> {
    let mut bytes = undescribed(component).map_err(|error| Fault::Pack { plugin: source.to_owned(), reason: error.to_string() })?;
    if let Some(name) = &manifest.name {
        let mut section = ComponentNameSection::new();
        section.component(name);
        section.append_to_component(&mut bytes);
    }
    let inside = inside(text);
    let fields = [("version", &manifest.version), ("description", &manifest.description), ("licenses", &manifest.license), (MANIFEST_SECTION, &Some(inside))];
    for (name, text) in fields {
        if let Some(text) = text {
            CustomSection { name: name.into(), data: text.as_bytes().into() }.append_to_component(&mut bytes);
        }
    }
    Ok(bytes)
}

/// What of a manifest travels inside: all but how the plugin was built, which is nothing that a host acts on.
fn inside(text: &str) -> String {
    let mut table: toml::Table = text.parse().expect("the text was read as a manifest");
    table.remove("build");
    table.to_string()
}

/// The component without its outermost sections that describe it. Those of the modules inside stay; the outermost ones win.
fn undescribed(component: &[u8]) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    let (header, body) = component.split_at(HEADER_BYTES);
    let mut kept = header.to_vec();
    let mut reader = BinaryReader::new(body, 0);
    while !reader.eof() {
        let start = reader.current_position();
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        let content = reader.read_bytes(size)?;
        let describes = id == 0 && BinaryReader::new(content, 0).read_string().is_ok_and(|name| SECTIONS.contains(&name));
        if !describes {
            kept.extend_from_slice(&body[start..reader.current_position()]);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::PluginKind;

    const MANIFEST: &str =
        "name = \"mine\"\nversion = \"1.2.3\"\ndescription = \"does it\"\nlicense = \"MIT\"\nslot = \"routing\"\n[build]\nlanguage = \"c\"\n";

    /// A core module with the functions of a routing policy, which trap.
    fn module() -> Vec<u8> {
        let text = r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "shardhost:plugin/plugin@0.1.0#configure") (param i32 i32) (result i32) unreachable)
            (func (export "shardhost:plugin/routing@0.1.0#set-topology") (param i32 i32 i32 i32 i32 i32 i32 f64 f64 f64 f64) unreachable)
            (func (export "shardhost:plugin/routing@0.1.0#set-pressure") (param i32 i32) unreachable)
            (func (export "shardhost:plugin/routing@0.1.0#route") (param i32 i32 f64 i32 f64 i32 i32) (result i32) unreachable)
        )"#;
        wat::parse_str(text).expect("good text")
    }

    fn parts(bytes: Vec<u8>, manifest: Option<&str>) -> Parts<'_> {
        Parts { source: "x.wasm", bytes, manifest, world: None, wit: None }
    }

    #[test]
    fn a_core_module_becomes_a_component_that_says_what_its_manifest_says() {
        let package = pack(parts(module(), Some(MANIFEST))).expect("packed");
        assert_eq!((&*package.name, package.kinds.as_slice()), ("mine", [PluginKind::Routing].as_slice()));
        let manifest = &package.manifest;
        assert_eq!([&manifest.version, &manifest.description, &manifest.license].map(|text| text.as_deref().unwrap_or_default()), ["1.2.3", "does it", "MIT"]);
        assert_eq!((manifest.slot.as_deref(), &manifest.build), (Some("routing"), &None));
        assert!(package.imports.iter().all(|import| import.starts_with("shardhost:plugin/")), "{:?}", package.imports);
    }

    #[test]
    fn what_is_packed_again_says_only_the_newest_words_and_stays_the_same_otherwise() {
        let once = pack(parts(module(), Some(MANIFEST))).expect("packed");
        let other = MANIFEST.replace("1.2.3", "2.0.0");
        let twice = pack(parts(once.bytes.to_vec(), Some(&other))).expect("packed");
        assert_eq!(twice.manifest.version.as_deref(), Some("2.0.0"));
        assert_eq!(twice.bytes.len(), once.bytes.len());
        let back = pack(parts(twice.bytes.to_vec(), Some(MANIFEST))).expect("packed");
        assert_eq!(back.digest, once.digest);
    }

    #[test]
    fn without_a_manifest_a_module_needs_a_world_and_a_component_stays_as_it_is() {
        let error = pack(parts(module(), None)).expect_err("no world").to_string();
        assert_eq!(error, "`x.wasm` cannot be packed: it does not say what it implements: name the slot in `plugin.toml`, or the world with --world");
        let package = pack(Parts { world: Some("routing-policy"), ..parts(module(), None) }).expect("packed");
        assert_eq!(pack(parts(package.bytes.to_vec(), None)).expect("a component already").digest, package.digest);
    }

    #[test]
    fn what_cannot_be_packed_is_refused_in_words() {
        struct Case {
            bytes: Vec<u8>,
            world: Option<&'static str>,
            says: &'static str,
        }
        let empty = wat::parse_str("(module)").expect("good text");
        let cases = [
            Case { bytes: b"int main() {}".to_vec(), world: None, says: "is text, a WebAssembly component was expected" },
            Case { bytes: module(), world: Some("no-such-world"), says: "no-such-world" },
            Case { bytes: empty, world: Some("routing-policy"), says: "failed to find export of interface `shardhost:plugin/plugin@0.1.0`" },
        ];
        for Case { bytes, world, says } in cases {
            let error = pack(Parts { world, ..parts(bytes, None) }).expect_err("it cannot be packed").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
