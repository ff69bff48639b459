//! Loading and unloading.

use host_engine::LoadOptions;

use crate::support::{Double, VENDORS, converted, golden_inputs};

const TIMES: usize = 1000;

#[test]
fn a_thousand_loads_leave_nothing_behind() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let engine = double.engine();
        for time in 0..TIMES {
            let graph = engine.load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("load {time}: {error}"));
            let mut shared = graph.share().unwrap_or_else(|error| panic!("share {time}: {error}"));
            // The first user goes before the second.
            drop(graph);
            if time % 100 == 0 {
                shared.run(golden_inputs(&shard)).unwrap_or_else(|error| panic!("run {time}: {error}"));
            }
        }
        double.assert_clean("after a thousand loads");
    }
}

#[test]
fn a_loaded_shard_outlives_its_engine_and_says_what_it_holds() {
    for vendor in VENDORS {
        let double = Double::new(vendor);
        let shard = converted(vendor, "mlp");
        let mut graph = double.engine().load(&shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(graph.memory() >= shard.weight_bytes, "{} is less than the weights' {}", graph.memory(), shard.weight_bytes);
        graph.run(golden_inputs(&shard)).unwrap_or_else(|error| panic!("{error}"));
        drop(graph);
        double.assert_clean("after the engine");
    }
}
