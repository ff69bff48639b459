//! Devices that come and go: the problem after it, as a host would pose it.

use shardhost_sdk::allocation::{Problem, Replica, Stage};

use crate::pools::{Machine, device, offer};

/// The problem with another device, which gets the last id.
pub fn joined(problem: &Problem, machine: &Machine) -> Problem {
    let mut problem = problem.clone();
    let index = problem.devices.len() as u32;
    let ordinal = problem.offers.iter().map(|offer| offer.joined + 1).max().unwrap_or(0);
    problem.devices.push(device(ordinal));
    problem.offers.push(shardhost_sdk::allocation::Offer { device: index, joined: ordinal, ..offer(ordinal, machine) });
    problem
}

/// The problem without a device, which made one offer at the same index. Replicas that used it are not in force any more;
/// what their other stages have loaded is named by the attribute `holds`.
pub fn left(problem: &Problem, gone: u32) -> Problem {
    let mut after = problem.clone();
    after.devices.remove(gone as usize);
    after.offers.remove(gone as usize);
    let moved = |index: u32| index - u32::from(index > gone);
    for offer in &mut after.offers {
        offer.device = moved(offer.device);
    }
    after.links.retain(|link| link.source != gone && link.target != gone);
    for link in &mut after.links {
        (link.source, link.target) = (moved(link.source), moved(link.target));
    }
    let (broken, whole): (Vec<Replica>, Vec<Replica>) =
        problem.current.iter().cloned().partition(|replica| replica.stages.iter().any(|stage| stage.offer == gone));
    let renamed = |stage: &Stage| Stage { offer: moved(stage.offer), ..*stage };
    after.current = whole.iter().map(|replica| Replica { stages: replica.stages.iter().map(renamed).collect() }).collect();
    for stage in broken.iter().flat_map(|replica| &replica.stages).filter(|stage| stage.offer != gone) {
        let stage = renamed(stage);
        after.offers[stage.offer as usize].attributes.push(("holds".into(), format!("{}..{}", stage.start, stage.end)));
    }
    after
}

/// Bytes of weights that a plan loads: stages that are neither in force nor named as held.
pub fn loaded_bytes(problem: &Problem, replicas: &[Replica]) -> f64 {
    let in_force = |stage: &Stage| problem.current.iter().any(|replica| replica.stages.contains(stage));
    let held = |stage: &Stage| {
        let range = ("holds".to_owned(), format!("{}..{}", stage.start, stage.end));
        problem.offers[stage.offer as usize].attributes.contains(&range)
    };
    let new = replicas.iter().flat_map(|replica| &replica.stages).filter(|stage| !in_force(stage) && !held(stage));
    new.map(|stage| problem.blocks[stage.start as usize..stage.end as usize].iter().map(|block| block.weight_bytes).sum::<f64>()).sum()
}
