//! Allocation policies on generated pools, called natively. What a plan is worth and what the best one is are computed here
//! by code of its own, so that no policy is judged by its own arithmetic. Used by the tests and benchmarks of this crate.

pub mod churn;
pub mod optimum;
pub mod policies;
pub mod pools;
pub mod quality;
