//! The policy with the host's own line, on a virtual clock, where requests come twice as fast as they can be answered.

#[path = "../../../tests/simulated_line.rs"]
mod simulated_line;

use first_come_queueing::FirstCome;
use simulated_line::{Flow, Scene, play};

#[test]
fn at_twice_what_can_be_done_who_would_be_late_is_turned_away_at_once() {
    for seed in 0..8 {
        let flow = Flow { class: 0, per_ms: 0.8, deadline_ms: [100.0, 1_000.0], leaving: 0.1 };
        let scene = Scene { running_max: 4, waiting_max: 1024, service_ms: [5.0, 15.0], length_ms: 20_000.0, flows: vec![flow], seed };
        let seen = &play(&mut FirstCome, &scene)[&0];
        let answered = seen.answered_ms.len();
        assert!(seen.shed > 5_000 && seen.shed > 100 * seen.late, "{} turned away at once, {} waited in vain", seen.shed, seen.late);
        assert!(answered > 7_600, "{answered} answered of the 8000 that can be");
        assert!(seen.p99_ms() <= 1_015.0 && seen.still_ms_max < 50.0, "p99 {} ms, still for {} ms", seen.p99_ms(), seen.still_ms_max);
    }
}
