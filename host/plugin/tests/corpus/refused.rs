//! Plugins that must never serve: 100 attempts each, while what serves goes on serving.

use std::{fs, sync::OnceLock};

use bytes::Bytes;
use host_core::{error::ErrorKind, ids::Generation};
use host_plugin::{Error, Fault, PluginSource, SlotName};

use crate::{
    components::{self, Core, changed, contract},
    crowd::Crowd,
    guests::{component, guest},
    scenes::{request, snapshot},
};

/// Each is offered so often.
const ATTEMPTS: usize = 100;
/// What takes long to compile is offered less often: how a compiler treats the same bytes does not change, and a hundred
/// times would take minutes.
const SLOW_ATTEMPTS: usize = 2;

struct Case {
    name: &'static str,
    source: PluginSource,
    config: &'static str,
    slot: SlotName,
    is: fn(&Fault) -> bool,
    says: &'static str,
    attempts: usize,
}

fn file(name: &'static str, bytes: impl Into<Bytes>, is: fn(&Fault) -> bool, says: &'static str) -> Case {
    let source = PluginSource { name: "x.wasm".to_owned(), bytes: bytes.into(), manifest: None };
    Case { name, source, config: "{}", slot: SlotName::Routing(None), is, says, attempts: ATTEMPTS }
}

fn configured(config: &'static str, is: fn(&Fault) -> bool, says: &'static str) -> Case {
    Case { config, source: guest("misbehaving-routing"), ..file(config, Bytes::new(), is, says) }
}

fn adapter(config: &'static str, says: &'static str) -> Case {
    Case { config, source: guest("misbehaving-adapter"), slot: SlotName::Adapter("cpu".to_owned()), ..file(config, Bytes::new(), rehearsal, says) }
}

fn not_a_component(fault: &Fault) -> bool {
    matches!(fault, Fault::NotAComponent { .. })
}

fn malformed(fault: &Fault) -> bool {
    matches!(fault, Fault::Malformed { .. })
}

fn malformed_or_uncompilable(fault: &Fault) -> bool {
    matches!(fault, Fault::Malformed { .. } | Fault::Compile { .. })
}

fn start(fault: &Fault) -> bool {
    matches!(fault, Fault::Start { .. })
}

fn rehearsal(fault: &Fault) -> bool {
    matches!(fault, Fault::Rehearsal { .. })
}

fn of_core(core: Core) -> Vec<u8> {
    components::routing(&contract(), &core)
}

/// So many functions that call one another and cannot be inlined away, and a start that breaks in the end.
fn functions(count: usize) -> String {
    let one = |index: usize| {
        let before = index.saturating_sub(1);
        format!(
            "(func $f{index} (param $x i32) (result i32) (local.set $x (i32.mul (local.get $x) (i32.const {index}))) \
             (if (i32.and (local.get $x) (i32.const 1)) (then (local.set $x (call $f{before} (i32.add (local.get $x) (i32.const 3)))))) \
             (i32.xor (local.get $x) (i32.const 0x5bd1e995)))"
        )
    };
    (0..count).map(one).collect::<Vec<_>>().join("\n")
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    // Beyond the header: there only the format can tell.
    let mut bytes = bytes.to_vec();
    bytes.iter_mut().skip(8).step_by(97).for_each(|byte| *byte ^= 0x55);
    bytes
}

/// Native code as this very host compiles it.
fn native_code() -> Vec<u8> {
    static STARTED: OnceLock<Vec<u8>> = OnceLock::new();
    let find = || {
        Crowd::get();
        let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/native-code");
        let entry = fs::read_dir(folder).unwrap().map(Result::unwrap).find(|entry| entry.file_name().to_string_lossy().ends_with(".code")).unwrap();
        fs::read(entry.path()).unwrap()
    };
    STARTED.get_or_init(find).clone()
}

fn files() -> Vec<Case> {
    let whole = guest("misbehaving-routing").bytes;
    let native = native_code();
    const PLUGIN: &str = "shardhost:plugin/plugin@0.1.0";
    const ROUTING: &str = "shardhost:plugin/routing@0.1.0";
    vec![
        file("empty", Vec::new(), not_a_component, "is empty"),
        file("text", contract().into_bytes(), not_a_component, "is text"),
        file("core-module", wat::parse_str("(module)").unwrap(), not_a_component, "is a core WebAssembly module"),
        file("native-code-of-the-cache", native.clone(), not_a_component, "is native code"),
        file("native-code-without-its-head", native[1..].to_vec(), not_a_component, "is of an unknown format"),
        file("truncated-header", whole.slice(..6), not_a_component, "is cut off"),
        file("truncated", whole.slice(..whole.len() / 2), malformed, "is damaged at byte"),
        file("truncated-end", whole.slice(..whole.len() - 1), malformed, "is damaged at byte"),
        file("flipped", flipped(&whole), malformed_or_uncompilable, ""),
        file("header-and-noise", [b"\0asm\x0d\0\x01\0".as_slice(), &[0xa5; 4096]].concat(), malformed, "is damaged at byte"),
        file("too-large", vec![0; (64 << 20) + 1], |fault| matches!(fault, Fault::TooLarge { .. }), "at most 67108864 are accepted"),
        file(
            "another-version",
            components::routing(&changed("shardhost:plugin@0.1.0", "shardhost:plugin@0.2.0"), &Core::default()),
            |fault| matches!(fault, Fault::ContractVersion { .. }),
            "of version 0.2.0, this host speaks version 0.1.0",
        ),
        file(
            "unknown-import",
            component(&["acme:gpu/driver@1.0.0"], &[PLUGIN, ROUTING]),
            |fault| matches!(fault, Fault::Import { .. }),
            "acme:gpu/driver@1.0.0",
        ),
        file(
            "import-of-adapters",
            component(&["shardhost:plugin/engine@0.1.0"], &[PLUGIN, ROUTING]),
            |fault| matches!(fault, Fault::Import { .. }),
            "shardhost:plugin/engine@0.1.0",
        ),
        file("no-functions", component(&[], &[PLUGIN, ROUTING]), start, "configure"),
        file("another-world", component(&[], &["wasi:http/incoming-handler@0.2.0"]), |fault| matches!(fault, Fault::NoInterface { .. }), "wasi:http"),
        Case { slot: SlotName::Allocation, ..file("wrong-slot", whole, |fault| matches!(fault, Fault::WrongSlot { .. }), "slot `allocation` takes") },
    ]
}

