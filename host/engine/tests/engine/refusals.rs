//! Files that are not taken, each with an error that says why.

use bytes::Bytes;
use host_engine::{EncoderSize, ErrorKind, Kind, MlpSize, OnnxFile, generate, inspect, split};

use crate::chain::{id, inspected};

fn mlp() -> OnnxFile {
    generate(&Kind::Mlp(MlpSize { inputs: 4, hidden: 40, layers: 2, outputs: 3 }), 1).expect("a small model")
}

/// Protobuf by hand: a field of bytes, and one of a number.
fn field(number: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = data.len();
    while length >= 128 {
        out.push((length % 128) as u8 | 128);
        length /= 128;
    }
    out.push(length as u8);
    out.extend(data);
    out
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let names = |number: u8, names: &[&str]| names.iter().flat_map(|name| field(number, name.as_bytes())).collect::<Vec<_>>();
    field(1, &[names(1, inputs), names(2, outputs), field(4, operator.as_bytes())].concat())
}

/// A declared FP32 value of this shape, as graph field 11 (input) or 12 (output).
fn value(place: u8, name: &str, shape: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|&length| field(1, &number(1, length))).collect();
    let tensor = [number(1, 1), field(2, &dims)].concat();
    field(place, &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat())
}

/// An initializer `s` that holds the one number 2^40.
fn terabyte_shape() -> Vec<u8> {
    field(5, &[number(1, 1), number(2, 7), field(8, b"s"), field(9, &(1i64 << 40).to_le_bytes())].concat())
}

fn model(graph: &[u8], ir: u8, operators: u8) -> Bytes {
    [number(1, ir), field(8, &number(2, operators)), field(7, graph)].concat().into()
}

fn graph(nodes: &[Vec<u8>]) -> Vec<u8> {
    [nodes.concat(), value(11, "x", &[1, 4]), value(12, "y", &[1, 4])].concat()
}

