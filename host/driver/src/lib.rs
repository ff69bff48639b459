//! Keeps engines in processes of their own: the child that holds one, and the parent that watches over it.
//!
//! [`DriverEngine`] is the parent's side: an engine like any other, whose graphs live in a *driver process*. The process starts when
//! the first shard is loaded and ends with the last graph. One that dies, hangs, grows too large or talks nonsense is ended; its graphs
//! are loaded into a fresh one when they are used next, and the call that was under way is made once more.
//! [`serve`] is the child's side, reached by the program's own hidden command.
//!
//! It computes nothing and keeps no log: what happens is told to a sink. It needs Linux: memory is shared through memfds.

mod carriage;
mod clock;
mod codec;
mod connection;
mod engine;
mod events;
mod frames;
mod graph;
mod lines;
mod message;
mod process;
mod region;
mod restarts;
mod serve;
mod settings;
mod system;

pub use codec::Garbage;
pub use engine::DriverEngine;
pub use events::{Death, DriverEvent, DriverState, EventSink};
pub use message::{Message, Parcel, Place};
pub use serve::{ServeOrder, serve};
pub use settings::{DriverLimits, DriverSettings, RestartLimits};
pub use system::kill_group;

/// What both sides speak. One more for each change that the other side would not understand.
pub const PROTOCOL: u32 = 1;
/// The release that both sides must have.
pub const PROGRAM: &str = env!("CARGO_PKG_VERSION");
