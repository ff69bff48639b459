//! Where a model may be cut: points of the trunk where exactly one value is live. Of these, the ends of residual blocks where
//! there are any, so that a block is a residual block or half a transformer layer; else one after each layer.

use std::collections::{HashMap, HashSet};

use super::{
    Border,
    classify::{Class, Classes, is_heavy},
    shapes::Shapes,
};
use crate::{
    error::Error,
    onnx::{graph, graph::Index},
    onnx_pb::NodeProto,
};

/// A point with one live value.
#[derive(Clone, Debug)]
struct Candidate<'a> {
    /// How many trunk nodes lie before it.
    position: usize,
    value: &'a str,
}

/// The borders between blocks, in order. A value whose shape is not known is no border.
pub(super) fn borders(index: &Index<'_>, classes: &Classes, shapes: &Shapes) -> Result<Vec<Border>, Error> {
    let mut candidates = candidates(index, classes);
    candidates.retain(|candidate| shapes.spec(candidate.value).is_ok());
    let trunk: Vec<&NodeProto> = classes.trunk.iter().map(|&node| &index.graph.node[node]).collect();
    let layered = one_per_layer(&candidates, &trunk, index, classes);
    let kept = beside_residuals(&layered, &trunk, index, classes);
    let kept = if kept.is_empty() { layered } else { kept };
    kept.into_iter().map(|candidate| Ok(Border { position: candidate.position, spec: shapes.spec(candidate.value)? })).collect()
}

fn candidates<'a>(index: &Index<'a>, classes: &Classes) -> Vec<Candidate<'a>> {
    let mut last_read: HashMap<&str, usize> = HashMap::new();
    let mut first_read: HashMap<&str, usize> = HashMap::new();
    for (position, &node) in classes.trunk.iter().enumerate() {
        for name in graph::reads(&index.graph.node[node]) {
            last_read.insert(name, position);
            first_read.entry(name).or_insert(position);
        }
    }
    let mut live: HashSet<&str> = HashSet::new();
    let mut known: HashSet<&str> = HashSet::new();
    let mut found = Vec::new();
    for (position, &node) in classes.trunk.iter().enumerate() {
        let node = &index.graph.node[node];
        // An input that is read before and after a point would have to cross it, too.
        let inputs = graph::reads(node).into_iter().filter(|name| index.inputs.contains_key(name) && classes.of_value(index, name) == Class::Trunk);
        live.extend(inputs.filter(|name| first_read.get(name) == Some(&position)));
        live.extend(graph::outputs(node));
        live.retain(|name| last_read.get(name).is_some_and(|last| *last > position));
        let mut names = live.iter();
        if let (Some(value), None) = (names.next(), names.next())
            && index.producers.contains_key(value)
            && known.insert(value)
        {
            found.push(Candidate { position: position + 1, value });
        }
    }
    found
}

/// Whether a trunk node is a layer; an embedding is one as well.
fn is_layer(node: &NodeProto, index: &Index<'_>, classes: &Classes) -> bool {
    let table = || graph::reads(node).first().is_some_and(|name| classes.of_value(index, name) == Class::Constant);
    is_heavy(node) || (node.op_type() == "Gather" && table())
}

/// Of the candidates between two layers, the last; none before the first layer or after the last.
fn one_per_layer<'a>(candidates: &[Candidate<'a>], trunk: &[&NodeProto], index: &Index<'_>, classes: &Classes) -> Vec<Candidate<'a>> {
    let layers: Vec<usize> = (0..trunk.len()).filter(|&position| is_layer(trunk[position], index, classes)).collect();
    // How many layers lie before a candidate tells which gap it is in.
    let gap = |candidate: &Candidate<'_>| layers.partition_point(|&layer| layer < candidate.position);
    let mut kept: Vec<Candidate<'a>> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| (1..layers.len()).contains(&gap(candidate))) {
        match kept.last_mut() {
            Some(last) if gap(last) == gap(candidate) => *last = candidate.clone(),
            _ => kept.push(candidate.clone()),
        }
    }
    kept
}

/// The candidates that a residual block begins or ends with.
fn beside_residuals<'a>(candidates: &[Candidate<'a>], trunk: &[&NodeProto], index: &Index<'_>, classes: &Classes) -> Vec<Candidate<'a>> {
    let residuals: Vec<usize> = (0..trunk.len()).filter(|&position| is_residual(trunk[position], index, classes)).collect();
    let between = |start: usize, end: usize| residuals.iter().any(|residual| (start..end).contains(residual));
    let place = |number: usize| candidates.get(number).map_or(trunk.len(), |candidate| candidate.position);
    let beside = |number: &usize| {
        let start = number.checked_sub(1).map_or(0, &place);
        between(start, place(*number)) || between(place(*number), place(number + 1))
    };
    (0..candidates.len()).filter(beside).map(|number| candidates[number].clone()).collect()
}

fn is_residual(node: &NodeProto, index: &Index<'_>, classes: &Classes) -> bool {
    let carries = |name: &str| classes.of_value(index, name) == Class::Trunk;
    match node.op_type() {
        "Add" | "Sum" => graph::reads(node).len() >= 2 && graph::reads(node).into_iter().all(carries),
        other => other.starts_with("Skip") && other.ends_with("LayerNormalization"),
    }
}
