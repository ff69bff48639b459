use host_core::{
    cost::CostModel,
    device::{self, Roles},
    ids::{AcceleratorName, DeviceId, ModelId, ModelName, OfferId},
    link::Speed,
    model::{Block, ModelProfile, SharedWeight},
    plan::{OfferCapacity, Stage},
    policy::Refusal as Refused,
    problem::{self, Placement, ProblemDevice, ProblemLink, ProblemOffer, ProposedStage},
    shard::{BlockRange, ShardId},
};
use proptest::prelude::*;

use super::*;

fn offer_id(index: u32) -> OfferId {
    OfferId { device: DeviceId::parse(&format!("d{index}")).expect("a name"), accelerator: AcceleratorName::parse("cpu").expect("a name") }
}

fn model_id() -> ModelId {
    ModelId { name: ModelName::parse("m").expect("a name"), version: 3 }
}

fn problem(number: f64) -> problem::Problem {
    let block = Block { name: "b".into(), flops: number, weights: Bytes(7), border: Bytes(u64::MAX), ..Block::default() };
    let shared = vec![SharedWeight { size: Bytes(9), blocks: vec![0, 1] }];
    let range = BlockRange::new(0, 2).expect("not empty");
    problem::Problem {
        model: Arc::new(ModelProfile::new(model_id(), vec![block; 2], shared, Bytes(5)).expect("sound").with_sequences(2, 77)),
        devices: vec![ProblemDevice { id: offer_id(0).device, site: 4 }],
        offers: vec![ProblemOffer {
            id: offer_id(0),
            device: 0,
            capacity: OfferCapacity {
                pool: 1,
                memory: Bytes(1 << 60),
                weight_factor: number,
                fixed: Bytes(3),
                roles: Roles { head: true, body: false, tail: true },
            },
            cost: CostModel { gflop_ms: number, ..CostModel::UNCALIBRATED },
            busy_ratio: number,
            joined: 8,
            held: vec![range],
        }],
        links: vec![ProblemLink { source: 0, target: 0, speed: Speed::FREE }],
        within_site: Speed::WITHIN_SITE,
        between_sites: Speed::BETWEEN_SITES,
        placement: Placement::default(),
        current: vec![vec![ProposedStage { offer: 0, start: 0, end: 2 }]],
        horizon: Millis(number),
        exclusions: vec![problem::Exclusion { offer: offer_id(0), shard: ShardId { model: model_id(), range }, reason: "too large".into() }],
    }
}

fn snapshot(number: u32, pressures: u64) -> topology::RoutingSnapshot {
    let stage = Stage { offer: offer_id(0), range: BlockRange::new(0, 1).expect("not empty") };
    let segment = topology::Segment { stage, device: 0, replica: 1, position: 0, run: Millis(0.1), divisible: true };
    let model = topology::ServedModel { id: model_id(), blocks: 1, borders: vec![Bytes(4)], segments: vec![segment] };
    let devices = vec![topology::TopologyDevice { id: offer_id(0).device, site: 0 }];
    let mut topology = topology::Topology { number, models: vec![model], devices, ..topology::Topology::default() };
    topology.links.measured.insert((offer_id(0).device, offer_id(1).device), Speed::FREE);
    let table = topology::PressureTable { number: pressures, devices: vec![(0, device::Pressures { cpu: 0.3, ..device::Pressures::default() })] };
    topology::RoutingSnapshot { topology: Arc::new(topology), pressures: Arc::new(table) }
}

fn request(random: f64) -> topology::RouteRequest {
    topology::RouteRequest { model: 0, ordinal: 5, random, sequence_key: 2, input: Bytes(9), outstanding: vec![1] }
}

fn record(question: decision::Question, answer: policy::Answer<Reply>) -> Record {
    let fallback = Some("late: 3 ms".to_owned());
    Record { ordinal: 1, slot: "routing".into(), plugin: "p".into(), generation: Generation(2), digest: "00".into(), fallback, question, answer }
}

/// Writes records as text and reads them again.
fn back(records: &[Record]) -> Vec<Record> {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let lines = records.iter().flat_map(|record| encoder.encode(record, Some("{}")));
    let text: Vec<String> = lines.map(|line| serde_json::to_string(&line).expect("written")).collect();
    let events = text.iter().filter_map(|line| decoder.decode(serde_json::from_str(line).expect("read")).expect("sound"));
    events.filter_map(|event| if let Event::Decided(record) = event { Some(*record) } else { None }).collect()
}

fn path() -> policy::Answer<Reply> {
    Ok(Ok(Reply::Path(vec![0])))
}

