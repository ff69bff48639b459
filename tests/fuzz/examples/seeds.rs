//! Writes what fuzzing starts from: a few real messages for each target, into `corpus/`. Run it again when a message changes:
//! `cargo run --example seeds`.

use std::{collections::BTreeMap, fs, io, path::Path};

use bytes::Bytes;
use host_core::{
    error::ErrorKind,
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId, PlanNumber},
    link::{Endpoint, Reach, Speed},
    shard::{BlockRange, ShardId},
    units::Millis,
};
use host_wire::{
    compression::{Compressor, Encoded, Encoding},
    join::{Fingerprint, JoinToken, TokenId, TokenSecret},
    oip::{self, Answer, Datatype, Form, Output},
    peer::{Activation, Call, Chunk, Conclusion, Hop, LinkMeasured, LoadProgress, Outcome, Phase, ShardAt, Stopped, Stuck, Tensor, Way, pb},
};
use prost::Message as _;

#[path = "seeds/der.rs"]
mod der;

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn main() -> io::Result<()> {
    let targets =
        [("activation", activations()), ("attend", attending()), ("chunk", chunks()), ("der", der::seeds()), ("join_token", tokens()), ("oip", bodies())];
    for (target, seeds) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            fs::write(folder.join(format!("seed-{name}")), bytes)?;
        }
    }
    Ok(())
}

fn tokens() -> Seeds {
    let token = JoinToken { id: TokenId([0x11; 8]), secret: TokenSecret([0x22; 16]), fingerprint: Fingerprint::of(b"certificate") };
    let text = token.text();
    vec![
        ("cut", text.as_bytes()[..40].to_vec()),
        ("fingerprint", token.fingerprint.to_string().into()),
        ("id", token.id.to_string().into()),
        ("mistyped", text.replacen("EREI", "EREJ", 1).into()),
        ("token", format!(" {text}\n").into()),
        ("raw", [&token.id.0[..], &token.secret.0, &token.fingerprint.0].concat()),
    ]
}

fn hops() -> Vec<Hop> {
    let offer = |device| OfferId { device: DeviceId::parse(device).expect("a name"), accelerator: AcceleratorName::parse("cpu").expect("a name") };
    let range = |start, end| BlockRange::new(start, end).expect("not empty");
    vec![
        Hop { offer: offer("a"), range: range(0, 2), position: 0, reads: vec![0] },
        Hop { offer: offer("pi-2"), range: range(2, 5), position: 1, reads: vec![] },
    ]
}

fn tensor(datatype: Datatype, shape: &[usize]) -> Tensor {
    let bytes = shape.iter().product::<usize>() * datatype.size_bytes().expect("elements of one size");
    Tensor { datatype, shape: shape.to_vec(), data: vec![7; bytes].into() }
}

fn model() -> ModelId {
    ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 }
}

fn activations() -> Seeds {
    let activation = |next: usize, phase| Activation {
        central: 9,
        passage: 77,
        plan: PlanNumber(3),
        model: model(),
        call: Call { request: 5, sequence: 2, phase, past_tokens: 3, new_tokens: 1, batch: 1 },
        hops: hops(),
        next,
        left: Millis(1_000.0),
        border: (next > 0).then(|| tensor(Datatype::Fp32, &[1, 3])),
        inputs: vec![(0, tensor(Datatype::Int64, &[2])), (3, tensor(Datatype::Bool, &[]))],
        outputs: vec![(1, tensor(Datatype::Fp16, &[0, 4]))],
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        is_alone: next > 0,
    };
    let encoded = |next, phase| pb::Activation::from(activation(next, phase)).encode_to_vec();
    vec![("decode", encoded(1, Phase::Decode)), ("first", encoded(0, Phase::Whole)), ("prefill", encoded(0, Phase::Prefill))]
}

fn shard_at() -> ShardAt {
    let shard = ShardId { model: model(), range: BlockRange::new(2, 4).expect("not empty") };
    ShardAt { accelerator: AcceleratorName::parse("cpu").expect("a name"), shard }
}

fn attending() -> Seeds {
    use pb::{central_message::Says as Central, device_message::Says as Device};

    let device = |says| pb::DeviceMessage { says: Some(says) }.encode_to_vec();
    let central = |says| pb::CentralMessage { says: Some(says) }.encode_to_vec();
    let at = || pb::ShardAt::from(shard_at());
    let file = |bytes| pb::File { digest: vec![5; 32], bytes };
    let peer = || pb::PeerAddress { device: "pi-2".into(), address: "10.0.0.2:8001".into() };
    let load =
        pb::Load { shard: Some(at()), file: Some(file(1000)), golden: Some(file(10)), feeds: vec![0, 1], yields: vec![0], sources: vec![peer()], plan: 3 };
    let progress = LoadProgress { at: shard_at(), bytes: host_core::units::Bytes(3), bytes_total: host_core::units::Bytes(1 << 40) };
    let reach = Reach::Direct(Speed { latency: Millis(0.25), bytes_per_ms: 1e5 });
    let link = LinkMeasured { target: Endpoint::Central, reach, bytes_per_ms_back: Some(9e4) };
    let pi = Endpoint::Device(DeviceId::parse("pi-2").expect("a name"));
    let conclusion = |outcome| pb::Conclusion::from(Conclusion { central: 1, passage: 2, outcome }).encode_to_vec();
    let stopped = Stopped { at: 1, kind: ErrorKind::Busy, reason: "full".into(), unreachable: true };
    let stuck = Stuck { central: 1, passage: 2, at: 1, reason: "refused".into() };
    vec![
        ("done", conclusion(Outcome::Done(vec![(0, tensor(Datatype::Fp32, &[1, 2]))]))),
        ("heartbeat", device(Device::Heartbeat(heartbeat()))),
        ("hello", device(Device::Hello(hello()))),
        ("link-measured", device(Device::LinkMeasured(link.into()))),
        ("load", central(Central::Load(load))),
        ("load-failed", device(Device::LoadFailed(pb::LoadFailed { shard: Some(at()), reason: "no room".into() }))),
        ("load-progress", device(Device::LoadProgress(progress.into()))),
        ("loaded", device(Device::Loaded(at()))),
        ("measure-link", central(Central::MeasureLink(pb::MeasureLink::from(&pi)))),
        ("peers", central(Central::Peers(pb::Peers { peers: vec![peer(), peer()] }))),
        ("revoked", central(Central::Revoked(pb::Revoked { serials: vec![vec![0x4a; 16], vec![0x4b; 16]] }))),
        ("stopped", conclusion(Outcome::Stopped(stopped))),
        ("stuck", pb::Stuck::from(stuck).encode_to_vec()),
        ("way", pb::Way::from(Way { hops: hops(), plan: PlanNumber(3) }).encode_to_vec()),
    ]
}

