//! Policies that pass their rehearsal and misbehave in service: 100 requests each, in four rounds between which the slot is
//! rolled back and the plugin tried again.

use host_core::{
    policy::{Arrival, ClassState, LineState, Observation, PolicyFault, StrikeKind},
    problem::{Exclusion, Problem},
    shard::{BlockRange, ShardId},
    units::Millis,
};
use host_plugin::{PluginEvent, PluginSource, SlotName, SlotStatus, SwapReason};

use crate::{
    components::{self, Core, contract},
    crowd::{Crowd, STRIKES_MAX, WAITS_MS},
    guests::guest,
    scenes::{model_id, problem, request, snapshot},
};

/// Epochs after its deadline that a guest may compute.
const LATE_EPOCHS_MAX: u32 = 2;

/// How often a plugin fails.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fails {
    Always,
    Sometimes,
}

struct Case {
    name: &'static str,
    kinds: &'static [StrikeKind],
    says: &'static str,
    fails: Fails,
    manifest: Option<&'static str>,
}

const fn case(name: &'static str, kinds: &'static [StrikeKind], says: &'static str) -> Case {
    Case { name, kinds, says, fails: Fails::Always, manifest: None }
}

const TRAP: &[StrikeKind] = &[StrikeKind::Trap];
const LATE: &[StrikeKind] = &[StrikeKind::Late];
const MEMORY: &[StrikeKind] = &[StrikeKind::Memory];
const INVALID: &[StrikeKind] = &[StrikeKind::Invalid];
/// Whichever limit it meets first, which depends on the machine.
const MEMORY_OR_LATE: &[StrikeKind] = &[StrikeKind::Memory, StrikeKind::Late];

const SMALL: Option<&str> = Some("memory_bytes_max = 4194304\ncall_ms_max = 5000\n");

const ROUTING: &[Case] = &[
    case("trap", TRAP, "index out of bounds"),
    Case { fails: Fails::Sometimes, ..case("trap-fifth", TRAP, "index out of bounds") },
    Case { fails: Fails::Sometimes, ..case("first-right-then-wrong", INVALID, "segment 7777 does not exist") },
    Case { manifest: Some("call_ms_max = 2\n"), ..case("loop", LATE, "route did not answer within 2 ms") },
    case("loop-in-set-topology", LATE, "set-topology did not answer within 100 ms"),
    case("trap-in-set-topology", TRAP, "index out of bounds"),
    case("loop-in-set-pressure", LATE, "set-pressure did not answer within 100 ms"),
    case("memory-growth", MEMORY_OR_LATE, ""),
    Case { manifest: SMALL, ..case("memory", MEMORY, "bytes of memory, 4194304 are allowed") },
    Case { manifest: Some("memory_bytes_max = 8388608\ncall_ms_max = 2\n"), ..case("bulk", LATE, "route did not answer within 2 ms") },
    case("recursion", TRAP, "call stack exhausted"),
    case("recursion-of-large-frames", TRAP, "out of bounds memory access"),
    case("wrong-index", INVALID, "segment 4000000000 does not exist, there are 6"),
    case("gap", INVALID, "block 0 should come next"),
    case("backwards", INVALID, "block 0 should come next"),
    case("twice", INVALID, "should come next"),
    case("nowhere", INVALID, ""),
    Case { manifest: Some("call_ms_max = 5000\n"), ..case("huge", MEMORY, "it handed over more than 1048576 bytes") },
    Case { manifest: Some("call_ms_max = 5000\n"), ..case("long-reason", MEMORY, "it handed over more than 1048576 bytes") },
    Case { manifest: Some("call_ms_max = 5000\n"), ..case("giant-line", MEMORY, "it handed over more than 1048576 bytes") },
];

/// Of another guest: what its standard library does needs a hundred kilobytes of code.
const ESCAPING: &[Case] = &[
    case("socket", TRAP, "it called `wasi:sockets/"),
    case("resolve", TRAP, "it called `wasi:sockets/"),
    case("clock", TRAP, "it called `wasi:clocks/monotonic-clock@"),
    case("wall-clock", TRAP, "it called `wasi:clocks/"),
    case("sleep", TRAP, "it called `wasi:clocks/monotonic-clock@"),
    case("hash-seed", TRAP, "it called `wasi:random/"),
    case("exit", TRAP, "it called `wasi:cli/exit@"),
];

