//! The contract with plugins: its text, and what the host knows of each of its versions.

mod text;
pub(crate) mod v0_1;

pub use text::CONTRACT;
