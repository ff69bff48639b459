//! Ranks by arrival in rehearsal, and then breaks the rule that its configuration names. For tests only.

use std::hint::black_box;

use shardhost_sdk::{
    export_queueing,
    queueing::{Arrival, Decision, QueueingPolicy, Refusal},
};

/// What its configuration names, and how many arrivals it saw.
#[derive(Debug)]
pub struct Misbehaving {
    how: String,
    arrivals: u32,
}

/// Rehearsal asks so often; what serves is another instance, which counts from 0.
const REHEARSED: u32 = 300;
/// No real line is as short as the one of rehearsal.
const REHEARSAL_DEPTH_MAX: u32 = 8;

impl QueueingPolicy for Misbehaving {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { how: config.trim_matches(['"', '{', '}']).to_owned(), arrivals: 0 })
    }

    #[allow(clippy::panic, reason = "to panic is what it is for")]
    fn admit(&mut self, arrival: &Arrival) -> Decision {
        self.arrivals += 1;
        if self.how == "refuse-unrehearsed" {
            return Decision::Refuse(Refusal::because("nobody may wait"));
        }
        if arrival.depth_max == REHEARSAL_DEPTH_MAX && self.arrivals <= REHEARSED {
            return Decision::Admit(arrival.now_ms);
        }
        match self.how.as_str() {
            "not-a-number" => Decision::Admit(f64::NAN),
            "infinite" => Decision::Admit(f64::INFINITY),
            "trap" => panic!("this policy never ranks"),
            "loop" => loop {
                black_box(0);
            },
            "long-reason" => Decision::Refuse(Refusal::because("no ".repeat(1 << 20))),
            "memory" => loop {
                black_box(Vec::<u8>::with_capacity(1 << 20).leak());
            },
            _ => Decision::Admit(arrival.now_ms),
        }
    }
}

export_queueing!(Misbehaving);
