//! Tensors of every type and length go in and come out as they are.

use bytes::Bytes;
use host_engine::{ElementType, Engine as _, LoadOptions, Tensor};

use crate::{engine, model::one_operator};

/// Bytes that are no number twice in a row, wherever they begin.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 37 % 251) as u8).collect()
}

#[test]
fn tensors_of_every_type_come_back_as_they_went() {
    let Some(engine) = engine() else { return };
    for element_type in ElementType::all() {
        let mut graph = engine.load(&one_operator("Identity", "", element_type), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        for length in [0, 1, 5, 1000] {
            let size = length * element_type.size_bytes();
            // One byte later than where anything is aligned, as a message may have it.
            let shifted = Bytes::from(pattern(size + 1)).slice(1..);
            for data in [Bytes::from(pattern(size)), shifted] {
                let tensor = Tensor::new(element_type, vec![length], data.clone()).expect("as many bytes as the shape takes");
                let found = graph.run(vec![tensor]).unwrap_or_else(|error| panic!("{element_type} of length {length}: {error}")).remove(0);
                let expected = if element_type == ElementType::Boolean { data.iter().map(|byte| u8::from(*byte != 0)).collect() } else { data };
                assert_eq!((found.element_type(), found.shape(), found.data()), (element_type, &[length][..], &expected), "{element_type}");
            }
        }
    }
}

#[test]
fn an_output_outlives_the_graph_that_made_it() {
    let Some(engine) = engine() else { return };
    let mut graph = engine.load(&one_operator("Abs", "", ElementType::Int64), &LoadOptions::default()).expect("it loads");
    let given = Tensor::from_i64(&[3], &[-1, 2, -3]).expect("three numbers");
    let first = graph.run(vec![given]).expect("it runs").remove(0);
    let second = graph.run(vec![Tensor::from_i64(&[3], &[-4, 5, -6]).expect("three numbers")]).expect("it runs").remove(0);
    drop((graph, engine));
    assert_eq!((first.to_i64(), second.to_i64()), (Some(vec![1, 2, 3]), Some(vec![4, 5, 6])));
}

#[test]
fn an_operator_that_is_not_there_is_named() {
    let Some(engine) = engine() else { return };
    let error = engine.load(&one_operator("Odd", "com.example", ElementType::Fp32), &LoadOptions::default()).expect_err("nobody has it").to_string();
    assert!(error.starts_with("tiny@1[0..1): engine ort does not know operator com.example:Odd: "), "{error}");
    // ONNX has these for 64-bit floats; the processor's provider has most of them for 32-bit ones only, in this release or that.
    let mut refused = 0;
    for operator in ["Elu", "HardSigmoid", "Selu", "Softsign", "ThresholdedRelu"] {
        if let Err(error) = engine.load(&one_operator(operator, "", ElementType::Fp64), &LoadOptions::default()) {
            let error = error.to_string();
            assert!(error.contains(&format!("operator {operator}")) && !error.contains('\n'), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0, "it has all of them");
}
