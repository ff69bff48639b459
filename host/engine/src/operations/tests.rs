//! Each operation against one that goes element by element, over generated tensors of every element type.

use proptest::prelude::*;

use super::*;
use crate::seed::Seed;

fn random(element_type: ElementType, shape: &[usize], seed: u64) -> Tensor {
    let mut seed = Seed::new(seed);
    let bytes = Tensor::bytes_for(element_type, shape).expect("small") as usize;
    let data: Vec<u8> = (0..bytes).map(|_| seed.next_bits() as u8).map(|byte| if element_type == ElementType::Boolean { byte & 1 } else { byte }).collect();
    Tensor::new(element_type, shape.to_vec(), data.into()).expect("as many bytes as it takes")
}

fn element_types() -> impl Strategy<Value = ElementType> {
    prop::sample::select(ElementType::all().collect::<Vec<_>>())
}

/// The index of each axis of an element.
fn index(mut element: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        (index[axis], element) = (element % shape[axis], element / shape[axis]);
    }
    index
}

fn offset(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |offset, (index, length)| offset * length + index)
}

fn at<'a>(tensor: &'a Tensor, index: &[usize]) -> &'a [u8] {
    let size = tensor.element_type().size_bytes();
    let offset = offset(index, tensor.shape()) * size;
    &tensor.data()[offset..offset + size]
}

/// A shape and the same axes in another order.
fn shuffled() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (prop::collection::vec(0_usize..5, 0..6)).prop_flat_map(|shape| {
        let axes = Just((0..shape.len()).collect::<Vec<_>>()).prop_shuffle();
        (Just(shape), axes)
    })
}

/// A shape, where it lies in a larger one, and that larger one.
fn placed() -> impl Strategy<Value = (Vec<usize>, Vec<usize>, Vec<usize>)> {
    prop::collection::vec((0_usize..5, 0_usize..3, 0_usize..3), 0..5).prop_map(|axes| {
        let inner = axes.iter().map(|axis| axis.0).collect();
        (inner, axes.iter().map(|axis| axis.1).collect(), axes.iter().map(|axis| axis.0 + axis.1 + axis.2).collect())
    })
}

proptest! {
    #[test]
    fn transposed_elements_are_those_of_the_axes_in_their_order((shape, axes) in shuffled(), element_type in element_types(), seed: u64) {
        let tensor = random(element_type, &shape, seed);
        let made = tensor.transpose(&axes).expect("a permutation");
        for element in 0..made.elements() {
            let to = index(element, made.shape());
            let mut from = vec![0; to.len()];
            axes.iter().zip(&to).for_each(|(&axis, &index)| from[axis] = index);
            prop_assert_eq!(at(&made, &to), at(&tensor, &from));
        }
    }

    #[test]
    fn tiles_of_every_size_are_whole(rows in 1_usize..80, columns in 1_usize..80, pictures in 1_usize..3, element_type in element_types(), seed: u64) {
        let tensor = random(element_type, &[pictures, rows, columns], seed);
        let made = tensor.transpose(&[0, 2, 1]).expect("a permutation");
        for element in 0..made.elements() {
            let [picture, column, row] = index(element, made.shape())[..] else { unreachable!("three axes") };
            prop_assert_eq!(at(&made, &[picture, column, row]), at(&tensor, &[picture, row, column]));
        }
        prop_assert_eq!(made.transpose(&[0, 2, 1]).expect("a permutation"), tensor);
    }

    #[test]
    fn padding_is_around_the_tensor_and_cropping_takes_it_off((shape, start, larger) in placed(), element_type in element_types(), seed: u64) {
        let tensor = random(element_type, &shape, seed);
        let padded = tensor.pad(&larger, &start, 1.0).expect("it lies in it");
        let one = tensor.element(1.0).expect("every type has a one");
        for element in 0..padded.elements() {
            let to = index(element, &larger);
            let inner: Option<Vec<usize>> = (0..shape.len()).map(|axis| to[axis].checked_sub(start[axis]).filter(|&index| index < shape[axis])).collect();
            prop_assert_eq!(at(&padded, &to), inner.map_or(&one[..], |inner| at(&tensor, &inner)));
        }
        prop_assert_eq!(padded.crop(&shape, &start).expect("it lies in it"), tensor);
    }

    #[test]
    fn casting_to_a_type_that_has_the_values_and_back_loses_nothing(values in prop::collection::vec(0_u8..=100, 0..700), element_type in element_types(), to in element_types()) {
        let truth = |value: u8| if [element_type, to].contains(&ElementType::Boolean) { value & 1 } else { value };
        let bytes: Vec<u8> = values.into_iter().map(truth).collect();
        let small = Tensor::new(ElementType::Uint8, vec![bytes.len()], bytes.into()).expect("one byte each");
        let tensor = small.cast(element_type).expect("it has these values");
        prop_assert_eq!(tensor.to_f64(), small.to_f64());
        let cast = tensor.cast(to).expect("it has these values");
        prop_assert_eq!(cast.to_f64(), small.to_f64());
        prop_assert_eq!(cast.cast(element_type).expect("and back"), tensor);
    }

    #[test]
    fn floats_are_rounded_as_one_by_one(bits in prop::collection::vec(any::<u32>(), 0..600)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let tensor = Tensor::from_f32(&[values.len()], &values).expect("as many values");
        let halves = tensor.cast(ElementType::Fp16).expect("floats");
        let expected: Vec<u8> = values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        let is_nan = |bytes: [u8; 2]| half::f16::from_le_bytes(bytes).is_nan();
        for (found, expected) in halves.data().as_chunks().0.iter().zip(expected.as_chunks().0) {
            prop_assert!(found == expected || is_nan(*found) && is_nan(*expected), "{found:?} {expected:?}");
        }
        let back = halves.cast(ElementType::Fp32).expect("floats").to_f64();
        for (found, half) in back.iter().zip(halves.to_f64()) {
            prop_assert!(*found == half || found.is_nan() && half.is_nan());
        }
    }
}

