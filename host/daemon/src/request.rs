//! Requests as the daemon runs them, and the border where wire tensors become ones that fit their model. Whatever passed
//! here has the inputs that the model declares, each with its datatype, shape and bytes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use host_core::{ids::ModelId, reservations::Access, units::Millis};
use host_engine::{Dimension, ElementType, Tensor, TensorSpec};
use host_wire::oip;

use crate::{
    error::{Error, Fault},
    models::Model,
    telemetry::traces::Trace,
};

/// A request that fits its model.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who shall answer.
    pub model: Arc<Model>,
    /// By name; every input of the model once.
    pub inputs: Vec<(String, Tensor)>,
    /// On the host's clock.
    pub deadline: Millis,
    /// Which class it waits in; 0 is the most urgent.
    pub class: u32,
    /// Whether it has the devices on its way to itself.
    pub access: Access,
    /// Same for all requests of one sequence, 0 for none.
    pub sequence_key: u32,
    /// The routing slot that chooses its way, without `routing/`; none for the slot `routing`.
    pub routing: Option<String>,
    /// Where its spans belong.
    pub trace: Trace,
}

/// What a request led to.
#[derive(Clone, Debug)]
pub struct Answer {
    /// All outputs of the model, in its order.
    pub outputs: Vec<(String, Tensor)>,
    /// The routing plugin that chose the path: name, generation and digest.
    pub policy: String,
}

/// What a model takes and gives, as far as checking goes.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// For errors.
    pub id: &'a ModelId,
    /// In declared order.
    pub inputs: &'a [TensorSpec],
    /// In declared order.
    pub outputs: &'a [TensorSpec],
    /// Largest leading dimension; 0 for a model without batches.
    pub max_batch_size: u32,
}

impl<'a> Signature<'a> {
    /// That of a loaded model.
    pub fn of(model: &'a Model) -> Self {
        Self { id: &model.id, inputs: &model.inputs, outputs: &model.outputs, max_batch_size: model.manifest.max_batch_size }
    }

