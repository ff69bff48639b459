//! Floating point operations of one node, from the shapes of what it reads and writes: two for each multiplication that is added
//! up, else some for each element of the output. Called by `cost`; what operations cost in time is no business of this file.

use std::collections::BTreeMap;

use crate::{onnx::graph, onnx_pb::NodeProto};

/// The shapes of values by name, none where one is not known.
pub(super) type Shapes<'a> = dyn Fn(&str) -> Option<&'a [usize]> + 'a;

/// Operations of a node; 0 for one that only moves or renames values.
pub(super) fn flops<'a>(node: &NodeProto, shapes: &Shapes<'a>) -> f64 {
    let node = Shaped { node, shapes };
    let written = node.written();
    match node.node.op_type() {
        "Conv" | "ConvInteger" | "FusedConv" | "DeformConv" => 2.0 * written * node.window(1),
        "QLinearConv" => 2.0 * written * node.window(3),
        "ConvTranspose" => 2.0 * node.read(0) * node.window(1),
        "MatMul" | "MatMulInteger" | "QLinearMatMul" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" | "FusedMatMul" | "MatMulNBits" => {
            2.0 * written * node.summed()
        }
        "Gemm" | "QGemm" => 2.0 * written * node.summed(),
        "Einsum" => node.einsum().unwrap_or(written),
        "LSTM" | "GRU" | "RNN" => node.recurrent().unwrap_or(written),
        "Attention" | "MultiHeadAttention" | "GroupQueryAttention" => node.attention().unwrap_or(written),
        "Softmax" | "LogSoftmax" => 5.0 * written,
        "LayerNormalization" | "SimplifiedLayerNormalization" | "InstanceNormalization" | "GroupNormalization" => 8.0 * written,
        "Erf" | "Sigmoid" | "Tanh" | "Exp" | "Log" | "Sin" | "Cos" | "Gelu" | "Pow" | "Sqrt" => 10.0 * written,
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "ReduceMean" | "ReduceSum" | "ReduceMax" => node.read(0).max(written),
        "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Identity" | "Gather" | "Slice" | "Concat" | "Split" | "Cast" | "Expand" | "Flatten" => 0.0,
        _ => written,
    }
}

/// A node with the shapes around it.
struct Shaped<'n, 's, 'a> {
    node: &'n NodeProto,
    shapes: &'s Shapes<'a>,
}