/// Installs a case and drives it through four rounds of strikes. `ask` makes one request, checks that it was answered well,
/// and says whether it was by the built-in, and why.
fn four_rounds(case: &Case, slot: &SlotName, source: PluginSource, ask: impl Fn(u32) -> Option<PolicyFault>, status: impl Fn() -> SlotStatus) {
    let crowd = Crowd::get();
    let name = case.name;
    let source = PluginSource { manifest: case.manifest.map(str::to_owned), ..source };
    let prepared = crowd.host.prepare(&source, Some(slot.clone()), Some(format!("{name:?}"))).unwrap_or_else(|error| panic!("{name}: {error}"));
    let generation = crowd.host.commit(prepared).unwrap().generation.0;
    let earlier = crowd.events(slot).len();
    let since = |wanted: &dyn Fn(&PluginEvent) -> bool| crowd.events(slot)[earlier..].iter().filter(|event| wanted(event)).count();
    let retried = |event: &PluginEvent| matches!(event, PluginEvent::Swapped { reason: SwapReason::Retried, .. });
    let retried_earlier = crowd.events(slot)[..earlier].iter().filter(|event| retried(event)).count();
    let (mut requests, mut answered) = (0_u32, 0_u32);
    for (round, wait) in (1_u32..).zip(WAITS_MS) {
        let mut strikes = 0;
        while strikes < STRIKES_MAX {
            match ask(requests) {
                Some(fault) => {
                    assert!(case.kinds.contains(&fault.kind) && fault.message.contains(case.says), "{name}: {fault}");
                    strikes += 1;
                }
                None => answered += 1,
            }
            requests += 1;
            assert!(requests < 10_000, "{name}: it hardly ever fails");
        }
        assert_eq!(since(&|event| matches!(event, PluginEvent::Swapped { reason: SwapReason::Strikes, .. })), round as usize, "{name} is rolled back");
        assert_eq!(status().retry_wait, Some(Millis(wait)), "{name} waits longer each time, up to the maximum");
        // It is tried again however often it failed, and the slot's number has gone up by one for each swap.
        crowd.wait_for(slot, retried_earlier + round as usize, retried);
        assert_eq!(status().current.unwrap().generation.0, generation + 2 * u64::from(round), "{name} serves again");
    }
    assert!(requests >= 100 && (answered == 0) == (case.fails == Fails::Always), "{name}: it answered {answered} of {requests}");
    let counts = status().counts;
    let counted: u64 = StrikeKind::ALL.iter().zip(counts.strikes).filter(|(kind, _)| case.kinds.contains(kind)).map(|(_, strikes)| strikes).sum();
    assert_eq!((counted, counts.strikes.iter().sum::<u64>()), (100, 100), "{name}");
    assert!(counts.late_epochs_max <= LATE_EPOCHS_MAX, "{name}: stopped {} epochs after its deadline", counts.late_epochs_max);
    assert_eq!(since(&|event| matches!(event, PluginEvent::FellBack { .. })), 100, "{name}: the built-in answered each time");
}

fn slot_name(name: &str) -> SlotName {
    SlotName::Routing(Some(name.to_owned()))
}

fn four_rounds_of_routing(case: &Case, source: PluginSource) {
    let crowd = Crowd::get();
    let slot = || crowd.host.routing(Some(case.name)).unwrap();
    let snapshot = snapshot(1, 3, 0.5);
    let ask = |ordinal| {
        let decided = slot().route(&snapshot, &request(ordinal, 6)).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(decided.answer.is_ok(), "{}: {decided:?}", case.name);
        assert_eq!(&*decided.by.plugin == "least-loaded-routing", decided.fallback.is_some(), "{}: {decided:?}", case.name);
        decided.fallback
    };
    four_rounds(case, &slot_name(case.name), source, ask, || slot().status());
}

