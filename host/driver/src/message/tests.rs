use proptest::prelude::*;

use super::*;

fn samples() -> Vec<Message> {
    let parcel = Parcel { element_type: ElementType::Fp32, shape: vec![1, 2], place: Place::Inline(Bytes::from_static(&[0; 8])) };
    let shared = Parcel { element_type: ElementType::Boolean, shape: vec![], place: Place::Shared { offset: 64, bytes: 1 } };
    let spec = TensorSpec::fixed("x", ElementType::Int64, &[1, 3]);
    vec![
        Message::Hello { protocol: 1, program: "0.1.0".into() },
        Message::Beat,
        Message::Attach { graph: 7, is_loaded: true },
        Message::Forget { graph: 7 },
        Message::Loaded { inputs: vec![spec.clone()], outputs: vec![spec.clone()], buckets: vec![vec![spec.clone()], vec![spec]], memory: units::Bytes(9) },
        Message::Run(vec![parcel.clone(), shared]),
        Message::Ran(vec![parcel]),
        Message::Failed(Refusal::failed("no".into())),
    ]
}

#[test]
fn every_message_is_read_as_it_was_written() {
    for message in samples() {
        assert_eq!(Message::decode(message.encode().into()), Ok(message));
    }
}

#[test]
fn a_frame_that_is_cut_or_followed_by_more_is_refused() {
    for message in samples() {
        let frame = message.encode();
        for length in 0..frame.len() {
            assert!(Message::decode(Bytes::copy_from_slice(&frame[..length])).is_err(), "{message:?} cut at {length}");
        }
        assert!(Message::decode([&frame[..], &[0]].concat().into()).is_err(), "{message:?}");
    }
}

#[test]
fn a_list_longer_than_what_follows_is_refused_before_it_is_made() {
    let mut frame = Message::Run(Vec::new()).encode();
    frame[HEAD_BYTES..].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Message::decode(frame.into()).expect_err("four thousand million parcels in no byte");
    assert_eq!(error.to_string(), "a list of 4294967295 should follow, 0 bytes do");
    assert!(read_head([0, 0, 0, 0xff, 8]).is_err());
}

proptest! {
    #[test]
    fn whatever_is_read_is_written_as_the_same_bytes(kind in 0_u8..12, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::read(kind, body.clone().into()) {
            let frame = message.encode();
            // Numbers that are not a number are equal to none, so the bytes are compared.
            prop_assert_eq!(Message::decode(frame.clone().into()).map(|again| again.encode()), Ok(frame));
        }
    }
}
