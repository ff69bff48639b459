//! What is said about files that are no plugin, before anything is compiled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/guests.rs"]
mod guests;

use guests::{component, guest};
use host_core::error::ErrorKind;
use host_engine::Engines;
use host_plugin::{EventSink, Identified, Limits, PluginConfig, PluginHost, PluginKind, PluginSource, SlotName};

fn source(bytes: Vec<u8>) -> PluginSource {
    PluginSource { name: "x.wasm".to_owned(), bytes: bytes.into(), manifest: None }
}

fn error(bytes: Vec<u8>) -> String {
    let error = PluginHost::inspect(&source(bytes)).expect_err("not a plugin");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

const PLUGIN: &str = "shardhost:plugin/plugin@0.1.0";
const ROUTING: &str = "shardhost:plugin/routing@0.1.0";

#[test]
fn files_that_are_no_component_are_told_apart() {
    struct Case {
        bytes: Vec<u8>,
        says: &'static str,
    }
    let cases = [
        Case { bytes: Vec::new(), says: "`x.wasm` is empty, a WebAssembly component was expected" },
        Case { bytes: b"fn main() {}\n".to_vec(), says: "`x.wasm` is text, a WebAssembly component was expected; compile it first" },
        Case {
            bytes: b"\0asm\x01\0\0\0".to_vec(),
            says: "is a core WebAssembly module, a WebAssembly component was expected; build it with `--target wasm32-wasip2`",
        },
        Case { bytes: b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(), says: "is native code" },
        Case { bytes: b"\0asm\x63\0\x07\0".to_vec(), says: "is WebAssembly of an unknown version" },
        Case { bytes: b"\0\xff\xfe".to_vec(), says: "is cut off within its first 8 bytes" },
        Case { bytes: b"\0\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8".to_vec(), says: "is of an unknown format" },
    ];
    for Case { bytes, says } in cases {
        let text = error(bytes);
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_component_that_was_cut_off_is_damaged_at_a_byte() {
    let whole = guest("misbehaving-routing").bytes.to_vec();
    for length in [9, 100, whole.len() / 2, whole.len() - 1] {
        let text = error(whole[..length].to_vec());
        assert!(text.starts_with("`x.wasm` is damaged at byte "), "{length}: {text}");
    }
}

#[test]
fn another_version_of_the_contract_is_named_with_ours() {
    let text = error(component(&[], &[PLUGIN, "shardhost:plugin/routing@0.2.0"]));
    assert_eq!(text, "`x.wasm` exports routing of version 0.2.0, this host speaks version 0.1.0");
    let package =
        PluginHost::inspect(&source(component(&[], &["shardhost:plugin/plugin@0.1.7", "shardhost:plugin/routing@0.1.7"]))).expect("0.1.7 is compatible");
    assert_eq!(package.kinds, [PluginKind::Routing]);
}

#[test]
fn what_cannot_run_here_is_described_with_the_reason() {
    struct Case {
        imports: &'static [&'static str],
        exports: [&'static str; 2],
        manifest: &'static str,
        contracts: &'static [&'static str],
        unfit: Option<&'static str>,
    }
    let good = [PLUGIN, ROUTING];
    let cases = [
        Case { imports: &["shardhost:plugin/log@0.1.0"], exports: good, manifest: "", contracts: &["0.1.0"], unfit: None },
        Case {
            imports: &["shardhost:plugin/log@0.3.0"],
            exports: ["shardhost:plugin/plugin@0.3.0", "shardhost:plugin/routing@0.3.0"],
            manifest: "",
            contracts: &["0.3.0"],
            unfit: Some("`x.wasm` exports plugin of version 0.3.0, this host speaks version 0.1.0"),
        },
        Case {
            imports: &[],
            exports: [PLUGIN, "shardhost:plugin/routing@0.2.0"],
            manifest: "",
            contracts: &["0.1.0", "0.2.0"],
            unfit: Some("`x.wasm` exports routing of version 0.2.0, this host speaks version 0.1.0"),
        },
        Case {
            imports: &["acme:gpu/driver@1.0.0"],
            exports: good,
            manifest: "",
            contracts: &["0.1.0"],
            unfit: Some("`x.wasm` imports `acme:gpu/driver@1.0.0`"),
        },
        Case {
            imports: &["shardhost:plugin/log@0.2.9"],
            exports: good,
            manifest: "",
            contracts: &["0.1.0"],
            unfit: Some("imports `shardhost:plugin/log@0.2.9`"),
        },
        Case { imports: &[], exports: good, manifest: "instances = 0", contracts: &["0.1.0"], unfit: Some("asks for instances = 0, the host grants 1 to") },
        Case { imports: &[], exports: good, manifest: "colour = 1", contracts: &["0.1.0"], unfit: Some("the manifest of `x.wasm` cannot be read") },
    ];
    for Case { imports, exports, manifest, contracts, unfit } in cases {
        let source = PluginSource { manifest: Some(manifest.to_owned()), ..source(component(imports, &exports)) };
        let described = PluginHost::describe(&Identified::of(source), &Limits::default()).expect("it is a component");
        assert_eq!((described.name.as_str(), described.kinds.as_slice()), ("x", [PluginKind::Routing].as_slice()));
        assert_eq!((words(&described.contracts), words(&described.imports)), (contracts.to_vec(), imports.to_vec()));
        match (described.granted, unfit) {
            (Ok(limits), None) => assert_eq!(limits, Limits::default()),
            (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
            (granted, unfit) => panic!("{exports:?}: {granted:?}, {unfit:?} was expected"),
        }
    }
    assert!(PluginHost::describe(&Identified::of(source(b"text".to_vec())), &Limits::default()).is_err(), "there is nothing to describe");
}

#[test]
fn a_component_of_another_world_is_told_what_it_exports() {
    let text = error(component(&[], &["wasi:http/incoming-handler@0.2.0"]));
    assert!(text.starts_with("`x.wasm` exports `wasi:http/incoming-handler@0.2.0`, a plugin exports one of"), "{text}");
    let text = error(component(&[], &[ROUTING]));
    assert!(text.contains("does not export `shardhost:plugin/plugin`"), "{text}");
}

#[test]
fn imports_that_no_guest_gets_are_named() {
    let text = error(component(&["acme:gpu/driver@1.0.0"], &[PLUGIN, ROUTING]));
    assert!(text.starts_with("`x.wasm` imports `acme:gpu/driver@1.0.0`, a guest gets"), "{text}");
    let text = error(component(&["shardhost:plugin/engine@0.1.0"], &[PLUGIN, ROUTING]));
    assert!(text.contains("imports `shardhost:plugin/engine@0.1.0`"), "{text}");
    let allowed = component(&["wasi:cli/environment@0.2.6", "shardhost:plugin/log@0.1.0"], &[PLUGIN, ROUTING]);
    assert_eq!(PluginHost::inspect(&source(allowed)).expect("both are allowed").imports.len(), 2);
}

#[test]
fn a_component_with_the_right_names_and_wrong_functions_does_not_start() {
    let host = PluginHost::start(PluginConfig::default(), Engines::default().into(), EventSink::none()).unwrap();
    let error = host.prepare(&source(component(&[], &[PLUGIN, ROUTING])), None, None).expect_err("it has no functions").to_string();
    assert!(error.starts_with("`x` does not start: "), "{error}");
}

#[test]
fn a_plugin_says_what_it_is_and_fits_only_slots_of_its_kind() {
    let mut source = guest("misbehaving-routing");
    source.manifest = Some("name = \"mine\"\nversion = \"1.2.3\"\nslot = \"routing/canary\"\n".to_owned());
    let package = PluginHost::inspect(&source).unwrap();
    assert_eq!((&*package.name, package.kinds.as_slice(), package.manifest.version.as_deref()), ("mine", &[PluginKind::Routing][..], Some("1.2.3")));
    assert_eq!(package.slot(None).unwrap(), SlotName::Routing(Some("canary".to_owned())));
    let text = package.slot(Some(SlotName::Allocation)).expect_err("another kind").to_string();
    assert_eq!(text, "`mine` exports `routing`, slot `allocation` takes `allocation`");
    let text = PluginHost::inspect(&guest("misbehaving-adapter")).unwrap().slot(None).expect_err("of which kind?").to_string();
    assert_eq!(text, "`misbehaving-adapter` exports `adapter`, name the slot that is meant");
}

#[test]
fn the_plugins_in_the_binary_are_found_by_name() {
    for name in host_plugin::BUILTIN_PLUGINS {
        assert_eq!(&*PluginHost::inspect(&PluginSource::builtin(name).unwrap()).unwrap().name, name);
    }
    let text = PluginSource::builtin("best-allocation").expect_err("no such plugin").to_string();
    assert!(text.starts_with("no built-in plugin is called `best-allocation`, there are `balanced-allocation`"), "{text}");
}
