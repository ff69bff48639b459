//! From an answer's tensors to the body that was asked for: which outputs, in which order and form.

use host_engine::Tensor;
use host_wire::oip::{self, Datatype, Encoded, Form, Output, RequestedOutput};

use super::{infer::Asked, postprocess};
use crate::{
    error::{Error, Fault},
    models::Model,
    request::Answer,
    stage_fault::StageFault,
};

pub(super) fn encode(model: &Model, asked: &Asked, answer: Answer) -> Result<Encoded, Error> {
    let outputs = if asked.outputs.is_empty() {
        answer.outputs.iter().map(|(name, tensor)| plain(name, tensor, asked.binary_output)).collect::<Result<Vec<_>, _>>()?
    } else {
        asked.outputs.iter().map(|requested| chosen(model, asked, requested, &answer)).collect::<Result<Vec<_>, _>>()?
    };
    let answer = oip::Answer {
        model_name: model.id.name.to_string(),
        model_version: model.id.version.to_string(),
        id: asked.id.clone(),
        parameters: oip::Parameters::new(),
        outputs,
    };
    Ok(answer.encode()?)
}

fn chosen(model: &Model, asked: &Asked, requested: &RequestedOutput, answer: &Answer) -> Result<Output, Error> {
    let missing = || Error::from(StageFault::NoOutput { model: model.id.clone(), output: requested.name.clone() });
    let (name, tensor) = answer.outputs.iter().find(|(name, _)| *name == requested.name).ok_or_else(missing)?;
    let binary = requested.binary.unwrap_or(asked.binary_output);
    let Some(count) = requested.classification else { return plain(name, tensor, binary) };
    let batched = model.is_batched();
    let tensor = postprocess::classification(name, tensor, batched, count as usize, &model.manifest.labels);
    Ok(Output { tensor, form: form(binary) })
}

fn plain(name: &str, tensor: &Tensor, binary: bool) -> Result<Output, Error> {
    let datatype = Datatype::parse(tensor.element_type().protocol_name()).map_err(Fault::Wire)?;
    let tensor = oip::Tensor { name: name.to_owned(), datatype, shape: tensor.shape().to_vec(), data: tensor.data().clone() };
    Ok(Output { tensor, form: form(binary) })
}

fn form(binary: bool) -> Form {
    if binary { Form::Binary } else { Form::Json }
}
