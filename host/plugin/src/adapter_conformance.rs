//! The conformance suite of adapters: what an accelerator takes of all that models are made of, and whether it computes that as the reference
//! does. Specimens of host-engine are loaded through the adapter in its sandbox, as a host would hand them out: with golden answers, and
//! converted where the adapter takes nothing else. Then lengths around the edges of buckets, memory that is filled until no more fits, many
//! loads and unloads, and several threads at a time.
//!
//! What a policy or an adapter answers to anything at all is tested elsewhere, in `conformance`. How a shard is converted is for the caller.

mod driving;
mod lengths;
mod load;
mod report;

use std::{collections::BTreeSet, sync::Arc};

use host_core::units::Bytes;
use host_engine::{Artefact, Golden, Lengths, Shard, Specimen};

use self::driving::Driving;
pub use self::report::{AdapterReport, Check, Subject, Verdict};
use crate::{
    adapter::AdapterOffer,
    clock::Clock,
    error::{Error, Fault},
    program::Program,
    workbench::fresh,
    world::ShardAdapter,
};

/// The attribute of an offer that says what shards must be converted for.
const NEEDS_ARTEFACTS: &str = "needs-artefacts";
/// The attribute of an engine that computes floats of 32 bits as such of 16, and its value for one that always does.
const HALF: (&str, &str) = ("half-floats", "always");
/// Makes every class required.
const ALL: &str = "all";

/// How an adapter is examined.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterSettings {
    /// Which of its offers, counted from 0.
    pub offer: u32,
    /// Loads and unloads in a row; 0 leaves them out.
    pub cycles: u32,
    /// How much this process may have grown after them.
    pub growth_max: Bytes,
    /// Threads that run at the same time; 0 leaves them out.
    pub threads: u32,
    /// Runs of each of them.
    pub runs: u32,
    /// Weights that are loaded side by side, or as many as fit; 0 leaves them out.
    pub fill: Bytes,
    /// The largest difference, as a part of an output's largest value; none for what the reference's own answers allow.
    pub tolerance: Option<f64>,
    /// Checks that may not be refused beside the basic ones, by name; `all` for every one.
    pub required: BTreeSet<String>,
}

impl Default for AdapterSettings {
    fn default() -> Self {
        let (growth_max, fill) = (Bytes::mib(64), Bytes::mib(64));
        Self { offer: 0, cycles: 1000, growth_max, threads: 4, runs: 50, fill, tolerance: None, required: BTreeSet::new() }
    }
}

/// Why there are no artefacts of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotConverted {
    /// It could not be tried here, for this reason.
    Unable(String),
    /// The tool does not take the shard: its words.
    Refused(String),
}

/// Makes artefacts of a shard for a target, one for each set of lengths.
pub type Convert<'a> = dyn Fn(&str, &Shard, &[Lengths]) -> Result<Vec<Artefact>, NotConverted> + 'a;

/// Examines an adapter. Takes as long as so many loads and runs do: not for an async thread.
pub(crate) fn examine(program: &Program<ShardAdapter>, settings: &AdapterSettings, convert: &Convert<'_>) -> Result<AdapterReport, Error> {
    let clock = Clock::start();
    let made = |error: host_engine::Error| Error::from(Fault::Host { what: "the specimens could not be made" }).because(error);
    let report = |accelerator: String, attributes, mut checks: Vec<Check>| {
        require(&mut checks, &settings.required);
        AdapterReport { plugin: program.package.name.clone(), digest: program.package.digest, accelerator, attributes, checks, took: clock.elapsed() }
    };
    let offer = match offered(program, settings.offer) {
        Ok(offer) => offer,
        Err(verdict) => {
            return Ok(report(String::new(), Vec::new(), vec![Check { subject: Subject::Offer, name: "offer".to_owned(), is_required: true, verdict }]));
        }
    };
    let bench = Bench::new(program, settings, &offer, convert);
    let mut checks = Vec::new();
    for (subject, specimens) in [(Subject::Operators, Specimen::classes()), (Subject::ElementType, Specimen::types())] {
        for specimen in specimens.map_err(made)? {
            checks.push(Check { subject, name: specimen.name.clone(), is_required: specimen.is_basic, verdict: bench.specimen(&specimen) });
        }
    }
    checks.extend(lengths::checks(&bench, &Specimen::open().map_err(made)?));
    checks.extend(load::checks(&bench, settings).map_err(made)?);
    Ok(report(offer.accelerator, offer.attributes, checks))
}

