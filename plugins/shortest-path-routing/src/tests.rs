use proptest::prelude::*;
use serde_json::Value;
use shardhost_sdk::{
    routing::{Link, Segment, Speed},
    scene::{device, pressure, request},
};

use super::*;

fn segment(device: u32, start: u32, end: u32, run_ms: f64) -> Segment {
    Segment { device, replica: device, stage: u32::from(start > 0), start, end, run_ms, divisible: false }
}

/// One model on so many devices of one site; a message between two of them takes `hop_ms`, whatever its size.
fn topology(devices: u32, hop_ms: f64, segments: Vec<Segment>) -> Topology {
    let blocks = segments.iter().map(|segment| segment.end).max().unwrap_or(1);
    let speed = Speed { latency_ms: hop_ms, bytes_per_ms: f64::INFINITY };
    Topology {
        models: vec![ServedModel { id: "m@1".into(), blocks, border_bytes: vec![0.0; blocks as usize], segments }],
        devices: (0..devices).map(|index| device(&format!("d{index}"))).collect(),
        within_site: speed,
        between_sites: Speed { latency_ms: 0.0, ..speed },
        ..Topology::empty()
    }
}

fn policy(topology: Topology) -> ShortestPath {
    let mut policy = ShortestPath::configure("{}").expect("no settings");
    policy.set_topology(topology);
    policy
}

fn shortest(policy: &mut ShortestPath, outstanding: &[u32]) -> (Vec<u32>, f64) {
    policy.shortest(&request(outstanding)).expect("a way")
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.max(1.0), "{found} ms, not {expected}");
}

/// A case of the vectors as a topology. Its devices are its segments', in their order.
fn of_vector(case: &Value) -> Topology {
    let number = |value: &Value| value.as_f64().expect("a number");
    let block = |value: &Value| u32::try_from(value.as_u64().expect("a block")).expect("few");
    let segments = case["segments"].as_array().expect("segments");
    let name = |index: usize| segments[index]["device"].as_str().expect("an id");
    let divisible = |segment: Segment| Segment { divisible: true, ..segment };
    let made = (0..).zip(segments).map(|(device, of)| divisible(segment(device, block(&of["start"]), block(&of["end"]), number(&of["run_ms"]))));
    let mut topology = topology(0, f64::INFINITY, made.collect());
    topology.devices = (0..segments.len()).map(|index| device(name(index))).collect();
    for (source, from) in (0..).zip(0..segments.len()) {
        for (target, to) in (0..).zip(0..segments.len()).filter(|(target, _)| *target != source) {
            let latency_ms = number(&case["hop_ms"][name(from)][name(to)]);
            topology.links.push(Link { source, target, speed: Speed { latency_ms, bytes_per_ms: f64::INFINITY } });
        }
    }
    topology
}

#[test]
fn the_ways_and_times_are_those_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/parallax.json")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let mut policy = policy(of_vector(case));
        let (way, way_ms) = shortest(&mut policy, &[]);
        let model = &policy.topology.models[0];
        let segments = || way.iter().map(|&index| &model.segments[index as usize]);
        let devices: Vec<&str> = segments().map(|segment| policy.topology.devices[segment.device as usize].id.as_str()).collect();
        assert_eq!(Value::from(devices), case["path"]);
        near(way_ms, case["path_ms"].as_f64().expect("a time"));
        // Where a way turns off in the middle of a segment: it enters the next one after its first block.
        let ends = std::iter::once(0).chain(segments().map(|segment| segment.end));
        let turning: Vec<u32> = segments().zip(ends).filter(|(segment, from)| segment.start < *from).map(|(_, from)| from).collect();
        assert_eq!(Value::from(turning), case["turning_points"]);
    }
}

#[test]
fn a_stage_counts_with_its_whole_time_not_with_that_of_a_block() {
    // a[0,11) at 1 ms a block and b[11,12) at 1 ms are 12 ms; c[0,1) at 2 ms and d[1,12) at 0.2 ms a block are 4.2 ms.
    let segments = vec![segment(0, 0, 11, 11.0), segment(1, 11, 12, 1.0), segment(2, 0, 1, 2.0), segment(3, 1, 12, 2.2)];
    let (way, way_ms) = shortest(&mut policy(topology(4, 0.0, segments)), &[]);
    assert_eq!(way, [2, 3]);
    near(way_ms, 4.2);
}

