//! Sums, the rules of padding, and the choice of a bucket.

use super::*;

fn port(name: &str, element_type: ElementType, dimensions: &[&str]) -> Port {
    Port { name: name.to_owned(), element_type, dimensions: dimensions.iter().map(|&dimension| dimension.to_owned()).collect() }
}

fn float(name: &str, dimensions: &[&str]) -> Port {
    port(name, ElementType::Fp32, dimensions)
}

fn integer(name: &str, dimensions: &[&str]) -> Port {
    port(name, ElementType::Int64, dimensions)
}

fn lengths(lengths: &[(&str, u32)]) -> Lengths {
    lengths.iter().map(|&(symbol, length)| (symbol.to_owned(), length)).collect()
}

#[test]
fn dimensions_are_sums_or_else_one_symbol() {
    let known = lengths(&[("past", 7), ("tokens", 2), ("a/2", 5)]);
    for (text, value) in [
        ("3", Some(3)),
        ("past", Some(7)),
        ("past + tokens", Some(9)),
        ("2*past+1", Some(15)),
        ("rows", None),
        ("a/2", Some(5)),
        ("past - 1", None),
        ("-9 + past", None),
    ] {
        assert_eq!(Length::parse(text).value(&known), value, "{text}");
    }
}

#[test]
fn what_may_be_padded_is_what_is_masked_or_a_batch() {
    struct Case {
        inputs: Vec<Port>,
        outputs: Vec<Port>,
        symbol: &'static str,
        padding: Result<Padding, &'static str>,
    }
    let x = || float("x", &["batch", "tokens", "8"]);
    let mask = || integer("attention_mask", &["batch", "tokens"]);
    let long_mask = || integer("attention_mask", &["batch", "past + tokens"]);
    let past = || float("past_key_values.0.key", &["batch", "2", "past", "4"]);
    let ids = || integer("input_ids", &["batch", "tokens"]);
    let y = || float("y", &["batch", "tokens", "4"]);
    let present = || float("present.0.key", &["batch", "2", "past + tokens", "4"]);
    let decoder = || vec![x(), long_mask(), past()];
    let cases = [
        Case { inputs: vec![x()], outputs: vec![y()], symbol: "batch", padding: Ok(Padding::Behind) },
        Case { inputs: vec![x()], outputs: vec![float("mean", &["8"])], symbol: "batch", padding: Err("no input masks it") },
        Case { inputs: vec![x(), float("scale", &["8"])], outputs: vec![y()], symbol: "batch", padding: Err("no input masks it") },
        Case { inputs: vec![x()], outputs: vec![y()], symbol: "tokens", padding: Err("no input masks it") },
        Case { inputs: vec![x(), mask()], outputs: vec![y()], symbol: "tokens", padding: Ok(Padding::Behind) },
        Case {
            inputs: vec![x(), mask()],
            outputs: vec![float("pooled", &["batch", "8"])],
            symbol: "tokens",
            padding: Err("output `pooled` has no such axis, so it may be a sum over it"),
        },
        Case { inputs: vec![x(), float("attention_mask", &["batch", "tokens"])], outputs: vec![y()], symbol: "tokens", padding: Err("no input masks it") },
        Case { inputs: vec![x(), integer("key_padding_mask", &["batch", "tokens"])], outputs: vec![y()], symbol: "tokens", padding: Err("no input masks it") },
        Case { inputs: decoder(), outputs: vec![y(), present()], symbol: "past", padding: Ok(Padding::Before) },
        Case { inputs: decoder(), outputs: vec![y(), present()], symbol: "tokens", padding: Ok(Padding::Behind) },
        Case { inputs: vec![x(), mask(), past()], outputs: vec![y(), present()], symbol: "past", padding: Err("no input masks it") },
        Case {
            inputs: vec![ids(), long_mask(), past()],
            outputs: vec![y(), present()],
            symbol: "past",
            padding: Err("no input gives the positions of tokens, which it would shift"),
        },
        Case {
            inputs: vec![ids(), long_mask(), integer("position_ids", &["batch", "tokens"]), past()],
            outputs: vec![y(), present()],
            symbol: "past",
            padding: Ok(Padding::Before),
        },
        Case {
            inputs: vec![x(), mask()],
            outputs: vec![float("y", &["batch", "2*tokens", "4"])],
            symbol: "tokens",
            padding: Err("an axis is several times as long"),
        },
        Case {
            inputs: vec![x(), mask()],
            outputs: vec![float("y", &["batch", "(tokens-1)/2", "4"])],
            symbol: "tokens",
            padding: Err("`(tokens-1)/2` depends on it"),
        },
        Case { inputs: vec![x(), mask()], outputs: vec![float("y", &["batch", "tokens-1", "4"])], symbol: "tokens", padding: Err("`tokens-1` depends on it") },
        Case {
            inputs: decoder(),
            outputs: vec![y(), float("present.0.key", &["batch", "2", "unk__3", "4"])],
            symbol: "past",
            padding: Err("no input says how long `unk__3` is"),
        },
        Case { inputs: decoder(), outputs: vec![y(), float("found", &["batch", "unk__3"])], symbol: "batch", padding: Ok(Padding::Behind) },
    ];
    for Case { inputs, outputs, symbol, padding } in cases {
        let shapes = Shapes::new(&inputs, &outputs, &[]);
        let expected = padding.unwrap_or_else(|reason| Padding::Never(reason.to_owned()));
        assert_eq!(shapes.padding(symbol), Some(&expected), "{symbol} of {inputs:?} and {outputs:?}");
    }
    let shapes = Shapes::new(&[x(), mask()], &[float("pooled", &["batch", "8"])], &["tokens".to_owned()]);
    assert_eq!(shapes.padding("tokens"), Some(&Padding::Behind), "somebody knows that the model masks it");
}

