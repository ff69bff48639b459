//! The engines for RKNN and AscendCL against doubles of the vendors' libraries. The doubles say whether the libraries are called as their
//! headers want it, and compute real results; they say nothing of real devices.

#![allow(clippy::panic, reason = "tests fail by panicking")]

mod answers;
mod faults;
mod life;
mod particular;
mod refusals;
mod support;
