//! Each generated kind: shards in a row equal the whole, and blocks are where a person would put them.

use host_engine::{CnnSize, DecoderSize, EncoderSize, Kind, MlpSize, OnnxFile, generate};

use crate::chain::{Named, Near, equal_whole, inputs, inspected};

fn made(kind: &Kind) -> OnnxFile {
    generate(kind, 7).unwrap_or_else(|error| panic!("{kind:?}: {error}"))
}

fn decoder(kv_heads: usize, tied: bool) -> Kind {
    Kind::Decoder(DecoderSize { vocabulary: 60, hidden: 32, layers: 2, heads: 4, kv_heads, feed_forward: 48, tied })
}

const ENCODER: EncoderSize = EncoderSize { vocabulary: 50, hidden: 32, layers: 2, heads: 4, feed_forward: 64, length_max: 32 };

#[test]
fn an_mlp_gives_the_same_answers_cut_anywhere() {
    let file = made(&Kind::Mlp(MlpSize { inputs: 20, hidden: 40, layers: 4, outputs: 5 }));
    let inspection = inspected(&file, "mlp").with_golden().expect("golden answers");
    assert_eq!(inspection.legal_cuts(), [1, 2, 3, 4]);
    equal_whole(&inspection, &[inputs(inspection.inputs(), &[("batch", 1)], 0, 1)], Near::Exact);
}

#[test]
fn a_cnn_with_residual_and_depthwise_blocks_gives_the_same_answers_cut_anywhere() {
    let file = made(&Kind::Cnn(CnnSize { pixels: 16, channels: 8, blocks: 4, classes: 5 }));
    let inspection = inspected(&file, "cnn").with_golden().expect("golden answers");
    assert_eq!(inspection.legal_cuts().len(), 5, "the stem, four blocks and the head: {:?}", inspection.borders());
    // A convolution and the addition after it are one step unless a cut lies between, which rounds differently.
    equal_whole(&inspection, &[inputs(inspection.inputs(), &[("batch", 1)], 0, 1)], Near::Within(1e-5));
}

#[test]
fn an_encoder_gives_the_same_answers_cut_anywhere_at_several_lengths() {
    let inspection = inspected(&made(&Kind::Encoder(ENCODER)), "encoder").with_golden().expect("golden answers");
    assert!(inspection.legal_cuts().len() >= 4, "two cuts a layer: {:?}", inspection.borders());
    let lengths = [1, 7, 32].map(|length| inputs(inspection.inputs(), &[("batch", 1), ("sequence", length)], 50, length as u64));
    equal_whole(&inspection, &lengths, Near::Exact);
}

#[test]
fn a_decoder_gives_the_same_answers_cut_anywhere_from_the_first_token_on() {
    for (kv_heads, tied) in [(4, false), (2, true), (1, false)] {
        let inspection = inspected(&made(&decoder(kv_heads, tied)), "decoder").with_golden().expect("golden answers");
        assert!(inspection.legal_cuts().len() >= 4, "two cuts a layer: {:?}", inspection.borders());
        let at = |past: usize, tokens: usize| -> Named {
            inputs(inspection.inputs(), &[("batch_size", 1), ("past_sequence_length", past), ("sequence_length", tokens)], 60, past as u64)
        };
        equal_whole(&inspection, &[at(0, 6), at(6, 1), at(9, 3)], Near::Exact);
    }
}

#[test]
fn quantised_kinds_give_the_same_answers_cut_anywhere() {
    let size = DecoderSize { vocabulary: 60, hidden: 64, layers: 2, heads: 4, kv_heads: 2, feed_forward: 96, tied: true };
    let encoder = inspected(&made(&Kind::EncoderInt8(ENCODER)), "encoder-int8").with_golden().expect("golden answers");
    let decoder = inspected(&made(&Kind::DecoderInt4(size)), "decoder-int4").with_golden().expect("golden answers");
    assert!(encoder.legal_cuts().len() >= 4 && decoder.legal_cuts().len() >= 4, "two cuts a layer");
    equal_whole(&encoder, &[inputs(encoder.inputs(), &[("batch", 1), ("sequence", 7)], 50, 1)], Near::Exact);
    let at = |past: usize, tokens: usize| {
        inputs(decoder.inputs(), &[("batch_size", 1), ("past_sequence_length", past), ("sequence_length", tokens)], 60, past as u64)
    };
    equal_whole(&decoder, &[at(0, 6), at(6, 1)], Near::Exact);
}

#[test]
fn quantised_kinds_are_as_small_as_their_weights() {
    let weights = |name: &str| {
        let inspection = inspected(&made(&Kind::named(name).expect("a name of the list")), name);
        inspection.profile().weights(inspection.profile().whole()).0 as f64
    };
    // The embedding and the norms stay floats.
    assert!(weights("encoder-int8") < 0.45 * weights("encoder"), "{} of {}", weights("encoder-int8"), weights("encoder"));
    assert!(weights("decoder-int4") < 0.45 * weights("decoder"), "{} of {}", weights("decoder-int4"), weights("decoder"));
}

