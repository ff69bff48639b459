//! The policy with the host's own line, on a virtual clock, where requests come twice as fast as they can be answered.

#[path = "../../../tests/simulated_line.rs"]
mod simulated_line;

use deadline_queueing::Deadline;
use shardhost_sdk::queueing::QueueingPolicy;
use simulated_line::{Flow, Scene, Seen, play};

#[test]
fn at_twice_what_can_be_done_nearly_all_who_are_let_in_are_answered_in_time() {
    for seed in 0..8 {
        let hasty = Flow { class: 0, per_ms: 0.3, deadline_ms: [50.0, 200.0], leaving: 0.0 };
        let patient = Flow { class: 1, per_ms: 0.5, deadline_ms: [500.0, 3_000.0], leaving: 0.1 };
        let scene = Scene { running_max: 4, waiting_max: 1024, service_ms: [5.0, 15.0], length_ms: 20_000.0, flows: vec![hasty, patient], seed };
        let seen = play(&mut Deadline::configure("").expect("sound"), &scene);
        let sum = |count: fn(&Seen) -> usize| seen.values().map(count).sum::<usize>();
        let (shed, late, answered) = (sum(|seen| seen.shed), sum(|seen| seen.late), sum(|seen| seen.answered_ms.len()));
        assert!(shed > 5_000 && shed > 10 * late, "{shed} turned away at once, {late} waited in vain");
        assert!(answered > 7_600, "{answered} answered of the 8000 that can be");
        for (class, patience_ms) in [(0, 200.0), (1, 3_000.0)] {
            assert!(seen[&class].p99_ms() <= patience_ms + 15.0 && seen[&class].still_ms_max < 1_000.0, "class {class}");
        }
    }
}
