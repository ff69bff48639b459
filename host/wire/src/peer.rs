//! What hosts say to each other: messages of `proto/peer.proto`, and the way between them and what the host works with.
//! Whatever comes from a peer becomes a value of this module only if it keeps the rules that the proto file states.

mod activation;
mod attend;
mod chunk;
mod link;
mod read;

pub use activation::{Activation, Call, Conclusion, Hop, Outcome, POSITIONS_MAX, Phase, Stopped, Stuck, Tensor, Way};
pub use activation::{refusal, refused, tensor};
pub use attend::{ArtefactFile, File, Heartbeat, HeldShard, Hello, Load, REVOKED_MAX, Revocations, Run, ShardAt, Source};
pub use chunk::{Chunk, LoadProgress};
pub use link::LinkMeasured;

/// The messages as they are on the wire. Generated.
#[allow(clippy::all, clippy::pedantic, missing_debug_implementations, rustdoc::all, reason = "generated code")]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/shardhost.peer.v1.rs"));
}
