//! Why a model is not placed: the constraint without which it would be, and by how much it fails. Found by asking again
//! with each constraint lifted in turn, memory last.

use shardhost_sdk::{
    allocation::{Problem, Refusal, Roles},
    problem::Ranges,
};

use crate::{pool::Pool, sorting};

/// The refusal of a problem for which no plan was found. `solves` says whether a changed one has a plan.
pub fn explain(ranges: &Ranges<'_>, solves: impl Fn(&Problem) -> bool) -> Refusal {
    let problem = ranges.problem();
    let (model, blocks) = (&problem.model, ranges.blocks());
    if blocks == 0 || problem.offers.is_empty() {
        return Refusal::because(format!("model {model} has {blocks} blocks, and there are {} offers to place them on", problem.offers.len()));
    }
    lifted(problem, &solves).unwrap_or_else(|| memory(ranges, &solves))
}

/// A refusal for a constraint other than memory, if the model would be placed without it.
fn lifted(problem: &Problem, solves: &impl Fn(&Problem) -> bool) -> Option<Refusal> {
    let model = &problem.model;
    let limits = &problem.placement;
    let mut free = problem.clone();
    if let [first, ..] = problem.exclusions.as_slice() {
        free.exclusions.clear();
        if solves(&free) {
            let id = problem.offers.get(first.offer as usize).map_or("an offer that is gone", |offer| offer.id.as_str());
            let (count, start, end, why) = (problem.exclusions.len(), first.start, first.end, &first.reason);
            let reason = format!("{model} would fit if nothing was refused on loading; {count} shards were, [{start}..{end}) on {id}: {why}");
            return Some(Refusal { reason, nearest: Some(first.offer), short_bytes: 0.0 });
        }
    }
    free.placement.stages_min = 1;
    if limits.stages_min > 1 && solves(&free) {
        let reason =
            format!("{model} fits in fewer stages than stages_min, {}, asks for, {} offers do not make so many", limits.stages_min, problem.offers.len());
        return Some(Refusal::because(reason));
    }
    free.placement.stages_max = u32::MAX;
    if solves(&free) {
        let needed = (limits.stages_max + 1..=problem.offers.len() as u32).find(|&stages| {
            free.placement.stages_max = stages;
            solves(&free)
        });
        let needed = needed.unwrap_or(limits.stages_max + 1);
        return Some(Refusal::because(format!("{model} needs {needed} stages on these offers, stages_max is {}", limits.stages_max)));
    }
    free.offers.iter_mut().for_each(|offer| offer.roles = Roles::HEAD | Roles::BODY | Roles::TAIL);
    if solves(&free) {
        let takes = |role: Roles| problem.offers.iter().filter(|offer| offer.roles.contains(role)).count();
        let (heads, bodies, tails) = (takes(Roles::HEAD), takes(Roles::BODY), takes(Roles::TAIL));
        let reason = format!("{model} would fit if every offer took every place in a chain; {heads} take the first, {bodies} one between, {tails} the last");
        return Some(Refusal::because(reason));
    }
    None
}

/// The offer that needs least more memory to take what finds no place.
fn memory(ranges: &Ranges<'_>, solves: &impl Fn(&Problem) -> bool) -> Refusal {
    let pool = Pool::variants(ranges).swap_remove(0);
    let (model, blocks) = (&ranges.problem().model, ranges.blocks());
    let lacks = |offer: u32, start: u32| (ranges.need(offer, start, blocks) - ranges.offer(offer).memory_bytes).max(0.0);
    let chain = longest(&pool);
    let placed = chain.last().map_or(0, |last| last.2);
    if placed == blocks {
        let reason = format!("{model} finds room, but no chain heeds the roles of offers, the shards that they refused and the limits of stages at once");
        return Refusal::because(reason);
    }
    let used = |offer: u32| chain.iter().find(|stage| stage.0 == offer);
    // Whoever is in the chain takes the rest together with its own blocks, as if it came last; others take the rest alone.
    let rest = |offer: u32| match used(offer) {
        Some(&(_, start, end)) => lacks_more(ranges, offer, blocks - placed + (end - start)),
        None => lacks(offer, placed),
    };
    let mut tried: Vec<u32> = (0..ranges.offers()).collect();
    sorting::keep_least_by(&mut tried, TRIED, &|offer| sorting::rising(rest(offer)));
    let tried: Vec<(f64, u32)> = tried.into_iter().map(|offer| (rest(offer), offer)).collect();
    let enough = |&&(short, offer): &&(f64, u32)| {
        let mut larger = ranges.problem().clone();
        larger.offers[offer as usize].memory_bytes += short.ceil();
        short > 0.0 && solves(&larger)
    };
    let &(short, nearest) = tried.iter().find(enough).or(tried.first()).unwrap_or(&(0.0, 0));
    let id = &ranges.offer(nearest).id;
    let reason = format!(
        "{model} is short of {} on {id}: {placed} of {blocks} blocks found a place, with the others it needs {}, it has {}",
        size(short),
        size(ranges.offer(nearest).memory_bytes + short),
        size(ranges.offer(nearest).memory_bytes)
    );
    Refusal { reason, nearest: Some(nearest), short_bytes: short.ceil() }
}

/// Offers that are asked about once more with the memory that they lack.
const TRIED: usize = 4;

/// Bytes that an offer lacks for the last so many blocks.
fn lacks_more(ranges: &Ranges<'_>, offer: u32, count: u32) -> f64 {
    let blocks = ranges.blocks();
    (ranges.need(offer, blocks - count.min(blocks), blocks) - ranges.offer(offer).memory_bytes).max(0.0)
}

/// A chain as long as memory lets it be, from the offer that holds most on: offer, start and end of each stage.
fn longest(pool: &Pool<'_, '_>) -> Vec<(u32, u32, u32)> {
    let mut free = pool.usable();
    let mut chain = Vec::new();
    let mut start = 0;
    while start < pool.ranges().blocks() && chain.len() < pool.limits().stages_max as usize {
        let reach = |&offer: &u32| (pool.end(pool.kind_of(offer), start), std::cmp::Reverse(offer));
        let Some(offer) = free.iter().copied().max_by_key(reach) else { break };
        let end = reach(&offer).0;
        if end == start {
            break;
        }
        free.retain(|&other| other != offer);
        chain.push((offer, start, end));
        start = end;
    }
    chain
}

/// Bytes as people read them.
pub fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes.max(0.0).ceil(), 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() < 0.05 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_people_read_them() {
        let cases = [(0.0, "0 B"), (1023.0, "1023 B"), (1536.0, "1.5 KiB"), (3.0 * 1_048_576.0, "3 MiB"), (1_288_490_189.0, "1.2 GiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }
}
