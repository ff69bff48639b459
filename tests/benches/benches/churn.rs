//! A day in the simulator on which devices come and go: for each allocation policy, whether its plans swing, what it fetches after
//! each loss beside the shards that were lost, and how long a model had no replica though there was memory for one.
//!
//! `cargo bench -p shardhost-benches --bench churn -- policies=balanced-allocation,greedy-allocation seed=7 hours=24` names others. A
//! policy is a built-in one or the file of a component. Fails if a policy that is judged (`judged=balanced-allocation`) swings, fetches
//! in all more than 1.2 times what was lost, or leaves a model without a replica where one was possible. After a single loss more may be
//! needed than was lost, where no idle device takes just that; the tests of policies hold single losses against the fewest bytes possible.

use std::{error::Error, path::Path};

use serde_json::{Value, json};
use shardhost_benches::{report, round, simulated::simulate};

/// So many times the lost shards may be fetched in all.
const FETCHED_RATIO_MAX: f64 = 1.2;
const GIB: f64 = (1_u64 << 30) as f64;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let settings = Settings::read(std::env::args().skip(1))?;
    let (seed, duration) = (settings.seed.to_string(), format!("{}h", settings.hours));
    let flags = ["--compare", &settings.policies, "--seed", &seed, "--duration", &duration];
    let simulated = simulate(Path::new("fleets/churn.toml"), &flags)?;
    let mut broken = Vec::new();
    for run in simulated["runs"].as_array().ok_or("no runs")? {
        let day = Day::of(run)?;
        report("churn", day.values(&settings));
        if day.policy == settings.judged {
            broken.extend(day.broken());
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

/// What the words behind the program's name say: each `KEY=VALUE`.
#[derive(Clone, Debug)]
struct Settings {
    policies: String,
    judged: String,
    seed: u64,
    hours: u32,
}

impl Settings {
    fn read(words: impl Iterator<Item = String>) -> Result<Self, Failed> {
        let mut settings = Self { policies: "balanced-allocation,greedy-allocation".to_owned(), judged: "balanced-allocation".to_owned(), seed: 1, hours: 24 };
        // Cargo's own words begin with dashes.
        for word in words.filter(|word| !word.starts_with('-')) {
            match word.split_once('=') {
                Some(("policies", names)) => settings.policies = names.to_owned(),
                Some(("judged", name)) => settings.judged = name.to_owned(),
                Some(("seed", number)) => settings.seed = number.parse()?,
                Some(("hours", number)) => settings.hours = number.parse()?,
                _ => return Err(format!("`{word}` is not known, there are policies=, judged=, seed= and hours=").into()),
            }
        }
        Ok(settings)
    }
}

/// What came of one policy's day.
#[derive(Clone, Debug)]
struct Day {
    policy: String,
    endings: u64,
    plans: usize,
    uncaused: u64,
    /// After each loss that something was fetched for: how many times the shards that were lost, endless where none was.
    ratios: Vec<f64>,
    fetched: f64,
    lost: f64,
    without_replica_ms: f64,
    avoidable_ms: f64,
    requests: Value,
}

impl Day {
    fn of(run: &Value) -> Result<Self, String> {
        let list = |key: &str| run[key].as_array().ok_or_else(|| format!("no {key} in {run}"));
        let number = |value: &Value| value.as_f64().ok_or_else(|| format!("{value} is no number"));
        let sum = |key: &str, field: &str| list(key)?.iter().map(|entry| number(&entry[field])).sum::<Result<f64, String>>();
        // A loss may lead to several plans: the first leaves out what is gone, later ones put it elsewhere.
        let mut losses: Vec<(f64, f64)> = Vec::new();
        for plan in list("plans")?.iter().filter(|plan| plan["is_loss"] == true) {
            let (fetched, lost) = (number(&plan["fetched_bytes"])?, number(&plan["lost_bytes"])?);
            match losses.last_mut().filter(|_| lost == 0.0) {
                Some(loss) => loss.0 += fetched,
                None => losses.push((fetched, lost)),
            }
        }
        let mut ratios: Vec<f64> = losses.iter().filter(|(fetched, _)| *fetched > 0.0).map(|(fetched, lost)| fetched / lost).collect();
        ratios.sort_by(f64::total_cmp);
        Ok(Self {
            policy: run["label"].as_str().unwrap_or_default().to_owned(),
            // Counts fit.
            endings: sum("devices", "endings")? as u64,
            plans: list("plans")?.len(),
            uncaused: number(&run["uncaused_plans"])? as u64,
            ratios,
            fetched: number(&run["fetched_on_losses_bytes"])?,
            lost: number(&run["lost_bytes"])?,
            without_replica_ms: sum("models", "without_replica_ms")?,
            avoidable_ms: sum("models", "avoidable_ms")?,
            requests: run["requests"].clone(),
        })
    }

    /// Losses after which more was fetched than should be.
    fn over(&self) -> usize {
        self.ratios.iter().filter(|ratio| **ratio > FETCHED_RATIO_MAX).count()
    }

    fn values(&self, settings: &Settings) -> Value {
        let median = self.ratios.get(self.ratios.len() / 2).copied().unwrap_or(0.0);
        json!({
            "policy": self.policy,
            "seed": settings.seed,
            "hours": settings.hours,
            "endings": self.endings,
            "plans": self.plans,
            "plans_without_cause": self.uncaused,
            "losses_with_fetching": self.ratios.len(),
            "losses_with_too_much": self.over(),
            "fetched_gib": round(self.fetched / GIB),
            "lost_gib": round(self.lost / GIB),
            "fetched_to_lost": round(self.fetched / self.lost),
            "fetched_to_lost_median": if median.is_finite() { json!(round(median)) } else { Value::Null },
            "without_replica_s": round(self.without_replica_ms / 1e3),
            "without_replica_though_possible_s": round(self.avoidable_ms / 1e3),
            "requests": self.requests,
        })
    }

    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.uncaused > 0 {
            broken.push(format!("{}: {} plans without a cause, there should be none", self.policy, self.uncaused));
        }
        if self.fetched > FETCHED_RATIO_MAX * self.lost {
            let ratio = round(self.fetched / self.lost);
            broken.push(format!("{}: {ratio} times what was lost was fetched after losses, at most {FETCHED_RATIO_MAX} are allowed", self.policy));
        }
        if self.avoidable_ms > 0.0 {
            broken.push(format!("{}: no replica for {} s in which there was memory for one", self.policy, round(self.avoidable_ms / 1e3)));
        }
        broken
    }
}
