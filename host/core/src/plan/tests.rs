//! A checked plan always fits, and a refused one says what is missing. Proposals are judged alike.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::{Cluster, ClusterSettings, Event},
    ids::{AcceleratorName, PlanNumber},
    model::{Block, SharedWeight},
    problem::{Placement, Proposal, ProposedReplica, ProposedStage},
    testing::{device, model_id, offer_id, range, replica, uniform_model},
    units::Millis,
};

fn capacity(devices: &[(&str, u64)], models: Vec<Arc<ModelProfile>>) -> Capacity {
    let mut capacity = Capacity::default();
    for &(name, mib) in devices {
        capacity.add_device(&device(name, Bytes::mib(mib)));
    }
    capacity.models = models.into_iter().map(|model| (model.id().clone(), model)).collect();
    capacity
}

fn plan(model: &str, replicas: Vec<Replica>) -> Plan {
    Plan { number: PlanNumber(1), models: BTreeMap::from([(model_id(model), replicas)]) }
}

#[test]
fn a_chain_that_covers_every_block_once_and_fits_is_proved() {
    let capacity = capacity(&[("a", 2), ("b", 2)], vec![uniform_model("tiny", 4)]);
    let checked = plan("tiny", vec![replica(&[("a", 0, 2), ("b", 2, 4)])]).check(&capacity).expect("it fits exactly");
    assert_eq!(checked.plan().shards().len(), 2);
}

#[test]
fn each_rule_that_a_plan_breaks_is_named() {
    struct Case {
        chain: &'static [(&'static str, u32, u32)],
        error: &'static str,
    }
    let cases = [
        Case { chain: &[("a", 0, 2)], error: "tiny@1 has 4 blocks, but the stages cover 2" },
        Case { chain: &[("a", 1, 4)], error: "tiny@1: block 0 should come next, but the stage starts at block 1" },
        Case { chain: &[("a", 0, 2), ("b", 1, 4)], error: "tiny@1: block 2 should come next, but the stage starts at block 1" },
        Case { chain: &[("a", 0, 2), ("b", 2, 5)], error: "tiny@1 has 4 blocks, but the stages cover 5" },
        Case { chain: &[], error: "tiny@1 has 4 blocks, but the stages cover 0" },
        Case { chain: &[("a", 0, 2), ("z", 2, 4)], error: "offer z/cpu is made by no live device" },
        Case { chain: &[("c", 0, 4)], error: "device c is short of 1 MiB on c/cpu: blocks [0..4) bring its need to 4 MiB, it has 3 MiB" },
    ];
    let capacity = capacity(&[("a", 9), ("b", 9), ("c", 3)], vec![uniform_model("tiny", 4)]);
    for case in cases {
        let error = plan("tiny", vec![replica(case.chain)]).check(&capacity).expect_err(case.error);
        assert_eq!(error.to_string(), case.error);
    }
}

#[test]
fn a_role_that_an_offer_does_not_take_is_refused() {
    let mut capacity = capacity(&[("a", 9), ("b", 9)], vec![uniform_model("tiny", 4)]);
    capacity.offers.get_mut(&offer_id("b")).expect("b makes an offer").roles = Roles { head: false, body: true, tail: false };
    let error = plan("tiny", vec![replica(&[("a", 0, 2), ("b", 2, 4)])]).check(&capacity).expect_err("b is no tail");
    assert_eq!(error.to_string(), "shard tiny@1[2..4) would be the tail of its chain, but b/cpu does not take that role");
}

#[test]
fn cache_workspace_weight_factor_and_fixed_bytes_all_count() {
    let block = Block { weights: Bytes(100), kv_per_token: Bytes(2), workspace: Bytes(7), ..Block::default() };
    let model = ModelProfile::new(model_id("m"), vec![block; 3], vec![SharedWeight { size: Bytes(50), blocks: vec![0, 2] }], Bytes(1)).expect("sound");
    let model = model.with_sequences(4, 10);
    let offer = OfferCapacity { pool: 0, memory: Bytes(0), weight_factor: 1.5, fixed: Bytes(1000), roles: Roles::ALL };
    assert_eq!(offer.need(&model, range(0, 3)), Bytes(525 + 3 * 2 * 4 * 10 + 7 + 1000));
    assert_eq!(offer.need(&model, range(1, 2)), Bytes(150 + 2 * 4 * 10 + 7 + 1000));
}

#[test]
fn two_models_on_one_device_share_its_memory() {
    let capacity = capacity(&[("a", 7)], vec![uniform_model("one", 4), uniform_model("two", 4)]);
    let both = Plan {
        number: PlanNumber(1),
        models: BTreeMap::from([(model_id("one"), vec![replica(&[("a", 0, 4)])]), (model_id("two"), vec![replica(&[("a", 0, 4)])])]),
    };
    assert_eq!(
        both.check(&capacity).expect_err("8 MiB do not fit into 7").to_string(),
        "device a is short of 1 MiB on a/cpu: blocks [0..4) bring its need to 8 MiB, it has 7 MiB"
    );
}

