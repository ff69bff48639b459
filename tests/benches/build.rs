//! Makes the clients and services of the protocol between hosts; their messages are those of host-wire.

use std::{error::Error, path::PathBuf};

const PROTOS: &str = "../../host/wire/proto";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join(PROTOS);
    println!("cargo::rerun-if-changed={}", folder.display());
    let parsed = protox::compile(["peer.proto"], [folder])?;
    tonic_prost_build::configure().extern_path(".shardhost.peer.v1", "::host_wire::peer::pb").compile_fds(parsed)?;
    Ok(())
}