/// The offer that is meant, or why there is none.
fn offered(program: &Program<ShardAdapter>, index: u32) -> Result<AdapterOffer, Verdict> {
    let mut warm = fresh(program).map_err(|fault| Verdict::Wrong(fault.to_string()))?;
    let offers = warm.probe().map_err(|fault| Verdict::Wrong(format!("probe: {fault}")))?;
    let count = offers.len();
    if count == 0 {
        let reason = warm.guest().log.last_words().map_or_else(String::new, |words| format!(": {words}"));
        return Err(Verdict::Missing(format!("it finds nothing to drive on this machine{reason}")));
    }
    let found = offers.into_iter().nth(index as usize);
    found.ok_or_else(|| Verdict::Missing(format!("there is no offer {index}, it makes {count}")))
}

/// Marks what is required, and adds a check that fails for each name that nothing has.
fn require(checks: &mut Vec<Check>, required: &BTreeSet<String>) {
    for check in checks.iter_mut() {
        check.is_required |= required.contains(&check.name) || required.contains(ALL);
    }
    let unknown = required.iter().filter(|name| *name != ALL && !checks.iter().any(|check| check.name == **name));
    let missing: Vec<Check> = unknown
        .map(|name| Check { subject: Subject::Offer, name: name.clone(), is_required: true, verdict: Verdict::Missing("no check has this name".to_owned()) })
        .collect();
    checks.extend(missing);
}

/// One adapter with one of its offers, and what shards become before it gets them.
struct Bench<'a> {
    driving: Driving<'a>,
    /// What shards must be converted for.
    target: Option<String>,
    convert: &'a Convert<'a>,
    is_half: bool,
    tolerance: Option<f64>,
}

impl<'a> Bench<'a> {
    fn new(program: &'a Program<ShardAdapter>, settings: &AdapterSettings, offer: &AdapterOffer, convert: &'a Convert<'a>) -> Self {
        let target = offer.attributes.iter().find(|(name, _)| name == NEEDS_ARTEFACTS).map(|(_, target)| target.clone());
        let is_half = offer.attributes.iter().any(|(name, value)| (name.as_str(), value.as_str()) == HALF);
        Self { driving: Driving { program, offer: settings.offer }, target, convert, is_half, tolerance: settings.tolerance }
    }

    /// What the reference makes of seeded inputs, with the tolerance that holds for this adapter.
    fn golden(&self, specimen: &Specimen, lengths: &Lengths, seed: u64) -> Result<Golden, Verdict> {
        let golden = specimen.golden(lengths, seed).map_err(|error| Verdict::Missing(format!("the reference does not compute it: {error}")))?;
        let own = if self.is_half { golden.tolerance.max(Golden::COARSE) } else { golden.tolerance };
        Ok(Golden { tolerance: self.tolerance.unwrap_or(own), ..golden })
    }

    /// The shard as a host hands it out, for these sets of lengths where it must be converted. Its golden answers are those of the first.
    fn prepared(&self, specimen: &Specimen, buckets: &[Lengths]) -> Result<Shard, Verdict> {
        let first = buckets.first().cloned().unwrap_or_default();
        let mut shard = Shard { golden: Some(self.golden(specimen, &first, driving::GOLDEN_SEED)?), ..specimen.shard.clone() };
        if let Some(target) = &self.target {
            shard.artefacts = (self.convert)(target, &shard, buckets).map_err(|error| match error {
                NotConverted::Unable(reason) => Verdict::Missing(format!("it takes only what was converted for {target}: {reason}")),
                NotConverted::Refused(reason) => Verdict::Refused(format!("the conversion for {target}: {reason}")),
            })?;
        }
        Ok(shard)
    }

    /// Loads a specimen and runs it on inputs that its golden answers do not have.
    fn specimen(&self, specimen: &Specimen) -> Verdict {
        self.computed(specimen).map_or_else(|verdict| verdict, Verdict::near)
    }

    fn computed(&self, specimen: &Specimen) -> Result<f64, Verdict> {
        let shard = Arc::new(self.prepared(specimen, std::slice::from_ref(&specimen.lengths))?);
        let (mut warm, _) = self.driving.load(&shard)?;
        let mut furthest = 0.0_f64;
        for seed in driving::SEEDS {
            let golden = self.golden(specimen, &specimen.lengths, seed)?;
            furthest = furthest.max(Driving::run(&mut warm, &shard, &golden)?);
        }
        Ok(furthest)
    }
}