fn hello() -> pb::Hello {
    let offer = pb::Offer {
        accelerator: "cpu".into(),
        adapter: "cpu-adapter".into(),
        memory_pool: 0,
        memory_bytes: 1e9,
        weight_factor: 1.5,
        fixed_bytes: 1e6,
        head: true,
        body: true,
        tail: true,
        cost: Some(pb::Cost { gflop_ms: 1.0, weight_mb_ms: 0.1, activation_mb_ms: 0.2, fixed_ms: 0.5 }),
        shares_cores_with: vec!["pi-2".into()],
        element_types: vec!["FP32".into()],
    };
    pb::Hello {
        release: "0.1.0".into(),
        site: "home".into(),
        labels: BTreeMap::from([("rack".into(), "top".into())]),
        offers: vec![offer],
        held: vec![pb::HeldShard { at: Some(shard_at().into()), digest: vec![5; 32] }],
        address: "10.0.0.1:8001".into(),
        process: 42,
    }
}

fn heartbeat() -> pb::Heartbeat {
    let run = pb::Run { shard: Some(shard_at().into()), run_ms: 2.5, runs: 4 };
    pb::Heartbeat { number: 3, cpu: 0.5, memory: 0.25, accelerator: 1.0, bandwidth: 0.0, latency_ms: 0.75, runs: vec![run] }
}

fn chunks() -> Seeds {
    let plain = Bytes::from("the weights of a model ".repeat(20));
    let packed = Compressor::for_blob(&plain).encode(&plain);
    assert_eq!(packed.encoding, Encoding::Deflate, "the text repeats itself");
    let chunk = |encoded: &Encoded, bytes: usize| {
        let file = host_core::units::Bytes(bytes as u64);
        pb::Chunk::from(Chunk { encoded: encoded.clone(), file }).encode_to_vec()
    };
    let cut = Encoded { encoding: Encoding::Deflate, bytes: packed.bytes.slice(..packed.bytes.len() - 2) };
    vec![
        ("cut", chunk(&cut, plain.len())),
        ("deflate", chunk(&packed, plain.len())),
        ("plain", chunk(&Encoded { encoding: Encoding::Plain, bytes: plain.slice(..40) }, 40)),
        ("too-long", chunk(&packed, plain.len() - 1)),
    ]
}

fn bodies() -> Seeds {
    let without = |json: &str| [&[0xff, 0xff], json.as_bytes()].concat();
    let with = |json: &str, binary: &[u8]| [&u16::try_from(binary.len()).expect("a small seed").to_le_bytes(), json.as_bytes(), binary].concat();
    let binary = concat!(
        r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},"#,
        r#"{"name":"t","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}}]}"#
    );
    vec![
        ("answer-binary", answer(Form::Binary)),
        ("answer-json", answer(Form::Json)),
        ("binary", with(binary, b"\0\0\x80\x3f\0\0\0\x40\x01\0\0\0a")),
        ("flat", without(r#"{"id":"7","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[0.5,-1e3]}]}"#)),
        ("nan", without(r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP16","data":[NaN,-Infinity]}]}"#)),
        ("nested", without(r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"INT8","data":[[1,-2],[3,4]]}],"parameters":{"binary_data_output":true}}"#)),
        (
            "outputs",
            without(concat!(
                r#"{"inputs":[{"name":"b","shape":[1],"datatype":"BOOL","data":[true]}],"#,
                r#""outputs":[{"name":"y","parameters":{"classification":3,"binary_data":false}}]}"#
            )),
        ),
        ("texts", without(r#"{"inputs":[{"name":"t","shape":[2],"datatype":"BYTES","data":["a\"\u00e9",""]}]}"#)),
    ]
}

fn answer(form: Form) -> Vec<u8> {
    let numbers = oip::Tensor { name: "y".into(), datatype: Datatype::Fp32, shape: vec![1, 2], data: vec![0, 0, 128, 63, 0, 0, 0, 64].into() };
    let texts = oip::Tensor::from_texts("t", vec![1], &["label".into()]);
    let outputs = [numbers, texts].map(|tensor| Output { tensor, form }).into();
    let parameters = [("plan".into(), oip::Parameter::Integer(3)), ("ratio".into(), oip::Parameter::Number(0.5))].into();
    let answer = Answer { model_name: "digits".into(), model_version: "1".into(), id: Some("7".into()), parameters, outputs };
    let encoded = answer.encode().expect("finite numbers");
    let binary = encoded.header_length.map_or(u16::MAX, |json| u16::try_from(encoded.body.len() - json).expect("a small seed"));
    [&binary.to_le_bytes()[..], &encoded.body].concat()
}
