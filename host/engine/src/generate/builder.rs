//! A graph under construction: values are names, weights come from a seed and are scaled so that activations keep their size.

use super::quantised::Weights;
use crate::{
    element_type::ElementType,
    error::Error,
    onnx::{OnnxFile, build},
    onnx_pb::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto},
    seed::Seed,
    spec::{Dimension, TensorSpec},
};

/// Collects nodes and weights.
#[derive(Debug)]
pub(crate) struct Builder {
    seed: Seed,
    nodes: Vec<NodeProto>,
    weights: Vec<TensorProto>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    scope: String,
    made: usize,
    products: Weights,
    /// Domains of operators beside the default one.
    domains: Vec<String>,
}

impl Builder {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed: Seed::new(seed),
            nodes: Vec::new(),
            weights: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            scope: String::new(),
            made: 0,
            products: Weights::Float,
            domains: Vec::new(),
        }
    }

    /// How the weights of `linear` are stored.
    pub(crate) fn with_products(self, products: Weights) -> Self {
        Self { products, ..self }
    }

    /// Names that follow begin with this.
    pub(crate) fn scope(&mut self, name: impl Into<String>) {
        self.scope = name.into();
        self.made = 0;
    }

    pub(crate) fn input(&mut self, name: &str, element_type: ElementType, shape: &[&str]) -> String {
        self.inputs.push(spec(name, element_type, shape));
        name.to_owned()
    }

    /// Makes a value an output under its own name.
    pub(crate) fn output(&mut self, value: &str, name: &str, element_type: ElementType, shape: &[&str]) {
        self.nodes.push(build::node("Identity", &[value], &[name], vec![]));
        self.declare_output(name, element_type, shape);
    }

    /// Declares a value that was made under this name as an output.
    pub(crate) fn declare_output(&mut self, name: &str, element_type: ElementType, shape: &[&str]) {
        self.outputs.push(spec(name, element_type, shape));
    }

    /// A node with one output; gives its name.
    pub(crate) fn op(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = self.fresh(operator);
        self.op_named(operator, inputs, attributes, &name);
        name
    }

    pub(crate) fn op_named(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>, name: &str) {
        self.nodes.push(build::node(operator, inputs, &[name], attributes));
    }

    /// A node with several outputs; gives their names.
    pub(crate) fn op_of_several(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>, count: usize) -> Vec<String> {
        let names: Vec<String> = (0..count).map(|_| self.fresh(operator)).collect();
        let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
        self.nodes.push(build::node(operator, inputs, &outputs, attributes));
        names
    }

    /// A node of another domain, with version 1 of it.
    pub(super) fn op_of(&mut self, domain: &str, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = self.fresh(operator);
        let node = build::node(operator, inputs, &[&name], attributes);
        self.nodes.push(NodeProto { domain: Some(domain.to_owned()), ..node });
        if !self.domains.iter().any(|known| known == domain) {
            self.domains.push(domain.to_owned());
        }
        name
    }

    /// The value in 8 bits, its scale and its zero.
    pub(super) fn dynamic_quantised(&mut self, value: &str) -> [String; 3] {
        let names = ["quantised", "scale", "zero"].map(|label| self.fresh(label));
        self.nodes.push(build::node("DynamicQuantizeLinear", &[value], &names.each_ref().map(String::as_str), vec![]));
        names
    }

    /// Seeded numbers, scaled by the number of values that are added up.
    pub(super) fn scaled_floats(&mut self, count: usize, summed: usize) -> Vec<f32> {
        self.seed.floats(count, (3.0 / summed.max(1) as f32).sqrt())
    }

    /// A weight of numbers of one byte each; the caller gives as many as the shape has elements.
    pub(crate) fn bytes(&mut self, label: &str, element_type: ElementType, shape: &[usize], data: Vec<u8>) -> String {
        let name = self.fresh(label);
        self.weights.push(build::byte_weight(&name, element_type, shape, data));
        name
    }

    /// Seeded weights, scaled by the number of values that are added up.
    pub(crate) fn weight(&mut self, label: &str, shape: &[usize], summed: usize) -> String {
        let name = self.fresh(label);
        let values = self.scaled_floats(shape.iter().product(), summed);
        self.weights.push(build::weight(&name, shape, &values));
        name
    }

    /// Weights around a value, such as the ones of a norm.
    pub(crate) fn near(&mut self, label: &str, shape: &[usize], center: f32) -> String {
        let name = self.fresh(label);
        let values: Vec<f32> = self.seed.floats(shape.iter().product(), 0.1).into_iter().map(|value| value + center).collect();
        self.weights.push(build::weight(&name, shape, &values));
        name
    }

    pub(crate) fn floats(&mut self, label: &str, values: &[f32], shape: &[usize]) -> String {
        let name = self.fresh(label);
        self.weights.push(build::weight(&name, shape, values));
        name
    }

    pub(crate) fn integers(&mut self, label: &str, values: &[i64]) -> String {
        let name = self.fresh(label);
        self.weights.push(build::shape_tensor(&name, values));
        name
    }

    /// A product with seeded weights and a bias: [.., inputs] to [.., outputs].
    pub(crate) fn linear(&mut self, value: &str, inputs: usize, outputs: usize, bias: bool) -> String {
        let product = match self.products {
            Weights::Float => {
                let weight = self.weight("weight", &[inputs, outputs], inputs);
                self.op("MatMul", &[value, &weight], vec![])
            }
            Weights::Int8 => self.product_int8(value, inputs, outputs),
            Weights::Int4 => self.product_int4(value, inputs, outputs),
        };
        if !bias {
            return product;
        }
        let bias = self.near("bias", &[outputs], 0.0);
        self.op("Add", &[&product, &bias], vec![])
    }

    pub(crate) fn finish(self, name: &str) -> Result<OnnxFile, Error> {
        let graph = GraphProto {
            name: Some(name.to_owned()),
            node: self.nodes,
            initializer: self.weights,
            input: self.inputs.iter().map(build::value_info).collect(),
            output: self.outputs.iter().map(build::value_info).collect(),
            ..GraphProto::default()
        };
        let mut model = build::model(graph);
        model.opset_import.extend(self.domains.into_iter().map(|domain| OperatorSetIdProto { domain: Some(domain), version: Some(1) }));
        OnnxFile::from_model(model)
    }

    fn fresh(&mut self, label: &str) -> String {
        self.made += 1;
        format!("{}/{label}_{}", self.scope, self.made)
    }
}

fn spec(name: &str, element_type: ElementType, shape: &[&str]) -> TensorSpec {
    let dimension = |text: &&str| text.parse().map_or_else(|_| Dimension::Symbol((*text).to_owned()), Dimension::Fixed);
    TensorSpec { name: name.to_owned(), element_type, shape: shape.iter().map(dimension).collect() }
}
