//! Passages from peers: what is taken is for one of its stages, its tensors' bytes fit their shapes, and it goes to the wire
//! and back unchanged.

#![no_main]

use bytes::Bytes;
use host_wire::peer::{Activation, Tensor, pb};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    let Ok(wire) = pb::Activation::decode(Bytes::copy_from_slice(bytes)) else { return };
    let Ok(activation) = Activation::try_from(wire) else { return };
    check(&activation);
    let sent = pb::Activation::from(activation.clone()).encode_to_vec();
    let wire = pb::Activation::decode(Bytes::from(sent)).expect("just encoded");
    assert_eq!(Activation::try_from(wire), Ok(activation));
});

fn check(activation: &Activation) {
    assert!(activation.next < activation.hops.len(), "stage {} of {}", activation.next, activation.hops.len());
    assert_eq!(activation.border.is_some(), activation.next > 0, "only a first stage has no border");
    assert!(activation.hops.windows(2).all(|pair| pair[0].range.end() == pair[1].range.start()), "stages leave a gap: {:?}", activation.hops);
    assert!(activation.left.0 >= 0.0, "{} are left", activation.left);
    assert_eq!(activation.shard().range, activation.hop().range);
    for tensors in [&activation.inputs, &activation.outputs] {
        let mut positions: Vec<usize> = tensors.iter().map(|(position, _)| *position).collect();
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(positions.len(), tensors.len(), "a position stands twice");
    }
    let numbered = activation.inputs.iter().chain(&activation.outputs).map(|(_, tensor)| tensor);
    let bytes: usize = numbered.chain(&activation.border).map(fitting_bytes).sum();
    assert_eq!(activation.bytes(), bytes);
}

/// The tensor's bytes, which must be those of its shape.
fn fitting_bytes(tensor: &Tensor) -> usize {
    let element = tensor.datatype.size_bytes().expect("elements of one size");
    assert_eq!(Some(tensor.data.len()), tensor.shape.iter().try_fold(element, |bytes, length| bytes.checked_mul(*length)), "{:?}", tensor.shape);
    tensor.data.len()
}