impl<'a> Shaped<'_, '_, 'a> {
    /// The shape of an input; none if it is left out or not known.
    fn input(&self, place: usize) -> Option<&'a [usize]> {
        self.node.input.get(place).filter(|name| !name.is_empty()).and_then(|name| (self.shapes)(name))
    }

    /// The shape of an output that somebody reads.
    fn output(&self, place: usize) -> Option<&'a [usize]> {
        self.node.output.get(place).filter(|name| !name.is_empty()).and_then(|name| (self.shapes)(name))
    }

    /// Elements of the first output.
    fn written(&self) -> f64 {
        self.output(0).map_or(0.0, elements)
    }

    /// Elements of an input.
    fn read(&self, place: usize) -> f64 {
        self.input(place).map_or(0.0, elements)
    }

    /// Multiplications for each element of a convolution's output: the kernel of one output channel, which has the channels of
    /// one group only, so that a depthwise convolution has as many as its window.
    fn window(&self, place: usize) -> f64 {
        elements(self.input(place).unwrap_or_default().get(1..).unwrap_or_default())
    }

    /// Multiplications for each element of a product: the axis of the left side that is summed over, which is its last one,
    /// or the one before if it is read transposed.
    fn summed(&self) -> f64 {
        let from_end = if graph::integer(self.node, "transA", 0) == 0 { 1 } else { 2 };
        let shape = self.input(0).unwrap_or_default();
        shape.len().checked_sub(from_end).map_or(1.0, |axis| shape[axis] as f64)
    }

    /// One multiplication for each choice of all indexes, and for each further factor another. None for an ellipsis.
    fn einsum(&self) -> Option<f64> {
        let equation = graph::attribute(self.node, "equation")?.s.as_deref()?;
        let equation: String = std::str::from_utf8(equation).ok()?.chars().filter(|letter| !letter.is_whitespace()).collect();
        let terms: Vec<&str> = equation.split("->").next()?.split(',').collect();
        let mut lengths: BTreeMap<char, usize> = BTreeMap::new();
        for (place, term) in terms.iter().enumerate() {
            let shape = self.input(place)?;
            if term.contains('.') || term.chars().count() != shape.len() {
                return None;
            }
            lengths.extend(term.chars().zip(shape.iter().copied()));
        }
        let choices: f64 = lengths.values().map(|&length| length as f64).product();
        Some(choices * if terms.len() > 1 { 2.0 * (terms.len() - 1) as f64 } else { 1.0 })
    }

    /// Every weight of both matrices (of each direction) once for each step of each row.
    fn recurrent(&self) -> Option<f64> {
        let steps = elements(self.input(0)?.get(..2)?);
        Some(2.0 * steps * (elements(self.input(1)?) + elements(self.input(2)?)))
    }

    /// Scores of each query with each key, and as many values summed. The older operator of that name projects its input first.
    fn attention(&self) -> Option<f64> {
        let (read, written) = (self.input(0)?, self.written());
        let past = |place: usize, axis: usize| self.input(place).and_then(|shape| shape.get(axis)).copied().unwrap_or(0) as f64;
        let operator = (self.node.op_type(), self.node.domain() == "com.microsoft");
        if operator == ("Attention", true) {
            // Rows are [batch, tokens, width], weights [width, queries and keys and values], the past [2, batch, heads, tokens, width].
            let keys = *read.get(1)? as f64 + past(4, 3);
            return Some(2.0 * elements(&read[..2]) * elements(self.input(1)?.get(1..)?) * *read.get(2)? as f64 + 4.0 * written * keys);
        }
        // Keys are [batch, tokens, heads and width] or [batch, heads, tokens, width]; without them they lie beside the queries.
        let keys = self.input(1).unwrap_or(read);
        let tokens = *keys.get(if keys.len() == 4 { 2 } else { 1 })? as f64;
        let cached = match operator.0 {
            "GroupQueryAttention" => past(3, 2),
            "MultiHeadAttention" => past(6, 2),
            _ => past(4, 2),
        };
        let queries = if self.input(1).is_some() { elements(read) } else { written };
        Some(2.0 * (queries + written) * (tokens + cached))
    }
}