fn decoder() -> Shapes {
    let inputs = [
        float("x", &["batch", "tokens", "8"]),
        integer("attention_mask", &["batch", "past + tokens"]),
        float("past_key_values.0.key", &["batch", "2", "past", "4"]),
    ];
    Shapes::new(&inputs, &[float("y", &["batch", "tokens", "8"])], &[])
}

fn known(shapes: &[&[u32]]) -> Vec<Vec<Option<u32>>> {
    shapes.iter().map(|shape| shape.iter().copied().map(Some).collect()).collect()
}

#[test]
fn inputs_say_how_long_symbols_are_and_must_agree() {
    let shapes = decoder();
    assert_eq!(shapes.bind(&known(&[&[1, 2, 8], &[1, 9], &[1, 2, 7, 4]])), Ok(lengths(&[("batch", 1), ("past", 7), ("tokens", 2)])));
    assert_eq!(
        shapes.bind(&known(&[&[1, 2, 8], &[1, 8], &[1, 2, 7, 4]])).map_err(|text| text.contains("which no lengths make") || text.contains("make it")),
        Err(true)
    );
    assert_eq!(
        shapes.bind(&known(&[&[1, 2, 9], &[1, 9], &[1, 2, 7, 4]])),
        Err("an axis of input `x` is 9, the shard and the other inputs make it 8".to_owned())
    );
    assert_eq!(shapes.bind(&known(&[&[1, 2], &[1, 9], &[1, 2, 7, 4]])), Err("input `x` has 2 axes, the shard declares 3".to_owned()));
    let sum_only = Shapes::new(&[integer("mask", &["past + 1"])], &[], &[]);
    assert_eq!(sum_only.bind(&known(&[&[5]])), Ok(lengths(&[("past", 4)])));
    assert!(sum_only.bind(&known(&[&[0]])).is_err(), "no length is below 0");
}

#[test]
fn the_bucket_with_the_least_padding_is_taken() {
    let shapes = decoder();
    let buckets = [(1, 128), (1, 16), (16, 16), (4, 64)].map(|(tokens, past)| lengths(&[("batch", 1), ("tokens", tokens), ("past", past)]));
    let choose = |tokens, past| shapes.choose(&lengths(&[("batch", 1), ("tokens", tokens), ("past", past)]), &buckets);
    assert_eq!([choose(1, 0), choose(1, 16), choose(1, 17), choose(1, 65), choose(2, 20), choose(5, 3)], [Ok(1), Ok(1), Ok(3), Ok(0), Ok(3), Ok(2)]);
    assert_eq!(choose(1, 200), Err("dimension `past` of input `attention_mask` is 200, the largest bucket has 128".to_owned()));
    assert_eq!(
        choose(16, 100),
        Err("no bucket takes batch = 1, past = 100, tokens = 16, there are batch = 1, past = 128, tokens = 1; batch = 1, past = 16, tokens = 1; \
             batch = 1, past = 16, tokens = 16; batch = 1, past = 64, tokens = 4"
            .to_owned())
    );
}

#[test]
fn what_may_not_be_padded_must_be_as_long_as_a_bucket() {
    let shapes = Shapes::new(&[float("x", &["batch", "tokens", "8"])], &[float("y", &["batch", "8"])], &[]);
    let buckets = [4, 8].map(|tokens| lengths(&[("batch", 1), ("tokens", tokens)]));
    assert_eq!(shapes.choose(&lengths(&[("batch", 1), ("tokens", 8)]), &buckets), Ok(1));
    assert_eq!(
        shapes.choose(&lengths(&[("batch", 1), ("tokens", 5)]), &buckets),
        Err("dimension `tokens` of input `x` is 5, the buckets have 4, 8, and it is not padded: no input masks it".to_owned())
    );
}
