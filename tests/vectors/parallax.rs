//! What Parallax itself computed for some pools, as `parallax-allocation.json` beside this file says. The tests of two
//! plugins include this module by its path.

use std::collections::BTreeMap;

use serde::Deserialize;
use shardhost_sdk::{
    allocation::{Offer, Problem, Replica, Stage},
    testing::{block, offer, problem},
    uniform::{Member, Room},
};

/// Half of a device's memory is for weights there.
const WEIGHTS_RATIO: f64 = 0.5;
const GIB: f64 = 1_073_741_824.0;

#[derive(Deserialize)]
struct File {
    source: String,
    model_bytes: ModelBytes,
    capacity: BTreeMap<String, Capacity>,
    allocation: Vec<Case>,
    feasible_pools_the_reference_rejects: Vec<Case>,
}

#[derive(Clone, Copy, Deserialize)]
struct ModelBytes {
    decoder_layer_param_bytes: f64,
    embedding_bytes: f64,
}

/// Layers that a card holds.
#[derive(Clone, Copy, Deserialize)]
struct Capacity {
    plain: i64,
    embed: i64,
    lmhead: i64,
    both: i64,
}

/// One run of the reference.
#[derive(Debug, Deserialize)]
pub struct Case {
    #[serde(rename = "L")]
    pub blocks: u32,
    /// The cards, in the order in which they joined.
    pub types: Vec<String>,
    strategy: String,
    pub dynamic: bool,
    pub ok: bool,
    pub error: Option<String>,
    /// The layers of each card.
    ranges: Vec<(Option<u32>, Option<u32>)>,
}

/// The range of each device, none for one that is idle.
pub type Placed = Vec<Option<(u32, u32)>>;

fn file() -> File {
    let file: File = serde_json::from_str(include_str!("parallax-allocation.json")).expect("the vectors are JSON");
    assert!(file.source.starts_with("GradientHQ/parallax"), "{}", file.source);
    file
}

/// The runs with a strategy, `greedy` or `dp`.
pub fn cases(strategy: &str) -> Vec<Case> {
    let cases: Vec<Case> = file().allocation.into_iter().filter(|case| case.strategy == strategy).collect();
    assert!(cases.len() >= 7, "only {} cases", cases.len());
    cases
}

/// Pools that hold the model, with the small device in the middle, and that the reference refuses with both strategies.
pub fn rejected() -> Vec<Case> {
    file().feasible_pools_the_reference_rejects
}

/// Memory in GiB and TFLOPS of a card, as the tests of the reference give them.
fn card(name: &str) -> (f64, f64) {
    match name {
        "a100-80g" => (80.0, 312.0),
        "a100-40g" => (40.0, 312.0),
        "rtx5090" => (32.0, 165.0),
        "rtx4090" => (24.0, 82.6),
        other => panic!("{other} is not in the vectors"),
    }
}

impl Case {
    /// The pool as the reference sees it.
    pub fn members(&self) -> Vec<Member> {
        let capacity = file().capacity;
        let member = |(index, name): (u32, &String)| {
            let Capacity { plain, embed, lmhead, both } = capacity[name];
            let (gib, tflops) = card(name);
            Member { offer: index, room: Room { plain, first: embed, last: lmhead, whole: both }, rate: tflops, memory_bytes: gib * GIB }
        };
        (0..).zip(&self.types).map(member).collect()
    }

    /// The pool as a host would pose it.
    pub fn problem(&self) -> Problem {
        let bytes = file().model_bytes;
        let mut blocks = vec![block(bytes.decoder_layer_param_bytes); self.blocks as usize];
        blocks[0].weight_bytes += bytes.embedding_bytes;
        blocks[self.blocks as usize - 1].weight_bytes += bytes.embedding_bytes;
        let made = |(index, name): (u32, &String)| offer(index, card(name).0 * GIB * WEIGHTS_RATIO, 1.0 / card(name).1);
        let offers: Vec<Offer> = (0..).zip(&self.types).map(made).collect();
        problem(blocks, offers)
    }

    /// What the reference answered.
    pub fn placed(&self) -> Placed {
        self.ranges.iter().map(|&(start, end)| start.zip(end)).collect()
    }

    /// The chain of all devices as they stand, each with all that it holds.
    pub fn in_order(&self) -> Vec<Stage> {
        let mut next = 0;
        let stage = |member: Member| {
            let start = next;
            next = self.blocks.min(start + u32::try_from(member.room.plain).expect("few"));
            Stage { offer: member.offer, start, end: next }
        };
        self.members().into_iter().map(stage).collect()
    }

    /// The blocks that are missing in all chains together, as the reference's refusal says.
    pub fn missing(&self) -> i64 {
        let error = self.error.as_deref().expect("the reference refused it");
        let numbers: Vec<i64> = error.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        numbers[1] - numbers[0]
    }

    /// A plan as the reference writes one down.
    pub fn written(&self, replicas: &[Replica]) -> Placed {
        let mut placed = vec![None; self.types.len()];
        for stage in replicas.iter().flat_map(|replica| &replica.stages) {
            placed[stage.offer as usize] = Some((stage.start, stage.end));
        }
        placed
    }
}
