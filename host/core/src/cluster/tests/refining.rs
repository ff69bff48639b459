//! Measured stage times change what problems and topologies reckon with, and nothing else.

use super::*;
use crate::{cost::refined::RefiningSettings, units::Millis};

fn run(device: &str, start: u32, end: u32, ms: f64, runs: u32) -> Event {
    Event::Measured { offer: offer_id(device), shard: ShardId { model: model_id("m"), range: range(start, end) }, run: Millis(ms), runs }
}

/// What each offer is reckoned to take for a block of 1 GFLOP, calibrated to 1 ms.
fn block_ms(cluster: &Cluster, model: &str) -> Vec<f64> {
    let problem = cluster.problem(&model_id(model)).expect("the model is known");
    problem.offers.iter().map(|offer| offer.cost.gflop_ms).collect()
}

#[test]
fn what_the_stages_of_a_model_take_is_reckoned_with_in_its_next_problem_and_in_no_other() {
    let mut cluster = pool(&[("a", 64), ("b", 64)], &[("m", 4), ("n", 4)]);
    cluster.apply(run("a", 0, 4, 16.0, 7));
    assert_eq!(block_ms(&cluster, "m"), [1.0, 1.0], "seven runs are too few");
    cluster.apply(run("a", 0, 4, 16.0, 1));
    assert_eq!(block_ms(&cluster, "m"), [4.0, 4.0], "the other one takes over what the model's operators cost");
    assert_eq!(block_ms(&cluster, "n"), [1.0, 1.0]);
    cluster.apply(run("b", 0, 2, 3.0, 100));
    assert_eq!(block_ms(&cluster, "m"), [4.0, 1.5]);
}

#[test]
fn an_offer_of_another_adapter_takes_nothing_over() {
    let mut cluster = pool(&[("a", 64)], &[("m", 4)]);
    let mut other = device("b", Bytes::mib(64));
    other.offers[0].adapter = "gpu".into();
    after(&mut cluster, Event::Joined { device: other, held: vec![], now: Millis(0.0) });
    cluster.apply(run("a", 0, 4, 16.0, 100));
    assert_eq!(block_ms(&cluster, "m"), [4.0, 1.0]);
}

#[test]
fn what_was_measured_on_a_device_goes_with_it_and_with_its_offers_of_before() {
    let mut cluster = pool(&[("a", 64), ("b", 64)], &[("m", 4)]);
    cluster.apply(run("b", 0, 4, 16.0, 100));
    after(&mut cluster, away("b"));
    let mut faster = device("b", Bytes::mib(64));
    faster.offers[0].cost = faster.offers[0].cost.slowed(0.5);
    after(&mut cluster, Event::Joined { device: faster, held: vec![], now: Millis(0.0) });
    assert_eq!(block_ms(&cluster, "m"), [1.0, 0.5]);
    cluster.apply(run("b", 0, 4, 16.0, 100));
    assert_eq!(block_ms(&cluster, "m"), [8.0, 4.0]);
    after(&mut cluster, Event::Left { device: device_id("b") });
    assert_eq!(block_ms(&cluster, "m"), [1.0]);
    cluster.apply(run("gone", 0, 4, 16.0, 100));
    assert_eq!(block_ms(&cluster, "m"), [1.0]);
}

#[test]
fn the_plan_remembers_what_was_expected_when_it_was_made() {
    let mut cluster = pool(&[("a", 64)], &[("m", 4)]);
    let shard = ShardId { model: model_id("m"), range: range(0, 4) };
    let foreseen = |cluster: &Cluster| cluster.models()[&model_id("m")].foreseen(&offer_id("a"), &shard);
    assert_eq!(foreseen(&cluster), Some(Millis(4.0)));
    cluster.apply(run("a", 0, 4, 8.0, 100));
    assert_eq!(foreseen(&cluster), Some(Millis(4.0)), "measuring makes no other plan");
    after(&mut cluster, Event::ReplanAsked);
    assert_eq!(foreseen(&cluster), Some(Millis(8.0)));
}

