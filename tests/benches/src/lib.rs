//! What measurements share: percentiles, one JSON line each, hosts to measure, and what is put to them.

pub mod echo;
#[path = "../../fault_proxy.rs"]
pub mod fault_proxy;
mod host;
pub mod http;
pub mod load;
pub mod models;
pub mod peer;
pub mod pictures;
pub mod pool;
pub mod simulated;
mod stream;
pub mod trouble;
pub mod victim;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use host::{Host, host_program};

/// Prints one measurement.
pub fn report(name: &str, values: Value) {
    println!("{}", json!({ "bench": name, "values": values }));
}

/// Microseconds of each call of `work`, `calls` of them after a tenth as many to warm up.
pub fn time_calls(calls: usize, mut work: impl FnMut(usize)) -> Times {
    for call in 0..calls / 10 {
        work(call);
    }
    let times: Vec<Duration> = (0..calls)
        .map(|call| {
            let started = Instant::now();
            work(call);
            started.elapsed()
        })
        .collect();
    Times::of(&times)
}

/// Several things by turns, so that a machine that gets slower meanwhile does not favour one of them: for each of them its times,
/// turn by turn. The first turn warms up and does not count.
pub fn time_turns<const N: usize>(turns: usize, mut things: [&mut dyn FnMut(); N]) -> [Vec<Duration>; N] {
    let mut times = [(); N].map(|()| Vec::with_capacity(turns));
    for turn in 0..=turns {
        for (thing, times) in things.iter_mut().zip(&mut times) {
            let started = Instant::now();
            thing();
            if turn > 0 {
                times.push(started.elapsed());
            }
        }
    }
    times
}

/// Sorted times in microseconds.
#[derive(Clone, Debug)]
pub struct Times(Vec<f64>);

impl Times {
    /// Of times in any order.
    pub fn of(times: &[Duration]) -> Self {
        let mut microseconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        microseconds.sort_by(f64::total_cmp);
        Self(microseconds)
    }

    /// The time that this share of calls does not exceed.
    pub fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (share * last as f64).round() as usize;
        self.0.get(index.min(last)).copied().unwrap_or(f64::NAN)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// Shortest, median, and the time that one call in a hundred exceeds.
    pub fn summary(&self) -> Value {
        json!({ "min_us": round(self.percentile(0.0)), "p50_us": round(self.percentile(0.5)), "p99_us": round(self.percentile(0.99)) })
    }

    /// How many there are, the median, the time that one in twenty exceeds, and the longest, in milliseconds.
    pub fn spread_ms(&self) -> Value {
        let ms = |share| round(self.percentile(share) / 1e3);
        json!({ "count": self.0.len(), "p50_ms": ms(0.5), "p95_ms": ms(0.95), "max_ms": ms(1.0) })
    }
}

/// Three decimals are more than any of these measurements is worth.
pub fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
