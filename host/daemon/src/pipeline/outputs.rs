//! What the rows of a request came to: held against what the model declares, and put together. Stages may be on any machine, so
//! nothing that they answer is believed before it was here. Values are not looked at: NaN is an answer.

use host_engine::{Dimension, Tensor, TensorSpec};

use crate::{error::Error, request::Signature, stage_fault::StageFault, wiring::Progress};

/// The outputs of all rows, in the model's declared order. Each row is that of a batch of one where the model takes batches.
pub fn join(model: &Signature<'_>, rows: &[Progress]) -> Result<Vec<(String, Tensor)>, Error> {
    let count = model.outputs.len();
    if let Some((position, _)) = rows.iter().flat_map(|row| &row.outputs).find(|(position, _)| *position >= count) {
        return Err(StageFault::UnknownOutput { model: model.id.clone(), position: *position, count }.into());
    }
    model.outputs.iter().enumerate().map(|(position, spec)| Ok((spec.name.clone(), whole(model, spec, position, rows)?))).collect()
}

fn whole(model: &Signature<'_>, spec: &TensorSpec, position: usize, rows: &[Progress]) -> Result<Tensor, Error> {
    let mut parts: Vec<Tensor> = Vec::with_capacity(rows.len());
    for row in rows {
        let missing = || Error::from(StageFault::NoOutput { model: model.id.clone(), output: spec.name.clone() });
        let (_, tensor) = row.outputs.iter().find(|(found, _)| *found == position).ok_or_else(missing)?;
        check(model, spec, tensor)?;
        match parts.first() {
            Some(first) if first.shape().get(1..) != tensor.shape().get(1..) => {
                return Err(wrong(model, spec, "shape", format!("{:?} as in the first row", first.shape()), format!("{:?}", tensor.shape())));
            }
            _ => parts.push(tensor.clone()),
        }
    }
    Ok(Tensor::concat(&parts)?)
}

fn check(model: &Signature<'_>, spec: &TensorSpec, tensor: &Tensor) -> Result<(), Error> {
    if tensor.element_type() != spec.element_type {
        return Err(wrong(model, spec, "datatype", spec.element_type.to_string(), tensor.element_type().to_string()));
    }
    let lengths = row_lengths(model, spec);
    let fits = |(found, length): (&usize, &Option<usize>)| length.is_none_or(|length| length == *found);
    if tensor.shape().len() == lengths.len() && tensor.shape().iter().zip(&lengths).all(fits) {
        return Ok(());
    }
    let text = |(dimension, length): (&Dimension, &Option<usize>)| length.map_or_else(|| dimension.to_string(), |length| length.to_string());
    let expected = spec.shape.iter().zip(&lengths).map(text).collect::<Vec<_>>().join(", ");
    Err(wrong(model, spec, "shape", format!("[{expected}]"), format!("{:?}", tensor.shape())))
}

/// The lengths of an output for one row, as far as they are known. The first one is 1 where it counts the rows of the batch: where
/// it has the name of the inputs' first one.
fn row_lengths(model: &Signature<'_>, spec: &TensorSpec) -> Vec<Option<usize>> {
    let mut lengths: Vec<Option<usize>> = spec.shape.iter().map(Dimension::fixed).collect();
    let counts_rows = model.max_batch_size > 0 && model.inputs.iter().any(|input| input.shape.first() == spec.shape.first());
    if let Some(first) = lengths.first_mut().filter(|_| counts_rows) {
        *first = Some(1);
    }
    lengths
}

fn wrong(model: &Signature<'_>, spec: &TensorSpec, what: &'static str, expected: String, found: String) -> Error {
    StageFault::WrongOutput { model: model.id.clone(), output: spec.name.clone(), what, expected, found }.into()
}

#[cfg(test)]
mod tests {
    use host_core::{
        error::ErrorKind,
        ids::{ModelId, ModelName},
    };
    use host_engine::ElementType;

    use super::*;

    fn spec(name: &str, element_type: ElementType, shape: &[&str]) -> TensorSpec {
        let dimension = |text: &&str| text.parse().map_or_else(|_| Dimension::Symbol((*text).into()), Dimension::Fixed);
        TensorSpec { name: name.into(), element_type, shape: shape.iter().map(dimension).collect() }
    }

