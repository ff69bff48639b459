//! Answers the simplest problem of its rehearsal and refuses the others, which is sound, and then breaks the rule that its configuration names. For tests only.

use std::hint::black_box;

use shardhost_sdk::{
    allocation::{AllocationPolicy, Observation, Problem, Proposal, Refusal, Replica, Stage, Verdict},
    export_allocation,
};

/// What its configuration names, and the most offers that it ever saw.
#[derive(Debug)]
pub struct Misbehaving {
    how: String,
    offers: u32,
}

impl AllocationPolicy for Misbehaving {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { how: config.trim_matches(['"', '{', '}']).to_owned(), offers: 0 })
    }

    #[allow(clippy::panic, reason = "to panic is what it is for")]
    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let blocks = count(problem.blocks.len());
        let chain = |stages: Vec<Stage>| Ok(Proposal { replicas: vec![Replica { stages }], bound: 0.0, attributes: Vec::new() });
        let whole = Stage { offer: 0, start: 0, end: blocks };
        if problem.model.starts_with("rehearsal") {
            return if problem.offers.len() == 1 && self.how != "refuse-unrehearsed" { chain(vec![whole]) } else { Err(Refusal::because("not in rehearsal")) };
        }
        self.offers = self.offers.max(count(problem.offers.len()));
        let bound = |bound| Ok(Proposal { replicas: vec![Replica { stages: vec![whole] }], bound, attributes: Vec::new() });
        match self.how.as_str() {
            "unknown-offer" => chain(vec![Stage { offer: 77, ..whole }]),
            // Of the first problem that it was given; devices may have been lost since.
            "lost-offer" => chain(vec![Stage { offer: self.offers - 1, ..whole }]),
            "excluded" => chain(vec![problem.exclusions.first().map_or(whole, |one| Stage { offer: one.offer, start: one.start, end: one.end })]),
            "gap" => chain(vec![Stage { start: 1, ..whole }]),
            "hole" => chain(vec![Stage { end: 1, ..whole }, Stage { offer: 1, start: 2, ..whole }]),
            "missing-end" => chain(vec![Stage { end: blocks - 1, ..whole }]),
            "past-the-end" => chain(vec![Stage { end: blocks + 1, ..whole }]),
            "overlap" => chain(vec![Stage { end: 2, ..whole }, Stage { offer: 1, start: 1, ..whole }]),
            "empty-stage" => chain(vec![Stage { end: 0, ..whole }, whole]),
            "reversed" => chain(vec![Stage { start: blocks, end: 0, ..whole }]),
            "nothing" => Ok(Proposal { replicas: Vec::new(), bound: 0.0, attributes: Vec::new() }),
            "no-stages" => chain(Vec::new()),
            "too-many" => Ok(Proposal { replicas: vec![Replica { stages: vec![whole] }; 1000], bound: 0.0, attributes: Vec::new() }),
            "not-a-number" => bound(f64::NAN),
            "infinite" => bound(f64::INFINITY),
            "negative" => bound(-1.0),
            "huge" => chain(vec![whole; 400_000]),
            "long-attribute" => Ok(Proposal { attributes: vec![("x".repeat(2 << 20), String::new())], ..bound(0.0)? }),
            "many-empty-replicas" => Ok(Proposal { replicas: vec![Replica { stages: Vec::new() }; 300_000], bound: 0.0, attributes: Vec::new() }),
            "trap" => panic!("this policy never allocates"),
            "loop" => loop {
                black_box(0);
            },
            "review-stubborn" if problem.current.is_empty() => Err(Refusal::because("there is no plan to keep")),
            "review-stubborn" => Ok(Proposal { replicas: problem.current.clone(), bound: 0.0, attributes: Vec::new() }),
            "review-always" | "review-drift" => chain(even(problem, elsewhere(problem))),
            how if how.starts_with("review-") => chain(even(problem, 0)),
            _ => chain(vec![whole]),
        }
    }

    #[allow(clippy::panic, reason = "to panic is what it is for")]
    fn review(&mut self, observed: &Observation) -> Verdict {
        if observed.problem.model.starts_with("rehearsal") {
            return Verdict::Keep;
        }
        // The host asks from 1.3 times on.
        let slow = observed.stages.iter().find(|stage| stage.measured_ms > 1.25 * stage.predicted_ms);
        match (self.how.as_str(), slow) {
            ("review-always" | "review-stubborn", _) => Verdict::Replan("it is never content".to_owned()),
            ("review-drift", Some(slow)) => Verdict::Replan(format!("stage {} of replica {} is slow", slow.stage, slow.replica)),
            ("review-silent", _) => Verdict::Replan(String::new()),
            ("review-huge", _) => Verdict::Replan("x".repeat(2 << 20)),
            ("review-trap", _) => panic!("this policy never reviews"),
            ("review-loop", _) => loop {
                black_box(0);
            },
            _ => Verdict::Keep,
        }
    }
}

/// As few stages as there may be, as even as can be, on one offer after another from this one on.
fn even(problem: &Problem, first: u32) -> Vec<Stage> {
    let (blocks, stages) = (count(problem.blocks.len()), problem.placement.stages_min.max(1));
    let stage = |index: u32| Stage { offer: (first + index) % offers(problem), start: index * blocks / stages, end: (index + 1) * blocks / stages };
    (0..stages).map(stage).collect()
}

/// The offer after the one that the plan in force begins on.
fn elsewhere(problem: &Problem) -> u32 {
    let stage = problem.current.first().and_then(|replica| replica.stages.first());
    stage.map_or(0, |stage| (stage.offer + 1) % offers(problem))
}

fn offers(problem: &Problem) -> u32 {
    count(problem.offers.len()).max(1)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

export_allocation!(Misbehaving);