#[test]
fn what_a_type_does_not_have_becomes_the_nearest_that_it_has() {
    let floats = Tensor::from_f32(&[5], &[-1e30, -1.9, f32::NAN, 300.7, f32::INFINITY]).expect("five values");
    let cast = |tensor: &Tensor, to| tensor.cast(to).expect("of the same shape").to_f64();
    assert_eq!(cast(&floats, ElementType::Int8), [-128.0, -1.0, 0.0, 127.0, 127.0]);
    assert_eq!(cast(&floats, ElementType::Uint8), [0.0, 0.0, 0.0, 255.0, 255.0]);
    assert_eq!(cast(&floats, ElementType::Boolean), [1.0, 1.0, 1.0, 1.0, 1.0]);
    let integers = Tensor::from_i64(&[3], &[i64::MIN, 5, i64::MAX]).expect("three values");
    assert_eq!(cast(&integers, ElementType::Int32), [f64::from(i32::MIN), 5.0, f64::from(i32::MAX)]);
    assert_eq!(cast(&integers, ElementType::Uint16), [0.0, 5.0, 65535.0]);
    assert_eq!(cast(&integers, ElementType::Fp16)[1..], [5.0, f64::INFINITY]);
    // 2^24 + 1 lies between two 32-bit floats, and the even one is below.
    let odd = Tensor::from_i64(&[1], &[(1 << 24) + 1]).expect("one value");
    assert_eq!(cast(&odd, ElementType::Fp32), [f64::from(1 << 24)]);
}

#[test]
fn wrong_arguments_are_named_with_what_they_should_be() {
    let tensor = Tensor::from_f32(&[2, 3], &[0.0; 6]).expect("six values");
    let cases = [
        (tensor.transpose(&[0, 0]), "axes of `transpose`: expected each of the 2 axes of [2, 3] once, found [0, 0]"),
        (tensor.transpose(&[1]), "axes of `transpose`: expected each of the 2 axes of [2, 3] once, found [1]"),
        (tensor.pad(&[2, 2], &[0, 0], 0.0), "shape of `pad`: expected one that holds [2, 3] from [0, 0] on, found [2, 2]"),
        (tensor.pad(&[2, 3], &[0, 1], 0.0), "shape of `pad`: expected one that holds [2, 3] from [0, 1] on, found [2, 3]"),
        (tensor.pad(&[2, 3], &[0, usize::MAX], 0.0), "shape of `pad`: expected one that holds [2, 3] from [0, 18446744073709551615] on, found [2, 3]"),
        (tensor.crop(&[3, 3], &[0, 0]), "shape of `crop`: expected one that lies in [2, 3] from [0, 0] on, found [3, 3]"),
        (tensor.crop(&[2], &[0]), "shape of `crop`: expected one that lies in [2, 3] from [0] on, found [2]"),
        (tensor.cast(ElementType::Uint8).expect("zeros").pad(&[2, 4], &[0, 0], 0.5), "value of `pad`: expected one of UINT8, found 0.5"),
        (tensor.pad(&[1 << 30, 1 << 30], &[0, 0], 0.0), "number of elements is 1152921504606846976, at most 1099511627776 are allowed"),
    ];
    for (found, expected) in cases {
        assert_eq!(found.expect_err(expected).to_string(), expected);
    }
}

#[test]
fn what_changes_nothing_shares_the_bytes() {
    let tensor = Tensor::from_f32(&[1, 3, 1, 2], &[0.5; 6]).expect("six values");
    let same = [
        tensor.cast(ElementType::Fp32).expect("the same type"),
        tensor.transpose(&[2, 1, 0, 3]).expect("axes of one element alone"),
        tensor.pad(&[1, 3, 1, 2], &[0; 4], 0.0).expect("the same shape"),
        tensor.crop(&[1, 3, 1, 2], &[0; 4]).expect("the same shape"),
    ];
    assert!(same.iter().all(|made| made.data().as_ptr() == tensor.data().as_ptr()));
}
