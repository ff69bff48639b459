//! Golden JSON, and the properties that hold for all answers and all bodies.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::oip::{Body, Request};

fn tensor(name: &str, datatype: Datatype, shape: Vec<usize>, data: Vec<u8>) -> Tensor {
    Tensor { name: name.into(), datatype, shape, data: data.into() }
}

fn answer(outputs: Vec<Output>) -> Answer {
    Answer { model_name: "digits".into(), model_version: "1".into(), id: Some("a\"b".into()), parameters: Parameters::new(), outputs }
}

#[test]
fn an_answer_as_json_reads_like_the_protocol() {
    let values = [0.5f32, -1.0, 1e-7].iter().flat_map(|value| value.to_le_bytes()).collect();
    let texts = Tensor::from_texts("c", vec![1, 2], &["0.9:3:three".into(), "0.1:4:\"four\"".into()]);
    let outputs = vec![Output { tensor: tensor("y", Datatype::Fp32, vec![1, 3], values), form: Form::Json }, Output { tensor: texts, form: Form::Json }];
    let encoded = answer(outputs).encode().expect("finite numbers");
    assert_eq!(encoded.header_length, None);
    let golden = r#"{"model_name":"digits","model_version":"1","id":"a\"b","outputs":[{"name":"y","datatype":"FP32","shape":[1,3],"data":[0.5,-1.0,1e-7]},{"name":"c","datatype":"BYTES","shape":[1,2],"data":["0.9:3:three","0.1:4:\"four\""]}]}"#;
    assert_eq!(std::str::from_utf8(&encoded.body), Ok(golden));
}

#[test]
fn a_binary_output_says_its_size_and_follows_the_json() {
    let outputs = vec![Output { tensor: tensor("y", Datatype::Uint8, vec![3], vec![7, 8, 9]), form: Form::Binary }];
    let encoded = answer(outputs).encode().expect("bytes");
    let golden = r#"{"model_name":"digits","model_version":"1","id":"a\"b","outputs":[{"name":"y","datatype":"UINT8","shape":[3],"parameters":{"binary_data_size":3}}]}"#;
    assert_eq!(encoded.header_length, Some(golden.len()));
    assert_eq!(encoded.body, [golden.as_bytes(), &[7, 8, 9]].concat());
}

#[test]
fn a_number_that_json_cannot_hold_is_named_and_binary_data_holds_it() {
    let nan = |form| answer(vec![Output { tensor: tensor("y", Datatype::Fp32, vec![1], f32::NAN.to_le_bytes().to_vec()), form }]);
    assert_eq!(nan(Form::Json).encode().expect_err("NaN").to_string(), "output `y`: element 0 is NaN, which JSON cannot hold; ask for binary_data");
    assert!(nan(Form::Binary).encode().is_ok());
}

fn any_output() -> impl Strategy<Value = Output> {
    let datatype = prop::sample::select(Datatype::ALL.to_vec());
    (datatype, vec(0usize..4, 0..4), vec(any::<u8>(), 64 * 8), any::<bool>(), "[a-z\"\\\\é]{0,6}").prop_map(|(datatype, shape, noise, binary, name)| {
        let elements: usize = shape.iter().product();
        let mut data: Vec<u8> = match datatype.size_bytes() {
            Some(size) => noise[..elements * size].to_vec(),
            None => noise[..elements].iter().flat_map(|byte| [1, 0, 0, 0, byte % 128]).collect(),
        };
        if datatype == Datatype::Bool {
            data.iter_mut().for_each(|byte| *byte %= 2);
        }
        let form = if binary { Form::Binary } else { Form::Json };
        Output { tensor: Tensor { name, datatype, shape, data: data.into() }, form }
    })
}

proptest! {
    #[test]
    fn every_answer_reads_back_as_it_was(outputs in vec(any_output(), 0..4)) {
        let answer = answer(outputs);
        // Noise may be NaN, which JSON refuses; then the same bytes must pass as binary data.
        if let Ok(encoded) = answer.encode() {
            prop_assert_eq!(Answer::parse(&encoded.body, encoded.header_length), Ok(answer));
        } else {
            prop_assert!(answer.outputs.iter().any(|output| output.form == Form::Json));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in vec(any::<u8>(), 0..200), length in proptest::option::of(0usize..300)) {
        let body = Bytes::from(body);
        let _ = Body::parse(&body, length);
        let _ = Answer::parse(&body, length);
    }

    #[test]
    fn almost_right_bodies_never_panic(data in "[\\[\\]0-9,.eE\\-\"\\\\ntrufalsNI{}: é]{0,40}", shape in "[0-9,\\-]{0,12}", datatype in prop::sample::select(Datatype::ALL.to_vec())) {
        let body = format!(r#"{{"inputs":[{{"name":"x","shape":[{shape}],"datatype":"{datatype}","data":{data}}}]}}"#);
        let parts = crate::oip::Parts::split(&Bytes::from(body), None).expect("no header");
        if let Ok(request) = Request::parse(parts) {
            let input = &request.inputs[0];
            let elements: usize = input.shape.iter().product();
            if let Some(size) = datatype.size_bytes() {
                prop_assert_eq!(input.data.len(), elements * size);
            }
        }
    }
}
