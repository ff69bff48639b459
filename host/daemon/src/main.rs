//! The program `host`.

mod admin;
mod admission;
mod api;
mod central;
mod cli;
mod clock;
mod component;
mod config;
mod control;
mod convert;
mod device;
mod error;
mod joined;
mod machine;
mod manifest;
mod metrics;
mod models;
mod passage;
mod peer;
mod pipeline;
mod pki;
mod pulse;
mod recorder;
mod repository;
mod request;
mod service;
mod serving;
mod shelf;
mod stage_fault;
mod start;
mod status;
mod store;
mod telemetry;
mod wiring;

fn main() -> std::process::ExitCode {
    cli::main()
}
