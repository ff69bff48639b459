//! The shortest way through a graph for one request: dynamic programming from border to border. At each border only the best
//! node on each device goes on, so that ways are never enumerated. For each device that goes on, the cheapest source is tried,
//! then the nearest ones, and then the others from the cheapest on for as long as one can win.

use crate::{
    graph::{Border, Graph, Node},
    links::Links,
};

/// A way must be shorter by this share to be the shorter one, so that rounding does not decide.
const TIE_RATIO: f64 = 1e-9;
/// No node before this one.
const NONE: u32 = u32::MAX;

/// What depends on the request.
#[derive(Debug)]
pub struct Asked<'a, W: Fn(&Node) -> f64, E: Fn(u32) -> f64> {
    /// Milliseconds that a request waits before it runs in a node.
    pub wait_ms: W,
    /// Milliseconds until the inputs are on a device.
    pub entry_ms: E,
    /// Ways that tie take turns by it.
    pub ordinal: u32,
    /// For hops that were not worked out ahead.
    pub links: &'a Links,
}

/// Memory that one search leaves for the next.
#[derive(Debug, Default)]
pub struct Search {
    /// By node: milliseconds until a request has left it.
    costs: Vec<f64>,
    /// By node: the one before on the shortest way to it.
    before: Vec<u32>,
    /// By node: milliseconds that a request waits before it runs there.
    waits: Vec<f64>,
    /// Of the border: the best node on each device that ends there, by device and sorted by cost.
    places: Vec<Source>,
    sources: Vec<Source>,
    /// By target of the border: when a request is there, and from which node.
    arrivals: Vec<(f64, u32)>,
}

/// The best node on one device that ends at a border.
#[derive(Clone, Copy, Debug)]
struct Source {
    cost: f64,
    node: u32,
    /// Index of its device among the border's sources.
    place: u32,
    /// Among those that tie the lowest goes first.
    turn: u32,
}

impl Search {
    /// The segments of the shortest way and its milliseconds. None if every way leads over something infinite.
    pub fn shortest<W: Fn(&Node) -> f64, E: Fn(u32) -> f64>(&mut self, graph: &Graph, asked: &Asked<'_, W, E>) -> Option<(Vec<u32>, f64)> {
        self.costs.clear();
        self.costs.resize(graph.nodes.len(), f64::INFINITY);
        self.before.clear();
        self.before.resize(graph.nodes.len(), NONE);
        self.waits.clear();
        self.waits.extend(graph.nodes.iter().map(&asked.wait_ms));
        let (first, further) = graph.borders.split_first()?;
        self.arrivals.clear();
        self.arrivals.extend(first.targets.iter().map(|&device| ((asked.entry_ms)(device), NONE)));
        self.enter(first);
        for border in further {
            self.leave(border, asked.ordinal);
            self.cross(border, asked.links);
            self.enter(border);
        }
        // The last border's sources are the ends of all ways, the cheapest first.
        let end = self.sources.first().filter(|source| source.cost.is_finite())?;
        Some((self.way_to(graph, end.node), end.cost))
    }

    /// Finds the best node on each device among those that end at a border, and sorts them.
    fn leave(&mut self, border: &Border, ordinal: u32) {
        self.places.clear();
        self.places.extend((0_u32..).zip(&border.sources).map(|(place, _)| Source { cost: f64::INFINITY, node: NONE, place, turn: 0 }));
        let count = border.ending.end - border.ending.start;
        let shift = ordinal % count.max(1);
        for turn in 0..count {
            let offset = if turn + shift < count { turn + shift } else { turn + shift - count };
            let (node, place) = (border.ending.start + offset, border.source_of[offset as usize]);
            let (cost, source) = (self.costs[node as usize], &mut self.places[place as usize]);
            if source.node == NONE || wins(cost, source.cost) {
                *source = Source { cost, node, place, turn };
            }
        }
        self.sources.clone_from(&self.places);
        // Costs are not negative, so their bits are in their order.
        self.sources.sort_unstable_by_key(|source| (source.cost.to_bits(), source.turn));
    }

    /// Finds for each device that goes on from a border which node it is best reached from.
    fn cross(&mut self, border: &Border, links: &Links) {
        self.arrivals.clear();
        let Some(cheapest) = self.sources.first() else { return };
        for (index, &target) in border.targets.iter().enumerate() {
            let row = border.hops.get(index * border.sources.len()..(index + 1) * border.sources.len());
            let arrival = match row {
                Some(row) => self.arrival(row, &border.nearest[index], border.reaches[index]),
                None => {
                    let hop_ms = |source: &Source| links.hop_ms(border.sources[source.place as usize], target, border.bytes);
                    self.cheapest_first((cheapest.cost + hop_ms(cheapest), cheapest.node), 0.0, hop_ms)
                }
            };
            self.arrivals.push(arrival);
        }
    }

    /// The cost at a target and the node before it, from the target's hops.
    fn arrival(&self, hops: &[f64], nearest: &[u32], reach: f64) -> (f64, u32) {
        let cheapest = &self.sources[0];
        let mut best = (cheapest.cost + hops[cheapest.place as usize], cheapest.node);
        for &place in nearest {
            let (hop_ms, source) = (hops[place as usize], &self.places[place as usize]);
            if cheapest.cost + hop_ms >= best.0 {
                // All others are farther away and none is cheaper.
                return best;
            }
            if wins(source.cost + hop_ms, best.0) {
                best = (source.cost + hop_ms, source.node);
            }
        }
        self.cheapest_first(best, reach, |source| hops[source.place as usize])
    }

    /// Tries sources from the cheapest on, none of which is nearer than `reach`.
    fn cheapest_first(&self, mut best: (f64, u32), reach: f64, hop_ms: impl Fn(&Source) -> f64) -> (f64, u32) {
        for source in &self.sources {
            if source.cost + reach >= best.0 {
                break;
            }
            let cost = source.cost + hop_ms(source);
            if wins(cost, best.0) {
                best = (cost, source.node);
            }
        }
        best
    }

    /// Goes through all nodes that may be entered at a border.
    fn enter(&mut self, border: &Border) {
        for entry in &border.entries {
            let (arrival, from) = self.arrivals[entry.target as usize];
            let node = entry.node as usize;
            let cost = arrival + self.waits[node] + entry.run_ms;
            if wins(cost, self.costs[node]) {
                (self.costs[node], self.before[node]) = (cost, from);
            }
        }
    }

    fn way_to(&self, graph: &Graph, end: u32) -> Vec<u32> {
        let mut way = Vec::new();
        let mut next = end;
        while let Some(node) = graph.nodes.get(next as usize) {
            way.push(node.segment);
            next = self.before[next as usize];
        }
        way.reverse();
        way
    }
}

fn wins(cost: f64, best: f64) -> bool {
    cost < best * (1.0 - TIE_RATIO)
}