#[test]
fn a_way_leads_over_the_quickest_segments_of_any_replica() {
    // Two replicas that are quick at one end each; a hop takes 1 ms.
    let segments = vec![segment(0, 0, 2, 1.0), segment(1, 2, 4, 9.0), segment(2, 0, 2, 9.0), segment(3, 2, 4, 1.0)];
    let mut policy = policy(topology(4, 1.0, segments));
    assert_eq!(shortest(&mut policy, &[]), (vec![0, 3], 3.0));
    assert_eq!(shortest(&mut policy, &[0, 0, 0, 20]), (vec![0, 1], 11.0), "the other tail has 20 ms of work before it");
}

#[test]
fn a_stage_that_several_replicas_share_is_one_stage_of_many_ways() {
    let shared = |replica| Segment { replica, ..segment(0, 0, 2, 1.0) };
    let tail = |device, replica| Segment { replica, stage: 1, ..segment(device, 2, 4, 2.0) };
    let mut policy = policy(topology(3, 1.0, vec![shared(0), tail(1, 0), shared(1), tail(2, 1)]));
    let (way, way_ms) = shortest(&mut policy, &[3, 1, 3, 0]);
    assert_eq!((way[1], way_ms), (3, 4.0 + 1.0 + 2.0));
}

#[test]
fn a_divisible_segment_is_entered_in_the_middle_where_that_is_quicker() {
    let whole = Segment { divisible: true, ..segment(0, 0, 10, 100.0) };
    let mut policy = policy(topology(2, 1.0, vec![whole, segment(1, 0, 6, 6.0)]));
    assert_eq!(shortest(&mut policy, &[]), (vec![1, 0], 6.0 + 1.0 + 40.0));
    assert_eq!(shortest(&mut policy, &[0, 8]), (vec![1, 0], 54.0 + 1.0 + 40.0));
    assert_eq!(shortest(&mut policy, &[0, 9]), (vec![0], 100.0), "with one request more the other way is 101 ms long");
}

#[test]
fn an_indivisible_segment_is_entered_at_its_first_block_only() {
    let refusal = policy(topology(2, 1.0, vec![segment(0, 0, 6, 1.0), segment(1, 5, 10, 1.0)])).route(&request(&[])).expect_err("they do not meet");
    assert_eq!(refusal.reason, "model m@1 has no way through its 10 blocks, 2 segments are ready");
}

#[test]
fn what_a_border_carries_makes_a_slow_link_expensive() {
    let segments = vec![segment(0, 0, 1, 1.0), segment(1, 1, 2, 1.0), segment(2, 1, 2, 4.0)];
    let mut topology = topology(3, 0.0, segments);
    topology.links = vec![Link { source: 0, target: 1, speed: Speed { latency_ms: 0.5, bytes_per_ms: 100.0 } }];
    let mut small = policy(topology.clone());
    assert_eq!(shortest(&mut small, &[]), (vec![0, 1], 2.5));
    topology.models[0].border_bytes = vec![1_000.0, 0.0];
    assert_eq!(shortest(&mut policy(topology), &[]), (vec![0, 2], 5.0), "10 ms on the link are more than 3 ms on the slower device");
}

#[test]
fn a_link_that_carries_nothing_is_no_way_and_one_that_was_not_measured_is_as_fast_as_the_sites_are() {
    let mut missing = topology(3, 0.0, vec![segment(0, 0, 1, 1.0), segment(1, 1, 2, 1.0), segment(2, 1, 2, 50.0)]);
    missing.models[0].border_bytes = vec![8.0; 2];
    missing.links = vec![Link { source: 0, target: 1, speed: Speed { latency_ms: 0.0, bytes_per_ms: 0.0 } }];
    missing.within_site = Speed { latency_ms: 2.0, bytes_per_ms: 4.0 };
    let mut policy = policy(missing.clone());
    assert_eq!(shortest(&mut policy, &[]), (vec![0, 2], 1.0 + 2.0 + 2.0 + 50.0));
    missing.models[0].segments.pop();
    policy.set_topology(missing);
    let refusal = policy.route(&request(&[])).expect_err("the only link is missing");
    assert_eq!(refusal.reason, "model m@1 has 2 segments on ways through its 2 blocks, but each way leads over a link that carries nothing");
}

