//! Sends each request over the quickest way through the model: the shortest path from its first block to its last, over any
//! segments that fit together, whichever replicas they are of. A way takes the time of its stages, the wait before each (run
//! time of every request that was sent there and is not answered), and the links from the central to the first device and from
//! stage to stage. A segment that is divisible may be entered in the middle. Ways that tie take turns by the request's ordinal.

use shardhost_sdk::{
    export_routing, no_settings,
    routing::{DevicePressures, Pressure, Refusal, RouteRequest, RoutingPolicy, ServedModel, Topology},
};

pub mod graph;
pub mod links;
pub mod search;

use graph::{Graph, HOPS_MAX, Node};
use links::Links;
use search::{Asked, Search};

/// Longer than any request waits: what a device counts besides that says nothing while others do. So it is used only where
/// no way leads around it.
const SILENT_MS: f64 = 1e9;

/// The policy: the ways through each model, and the newest pressure of each device.
#[derive(Debug)]
pub struct ShortestPath {
    topology: Topology,
    links: Links,
    graphs: Vec<Graph>,
    pressures: DevicePressures,
    search: Search,
}

impl RoutingPolicy for ShortestPath {
    fn configure(config: &str) -> Result<Self, String> {
        no_settings("shortest-path-routing", config)?;
        let topology = Topology::empty();
        let (links, pressures) = (Links::of(&topology), DevicePressures::of(&topology));
        Ok(Self { topology, links, graphs: Vec::new(), pressures, search: Search::default() })
    }

    fn set_topology(&mut self, mut topology: Topology) {
        self.links = Links::of(&topology);
        // They may take more memory than all of the rest.
        topology.links = Vec::new();
        let mut hops_left = HOPS_MAX;
        self.graphs = topology.models.iter().map(|model| Graph::of(model, &self.links, &mut hops_left)).collect();
        self.pressures = DevicePressures::of(&topology);
        self.topology = topology;
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        self.pressures.note(pressures);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        self.shortest(request).map(|(way, _)| way)
    }
}

impl ShortestPath {
    /// The segments of the quickest way, and the milliseconds that it is expected to take.
    pub fn shortest(&mut self, request: &RouteRequest) -> Result<(Vec<u32>, f64), Refusal> {
        let model = self.topology.model(request)?;
        let (pressures, links) = (&self.pressures, &self.links);
        let wait_ms = |node: &Node| {
            let outstanding = request.outstanding.get(node.segment as usize).copied().unwrap_or(0);
            let silent = if pressures.is_silent(node.device) { SILENT_MS } else { 0.0 };
            f64::from(outstanding) * node.run_ms + silent
        };
        let entry_ms = |device: u32| links.entry_ms(pressures.get(device).map(|pressure| pressure.latency_ms), request.input_bytes);
        let graph = &self.graphs[request.model as usize];
        let found = self.search.shortest(graph, &Asked { wait_ms, entry_ms, ordinal: request.ordinal, links });
        found.ok_or_else(|| no_way(model, graph))
    }
}

fn no_way(model: &ServedModel, graph: &Graph) -> Refusal {
    let ServedModel { id, blocks, segments, .. } = model;
    if graph.nodes.is_empty() {
        return Refusal::because(format!("model {id} has no way through its {blocks} blocks, {} segments are ready", segments.len()));
    }
    Refusal::because(format!(
        "model {id} has {} segments on ways through its {blocks} blocks, but each way leads over a link that carries nothing",
        graph.nodes.len()
    ))
}

export_routing!(ShortestPath);

#[cfg(test)]
mod tests;
