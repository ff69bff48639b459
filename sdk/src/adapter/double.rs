//! An engine for tests of adapters outside the sandbox: tensors of a few numbers, and graphs of fixed shapes that compute what attention
//! does with a mask, strictly. Not fast, and not for anything else.

use std::cell::RefCell;

use super::{
    Attribute, ElementType, Engine, EngineError, EngineErrorKind, EngineInfo, TensorInfo,
    operations::{Operations, Port, ShardInfo},
};

/// A tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// What its elements are.
    pub element_type: ElementType,
    /// Its shape, row major.
    pub shape: Vec<u32>,
    /// Its elements.
    pub values: Vec<f64>,
}

impl Tensor {
    /// Of these values.
    #[must_use]
    pub fn new(element_type: ElementType, shape: &[u32], values: &[f64]) -> Self {
        assert_eq!(count(shape), values.len(), "{shape:?}");
        Self { element_type, shape: shape.to_vec(), values: values.to_vec() }
    }

    fn at(&self, index: &[u32]) -> f64 {
        self.values[offset(index, &self.shape)]
    }

    /// Each element of a tensor of this shape, by its index.
    fn made(element_type: ElementType, shape: Vec<u32>, value: impl Fn(&[u32]) -> f64) -> Self {
        let values = (0..count(&shape)).map(|element| value(&index(element, &shape))).collect();
        Self { element_type, shape, values }
    }
}

fn count(shape: &[u32]) -> usize {
    shape.iter().map(|&length| length as usize).product()
}

fn offset(index: &[u32], shape: &[u32]) -> usize {
    index.iter().zip(shape).fold(0, |offset, (&index, &length)| offset * length as usize + index as usize)
}

fn index(mut element: usize, shape: &[u32]) -> Vec<u32> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        let length = shape[axis] as usize;
        index[axis] = u32::try_from(element % length).unwrap_or(u32::MAX);
        element /= length;
    }
    index
}

/// What a graph computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Computes {
    /// Each output is the input of the same place.
    Inputs,
    /// Of `x[rows, tokens, width]` and a mask `[rows, tokens]`: each token plus the sum of all tokens that the mask leaves.
    Attention,
    /// Of `x[rows, tokens, width]`, a mask `[rows, past + tokens]` and the past `[rows, past, width]`: each token plus the sum of those
    /// up to it that the mask leaves, and past and tokens together.
    CausalAttention,
}

/// A shard.
#[derive(Clone, Debug)]
pub struct Shard {
    /// What it says of itself.
    pub info: ShardInfo,
    /// What it computes.
    pub computes: Computes,
    /// The inputs of each set of shapes that it was converted for.
    pub buckets: Vec<Vec<TensorInfo>>,
    /// Why it does not load.
    pub refused: Option<String>,
    /// Whether that is memory that is used up.
    pub is_short: bool,
}

impl Shard {
    /// A shard with these inputs and outputs, each a name, a type and dimensions, that was converted for nothing yet.
    #[must_use]
    pub fn new(computes: Computes, inputs: &[(&str, ElementType, &[&str])], outputs: &[(&str, ElementType, &[&str])]) -> Self {
        let port = |(name, element_type, dimensions): &(&str, ElementType, &[&str])| Port {
            name: (*name).to_owned(),
            element_type: *element_type,
            dimensions: dimensions.iter().map(|dimension| (*dimension).to_owned()).collect(),
        };
        let (inputs, outputs) = (inputs.iter().map(port).collect(), outputs.iter().map(port).collect());
        let info = ShardInfo { id: "m@1[0..1)".to_owned(), weight_bytes: 1e6, inputs, outputs, operators: vec!["Add".to_owned(), "MatMul".to_owned()] };
        Self { info, computes, buckets: Vec::new(), refused: None, is_short: false }
    }

    /// Converted for these shapes of its inputs, too, with these element types.
    #[must_use]
    pub fn converted(mut self, shapes: &[(ElementType, &[i32])]) -> Self {
        let info = |(port, (element_type, shape)): (&Port, &(ElementType, &[i32]))| TensorInfo {
            name: port.name.clone(),
            element_type: *element_type,
            shape: shape.to_vec(),
        };
        self.buckets.push(self.info.inputs.iter().zip(shapes).map(info).collect());
        self
    }
}

/// The engine `double`, of the accelerator that its `infos` name.
#[derive(Debug, Default)]
pub struct Double {
    /// What it says of its engines.
    pub infos: RefCell<Vec<EngineInfo>>,
    /// Options of each load, with the engine's name.
    pub loads: RefCell<Vec<(String, Vec<Attribute>)>>,
    /// Shapes that each run was given.
    pub runs: RefCell<Vec<Vec<Vec<u32>>>>,
}

/// An engine of that name which says nothing unusual.
#[must_use]
pub fn info(name: &str, accelerator: &str) -> EngineInfo {
    EngineInfo {
        name: name.to_owned(),
        version: "1".to_owned(),
        accelerator: accelerator.to_owned(),
        memory_bytes: 1e9,
        weight_factor: 1.5,
        fixed_bytes: 1e6,
        element_types: vec![ElementType::Fp16, ElementType::Fp32, ElementType::Int32, ElementType::Int64],
        attributes: Vec::new(),
    }
}

fn refused(kind: EngineErrorKind, message: impl Into<String>) -> EngineError {
    EngineError { kind, message: message.into() }
}

