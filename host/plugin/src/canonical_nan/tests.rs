//! Random functions that are rewritten leave the same bits behind as the compiler's own way does, which makes each NaN canonical
//! at once; and what is made canonical is no more than what is seen.

use proptest::prelude::*;
use wasmparser::{Operator, Payload};
use wasmtime::{Config, Engine, Instance, Module, Store};

use super::*;
use crate::builtin;

/// Of both types: NaNs of several kinds, infinite numbers, and others.
const SPECIAL: [[&str; 2]; 9] = [
    ["nan", "nan"],
    ["-nan", "-nan"],
    ["nan:0x200001", "nan:0x4000000000001"],
    ["-nan:0x40beef", "-nan:0x8deadbeef0000"],
    ["inf", "inf"],
    ["-inf", "-inf"],
    ["-0.0", "-0.0"],
    ["1.5", "1.5"],
    ["-100.0", "-100.0"],
];
/// Parameters and local variables of each type: `$f64_0` and so on.
const LOCALS: usize = 5;
const PARAMETERS: usize = 2;
const TYPES: [&str; 2] = ["f32", "f64"];
const LANES: [&str; 2] = ["f32x4", "f64x2"];

/// An expression of either type, as text.
type Value = [String; 2];

/// The same of both types, where `T` stands for the type and `V` for its vector.
fn each(text: impl Fn(usize) -> String) -> Value {
    [0, 1].map(|width| text(width).replace('T', TYPES[width]).replace('V', LANES[width]))
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => prop::sample::select(SPECIAL.to_vec()).prop_map(|special| each(|width| format!("(T.const {})", special[width]))),
        1 => (0..SPECIAL.len()).prop_map(|place| each(|width| format!("(T.load offset={} (i32.const 0))", width * 512 + place * 8))),
        3 => (0..LOCALS).prop_map(|local| each(|_| format!("(local.get $T_{local})"))),
        1 => Just(each(|_| "(global.get $T)".to_owned())),
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let one = inner.clone();
        let two = (one.clone(), one.clone());
        let four = (two.clone(), two.clone());
        let unary = || prop::sample::select(vec!["T.neg", "T.abs", "T.sqrt", "T.ceil", "T.floor", "T.trunc", "T.nearest", "call $called_T"]);
        let binary = || prop::sample::select(vec!["add", "sub", "mul", "div", "min", "max", "copysign"]);
        prop_oneof![
            1 => (0..LOCALS, one.clone()).prop_map(|(local, a)| each(|of| format!("(local.tee $T_{local} {})", a[of]))),
            4 => (unary(), one.clone()).prop_map(|(operator, a)| each(|of| format!("({operator} {})", a[of]))),
            8 => (binary(), two.clone()).prop_map(|(operator, (a, b))| each(|of| format!("(T.{operator} {} {})", a[of], b[of]))),
            1 => one.clone().prop_map(|a| each(|of| format!("(T.convert_i32_s (i32.trunc_sat_T_s {}))", a[of]))),
            1 => one.clone().prop_map(|a| [format!("(f32.demote_f64 {})", a[1]), format!("(f64.promote_f32 {})", a[0])]),
            1 => one.prop_map(|a| [format!("(f32.reinterpret_i32 (i32.reinterpret_f32 {}))", a[0]), format!("(f64.reinterpret_i64 (i64.reinterpret_f64 {}))", a[1])]),
            2 => four.clone().prop_map(|((a, b), (c, d))| each(|of| format!("(select {} {} (T.lt {} {}))", a[of], b[of], c[of], d[of]))),
            1 => four.clone().prop_map(|((a, b), (c, d))| each(|of| format!("(if (result T) (T.ge {} {}) (then {}) (else {}))", a[of], b[of], c[of], d[of]))),
            1 => four.prop_map(|((a, b), (c, d))| each(|of| format!("(block (result T) (drop (br_if 0 {} (T.ne {} {}))) {})", a[of], b[of], c[of], d[of]))),
            1 => two.prop_map(|(a, b)| each(|of| format!("(V.extract_lane 1 (V.mul (V.splat {}) (V.splat {})))", a[of], b[of]))),
        ]
    })
}

