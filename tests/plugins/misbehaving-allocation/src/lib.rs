//! Refuses in rehearsal, which is sound, and then breaks the rule that its configuration names. For tests only.

use shardhost_sdk::{
    allocation::{AllocationPolicy, Problem, Proposal, Refusal, Replica, Stage},
    export_allocation,
};

/// What its configuration names.
#[derive(Debug)]
pub struct Misbehaving(String);

impl AllocationPolicy for Misbehaving {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self(config.trim_matches(['"', '{', '}']).to_owned()))
    }

    fn allocate(&mut self, problem: &Problem) -> Result<Proposal, Refusal> {
        let blocks = u32::try_from(problem.blocks.len()).unwrap_or(u32::MAX);
        let chain = |stages: Vec<Stage>| Ok(Proposal { replicas: vec![Replica { stages }], bound: 0.0, attributes: Vec::new() });
        let whole = Stage { offer: 0, start: 0, end: blocks };
        match self.0.as_str() {
            _ if problem.model.starts_with("rehearsal") => Err(Refusal::because("not in rehearsal")),
            "unknown-offer" => chain(vec![Stage { offer: 77, ..whole }]),
            "gap" => chain(vec![Stage { start: 1, ..whole }]),
            "reversed" => chain(vec![Stage { start: blocks, end: 0, ..whole }]),
            "nothing" => Ok(Proposal { replicas: Vec::new(), bound: 0.0, attributes: Vec::new() }),
            "too-many" => Ok(Proposal { replicas: vec![Replica { stages: vec![whole] }; 1000], bound: 0.0, attributes: Vec::new() }),
            "not-a-number" => Ok(Proposal { replicas: vec![Replica { stages: vec![whole] }], bound: f64::NAN, attributes: Vec::new() }),
            "huge" => chain(vec![whole; 4_000_000]),
            _ => chain(vec![whole]),
        }
    }
}

export_allocation!(Misbehaving);
