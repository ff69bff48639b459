//! What only shows over many loads and runs: memory that is filled until no more fits, loads and unloads in a row, threads at the same time.

use std::{fs, sync::Arc, thread};

use host_core::units::Bytes;
use host_engine::{Error, Golden, Shard, Specimen};

use super::{AdapterSettings, Bench, Check, Driving, Subject, Verdict, driving};
use crate::world::{ShardAdapter, Warm};

/// Shards that the filling is divided among.
const PARTS: u64 = 8;
/// Of the loads in a row, one in so many computes as well.
const RUN_EVERY: u32 = 25;
/// What the process has grown to after one load in so many is where growth is counted from: by then all that is kept was made.
const SETTLED_AFTER: u32 = 10;
/// Specimens that threads share among them.
const SPECIMENS: usize = 2;

/// The checks that the settings ask for.
pub(super) fn checks(bench: &Bench<'_>, settings: &AdapterSettings) -> Result<Vec<Check>, Error> {
    // Two that are basic, so whoever passes anything takes them.
    let basic: Vec<Specimen> = Specimen::classes()?.into_iter().filter(|specimen| specimen.is_basic).take(SPECIMENS).collect();
    let check = |subject, name: String, verdict: Result<Verdict, Verdict>| {
        let verdict = verdict.unwrap_or_else(|verdict| verdict);
        Check { subject, name, is_required: false, verdict }
    };
    let mut checks = Vec::new();
    if settings.fill > Bytes::ZERO {
        checks.push(check(Subject::Memory, format!("filled with {}", settings.fill), filled(bench, settings.fill)));
    }
    if let Some(specimen) = basic.first().filter(|_| settings.cycles > 0) {
        checks.push(check(Subject::Cycles, format!("{} loads", settings.cycles), cycles(bench, specimen, settings)));
    }
    if settings.threads > 0 {
        checks.push(check(Subject::Parallel, format!("{} threads", settings.threads), parallel(bench, &basic, settings)));
    }
    Ok(checks)
}

/// A shard in memory, and what it must answer.
struct Held {
    warm: Warm<ShardAdapter>,
    shard: Arc<Shard>,
    golden: Golden,
}

/// Loads shards side by side until the memory is full or all are there. What was loaded goes on, and once all is unloaded there is room again.
fn filled(bench: &Bench<'_>, fill: Bytes) -> Result<Verdict, Verdict> {
    let mut held: Vec<Held> = Vec::new();
    let mut full = None;
    for part in 0..PARTS {
        let missing = |error: Error| Verdict::Missing(error.to_string());
        let specimen = Specimen::of_weights(fill.0.div_ceil(PARTS), part + 1).map_err(missing)?;
        let shard = Arc::new(bench.prepared(&specimen, std::slice::from_ref(&specimen.lengths))?);
        let golden = bench.golden(&specimen, &specimen.lengths, driving::SEEDS[0])?;
        match bench.driving.load(&shard) {
            Ok((warm, _)) => held.push(Held { warm, shard, golden }),
            Err(Verdict::Refused(reason)) if !held.is_empty() => {
                full = Some((shard, golden, reason));
                break;
            }
            Err(verdict) => return Err(verdict),
        }
    }
    for Held { warm, shard, golden } in &mut held {
        Driving::run(warm, shard, golden).map_err(|verdict| verdict.or_wrong().at(format!("{} beside others", shard.id)))?;
    }
    let loaded: Bytes = held.iter().map(|held| held.shard.weight_bytes).sum();
    drop(held);
    let Some((shard, golden, reason)) = full else {
        return Ok(Verdict::Holds(format!("{loaded} of weights at once, and the end was not reached")));
    };
    let again = bench.driving.load(&shard).and_then(|(mut warm, _)| Driving::run(&mut warm, &shard, &golden));
    again.map_err(|verdict| verdict.or_wrong().at("with everything else unloaded"))?;
    Ok(Verdict::Holds(format!("full after {loaded} of weights, and well again once they were unloaded: {reason}")))
}

/// Loads and unloads the same shard.
fn cycles(bench: &Bench<'_>, specimen: &Specimen, settings: &AdapterSettings) -> Result<Verdict, Verdict> {
    let shard = Arc::new(bench.prepared(specimen, std::slice::from_ref(&specimen.lengths))?);
    let golden = bench.golden(specimen, &specimen.lengths, driving::SEEDS[0])?;
    let settled = settings.cycles / SETTLED_AFTER;
    let mut before = None;
    for cycle in 0..settings.cycles {
        let once = || -> Result<(), Verdict> {
            let (mut warm, _) = bench.driving.load(&shard)?;
            if cycle % RUN_EVERY == 0 || cycle + 1 == settings.cycles {
                Driving::run(&mut warm, &shard, &golden)?;
            }
            Ok(())
        };
        // What it took once it must take again.
        once().map_err(|verdict| if cycle == 0 { verdict } else { verdict.or_wrong().at(format!("load {}", cycle + 1)) })?;
        if cycle == settled {
            before = resident();
        }
    }
    let Some(grown) = before.zip(resident()).map(|(before, after)| after - before) else {
        return Ok(Verdict::Holds("the memory of a process is not known on this system".to_owned()));
    };
    if grown > settings.growth_max {
        return Err(Verdict::Wrong(format!("this process has grown by {grown}, at most {} are right", settings.growth_max)));
    }
    Ok(Verdict::Holds(format!("this process has grown by {grown}")))
}

/// What of this process's memory is in use, beside what its driver processes have.
fn resident() -> Option<Bytes> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kibibytes.saturating_mul(1024)))
}

/// Threads with an instance each; of two that follow one another one has the first shard and one the second.
fn parallel(bench: &Bench<'_>, specimens: &[Specimen], settings: &AdapterSettings) -> Result<Verdict, Verdict> {
    let mut shards = Vec::new();
    for specimen in specimens {
        shards.push(Arc::new(bench.prepared(specimen, std::slice::from_ref(&specimen.lengths))?));
    }
    let mut work: Vec<(Arc<Shard>, Golden)> = Vec::new();
    for (seed, (specimen, shard)) in (driving::SEEDS[0]..).zip(specimens.iter().zip(&shards).cycle()).take(settings.threads as usize) {
        work.push((Arc::clone(shard), bench.golden(specimen, &specimen.lengths, seed)?));
    }
    let (driving, runs) = (bench.driving, settings.runs);
    let found: Vec<Result<f64, Verdict>> = thread::scope(|scope| {
        let spawned: Vec<_> = work.iter().map(|(shard, golden)| scope.spawn(move || ran(driving, shard, golden, runs))).collect();
        let panicked = || Err(Verdict::Wrong("a thread of the host panicked".to_owned()));
        spawned.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut furthest = 0.0_f64;
    for (number, found) in (1..).zip(found) {
        furthest = furthest.max(found.map_err(|verdict| verdict.at(format!("thread {number}")))?);
    }
    Ok(Verdict::near(furthest))
}

/// Loads and runs so many times on the calling thread.
fn ran(driving: Driving<'_>, shard: &Arc<Shard>, golden: &Golden, runs: u32) -> Result<f64, Verdict> {
    let (mut warm, _) = driving.load(shard)?;
    let mut furthest = 0.0_f64;
    for _ in 0..runs {
        furthest = furthest.max(Driving::run(&mut warm, shard, golden).map_err(Verdict::or_wrong)?);
    }
    Ok(furthest)
}
