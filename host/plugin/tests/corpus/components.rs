//! Components that no sound toolchain makes: the project's own contract with something changed in it, around a routing
//! policy written by hand that always answers with the first two segments.

use std::{fs, path::Path};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What is odd about the core module inside.
#[derive(Clone, Default)]
pub struct Core {
    /// Text of imports, before everything else.
    pub imports: String,
    /// Text of definitions: tables, functions, a start function.
    pub definitions: String,
    /// Text of instructions at the start of `route`, once it is no longer rehearsed.
    pub route: String,
    /// Pages of its memory, if not one.
    pub pages: Option<u32>,
}

/// The contract as it stands in `wit/`, in one text.
pub fn contract() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let names = ["plugin", "allocation", "engine", "adapter", "queueing", "routing"];
    names.map(|name| fs::read_to_string(folder.join(format!("{name}.wit"))).expect("the contract is there")).join("\n")
}

/// The contract with one piece of its text replaced.
pub fn changed(from: &str, to: &str) -> String {
    let contract = contract();
    assert!(contract.contains(from), "the contract no longer says {from}");
    contract.replacen(from, to, 1)
}

/// A routing policy of a contract.
pub fn routing(contract: &str, core: &Core) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("contract.wit", contract).expect("the contract is sound");
    let world = resolve.select_world(&[package], Some("routing-policy")).expect("it has the world");
    let version = resolve.packages[package].name.version.as_ref().expect("it has a version").to_string();
    let mut module = wat::parse_str(text(&version, core)).expect("the text is sound");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("a module takes custom sections");
    ComponentEncoder::default().module(&module).expect("it is of the world").encode().expect("it exports what the world does")
}

/// The component model's flat form of the world's functions. Lists that come in are put above the first 4 KiB, and forgotten
/// when a call is over; the answers lie below.
fn text(version: &str, core: &Core) -> String {
    let Core { imports, definitions, route, pages } = core;
    let pages = pages.unwrap_or(1);
    let plugin = format!("shardhost:plugin/plugin@{version}");
    let routing = format!("shardhost:plugin/routing@{version}");
    format!(
        r#"(module
            {imports}
            (memory (export "memory") {pages})
            (global $free (mut i32) (i32.const 4096))
            (global $topology (mut i32) (i32.const 0))
            ;; At 8: the result `ok`, and from its eighth byte a list of two at 32.
            (data (i32.const 8) "\00\00\00\00\00\00\00\00\20\00\00\00\02\00\00\00")
            (data (i32.const 32) "\00\00\00\00\01\00\00\00")
            (func (export "cabi_realloc") (param $old i32) (param i32) (param $align i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and
                    (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
                    (i32.sub (i32.const 0) (local.get $align))))
                (global.set $free (i32.add (local.get $at) (local.get $size)))
                (local.get $at))
            (func (export "{plugin}#configure") (param i32 i32) (result i32)
                (global.set $free (i32.const 4096))
                ;; At 64: zeros, the result `ok`.
                (i32.const 64))
            (func (export "{routing}#set-topology") (param i32 i32 i32 i32 i32 i32 i32 f64 f64 f64 f64)
                (global.set $topology (local.get 0))
                (global.set $free (i32.const 4096)))
            (func (export "{routing}#set-pressure") (param i32 i32)
                (global.set $free (i32.const 4096)))
            (func (export "{routing}#route") (param i32 i32 f64 i32 f64 i32 i32) (result i32)
                (global.set $free (i32.const 4096))
                ;; The topology of rehearsal has the highest number there is.
                (if (i32.ne (global.get $topology) (i32.const -1)) (then {route}))
                (i32.const 8))
            {definitions}
        )"#
    )
}