/// Statements, as text.
fn statements() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => (0..2_usize, 0..LOCALS, value()).prop_map(|(of, local, a)| format!("(local.set ${}_{local} {})\n", TYPES[of], a[of])),
        2 => (0..2_usize, value()).prop_map(|(of, a)| store(TYPES[of], &a[of])),
        1 => (0..2_usize, value()).prop_map(|(of, a)| format!("(global.set ${} {})\n", TYPES[of], a[of])),
        1 => (0..2_usize, value()).prop_map(|(of, a)| format!("(drop {})\n", a[of])),
    ];
    let nested = leaf.prop_recursive(2, 12, 4, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4).prop_map(|lines| lines.concat());
        prop_oneof![
            (0..2_usize, value(), value(), some()).prop_map(|(of, a, b, then)| format!("(if ({}.eq {} {}) (then {then}))\n", TYPES[of], a[of], b[of])),
            some().prop_map(|body| format!("(loop {body} (br_if 0 (call $again)))\n")),
            // Behind the branch the stack has no bottom.
            (some(), some()).prop_map(|(before, never)| format!("(block {before} (br 0) {never} f64.add local.set $f64_3 f32.neg drop)\n")),
        ]
    });
    prop::collection::vec(nested, 1..8).prop_map(|lines| lines.concat())
}

/// Stores a value behind all that were stored before.
fn store(name: &str, value: &str) -> String {
    format!("({name}.store (global.get $free) {value}) (global.set $free (i32.add (global.get $free) (i32.const 8)))\n")
}

