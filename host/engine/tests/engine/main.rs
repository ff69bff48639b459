//! What the crate promises, tried on real files, generated models and broken ones. One target, so that tract is linked once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod agreeing;
mod artefacts;
mod automatic;
mod bucketed;
mod chain;
mod doubles;
mod files;
mod generated;
mod measures;
mod models;
mod probes;
mod quantised;
mod refusals;
