//! From a tensor of scores to the classes that it speaks for.

use host_engine::Tensor;
use host_wire::oip;

/// A class and its score.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Class {
    /// Position on the tensor's last axes.
    pub index: usize,
    /// What the model says of it; a probability where the model ends in one.
    pub score: f64,
}

/// The best classes of each row, best first; equal scores in their order. Rows are the first axis where `batched`, else
/// the whole tensor is one row.
pub fn best(tensor: &Tensor, batched: bool, count: usize) -> Vec<Vec<Class>> {
    let scores = tensor.to_f64();
    let rows = if batched { tensor.shape().first().copied().unwrap_or(1) } else { 1 };
    let width = scores.len().checked_div(rows).unwrap_or(0);
    let row = |row: &[f64]| {
        let mut classes: Vec<Class> = row.iter().enumerate().map(|(index, &score)| Class { index, score }).collect();
        classes.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
        classes.truncate(count);
        classes
    };
    if width == 0 { vec![Vec::new(); rows.min(scores.len())] } else { scores.chunks(width).map(row).collect() }
}

/// The answer of the classification extension: texts `score:index:label`, one row for each row of the tensor.
pub fn classification(name: &str, tensor: &Tensor, batched: bool, count: usize, labels: &[String]) -> oip::Tensor {
    let rows = best(tensor, batched, count);
    let width = rows.first().map_or(0, Vec::len);
    let text = |class: &Class| match labels.get(class.index) {
        Some(label) => format!("{:.6}:{}:{label}", class.score, class.index),
        None => format!("{:.6}:{}", class.score, class.index),
    };
    let texts: Vec<String> = rows.iter().flatten().map(text).collect();
    let shape = if batched { vec![rows.len(), width] } else { vec![width] };
    oip::Tensor::from_texts(name, shape, &texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_classes_come_first_by_row_with_their_labels() {
        let tensor = Tensor::from_f32(&[2, 3], &[0.25, 0.5, 0.25, 1.0, 0.0, 2.0]).expect("6 values");
        let indexes: Vec<Vec<usize>> = best(&tensor, true, 2).iter().map(|row| row.iter().map(|class| class.index).collect()).collect();
        assert_eq!(indexes, [[1, 0], [2, 0]]);
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let answer = classification("y", &tensor, true, 1, &labels);
        assert_eq!(answer.shape, [2, 1]);
        assert_eq!(oip::text_elements(&answer.data), [&b"0.500000:1:b"[..], b"2.000000:2:c"]);
        assert_eq!(classification("y", &tensor, false, 9, &[]).shape, [6]);
    }

    #[test]
    fn a_tensor_without_elements_has_no_classes() {
        let empty = Tensor::from_f32(&[0, 3], &[]).expect("no values");
        assert_eq!(classification("y", &empty, true, 3, &[]).shape, [0, 0]);
    }
}
