//! What a host tells of itself line by line and span by span while it runs. What it counts is in `metrics`.

pub mod logging;
pub mod traces;
