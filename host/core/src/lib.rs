//! Decides. Everything here is pure: values in, values out. No clock, files, environment, network, async or wasm; time,
//! ordinals and random numbers are arguments. The daemon performs what this crate decides and feeds events back.

pub mod cluster;
pub mod comparison;
pub mod cost;
pub mod decision;
pub mod device;
pub mod error;
pub mod ids;
pub mod line;
pub mod link;
pub mod model;
pub mod noise;
pub mod optimum;
pub mod plan;
pub mod policy;
pub mod predict;
pub mod problem;
pub mod profile;
pub mod reservations;
pub mod shard;
pub mod shortfall;
pub mod simulate;
pub mod strikes;
#[cfg(test)]
mod testing;
pub mod topology;
pub mod turns;
pub mod units;
pub mod ways;
pub mod what_if;
