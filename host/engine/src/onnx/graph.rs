//! Looking around in a graph: what a node reads, who makes a value, and in which order nodes can run.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet},
};

use crate::{
    error::Error,
    onnx_pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto},
};

/// The names of a graph's values, and where each comes from.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    pub(crate) graph: &'a GraphProto,
    pub(crate) producers: HashMap<&'a str, usize>,
    pub(crate) initializers: HashMap<&'a str, &'a TensorProto>,
    pub(crate) inputs: HashMap<&'a str, &'a ValueInfoProto>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(graph: &'a GraphProto) -> Self {
        let producers = graph.node.iter().enumerate().flat_map(|(index, node)| outputs(node).map(move |name| (name, index))).collect();
        let initializers: HashMap<_, _> = graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
        // Old files list initializers among the inputs too; they are not inputs that anyone gives.
        let inputs = graph.input.iter().filter(|input| !initializers.contains_key(input.name())).map(|input| (input.name(), input)).collect();
        Self { graph, producers, initializers, inputs }
    }

    /// Whether a name is a value of this graph.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.producers.contains_key(name) || self.initializers.contains_key(name) || self.inputs.contains_key(name)
    }

    /// Node indexes in an order that can run, the file's own wherever it already is one. The error names a node in a cycle.
    pub(crate) fn order(&self) -> Result<Vec<usize>, Error> {
        let nodes = &self.graph.node;
        let mut waiting = vec![0usize; nodes.len()];
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            let before: BTreeSet<usize> = reads(node).into_iter().filter_map(|name| self.producers.get(name).copied()).collect();
            waiting[index] = before.len();
            before.into_iter().for_each(|producer| readers[producer].push(index));
        }
        let mut ready: BinaryHeap<Reverse<usize>> = waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(index, _)| Reverse(index)).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(Reverse(index)) = ready.pop() {
            order.push(index);
            for &reader in &readers[index] {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
        match waiting.iter().position(|count| *count > 0) {
            Some(index) => Err(Error::graph(format!("the graph has a cycle through or before node `{}`", label(&nodes[index])))),
            None => Ok(order),
        }
    }
}

/// The values that a node makes, without the ones left out.
pub(crate) fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// The values that a node reads, those that graphs inside it take from outside included; each once.
pub(crate) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in inner_graphs(node) {
        captured(graph, &mut names);
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

fn captured<'a>(graph: &'a GraphProto, names: &mut Vec<&'a str>) {
    let mut own: HashSet<&str> = graph.input.iter().map(ValueInfoProto::name).chain(graph.initializer.iter().map(TensorProto::name)).collect();
    own.extend(graph.node.iter().flat_map(outputs));
    let wanted = graph.node.iter().flat_map(reads).chain(graph.output.iter().map(ValueInfoProto::name));
    names.extend(wanted.filter(|name| !own.contains(name) && !name.is_empty()));
}

/// The graphs in a node's attributes: branches and loop bodies.
pub(crate) fn inner_graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// An attribute by name.
pub(crate) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// An integer attribute, or what the format says when it is left out.
pub(crate) fn integer(node: &NodeProto, name: &str, otherwise: i64) -> i64 {
    attribute(node, name).map_or(otherwise, AttributeProto::i)
}

/// What to call a node in an error: its name, or its first output.
pub(crate) fn label(node: &NodeProto) -> String {
    let name = if node.name().is_empty() { outputs(node).next().unwrap_or("without a name") } else { node.name() };
    format!("{name} ({})", node.op_type())
}

/// Operators of a graph and the graphs in it, each once, sorted.
pub(crate) fn operators(graph: &GraphProto) -> Vec<String> {
    fn collect(graph: &GraphProto, names: &mut BTreeSet<String>) {
        for node in &graph.node {
            let domain = node.domain();
            names.insert(if domain.is_empty() || domain == "ai.onnx" { node.op_type().to_owned() } else { format!("{domain}.{}", node.op_type()) });
            inner_graphs(node).for_each(|inner| collect(inner, names));
        }
    }
    let mut names = BTreeSet::new();
    collect(graph, &mut names);
    names.into_iter().collect()
}
