//! The corpus of misbehaving plugins, `tests/plugins/README.md`. All of it runs in one host under load: the host lives, each
//! request is answered, neighbours notice nothing, and the slot rolls back, tries again later, and never gives up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../support/guests.rs"]
mod guests;
#[path = "../support/scenes.rs"]
mod scenes;

mod adapters;
mod components;
mod crowd;
mod limits;
mod policies;
mod refused;