#[test]
fn replicas_that_share_a_stage_hold_its_shard_once() {
    let capacity = capacity(&[("a", 2), ("b", 2), ("c", 2)], vec![uniform_model("tiny", 4)]);
    let shared = vec![replica(&[("a", 0, 2), ("b", 2, 4)]), replica(&[("a", 0, 2), ("c", 2, 4)])];
    assert_eq!(plan("tiny", shared).check(&capacity).map(|checked| checked.plan().shards().len()), Ok(3));
}

proptest! {
    /// Whatever is proposed: if the proof succeeds, adding everything up by hand finds every block once and every pool
    /// within its memory.
    #[test]
    fn a_checked_plan_always_fits(
        memories in proptest::collection::vec(0_u64..8, 1..5),
        chains in proptest::collection::vec(proptest::collection::vec((0_usize..6, 0_u32..7, 0_u32..7), 0..5), 0..4),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let devices: Vec<(&str, u64)> = names.iter().copied().zip(memories).collect();
        let capacity = capacity(&devices, vec![uniform_model("tiny", 6)]);
        let chain = |stages: &Vec<(usize, u32, u32)>| {
            let stage = |&(device, start, end): &(usize, u32, u32)| Some(Stage { offer: offer_id(names[device]), range: BlockRange::new(start, end).ok()? });
            Replica { stages: stages.iter().filter_map(stage).collect() }
        };
        let replicas: Vec<Replica> = chains.iter().map(chain).collect();
        if let Ok(checked) = plan("tiny", replicas.clone()).check(&capacity) {
            for replica in &replicas {
                let blocks: Vec<u32> = replica.stages.iter().flat_map(|stage| stage.range.start()..stage.range.end()).collect();
                prop_assert_eq!(blocks, (0..6).collect::<Vec<_>>());
            }
            for (name, mib) in devices {
                let held: u32 = checked.plan().shards().iter().filter(|(offer, _)| *offer == offer_id(name)).map(|(_, shard)| shard.range.count()).sum();
                prop_assert!(u64::from(held) <= mib);
            }
        }
    }

    /// A proposal names its offers by index and a plan by id; the same rules judge both, with the same words.
    #[test]
    fn a_proposal_is_judged_like_the_plan_that_it_names(
        memories in proptest::collection::vec((0_u64..12, 0_u32..2, 0_u8..24), 1..4),
        chains in proptest::collection::vec(proptest::collection::vec((0_u32..6, 0_u32..12, 1_u32..6), 1..4), 1..3),
    ) {
        let model = uniform_model("tiny", 6);
        // Each device makes two offers, which share their memory or do not.
        let mut capacity = Capacity { models: BTreeMap::from([(model.id().clone(), model.clone())]), ..Capacity::default() };
        let mut cluster = Cluster::new(ClusterSettings::default(), PlanNumber(0));
        for (name, &(mib, pool, roles)) in ["a", "b", "c"].iter().zip(&memories) {
            let mut device = device(name, Bytes::mib(mib));
            // Most take every place in a chain.
            let takes = |role: u8| roles > 7 || roles & role > 0;
            device.offers[0].roles = Roles { head: takes(1), body: takes(2), tail: takes(4) };
            device.offers.push(Offer { accelerator: AcceleratorName::parse("gpu").expect("a name"), memory_pool: pool, ..device.offers[0].clone() });
            capacity.add_device(&device);
            cluster.apply(Event::Joined { device, held: Vec::new(), now: Millis(0.0) });
        }
        cluster.apply(Event::ModelAdded { profile: model.clone(), placement: Placement::default() });
        let mut problem = cluster.problem(model.id()).expect("the model is known");
        problem.placement = Placement::default();
        let count = u32::try_from(problem.offers.len()).expect("few");
        // Chains that go on where they were, cut at the model's end: some are whole, some end early.
        let chain = |stages: &Vec<(u32, u32, u32)>| -> ProposedReplica {
            let mut start = 0;
            let stage = |&(offer, gap, length): &(u32, u32, u32)| {
                let from = start + u32::from(gap == 0);
                let end = (from + length).min(6);
                start = end;
                (from < end).then_some(ProposedStage { offer: offer % count, start: from, end })
            };
            stages.iter().filter_map(stage).collect()
        };
        let replicas: Vec<ProposedReplica> = chains.iter().map(chain).filter(|stages| !stages.is_empty()).collect();
        prop_assume!(!replicas.is_empty());
        let named = |stage: &ProposedStage| Stage { offer: problem.offers[stage.offer as usize].id.clone(), range: range(stage.start, stage.end) };
        let plan = plan("tiny", replicas.iter().map(|stages| Replica { stages: stages.iter().map(named).collect() }).collect());
        let proved = problem.check(&Proposal { replicas, bound: 0.0 }).map_err(|error| error.to_string());
        let expected = plan.clone().check(&capacity).map(|_| plan.models.into_values().flatten().collect::<Vec<_>>()).map_err(|error| error.to_string());
        prop_assert_eq!(proved, expected);
    }
}
