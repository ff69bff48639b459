//! Adapters that pass their rehearsal and misbehave when they load a shard or run it: 100 requests each. A fresh instance
//! computes a request that failed once more, so each of these takes two strikes. After the last of them the slot goes back to
//! the adapter before, which answers from then on, until the other is tried again.

use std::sync::Arc;

use host_core::policy::{PolicyFault, StrikeKind};
use host_engine::{Shard, Tensor};
use host_plugin::{AdapterSlot, Error, Fault, PluginEvent, PluginSource, RunCall, SlotName, SwapReason};

use crate::{
    crowd::{Crowd, shards},
    guests::guest,
};

const REQUESTS: u64 = 100;
const LATE_EPOCHS_MAX: u32 = 2;

struct Case {
    name: &'static str,
    kind: StrikeKind,
    says: &'static str,
    manifest: &'static str,
}

const fn case(name: &'static str, kind: StrikeKind, says: &'static str) -> Case {
    Case { name, kind, says, manifest: "" }
}

const RUN: &[Case] = &[
    case("trap", StrikeKind::Trap, "this adapter always fails"),
    Case { manifest: "call_ms_max = 2\n", ..case("loop", StrikeKind::Late, "run did not answer within 2 ms") },
    case("tensor-flood", StrikeKind::Memory, "it holds more than 64 tensors"),
    Case { manifest: "memory_bytes_max = 2097152\n", ..case("tensor-bytes", StrikeKind::Memory, "in one call, 2097152 are allowed") },
    case("wrong-length", StrikeKind::Invalid, "4000"),
    case("wrong-shape", StrikeKind::Invalid, ""),
    case("overflowing-shape", StrikeKind::Invalid, "number of elements"),
    case("many-axes", StrikeKind::Invalid, "number of axes"),
    case("two-outputs", StrikeKind::Invalid, "it gave 2 outputs, the shard declares 1"),
    case("no-output", StrikeKind::Invalid, "it gave 0 outputs, the shard declares 1"),
    case("returns-inputs", StrikeKind::Invalid, ""),
    case("dropped-handle", StrikeKind::Invalid, "handle"),
    case("invented-handle", StrikeKind::Invalid, "unknown handle index 12345"),
    case("run-twice", StrikeKind::Invalid, "handle"),
    case("kept-handle", StrikeKind::Invalid, ""),
];

const LOAD: &[Case] = &[
    case("loop-in-load", StrikeKind::Late, "load did not answer within 100 ms"),
    case("graph-flood", StrikeKind::Memory, "it holds more than 1 graphs"),
    case("not-a-number-fit", StrikeKind::Invalid, "loading took NaN bytes"),
];

/// A slot with the built-in adapter in it, and on top of that the case.
fn install(case: &Case) -> (Arc<AdapterSlot>, SlotName) {
    let host = &Crowd::get().host;
    let name = SlotName::Adapter(case.name.to_owned());
    let put = |source: PluginSource, config: String| host.commit(host.prepare(&source, Some(name.clone()), Some(config)).unwrap()).unwrap();
    put(PluginSource::builtin("cpu-adapter").unwrap(), "{}".to_owned());
    let manifest = Some(format!("strikes_max = {}\n{}", 2 * REQUESTS, case.manifest));
    put(PluginSource { manifest, ..guest("misbehaving-adapter") }, format!("{:?}", case.name));
    (host.adapter(case.name).unwrap(), name)
}

fn struck(case: &Case, error: &Error) -> PolicyFault {
    let Fault::InService { fault, .. } = error.fault() else { panic!("{}: {error}", case.name) };
    assert!(fault.kind == case.kind && fault.message.contains(case.says), "{}: {fault}", case.name);
    fault.clone()
}

fn border() -> Tensor {
    Tensor::from_f32(&[1, 64], &[0.5; 64]).unwrap()
}

/// The last shard, whose outputs have another shape than its inputs.
fn shard() -> Arc<Shard> {
    shards().remove(1)
}

fn counted(case: &Case, slot: &AdapterSlot) {
    let counts = slot.status().counts;
    let kind = StrikeKind::ALL.iter().position(|kind| *kind == case.kind).unwrap();
    assert_eq!((counts.strikes[kind], counts.strikes.iter().sum::<u64>()), (2 * REQUESTS, 2 * REQUESTS), "{}", case.name);
    assert!(counts.late_epochs_max <= LATE_EPOCHS_MAX, "{}: stopped {} epochs after its deadline", case.name, counts.late_epochs_max);
}

fn wait_until_it_is_tried_again(name: &SlotName) {
    Crowd::get().wait_for(name, 1, |event| matches!(event, PluginEvent::Swapped { reason: SwapReason::Retried, .. }));
}

#[test]
fn an_adapter_that_fails_to_run_is_replaced_by_the_one_before_and_tried_again() {
    let shard = shard();
    let mut sound = Crowd::get().host.adapter("cpu").unwrap().open(Arc::clone(&shard), 0).unwrap();
    let right = sound.run(&RunCall::default(), vec![border()]).unwrap();
    Crowd::get().under_load(RUN, |case| {
        let (slot, name) = install(case);
        let mut instance = slot.open(Arc::clone(&shard), 0).unwrap();
        for _ in 0..REQUESTS {
            struck(case, &instance.run(&RunCall::default(), vec![border()]).expect_err(case.name));
        }
        // The very next request is answered: by the built-in, or by whichever serves after one more failure.
        wait_until_it_is_tried_again(&name);
        counted(case, &slot);
        let after = instance.run(&RunCall::default(), vec![border()]);
        struck(case, &after.expect_err("it is as bad as before, and has its chance"));
        Crowd::get().host.rollback(&name, None).unwrap();
        assert_eq!(instance.run(&RunCall::default(), vec![border()]).unwrap(), right, "{}", case.name);
        assert_eq!(&*instance.bearer().unwrap().plugin, "cpu-adapter", "{}", case.name);
    });
}

#[test]
fn an_adapter_that_fails_to_load_is_replaced_by_the_one_before_and_tried_again() {
    let shard = shard();
    Crowd::get().under_load(LOAD, |case| {
        let (slot, name) = install(case);
        for _ in 0..REQUESTS {
            struck(case, &slot.open(Arc::clone(&shard), 0).expect_err(case.name));
        }
        wait_until_it_is_tried_again(&name);
        counted(case, &slot);
        Crowd::get().host.rollback(&name, None).unwrap();
        assert!(slot.open(Arc::clone(&shard), 0).unwrap().run(&RunCall::default(), vec![border()]).is_ok());
    });
}