/// A module whose `run` does that, and then stores all local variables.
fn module(statements: &str) -> Vec<u8> {
    let locals = |range: std::ops::Range<usize>, what: &str| -> String {
        range.flat_map(|local| TYPES.map(|name| format!("({what} ${name}_{local} {name})"))).collect()
    };
    let ends: String = (0..LOCALS).flat_map(|local| TYPES.map(|name| store(name, &format!("(local.get ${name}_{local})")))).collect();
    // Eight bytes each.
    let special = |of: usize| -> String { SPECIAL.iter().map(|special| ["(f32 S 0)", "(f64 S)"][of].replace('S', special[of])).collect() };
    let called = each(|_| {
        "(func $called_T (param $x T) (result T) (select (local.get $x) (T.div (local.get $x) (T.const 0)) (T.lt (local.get $x) (T.const 1))))".to_owned()
    });
    let text = format!(
        "(module (memory (export \"memory\") 1) (global $f32 (mut f32) (f32.const 0)) (global $f64 (mut f64) (f64.const 0))
        (global $free (mut i32) (i32.const 1024)) (global $rounds (mut i32) (i32.const 20))
        (data (i32.const 0) {}) (data (i32.const 512) {}) {}
        (func $again (result i32) (global.set $rounds (i32.sub (global.get $rounds) (i32.const 1))) (i32.gt_s (global.get $rounds) (i32.const 0)))
        (func (export \"run\") {} {} {statements}{ends}))",
        special(0),
        special(1),
        called.concat(),
        locals(0..PARAMETERS, "param"),
        locals(PARAMETERS..LOCALS, "local"),
    );
    parse(&text)
}

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is in memory after `run`.
fn ran(engine: &Engine, module: &[u8]) -> Vec<u8> {
    let module = Module::new(engine, module).expect("it compiles");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("it needs nothing");
    let run = instance.get_func(&mut store, "run").expect("it is exported");
    let given: Vec<wasmtime::Val> =
        (0..PARAMETERS as u32).flat_map(|n| [wasmtime::Val::F32(0xffc0_1234 + n), wasmtime::Val::F64(0x7ff4_0000_0000_5678)]).collect();
    run.call(&mut store, &given, &mut []).expect("it does not trap");
    instance.get_memory(&mut store, "memory").expect("it is exported").data(&store).to_vec()
}

fn engine(is_canonical: bool) -> Engine {
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(is_canonical);
    Engine::new(&config).expect("it supports this machine")
}

/// Operators that choose between a value and the canonical NaN, or between any two.
fn choices(module: &[u8]) -> usize {
    Validator::new().validate_all(module).expect("it is valid");
    let bodies = Parser::new(0).parse_all(module).filter_map(|payload| match payload {
        Ok(Payload::CodeSectionEntry(body)) => Some(body),
        _ => None,
    });
    let operators = bodies.flat_map(|body| body.get_operators_reader().expect("it has some"));
    operators.filter(|operator| matches!(operator, Ok(Operator::Select | Operator::V128Bitselect))).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_rewritten_function_leaves_the_bits_of_one_whose_nans_are_canonical_at_once(statements in statements()) {
        let module = module(&statements);
        let rewritten = rewrite_module(&module).expect("it is valid").expect("it computes");
        prop_assert_eq!(ran(&engine(false), &rewritten), ran(&engine(true), &module));
    }
}

#[test]
fn what_is_never_seen_is_left_as_it_is() {
    let cases = [
        ("(f64.lt (f64.add (local.get $a) (local.get $b)) (f64.sqrt (local.get $a))) drop", 0),
        ("(local.set $x (f64.mul (local.get $a) (local.get $b))) (drop (i32.trunc_sat_f64_s (f64.abs (local.get $x))))", 0),
        ("(loop (local.set $x (f64.add (local.get $x) (local.get $a))) (br_if 0 (f64.gt (local.get $x) (f64.const 9))))", 0),
        ("(f64.store (i32.const 8) (f64.load (i32.const 0)))", 0),
        ("(f64.store (i32.const 8) (f64.add (local.get $a) (f64.mul (local.get $a) (local.get $b))))", 1),
        ("(local.set $x (f64.add (local.get $a) (local.get $b))) (f64.store (i32.const 0) (local.get $x)) (global.set $g (local.get $x))", 2),
        ("(f64.store (i32.const 0) (select (f64.add (local.get $a) (local.get $b)) (f64.sqrt (local.get $b)) (i32.const 1)))", 1),
        ("(f64.store (i32.const 0) (select (f64.add (local.get $a) (local.get $b)) (local.get $b) (i32.const 1)))", 1),
        ("(f64.store (i32.const 0) (f64.neg (f64.add (local.get $a) (local.get $b))))", 1),
        ("(f64.store (i32.const 0) (f64.abs (f64.add (local.get $a) (local.get $b))))", 1),
        ("(local.set $a (f64.add (local.get $a) (local.get $b)))", 1),
        ("(drop (i64.reinterpret_f64 (f64.ceil (local.get $a))))", 1),
        ("(drop (call $same (f64.ceil (local.get $a))))", 1),
        ("(drop (f64x2.add (v128.const i64x2 0 0) (v128.const i64x2 0 0)))", 1),
        ("(drop (f64.copysign (f64.ceil (local.get $a)) (block (result f64) (br 0 (f64.const 1)) f64.add f64.add)))", 1),
        ("(unreachable) (f64.store (i32.const 0) (f64.ceil (local.get $a)))", 0),
    ];
    for (body, expected) in cases {
        let module = parse(&format!(
            "(module (memory 1) (global $g (mut f64) (f64.const 0)) (func $same (param f64) (result f64) (local.get 0))
            (func (param $a f64) (param $b f64) (local $x f64) {body}))"
        ));
        let rewritten = rewrite_module(&module).expect("it is valid");
        let made = rewritten.as_ref().map_or(0, |rewritten| choices(rewritten) - choices(&module));
        assert_eq!((made, rewritten.is_some()), (expected, expected > 0), "{body}");
    }
}

#[test]
fn every_plugin_in_the_binary_stays_valid() {
    for builtin in builtin::BUILTINS {
        let rewritten = rewrite(builtin.bytes).expect("it is valid");
        Validator::new().validate_all(&rewritten).unwrap_or_else(|error| panic!("{}: {error}", builtin.name));
    }
}

#[test]
fn places_in_code_that_has_moved_are_named_no_more() {
    let places = "(@custom \".debug_info\" \"a\") (@custom \"metadata.code.branch_hint\" \"b\") (@custom \"kept\" \"c\")";
    let module = parse(&format!("(module {places} (func (param f64) (result f64) (f64.ceil (local.get 0))))"));
    let rewritten = rewrite_module(&module).expect("it is valid").expect("what it returns is seen");
    let has = |name: &str| rewritten.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    assert_eq!([".debug_info", "metadata.code.branch_hint", "kept"].map(has), [false, false, true]);
}

#[test]
fn what_is_no_component_is_refused_in_words() {
    let header = [b"\0asm".as_slice(), &[0x0d, 0, 1, 0]].concat();
    let mut nested = header.clone();
    for _ in 0..DEPTH_MAX {
        let mut outer = [header.as_slice(), &[COMPONENT]].concat();
        nested.as_slice().encode(&mut outer);
        nested = outer;
    }
    assert_eq!(rewrite(&nested), Err(format!("its components are nested deeper than {DEPTH_MAX}")));
    let cut = [header.as_slice(), &[CORE_MODULE, 200, 1]].concat();
    assert_eq!(rewrite(&cut), Err("unexpected end-of-file (at offset 0xb)".to_owned()));
    assert!(rewrite(&[]).is_err());
}
