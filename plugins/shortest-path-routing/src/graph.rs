//! The ways through one model, prepared once for each topology: which segments lie on any, where they may be entered, and what
//! a hop from one to the next takes. What depends on a request is not here.

use std::ops::Range;

use shardhost_sdk::routing::{Segment, ServedModel};

use crate::links::Links;

/// Hops that are worked out ahead, over all models of a topology; 8 bytes each. Those of further models are worked out when they
/// are asked for.
pub const HOPS_MAX: usize = 1 << 18;
/// Sources that are known to be the nearest to a target; they are tried before others.
pub const NEAREST: usize = 8;

/// A segment that lies on a way from the model's first block to its last.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Node {
    /// Its index in the model.
    pub segment: u32,
    /// Where it is.
    pub device: u32,
    /// Its blocks.
    pub start: u32,
    /// Its blocks.
    pub end: u32,
    /// Milliseconds for all of its blocks, above 0 or 0, and finite.
    pub run_ms: f64,
    divisible: bool,
}

/// A node that may be entered at a border.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Entry {
    /// Index into `Graph::nodes`.
    pub node: u32,
    /// Index into `Border::targets`.
    pub target: u32,
    /// Milliseconds for the blocks from here to the node's end.
    pub run_ms: f64,
}

/// A place between two blocks where some nodes end and others are entered. The first has none that end, the last none that
/// are entered.
#[derive(Clone, PartialEq, Debug)]
pub struct Border {
    /// Indexes of the nodes that end here.
    pub ending: Range<u32>,
    /// Parallel to `ending`: the index of its device in `sources`.
    pub source_of: Vec<u32>,
    /// Devices of the nodes that end here, ascending.
    pub sources: Vec<u32>,
    /// The nodes that may be entered here.
    pub entries: Vec<Entry>,
    /// Devices of those, ascending.
    pub targets: Vec<u32>,
    /// Bytes that cross.
    pub bytes: f64,
    /// Milliseconds of each hop, by target and then by source. Empty where they are worked out when asked for.
    pub hops: Vec<f64>,
    /// By target: indexes of the sources nearest to it, or of as many as there are. Empty as `hops` is.
    pub nearest: Vec<[u32; NEAREST]>,
    /// By target: no source but the nearest is nearer than so many milliseconds.
    pub reaches: Vec<f64>,
}

/// The ways through one model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Graph {
    /// Sorted by where they end.
    pub nodes: Vec<Node>,
    /// From the first block to the last. Empty if there is no way.
    pub borders: Vec<Border>,
}

impl Graph {
    /// That of a model. Takes what it works out ahead from `hops_left`.
    pub fn of(model: &ServedModel, links: &Links, hops_left: &mut usize) -> Self {
        let mut nodes: Vec<Node> = (0..).zip(&model.segments).filter_map(|(index, segment)| Node::of(index, segment, model.blocks)).collect();
        nodes.sort_by_key(|node| (node.end, node.segment));
        keep_reached(&mut nodes, model.blocks);
        keep_leading_on(&mut nodes, model.blocks);
        let mut graph = Self { nodes, borders: Vec::new() };
        if graph.nodes.is_empty() {
            return graph;
        }
        for at in 0..=model.blocks {
            let bytes = at.checked_sub(1).and_then(|block| model.border_bytes.get(block as usize)).copied().unwrap_or(0.0);
            let mut border = graph.border(at, bytes);
            if at == 0 || !border.sources.is_empty() {
                border.work_out(links, hops_left);
                graph.borders.push(border);
            }
        }
        graph
    }

    fn border(&self, at: u32, bytes: f64) -> Border {
        let begin = self.nodes.partition_point(|node| node.end < at);
        let end = self.nodes.partition_point(|node| node.end <= at);
        let entered = || (0_u32..).zip(&self.nodes).skip(end).filter(|(_, node)| node.may_enter(at));
        let sources = places(self.nodes[begin..end].iter().map(|node| node.device));
        let targets = places(entered().map(|(_, node)| node.device));
        let entry = |(index, node): (u32, &Node)| Entry { node: index, target: place(&targets, node.device), run_ms: node.run_ms_from(at) };
        Border {
            ending: index(begin)..index(end),
            source_of: self.nodes[begin..end].iter().map(|node| place(&sources, node.device)).collect(),
            entries: entered().map(entry).collect(),
            sources,
            targets,
            bytes,
            hops: Vec::new(),
            nearest: Vec::new(),
            reaches: Vec::new(),
        }
    }
}