#[test]
fn requests_that_a_routing_policy_fails_on_are_answered_by_the_built_in_one() {
    Crowd::get().under_load(ROUTING, |case| four_rounds_of_routing(case, guest("misbehaving-routing")));
}

#[test]
fn what_no_guest_is_granted_is_named_when_it_is_called() {
    Crowd::get().under_load(ESCAPING, |case| four_rounds_of_routing(case, guest("escaping-routing")));
}

/// Components that no toolchain makes. They misbehave by what they are.
#[test]
fn requests_that_a_hand_made_component_fails_on_are_answered_by_the_built_in_one() {
    let hand_made = |core: Core| PluginSource { name: "hand-made.wasm".to_owned(), bytes: components::routing(&contract(), &core).into(), manifest: None };
    let outside = Core { route: "(return (i32.const -8))".to_owned(), ..Core::default() };
    let tables = Core {
        definitions: "(table $table 1 funcref)".to_owned(),
        // Takes what it can get, and fails because that is not everything.
        route: "(loop $more (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 10000)) (i32.const -1)))) unreachable".to_owned(),
        ..Core::default()
    };
    let deep = Core { definitions: "(func $deep (call $deep))".to_owned(), route: "(call $deep)".to_owned(), ..Core::default() };
    // A function of the contract that leaves garbage where the answer should be.
    let garbage = Core { route: "(return (i32.const 4104))".to_owned(), ..Core::default() };
    let cases = [
        (case("answer-outside-of-its-memory", INVALID, "pointer"), outside),
        (case("table-growth", MEMORY, "elements, 100000 are allowed"), tables),
        (case("hand-made-recursion", TRAP, "call stack exhausted"), deep),
        (case("garbage", INVALID, ""), garbage),
    ];
    Crowd::get().under_load(&cases, |(case, core)| four_rounds_of_routing(case, hand_made(core.clone())));
}

const ALLOCATION: &[Case] = &[
    case("unknown-offer", INVALID, "offer 77 does not exist, there are 2"),
    case("lost-offer", INVALID, "offer 2 does not exist, there are 2"),
    case("excluded", INVALID, ""),
    case("gap", INVALID, ""),
    case("hole", INVALID, ""),
    case("missing-end", INVALID, ""),
    case("past-the-end", INVALID, ""),
    case("overlap", INVALID, ""),
    case("empty-stage", INVALID, ""),
    case("reversed", INVALID, ""),
    case("nothing", INVALID, ""),
    case("no-stages", INVALID, ""),
    case("too-many", INVALID, ""),
    case("not-a-number", INVALID, "NaN"),
    case("infinite", INVALID, "inf"),
    case("negative", INVALID, "-1"),
    case("huge", MEMORY, "it handed over more than 1048576 bytes"),
    case("long-attribute", MEMORY, "it handed over more than 1048576 bytes"),
    case("many-empty-replicas", MEMORY, "it handed over more than 1048576 bytes"),
    case("trap", TRAP, "this policy never allocates"),
    Case { manifest: Some("call_ms_max = 2\n"), ..case("loop", LATE, "allocate did not answer within 2 ms") },
];

#[test]
fn plans_that_break_a_rule_are_made_by_the_built_in_policy() {
    // There is one slot of this kind, so its cases follow one another, as one.
    Crowd::get().under_load(&[ALLOCATION], |cases| cases.iter().for_each(four_rounds_of_allocation));
}

fn four_rounds_of_allocation(case: &Case) {
    let slot = || Crowd::get().host.allocation();
    let shard = ShardId { model: model_id(), range: BlockRange::new(0, 6).unwrap() };
    let (before, lost) = (problem(3, 1), problem(2, 1));
    let exclusion = Exclusion { shard, offer: lost.offers[0].id.clone(), reason: "it was tried".to_owned() };
    let lost = Problem { exclusions: vec![exclusion], ..lost };
    let ask = |ordinal: u32| {
        if case.name == "lost-offer" {
            // With three offers its answer is sound: only an instance that remembers them is wrong later. A strike takes
            // the instance away, so each request is preceded by a look at all three.
            let decided = slot().allocate(&before).unwrap();
            assert!(decided.fallback.is_none() && decided.answer.is_ok(), "{ordinal}: {decided:?}");
        }
        let decided = slot().allocate(&lost).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(decided.answer.is_ok(), "{}: {decided:?}", case.name);
        assert_eq!(&*decided.by.plugin == "balanced-allocation", decided.fallback.is_some(), "{}: {decided:?}", case.name);
        decided.fallback
    };
    four_rounds(case, &SlotName::Allocation, guest("misbehaving-allocation"), ask, || slot().status());
}

