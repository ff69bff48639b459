//! Makes Rust types of the messages in `proto`. Needs no compiler of protocol buffers on the machine.

use std::{error::Error, path::PathBuf};

const PROTOS: &str = "proto";
const FILES: [&str; 1] = ["peer.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTOS}");
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join(PROTOS);
    let parsed = protox::compile(FILES, [folder])?;
    let mut config = prost_build::Config::new();
    // Payloads stay where they were received.
    config.bytes([".shardhost.peer.v1.Tensor", ".shardhost.peer.v1.Chunk", ".shardhost.peer.v1.EchoRequest", ".shardhost.peer.v1.EchoReply"]);
    config.btree_map(["."]);
    config.compile_fds(parsed)?;
    Ok(())
}