    fn row(outputs: &[(usize, ElementType, &[usize])]) -> Progress {
        let tensor = |&(position, element_type, shape): &(usize, ElementType, &[usize])| (position, Tensor::zeros(element_type, shape).expect("small"));
        Progress { border: None, outputs: outputs.iter().map(tensor).collect() }
    }

    /// Of a model that takes batches and gives scores for each row and as many boxes as it finds.
    fn joined(rows: &[Progress]) -> Result<Vec<(String, Tensor)>, Error> {
        let id = ModelId { name: ModelName::parse("m").expect("a name"), version: 1 };
        let inputs = [spec("x", ElementType::Fp32, &["batch", "4"])];
        let outputs = [spec("scores", ElementType::Fp32, &["batch", "3"]), spec("boxes", ElementType::Int64, &["found", "4"])];
        join(&Signature { id: &id, inputs: &inputs, outputs: &outputs, max_batch_size: 8 }, rows)
    }

    const SCORES: (usize, ElementType, &[usize]) = (0, ElementType::Fp32, &[1, 3]);
    const BOXES: (usize, ElementType, &[usize]) = (1, ElementType::Int64, &[2, 4]);

    #[test]
    fn rows_become_one_tensor_for_each_output_in_the_models_order() {
        let more: (usize, ElementType, &[usize]) = (1, ElementType::Int64, &[5, 4]);
        let outputs = joined(&[row(&[BOXES, SCORES]), row(&[SCORES, more])]).expect("as declared");
        let shapes: Vec<(&str, &[usize])> = outputs.iter().map(|(name, tensor)| (name.as_str(), tensor.shape())).collect();
        assert_eq!(shapes, [("scores", &[2, 3][..]), ("boxes", &[7, 4][..])]);
    }

    #[test]
    fn what_is_not_a_number_is_an_answer() {
        let mut nan = row(&[BOXES]);
        nan.outputs.push((0, Tensor::from_f32(&[1, 3], &[f32::NAN; 3]).expect("three values")));
        assert!(joined(&[nan]).is_ok());
    }

    #[test]
    fn what_the_model_does_not_declare_is_the_stages_fault_and_named_with_both_values() {
        type Came<'a> = &'a [(usize, ElementType, &'a [usize])];
        let cases: [(Came<'_>, &str); 7] = [
            (&[SCORES], "no stage of m@1 gave its output `boxes`"),
            (&[SCORES, BOXES, (2, ElementType::Fp32, &[1])], "the stages of m@1 gave output 2, it has 2"),
            (&[(0, ElementType::Fp64, &[1, 3]), BOXES], "model m@1: datatype of output `scores` must be FP32, the stages gave FP64"),
            (&[(0, ElementType::Fp32, &[1, 4]), BOXES], "model m@1: shape of output `scores` must be [1, 3], the stages gave [1, 4]"),
            (&[(0, ElementType::Fp32, &[2, 3]), BOXES], "model m@1: shape of output `scores` must be [1, 3], the stages gave [2, 3]"),
            (&[SCORES, (1, ElementType::Int64, &[4])], "model m@1: shape of output `boxes` must be [found, 4], the stages gave [4]"),
            (&[SCORES, (1, ElementType::Int64, &[0, 5])], "model m@1: shape of output `boxes` must be [found, 4], the stages gave [0, 5]"),
        ];
        for (outputs, message) in cases {
            let error = joined(&[row(&[SCORES, BOXES]), row(outputs)]).expect_err(message);
            assert_eq!((error.to_string().as_str(), error.kind()), (message, ErrorKind::Internal));
        }
    }

    #[test]
    fn rows_that_do_not_fit_together_are_named() {
        let id = ModelId { name: ModelName::parse("m").expect("a name"), version: 1 };
        let inputs = [spec("x", ElementType::Fp32, &["batch", "4"])];
        let outputs = [spec("y", ElementType::Fp32, &["batch", "length"])];
        let rows = [row(&[(0, ElementType::Fp32, &[1, 2])]), row(&[(0, ElementType::Fp32, &[1, 3])])];
        let error = join(&Signature { id: &id, inputs: &inputs, outputs: &outputs, max_batch_size: 8 }, &rows).expect_err("2 is not 3");
        assert_eq!(error.to_string(), "model m@1: shape of output `y` must be [1, 2] as in the first row, the stages gave [1, 3]");
    }
}
