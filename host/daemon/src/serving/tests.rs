use host_core::{
    ids::{AcceleratorName, ModelName, PlanNumber},
    plan::Stage,
    shard::BlockRange,
    topology::Segment,
    units::Bytes,
};

use super::*;
use crate::passage::{Carrier, Job};

#[derive(Debug)]
struct Nowhere;

impl Carrier for Nowhere {
    fn carry(&self, _job: Job) {}
}

fn model() -> ModelId {
    ModelId { name: ModelName::parse("m").expect("a name"), version: 1 }
}

fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).expect("a name")
}

fn offer(name: &str) -> OfferId {
    OfferId { device: device(name), accelerator: AcceleratorName::parse("cpu").expect("a name") }
}

/// Serves a model of 9 blocks by these replicas: for each stage its device and its blocks.
fn serving(replicas: &[&[(&str, u32, u32)]]) -> Serving {
    let segment = |replica: usize, position: usize, (name, start, end): (&str, u32, u32)| Segment {
        stage: Stage { offer: offer(name), range: BlockRange::new(start, end).expect("not empty") },
        device: 0,
        replica: u32::try_from(replica).expect("few"),
        position: u32::try_from(position).expect("few"),
        run: Millis(1.0),
        divisible: false,
    };
    let segments = replicas
        .iter()
        .enumerate()
        .flat_map(|(replica, stages)| stages.iter().enumerate().map(move |(position, stage)| segment(replica, position, *stage)).collect::<Vec<_>>());
    let served = ServedModel { id: model(), blocks: 9, borders: vec![Bytes(4); 9], segments: segments.collect() };
    let topology = Topology { plan: PlanNumber(1), models: vec![served], ..Topology::default() };
    let seat = |offer: &OfferId| Some(Seat::There(offer.clone(), Arc::new(Nowhere)));
    Serving::default().next(Arc::new(topology), seat, |_| Arc::default())
}

fn devices(hops: &[Hop]) -> Vec<String> {
    hops.iter().map(|hop| hop.seat.offer().device.to_string()).collect()
}

#[test]
fn a_way_from_a_block_is_the_rest_of_a_replica_that_begins_a_stage_there_and_avoids_the_device() {
    let serving = serving(&[&[("a", 0, 3), ("b", 3, 9)], &[("c", 0, 3), ("d", 3, 6), ("e", 6, 9)], &[("f", 0, 4), ("g", 4, 9)]]);
    let way = |block, without| serving.take_from(&model(), block, &device(without)).map(|(hops, _)| devices(&hops));
    assert_eq!(way(3, "b"), Some(vec!["d".into(), "e".into()]));
    assert_eq!(way(3, "d"), Some(vec!["b".into()]));
    assert_eq!(way(4, "b"), Some(vec!["g".into()]));
    assert_eq!(way(4, "g"), None, "the only stage that begins there is the one that is gone");
    assert_eq!(way(5, "b"), None, "no stage begins there");
    assert_eq!(way(6, "b"), Some(vec!["e".into()]));
}

#[test]
fn of_several_ways_the_one_with_the_fewest_requests_is_taken_and_counted() {
    let serving = serving(&[&[("a", 0, 3), ("b", 3, 9)], &[("c", 0, 3), ("d", 3, 9)]]);
    let mut kept = Vec::new();
    let taken: Vec<String> = (0..4)
        .flat_map(|_| {
            let (hops, on_the_way) = serving.take_from(&model(), 3, &device("z")).expect("there are two");
            kept.push(on_the_way);
            devices(&hops)
        })
        .collect();
    assert_eq!(taken, ["b", "d", "b", "d"]);
    assert_eq!(serving.outstanding(0), [0, 2, 0, 2]);
    drop(kept);
    assert_eq!(serving.outstanding(0), [0; 4]);
}

#[test]
fn replicas_share_a_stage_where_it_has_the_same_blocks_on_the_same_device() {
    let shares = |replicas: &[&[(&str, u32, u32)]]| serving(replicas).shares_stages(0);
    assert!(shares(&[&[("a", 0, 3), ("b", 3, 9)], &[("a", 0, 3), ("c", 3, 9)]]));
    assert!(!shares(&[&[("a", 0, 3), ("b", 3, 9)], &[("a", 0, 4), ("c", 4, 9)]]) && !shares(&[&[("a", 0, 9)], &[("b", 0, 9)]]));
}

#[test]
fn a_replica_without_a_device_uses_it_in_no_stage() {
    let one = serving(&[&[("a", 0, 3), ("b", 3, 9)]]);
    assert!(!one.serves_without(&model(), &device("b")) && one.serves_without(&model(), &device("c")));
    let two = serving(&[&[("a", 0, 3), ("b", 3, 9)], &[("c", 0, 9)]]);
    assert!(two.serves_without(&model(), &device("b")) && two.serves_without(&model(), &device("c")));
    assert!(!Serving::default().serves_without(&model(), &device("c")));
}

#[tokio::test]
async fn whoever_waits_for_a_model_hears_of_its_replica_or_that_there_will_be_none() {
    let served = Arc::new(Served::default());
    assert!(!served.wait_for(&model()).await, "nobody expects one");
    served.hope(BTreeSet::from([model()]));
    let waiting = tokio::spawn({
        let served = served.clone();
        async move { served.wait_for(&model()).await }
    });
    served.store(serving(&[&[("a", 0, 9)]]));
    assert!(waiting.await.expect("no panic"));
    served.store(Serving::default());
    let waiting = tokio::spawn({
        let served = served.clone();
        async move { served.wait_for(&model()).await }
    });
    served.hope(BTreeSet::new());
    assert!(!waiting.await.expect("no panic"));
}
