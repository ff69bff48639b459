//! Bodies of the Open Inference Protocol, JSON with or without binary tensors. What is read of a request fits its shapes; an
//! answer that is read can be written, and reads back the same.
//!
//! The first two bytes of an input say how many of its last bytes are binary, so that the boundary stays where it is while the
//! JSON before it grows and shrinks; `ff ff` stands for a body without the length header.

#![no_main]

use std::collections::BTreeSet;

use bytes::Bytes;
use host_wire::oip::{AXES_MAX, Answer, Body, Datatype, Form, Request, TENSORS_MAX, Tensor, header_length, text_elements};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = header_length(Some(text));
        let _ = Datatype::parse(text);
    }
    let Some((binary, body)) = bytes.split_first_chunk::<2>() else { return };
    let binary = u16::from_le_bytes(*binary);
    // More than there is gives a header that lies about the body.
    let length = |binary: usize| body.len().checked_sub(binary).unwrap_or(binary);
    let header = (binary != u16::MAX).then(|| length(binary.into()));
    let body = Bytes::copy_from_slice(body);
    if let Ok(Body::Request(request)) = Body::parse(&body, header) {
        check_request(&request);
    }
    if let Ok(answer) = Answer::parse(&body, header) {
        check_answer(&answer);
    }
});

fn check_request(request: &Request) {
    assert!(request.inputs.len() <= TENSORS_MAX && request.outputs.len() <= TENSORS_MAX);
    let names: BTreeSet<&str> = request.inputs.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), request.inputs.len(), "a name stands twice");
    request.inputs.iter().for_each(check_tensor);
}

fn check_answer(answer: &Answer) {
    answer.outputs.iter().for_each(|output| check_tensor(&output.tensor));
    let written = answer.encode().expect("what was read as JSON has no number that JSON lacks");
    assert_eq!(written.header_length.is_some(), answer.outputs.iter().any(|output| output.form == Form::Binary));
    assert_eq!(Answer::parse(&written.body, written.header_length).as_ref(), Ok(answer));
}

fn check_tensor(tensor: &Tensor) {
    assert!(tensor.shape.len() <= AXES_MAX, "{:?}", tensor.shape);
    let elements = tensor.shape.iter().try_fold(1_usize, |elements, length| elements.checked_mul(*length)).expect("the shape was checked");
    match tensor.datatype.size_bytes() {
        Some(size) => assert_eq!(Some(tensor.data.len()), elements.checked_mul(size), "{:?}", tensor.shape),
        None => assert_eq!(text_elements(&tensor.data).len(), elements, "{:?}", tensor.shape),
    }
}
