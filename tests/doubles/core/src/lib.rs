//! What the doubles of vendors' libraries have in common: their model files, computing with tract, faults on demand, and the list of what
//! callers did wrong.

mod babble;
mod compute;
mod faults;
mod library;
mod payload;
mod watch;

pub use compute::{Model, from_f32, garbage, to_f32};
pub use faults::{Action, Faults};
pub use library::library;
pub use payload::Payload;
pub use watch::Watch;
