//! One call of `route` at 16, 64 and 256 segments: the least-loaded policy in its sandbox, with the answer proved, against
//! the same code called natively.

#[path = "../../../host/plugin/tests/support/scenes.rs"]
#[allow(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod scenes;

use std::{error::Error, sync::Arc};

use host_core::topology;
use host_engine::Engines;
use host_plugin::{EventSink, PluginConfig, PluginHost};
use least_loaded_routing::LeastLoaded;
use scenes::{request, snapshot};
use serde_json::json;
use shardhost_benches::{report, round, time_calls};
use shardhost_sdk::routing::{RouteRequest, RoutingPolicy, Segment, ServedModel, Topology};

const CALLS: usize = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let host = PluginHost::start(PluginConfig::default(), Arc::new(Engines::default()), EventSink::none())?;
    let slot = host.routing(None)?;
    for segments in [16, 64, 256] {
        let snapshot = snapshot(segments, segments / 2, 0.0);
        let asked = request(1, segments);
        let sandboxed = time_calls(CALLS, |_| {
            std::hint::black_box(slot.route(&snapshot, &asked)).ok();
        });
        let mut native = LeastLoaded::configure("{}")?;
        native.set_topology(as_guest(&snapshot.topology));
        let asked = as_guest_request(&asked);
        let native = time_calls(CALLS, |_| {
            std::hint::black_box(native.route(&asked)).ok();
        });
        let ratio = round(sandboxed.percentile(0.5) / native.percentile(0.5));
        report("route", json!({ "segments": segments, "sandboxed": sandboxed.summary(), "native": native.summary(), "ratio_p50": ratio }));
    }
    Ok(())
}

/// The topology as a guest is handed it, without what this policy does not read.
fn as_guest(topology: &topology::Topology) -> Topology {
    let segment = |segment: &topology::Segment| Segment {
        device: segment.device,
        replica: segment.replica,
        stage: segment.position,
        start: segment.range().start(),
        end: segment.range().end(),
        run_ms: segment.run.0,
        divisible: segment.divisible,
    };
    let model = |model: &topology::ServedModel| ServedModel {
        id: model.id.to_string(),
        blocks: model.blocks,
        border_bytes: model.borders.iter().map(|border| border.as_f64()).collect(),
        segments: model.segments.iter().map(segment).collect(),
    };
    let device = |device: &topology::TopologyDevice| shardhost_sdk::routing::Device { id: device.id.to_string(), site: device.site, attributes: Vec::new() };
    Topology {
        number: topology.number,
        models: topology.models.iter().map(model).collect(),
        devices: topology.devices.iter().map(device).collect(),
        ..Topology::empty()
    }
}

fn as_guest_request(request: &topology::RouteRequest) -> RouteRequest {
    RouteRequest {
        model: request.model,
        ordinal: request.ordinal,
        random: request.random,
        sequence_key: request.sequence_key,
        input_bytes: request.input.as_f64(),
        outstanding: request.outstanding.clone(),
    }
}
