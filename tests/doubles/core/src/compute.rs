//! Real results: the ONNX file behind a payload, run with tract.

use bytes::Bytes;
use half::f16;
use host_engine::{ElementType, Engine, Error, Graph, LoadOptions, OpenDimensions, Shard, Tensor, TractEngine, check_inputs};

use crate::payload::Payload;

/// A payload that can be run.
#[derive(Debug)]
pub struct Model {
    graph: Box<dyn Graph>,
    payload: Payload,
    operators: Vec<String>,
}

impl Model {
    /// Loads the file of a payload.
    pub fn load(payload: Payload) -> Result<Self, Error> {
        let shard = Shard::read(payload.file.clone(), None)?;
        let options = LoadOptions { open: OpenDimensions::None, ..LoadOptions::default() };
        Ok(Self { graph: TractEngine.load(&shard, &options)?, payload, operators: shard.operators })
    }

    /// What it was loaded from.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Operators that it uses, sorted.
    pub fn operators(&self) -> &[String] {
        &self.operators
    }

    /// Another user of the same weights.
    pub fn share(&self) -> Result<Self, Error> {
        Ok(Self { graph: self.graph.share()?, payload: self.payload.clone(), operators: self.operators.clone() })
    }

    /// Computes. Floats go through 16 bits on the way in and out where the payload says so.
    pub fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        check_inputs(&self.payload.inputs, &inputs)?;
        let inputs = inputs.into_iter().map(|tensor| self.rounded(tensor)).collect::<Result<Vec<_>, _>>()?;
        self.graph.run(inputs)?.into_iter().map(|tensor| self.rounded(tensor)).collect()
    }

    fn rounded(&self, tensor: Tensor) -> Result<Tensor, Error> {
        if !self.payload.half || tensor.element_type() != ElementType::Fp32 {
            return Ok(tensor);
        }
        let values = tensor.data().as_chunks().0.iter().flat_map(|bytes| f16::from_f32(f32::from_le_bytes(*bytes)).to_f32().to_le_bytes());
        Tensor::new(ElementType::Fp32, tensor.shape().to_vec(), values.collect::<Vec<u8>>().into())
    }
}

/// A tensor that means nothing, of the same type and shape.
pub fn garbage(tensor: &Tensor) -> Tensor {
    let bytes: Vec<u8> = (0..tensor.data().len()).map(|place| [0x5a, 0xa5, 0x3c, 0x42][place % 4]).collect();
    Tensor::new(tensor.element_type(), tensor.shape().to_vec(), bytes.into()).unwrap_or_else(|_| tensor.clone())
}

/// The bytes of 32-bit floats made of those of another type of floats; none for what is not a float here.
pub fn to_f32(element_type: ElementType, data: &[u8]) -> Option<Bytes> {
    match element_type {
        ElementType::Fp32 => Some(Bytes::copy_from_slice(data)),
        ElementType::Fp16 => Some(data.as_chunks().0.iter().flat_map(|bytes| f16::from_le_bytes(*bytes).to_f32().to_le_bytes()).collect()),
        _ => None,
    }
}

/// The bytes of another type of floats made of those of 32-bit ones; none for what is not a float here.
pub fn from_f32(element_type: ElementType, data: &[u8]) -> Option<Bytes> {
    match element_type {
        ElementType::Fp32 => Some(Bytes::copy_from_slice(data)),
        ElementType::Fp16 => Some(data.as_chunks().0.iter().flat_map(|bytes| f16::from_f32(f32::from_le_bytes(*bytes)).to_le_bytes()).collect()),
        _ => None,
    }
}