proptest! {
    #[test]
    fn problems_and_requests_come_back_to_the_last_bit(bits in any::<u64>()) {
        let number = Some(f64::from_bits(bits)).filter(|number| number.is_finite()).map_or(0.25, f64::abs);
        let asked = problem(number);
        let routed = (snapshot(1, 1), request(number));
        let questions = [
            decision::Question::Allocate(Arc::new(asked.clone())),
            decision::Question::Route { snapshot: routed.0.clone(), request: routed.1.clone() },
        ];
        let proposal = problem::Proposal { replicas: asked.current.clone(), bound: number };
        let [one, two] = questions;
        let read = back(&[record(one, Ok(Ok(Reply::Proposal(proposal)))), record(two, path())]);
        match &read[0].question {
            decision::Question::Allocate(found) => prop_assert_eq!(found.as_ref(), &asked),
            other => prop_assert!(false, "{:?}", other),
        }
        match &read[1].question {
            decision::Question::Route { snapshot, request } => {
                prop_assert_eq!(snapshot.topology.as_ref(), routed.0.topology.as_ref());
                prop_assert_eq!(snapshot.pressures.as_ref(), routed.0.pressures.as_ref());
                prop_assert_eq!(request, &routed.1);
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(read[0].fallback.as_deref(), Some("late: 3 ms"));
    }
}

#[test]
fn every_kind_of_answer_comes_back() {
    let refused = Refused { reason: "no".into(), nearest: Some(4), short: Bytes(12) };
    let answers: [policy::Answer<Reply>; 6] = [
        Ok(Ok(Reply::Verdict(policy::Verdict::Keep))),
        Ok(Ok(Reply::Verdict(policy::Verdict::Replan("slow".into())))),
        Ok(Ok(Reply::Rank(-0.0))),
        path(),
        Ok(Err(refused)),
        Err(PolicyFault { kind: StrikeKind::OverBudget, message: "slow".into() }),
    ];
    for answer in answers {
        let read: policy::Answer<Reply> = Answer::from(&answer).try_into().expect("known");
        assert!(decision::is_same_answer(&read, &answer), "{answer:?}");
    }
}

#[test]
fn topologies_are_written_once_and_again_when_a_reader_has_forgotten_them() {
    let asked = |number, pressures| record(decision::Question::Route { snapshot: snapshot(number, pressures), request: request(0.5) }, path());
    let mut encoder = Encoder::default();
    let count = |lines: Vec<Line>| lines.iter().filter(|line| matches!(line, Line::Topology(_) | Line::Pressures(_))).count();
    assert_eq!([asked(1, 1), asked(1, 1), asked(1, 2), asked(2, 2)].map(|record| count(encoder.encode(&record, None))), [2, 0, 1, 2]);
    let many: Vec<Record> = (1..200).map(|number| asked(number, u64::from(number))).chain([asked(1, 1)]).collect();
    assert_eq!(back(&many).len(), many.len());
}

#[test]
fn what_a_reader_cannot_know_is_named() {
    let question = Question::Route { topology: 7, pressures: 1, request: (&request(0.0)).into() };
    let decision = Decision {
        ordinal: 3,
        slot: "routing".into(),
        plugin: "p".into(),
        generation: 1,
        digest: String::new(),
        fallback: None,
        question,
        answer: Answer::Keep,
    };
    let error = Decoder::default().decode(Line::Decision(Box::new(decision))).expect_err("no topology").to_string();
    assert_eq!(error, "the recording cannot be read: decision 3 refers to topology 7, which is not there");
    let error = Decoder::default().decode(Line::Header(Header { format: 9, host: String::new() })).expect_err("too new").to_string();
    assert_eq!(error, "the recording cannot be read: it has format 9, this host reads 1");
}

#[test]
fn arrivals_come_back_with_the_pace_of_the_line_and_from_recordings_that_do_not_say_it() {
    let text = r#"{"ordinal":1,"class":0,"now_ms":2.0,"deadline_ms":null,"expected_ms":1.0,"classes":[[3,0.5]],"depth_max":4}"#;
    let silent = policy::Arrival::from(serde_json::from_str::<Arrival>(text).expect("read"));
    assert_eq!(silent.line, policy::LineState::default());
    let told = policy::Arrival { line: policy::LineState { served_rank: -0.1, turn: Some(Millis(0.3)) }, ..silent };
    let text = serde_json::to_string(&Arrival::from(&told)).expect("written");
    assert_eq!(policy::Arrival::from(serde_json::from_str::<Arrival>(&text).expect("read again")), told);
}
