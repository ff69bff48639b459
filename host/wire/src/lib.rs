//! Speaks. The wire types of every protocol that the host talks, and the way between them and the types of host-core.
//! Pure: bytes in, values out; no sockets, no files, no clock. Called by the daemon, and by its command line as a client.

pub mod admin;
pub mod compression;
pub mod der;
pub mod error;
pub mod join;
pub mod labels;
pub mod oip;
pub mod peer;
pub mod recording;
pub mod roles;
pub mod schedule;
