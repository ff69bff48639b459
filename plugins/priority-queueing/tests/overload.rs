//! The policy with the host's own line, on a virtual clock, where requests come twice as fast as they can be answered.

#[path = "../../../tests/simulated_line.rs"]
mod simulated_line;

use std::collections::BTreeMap;

use priority_queueing::Priority;
use shardhost_sdk::queueing::{Arrival, Decision, QueueingPolicy};
use simulated_line::{Flow, Scene, Seen, play};

const SERVICE_MS: f64 = 10.0;
const PATIENCE_MS: f64 = 30_000.0;

/// The host's own order, to see what it comes to without this policy.
struct Arrivals;

impl QueueingPolicy for Arrivals {
    fn configure(_: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn admit(&mut self, arrival: &Arrival) -> Decision {
        Decision::Admit(arrival.now_ms)
    }
}

fn priority(config: &str) -> Priority {
    Priority::configure(config).expect("sound settings")
}

/// A host whose turns take 10 ms on average, for as long as it takes to serve so many requests. Flows are shares of what it can do.
fn scene(running_max: u32, requests: f64, flows: &[(u32, f64)], seed: u64) -> Scene {
    let per_ms = f64::from(running_max) / SERVICE_MS;
    let flow = |&(class, share): &(u32, f64)| Flow { class, per_ms: per_ms * share, deadline_ms: [PATIENCE_MS; 2], leaving: 0.0 };
    Scene {
        running_max,
        waiting_max: 1024,
        service_ms: [0.5 * SERVICE_MS, 1.5 * SERVICE_MS],
        length_ms: requests / per_ms,
        flows: flows.iter().map(flow).collect(),
        seed,
    }
}

fn answered(seen: &BTreeMap<u32, Seen>, class: u32) -> f64 {
    seen[&class].answered_ms.len() as f64
}

/// Three classes that together ask for twice of what can be done, the most urgent for this share of it.
fn overload(running_max: u32, urgent: f64, seed: u64) -> Scene {
    scene(running_max, 4_000.0, &[(0, urgent), (1, 0.3 * (2.0 - urgent)), (2, 0.7 * (2.0 - urgent))], seed)
}

/// Hosts of several sizes with more or less of urgent requests.
fn hosts() -> impl Iterator<Item = (u32, f64, u64)> {
    (0_u32..16).map(|seed| ([8, 12, 16, 32][seed as usize % 4], 0.1 + 0.05 * f64::from(seed % 8), u64::from(seed)))
}

#[test]
fn at_twice_what_can_be_done_the_urgent_hardly_notice_and_the_others_go_on() {
    for (running_max, urgent, seed) in hosts() {
        let loaded = overload(running_max, urgent, seed);
        let alone = play(&mut priority(""), &Scene { flows: loaded.flows[..1].to_vec(), ..loaded.clone() });
        let unloaded_ms = alone[&0].p99_ms();
        let in_order = play(&mut Arrivals, &loaded)[&0].p99_ms();
        assert!(in_order > 10.0 * unloaded_ms, "in order of arrival it takes {in_order} ms, {unloaded_ms} ms alone: this is no overload");
        let seen = play(&mut priority(""), &loaded);
        let loaded_ms = seen[&0].p99_ms();
        assert!(loaded_ms <= 1.5 * unloaded_ms, "{running_max} turns, {urgent} urgent: p99 {loaded_ms} ms, {unloaded_ms} ms alone");
        assert_eq!((seen[&0].shed, seen[&0].late), (0, 0), "no urgent request was turned away");
        assert!(seen[&2].shed > 1_000 && seen[&2].late == 0, "{} shed, {} late", seen[&2].shed, seen[&2].late);
        // What the urgent leave is nearly twice asked for by class 1, which has eight times the weight; 200 ms are twenty services.
        assert!(answered(&seen, 2) > 500.0 && seen[&2].still_ms_max < 200.0, "{} answered, still for {} ms", answered(&seen, 2), seen[&2].still_ms_max);
    }
}

#[test]
fn clients_that_go_away_or_cannot_wait_long_change_nothing_for_the_urgent() {
    for (running_max, urgent, seed) in hosts() {
        let mut loaded = overload(running_max, urgent, seed);
        let unloaded_ms = play(&mut priority(""), &Scene { flows: loaded.flows[..1].to_vec(), ..loaded.clone() })[&0].p99_ms();
        loaded.flows.iter_mut().for_each(|flow| (flow.leaving, flow.deadline_ms) = (0.3, [200.0, 2_000.0]));
        let seen = play(&mut priority(""), &loaded);
        let loaded_ms = seen[&0].p99_ms();
        assert!(loaded_ms <= 1.5 * unloaded_ms, "{running_max} turns, {urgent} urgent: p99 {loaded_ms} ms, {unloaded_ms} ms alone");
        let low = &seen[&2];
        assert!(low.left > 0 && low.shed > 10 * low.late, "{} shed at once, {} waited in vain", low.shed, low.late);
        assert!(low.still_ms_max < 500.0 && answered(&seen, 2) > 400.0, "still for {} ms", low.still_ms_max);
    }
}

#[test]
fn a_flood_of_the_urgent_leaves_the_others_their_share() {
    // Eight turns of 10 ms: the share of a weight of 1 beside 64 is one turn in 81 ms.
    let seen = play(&mut priority(""), &scene(8, 20_000.0, &[(0, 2.0), (2, 0.1)], 1));
    assert!(seen[&0].shed > 10_000 && seen[&2].late == 0, "{} late", seen[&2].late);
    let share = answered(&seen, 2) / (answered(&seen, 0) + answered(&seen, 2));
    assert!(share > 0.8 / 65.0 && seen[&2].still_ms_max < 400.0, "{share} of all turns, still for {} ms", seen[&2].still_ms_max);
}

#[test]
fn classes_that_all_have_more_to_do_share_the_turns_by_weight() {
    let flood = Scene { waiting_max: 100, ..scene(8, 20_000.0, &[(0, 1.0), (1, 1.0), (2, 1.0)], 2) };
    let seen = play(&mut priority(r#"{"weights":[4,2,1]}"#), &flood);
    let [most, some, least] = [0, 1, 2].map(|class| answered(&seen, class));
    assert!((1.8..2.2).contains(&(most / some)) && (1.8..2.2).contains(&(some / least)), "{most} : {some} : {least}");
}

#[test]
fn a_class_with_next_to_no_weight_waits_no_longer_than_it_ages() {
    let waited = |ageing_ms: u32| {
        let mut policy = priority(&format!(r#"{{"weights":[100000,1],"ageing_ms":{ageing_ms}}}"#));
        let seen = play(&mut policy, &scene(8, 10_000.0, &[(0, 1.5), (1, 0.02)], 3));
        (answered(&seen, 1), seen[&1].waited_ms.last().copied().unwrap_or(f64::INFINITY))
    };
    let (aged, longest_ms) = waited(500);
    assert!(aged > 100.0 && longest_ms < 750.0, "{aged} answered, after {longest_ms} ms at most");
    assert_eq!(waited(1_000_000_000).0, 0.0, "without ageing all are turned away, because they would be late");
}
