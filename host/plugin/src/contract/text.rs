//! The contract as text: the files of the package `shardhost:plugin`, for whoever writes or packs a plugin.

/// Each file's name and text.
pub const CONTRACT: [(&str, &str); 6] = [
    ("plugin.wit", include_str!("../../../../wit/plugin.wit")),
    ("allocation.wit", include_str!("../../../../wit/allocation.wit")),
    ("routing.wit", include_str!("../../../../wit/routing.wit")),
    ("queueing.wit", include_str!("../../../../wit/queueing.wit")),
    ("adapter.wit", include_str!("../../../../wit/adapter.wit")),
    ("engine.wit", include_str!("../../../../wit/engine.wit")),
];

/// What is beside the contract, by file name: interfaces that a host offers and a plugin may do without.
pub const EXTENSIONS: [(&str, &str); 1] = [("tensors/operations.wit", include_str!("../../../../wit/tensors/operations.wit"))];