const REVIEW: &[Case] = &[
    case("review-trap", TRAP, "this policy never reviews"),
    case("review-huge", MEMORY, "it handed over more than 1048576 bytes"),
    Case { manifest: Some("call_ms_max = 2\n"), ..case("review-loop", LATE, "review did not answer within 2 ms") },
];

#[test]
fn reviews_that_a_policy_fails_on_are_made_by_the_built_in_one() {
    Crowd::get().under_load(&[REVIEW], |cases| cases.iter().for_each(four_rounds_of_reviews));
}

fn four_rounds_of_reviews(case: &Case) {
    let slot = || Crowd::get().host.allocation();
    let observation = Observation { problem: problem(2, 1), stages: Vec::new(), pressure_max: 0.5, pressure_mean: 0.5, arrival: Millis(3.0) };
    let ask = |_: u32| {
        let decided = slot().review(&observation).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(decided.answer.is_ok(), "{}: {decided:?}", case.name);
        assert_eq!(&*decided.by.plugin == "balanced-allocation", decided.fallback.is_some(), "{}: {decided:?}", case.name);
        decided.fallback
    };
    four_rounds(case, &SlotName::Allocation, guest("misbehaving-allocation"), ask, || slot().status());
}

const QUEUEING: &[Case] = &[
    case("not-a-number", INVALID, "the rank is NaN"),
    case("infinite", INVALID, "the rank is inf"),
    case("trap", TRAP, "this policy never ranks"),
    case("loop", LATE, "admit did not answer within 2 ms"),
    case("memory", MEMORY_OR_LATE, ""),
    Case { manifest: Some("call_ms_max = 5000\n"), ..case("long-reason", MEMORY, "it handed over more than 1048576 bytes") },
];

#[test]
fn arrivals_that_a_queueing_policy_fails_on_wait_in_order() {
    Crowd::get().under_load(&[QUEUEING], |cases| cases.iter().for_each(strikes_of_queueing));
}

/// There is no built-in queueing policy to go back to: the host's own order answers, and the plugin stays.
fn strikes_of_queueing(case: &Case) {
    let crowd = Crowd::get();
    let source = PluginSource { manifest: case.manifest.map(str::to_owned), ..guest("misbehaving-queueing") };
    let prepared = crowd.host.prepare(&source, Some(SlotName::Queueing), Some(format!("{:?}", case.name))).unwrap();
    crowd.host.commit(prepared).unwrap();
    for ordinal in 0..100 {
        let arrival = Arrival {
            ordinal,
            class: 0,
            now: Millis(f64::from(ordinal)),
            deadline: None,
            expected: Millis(1.0),
            classes: vec![ClassState { depth: 1, last_rank: 0.0 }],
            depth_max: 400,
            line: LineState::default(),
        };
        let decided = crowd.host.queueing().admit(&arrival).unwrap();
        assert_eq!((decided.answer.unwrap(), &*decided.by.plugin), (f64::from(ordinal), "arrival-order"), "{}", case.name);
        let fault = decided.fallback.unwrap();
        assert!(case.kinds.contains(&fault.kind) && fault.message.contains(case.says), "{}: {fault}", case.name);
    }
    let counts = crowd.host.queueing().status().counts;
    assert_eq!(counts.strikes.iter().sum::<u64>(), 100);
    assert!(counts.late_epochs_max <= LATE_EPOCHS_MAX, "{}: stopped {} epochs after its deadline", case.name, counts.late_epochs_max);
}