fn hand_made() -> Vec<Case> {
    let definitions = |definitions: &str| Core { definitions: definitions.to_owned(), ..Core::default() };
    let flush =
        Core { imports: r#"(import "shardhost:plugin/log@0.1.0" "flush" (func $flush))"#.to_owned(), route: "(call $flush)".to_owned(), ..Core::default() };
    let tables = "(table 1 funcref)".repeat(70);
    let slow = definitions(&format!("{} (func $stop unreachable) (start $stop)", functions(20_000)));
    vec![
        file(
            "extra-record-field",
            components::routing(&changed("short-bytes: f64,", "short-bytes: f64, colour: u32,"), &Core::default()),
            start,
            "expected record of 3 fields, found 4 fields",
        ),
        file(
            "missing-record-field",
            components::routing(&changed("nearest: option<u32>,", ""), &Core::default()),
            start,
            "expected record of 3 fields, found 2 fields",
        ),
        file(
            "unknown-function",
            components::routing(&changed("write: func(level: level, message: string);", "write: func(level: level, message: string); flush: func();"), &flush),
            start,
            "flush",
        ),
        file("loop-in-start", of_core(definitions("(func $spin (loop $again (br $again))) (start $spin)")), start, "configure did not answer within 20 ms"),
        file("trap-in-start", of_core(definitions("(func $stop unreachable) (start $stop)")), start, "trap: "),
        file("recursion-in-start", of_core(definitions("(func $deep (call $deep)) (start $deep)")), start, "call stack exhausted"),
        file("large-memory", of_core(Core { pages: Some(2_000), ..Core::default() }), start, "bytes of memory, 67108864 are allowed"),
        file("large-table", of_core(definitions("(table 200000 funcref)")), start, "it asked for a table of 200000 elements, 100000 are allowed"),
        file("many-tables", of_core(definitions(&tables)), start, "table"),
        Case { attempts: SLOW_ATTEMPTS, ..file("twenty-thousand-functions", of_core(slow), start, "trap: ") },
    ]
}

fn configurations() -> Vec<Case> {
    let configure = |fault: &Fault| matches!(fault, Fault::Configure { .. });
    vec![
        configured("loop-in-configure", start, "configure did not answer within 20 ms"),
        configured("trap-in-configure", start, "index out of bounds"),
        configured("memory-in-configure", start, "bytes of memory, 67108864 are allowed"),
        configured("long-reason-in-configure", start, "it handed over more than 1048576 bytes"),
        adapter("infinite-offer", "has memory-bytes inf, it must be a finite number not below 0"),
        adapter("not-a-number-offer", "has weight-factor NaN, it must be a finite number above 0"),
        adapter("negative-offer", "has fixed-bytes -1, it must be a finite number not below 0"),
        configured("refuse-configuration", configure, "this configuration is refused"),
        configured("trap-unrehearsed", rehearsal, "index out of bounds"),
        configured("wrong-index-unrehearsed", rehearsal, "segment 4000000000 does not exist"),
        configured("refuse-unrehearsed", rehearsal, "questions that have an answer, the last one with `this plugin never finds a path`"),
    ]
}

/// Offers a case as often as it says, and proves after each time that what serves still does.
fn refused(case: &Case) {
    let crowd = Crowd::get();
    let slot = crowd.host.routing(None).unwrap();
    for attempt in 0..case.attempts {
        let config = Some(format!("{:?}", case.config));
        let error = crowd.host.prepare(&case.source, Some(case.slot.clone()), config).map(drop).expect_err(case.name);
        check(case, &error);
        let decided = slot.route(&snapshot(1, 3, 0.0), &request(attempt as u32, 6)).unwrap();
        assert!(decided.answer.is_ok() && decided.fallback.is_none(), "{}: {decided:?}", case.name);
        assert_eq!((&*decided.by.plugin, decided.by.generation), ("least-loaded-routing", Generation(1)), "{}: what serves still does", case.name);
    }
}

fn check(case: &Case, error: &Error) {
    let text = error.to_string();
    assert!((case.is)(error.fault()) && text.contains(case.says), "{}: {text}", case.name);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", case.name);
    assert!(text.len() < 4096, "{}: {} bytes are no sentence", case.name, text.len());
    if let Some((_, epochs)) = text.split_once("epochs past it: ") {
        assert!(epochs.parse::<u32>().unwrap() <= 2, "{}: {text}", case.name);
    }
}

#[test]
fn files_that_are_no_plugin_are_refused_and_what_serves_goes_on() {
    Crowd::get().under_load(&files(), refused);
}

#[test]
fn components_that_do_not_start_are_refused_and_what_serves_goes_on() {
    Crowd::get().under_load(&hand_made(), refused);
}

#[test]
fn plugins_that_fail_before_they_serve_are_refused_and_what_serves_goes_on() {
    Crowd::get().under_load(&configurations(), refused);
}