fn elements(shape: &[usize]) -> f64 {
    shape.iter().map(|&length| length as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        onnx::build,
        onnx_pb::{AttributeProto, attribute_proto::AttributeType},
    };

    /// An operator, what it reads and writes, and how many operations that is.
    struct Case {
        operator: &'static str,
        domain: &'static str,
        attributes: Vec<AttributeProto>,
        inputs: &'static [&'static [usize]],
        output: &'static [usize],
        flops: f64,
    }

    const PLAIN: Case = Case { operator: "", domain: "", attributes: Vec::new(), inputs: &[], output: &[], flops: 0.0 };

    fn text(name: &str, value: &'static str) -> AttributeProto {
        AttributeProto {
            name: Some(name.to_owned()),
            s: Some(value.as_bytes().into()),
            r#type: Some(AttributeType::String as i32),
            ..AttributeProto::default()
        }
    }

    /// An input whose shape has no axis is left out.
    fn counted(case: &Case) -> f64 {
        let names: Vec<String> =
            case.inputs.iter().enumerate().map(|(place, shape)| if shape.is_empty() { String::new() } else { format!("x{place}") }).collect();
        let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut node = build::node(case.operator, &inputs, &["y"], case.attributes.clone());
        node.domain = Some(case.domain.to_owned());
        let shapes = |name: &str| -> Option<&'static [usize]> {
            match name.strip_prefix('x') {
                Some(place) => case.inputs.get(place.parse::<usize>().ok()?).copied(),
                None => Some(case.output),
            }
        };
        flops(&node, &shapes)
    }

    fn check(cases: Vec<Case>) {
        for case in cases {
            assert_eq!(counted(&case), case.flops, "{} {} on {:?}", case.domain, case.operator, case.inputs);
        }
    }

    #[test]
    fn convolutions_multiply_the_channels_of_their_group_in_each_window() {
        check(vec![
            // 16 filters of 3 channels, 3 by 3, at 10 by 10 places: 16 · 100 · 27 products.
            Case { operator: "Conv", inputs: &[&[1, 3, 10, 10], &[16, 3, 3, 3], &[16]], output: &[1, 16, 10, 10], flops: 2.0 * 43_200.0, ..PLAIN },
            // Pointwise: 64 · 49 · 32.
            Case { operator: "Conv", inputs: &[&[1, 32, 7, 7], &[64, 32, 1, 1]], output: &[1, 64, 7, 7], flops: 2.0 * 100_352.0, ..PLAIN },
            // Depthwise, 3 by 3, stride 2: 32 · 16 · 9.
            Case { operator: "Conv", inputs: &[&[1, 32, 8, 8], &[32, 1, 3, 3]], output: &[1, 32, 4, 4], flops: 2.0 * 4_608.0, ..PLAIN },
            // 4 groups of 8 channels: 64 · 25 · 8 · 9.
            Case { operator: "Conv", inputs: &[&[1, 32, 5, 5], &[64, 8, 3, 3]], output: &[1, 64, 5, 5], flops: 2.0 * 115_200.0, ..PLAIN },
            // The weights of the quantised one come after its scale and zero point.
            Case { operator: "QLinearConv", inputs: &[&[1, 3, 4, 4], &[1], &[1], &[8, 3, 1, 1]], output: &[1, 8, 4, 4], flops: 2.0 * 384.0, ..PLAIN },
            // Each of 2 · 9 inputs goes into 4 channels of 2 by 2.
            Case { operator: "ConvTranspose", inputs: &[&[1, 2, 3, 3], &[2, 4, 2, 2]], output: &[1, 4, 6, 6], flops: 2.0 * 288.0, ..PLAIN },
        ]);
    }

    #[test]
    fn products_multiply_along_the_axis_that_is_summed_over() {
        let transposed = || vec![build::integer("transA", 1)];
        check(vec![
            Case { operator: "MatMul", inputs: &[&[2, 5, 64], &[64, 10]], output: &[2, 5, 10], flops: 2.0 * 6_400.0, ..PLAIN },
            Case { operator: "MatMul", inputs: &[&[4, 8, 16, 32], &[4, 8, 32, 16]], output: &[4, 8, 16, 16], flops: 2.0 * 262_144.0, ..PLAIN },
            Case { operator: "FusedMatMul", attributes: transposed(), inputs: &[&[64, 5], &[64, 10]], output: &[5, 10], flops: 2.0 * 3_200.0, ..PLAIN },
            Case { operator: "Gemm", inputs: &[&[1, 1280], &[1280, 1000], &[1000]], output: &[1, 1000], flops: 2.0 * 1_280_000.0, ..PLAIN },
            Case { operator: "Gemm", attributes: transposed(), inputs: &[&[20, 3], &[20, 7]], output: &[3, 7], flops: 2.0 * 420.0, ..PLAIN },
            Case { operator: "QGemm", inputs: &[&[3, 20], &[1], &[1], &[20, 7]], output: &[3, 7], flops: 2.0 * 420.0, ..PLAIN },
            Case {
                operator: "Einsum",
                attributes: vec![text("equation", "bhid, bhjd -> bhij")],
                inputs: &[&[2, 3, 4, 8], &[2, 3, 5, 8]],
                output: &[2, 3, 4, 5],
                flops: 2.0 * 960.0,
                ..PLAIN
            },
            // An ellipsis is not taken apart.
            Case {
                operator: "Einsum",
                attributes: vec![text("equation", "...i,ij->...j")],
                inputs: &[&[2, 3], &[3, 5]],
                output: &[2, 5],
                flops: 10.0,
                ..PLAIN
            },
        ]);
    }

    #[test]
    fn attention_scores_every_query_with_every_key_and_sums_as_many_values() {
        check(vec![
            // 2 · (6 · 16 scores' products + as many for the values) · 6 keys.
            Case {
                operator: "MultiHeadAttention",
                domain: "com.microsoft",
                inputs: &[&[1, 6, 16], &[1, 6, 16], &[1, 6, 16]],
                output: &[1, 6, 16],
                flops: 2.0 * 192.0 * 6.0,
                ..PLAIN
            },
            // 8 heads of 4 over 2 of the cache, one new token after 9: 10 keys.
            Case {
                operator: "GroupQueryAttention",
                domain: "com.microsoft",
                inputs: &[&[1, 1, 32], &[1, 1, 8], &[1, 1, 8], &[1, 2, 9, 4], &[1, 2, 9, 4]],
                output: &[1, 1, 32],
                flops: 2.0 * 64.0 * 10.0,
                ..PLAIN
            },
            // Queries, keys and values in one: 48 wide, of which 32 are queries.
            Case {
                operator: "GroupQueryAttention",
                domain: "com.microsoft",
                inputs: &[&[1, 5, 48], &[], &[], &[1, 2, 3, 4], &[1, 2, 3, 4]],
                output: &[1, 5, 32],
                flops: 2.0 * 320.0 * 8.0,
                ..PLAIN
            },
            Case { operator: "Attention", inputs: &[&[1, 2, 6, 8], &[1, 2, 7, 8], &[1, 2, 7, 8]], output: &[1, 2, 6, 8], flops: 2.0 * 192.0 * 7.0, ..PLAIN },
            // 5 rows of 16 through 16 by 48 weights, then 5 keys.
            Case {
                operator: "Attention",
                domain: "com.microsoft",
                inputs: &[&[1, 5, 16], &[16, 48], &[48]],
                output: &[1, 5, 16],
                flops: 2.0 * 3_840.0 + 4.0 * 80.0 * 5.0,
                ..PLAIN
            },
        ]);
    }

    #[test]
    fn recurrent_layers_use_every_weight_of_each_direction_in_each_step() {
        // 7 steps of 2 rows; 2 directions of 4 gates of 5, from 3 inputs and 5 states.
        let inputs: &[&[usize]] = &[&[7, 2, 3], &[2, 20, 3], &[2, 20, 5]];
        check(vec![Case { operator: "LSTM", inputs, output: &[7, 2, 2, 5], flops: 2.0 * 14.0 * 320.0, ..PLAIN }]);
    }

    #[test]
    fn what_only_moves_values_computes_nothing_and_the_rest_counts_elements() {
        check(vec![
            Case { operator: "Transpose", inputs: &[&[4, 4]], output: &[4, 4], flops: 0.0, ..PLAIN },
            Case { operator: "Relu", inputs: &[&[4, 4]], output: &[4, 4], flops: 16.0, ..PLAIN },
            Case { operator: "Clip", inputs: &[&[4, 4]], output: &[4, 4], flops: 16.0, ..PLAIN },
            Case { operator: "GlobalAveragePool", inputs: &[&[1, 8, 7, 7]], output: &[1, 8, 1, 1], flops: 392.0, ..PLAIN },
            Case { operator: "Softmax", inputs: &[&[2, 10]], output: &[2, 10], flops: 100.0, ..PLAIN },
        ]);
    }
}