#[test]
fn broken_files_are_refused_and_told_why() {
    let relu = || node("Relu", &["x"], &["y"]);
    assert!(OnnxFile::parse(model(&graph(&[relu()]), 8, 17), None).is_ok());
    let cases = [
        ("text", Bytes::from_static(b"this is a text file, not a model"), "not a whole ONNX file"),
        ("nothing", Bytes::new(), "not a whole ONNX file: it holds no graph"),
        ("operator set 99", model(&graph(&[relu()]), 8, 99), "operator set 99 is not known, it must be 7 to 28"),
        ("IR version 99", model(&graph(&[relu()]), 99, 17), "IR version 99 is not known, it must be 3 to 14"),
        ("no nodes", model(&graph(&[]), 8, 17), "the graph has no nodes"),
        (
            "a cycle",
            model(&graph(&[node("Add", &["x", "b"], &["a"]), node("Relu", &["a"], &["b"]), node("Relu", &["b"], &["y"])]), 8, 17),
            "the graph has a cycle through or before node `a (Add)`",
        ),
        ("a name twice", model(&graph(&[relu(), node("Neg", &["x"], &["y"])]), 8, 17), "value `y` is made twice"),
        ("a missing input", model(&graph(&[node("Add", &["x", "z"], &["y"])]), 8, 17), "node `y (Add)` reads `z`, which nothing makes"),
        ("a missing output", model(&graph(&[node("Relu", &["x"], &["w"])]), 8, 17), "output `y` is made by nothing"),
        (
            "an axis of zero",
            model(&[relu(), value(11, "x", &[1, 0]), value(12, "y", &[1, 4])].concat(), 8, 17),
            "`x` has a dimension of 0, it must be 1 to 4294967296",
        ),
        ("absurd lengths", model(&[relu(), value(11, "x", &[127; 8]), value(12, "y", &[1, 4])].concat(), 8, 17), "elements, at most 1099511627776 are allowed"),
        (
            "a tensor of a terabyte made of a constant",
            model(&[terabyte_shape(), graph(&[node("ConstantOfShape", &["s"], &["c"]), node("Add", &["x", "c"], &["y"])])].concat(), 8, 17),
            "node `c (ConstantOfShape)` makes 1099511627776 elements, at most 268435456 are allowed",
        ),
        ("an operator without name", model(&graph(&[node("", &["x"], &["y"])]), 8, 17), "names no operator"),
    ];
    for (what, bytes, expected) in cases {
        let error = OnnxFile::parse(bytes, None).err().unwrap_or_else(|| panic!("{what} was taken"));
        assert!(error.to_string().contains(expected), "{what}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let whole = mlp().to_bytes().expect("a small file");
    for length in (0..whole.len()).step_by(37) {
        assert!(OnnxFile::parse(whole.slice(..length), None).is_err(), "the first {length} of {} bytes were taken", whole.len());
    }
}

#[test]
fn no_bytes_at_all_make_it_panic() {
    let whole = mlp().to_bytes().expect("a small file");
    proptest::proptest!(proptest::prelude::ProptestConfig::with_cases(200), |(place in 0..whole.len(), byte in 0u8..=255)| {
        let mut data = whole.to_vec();
        data[place] = byte;
        if let Ok(file) = OnnxFile::parse(data.into(), None)
            && let Ok(inspection) = inspect(&file, id("m"))
        {
            drop(split(&inspection, &inspection.legal_cuts()));
        }
    });
}

#[test]
fn operators_that_the_engine_does_not_have_are_an_error_and_no_panic() {
    let file = OnnxFile::parse(model(&graph(&[node("NoSuchOperator", &["x"], &["y"])]), 8, 17), None).expect("a sound graph");
    let error = inspect(&file, id("odd")).err().map(|error| error.to_string());
    assert!(error.as_deref().is_some_and(|text| text.contains("odd@1") && text.contains("`y`")), "{error:?}");
}

#[test]
fn cuts_that_are_not_legal_are_named_with_the_legal_ones() {
    let inspection = inspected(&mlp(), "mlp");
    for (cuts, named) in [(vec![0], 0), (vec![3], 3), (vec![1, 1], 1), (vec![2, 9], 9)] {
        let error = split(&inspection, &cuts).expect_err("not legal");
        assert_eq!(error.to_string(), format!("mlp@1: cut {named} is not legal, the legal ones are 1, 2"));
    }
    let one = OnnxFile::parse(model(&graph(&[node("Relu", &["x"], &["y"])]), 8, 17), None).expect("a sound graph");
    let error = split(&inspected(&one, "one"), &[1]).expect_err("one block");
    assert_eq!(error.to_string(), "one@1: cut 1 is not legal, the model has one block and cannot be cut");
}

#[test]
fn a_model_inside_an_if_is_refused() {
    let names = |place: u8, name: &str| field(place, name.as_bytes());
    let branch = |name: &str| {
        let inner = [node("Relu", &["x"], &["a"]), node("Neg", &["a"], &["b"]), value(12, "b", &[1, 4])].concat();
        // AttributeProto: name 1, g 6, type 20 (GRAPH = 5).
        field(5, &[names(1, name), field(6, &inner), vec![0xa0, 0x01, 5]].concat())
    };
    let inner = [names(1, "c"), names(2, "y"), names(4, "If"), branch("then_branch"), branch("else_branch")].concat();
    let condition = field(11, &[names(1, "c"), field(2, &field(1, &[number(1, 9), field(2, &[])].concat()))].concat());
    let data = model(&[field(1, &inner), value(11, "x", &[1, 4]), condition, value(12, "y", &[1, 4])].concat(), 8, 17);
    let file = OnnxFile::parse(data, None).expect("a sound graph");
    let error = inspect(&file, id("merged")).expect_err("nothing to cut").to_string();
    assert!(error.contains("the model lies inside the `If` node"), "{error}");
}

#[test]
fn a_range_beyond_the_last_block_is_refused() {
    let inspection = inspected(
        &generate(&Kind::Encoder(EncoderSize { vocabulary: 50, hidden: 16, layers: 1, heads: 2, feed_forward: 32, length_max: 8 }), 1).expect("small"),
        "e",
    );
    let blocks = inspection.profile().whole().end();
    let range = host_core::shard::BlockRange::new(0, blocks + 1).expect("not empty");
    let error = inspection.shard(range).expect_err("one block too many").to_string();
    assert_eq!(error, format!("e@1: range [0..{}) does not exist, there are {blocks} blocks", blocks + 1));
}