impl Engine for Double {
    type Tensor = Tensor;
    type ShardFile = Shard;
    type Graph = Shard;

    fn engines(&self) -> Vec<EngineInfo> {
        self.infos.borrow().clone()
    }

    fn load(&self, engine: &str, shard: &Shard, options: &[Attribute]) -> Result<Shard, EngineError> {
        self.loads.borrow_mut().push((engine.to_owned(), options.to_vec()));
        match &shard.refused {
            Some(reason) => Err(refused(if shard.is_short { EngineErrorKind::Exhausted } else { EngineErrorKind::Unsupported }, reason.clone())),
            None => Ok(shard.clone()),
        }
    }

    fn memory_bytes(&self, _graph: &Shard) -> f64 {
        5e6
    }

    fn run(&self, graph: &Shard, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        self.runs.borrow_mut().push(inputs.iter().map(|input| input.shape.clone()).collect());
        let taken = |info: &TensorInfo, input: &Tensor| {
            let same = |(&length, &there): (&i32, &u32)| length < 0 || u32::try_from(length) == Ok(there);
            info.element_type == input.element_type && info.shape.len() == input.shape.len() && info.shape.iter().zip(&input.shape).all(same)
        };
        let bucket = graph.buckets.iter().find(|infos| infos.len() == inputs.len() && infos.iter().zip(&inputs).all(|(info, input)| taken(info, input)));
        let Some(bucket) = bucket else {
            return Err(refused(EngineErrorKind::Invalid, format!("no graph was made for {:?}", inputs.iter().map(|input| &input.shape).collect::<Vec<_>>())));
        };
        // In the shard's order, whatever that of the graph is.
        let input = |name: &str| bucket.iter().position(|info| info.name == name).map(|place| inputs[place].clone());
        let ordered: Vec<Tensor> = graph.info.inputs.iter().filter_map(|port| input(&port.name)).collect();
        Ok(match graph.computes {
            Computes::Inputs => ordered,
            Computes::Attention => vec![attention(&ordered[0], &ordered[1])],
            Computes::CausalAttention => causal_attention(&ordered[0], &ordered[1], &ordered[2]),
        })
    }
}

fn attention(x: &Tensor, mask: &Tensor) -> Tensor {
    let sum = |row, width| (0..x.shape[1]).map(|token| mask.at(&[row, token]) * x.at(&[row, token, width])).sum::<f64>();
    Tensor::made(x.element_type, x.shape.clone(), |at| x.at(at) + sum(at[0], at[2]))
}

fn causal_attention(x: &Tensor, mask: &Tensor, past: &Tensor) -> Vec<Tensor> {
    let before = past.shape[1];
    let all = Tensor::made(x.element_type, vec![x.shape[0], before + x.shape[1], x.shape[2]], |at| {
        if at[1] < before { past.at(at) } else { x.at(&[at[0], at[1] - before, at[2]]) }
    });
    let sum = |row, upto, width| (0..=upto).map(|token| mask.at(&[row, token]) * all.at(&[row, token, width])).sum::<f64>();
    vec![Tensor::made(x.element_type, x.shape.clone(), |at| x.at(at) + sum(at[0], before + at[1], at[2])), all]
}

impl Operations for Double {
    fn element_type(&self, tensor: &Tensor) -> ElementType {
        tensor.element_type
    }

    fn shape(&self, tensor: &Tensor) -> Vec<u32> {
        tensor.shape.clone()
    }

    fn cast(&self, tensor: &Tensor, to: ElementType) -> Result<Tensor, EngineError> {
        Ok(Tensor { element_type: to, ..tensor.clone() })
    }

    fn transpose(&self, tensor: &Tensor, axes: &[u32]) -> Result<Tensor, EngineError> {
        let shape = axes.iter().map(|&axis| tensor.shape[axis as usize]).collect();
        Ok(Tensor::made(tensor.element_type, shape, |at| {
            let mut from = vec![0; at.len()];
            axes.iter().zip(at).for_each(|(&axis, &index)| from[axis as usize] = index);
            tensor.at(&from)
        }))
    }

    fn pad(&self, tensor: &Tensor, shape: &[u32], start: &[u32], value: f64) -> Result<Tensor, EngineError> {
        assert!((0..shape.len()).all(|axis| start[axis] + tensor.shape[axis] <= shape[axis]), "{:?} in {shape:?} from {start:?} on", tensor.shape);
        Ok(Tensor::made(tensor.element_type, shape.to_vec(), |at| {
            let inner: Option<Vec<u32>> = (0..at.len()).map(|axis| at[axis].checked_sub(start[axis]).filter(|&index| index < tensor.shape[axis])).collect();
            inner.map_or(value, |inner| tensor.at(&inner))
        }))
    }

    fn crop(&self, tensor: &Tensor, shape: &[u32], start: &[u32]) -> Result<Tensor, EngineError> {
        assert!((0..shape.len()).all(|axis| start[axis] + shape[axis] <= tensor.shape[axis]), "{shape:?} of {:?} from {start:?} on", tensor.shape);
        Ok(Tensor::made(tensor.element_type, shape.to_vec(), |at| tensor.at(&at.iter().zip(start).map(|(index, start)| index + start).collect::<Vec<_>>())))
    }

    fn buckets(&self, graph: &Shard) -> Vec<Vec<TensorInfo>> {
        graph.buckets.clone()
    }

    fn describe(&self, shard: &Shard) -> ShardInfo {
        shard.info.clone()
    }
}