    /// Proves that wire tensors are what the model takes; bytes are shared, not copied.
    pub fn inputs(&self, tensors: Vec<oip::Tensor>) -> Result<Vec<(String, Tensor)>, Error> {
        let mut inputs = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let spec = self.spec(&tensor.name)?;
            let found = ElementType::from_protocol_name(tensor.datatype.name());
            if found != Some(spec.element_type) {
                return Err(self.wrong(spec, "datatype", spec.element_type.to_string(), tensor.datatype.to_string()));
            }
            self.check_shape(spec, &tensor.shape)?;
            inputs.push((tensor.name, Tensor::new(spec.element_type, tensor.shape, tensor.data)?));
        }
        self.check_all_there(&inputs)?;
        self.check_symbols(&inputs)?;
        Ok(inputs)
    }

    /// Proves that outputs which a request names exist.
    pub fn check_outputs<'b>(&self, names: impl Iterator<Item = &'b str>) -> Result<(), Error> {
        for name in names {
            if !self.outputs.iter().any(|spec| spec.name == name) {
                return Err(Fault::Unknown { what: "output", name: name.to_owned(), known: listed(self.outputs) }.into());
            }
        }
        Ok(())
    }

    /// The only input from bytes alone. The batch is 1 where another length is open, else what the byte count says.
    pub fn raw(&self, data: Bytes) -> Result<Vec<(String, Tensor)>, Error> {
        let fault = |reason: String| Error::from(Fault::RawBody { model: self.id.clone(), reason });
        let [spec] = self.inputs else { return Err(fault(format!("it has {} inputs, it must have 1", self.inputs.len()))) };
        let mut shape: Vec<Option<usize>> = spec.shape.iter().map(Dimension::fixed).collect();
        let mut open: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis].is_none()).collect();
        if self.max_batch_size > 0 && open.len() > 1 && open[0] == 0 {
            shape[0] = Some(1);
            open.remove(0);
        }
        if open.len() > 1 {
            return Err(fault(format!("its shape {} leaves more than one length open", spec.shape_text())));
        }
        let rest = shape.iter().flatten().try_fold(spec.element_type.size_bytes(), |size, &length| size.checked_mul(length));
        let rest = rest.filter(|&size| size > 0).ok_or_else(|| fault("its shape has no size".into()))?;
        if let Some(&axis) = open.first() {
            if data.is_empty() || !data.len().is_multiple_of(rest) {
                return Err(fault(format!("{} bytes are no multiple of {rest}, which one step of {} takes", data.len(), spec.shape_text())));
            }
            shape[axis] = Some(data.len() / rest);
        }
        let shape: Vec<usize> = shape.into_iter().flatten().collect();
        self.check_shape(spec, &shape)?;
        Ok(vec![(spec.name.clone(), Tensor::new(spec.element_type, shape, data)?)])
    }

    /// Proves that a tensor made by the host itself is what the model takes, as its only input.
    pub fn fitted(&self, name: &str, tensor: Tensor) -> Result<Vec<(String, Tensor)>, Error> {
        let spec = self.spec(name)?;
        if tensor.element_type() != spec.element_type {
            return Err(self.wrong(spec, "datatype", spec.element_type.to_string(), tensor.element_type().to_string()));
        }
        self.check_shape(spec, tensor.shape())?;
        let inputs = vec![(name.to_owned(), tensor)];
        self.check_all_there(&inputs)?;
        Ok(inputs)
    }

    fn spec(&self, name: &str) -> Result<&'a TensorSpec, Error> {
        let unknown = || Fault::Unknown { what: "input", name: name.to_owned(), known: listed(self.inputs) }.into();
        self.inputs.iter().find(|spec| spec.name == name).ok_or_else(unknown)
    }

    fn check_shape(&self, spec: &TensorSpec, shape: &[usize]) -> Result<(), Error> {
        let fits = |(&length, dimension): (&usize, &Dimension)| dimension.fixed().is_none_or(|fixed| fixed == length);
        if shape.len() != spec.shape.len() || !shape.iter().zip(&spec.shape).all(fits) {
            return Err(self.wrong(spec, "shape", spec.shape_text(), format!("{shape:?}")));
        }
        let batch = shape.first().copied().unwrap_or(1);
        if self.max_batch_size > 0 && !(1..=self.max_batch_size as usize).contains(&batch) {
            return Err(self.wrong(spec, "the batch", format!("1 to {}", self.max_batch_size), batch.to_string()));
        }
        Ok(())
    }

    fn check_all_there(&self, inputs: &[(String, Tensor)]) -> Result<(), Error> {
        let missing = self.inputs.iter().find(|spec| !inputs.iter().any(|(name, _)| *name == spec.name));
        missing.map_or(Ok(()), |spec| Err(Fault::MissingInput { model: self.id.clone(), input: spec.name.clone() }.into()))
    }

    /// A length that is open under the same name in several inputs is the same length; so is the batch of all.
    fn check_symbols(&self, inputs: &[(String, Tensor)]) -> Result<(), Error> {
        let mut lengths: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for (name, tensor) in inputs {
            let spec = self.spec(name)?;
            for (axis, (&length, dimension)) in tensor.shape().iter().zip(&spec.shape).enumerate() {
                let symbol = match dimension {
                    _ if axis == 0 && self.max_batch_size > 0 => "the batch",
                    Dimension::Symbol(symbol) => symbol,
                    Dimension::Fixed(_) => continue,
                };
                let (first, owner) = *lengths.entry(symbol).or_insert((length, name));
                if first != length {
                    return Err(Fault::Tensor {
                        model: self.id.clone(),
                        input: name.clone(),
                        what: "a length",
                        expected: format!("{first}, because `{owner}` has that for {symbol}"),
                        found: length.to_string(),
                    }
                    .into());
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, spec: &TensorSpec, what: &'static str, expected: String, found: String) -> Error {
        Fault::Tensor { model: self.id.clone(), input: spec.name.clone(), what, expected, found }.into()
    }
}

fn listed(specs: &[TensorSpec]) -> String {
    specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use host_core::ids::ModelName;
    use host_wire::oip::Datatype;

    use super::*;

    fn id() -> ModelId {
        ModelId { name: ModelName::parse("m").expect("a name"), version: 1 }
    }

    fn spec(name: &str, shape: &[&str]) -> TensorSpec {
        let dimension = |text: &&str| text.parse().map_or_else(|_| Dimension::Symbol((*text).into()), Dimension::Fixed);
        TensorSpec { name: name.into(), element_type: ElementType::Uint8, shape: shape.iter().map(dimension).collect() }
    }

    fn tensor(name: &str, datatype: Datatype, shape: &[usize]) -> oip::Tensor {
        let size = shape.iter().product::<usize>() * datatype.size_bytes().unwrap_or(4);
        oip::Tensor { name: name.into(), datatype, shape: shape.to_vec(), data: vec![0; size].into() }
    }

    #[test]
    fn a_tensor_that_does_not_fit_is_named_with_both_values() {
        let (id, inputs) = (id(), [spec("a", &["batch", "2"]), spec("b", &["batch", "length"])]);
        let signature = Signature { id: &id, inputs: &inputs, outputs: &[], max_batch_size: 4 };
        let b = tensor("b", Datatype::Uint8, &[1, 9]);
        let cases = [
            (vec![tensor("c", Datatype::Uint8, &[1, 2])], "input `c` does not exist, there are a, b"),
            (vec![tensor("a", Datatype::Fp32, &[1, 2]), b.clone()], "model m@1: datatype of input `a` must be UINT8, it is FP32"),
            (vec![tensor("a", Datatype::Bytes, &[1, 2]), b.clone()], "model m@1: datatype of input `a` must be UINT8, it is BYTES"),
            (vec![tensor("a", Datatype::Uint8, &[1, 3]), b.clone()], "model m@1: shape of input `a` must be [batch, 2], it is [1, 3]"),
            (vec![tensor("a", Datatype::Uint8, &[2])], "model m@1: shape of input `a` must be [batch, 2], it is [2]"),
            (vec![tensor("a", Datatype::Uint8, &[5, 2])], "model m@1: the batch of input `a` must be 1 to 4, it is 5"),
            (vec![tensor("a", Datatype::Uint8, &[0, 2])], "model m@1: the batch of input `a` must be 1 to 4, it is 0"),
            (vec![tensor("a", Datatype::Uint8, &[2, 2]), b.clone()], "model m@1: a length of input `b` must be 2, because `a` has that for the batch, it is 1"),
            (vec![tensor("a", Datatype::Uint8, &[1, 2])], "model m@1 needs input `b`, the request does not have it"),
        ];
        for (tensors, message) in cases {
            assert_eq!(signature.inputs(tensors).expect_err(message).to_string(), message);
        }
        assert_eq!(signature.inputs(vec![b, tensor("a", Datatype::Uint8, &[1, 2])]).expect("fits").len(), 2);
    }

    #[test]
    fn a_raw_body_finds_the_one_open_length_and_refuses_what_is_ambiguous() {
        let id = id();
        let raw = |shape: &[&str], max_batch_size, size: usize| {
            let inputs = [spec("x", shape)];
            let signature = Signature { id: &id, inputs: &inputs, outputs: &[], max_batch_size };
            signature.raw(vec![0; size].into()).map(|inputs| inputs[0].1.shape().to_vec()).map_err(|error| error.to_string())
        };
        assert_eq!(raw(&["batch", "2"], 4, 6), Ok(vec![3, 2]));
        assert_eq!(raw(&["batch", "length"], 4, 6), Ok(vec![1, 6]));
        assert_eq!(raw(&["2", "3"], 0, 6), Ok(vec![2, 3]));
        assert_eq!(
            raw(&["batch", "4"], 4, 6),
            Err("model m@1 cannot take a raw body: 6 bytes are no multiple of 4, which one step of [batch, 4] takes".into())
        );
        assert_eq!(raw(&["batch", "2"], 4, 10), Err("model m@1: the batch of input `x` must be 1 to 4, it is 5".into()));
        assert!(raw(&["a", "b"], 0, 6).is_err());
        assert!(raw(&["2", "3"], 0, 5).is_err());
    }
}
