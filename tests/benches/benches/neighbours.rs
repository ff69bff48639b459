//! What a neighbour notices of plugins that misbehave: the p99 of a route through another slot while a thread asks the bad one
//! without pause, as a ratio to the p99 beside a thread that asks a sound plugin. Once with the usual strikes, which roll the bad
//! one back, and once without, so that it misbehaves for as long as is measured.

#[path = "../../../host/plugin/tests/support/guests.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod guests;
#[path = "../../../host/plugin/tests/support/scenes.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod scenes;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use guests::guest;
use host_core::strikes::StrikePolicy;
use host_engine::Engines;
use host_plugin::{EventSink, PluginConfig, PluginHost, SlotName};
use scenes::{request, snapshot};
use serde_json::json;
use shardhost_benches::{Times, report, round, time_calls};

const CALLS: usize = 300_000;
const BAD: [&str; 6] = ["trap", "loop", "memory-growth", "recursion", "huge", "chatty"];

fn main() -> Result<(), Box<dyn Error>> {
    for (name, strikes_max) in [("neighbour_of_a_struck_one", StrikePolicy::default().strikes_max), ("neighbour_of_one_never_rolled_back", u32::MAX)] {
        let strikes = StrikePolicy { strikes_max, ..StrikePolicy::default() };
        let host = PluginHost::start(PluginConfig { strikes, ..PluginConfig::default() }, Arc::new(Engines::default()), EventSink::none())?;
        for how in BAD {
            // Before and after, so that a machine that grows busy is not held against the plugin.
            let sound = [beside(&host, "sound")?, beside(&host, how)?, beside(&host, "sound")?];
            let [before, times, after] = sound.map(|times| (times.percentile(0.99), times));
            let ratio = round(times.0 / before.0.max(after.0));
            report(name, json!({ "plugin": how, "times": times.1.summary(), "beside_a_sound_one": before.1.summary(), "ratio_p99": ratio }));
        }
    }
    Ok(())
}

fn beside(host: &PluginHost, how: &str) -> Result<Times, Box<dyn Error>> {
    let slot = SlotName::Routing(Some("bad".to_owned()));
    host.commit(host.prepare(&guest("misbehaving-routing"), Some(slot), Some(format!("{how:?}")))?)?;
    let (bad, own) = (host.routing(Some("bad"))?, host.routing(Some("round-robin"))?);
    let (snapshot, asked, stop) = (snapshot(1, 8, 0.0), request(1, 16), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::black_box(bad.route(&snapshot, &asked)).ok();
            }
        });
        let mut unanswered = 0;
        let times = time_calls(CALLS, |_| {
            let answered = own.route(&snapshot, &asked).is_ok_and(|decided| decided.answer.is_ok() && decided.fallback.is_none());
            unanswered += u32::from(!answered);
        });
        stop.store(true, Ordering::Relaxed);
        if unanswered == 0 { Ok(times) } else { Err(format!("{unanswered} requests of the neighbour were not answered beside {how}").into()) }
    })
}