#[test]
fn a_step_with_the_cache_of_the_steps_before_gives_what_all_tokens_at_once_give() {
    use crate::chain::{compare, run};
    use host_engine::{Engines, Tensor, split};
    let inspection = inspected(&made(&decoder(2, true)), "decoder");
    let shards = split(&inspection, &inspection.legal_cuts()).expect("legal cuts");
    let engines = Engines::default();
    let at = |past: usize, tokens: usize| inputs(inspection.inputs(), &[("batch_size", 1), ("past_sequence_length", past), ("sequence_length", tokens)], 60, 5);
    let all = at(0, 5);
    let expected = run(&engines, &shards, &all);
    let ids = all["input_ids"].to_i64().expect("ids are integers");
    let mut cache: Named = at(0, 1);
    let mut last = Named::new();
    for (past, &token) in ids.iter().enumerate() {
        let mut step = at(past, 1);
        step.insert("input_ids".into(), Tensor::from_i64(&[1, 1], &[token]).expect("one id"));
        for (name, value) in &cache {
            if name.starts_with("past") {
                step.insert(name.clone(), value.clone());
            }
        }
        last = run(&engines, &shards, &step);
        cache = last.iter().filter_map(|(name, value)| Some((format!("past_key_values.{}", name.strip_prefix("present.")?), value.clone()))).collect();
    }
    let width = 60;
    let all_logits = expected["logits"].to_f32().expect("floats");
    let final_logits = Tensor::from_f32(&[1, 1, width], &all_logits[4 * width..]).expect("the last row");
    // Sums over five keys at once and over one more each time are rounded differently.
    compare("logits", &last["logits"], &final_logits, Near::Within(1e-5), "step by step");
}

#[test]
fn blocks_of_a_mobilenet_and_a_resnet_are_its_blocks() {
    for (kind, least, most) in [(Kind::MobileNet { pixels: 32 }, 14, 20), (Kind::ResNet50 { pixels: 32 }, 16, 18)] {
        let inspection = inspected(&made(&kind), "cnn");
        let count = inspection.profile().blocks().len();
        assert!((least..=most).contains(&count), "{kind:?} has {count} blocks: {:?}", inspection.borders());
    }
}

#[test]
fn operations_and_weights_of_known_networks_are_as_published() {
    // MobileNetV2: 3.4 to 3.5 million parameters, 300 to 314 million multiplications; ResNet-50: 25.5 million, 4.1 billion.
    for (kind, parameters, multiplications) in [(Kind::MobileNet { pixels: 224 }, 3.5e6, 0.3e9), (Kind::ResNet50 { pixels: 224 }, 25.5e6, 4.1e9)] {
        let inspection = inspected(&made(&kind), "cnn");
        let work = inspection.profile().work(inspection.profile().whole());
        assert!((work.weights.as_f64() / 4.0 / parameters - 1.0).abs() < 0.05, "{kind:?}: {} of weights", work.weights);
        assert!((work.flops / 2.0 / multiplications - 1.0).abs() < 0.06, "{kind:?}: {} operations", work.flops);
    }
}

#[test]
fn a_tied_embedding_is_counted_once_and_held_by_both_ends() {
    let inspection = inspected(&made(&decoder(2, true)), "decoder");
    let profile = inspection.profile();
    let last = profile.whole().end() - 1;
    let tied: Vec<_> = profile.shared().iter().filter(|weight| weight.blocks == [0, last]).collect();
    assert_eq!(tied.iter().map(|weight| weight.size.0).collect::<Vec<_>>(), [60 * 32 * 4]);
    let file: u64 = inspection.shard(profile.whole()).expect("the whole model").weight_bytes.0;
    assert!(profile.weights(profile.whole()).0 <= file, "{} is more than the file's {file}", profile.weights(profile.whole()));
}

#[test]
fn the_cache_of_a_token_is_counted_where_its_layer_is() {
    let inspection = inspected(&made(&decoder(2, false)), "decoder");
    let per_layer = 2 * 2 * 8 * 4;
    let total: u64 = inspection.profile().blocks().iter().map(|block| block.kv_per_token.0).sum();
    assert_eq!(total, 2 * per_layer, "two layers, key and value, two heads of width 8, four bytes each");
}

#[test]
fn borders_carry_their_type_and_open_lengths() {
    let text = |inspection: &host_engine::Inspection| inspection.borders().iter().map(|spec| spec.shape_text()).collect::<Vec<_>>();
    assert!(text(&inspected(&made(&Kind::Encoder(ENCODER)), "encoder")).iter().all(|shape| shape == "[batch, sequence, 32]"));
    assert!(text(&inspected(&made(&decoder(2, true)), "decoder")).iter().all(|shape| shape == "[batch_size, sequence_length, 32]"));
}

#[test]
fn the_same_kind_and_seed_give_the_same_file() {
    for name in ["mlp", "cnn", "encoder", "decoder", "encoder-int8", "decoder-int4"] {
        let kind = Kind::named(name).expect("a name of the list");
        let bytes = |seed| generate(&kind, seed).expect("a usual size").to_bytes().expect("a small file");
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}

#[test]
fn sizes_that_cannot_be_built_are_refused_with_both_numbers() {
    let odd = Kind::Encoder(EncoderSize { hidden: 30, ..ENCODER });
    assert_eq!(generate(&odd, 1).expect_err("30 is no multiple of 4").to_string(), "size of `hidden`: expected a multiple of heads, 4, found 30");
    let odd = Kind::DecoderInt4(DecoderSize { vocabulary: 60, hidden: 32, layers: 1, heads: 4, kv_heads: 2, feed_forward: 48, tied: true });
    assert_eq!(generate(&odd, 1).expect_err("48 is no multiple of 32").to_string(), "size of `feed_forward`: expected a multiple of the block, 32, found 48");
    let huge = Kind::Mlp(MlpSize { inputs: 1, hidden: 1 << 20, layers: 1 << 20, outputs: 1 });
    assert!(generate(&huge, 1).expect_err("2^60 parameters").to_string().starts_with("number of parameters is "));
}