#[test]
fn the_way_of_the_inputs_counts_by_what_the_first_device_says_of_its_distance() {
    let mut far = topology(2, 1.0, vec![segment(0, 0, 1, 1.0), segment(1, 0, 1, 5.0)]);
    far.between_sites = Speed { latency_ms: 20.0, bytes_per_ms: 10.0 };
    let mut policy = policy(far);
    let with_input = RouteRequest { input_bytes: 30.0, ..request(&[]) };
    assert_eq!(policy.shortest(&with_input), Ok((vec![0], 20.0 + 3.0 + 1.0)), "nothing is said yet");
    policy.set_pressure(vec![Pressure { latency_ms: 40.0, ..pressure(0, 0.0) }, Pressure { latency_ms: 2.0, ..pressure(1, 0.0) }]);
    assert_eq!(policy.shortest(&with_input), Ok((vec![1], 1.0 + 3.0 + 5.0)), "half of a round trip");
}

#[test]
fn a_device_that_just_failed_has_no_load_and_does_not_win() {
    let segments = vec![segment(0, 0, 1, 10.0), segment(1, 0, 1, 1.0)];
    let mut policy = policy(topology(2, 0.0, segments.clone()));
    policy.set_pressure(vec![pressure(0, 0.9)]);
    assert_eq!(shortest(&mut policy, &[9, 0]).0, [0], "the quick one says nothing while the other does");
    // Nor does one whose measurements say nothing any more.
    for run_ms in [f64::NAN, f64::INFINITY, -1.0] {
        policy.set_topology(topology(2, 0.0, vec![segments[0], segment(1, 0, 1, run_ms)]));
        assert_eq!(shortest(&mut policy, &[9, 0]).0, [0]);
    }
    // With the next topology it is gone, and what was known of it with it.
    policy.set_topology(topology(1, 0.0, vec![segments[0]]));
    assert_eq!(shortest(&mut policy, &[9]).0, [0]);
}

#[test]
fn ways_that_tie_take_turns() {
    let segments = (0..3).flat_map(|replica| [segment(2 * replica, 0, 1, 1.0), segment(2 * replica + 1, 1, 2, 1.0)]).collect();
    let mut policy = policy(topology(6, 0.0, segments));
    let ways = [0, 1, 2, 3].map(|ordinal| policy.route(&RouteRequest { ordinal, ..request(&[]) }).expect("a way"));
    assert_eq!(ways, [vec![0, 1], vec![2, 3], vec![4, 5], vec![0, 1]]);
}

/// So many stages of one block with so many replicas, each on a device of its own, all different.
fn grid(stages: u32, replicas: u32) -> Topology {
    let at = |stage: u32, replica: u32| segment(stage * replicas + replica, stage, stage + 1, 1.0 + f64::from((stage * 7 + replica * 5) % 11));
    topology(stages * replicas, 0.5, (0..stages).flat_map(|stage| (0..replicas).map(move |replica| at(stage, replica))).collect())
}

#[test]
fn eight_stages_of_six_replicas_are_not_enumerated() {
    // There are 1.68 million ways. What is prepared and looked at are 36 hops between two stages.
    let mut policy = policy(grid(8, 6));
    assert_eq!(policy.graphs[0].borders.iter().map(|border| border.hops.len()).sum::<usize>(), 7 * 36);
    let least = |stage: u32| (0..6).map(|replica| 1.0 + f64::from((stage * 7 + replica * 5) % 11)).fold(f64::INFINITY, f64::min);
    near(shortest(&mut policy, &[]).1, (0..8).map(least).sum::<f64>() + 7.0 * 0.5);
    // There are 10^60 ways here: whoever enumerates them does not come back.
    let (way, _) = shortest(&mut self::policy(grid(60, 10)), &[]);
    assert_eq!(way.len(), 60);
}

#[test]
fn more_hops_than_are_worked_out_ahead_are_worked_out_when_they_are_asked_for() {
    // Two stages with 520 devices each: 270,400 hops are above the limit.
    let mut large = grid(2, 520);
    large.links = vec![Link { source: 0, target: 520, speed: Speed { latency_ms: 100.0, bytes_per_ms: 1.0 } }];
    let mut policy = policy(large);
    assert!(520 * 520 > HOPS_MAX && policy.graphs[0].borders[1].hops.is_empty());
    let (way, way_ms) = shortest(&mut policy, &[]);
    assert_eq!(way.len(), 2);
    near(way_ms, 2.5);
}

