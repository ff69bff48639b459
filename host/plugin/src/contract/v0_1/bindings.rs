//! What wasmtime generates from `wit/`: one module for each world. These types never leave this crate; `convert` turns them
//! into those of the domain.
#![allow(missing_debug_implementations, unused, clippy::all, clippy::pedantic, reason = "generated code")]

pub(crate) mod adapter {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "shard-adapter",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/engine.tensor": host_engine::Tensor,
            "shardhost:plugin/engine.shard-file": crate::contract::v0_1::imports::ShardFile,
            "shardhost:plugin/engine.graph": crate::contract::v0_1::imports::LoadedGraph,
        },
    });
}

pub(crate) mod allocation {
    wasmtime::component::bindgen!({
        path: "../../wit",
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
        path: "../../wit",
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
        path: "../../wit",
        world: "queueing-policy",
        imports: { default: trappable },
        with: {
            "shardhost:plugin/log": crate::contract::v0_1::bindings::adapter::shardhost::plugin::log,
            "shardhost:plugin/types": crate::contract::v0_1::bindings::adapter::shardhost::plugin::types,
        },
    });
}

pub(crate) use adapter::shardhost::plugin::{engine, log, types};