impl Node {
    /// None of a segment that cannot be on any way, or of which it is not known how long it takes.
    fn of(index: u32, segment: &Segment, blocks: u32) -> Option<Self> {
        let sound = segment.start < segment.end && segment.end <= blocks && segment.run_ms.is_finite() && segment.run_ms >= 0.0;
        sound.then_some(Self {
            segment: index,
            device: segment.device,
            start: segment.start,
            end: segment.end,
            run_ms: segment.run_ms,
            divisible: segment.divisible,
        })
    }

    fn may_enter(&self, block: u32) -> bool {
        block == self.start || (self.divisible && (self.start..self.end).contains(&block))
    }

    /// The blocks at which it may be entered.
    fn doors(&self) -> Range<usize> {
        let last = if self.divisible { self.end } else { self.start + 1 };
        self.start as usize..last as usize
    }

    /// Blocks of a segment are taken to be alike: the contract gives the time of all of them.
    fn run_ms_from(&self, block: u32) -> f64 {
        self.run_ms * f64::from(self.end - block) / f64::from(self.end - self.start)
    }
}

impl Border {
    fn work_out(&mut self, links: &Links, hops_left: &mut usize) {
        let (sources, targets) = (self.sources.len(), self.targets.len());
        if sources * targets > *hops_left {
            self.reaches = vec![0.0; targets];
            return;
        }
        *hops_left -= sources * targets;
        self.hops = vec![0.0; sources * targets];
        for (place, &source) in self.sources.iter().enumerate() {
            for (target, hop_ms) in links.hops_ms(source, &self.targets, self.bytes).enumerate() {
                self.hops[target * sources + place] = hop_ms;
            }
        }
        if sources > 0 {
            (self.nearest, self.reaches) = self.hops.chunks_exact(sources).map(nearest).unzip();
        }
    }
}

/// The sources with the least hops to a target, and the hop of the next one. Some are named twice where there are few.
fn nearest(hops: &[f64]) -> ([u32; NEAREST], f64) {
    let mut kept = [(f64::INFINITY, 0); NEAREST + 1];
    for (source, &hop_ms) in (0_u32..).zip(hops) {
        let mut place = NEAREST;
        if hop_ms >= kept[place].0 {
            continue;
        }
        while place > 0 && hop_ms < kept[place - 1].0 {
            kept[place] = kept[place - 1];
            place -= 1;
        }
        kept[place] = (hop_ms, source);
    }
    (std::array::from_fn(|place| kept[place].1), kept[NEAREST].0)
}

/// Drops nodes that no way from the first block comes to. They are sorted by where they end, so all that ends before a node
/// begins is known when it is looked at.
fn keep_reached(nodes: &mut Vec<Node>, blocks: u32) {
    let mut reached = vec![false; blocks as usize + 1];
    reached[0] = true;
    nodes.retain(|node| {
        let enters = reached[node.doors()].contains(&true);
        reached[node.end as usize] |= enters;
        enters
    });
}

/// Drops nodes from which no way leads to the last block.
fn keep_leading_on(nodes: &mut Vec<Node>, blocks: u32) {
    let mut leading = vec![false; blocks as usize + 1];
    leading[blocks as usize] = true;
    for node in nodes.iter().rev() {
        if leading[node.end as usize] {
            leading[node.doors()].fill(true);
        }
    }
    nodes.retain(|node| leading[node.end as usize]);
}

/// Devices, each once.
fn places(devices: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut places: Vec<u32> = devices.collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// The index of a device among places that have it.
fn place(places: &[u32], device: u32) -> u32 {
    index(places.partition_point(|&place| place < device))
}

/// Indexes of the contract stay below 2^31.
fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_sources_are_found_with_the_distance_of_the_next_one() {
        let hops: Vec<f64> = [9.0, 3.0, 7.0, 1.0, 8.0, 5.0, 2.0, 6.0, 4.0, 0.5, f64::INFINITY].to_vec();
        assert_eq!(nearest(&hops), ([9, 3, 6, 1, 8, 5, 7, 2], 8.0));
        assert_eq!(nearest(&[4.0, 2.0]), ([1, 0, 0, 0, 0, 0, 0, 0], f64::INFINITY));
    }
}