#[test]
fn a_request_for_another_model_is_refused_and_settings_are_too() {
    let refusal = policy(grid(1, 1)).route(&RouteRequest { model: 3, ..request(&[]) }).expect_err("there is one model");
    assert_eq!(refusal.reason, "model 3 is not in topology 0, which has 1 models");
    assert!(ShortestPath::configure(r#"{"weights":[1]}"#).is_err());
}

/// The least cost of any way, found by trying all of them, and whether the host would accept each.
fn by_trying_all(topology: &Topology, outstanding: &[u32], at: u32, from: Option<u32>) -> f64 {
    let model = &topology.models[0];
    if at == model.blocks {
        return 0.0;
    }
    let links = Links::of(topology);
    let bytes = at.checked_sub(1).map_or(0.0, |block| model.border_bytes[block as usize]);
    let enters = |segment: &Segment| segment.start == at || (segment.divisible && (segment.start..segment.end).contains(&at));
    let through = |(segment, &waiting): (&Segment, &u32)| {
        let hop_ms = from.map_or(0.0, |from| links.hop_ms(from, segment.device, bytes));
        let run_ms = segment.run_ms * f64::from(segment.end - at) / f64::from(segment.end - segment.start);
        hop_ms + f64::from(waiting) * segment.run_ms + run_ms + by_trying_all(topology, outstanding, segment.end, Some(segment.device))
    };
    model.segments.iter().zip(outstanding).filter(|(segment, _)| enters(segment)).map(through).fold(f64::INFINITY, f64::min)
}

fn any_segment() -> impl Strategy<Value = Segment> {
    (0_u32..5, 0_u32..6, 1_u32..7, 0.0_f64..20.0, any::<bool>()).prop_map(|(device, start, length, run_ms, divisible)| {
        let end = (start + length).min(6);
        Segment { divisible, ..segment(device, start, end, run_ms) }
    })
}

fn any_link() -> impl Strategy<Value = Link> {
    let rate = prop_oneof![Just(0.0), Just(f64::INFINITY), 1.0_f64..100.0];
    (0_u32..5, 0_u32..5, 0.0_f64..10.0, rate).prop_map(|(source, target, latency_ms, bytes_per_ms)| Link {
        source,
        target,
        speed: Speed { latency_ms, bytes_per_ms },
    })
}

proptest! {
    #[test]
    fn no_way_is_shorter_and_every_way_is_one(
        segments in prop::collection::vec(any_segment(), 1..12),
        links in prop::collection::vec(any_link(), 0..12),
        outstanding in prop::collection::vec(0_u32..4, 12),
        sites in prop::collection::vec(0_u32..2, 5),
        ordinal in 0_u32..100,
    ) {
        let mut any = topology(5, 0.0, segments);
        any.models[0].blocks = 6;
        any.models[0].border_bytes = vec![64.0, 0.0, 1_000.0, 8.0, 300.0, 0.0];
        any.devices.iter_mut().zip(sites).for_each(|(device, site)| device.site = site);
        any.links = links;
        (any.within_site, any.between_sites) = (Speed { latency_ms: 0.3, bytes_per_ms: 90.0 }, Speed { latency_ms: 0.0, bytes_per_ms: 30.0 });
        let outstanding = &outstanding[..any.models[0].segments.len()];
        let least = by_trying_all(&any, outstanding, 0, None);
        let found = policy(any.clone()).shortest(&RouteRequest { ordinal, ..request(outstanding) });
        prop_assert_eq!(found.is_ok(), least.is_finite());
        if let Ok((way, way_ms)) = found {
            prop_assert!((way_ms - least).abs() <= 1e-6 * least.max(1e-3), "{} ms, {} is possible", way_ms, least);
            let mut next = 0;
            for index in way {
                let segment = &any.models[0].segments[index as usize];
                prop_assert!(segment.start == next || (segment.divisible && segment.start < next && next < segment.end));
                next = segment.end;
            }
            prop_assert_eq!(next, 6);
        }
    }
}
