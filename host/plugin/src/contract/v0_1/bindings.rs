//! What wasmtime generates from the released contract: one module for each world. These types never leave this version's
//! folder; `convert` turns them into those of the domain.
#![allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, reason = "generated code")]

pub(crate) mod adapter {
    wasmtime::component::bindgen!({
        path: "../../wit/released/0.1.0",
        world: "shard-adapter",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/engine.tensor": host_engine::Tensor,
            "shardhost:plugin/engine.shard-file": crate::guest::ShardFile,
            "shardhost:plugin/engine.graph": crate::guest::LoadedGraph,
        },
    });
}

pub(crate) mod allocation {
    wasmtime::component::bindgen!({
        path: "../../wit/released/0.1.0",
        world: "allocation-policy",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/log": crate::contract::v0_1::bindings::adapter::shardhost::plugin::log,
            "shardhost:plugin/types": crate::contract::v0_1::bindings::adapter::shardhost::plugin::types,
        },
    });
}

pub(crate) mod routing {
    wasmtime::component::bindgen!({
        path: "../../wit/released/0.1.0",
        world: "routing-policy",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/log": crate::contract::v0_1::bindings::adapter::shardhost::plugin::log,
            "shardhost:plugin/types": crate::contract::v0_1::bindings::adapter::shardhost::plugin::types,
        },
    });
}

pub(crate) mod queueing {
    wasmtime::component::bindgen!({
        path: "../../wit/released/0.1.0",
        world: "queueing-policy",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/log": crate::contract::v0_1::bindings::adapter::shardhost::plugin::log,
            "shardhost:plugin/types": crate::contract::v0_1::bindings::adapter::shardhost::plugin::types,
        },
    });
}

/// The package beside the contract that adapters may import.
pub(crate) mod tensors {
    wasmtime::component::bindgen!({
        path: ["../../wit/released/0.1.0", "../../wit/tensors"],
        world: "shardhost:tensors/offered@0.1.0",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/types": crate::contract::v0_1::bindings::adapter::shardhost::plugin::types,
            "shardhost:plugin/engine": crate::contract::v0_1::bindings::adapter::shardhost::plugin::engine,
        },
    });
}

pub(crate) use adapter::shardhost::plugin::{engine, log, types};
pub(crate) use tensors::shardhost::tensors::operations;