#[test]
fn routing_is_told_what_was_measured_and_told_again_only_when_it_differs() {
    let mut cluster = pool(&[("a", 64)], &[("m", 4)]);
    let told = |cluster: &Cluster| (cluster.topology().number, cluster.topology().models[0].segments[0].run);
    let (first, calibrated) = told(&cluster);
    assert_eq!(calibrated, Millis(4.0));
    let mut tick = 0.0;
    let mut measure = |cluster: &mut Cluster, ms: f64| {
        cluster.apply(run("a", 0, 4, ms, 1_000));
        tick += 1.0;
        after(cluster, Event::Tick { now: Millis(tick) });
    };
    measure(&mut cluster, 4.2);
    assert_eq!(told(&cluster), (first, Millis(4.0)), "near enough");
    measure(&mut cluster, 6.0);
    let (second, run) = told(&cluster);
    assert!(second != first && (4.9..5.3).contains(&run.0), "{run}");
}

/// A device whose blocks cost what they cost and not what the cost model says: the later, the less. The model says 1 ms each.
fn truth(start: u32, end: u32) -> f64 {
    (start..end).map(|block| 4.0 - 0.2 * f64::from(block)).sum()
}

#[test]
fn after_a_hundred_runs_of_one_plan_another_plan_is_predicted_within_fifteen_per_cent() {
    let mut cluster = pool(&[("a", 64), ("b", 64)], &[("m", 8)]);
    for beat in 0..25 {
        // One beat in six is disturbed.
        let disturbed = if beat % 6 == 3 { 7.0 } else { 1.0 };
        cluster.apply(run("a", 0, 4, truth(0, 4) * disturbed, 4));
        cluster.apply(run("b", 4, 8, truth(4, 8) * disturbed * 2.0, 4));
    }
    let problem = cluster.problem(&model_id("m")).expect("the model is known");
    let predicted = |offer: u32, start: u32, end: u32| problem.predict(&vec![ProposedStage { offer, start, end }]).stages[0].0;
    let error = |predicted: f64, measured: f64| (predicted / measured - 1.0).abs();
    for (start, end) in [(0, 4), (0, 5), (0, 6), (1, 4)] {
        assert!(error(predicted(0, start, end), truth(start, end)) < 0.15, "{start}..{end}");
    }
    for (start, end) in [(4, 8), (3, 8), (5, 8)] {
        assert!(error(predicted(1, start, end), 2.0 * truth(start, end)) < 0.15, "{start}..{end}");
    }
}

#[test]
fn two_cuts_that_were_measured_are_both_predicted_so_that_neither_refutes_the_other_again() {
    let mut cluster = pool(&[("a", 64)], &[("m", 8)]);
    // Each run costs three blocks besides its own.
    let truth = |blocks: u32| 2.0 * (f64::from(blocks) + 3.0);
    for blocks in [8, 1, 8, 1] {
        for _ in 0..5 {
            cluster.apply(run("a", 0, blocks, truth(blocks), 8));
        }
    }
    let problem = cluster.problem(&model_id("m")).expect("the model is known");
    for blocks in [8, 4, 1] {
        let predicted = problem.predict(&vec![ProposedStage { offer: 0, start: 0, end: blocks }]).stages[0].0;
        assert!((predicted / truth(blocks) - 1.0).abs() < 0.15, "{blocks} blocks: {predicted} for {}", truth(blocks));
    }
}

#[test]
fn how_measurements_are_taken_is_a_setting() {
    let settings = ClusterSettings { refining: RefiningSettings { runs_min: 1, ..RefiningSettings::default() }, ..ClusterSettings::default() };
    let mut cluster = Cluster::new(settings, PlanNumber(0));
    after(&mut cluster, joined("a", 64, vec![], 0.0));
    after(&mut cluster, added("m", 4));
    cluster.apply(run("a", 0, 4, 8.0, 1));
    assert_eq!(block_ms(&cluster, "m"), [2.0]);
}
