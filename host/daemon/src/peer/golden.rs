//! Golden answers as files, which travel beside the file of their shard.

use bytes::Bytes;
use host_engine::{Golden, Tensor};
use host_wire::peer::{pb, tensor};
use prost::Message as _;

use super::parcel::{from_wire, to_wire};
use crate::{error::Error, stage_fault::StageFault};

/// Golden answers as bytes; the same answers give the same bytes.
pub(super) fn to_file(golden: &Golden) -> Bytes {
    let tensors = |tensors: &[Tensor]| tensors.iter().map(|tensor| to_wire(tensor).into()).collect();
    let message = pb::Golden { inputs: tensors(&golden.inputs), outputs: tensors(&golden.outputs), tolerance: golden.tolerance };
    message.encode_to_vec().into()
}

/// Reads them back; tensors share the bytes.
pub fn golden_from_file(file: Bytes) -> Result<Golden, Error> {
    let wrong = |reason: String| Error::from(StageFault::Golden { reason });
    let golden = pb::Golden::decode(file).map_err(|error| wrong(error.to_string()))?;
    let tensors = |tensors: Vec<pb::Tensor>| {
        let read = |wire| from_wire(tensor(wire).map_err(|error| wrong(error.to_string()))?);
        tensors.into_iter().map(read).collect::<Result<Vec<_>, Error>>()
    };
    Ok(Golden { inputs: tensors(golden.inputs)?, outputs: tensors(golden.outputs)?, tolerance: golden.tolerance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_answers_read_back_as_they_were() {
        let (floats, integers) = (Tensor::from_f32(&[1, 2], &[0.5, -1.0]).expect("sound"), Tensor::from_i64(&[2], &[3, -4]).expect("sound"));
        let golden = Golden { inputs: vec![floats.clone(), integers], outputs: vec![floats], tolerance: 1e-3 };
        assert_eq!(golden_from_file(to_file(&golden)).expect("sound"), golden);
    }

    #[test]
    fn what_holds_no_golden_answers_is_refused() {
        let error = golden_from_file(Bytes::from_static(b"\xff\xff")).expect_err("nothing of ours").to_string();
        assert!(error.starts_with("the golden answers cannot be read: "), "{error}");
    }
}
